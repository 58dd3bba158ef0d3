"""Receipts as state: watermarks that only rise, what they make of the own messages, and what of
that the user has not been told.

A tick that was missed while offline is simply a difference that is found later. A receipt may
also come before the answer to the message that it covers: the message then starts where the
watermark says.

spec §6.6, §6.7
"""

import sqlite3
from collections.abc import Iterable

from tidings.client import tallies
from tidings.client.events import ReadEvent, ReceiptEvent
from tidings.client.tables import SYNCED_AT
from tidings.protocol.frames import Receipt, Status, Synced
from tidings.protocol.ids import ConversationId, MessageId, UserId

TOLD_AT_ONCE = 512
"""own messages whose new state is told in one go"""


def apply(database: sqlite3.Connection, receipts: Iterable[Receipt], user_id: UserId) -> None:
    """Raise watermarks, and the state of own messages that they cover. Lower ones change nothing."""
    for receipt in receipts:
        before = _watermarks(database, receipt.conversation_id, receipt.user_id)
        raise_watermark(
            database,
            receipt.conversation_id,
            receipt.user_id,
            max(receipt.delivered_up_to, receipt.read_up_to),
            receipt.read_up_to,
        )
        if receipt.user_id != user_id:
            for after, up_to, state in (
                (before[1], receipt.read_up_to, Status.READ),
                (before[0], receipt.delivered_up_to, Status.DELIVERED),
            ):
                # Those up to the watermark before are in that state: there may be very many.
                database.execute(
                    "UPDATE outgoing SET state = ? WHERE conversation_id = ?"
                    " AND message_id > ? AND message_id <= ? AND state < 3 AND state < ?",
                    (state, receipt.conversation_id, after, up_to, state),
                )


def apply_synced(database: sqlite3.Connection, synced: Synced, user_id: UserId, since_ms: int) -> None:
    """Apply a page of Sync that was asked for from a moment on, and note from where to ask next."""
    apply(database, synced.receipts, user_id)
    if (mark(database, SYNCED_AT) or 0) >= since_ms:  # else all is to be told once more
        raise_mark(database, SYNCED_AT, synced.at_ms)


def _watermarks(
    database: sqlite3.Connection, conversation_id: ConversationId, user_id: UserId
) -> tuple[int, int]:
    row = database.execute(
        "SELECT delivered, read FROM watermarks WHERE conversation_id = ? AND user_id = ?",
        (conversation_id, user_id),
    ).fetchone()
    return (0, 0) if row is None else (row[0], row[1])


def raise_watermark(
    database: sqlite3.Connection,
    conversation_id: ConversationId,
    user_id: UserId,
    delivered: int,
    read: int,
) -> None:
    """Take the maximum of each watermark."""
    database.execute(
        "INSERT INTO watermarks (conversation_id, user_id, delivered, read) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET"
        " delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)",
        (conversation_id, user_id, delivered, read),
    )


def state_of(database: sqlite3.Connection, conversation_id: ConversationId, message_id: MessageId) -> Status:
    """How far an own message has come, by the peer's watermarks; in a group by its tally."""
    delivered, read = database.execute(
        "SELECT coalesce(max(w.delivered), 0), coalesce(max(w.read), 0) FROM watermarks w"
        " JOIN conversations c ON c.conversation_id = w.conversation_id AND c.peer_id = w.user_id"
        " WHERE w.conversation_id = ?",
        (conversation_id,),
    ).fetchone()
    if message_id <= read:
        return Status.READ
    if message_id <= delivered:
        return Status.DELIVERED
    return tallies.status_of(database, conversation_id, message_id)


def untold(database: sqlite3.Connection) -> list[ReceiptEvent]:
    """What has changed for own messages since the user was told, one event a conversation and state."""
    rows = database.execute(
        "SELECT o.conversation_id, coalesce(c.peer, ''), o.state, o.message_id FROM outgoing o"
        " LEFT JOIN conversations c ON c.conversation_id = o.conversation_id"
        " WHERE o.shown < o.state ORDER BY o.conversation_id, o.message_id LIMIT ?",
        (TOLD_AT_ONCE,),
    ).fetchall()
    grouped: dict[tuple[bytes, str, int], list[MessageId]] = {}
    for conversation_id, peer, state, message_id in rows:
        grouped.setdefault((conversation_id, peer, state), []).append(MessageId(message_id))
    return [
        ReceiptEvent(
            ConversationId(conversation_id),
            peer,
            "read" if state == Status.READ else "delivered",
            message_ids[-1],
            message_ids,
        )
        for (conversation_id, peer, state), message_ids in grouped.items()
    ]


def tell(database: sqlite3.Connection, event: ReceiptEvent) -> None:
    """The user has been told."""
    state = Status.READ if event.state == "read" else Status.DELIVERED
    database.executemany(
        # The last condition is that of the index.
        "UPDATE outgoing SET shown = max(shown, ?)"
        " WHERE conversation_id = ? AND message_id = ? AND shown < state",
        [(state, event.conversation_id, message_id) for message_id in event.message_ids],
    )


def untold_reads(database: sqlite3.Connection, user_id: UserId) -> list[ReadEvent]:
    """Conversations that the user has read further, here or elsewhere, than the program was told."""
    rows = database.execute(
        "SELECT w.conversation_id, c.peer, w.read FROM watermarks w"
        " JOIN conversations c ON c.conversation_id = w.conversation_id"
        " WHERE w.user_id = ? AND w.read > w.told LIMIT ?",
        (user_id, TOLD_AT_ONCE),
    ).fetchall()
    return [ReadEvent(ConversationId(row[0]), row[1], MessageId(row[2])) for row in rows]


def reads_of(database: sqlite3.Connection, user_id: UserId) -> list[tuple[ConversationId, MessageId]]:
    """How far the user has read each conversation."""
    rows = database.execute(
        "SELECT conversation_id, read FROM watermarks WHERE user_id = ? AND read > 0", (user_id,)
    ).fetchall()
    return [(ConversationId(conversation_id), MessageId(up_to)) for conversation_id, up_to in rows]


def tell_read(database: sqlite3.Connection, event: ReadEvent, user_id: UserId) -> None:
    """The program has been told."""
    database.execute(
        "UPDATE watermarks SET told = max(told, ?) WHERE conversation_id = ? AND user_id = ?",
        (event.up_to, event.conversation_id, user_id),
    )


def mark(database: sqlite3.Connection, name: str) -> int | None:
    """A number that the profile remembers."""
    row = database.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def set_mark(database: sqlite3.Connection, name: str, value: int) -> None:
    """Remember a number."""
    database.execute(
        "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
    )


def raise_mark(database: sqlite3.Connection, name: str, value: int) -> None:
    """Remember a number; it only grows."""
    database.execute(
        "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
        (name, value),
    )
