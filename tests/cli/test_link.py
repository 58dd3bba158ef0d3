"""`tidings link`, `tidings verify`, and a device that is stolen."""

from pathlib import Path

import pytest

from cli.rig import User, tidings
from client.rig import PASSWORD, People
from tidings.client import enrolment

pytestmark = pytest.mark.slow


def test_a_new_device_reads_once_it_is_linked(alice: User, bob: User, people: People, tmp_path: Path) -> None:
    alice.says("send", bob.at, "before")
    done = tidings(
        *("login", "--server", people.server.url, "--handle", bob.handle, "--profile", tmp_path / "phone"),
        TIDINGS_PASSWORD=PASSWORD,
    )
    assert f"tidings link --profile {tmp_path / 'phone'}" in done.out
    phone = User(bob.handle, tmp_path / "phone")
    complaint = phone.run("send", alice.at, "too early").err
    assert "this device is not linked" in complaint
    assert "tidings link" in complaint

    assert "no device of this account shows this code" in bob.fails("link", "AAAAA-AAAAA")
    with phone.start("link") as waiting:
        code = waiting.until("tidings link ").split()[-1]
        assert bob.says("link", code.lower().replace("-", " ")).endswith("reads what comes from now on\n")
        waiting.until("this device is in")
    assert phone.says("link") == "this device is in\n"

    alice.says("send", bob.at, "after")
    for device in (bob, phone):
        assert device.objects("history", alice.at)[-1]["text"] == "after"
    assert phone.objects("history", alice.at)[0]["fault"] == "no_key"
    assert "cannot be read here" in phone.says("history", alice.at)
    with bob.start("listen", "--json") as hearing:
        phone.says("send", alice.at, "from the phone")
        assert hearing.until_object(text="from the phone")["sealed"] is True
    assert alice.objects("history", bob.at)[-1]["text"] == "from the phone"


def test_a_code_that_nobody_types_is_waited_for_in_vain(bob: User, people: People, tmp_path: Path) -> None:
    phone = bob.logs_in(people.server.url, tmp_path / "phone")
    done = phone.run("link", "--timeout", "2")
    assert done.code == 1
    assert "cannot be approved within 2 s" in done.err
    assert "run `tidings link` again" in done.err


def test_who_lost_every_device_starts_over(alice: User, bob: User, people: People, tmp_path: Path) -> None:
    alice.says("send", bob.at, "before")
    phone = bob.logs_in(people.server.url, tmp_path / "phone")
    start_over = ("link", "--start-over", "--yes", "--password")
    assert "this device is linked" in bob.fails(*start_over, PASSWORD)
    assert "wrong_credentials" in phone.fails(*start_over, "something else")
    assert phone.says(*start_over, PASSWORD) == "this device is in\n"
    assert "does not accept this device's token" in bob.run("send", alice.at, "from the lost one").err

    alice.says("send", bob.at, "after")
    assert phone.objects("history", alice.at)[-1]["text"] == "after"
    assert phone.objects("history", alice.at)[0]["fault"] == "no_key"
    phone.says("send", alice.at, "from the new one")
    assert alice.objects("history", bob.at)[-1]["text"] == "from the new one"
    with alice.start("listen", "--json") as hearing:
        assert hearing.until_object(type="warning")["kind"] == "identity_replaced"


def test_both_see_the_same_safety_number(alice: User, bob: User) -> None:
    hers, his = alice.object("verify", bob.at), bob.object("verify", alice.at)
    assert hers["digits"] == his["digits"]
    assert (len(hers["digits"]), hers["verified"]) == (60, False)
    shown = alice.says("verify", bob.at)
    assert "not verified" in shown
    assert "".join(shown.splitlines()[1:]).replace(" ", "") == hers["digits"]
    assert "█" in alice.says("verify", bob.at, "--qr")

    assert "no hexadecimal" in alice.fails("verify", bob.at, "--scanned", "xyz")
    wrong = his["code"][:-2] + ("00" if his["code"][-2:] != "00" else "01")
    alice.fails("verify", bob.at, "--scanned", wrong)
    assert alice.object("verify", bob.at)["verified"] is False
    assert alice.object("verify", bob.at, "--scanned", his["code"])["verified"] is True
    assert bob.object("verify", alice.at, "--yes")["verified"] is True
    assert "(verified)" in bob.says("verify", alice.at)
    assert "no_such_user" in alice.fails("verify", "@nobody-at-all")


def test_a_stolen_device_is_out_and_people_are_told(
    alice: User, bob: User, people: People, tmp_path: Path
) -> None:
    phone = bob.logs_in(people.server.url, tmp_path / "phone")
    bob.links(phone)
    alice.says("send", bob.at, "on both")
    assert phone.objects("history", alice.at)[-1]["text"] == "on both"
    before = alice.object("verify", bob.at, "--yes")
    stolen = next(one["device_id"] for one in bob.objects("devices", "list") if not one["current"])

    sign_out = ("devices", "sign-out", stolen, "--stolen", "--password")
    assert "wrong_credentials" in bob.fails(*sign_out, "something else")
    assert bob.says(*sign_out, PASSWORD) == f"device {stolen} is signed out\n"
    assert phone.run("history", alice.at).code == 1

    alice.says("send", bob.at, "for you alone")
    assert bob.objects("history", alice.at)[-1]["text"] == "for you alone"
    with alice.start("listen", "--json") as hearing:
        assert hearing.until_object(type="warning")["kind"] == "identity_changed"
    after = alice.object("verify", bob.at)
    assert after["verified"] is False
    assert after["digits"] != before["digits"]
    bob.says("send", alice.at, "it was in the tram")
    assert alice.objects("history", bob.at)[-1]["text"] == "it was in the tram"


@pytest.mark.parametrize("command", [("people", "add"), ("send",)])
def test_keys_that_could_not_be_published_are_by_the_next_command(
    command: tuple[str, ...], bob: User, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_vain(*_: object) -> None:
        pass

    monkeypatch.setattr(enrolment, "_publish", in_vain)
    alice = User.new(people.server.url, people.handle("alice"), tmp_path / "alice")
    text = ("hello",) if command == ("send",) else ("--nickname", "Bobby")
    alice.says(*command, bob.at, *text)
    bob.says("send", alice.at, "hello yourself")
    assert alice.objects("history", bob.at)[-1]["text"] == "hello yourself"


def test_a_plain_profile_is_not_linked_and_is_not_written_to_by_others(
    alice: User, people: People, tmp_path: Path
) -> None:
    done = tidings(
        *("register", "--server", people.server.url, "--handle", people.handle("carol"), "--plain"),
        *("--profile", tmp_path / "carol"),
        TIDINGS_PASSWORD=PASSWORD,
    )
    assert done.code == 0, done.err
    carol = User(people.handle("carol"), tmp_path / "carol")
    assert "does not encrypt" in carol.fails("link")
    assert "unsealable" in alice.run("send", carol.at, "hello").err
    carol.says("send", alice.at, "in the clear")
    (came,) = alice.objects("history", carol.at)
    assert (came["text"], came["sealed"]) == ("in the clear", False)
    assert "in the clear  (not encrypted)" in alice.says("history", carol.at)
