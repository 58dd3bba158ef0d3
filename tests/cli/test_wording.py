"""How events and messages look, to people and to programs."""

import json
import time
import typing
from dataclasses import replace

import pytest

from tidings.cli.group_asking import group_line, group_lines
from tidings.cli.group_objects import group_object
from tidings.cli.objects import chat_object, event_object, message_object
from tidings.cli.wording import body, chat_line, event_line, history_line, message_line, titled
from tidings.client import events
from tidings.client.contents import POLL, Poll, marked, poll_bytes
from tidings.client.events import (
    CaughtUpEvent,
    ConnectionEvent,
    DeleteEvent,
    EditEvent,
    Event,
    ExpiredEvent,
    FailedEvent,
    GapEvent,
    GroupEvent,
    MessageEvent,
    OpenedEvent,
    PastEvent,
    PresenceEvent,
    ReactionEvent,
    ReadEvent,
    ReceiptEvent,
    RequestEvent,
    SentEvent,
    SettingEvent,
    TallyEvent,
    TypingEvent,
    VoteEvent,
    WarningEvent,
)
from tidings.client.group_values import Change, Group, InviteLink, Pinned, Rules, Tally
from tidings.client.values import Chat, Fault, Message, Reaction, Vote
from tidings.protocol.frames import GroupAction, GroupRole, Reference, Relation, SettingKind, Status
from tidings.protocol.ids import SNOWFLAKE_MAX, ClientId, ConversationId, DeviceId, MessageId, UserId

CONVERSATION = ConversationId(b"\xff" * 16)
NAME = ClientId(b"\x01" * 16)
REFERENCE = Reference(DeviceId(SNOWFLAKE_MAX), NAME)
EVIL = "\x1b[2J\x07evil\nline"
NOW_MS = time.time_ns() // 1_000_000
MESSAGE: dict[str, typing.Any] = {
    "reference": REFERENCE,
    "message_id": MessageId(SNOWFLAKE_MAX),
    "conversation_id": CONVERSATION,
    "peer": "bob",
    "peer_id": UserId(7),
    "sender": "bob",
    "sender_id": UserId(7),
    "own": False,
    "content": EVIL.encode(),
    "content_type": "text/plain",
    "created_at": NOW_MS,
}
ABOUT = (CONVERSATION, "bob", REFERENCE)
PEER = "#" + CONVERSATION.hex()
GROUP = Group(
    conversation_id=CONVERSATION,
    peer=PEER,
    name=EVIL,
    about=EVIL,
    count=3,
    made_by="alice",
    pins=(Pinned(REFERENCE, MessageId(1)),),
    links=(InviteLink(b"\x01" * 32, NOW_MS, EVIL),),
    waiting=(EVIL,),
)
EVENTS: list[Event] = [
    MessageEvent(**MESSAGE),
    SentEvent(**{**MESSAGE, "sender": "alice", "own": True}),
    PastEvent(**MESSAGE),
    OpenedEvent(**{**MESSAGE, "sealed": True}),
    WarningEvent("identity_changed", EVIL, UserId(7), CONVERSATION, EVIL),
    FailedEvent(NAME, PEER, "text/plain", EVIL.encode(), Relation.NONE, None, 4, EVIL, EVIL, 0),
    FailedEvent(NAME, EVIL, "text/plain", EVIL.encode(), Relation.EDIT, REFERENCE, 4, EVIL, EVIL, 0),
    EditEvent(*ABOUT, False, MessageId(1), EVIL.encode(), "text/plain"),
    DeleteEvent(*ABOUT, True, MessageId(1)),
    ReactionEvent(*ABOUT, "bob", False, EVIL, MessageId(1)),
    ReactionEvent(*ABOUT, "bob", False, "", MessageId(1)),
    VoteEvent(CONVERSATION, PEER, REFERENCE, EVIL, False, (0, 7), MessageId(1)),
    GroupEvent(GROUP),
    TallyEvent(CONVERSATION, PEER, MessageId(1), Tally(2, 1, 3)),
    MessageEvent(**{**MESSAGE, "peer": PEER, "change": Change(GroupAction.ADD, EVIL, (EVIL, "bob"))}),
    EditEvent(CONVERSATION, PEER, REFERENCE, False, MessageId(1), EVIL.encode(), "text/plain"),
    DeleteEvent(CONVERSATION, PEER, REFERENCE, False, MessageId(1)),
    ExpiredEvent(*ABOUT),
    ReceiptEvent(CONVERSATION, "bob", "read", MessageId(1), [MessageId(1)]),
    ReadEvent(CONVERSATION, "bob", MessageId(1)),
    SettingEvent(SettingKind.DRAFT, "00", EVIL.encode()),
    SettingEvent(SettingKind.OPAQUE, EVIL, b"\xff"),
    SettingEvent(SettingKind.PRIVACY, EVIL, EVIL.encode()),
    SettingEvent(SettingKind.STAR, "00", b""),
    RequestEvent("bob", UserId(7), CONVERSATION, 2, NOW_MS),
    RequestEvent("bob", UserId(7), CONVERSATION, 0, NOW_MS),
    TypingEvent(CONVERSATION, "bob", True, "bob"),
    TypingEvent(CONVERSATION, PEER, True, EVIL),
    PresenceEvent(UserId(7), "bob", False, NOW_MS),
    ConnectionEvent("connected"),
    ConnectionEvent("disconnected", EVIL, 1.5),
    CaughtUpEvent(),
    GapEvent(NOW_MS),
]


