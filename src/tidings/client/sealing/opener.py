"""The opener: from what was delivered to the message that was written, or to what is wrong with it.

It runs in the transaction that stores the message, before that is acknowledged: the ratchet has stepped
exactly if the message is there.

spec §6.16
"""

import sqlite3
from typing import NamedTuple

import msgspec

from tidings.client.sealing import asking, chains, lists, own, sessions
from tidings.client.sealing.inside import Inside, Outside, unseal, unwrapped
from tidings.client.sealing.sealer import Self
from tidings.client.sealing.sessions import End, Ends, Unopened
from tidings.client.sealing.warnings import warn
from tidings.client.values import Fault
from tidings.protocol.frames import Message, Reference, Relation, Scheme
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, direct_conversation_id
from tidings.protocol.keys import ListedDevice


class Opened(NamedTuple):
    """A message as it is to be stored."""

    message: Message
    """with what was inside, or without content"""
    fault: Fault = Fault.NONE
    sealed: bytes | None = None
    """the content as it came, until the key comes"""


def open_message(
    database: sqlite3.Connection, me: Self, message: Message, envelope: bytes | None, now_ms: int
) -> Opened:
    """Open what was delivered."""
    if is_open(message):
        return open_unsealed(database, message)
    note_sealed(database, message.conversation_id)
    key = asking.take_early(database, Reference(message.sender_device, message.client_id))
    if key is None:
        try:
            key = _unwrap(database, me, message, envelope, message.client_id, now_ms)
        except Unopened:
            return Opened(emptied(message), Fault.NO_KEY, message.content)
        except LookupError:
            return unknown_device(database, message)
    return open_with(database, me, message, key, now_ms)


def open_unsealed(database: sqlite3.Connection, message: Message) -> Opened:
    """What came unsealed: it says something only where nothing was sealed before. See `is_open`."""
    if is_erased(message):
        return Opened(emptied(message))  # on the server, by time or by a delete that comes by itself
    if not is_sealed(database, message.conversation_id):
        return Opened(message)
    warn(database, "plaintext", message.sender_id, "it was not encrypted", message.conversation_id)
    return Opened(emptied(message), Fault.PLAINTEXT)


def open_with(database: sqlite3.Connection, me: Self, message: Message, key: bytes, now_ms: int) -> Opened:
    """Open a message with its key."""
    sealed = message.content
    try:
        if not _may_speak(me, message):
            raise ValueError("its sender is not in the conversation")
        inside = unseal(key, sealed, outside_of(message))
    except ValueError:
        warn(database, "forged", message.sender_id, "it is not what was sealed", message.conversation_id)
        return Opened(emptied(message), Fault.FORGED)
    chains.follow(database, message, inside, sealed, now_ms)
    if message.relation == Relation.DELETE and message.relates_to is not None:
        chains.erased(database, me.device_id, message.relates_to)
    return Opened(whole(message, inside))


def open_key(
    database: sqlite3.Connection, me: Self, message: Message, envelope: bytes | None, now_ms: int
) -> bytes | None:
    """The key that a KEYS brings for the message that it names; None if it brings none."""
    target = message.relates_to
    if target is None or target.sender_device != message.sender_device:
        return None
    try:
        return _unwrap(database, me, message, envelope, target.client_id, now_ms)
    except (Unopened, LookupError):
        return None


def is_open(message: Message) -> bool:
    """Whether there is no seal on a message: it was not sealed, or says nothing any more."""
    return message.scheme == Scheme.PLAIN or is_erased(message)


def needs_list(database: sqlite3.Connection, message: Message) -> bool:
    """Whether the sender's signed list must be asked for before a message can be opened."""
    if message.scheme == Scheme.PLAIN or not (message.content_type or message.relation):
        return False
    return lists.device(database, message.sender_id, message.sender_device) is None


def is_of_other_identity(
    database: sqlite3.Connection, me: Self, message: Message, envelope: bytes | None
) -> bool:
    """Whether both lists must be asked for anew: the key is sealed for another identity of one of the two."""
    if envelope is None or not sessions.begins(envelope):
        return False
    mine, ends = own.load(database), _ends(database, me, message)
    if mine is None or not ends:
        return False
    return sessions.is_of_others(database, mine, ends, message.sender_device, envelope)


