"""The info of a group, its name and description, and its picture: as shown, and as the server keeps them.

What the server has is written and read here and nowhere else: a group that is encrypted has both sealed in
these functions.

spec §6.17
"""

import sqlite3

import msgspec

from tidings.client.errors import ClientError
from tidings.protocol.frames import Scheme
from tidings.protocol.ids import ConversationId

NAME_CHARS, ABOUT_CHARS = 100, 1000


class GroupInfo(msgspec.Struct, array_like=True, frozen=True):
    """What a group calls itself."""

    name: str = ""
    about: str = ""


NOTHING = GroupInfo()


def checked(name: str, about: str) -> GroupInfo:
    """An info that people can read. Raises ClientError."""
    name, about = " ".join(name.split()), about.strip()
    if not name:
        raise ClientError("a group has a name", "give it one that others know it by")
    if len(name) > NAME_CHARS or len(about) > ABOUT_CHARS:
        raise ClientError(
            f"a name has at most {NAME_CHARS} characters, a description {ABOUT_CHARS}", "make it shorter"
        )
    if not name.isprintable():
        raise ClientError("the name of a group has characters that cannot be shown", "leave them out")
    return GroupInfo(name, about)


def written(
    database: sqlite3.Connection,  # noqa: ARG001 - where the keys are
    conversation_id: ConversationId,  # noqa: ARG001 - what a seal is bound to
    scheme: int,
    info: GroupInfo,
) -> bytes:
    """An info as the server is told it. Raises ClientError for a group that this client cannot seal for."""
    if scheme != Scheme.PLAIN:
        raise ClientError("this version cannot encrypt the name of a group", "use a newer one")
    return msgspec.msgpack.encode(info)


def read(
    database: sqlite3.Connection,  # noqa: ARG001 - where the keys are
    conversation_id: ConversationId,  # noqa: ARG001 - what a seal is bound to
    scheme: int,
    info: bytes,
) -> GroupInfo:
    """An info that the server told; an empty one where it cannot be read here."""
    return unsealed(info) if scheme == Scheme.PLAIN else NOTHING


def written_picture(
    database: sqlite3.Connection,  # noqa: ARG001 - where the keys are
    conversation_id: ConversationId,  # noqa: ARG001 - what a seal is bound to
    scheme: int,
    picture: bytes,
) -> bytes:
    """A picture as the server is given it. Raises ClientError as `written` does."""
    if scheme != Scheme.PLAIN:
        raise ClientError("this version cannot encrypt the picture of a group", "use a newer one")
    return picture


def read_picture(
    database: sqlite3.Connection,  # noqa: ARG001 - where the keys are
    conversation_id: ConversationId,  # noqa: ARG001 - what a seal is bound to
    scheme: int,
    content: bytes,
) -> bytes:
    """A picture that the server gave. Raises ClientError for one that cannot be opened here."""
    if scheme != Scheme.PLAIN:
        raise ClientError("this version cannot open the picture of a group", "use a newer one")
    return content


def unsealed(info: bytes) -> GroupInfo:
    """An info that is not sealed; an empty one for what is none."""
    try:
        found = _decode(info)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NOTHING
    return GroupInfo(found.name[:NAME_CHARS], found.about[:ABOUT_CHARS])


_decode = msgspec.msgpack.Decoder(GroupInfo).decode