def in_group(event: Event) -> bool:
    return getattr(event, "peer", "").startswith("#")


def message(**changes: typing.Any) -> Message:
    return Message(**{**MESSAGE, "content": b"hello", "sealed": True, **changes})


def test_every_kind_of_event_is_here() -> None:
    assert {type(event) for event in EVENTS} == set(typing.get_args(events.Event))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_no_event_plays_with_the_terminal_or_with_programs(event: Event) -> None:
    line = event_line(event, message(content=EVIL.encode()), titled(EVIL, PEER) if in_group(event) else "")
    if line is None:
        assert isinstance(event, PastEvent | GroupEvent) or getattr(event, "kind", None) == SettingKind.OPAQUE
    else:
        assert all(char.isprintable() or char == "\n" for char in line)
        assert all(part.startswith("    ") for part in line.split("\n")[1:])
    told = json.loads(json.dumps(event_object(event)))
    assert isinstance(told["type"], str)
    ids = {value for name, value in told.items() if name.endswith("_id") or name == "up_to"}
    assert all(isinstance(value, str) for value in ids)


def test_types_of_objects_tell_events_apart() -> None:
    kinds = {type(event): event_object(event)["type"] for event in EVENTS}
    assert len(set(kinds.values())) == len(kinds)


def test_programs_are_told_whether_it_was_encrypted_and_why_it_cannot_be_read() -> None:
    plain = message_object(message(sealed=False))
    assert (plain["sealed"], plain["fault"]) == (False, None)
    told = message_object(message(sealed=True, fault=Fault.NO_KEY, content=b""))
    assert (told["sealed"], told["fault"], told["text"]) == (True, "no_key", "")


def test_ids_are_written_so_that_any_program_can_read_them() -> None:
    told = message_object(message(reply_to=REFERENCE))
    assert told["message_id"] == str(SNOWFLAKE_MAX)
    assert told["conversation_id"] == "/////////////////////w=="
    assert told["reference"] == {"sender_device": str(SNOWFLAKE_MAX), "client_id": "01" * 16}
    assert told["reply_to"] == told["reference"]


def test_content_that_is_no_text_is_told_in_base64() -> None:
    told = message_object(message(content=b"\xff\x00", content_type="image/png"))
    assert (told["text"], told["content"]) == ("�\x00", "/wA=")
    assert "content" not in message_object(message())
    assert body(message(content=b"\xff\x00", content_type="image/png")) == "(image/png, 2 bytes)"


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({}, "@bob: hello"),
        ({"edit": MessageId(9)}, "@bob: hello  (edited)"),
        ({"sealed": False}, "@bob: hello  (not encrypted)"),
        ({"sealed": False, "sender": "alice", "own": True, "status": Status.READ}, "@alice: hello  ✓✓ read"),
        ({"delete": MessageId(9), "content": b"", "content_type": ""}, "@bob: (deleted)"),
        ({"content": b"", "content_type": ""}, "@bob: (vanished)"),
        ({"forwarded": True}, "@bob: (forwarded) hello"),
        ({"reply_to": REFERENCE}, "@bob: (re: an earlier message) hello"),
        ({"reacted": {"alice": Reaction("👍", MessageId(3))}}, "@bob: hello  [👍 @alice]"),
        ({"reacted": {"alice": Reaction("", MessageId(3))}}, "@bob: hello"),
        ({"sender": "alice", "own": True, "status": Status.READ}, "@alice: hello  ✓✓ read"),
        ({"fault": Fault.NO_KEY, "content": b""}, "@bob: (cannot be read here: its key has not come)"),
        ({"fault": Fault.PLAINTEXT, "content": b""}, "@bob: (not encrypted, so it is not shown)"),
    ],
)
def test_what_became_of_a_message_is_seen(changes: dict[str, typing.Any], ending: str) -> None:
    assert history_line(message(**changes)).endswith(ending)


@pytest.mark.parametrize("kind", typing.get_args(events.WarningKind))
def test_every_warning_says_what_is_wrong(kind: events.WarningKind) -> None:
    line = event_line(WarningEvent(kind, "bob", UserId(7), ConversationId(b""), ""))
    assert line is not None
    assert line.startswith("! @bob: ")


def test_an_answer_quotes_and_ids_go_in_front() -> None:
    line = message_line(message(reply_to=REFERENCE), quoted=message(content=b"how\nare you? " * 9), ids=True)
    assert line.startswith(f"{SNOWFLAKE_MAX}  ")
    assert line.endswith("(re: “how are you? how are you? how are you? …”) hello")
    assert "(vanishes " in message_line(message(expires_at=NOW_MS))


