"""Chains: each device counts what it says in a conversation, and names what it said before.

A server that drops, repeats, reorders or backdates is seen by that. What may rightly be missing (given
up by its sender, deleted, or past its time) the sender's next messages excuse; what was kept back while
the sender was blocked, or when the inbox was no longer complete, this device knows itself.

spec §6.16
"""

import hashlib
import sqlite3
from typing import NamedTuple

from tidings.client.sealing.inside import NO_LINK, Excuse, Inside
from tidings.client.sealing.warnings import Kind, warn
from tidings.protocol.frames import Message, Reference, SettingKind
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, UserId

EXCUSED = 64
"""own messages of a conversation that are looked at for excuses"""
PRUNED = 16
"""at each so many-th of them the older ones are forgotten"""
GAP_MAX = 256
"""messages of a gap that are watched for one by one; of a longer one the newest"""
SKEW_MS = 120_000
"""by which the server's time of acceptance may precede the sender's time of sealing"""
TOLD = 1 << 62
"""as `since_ms` of a gap that is not to be told (any more)"""
LATE_MS = 120_000
"""after which what is missing is said to be missing; several nodes deliver in any order"""


class Place(NamedTuple):
    """Where the next own message stands in its chain."""

    epoch: int
    counter: int
    previous: bytes


class Missing(NamedTuple):
    """Messages of a device that did not come."""

    conversation_id: ConversationId
    device_id: DeviceId
    sender_id: UserId
    messages: int


def link(sealed: bytes) -> bytes:
    """What the next message of a chain says of this one."""
    return hashlib.sha256(sealed).digest()


# --- one's own ------------------------------------------------------------------------------


def place(
    database: sqlite3.Connection, conversation_id: ConversationId, client_id: ClientId, epoch: int
) -> Place:
    """The place of an own message. Sealed again, it keeps the one that it has.

    What it follows may have been sealed again, too: then it is that.
    """
    row = database.execute(
        "SELECT s.epoch, s.counter, coalesce(b.link, s.previous) FROM said s LEFT JOIN said b"
        " ON b.conversation_id = s.conversation_id AND b.epoch = s.epoch AND b.counter = s.counter - 1"
        " WHERE s.conversation_id = ? AND s.client_id = ?",
        (conversation_id, client_id),
    ).fetchone()
    if row is not None:
        return Place(*row)
    row = database.execute(
        "SELECT epoch, counter, link FROM said WHERE conversation_id = ?"
        " ORDER BY epoch DESC, counter DESC LIMIT 1",
        (conversation_id,),
    ).fetchone()
    return Place(epoch, 1, NO_LINK) if row is None else Place(row[0], row[1] + 1, row[2])


def said(
    database: sqlite3.Connection,
    conversation_id: ConversationId,
    client_id: ClientId,
    at: Place,
    sealed: bytes,
    expires_at: int | None,
) -> None:
    """Note that an own message was sealed at its place."""
    database.execute(
        "INSERT INTO said (conversation_id, epoch, counter, client_id, previous, link, excused_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (conversation_id, client_id)"
        " DO UPDATE SET link = excluded.link, previous = excluded.previous",
        (conversation_id, at.epoch, at.counter, client_id, at.previous, link(sealed), expires_at),
    )
    if at.counter % PRUNED == 1:
        database.execute(
            "DELETE FROM said WHERE conversation_id = ? AND (epoch < ? OR counter <= ?)",
            (conversation_id, at.epoch, at.counter - EXCUSED),
        )


def given_up(database: sqlite3.Connection, client_id: ClientId) -> bool:
    """An own message will not be delivered, or is deleted. Returns whether it has a place."""
    return database.execute("UPDATE said SET excused_ms = 0 WHERE client_id = ?", (client_id,)).rowcount > 0


def erased(database: sqlite3.Connection, me: DeviceId, target: Reference) -> None:
    """A message was deleted, by whichever device: what this one said by it, or about it, need not come."""
    name = (target.sender_device, target.client_id)
    if target.sender_device == me:
        given_up(database, ClientId(target.client_id))
    for (client_id,) in database.execute(
        "SELECT client_id FROM messages WHERE target_device = ? AND target_client = ?"
        " AND relation IN (2, 4) AND sender_device = ?",
        (*name, me),
    ).fetchall():
        given_up(database, ClientId(client_id))