def is_sealed(database: sqlite3.Connection, conversation_id: ConversationId) -> bool:
    """Whether something sealed was said in a conversation: it stays so."""
    row = database.execute(
        "SELECT 1 FROM sealed_conversations WHERE conversation_id = ?", (conversation_id,)
    ).fetchone()
    return row is not None


def note_sealed(database: sqlite3.Connection, conversation_id: ConversationId) -> None:
    """From now on nothing else is shown in it."""
    database.execute("INSERT OR IGNORE INTO sealed_conversations VALUES (?)", (conversation_id,))


def unwrap(
    database: sqlite3.Connection, me: Self, message: Message, envelope: bytes | None, now_ms: int
) -> bytes:
    """What the sender's ratchet brings by a message. Raises Unopened; LookupError: of no known device."""
    listed = listed_sender(database, message)
    mine, ends = own.load(database), _ends(database, me, message)
    if envelope is None or mine is None or not ends:
        raise Unopened("there is no envelope for this device")
    return sessions.unwrap(database, mine, ends, listed, envelope, now_ms)


def listed_sender(database: sqlite3.Connection, message: Message) -> ListedDevice:
    """The device that a message is of, as its user signed it. Raises LookupError if it is in no list."""
    listed = lists.device(database, message.sender_id, message.sender_device)
    if listed is None:
        raise LookupError
    gone_at = lists.removed_at(database, message.sender_device)
    if gone_at is not None and message.message_id > gone_at:
        raise LookupError
    return listed


def unknown_device(database: sqlite3.Connection, message: Message) -> Opened:
    """A message whose device is in no list; the user is told."""
    device = str(message.sender_device)
    warn(database, "device_unknown", message.sender_id, device, message.conversation_id)
    return Opened(emptied(message), Fault.UNKNOWN_DEVICE, message.content)


def _unwrap(
    database: sqlite3.Connection,
    me: Self,
    message: Message,
    envelope: bytes | None,
    names: ClientId,
    now_ms: int,
) -> bytes:
    """The key that an envelope brings for the message of a name. Raises as `unwrap`."""
    data = unwrap(database, me, message, envelope, now_ms)
    try:
        wrapped = unwrapped(data)
    except ValueError as error:
        raise Unopened(str(error)) from None
    if wrapped.client_id != names:
        raise Unopened("the envelope is of another message")
    return wrapped.key


def _ends(database: sqlite3.Connection, me: Self, message: Message) -> list[Ends]:
    """What a session with the sender may be bound to; nothing where a list is not known.

    It may have begun before an identity changed, and come after that.
    """
    return [
        Ends(
            End(me.user_id, me.device_id, mine),
            End(message.sender_id, message.sender_device, theirs),
        )
        for mine in lists.identities(database, me.user_id)
        for theirs in lists.identities(database, message.sender_id)
    ]


def is_erased(message: Message) -> bool:
    """Whether the server says that there is nothing left of a message."""
    return not message.content_type and message.relation != Relation.DELETE


def _may_speak(me: Self, message: Message) -> bool:
    """Whether the sender is one of the two. The server knows others who would seal for any conversation."""
    if message.sender_id == me.user_id:
        return True
    return message.conversation_id == direct_conversation_id(me.user_id, message.sender_id)


def outside_of(message: Message, scheme: int = Scheme.DIRECT) -> Outside:
    """What stands in the clear of a message."""
    return Outside(
        message.conversation_id,
        message.sender_id,
        DeviceId(message.sender_device),
        message.client_id,
        message.relation,
        message.relates_to,
        message.silent,
        scheme,
    )


def whole(message: Message, inside: Inside) -> Message:
    """A message with what was inside."""
    # The server may let it vanish sooner, with the message that it is about; never later.
    ends = [end for end in (message.expires_at, inside.expires_at) if end is not None]
    return msgspec.structs.replace(
        message,
        content_type=inside.content_type,
        content=inside.content,
        expires_at=min(ends) if ends else None,
    )


def emptied(message: Message) -> Message:
    """A message of which nothing is shown."""
    return msgspec.structs.replace(message, content=b"")
