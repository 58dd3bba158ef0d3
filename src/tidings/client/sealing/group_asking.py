"""Asking in groups: a sender key that did not come is asked for once, and sent once more.

It mostly is on its way: the inbox is read on first, then it is waited for half a minute and a little more, so
that not all devices ask at the same time. Of the messages that one key would open the first is asked for: the
answer opens those after it, too. If none comes, the next of them is asked for, a few times; then they stay
what they are. The author answers devices that were given the key of that message, or were to be, and are
in a list of a member still; each once a message. So nothing loops, and who was removed is told nothing.

spec §6.16, §6.17
"""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from tidings.client.sealing import heard_keys, lists, sender_keys
from tidings.client.sealing.inside import head_of
from tidings.client.sealing.sender_keys import Spoken
from tidings.protocol.frames import Message, Reference
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId

WAIT_MS = 30_000
"""for a key, before it is asked for"""
JITTER_MS = 15_000
"""that may be added"""
ASKS = 3
"""messages of one key that are asked for"""
AT_ONCE = 16
"""keys that are asked for in one look"""
KEEP_MS = 50 * 24 * 3600 * 1000
"""how long a key may come; then the message stays unread"""


class Ask(NamedTuple):
    """A message whose author is to be asked for the key."""

    conversation_id: ConversationId
    name: Reference
    message_id: MessageId


# --- the one who cannot read ----------------------------------------------------------------


def await_key(database: sqlite3.Connection, message: Message, sealed: bytes, now_ms: int) -> None:
    """A message came before the key that opens it. Its content is kept by `asking.keep_unopened`."""
    try:
        head = head_of(sealed)
    except ValueError:
        return
    database.execute(
        "INSERT OR IGNORE INTO unkeyed VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            message.sender_device,
            message.client_id,
            message.conversation_id,
            head.key_id,
            head.position,
            message.message_id,
            now_ms,
        ),
    )


def waiting(
    database: sqlite3.Connection, conversation_id: ConversationId, device: DeviceId, key_id: bytes
) -> list[Reference]:
    """The messages that wait for a key, in the order in which they were written."""
    rows = database.execute(
        "SELECT client_id FROM unkeyed WHERE conversation_id = ? AND sender_device = ? AND key_id = ?"
        " ORDER BY position",
        (conversation_id, device, key_id),
    )
    return [Reference(device, ClientId(row[0])) for row in rows]


def waiting_in(database: sqlite3.Connection, conversation_id: ConversationId) -> list[Reference]:
    """All messages of a group that wait, in the order in which each of their devices wrote them."""
    rows = database.execute(
        "SELECT sender_device, client_id FROM unkeyed WHERE conversation_id = ? ORDER BY message_id",
        (conversation_id,),
    )
    return [Reference(DeviceId(row[0]), ClientId(row[1])) for row in rows]


def keyed(database: sqlite3.Connection, name: Reference) -> None:
    """A message waits for no key any more: it was opened, or is gone."""
    database.execute(
        "DELETE FROM unkeyed WHERE sender_device = ? AND client_id = ?", (name.sender_device, name.client_id)
    )


def is_any_awaited(database: sqlite3.Connection) -> bool:
    """Whether there may be something to ask for, now or later."""
    return database.execute("SELECT 1 FROM unkeyed LIMIT 1").fetchone() is not None


def due(database: sqlite3.Connection, me: DeviceId, now_ms: int, jitter_ms: Callable[[], int]) -> list[Ask]:
    """What is to be asked for now; it is noted, and not asked for again.

    Call this only once the inbox was read. `jitter_ms` gives a part of `JITTER_MS`.
    """
    since = lists.listed_at(database, me)
    if since is None:
        return []
    # What was written before this device was there was for others.
    keys = database.execute(
        "SELECT conversation_id, sender_device, key_id FROM unkeyed"
        " WHERE sender_device <> ? AND message_id > ?"
        " GROUP BY conversation_id, sender_device, key_id"
        " HAVING count(asked_ms) < ? AND min(since_ms) <= ? AND coalesce(max(asked_ms), 0) <= ?"
        " AND count(*) > count(asked_ms) ORDER BY min(since_ms) LIMIT ?",
        (me, since, ASKS, now_ms - WAIT_MS - jitter_ms(), now_ms - WAIT_MS, AT_ONCE),
    ).fetchall()
    found = []
    for conversation_id, device, key_id in keys:
        row = database.execute(
            "SELECT client_id, message_id FROM unkeyed WHERE conversation_id = ? AND sender_device = ?"
            " AND key_id = ? AND asked_ms IS NULL AND message_id > ? ORDER BY position LIMIT 1",
            (conversation_id, device, key_id, since),
        ).fetchone()
        name = Reference(DeviceId(device), ClientId(row[0]))
        database.execute(
            "UPDATE unkeyed SET asked_ms = ? WHERE sender_device = ? AND client_id = ?",
            (now_ms, name.sender_device, name.client_id),
        )
        found.append(Ask(ConversationId(conversation_id), name, MessageId(row[1])))
    return found


# --- the author -------------------------------------------------------------------------------


def may_answer(
    database: sqlite3.Connection, name: Reference, device: DeviceId, conversation_id: ConversationId
) -> bool:
    """Whether a device is to be sent the key of an own message, which is then noted: once."""
    said = sender_keys.spoken(database, ClientId(name.client_id))
    if said is None or said.conversation_id != conversation_id:
        return False
    if not sender_keys.entitled(database, said, [device]):
        return False
    noted = database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (device, name.client_id)).rowcount
    return noted > 0


def answer(
    database: sqlite3.Connection, name: Reference, devices: list[DeviceId]
) -> tuple[Spoken, list[DeviceId]] | None:
    """The key of an own message for those of some devices that may have it; None if it is gone."""
    said = sender_keys.spoken(database, ClientId(name.client_id))
    return None if said is None else (said, sender_keys.entitled(database, said, devices))


def prune(database: sqlite3.Connection, now_ms: int) -> None:
    """Forget what no key will come for, and keys that nobody may ask for or needs any more."""
    database.execute("DELETE FROM unkeyed WHERE since_ms < ?", (now_ms - KEEP_MS,))
    sender_keys.prune(database, now_ms)
    heard_keys.prune(database, now_ms)
