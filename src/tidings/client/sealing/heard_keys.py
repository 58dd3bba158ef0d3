"""Heard keys: the sender keys of other devices, and what was read with each.

One is of the device whose ratchet brought it, and opens nothing else. A key reads a message as often as it is
asked to; so the indexes that were read are remembered, and a second message at one of them is refused.

spec §6.17
"""

import sqlite3
from typing import NamedTuple

import msgspec
import tidings_core as core

from tidings.client.sealing.inside import Head, Shared
from tidings.protocol.ids import ConversationId, DeviceId

KEPT = 64
"""of a device in a group; the oldest of more are forgotten"""
KEEP_MS = 57 * 24 * 3600 * 1000
"""how long: it is used for a week, and what it encrypted may come, or be asked for, for fifty days more"""
RANGES = 64
"""ranges of indexes that are remembered of a key; what is between the lowest of more counts as read"""

Ranges = list[tuple[int, int]]
"""First and last index of each, ascending, with something between each two."""


class Heard(NamedTuple):
    """A sender key of somebody else."""

    key_id: bytes
    key: core.ReceivedSenderKey
    since: int
    """the first index that it reads"""
    heard: Ranges


def keep(database: sqlite3.Connection, device: DeviceId, shared: Shared, place: int, now_ms: int) -> None:
    """Keep what a device's ratchet brought. Raises ValueError for what is no sender key.

    Of the same key the one that reads more counts. `place`: the message that it came by.
    """
    try:
        key = core.ReceivedSenderKey(shared.share)
    except core.CryptoError as error:
        raise ValueError(f"no sender key: {error}") from None
    where = (shared.conversation_id, device)
    before = find(database, *where, shared.key_id)
    if before is not None and before.since <= key.first_index:
        return
    heard = [] if before is None else before.heard
    database.execute(
        "INSERT INTO heard_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " state = excluded.state, since = excluded.since",
        (*where, shared.key_id, key.save(), key.first_index, msgspec.msgpack.encode(heard), place, now_ms),
    )
    database.execute(
        "DELETE FROM heard_keys WHERE conversation_id = ?1 AND device_id = ?2 AND key_id NOT IN"
        " (SELECT key_id FROM heard_keys WHERE conversation_id = ?1 AND device_id = ?2"
        " ORDER BY place DESC, came_ms DESC LIMIT ?3)",
        (*where, KEPT),
    )


def find(
    database: sqlite3.Connection, conversation_id: ConversationId, device: DeviceId, key_id: bytes
) -> Heard | None:
    """The sender key of a name that a device has in a group."""
    row = database.execute(
        "SELECT state, since, heard FROM heard_keys"
        " WHERE conversation_id = ? AND device_id = ? AND key_id = ?",
        (conversation_id, device, key_id),
    ).fetchone()
    if row is None:
        return None
    key = core.ReceivedSenderKey.load(row[0])
    return Heard(key_id, key, row[1], msgspec.msgpack.decode(row[2], type=Ranges))


def is_read(heard: Heard, index: int) -> bool:
    """Whether a message at an index was read."""
    return any(first <= index <= last for first, last in heard.heard)


def note_read(
    database: sqlite3.Connection, conversation_id: ConversationId, device: DeviceId, heard: Heard, head: Head
) -> None:
    """The message at an index was read."""
    ranges = with_index(heard.heard, head.position)
    database.execute(
        "UPDATE heard_keys SET heard = ? WHERE conversation_id = ? AND device_id = ? AND key_id = ?",
        (msgspec.msgpack.encode(ranges), conversation_id, device, heard.key_id),
    )


def with_index(ranges: Ranges, index: int) -> Ranges:
    """The ranges with an index more; of too many the two lowest become one."""
    joined: Ranges = []
    for first, last in sorted([*ranges, (index, index)]):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    if len(joined) > RANGES:
        joined[:2] = [(joined[0][0], joined[1][1])]
    return joined


def prune(database: sqlite3.Connection, now_ms: int) -> None:
    """Forget the keys that nothing can come for."""
    database.execute("DELETE FROM heard_keys WHERE came_ms < ?", (now_ms - KEEP_MS,))


def forget_group(database: sqlite3.Connection, conversation_id: ConversationId) -> None:
    """The group is left, and what was said in it is gone from here."""
    database.execute("DELETE FROM heard_keys WHERE conversation_id = ?", (conversation_id,))
