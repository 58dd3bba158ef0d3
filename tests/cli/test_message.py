"""`tidings message`, and what `send` can besides: what is said and done about messages."""

import json

import pytest

from cli.rig import User, register
from client.rig import People

pytestmark = pytest.mark.slow


def test_a_message_is_answered_edited_reacted_to_and_deleted(alice: User, bob: User) -> None:
    with bob.start("listen", "--json") as hearing, bob.start("watch", alice.at) as watching:
        watching.until("is offline")  # a side client beside the receiving one
        sent = alice.object("send", bob.at, "how are yu?")
        came = hearing.until_object(type="message", text="how are yu?")
        assert came["reference"] == sent["reference"]
        edited = alice.object("message", "edit", bob.at, "last", "how are you?")
        assert (edited["type"], edited["about"]) == ("edit", sent["reference"])
        told = hearing.until_object(type="edit", text="how are you?")
        assert (told["about"], told["message_id"]) == (sent["reference"], edited["message_id"])

        answer = bob.object("send", alice.at, "fine", "--reply", "last")
        assert hearing.until_object(type="sent", text="fine")["reply_to"] == sent["reference"]
        assert bob.object("message", "react", alice.at, "last", "👍")["about"] == sent["reference"]
        hearing.until_object(type="reaction", reaction="👍", own=True)

        (question, reply) = alice.objects("history", bob.at)
        assert (question["text"], question["edited"]) == ("how are you?", True)
        assert question["reactions"] == {bob.handle: "👍"}
        assert (reply["reply_to"], reply["reference"]) == (sent["reference"], answer["reference"])
        shown = alice.says("history", bob.at, "--ids").splitlines()
        assert shown[0].startswith(f"{sent['message_id']}  ")
        assert f"{alice.at}: how are you?  (edited)  [👍 {bob.at}]  ✓" in shown[0]
        assert shown[1].endswith(f"{bob.at}: (re: “how are you?”) fine")

        bob.says("message", "unreact", alice.at, "last")
        hearing.until_object(type="reaction", reaction="")
        assert alice.object("message", "delete", bob.at, sent["message_id"])["about"] == sent["reference"]
        hearing.until_object(type="delete", about=sent["reference"])
    (question, _) = bob.objects("history", alice.at)
    assert (question["deleted"], question["text"], question["reactions"]) == (True, "", {})
    assert f"{alice.at}: (deleted)\n" in bob.says("history", alice.at)


def test_what_cannot_be_done_to_a_message_says_why(alice: User, bob: User) -> None:
    assert "no message of yours" in alice.fails("message", "edit", bob.at, "last", "x")
    sent = alice.object("send", bob.at, "mine", "--silent")
    assert "tidings message hide" in bob.fails("message", "edit", alice.at, sent["message_id"], "x")
    assert "no message_id" in alice.fails("message", "delete", bob.at, "first")
    assert "--ids" in alice.fails("message", "react", bob.at, str(int(sent["message_id"]) - 1), "👍")
    assert "limits.md" in alice.fails("send", bob.at, "x", "--expires", "500d")
    assert "no length of time" in alice.fails("send", bob.at, "x", "--expires", "soon")
    alice.fails("message", "forward", bob.at, "last", "@nobody-at-all")
    assert bob.object("history", alice.at)["silent"] is True


def test_messages_are_forwarded_starred_hidden_and_timed(alice: User, bob: User, people: People) -> None:
    register(people.server.url, people.handle("carol"), alice.profile.with_name("carol"))
    carol = "@" + people.handle("carol")
    bob.says("send", alice.at, "news", "--expires", "7d")
    alice.says("send", bob.at, "I see")
    news, reply = alice.objects("history", bob.at)
    assert news["expires_at"] - news["created_at"] == pytest.approx(604_800_000, abs=60_000)
    assert "(vanishes " in alice.says("history", bob.at)

    forwarded = alice.object("message", "forward", bob.at, "last", carol)
    assert forwarded["to"] == people.handle("carol")
    (gone_on,) = alice.objects("history", carol)
    assert (gone_on["text"], gone_on["forwarded"], gone_on["own"]) == ("news", True, True)

    alice.says("message", "star", bob.at, "last")
    alice.says("message", "star", bob.at, reply["message_id"])
    assert [one["text"] for one in alice.objects("message", "starred")] == ["I see", "news"]
    alice.says("message", "unstar", bob.at, reply["message_id"])
    (line,) = alice.says("message", "starred", "--ids").splitlines()
    assert line.startswith(bob.at)
    assert f"{news['message_id']}  " in line
    assert f"{bob.at}: news" in line

    hidden = alice.object("message", "hide", bob.at, news["message_id"])
    assert (hidden["type"], hidden["about"]) == ("hidden", news["reference"])
    assert [one["text"] for one in alice.objects("history", bob.at)] == ["I see"]
    assert [one["text"] for one in bob.objects("history", alice.at)] == ["news", "I see"]


def test_info_tells_when_a_message_was_delivered_and_read(alice: User, bob: User) -> None:
    sent = alice.object("send", bob.at, "hello")
    before = alice.object("message", "info", bob.at, "last")
    assert (before["message_id"], before["delivered_at"], before["read_at"]) == (
        sent["message_id"],
        None,
        None,
    )
    with bob.start("listen", "--json") as hearing:
        hearing.until_object(type="message")
        bob.says("read", alice.at)
        assert json.loads(hearing.until('"type": "read"'))["up_to"] == sent["message_id"]
    after = alice.object("message", "info", bob.at, sent["message_id"])
    assert after["read_at"] >= after["delivered_at"] >= sent["created_at"] - 1000
    shown = alice.says("message", "info", bob.at, "last")
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["sent", "delivered", "read"]
    assert "not known" not in shown
