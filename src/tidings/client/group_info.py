"""The info of a group, its name and description, and its picture: as shown, and as the server keeps them.

What the server has is written and read here and nowhere else; that of a group that is encrypted is sealed:
see `sealing.infos`.

spec §6.17
"""

import sqlite3

import msgspec

from tidings.client.errors import ClientError
from tidings.client.sealing import infos
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
    database: sqlite3.Connection,
    conversation_id: ConversationId,
    scheme: int,
    removal_at: int,
    info: GroupInfo,
) -> bytes:
    """An info as the server is told it. `removal_at`: the version of the group's last removal of a member."""
    plain = plainly(info)
    return plain if scheme == Scheme.PLAIN else infos.seal_info(database, conversation_id, plain, removal_at)


def plainly(info: GroupInfo) -> bytes:
    """An info that is not sealed."""
    return msgspec.msgpack.encode(info)


def read(
    database: sqlite3.Connection, conversation_id: ConversationId, scheme: int, info: bytes
) -> GroupInfo:
    """The info of a group, now that the server told one; an empty one where it cannot be read here."""
    if scheme == Scheme.PLAIN:
        return unsealed(info)
    found = infos.open_info(database, conversation_id, info)
    return NOTHING if found is None else unsealed(found)


def told(
    database: sqlite3.Connection, conversation_id: ConversationId, scheme: int, info: bytes
) -> GroupInfo:
    """What an info said when it was told, whatever holds now."""
    if scheme == Scheme.PLAIN:
        return unsealed(info)
    found = infos.peek(database, conversation_id, info)
    return NOTHING if found is None else unsealed(found)


def previewed(conversation_id: ConversationId, scheme: int, info: bytes, secret: bytes) -> GroupInfo:
    """What an info says to who has an invite link."""
    if scheme == Scheme.PLAIN:
        return unsealed(info)
    found = infos.preview(conversation_id, secret, info)
    return NOTHING if found is None else unsealed(found)


def written_picture(
    database: sqlite3.Connection,
    conversation_id: ConversationId,
    scheme: int,
    removal_at: int,
    picture: bytes,
) -> bytes:
    """A picture as the server is given it; `removal_at` as with `written`."""
    if scheme == Scheme.PLAIN:
        return picture
    return infos.seal_picture(database, conversation_id, picture, removal_at)


def read_picture(
    database: sqlite3.Connection, conversation_id: ConversationId, scheme: int, content: bytes
) -> bytes:
    """A picture that the server gave. Raises ClientError for one that cannot be opened here."""
    if scheme == Scheme.PLAIN:
        return content
    found = infos.open_picture(database, conversation_id, content)
    if found is None:
        raise ClientError(
            "the picture of this group cannot be opened here", "its key comes with what members write next"
        )
    return found


def unsealed(info: bytes) -> GroupInfo:
    """An info that is not sealed; an empty one for what is none."""
    try:
        found = _decode(info)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NOTHING
    return GroupInfo(found.name[:NAME_CHARS], found.about[:ABOUT_CHARS])


_decode = msgspec.msgpack.Decoder(GroupInfo).decode