def excuses(database: sqlite3.Connection, conversation_id: ConversationId, at: Place) -> list[Excuse]:
    """What the message at a place says of those before it."""
    rows = database.execute(
        "SELECT counter, excused_ms FROM said"
        " WHERE conversation_id = ? AND epoch = ? AND counter < ? AND counter > ? AND excused_ms IS NOT NULL"
        " ORDER BY counter",
        (conversation_id, at.epoch, at.counter, at.counter - 1 - EXCUSED),
    )
    return [Excuse(*row) for row in rows]


def begin_anew(database: sqlite3.Connection) -> None:
    """This profile is an older copy: its counts were used before. New chains begin in a later epoch."""
    database.execute("DELETE FROM said")


# --- others' --------------------------------------------------------------------------------


def follow(
    database: sqlite3.Connection, message: Message, inside: Inside, sealed: bytes, now_ms: int
) -> None:
    """Note where a message stands in its sender's chain, and warn of what is wrong with that."""
    where = (message.conversation_id, message.sender_device)
    row = database.execute(
        "SELECT epoch, counter, link, place, is_excused, since FROM chains"
        " WHERE conversation_id = ? AND device_id = ?",
        where,
    ).fetchone()
    if inside.sent_at > message.created_at + SKEW_MS:
        _warn(database, "backdated", message, f"sealed {inside.sent_at - message.created_at} ms later")
    if row is None:
        _advance(database, message, inside, sealed, inside.counter)
        return
    epoch, counter, last_link, last_place, is_excused, since = row
    if (inside.epoch, inside.counter) <= (epoch, counter):
        if inside.epoch == epoch and inside.counter >= since:
            _late(database, message, inside)
        return
    place_before = last_place if inside.epoch == epoch else 0
    if inside.epoch != epoch:
        since = 1
    if inside.epoch == epoch and inside.counter == counter + 1:
        if inside.previous != last_link:
            _warn(database, "repeated", message, "it follows another message than the one that came")
    elif inside.epoch == epoch or inside.counter > 1:
        first = counter + 1 if inside.epoch == epoch else 1
        if is_excused or _was_blocked(database, message.sender_id, last_place):
            since = inside.counter
        else:
            since = max(since, inside.counter - GAP_MAX)
            _watch(database, message, inside, max(first, since), place_before, now_ms)
    if message.message_id < place_before:
        _warn(database, "reordered", message, "it stands before what its sender said earlier")
    _advance(database, message, inside, sealed, since)
    _excuse(database, message, inside, now_ms)


def excuse_all(database: sqlite3.Connection) -> None:
    """The inbox is not complete: what is missing from now until each sender's next message may be."""
    database.execute("UPDATE chains SET is_excused = 1, since = counter + 1")
    database.execute("DELETE FROM gaps")


def excuse(database: sqlite3.Connection, sender: UserId) -> None:
    """The same, of what one sender said."""
    database.execute(
        "UPDATE chains SET is_excused = 1, since = counter + 1 WHERE device_id IN"
        " (SELECT device_id FROM known_devices WHERE user_id = ?)",
        (sender,),
    )
    database.execute("DELETE FROM gaps WHERE sender_id = ?", (sender,))


def excuse_conversation(database: sqlite3.Connection, conversation_id: ConversationId) -> None:
    """The same, of what was said in one: this user was not in it meanwhile."""
    database.execute(
        "UPDATE chains SET is_excused = 1, since = counter + 1 WHERE conversation_id = ?", (conversation_id,)
    )
    database.execute("DELETE FROM gaps WHERE conversation_id = ?", (conversation_id,))


def overdue(database: sqlite3.Connection, now_ms: int) -> list[Missing]:
    """What has not come for so long that the user is to be told.

    What came and waits for its key, and what was deleted before it could come, is not missing.
    """
    rows = database.execute(
        "SELECT conversation_id, device_id, sender_id, count(*) - (SELECT count(*) FROM unopened u"
        "  JOIN messages m ON m.sender_device = u.sender_device AND m.client_id = u.client_id"
        "  WHERE u.sender_device = g.device_id AND m.conversation_id = g.conversation_id)"
        " - (SELECT count(*) FROM messages d WHERE d.conversation_id = g.conversation_id AND d.relation = 3"
        "  AND d.fault = 0 AND d.target_device = g.device_id AND NOT EXISTS (SELECT 1 FROM messages m"
        "  WHERE m.sender_device = d.target_device AND m.client_id = d.target_client)) AS lacking"
        " FROM gaps g WHERE since_ms < ? AND (excused_ms IS NULL OR excused_ms > ?)"
        " GROUP BY conversation_id, device_id HAVING lacking > 0",
        (now_ms - LATE_MS, now_ms),
    ).fetchall()
    return [Missing(*row) for row in rows]


