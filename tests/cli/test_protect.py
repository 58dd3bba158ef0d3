"""`tidings profile`, and passphrases as commands come by them."""

from pathlib import Path

import pytest

from cli.rig import User, tidings
from client.rig import PASSWORD, People

pytestmark = pytest.mark.slow

WORDS = "some words of my own"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    file = tmp_path / "words"
    file.write_text(f"{WORDS}\n")
    return file


def test_a_profile_is_protected_in_each_way_and_opens(alice: User, words: Path, tmp_path: Path) -> None:
    usual = alice.profile / "profile.key"
    assert alice.says("profile", "show") == f"the key of {alice.profile} is in the file {usual}\n"
    done = alice.object("profile", "protect", "--new-passphrase-file", words)
    assert done == {"profile": str(alice.profile), "key": "passphrase", "file": None}
    unlocked = ("account", "info", "--passphrase-file", words)
    assert alice.object(*unlocked)["handle"] == alice.handle
    (tmp_path / "wrong").write_text("something else\n")
    assert "the passphrase is wrong" in alice.fails(
        "account", "info", "--passphrase-file", tmp_path / "wrong"
    )
    assert "No such file" in alice.fails("account", "info", "--passphrase-file", tmp_path / "nowhere")
    stick = tmp_path / "stick.key"
    done = alice.object("profile", "protect", "--key-file", stick, "--passphrase-file", words)
    assert (done["key"], done["file"]) == ("file", str(stick))
    assert alice.object("account", "info")["handle"] == alice.handle
    stick.rename(tmp_path / "pocket")
    assert "is missing" in alice.fails("account", "info")
    (tmp_path / "pocket").rename(stick)
    assert alice.object("profile", "protect", "--key-file", usual)["file"] == str(usual)
    assert alice.object("account", "info")["handle"] == alice.handle


def test_a_passphrase_is_asked_for(alice: User) -> None:
    done = alice.run("profile", "protect", "--passphrase", typed=f"{WORDS}\n{WORDS}\n")
    assert (done.code, done.out) == (0, f"the key of {alice.profile} is under a passphrase\n"), done.err
    done = alice.run("account", "info", "--json", typed=f"{WORDS}\n")
    assert done.objects[0]["handle"] == alice.handle, done.err
    assert WORDS not in done.err
    assert "the passphrase is wrong" in alice.run("account", "info", typed="something else\n").err
    # It is asked twice for a new one, after the old one.
    assert alice.run("profile", "protect", "--passphrase", typed=f"{WORDS}\nnew words\nnew words\n").code == 0
    assert alice.run("account", "info", typed="new words\n").code == 0


def test_a_new_profile_is_protected_from_the_start(people: People, words: Path, tmp_path: Path) -> None:
    handle, profile = people.handle("carol"), tmp_path / "carol"
    entering = ("--server", people.server.url, "--handle", handle)
    secrets = {"TIDINGS_PASSWORD": PASSWORD, "TIDINGS_PASSPHRASE_FILE": str(words)}
    assert tidings("register", *entering, "--profile", profile, **secrets).code == 0
    assert tidings("profile", "show", "--profile", profile, "--json").objects[0]["key"] == "passphrase"
    assert tidings("devices", "list", "--profile", profile, **secrets).code == 0
    tablet = (*entering, "--profile", tmp_path / "tablet")
    made = tidings("login", *tablet, "--key-file", tmp_path / "key", TIDINGS_PASSWORD=PASSWORD)
    assert made.code == 0, made.err
    assert (tmp_path / "key").exists()
    assert tidings("devices", "list", "--profile", tmp_path / "tablet").code == 0


def test_what_cannot_be_is_said(alice: User, tmp_path: Path) -> None:
    assert "nothing to change" in alice.fails("profile", "protect")
    assert "one way only" in alice.fails("profile", "protect", "--keyring", "--passphrase")
    assert "exists already" in alice.fails("profile", "protect", "--key-file", __file__)
    assert "at least 8" in alice.run("profile", "protect", "--passphrase", typed="short\nshort\n").err
    with alice.start("listen", "--json") as listening:
        listening.until_object(type="connection", state="connected")
        assert "has it open" in alice.fails("profile", "protect", "--key-file", tmp_path / "key")
    assert alice.object("account", "info")["handle"] == alice.handle
    assert "there is none" in tidings("profile", "show", "--profile", tmp_path / "nowhere").err
