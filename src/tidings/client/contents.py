"""What is said in a content that is more than text: mentions, polls, votes, and what changes a group.

The server looks into none of them but its own (`CHANGE`). Each has a content type, and a content in
MessagePack that is encrypted with the message; a structure is an array, to which fields are only ever added
at the end. Text that mentions nobody is plain text.

| content type | content |
|---|---|
| `application/vnd.tidings.text` | the text, and for each user whom it mentions: user_id, where, how long |
| `application/vnd.tidings.poll` | the question, the options, whether several may be chosen |
| `application/vnd.tidings.vote` | the numbers of the options that are chosen, from 0; nothing takes it back |

spec §6.3, §6.17
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from tidings.protocol.frames import GroupChange, Message
from tidings.protocol.ids import UserId

CHANGE = "application/vnd.tidings.change"
"""by the server: a group was changed"""
MARKED = "application/vnd.tidings.text"
POLL = "application/vnd.tidings.poll"
VOTE = "application/vnd.tidings.vote"

OPTIONS_MIN, OPTIONS_MAX = 2, 20
"""of a poll"""
OPTION_CHARS, QUESTION_CHARS = 200, 500
MENTIONS_MAX = 100
"""users whom one message mentions"""
HANDLES = re.compile(r"(?<![\w@.\-])@([A-Za-z0-9_][A-Za-z0-9_.\-]{0,30}[A-Za-z0-9_])")
"""how people write whom they mean; what ends a sentence is no part of it"""


class Mention(msgspec.Struct, array_like=True, frozen=True):
    """A user who is mentioned: the characters (Unicode code points) from `start` on are their name."""

    user_id: UserId
    start: Annotated[int, Meta(ge=0)]
    length: Annotated[int, Meta(ge=0)]


class Marked(msgspec.Struct, array_like=True, frozen=True):
    """Text that mentions users."""

    text: str
    mentions: Annotated[list[Mention], Meta(max_length=MENTIONS_MAX)]


class Poll(msgspec.Struct, array_like=True, frozen=True):
    """A question, and what may be answered."""

    question: str
    options: tuple[str, ...]
    multiple: bool = False
    """whether more than one option may be chosen"""


def marked(text: str, users: Mapping[str, UserId]) -> tuple[str, bytes]:
    """The content type and content of a text; `users` are those known by handle, in lower case."""
    mentions = [
        Mention(users[found[1].lower()], found.start(), len(found[0]))
        for found in HANDLES.finditer(text)
        if found[1].lower() in users
    ]
    if not mentions:
        return "text/plain", text.encode()
    return MARKED, _encode(Marked(text, mentions[:MENTIONS_MAX]))


def handles_in(text: str) -> set[str]:
    """Whom a text may mention: handles in lower case."""
    return {found[1].lower() for found in HANDLES.finditer(text)}


def text_of(content_type: str, content: bytes) -> str:
    """What a content says, as text; what is not UTF-8 is replaced."""
    if content_type == MARKED:
        found = _marked(content)
        return "" if found is None else found.text
    if content_type == POLL:
        poll = poll_of(content_type, content)
        return "" if poll is None else poll.question
    return content.decode(errors="replace")


def mentions_in(content_type: str, content: bytes) -> Sequence[Mention]:
    """Who is mentioned."""
    found = _marked(content) if content_type == MARKED else None
    return () if found is None else found.mentions


def poll_bytes(poll: Poll) -> bytes:
    """A poll as its content."""
    return _encode(poll)


def poll_of(content_type: str, content: bytes) -> Poll | None:
    """The poll that a content is, if it is one."""
    if content_type != POLL:
        return None
    try:
        return _decode_poll(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def vote_bytes(options: Sequence[int]) -> bytes:
    """What is chosen, as the content of a vote."""
    return _encode(sorted(set(options))) if options else b""


def vote_of(content: bytes) -> tuple[int, ...]:
    """The options that a vote chooses; none for what cannot be read."""
    try:
        return tuple(sorted(set(_decode_vote(content)))) if content else ()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()


def change_of(message: Message) -> GroupChange | None:
    """The change of a group that a message by the server tells of; None for what anybody else wrote."""
    if not is_notice(message):
        return None
    try:
        return _decode_change(message.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def info_in(content: bytes) -> bytes:
    """The info in the content of a change by the server; empty if it has none."""
    try:
        return _decode_change(content).info
    except (msgspec.DecodeError, UnicodeDecodeError):
        return b""


def is_notice(message: Message) -> bool:
    """Whether the server itself says that a group was changed: no device has the number 0."""
    return message.sender_device == 0 and message.content_type == CHANGE


def _marked(content: bytes) -> Marked | None:
    try:
        return _decode_marked(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


_encode = msgspec.msgpack.Encoder().encode
_decode_marked = msgspec.msgpack.Decoder(Marked).decode
_decode_poll = msgspec.msgpack.Decoder(Poll).decode
_decode_vote = msgspec.msgpack.Decoder(Annotated[list[int], Meta(max_length=OPTIONS_MAX)]).decode
_decode_change = msgspec.msgpack.Decoder(GroupChange).decode
