"""`tidings people`, on a server where strangers knock."""

from pathlib import Path

import pytest

from cli.rig import User, tidings
from integration.server import Server

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def test_a_stranger_knocks_and_is_let_in(strangers: tuple[User, User]) -> None:
    alice, bob = strangers
    assert "tidings people requests" in bob.fails("people", "accept", alice.at)
    alice.says("send", bob.at, "one")
    assert bob.object("people", "requests")["count"] == 1  # without anybody who listens
    with bob.start("listen") as people:
        for text in ("two", "three", "four", "five"):
            alice.says("send", bob.at, text)
        assert "once they let you in" in alice.fails("send", bob.at, "six")
        people.until(f"{alice.at} wants to talk to you, 5 messages wait: tidings people accept {alice.at}")
    assert bob.objects("history", alice.at) == []
    request = bob.object("people", "requests")
    assert (request["type"], request["peer"], request["count"]) == ("request", alice.handle, 5)
    assert bob.object("people", "decline", alice.at) == {"type": "declined", "handle": alice.handle}
    assert bob.objects("people", "requests") == []
    assert bob.says("people", "accept", alice.at) == f"{alice.at} may write to you\n"
    assert [one["text"] for one in bob.objects("history", alice.at)] == [
        "one",
        "two",
        "three",
        "four",
        "five",
    ]
    alice.says("send", bob.at, "six")


def test_contacts_may_write_and_the_blocked_may_not(
    strangers: tuple[User, User], asking_server: Server
) -> None:
    alice, bob = strangers
    assert alice.object("people", "find", bob.at.upper())["handle"] == bob.handle
    added = alice.object("people", "add", bob.at, "--nickname", "Bobby")
    assert (added["handle"], added["nickname"]) == (bob.handle, "Bobby")
    assert alice.says("people", "contacts") == f"{bob.at}  Bobby\n"
    bob.says("send", alice.at, "hello")
    assert [one["text"] for one in alice.objects("history", bob.at)] == ["hello"]

    assert alice.object("people", "block", bob.at) == {"type": "blocked", "handle": bob.handle}
    assert [one["handle"] for one in alice.objects("people", "blocked")] == [bob.handle]
    bob.says("send", alice.at, "unheard")
    assert [one["text"] for one in alice.objects("history", bob.at)] == ["hello"]
    assert alice.object("chats", "draft", bob.at)["blocked"] is True
    assert alice.says("people", "unblock", bob.at) == f"{bob.at} is not blocked\n"
    assert alice.objects("people", "blocked") == []

    reported = alice.object(
        "people", "report", bob.at, "wrote hello", "--message", "last", "--block", "--timeout", "10"
    )
    assert reported == {"type": "reported", "handle": bob.handle, "messages": 1, "blocked": True}
    seen = tidings("admin", "reports", "--data", asking_server.data, "--json").objects
    assert [(one["reported"], one["reason"], one["messages"]) for one in seen] == [
        (bob.handle, "wrote hello", 1)
    ]
    alice.says("people", "unblock", bob.at)
    assert alice.object("people", "remove", bob.at) == {"type": "removed", "handle": bob.handle}
    assert alice.objects("people", "contacts") == []


def test_people_say_who_they_are_and_who_may_see_it(alice: User, bob: User, tmp_path: Path) -> None:
    image, copy = tmp_path / "bob.png", tmp_path / "copy.png"
    image.write_bytes(PNG)
    assert bob.object("account", "profile", "--name", "Bob B.", "--about", "here")["about"] == "here"
    assert bob.object("account", "profile", "--about", "")["name"] == "Bob B."
    assert "nothing to change" in bob.fails("account", "profile")
    bob.says("account", "picture", image)
    assert "cannot read" in bob.fails("account", "picture", tmp_path / "none.png")
    found = alice.object("people", "find", bob.at)
    assert (found["name"], found["about"], found["has_picture"]) == ("Bob B.", "", True)
    assert "name     Bob B.\n" in alice.says("people", "find", bob.at)
    assert alice.object("people", "picture", bob.at, copy)["bytes"] == len(PNG)
    assert copy.read_bytes() == PNG
    assert "exists already" in alice.fails("people", "picture", bob.at, copy)

    assert bob.object("people", "privacy")["picture"] == "everyone"
    assert bob.object("people", "privacy", "picture", "nobody")["picture"] == "nobody"
    assert "for whom" in bob.fails("people", "privacy", "picture")
    assert bob.run("people", "privacy", "picture", "friends").code == 2
    assert "shows no picture" in alice.fails("people", "picture", bob.at, tmp_path / "other.png")
    bob.says("account", "remove-picture")
    assert bob.object("account", "info")["picture"] == "0"
    assert "no_such_user" in alice.fails("people", "find", "@nobody-at-all")
