"""Alice and Bob, by commands alone."""

import json
from pathlib import Path

import pytest

from cli.rig import Running, User, register, tidings
from client.rig import PASSWORD, People, ServerProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def alice(people: People, tmp_path: Path) -> Path:
    register(people.server.url, people.handle("alice"), tmp_path / "alice")
    return tmp_path / "alice"


@pytest.fixture
def bob(people: People, tmp_path: Path) -> Path:
    register(people.server.url, people.handle("bob"), tmp_path / "bob")
    return tmp_path / "bob"


def test_send_listen_read_and_history(people: People, alice: Path, bob: Path) -> None:
    to_bob, to_alice = "@" + people.handle("bob"), "@" + people.handle("alice")
    with (
        Running("listen", "--profile", bob, "--json") as listening,
        Running("listen", "--profile", alice, "--json") as waiting,
    ):
        listening.until("caught_up")
        waiting.until("caught_up")
        sent = tidings("send", to_bob, "hello", "--profile", alice, "--json")
        assert sent.code == 0, sent.err
        message = json.loads(listening.until('"type": "message"'))
        assert (message["from"], message["text"]) == (people.handle("alice"), "hello")
        assert message["message_id"] == sent.objects[0]["message_id"]
        told = waiting.until_object(type="sent", to=people.handle("bob"))
        assert (told["text"], told["client_id"]) == ("hello", sent.objects[0]["client_id"])
        receipt = json.loads(waiting.until('"state": "delivered"'))
        assert (receipt["peer"], receipt["message_ids"]) == (people.handle("bob"), [message["message_id"]])
        done = tidings("read", to_alice, "--profile", bob, "--json")
        assert done.objects == [
            {"type": "read", "peer": people.handle("alice"), "up_to": message["message_id"]}
        ]
        waiting.until('"state": "read"')
    page = tidings("history", to_bob, "--profile", alice, "--json").objects
    assert [(one["text"], one["own"], one["status"]) for one in page] == [("hello", True, "read")]
    shown = tidings("history", to_alice, "--profile", bob).out
    assert shown.endswith(f"{to_alice}: hello\n")


def test_listening_twice_is_refused_and_names_the_process(alice: Path) -> None:
    with Running("listen", "--profile", alice, "--json") as first:
        first.until("caught_up")
        done = tidings("listen", "--profile", alice)
        assert done.code == 1
        assert "it is open in process" in done.err
        assert "\nhint: " in done.err


def test_a_listener_killed_at_any_line_prints_each_line_once(people: People, alice: Path, bob: Path) -> None:
    to_bob = "@" + people.handle("bob")
    for number in range(6):
        assert tidings("send", to_bob, f"line {number}", "--profile", alice).code == 0
    printed: list[str] = []
    for _ in range(6):
        with Running("listen", "--profile", bob, "--json") as listening:
            listening.until('"type": ')
            listening.kill()
            texts = [json.loads(line).get("text") for line in listening.lines if line.startswith("{")]
        printed += [text for text in texts if text is not None]
    with Running("listen", "--profile", bob, "--json") as listening:
        listening.until("caught_up")
        printed += [text for line in listening.lines if (text := json.loads(line).get("text"))]
    # Only a line that was being printed may come again, and right after itself.
    assert [text for place, text in enumerate(printed) if printed[place - 1 : place] != [text]] == [
        f"line {number}" for number in range(6)
    ]


def test_logging_in_makes_a_second_device(people: People, alice: Path, bob: Path, tmp_path: Path) -> None:
    done = tidings(
        *("login", "--server", people.server.url, "--handle", people.handle("bob"), "--json"),
        *("--profile", tmp_path / "phone"),
        TIDINGS_PASSWORD=PASSWORD,
    )
    assert done.objects[0]["handle"] == people.handle("bob")
    User(people.handle("bob"), bob).links(User(people.handle("bob"), tmp_path / "phone"))
    with Running("listen", "--profile", tmp_path / "phone") as phone:
        phone.until("up to date")
        tidings("send", "@" + people.handle("alice"), "from the first", "--profile", bob)
        assert f"@{people.handle('bob')} to @{people.handle('alice')}: from the first" in phone.until(
            "from the first"
        )


def test_a_password_is_asked_for(people: People, tmp_path: Path) -> None:
    done = tidings(
        *("register", "--server", people.server.url, "--handle", people.handle("carol")),
        *("--profile", tmp_path / "carol"),
        typed=f"{PASSWORD}\n{PASSWORD}\n",
    )
    assert done.code == 0, done.err
    assert PASSWORD not in done.out + done.err


def test_what_is_refused(people: People, alice: Path) -> None:
    done = tidings("send", "@nobody-at-all", "x", "--profile", alice)
    assert (done.code, done.out) == (1, "")
    error, hint = done.err.splitlines()
    assert error == "error: the server refused: nobody has this handle (no_such_user)"
    assert hint.startswith("hint: check the spelling")


def test_control_characters_do_not_reach_a_terminal(people: People, alice: Path, bob: Path) -> None:
    tidings("send", "@" + people.handle("bob"), "a\x1b[2Jb\nc", "--profile", alice)
    with Running("listen", "--profile", bob) as listening:
        assert listening.until("[2J").endswith(": a�[2Jb")
        assert listening.until("    c") == "    c"


def test_what_was_done_offline_goes_out_with_the_next_command(
    own_server: ServerProcess, own_people: People, tmp_path: Path
) -> None:
    people = own_people
    alice, bob = tmp_path / "a", tmp_path / "b"
    register(people.server.url, people.handle("alice"), alice)
    register(people.server.url, people.handle("bob"), bob)
    to_bob = "@" + people.handle("bob")
    assert tidings("send", to_bob, "zero", "--profile", alice).code == 0
    own_server.kill()
    done = tidings("send", to_bob, "one", "--profile", alice, "--timeout", "0.5")
    assert done.code == 1
    assert done.err.startswith(f"error: cannot send to {to_bob} within 0.5 s: ")
    assert "waits in the profile" in done.err
    done = tidings("chats", "pin", to_bob, "--profile", alice, "--timeout", "0.5")
    assert done.err.startswith("error: cannot tell the server within 0.5 s: ")
    assert "waits in the profile" in done.err
    own_server.start()
    assert tidings("send", to_bob, "two", "--profile", alice).code == 0
    page = tidings("history", "@" + people.handle("alice"), "--profile", bob, "--json").objects
    assert [one["text"] for one in page] == ["zero", "one", "two"]
    login = ("login", "--server", people.server.url, "--handle", people.handle("alice"))
    assert tidings(*login, "--profile", tmp_path / "phone", TIDINGS_PASSWORD=PASSWORD).code == 0
    with Running("listen", "--profile", tmp_path / "phone", "--json") as phone:
        phone.until_object(type="setting", kind="pin", value="1")


def test_a_damaged_profile_is_refused(alice: Path) -> None:
    (alice / "profile.db").write_bytes(b"nonsense" * 1000)
    done = tidings("send", "@bob", "x", "--profile", alice)
    assert (done.code, "it is damaged" in done.err) == (1, True)
