"""`tidings chats`: the list, and what is kept of each conversation on all devices."""

import time
from pathlib import Path

import pytest

from cli.rig import User
from client.rig import People

pytestmark = pytest.mark.slow


def test_the_list_shows_what_is_new_and_what_was_done(
    alice: User, bob: User, people: People, tmp_path: Path
) -> None:
    assert alice.objects("chats", "list") == []
    bob.says("send", alice.at, "one")
    bob.says("send", alice.at, "two")
    # The list takes in what waits on the server; who listens is told of it all the same.
    (chat,) = alice.objects("chats", "list")
    assert (chat["peer"], chat["unread"], chat["newest"]["text"]) == (bob.handle, 2, "two")
    with alice.start("listen", "--json") as hearing:
        hearing.until_object(type="message", text="two")
        assert alice.objects("chats", "list") == [chat]

    assert alice.object("chats", "pin", bob.at)["pinned"] is True
    muted = alice.object("chats", "mute", bob.at, "--for", "8h")["muted_until"]
    assert muted == pytest.approx((time.time() + 8 * 3600) * 1000, abs=120_000)
    assert alice.object("chats", "archive", bob.at)["archived"] is True
    assert "is kept" in alice.says("chats", "draft", bob.at, "see you at")
    assert alice.object("chats", "timer", bob.at, "8h")["timer_s"] == 28_800
    line, draft = alice.says("chats", "list").splitlines()
    assert line.startswith(bob.at)
    assert "2 new" in line
    assert f"{bob.at}: two  (pinned, archived, muted until " in line
    assert draft == "    draft: see you at"
    assert alice.says("chats", "draft", bob.at) == "see you at\n"

    # A new device has all of it, too, once it is in; what was written before is not for it.
    phone = alice.logs_in(people.server.url, tmp_path / "phone")
    alice.links(phone)
    with phone.start("listen", "--json") as listening:
        listening.until_object(type="setting", kind="draft", value="see you at")
        listening.until("caught_up")
    assert [(one["text"], one["fault"]) for one in phone.objects("history", bob.at)] == [("", "no_key")] * 2

    timed = alice.object("send", bob.at, "three")
    (seen,) = [one for one in bob.objects("history", alice.at) if one["text"] == "three"]
    assert seen["message_id"] == timed["message_id"]
    assert seen["expires_at"] - seen["created_at"] == pytest.approx(28_800_000, abs=60_000)
    assert alice.object("chats", "timer", bob.at, "off")["timer_s"] == 0

    for verb in ("unpin", "unmute", "unarchive"):
        alice.says("chats", verb, bob.at)
    chat = alice.object("chats", "draft", bob.at, "")
    assert (chat["pinned"], chat["archived"], chat["muted_until"], chat["draft"]) == (False, False, 0, "")
    assert "is muted\n" in alice.says("chats", "mute", bob.at)
    alice.says("read", bob.at)
    assert alice.object("chats", "list")["unread"] == 0


def test_what_is_wrong_is_told_with_a_hint(alice: User) -> None:
    assert "no length of time" in alice.fails("chats", "mute", "@bob", "--for", "8")
    assert "no length of time" in alice.fails("chats", "timer", "@bob", "on")
    assert "no_such_user" in alice.fails("chats", "pin", "@nobody-at-all")