def test_a_chat_says_all_about_itself() -> None:
    chat = Chat(peer="bob", peer_id=UserId(7), conversation_id=CONVERSATION)
    assert chat_line(chat).strip() == "@bob"
    full = replace(
        chat,
        unread=3,
        newest=message(),
        pinned=True,
        archived=True,
        draft=EVIL,
        muted_until=NOW_MS + 86_400_000,
    )
    line = chat_line(full)
    assert "3 new" in line
    assert "@bob: hello  (pinned, archived, muted until " in line
    assert line.endswith("draft: �[2J�evil\n    line")
    assert chat_line(replace(chat, muted_until=SNOWFLAKE_MAX)).endswith("(muted)")
    assert chat_line(replace(chat, muted_until=1)).strip() == "@bob"
    told = chat_object(full)
    assert (told["peer_id"], told["unread"], told["newest"]) == ("7", 3, message_object(message()))


def test_a_group_says_all_about_itself() -> None:
    chat = Chat(
        peer=PEER, peer_id=UserId(0), conversation_id=CONVERSATION, group=replace(GROUP, name="Family")
    )
    assert chat_line(chat).strip() == "#Family"
    assert chat_line(replace(chat, group=replace(GROUP, name="Family", is_left=True))).endswith("(left)")
    assert group_line(replace(GROUP, name="Family")).startswith("#Family ")
    lines = group_lines(GROUP).split("\n")
    assert all(char.isprintable() for line in lines for char in line)
    assert any(line.startswith("pinned ") for line in lines)
    told = json.loads(json.dumps(group_object(GROUP)))
    assert (told["peer"], told["role"], told["rules"]["add"]) == (PEER, "member", "admin")


def test_a_poll_shows_its_votes() -> None:
    content = poll_bytes(Poll("When?", ("at six", "at seven")))
    votes = {
        "bob": Vote((1,), MessageId(3)),
        "carol": Vote((), MessageId(4)),
        "dave": Vote((9,), MessageId(5)),
    }
    asked = message(content=content, content_type=POLL, voted=votes)
    assert body(asked) == "poll: When?\n1. at six (0)\n2. at seven (1) @bob"
    assert message_object(asked)["poll"] == {
        "question": "When?",
        "options": ["at six", "at seven"],
        "multiple": False,
        "votes": [[], ["bob"]],
    }
    vote = VoteEvent(CONVERSATION, PEER, REFERENCE, "bob", False, (1,), MessageId(1))
    assert event_line(vote, asked) == "— @bob voted for at seven: “When?” —"


def test_who_is_mentioned_sees_it_and_how_many_have_read() -> None:
    content_type, content = marked("Hello @bob", {"bob": UserId(7)})
    mine = message(content=content, content_type=content_type, me_id=UserId(7), peer=PEER)
    assert history_line(mine).endswith("@bob: Hello @bob  (mentions you)")
    assert message_object(mine)["text"] == "Hello @bob"
    sent = message(own=True, sender="alice", peer=PEER, status=Status.SENT, tally=Tally(2, 0, 3))
    assert history_line(sent).endswith("✓ 2 of 3 have it")
    assert history_line(replace(sent, tally=Tally(3, 1, 3), status=Status.DELIVERED)).endswith(
        "✓✓ read by 1 of 3"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change(GroupAction.CREATE, "alice", name="Family"), "alice made the group “Family”"),
        (Change(GroupAction.ADD, "alice", ("bob", "carol", "dave")), "alice added bob, carol and dave"),
        (Change(GroupAction.JOIN, "bob", ("bob", "carol")), "bob and carol joined by an invite link"),
        (Change(GroupAction.LEAVE, "bob"), "bob left"),
        (Change(GroupAction.ROLE, "alice", ("bob",), GroupRole.ADMIN), "alice made bob an admin"),
        (Change(GroupAction.ROLE, "alice", ("bob",), GroupRole.OWNER), "alice handed the group over to bob"),
        (Change(GroupAction.ROLE, "alice", ("bob",)), "alice made bob an ordinary member"),
        (Change(GroupAction.INFO, "alice", name="Clan", about="us"), "alice calls the group “Clan”: us"),
        (Change(GroupAction.PICTURE, "alice"), "alice removed the picture"),
        (
            Change(GroupAction.RULES, "alice", rules=Rules(GroupRole.ADMIN, approval=True)),
            "alice changed the rules: admins may write, admins add, admins edit;"
            " who comes by a link is let in first",
        ),
    ],
)
def test_what_was_changed_in_a_group_is_a_sentence(change: Change, text: str) -> None:
    assert change.text == text


@pytest.mark.parametrize("action", GroupAction)
def test_every_change_of_a_group_is_a_sentence(action: GroupAction) -> None:
    assert Change(action, "alice", ("bob",)).text.startswith(("alice ", "bob "))