def report(database: sqlite3.Connection, now_ms: int) -> None:
    """Warn of what is overdue, once."""
    for one in overdue(database, now_ms):
        text = f"{one.messages} of the messages of device {one.device_id} did not come"
        warn(database, "missing", one.sender_id, text, one.conversation_id)
        database.execute(
            "UPDATE gaps SET since_ms = ? WHERE conversation_id = ? AND device_id = ? AND since_ms < ?",
            (TOLD, one.conversation_id, one.device_id, now_ms - LATE_MS),
        )
    database.execute("UPDATE gaps SET since_ms = ? WHERE excused_ms <= ?", (TOLD, now_ms))


def _advance(
    database: sqlite3.Connection, message: Message, inside: Inside, sealed: bytes, since: int
) -> None:
    """It is the newest of its chain. From `since` on each number has come, or stands in `gaps`."""
    database.execute(
        "INSERT OR REPLACE INTO chains VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
        (
            message.conversation_id,
            message.sender_device,
            inside.epoch,
            inside.counter,
            link(sealed),
            message.message_id,
            since,
        ),
    )


def _watch(
    database: sqlite3.Connection, message: Message, inside: Inside, first: int, after: int, now_ms: int
) -> None:
    """Look out for those before a message, from a number on. They stand between it and the place `after`."""
    database.execute(
        "DELETE FROM gaps WHERE conversation_id = ? AND device_id = ? AND (epoch < ? OR counter < ?)",
        (message.conversation_id, message.sender_device, inside.epoch, inside.counter - GAP_MAX),
    )
    for counter in range(first, inside.counter):
        database.execute(
            "INSERT OR IGNORE INTO gaps VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?)",
            (
                message.conversation_id,
                message.sender_device,
                inside.epoch,
                counter,
                message.sender_id,
                now_ms,
                after,
                message.message_id,
            ),
        )


def _late(database: sqlite3.Connection, message: Message, inside: Inside) -> None:
    """One that comes after a later one: it was waited for, or it is one too many."""
    chain = (message.conversation_id, message.sender_device, inside.epoch)
    found = database.execute(
        "DELETE FROM gaps WHERE conversation_id = ? AND device_id = ? AND epoch = ? AND counter = ?"
        " RETURNING after, before",
        (*chain, inside.counter),
    ).fetchone()
    if found is None:
        _warn(database, "repeated", message, f"there was another with the number {inside.counter}")
        return
    after, before = found
    if not after < message.message_id < before:
        _warn(database, "reordered", message, "it stands elsewhere than its sender said it")
    # Those that are still awaited stand before it, or behind.
    where = "WHERE conversation_id = ? AND device_id = ? AND epoch = ? AND counter"
    values = (message.message_id, *chain, inside.counter)
    database.execute(f"UPDATE gaps SET before = min(before, ?) {where} < ?", values)  # noqa: S608
    database.execute(f"UPDATE gaps SET after = max(after, ?) {where} > ?", values)  # noqa: S608


def _excuse(database: sqlite3.Connection, message: Message, inside: Inside, now_ms: int) -> None:
    for one in inside.excused:
        database.execute(
            "UPDATE gaps SET excused_ms = ?"
            " WHERE conversation_id = ? AND device_id = ? AND epoch = ? AND counter = ?",
            (one.since_ms, message.conversation_id, message.sender_device, inside.epoch, one.counter),
        )
    if inside.excused:
        database.execute("UPDATE gaps SET since_ms = ? WHERE excused_ms <= ?", (TOLD, now_ms))


def _was_blocked(database: sqlite3.Connection, sender: UserId, since: int) -> bool:
    """Whether the user blocked (or let in again) the sender since a place."""
    row = database.execute(
        "SELECT 1 FROM settings WHERE kind = ? AND key = ? AND at > ?",
        (SettingKind.BLOCK, str(sender), since),
    ).fetchone()
    return row is not None


def _warn(database: sqlite3.Connection, kind: Kind, message: Message, detail: str) -> None:
    warn(database, kind, message.sender_id, detail, message.conversation_id)
