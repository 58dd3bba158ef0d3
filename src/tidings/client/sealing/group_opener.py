"""The group opener: from what was delivered in a group to what was written, or to what is wrong with it.

A sender key that has not come is waited for: see `group_asking`. What the server itself says of a group's
changes is not sealed, and no message.

spec §6.17
"""

import sqlite3
from typing import NamedTuple

from tidings.client.sealing import chains, group_asking, heard_keys, infos
from tidings.client.sealing.inside import head_of, unseal_under, unwrapped_share
from tidings.client.sealing.opener import (
    Opened,
    emptied,
    is_open,
    listed_sender,
    note_sealed,
    open_unsealed,
    outside_of,
    unknown_device,
    unwrap,
    whole,
)
from tidings.client.sealing.sealer import Self
from tidings.client.sealing.sessions import Unopened
from tidings.client.sealing.warnings import Kind, warn
from tidings.client.values import Fault
from tidings.protocol.frames import Message, Reference, Relation, Scheme


def open_in_group(
    database: sqlite3.Connection, me: Self, message: Message, now_ms: int, *, is_member: bool
) -> Opened:
    """Open what was delivered. `is_member`: whether its sender is, or was, a member.

    What has fault NO_KEY is to be kept with `group_asking.await_key`.
    """
    if is_open(message):
        return open_unsealed(database, message)
    note_sealed(database, message.conversation_id)
    try:
        listed_sender(database, message)
    except LookupError:
        return unknown_device(database, message)
    if message.scheme != Scheme.SENDER_KEY or not is_member:
        return _refused(database, message, "forged", "its sender is not in the group, or sealed it otherwise")
    return open_with_heard(database, me, message, now_ms)


def open_with_heard(database: sqlite3.Connection, me: Self, message: Message, now_ms: int) -> Opened:
    """Open a message of a device that may write, with the sender key that the device gave."""
    try:
        head = head_of(message.content)
    except ValueError as error:
        return _refused(database, message, "forged", str(error))
    where = (message.conversation_id, message.sender_device)
    heard = heard_keys.find(database, *where, head.key_id)
    if heard is None or head.position < heard.since:
        return Opened(emptied(message), Fault.NO_KEY, message.content)
    try:
        inside = unseal_under(heard.key, message.content, outside_of(message, Scheme.SENDER_KEY))
    except ValueError:
        return _refused(database, message, "forged", "it is not what was sealed")
    if heard_keys.is_read(heard, head.position) and not _is_stored(database, message):
        detail = "there was another message at its place of the sender key"
        return _refused(database, message, "repeated", detail)
    heard_keys.note_read(database, *where, heard, head)
    chains.follow(database, message, inside, message.content, now_ms)
    if message.relation == Relation.DELETE and message.relates_to is not None:
        chains.erased(database, me.device_id, message.relates_to)
    return Opened(whole(message, inside))


class Taken(NamedTuple):
    """What came by a SENDER_KEY or a KEYS."""

    key_id: bytes
    info_keys: list[bytes]
    """ids of those that were not known"""


def take_share(
    database: sqlite3.Connection,
    me: Self,
    message: Message,
    envelope: bytes | None,
    now_ms: int,
    *,
    with_info: bool = True,
) -> Taken | None:
    """Keep the sender key that a SENDER_KEY, or a KEYS of a group, brings; None if it brings none.

    `with_info`: also what opens the info of the group, which only members have a say in.

    Next, open what `group_asking.waiting` names.
    """
    target = message.relates_to
    if target is not None and target.sender_device != message.sender_device:
        return None
    try:
        shared = unwrapped_share(unwrap(database, me, message, envelope, now_ms))
        if shared.conversation_id != message.conversation_id:
            # What its sender said is known; that it came here is the server's doing.
            detail = "a sender key of another group came"
            warn(database, "forged", message.sender_id, detail, message.conversation_id)
            return None
        heard_keys.keep(database, message.sender_device, shared, message.message_id, now_ms)
    except (Unopened, LookupError, ValueError):
        return None
    note_sealed(database, message.conversation_id)
    learned = infos.learn(database, message.conversation_id, shared.info_keys) if with_info else []
    return Taken(shared.key_id, learned)


def reopen(database: sqlite3.Connection, me: Self, message: Message, now_ms: int) -> Opened | None:
    """Open a message whose key has come since; None if that is not of it. It has its sealed content."""
    opened = open_with_heard(database, me, message, now_ms)
    if opened.fault == Fault.NO_KEY:
        return None
    group_asking.keyed(database, Reference(message.sender_device, message.client_id))
    return opened


def _is_stored(database: sqlite3.Connection, message: Message) -> bool:
    """Whether this message was read, and shown, before."""
    row = database.execute(
        "SELECT 1 FROM messages WHERE sender_device = ? AND client_id = ? AND fault = 0",
        (message.sender_device, message.client_id),
    ).fetchone()
    return row is not None


def _refused(database: sqlite3.Connection, message: Message, kind: Kind, detail: str) -> Opened:
    warn(database, kind, message.sender_id, detail, message.conversation_id)
    return Opened(emptied(message), Fault.FORGED)
