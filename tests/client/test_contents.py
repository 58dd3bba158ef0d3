"""Contents that are more than text: what was meant comes out, and what is broken says nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.client import contents
from tidings.client.contents import MARKED, POLL, Mention, Poll
from tidings.client.errors import ClientError
from tidings.client.folding import folded
from tidings.client.invite_links import Invite, invite
from tidings.client.values import Message
from tidings.protocol import frames
from tidings.protocol.frames import Reference, Relation
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId, UserId

USERS = {"bob": UserId(7), "carol.b": UserId(9)}
HERE = ConversationId(b"g" * 16)


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("Hello @bob", ["@bob"]),
        ("@bob: what says @Carol.b?", ["@bob", "@Carol.b"]),
        ("@bob.", ["@bob"]),
        ("write to alice@bob, or @@bob", []),
        ("@bobby, @nobody and @", []),
        ("ünïcode 🍝 @bob", ["@bob"]),
    ],
)
def test_who_is_mentioned(text: str, mentioned: list[str]) -> None:
    content_type, content = contents.marked(text, USERS)
    found = contents.mentions_in(content_type, content)
    assert [text[one.start : one.start + one.length] for one in found] == mentioned
    assert contents.text_of(content_type, content) == text
    assert (content_type == MARKED) == bool(mentioned)


def test_a_message_has_at_most_so_many_mentions() -> None:
    content_type, content = contents.marked("@bob " * 500, USERS)
    assert len(contents.mentions_in(content_type, content)) == contents.MENTIONS_MAX
    assert contents.text_of(content_type, content) == "@bob " * 500


@given(st.binary(max_size=200))
def test_what_is_broken_says_nothing(content: bytes) -> None:
    for content_type in (MARKED, POLL, "text/plain"):
        assert isinstance(contents.text_of(content_type, content), str)
        assert isinstance(contents.mentions_in(content_type, content), list | tuple)
        contents.poll_of(content_type, content)
    assert isinstance(contents.vote_of(content), tuple)


def test_votes_are_numbers_in_order() -> None:
    assert contents.vote_of(contents.vote_bytes([3, 1, 1])) == (1, 3)
    assert contents.vote_of(contents.vote_bytes([])) == ()
    assert contents.vote_bytes([]) == b""


def poll(*, multiple: bool) -> Message:
    return Message(
        reference=Reference(DeviceId(8), ClientId(b"p" * 16)),
        message_id=MessageId(1),
        conversation_id=HERE,
        peer="#" + HERE.hex(),
        peer_id=UserId(0),
        sender="bob",
        sender_id=UserId(7),
        own=False,
        content=contents.poll_bytes(Poll("When?", ("six", "seven"), multiple)),
        content_type=POLL,
        created_at=0,
    )


def vote(by: UserId, number: int, *options: int) -> frames.Message:
    content = contents.vote_bytes(options)
    name = ClientId(number.to_bytes(16, "big"))
    about = Reference(DeviceId(8), ClientId(b"p" * 16))
    return frames.Message(
        MessageId(number),
        HERE,
        by,
        DeviceId(by),
        name,
        1,
        0,
        contents.VOTE,
        content,
        0,
        about,
        relation=Relation.VOTE,
    )


@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_vote_of_each_counts(order: int) -> None:
    votes = [vote(UserId(1), 2, 0), vote(UserId(1), 3, 1), vote(UserId(2), 4, 0, 1), vote(UserId(3), 5, 1)]
    votes += [vote(UserId(3), 6), vote(UserId(4), 7, 9)]
    called = {1: "ann", 2: "ben", 3: "cy", 4: "di"}
    assert folded(poll(multiple=True), votes[::order], called).votes == {0: ["ben"], 1: ["ann", "ben"]}
    assert folded(poll(multiple=False), votes[::order], called).votes == {0: ["ben"], 1: ["ann"]}


def test_a_mention_is_for_whom_it_names() -> None:
    mention = Mention(UserId(7), 0, 4)
    assert mention.user_id == 7


def test_links_are_read_as_they_are_copied() -> None:
    made = Invite(bytes(range(16)), b"secret")
    assert invite(f"  {made}\n") == made
    assert invite(str(made).removeprefix("tidings:join/")) == made
    plain = Invite(b"\xff" * 16)
    assert str(plain) == "tidings:join/" + "_" * 21 + "w"
    assert invite(str(plain)) == plain
    assert len(plain.hash) == 32


@pytest.mark.parametrize(
    "link", ["", "tidings:join/", "tidings:join/abc", "https://example.org/x", "tidings:join/é" * 9]
)
def test_what_is_no_link_is_refused(link: str) -> None:
    with pytest.raises(ClientError, match="no invite link"):
        invite(link)
