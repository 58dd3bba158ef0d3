"""The inbox's rows: every message that arrived, in the order of arrival, once.

`store` is what stands between Deliver and Ack. A row waits, also over restarts, until the
program that reads `Client.events()` has asked for the next one.

spec §6.4
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from tidings.client import receipts
from tidings.client.connection import Arrival
from tidings.client.events import MessageEvent
from tidings.client.tables import NEWEST_ENTRY
from tidings.protocol.frames import Deliver, Message, Receipt, Reference, Status
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId, UserId


class Self(NamedTuple):
    """Who reads."""

    user_id: UserId
    device_id: DeviceId
    handle: str


class Waiting(NamedTuple):
    """A message that is stored and not consumed."""

    seq: int
    event: MessageEvent


def store(database: sqlite3.Connection, arrived: Sequence[Arrival], me: Self, now_ms: int) -> int:
    """Store what arrived together; returns the newest row's `seq`."""
    newest_entry = 0
    for frame in arrived:
        if isinstance(frame, Deliver):
            _store_message(database, frame.message, me, now_ms)
            newest_entry = max(newest_entry, frame.entry_id)
    receipts.apply(database, [frame for frame in arrived if isinstance(frame, Receipt)], me.user_id)
    if newest_entry:
        receipts.raise_mark(database, NEWEST_ENTRY, newest_entry)
    return newest_seq(database)


def newest_seq(database: sqlite3.Connection) -> int:
    """The `seq` of the row that was stored last; 0 if there is none."""
    (seq,) = database.execute("SELECT coalesce(max(seq), 0) FROM inbox").fetchone()
    return int(seq)


def waiting(database: sqlite3.Connection, me: Self, limit: int) -> tuple[list[Waiting], int]:
    """The oldest messages that nobody has consumed, and the newest `seq` of all."""
    rows = database.execute(
        "SELECT i.seq, i.sender_id, coalesce(c.peer, 'user ' || i.sender_id), i.content, i.content_type,"
        " i.message_id, i.conversation_id, i.created_at, i.own, i.sender_device, i.client_id FROM inbox i"
        " LEFT JOIN conversations c ON c.conversation_id = i.conversation_id"
        " WHERE i.consumed = 0 ORDER BY i.seq LIMIT ?",
        (limit,),
    ).fetchall()
    found = [Waiting(row[0], _event(row[1:], me)) for row in rows]
    return found, newest_seq(database)


def consume(database: sqlite3.Connection, seq: int) -> None:
    """The program is done with a message."""
    database.execute("UPDATE inbox SET consumed = 1 WHERE seq = ?", (seq,))


def newest_received(database: sqlite3.Connection, conversation_id: ConversationId) -> MessageId | None:
    """The newest message that came from the other one of a conversation."""
    (newest,) = database.execute(
        "SELECT max(message_id) FROM inbox WHERE own = 0 AND conversation_id = ?", (conversation_id,)
    ).fetchone()
    return None if newest is None else MessageId(newest)


def _event(row: tuple[Any, ...], me: Self) -> MessageEvent:
    sender_id, peer, content, content_type, message_id, conversation_id, created_at, own, device, name = row
    return MessageEvent(
        me.handle if own else peer,
        UserId(sender_id),
        peer,
        content,
        content_type,
        MessageId(message_id),
        ConversationId(conversation_id),
        created_at,
        bool(own),
        Reference(DeviceId(device), ClientId(name)),
    )


def _store_message(database: sqlite3.Connection, message: Message, me: Self, now_ms: int) -> None:
    name = (message.sender_device, message.client_id)
    own = message.sender_id == me.user_id
    if own:
        database.execute(
            "UPDATE outgoing SET message_id = max(message_id, ?) WHERE sender_device = ? AND client_id = ?",
            (message.message_id, *name),
        )
    if message.sender_device == me.device_id and _wrote(database, message):
        return
    # Of twins (spec §6.3) the greater message_id counts; the message is shown once all the same.
    raised = database.execute(
        "UPDATE inbox SET message_id = max(message_id, ?) WHERE sender_device = ? AND client_id = ?",
        (message.message_id, *name),
    ).rowcount
    if raised:
        return
    database.execute(
        "INSERT INTO inbox (sender_device, client_id, message_id, conversation_id, sender_id, content_type,"
        " content, created_at, own, stored_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *name,
            message.message_id,
            message.conversation_id,
            message.sender_id,
            message.content_type,
            message.content,
            message.created_at,
            own,
            now_ms,
        ),
    )
    if own:
        state = receipts.state_of(database, message.conversation_id, message.message_id)
        database.execute(
            "INSERT OR IGNORE INTO outgoing VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*name, message.conversation_id, message.message_id, message.created_at, state, Status.SENT),
        )


def _wrote(database: sqlite3.Connection, message: Message) -> bool:
    """Whether this very profile wrote an own message that the server sends back (after `Hello.have`)."""
    row = database.execute(
        "SELECT 1 FROM outbox WHERE client_id = ? UNION ALL"
        " SELECT 1 FROM outgoing WHERE sender_device = ? AND client_id = ? LIMIT 1",
        (message.client_id, message.sender_device, message.client_id),
    ).fetchone()
    return row is not None
