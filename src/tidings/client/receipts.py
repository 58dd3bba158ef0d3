"""Receipts as state: watermarks that only rise, what they make of the own messages, and what of
that the user has not been told.

A tick that was missed while offline is simply a difference that is found later. A receipt may
also come before the answer to the message that it covers: the message then starts where the
watermark says.

spec §6.6, §6.7
"""

import sqlite3
from collections.abc import Iterable

from tidings.client.events import ReceiptEvent
from tidings.client.tables import SYNCED_AT
from tidings.protocol.frames import Receipt, Status, Synced
from tidings.protocol.ids import ConversationId, MessageId, UserId

TOLD_AT_ONCE = 512
"""own messages whose new state is told in one go"""


def apply(database: sqlite3.Connection, receipts: Iterable[Receipt], user_id: UserId) -> None:
    """Raise watermarks, and the state of own messages that they cover. Lower ones change nothing."""
    for receipt in receipts:
        raise_watermark(
            database,
            receipt.conversation_id,
            receipt.user_id,
            max(receipt.delivered_up_to, receipt.read_up_to),
            receipt.read_up_to,
        )
        if receipt.user_id != user_id:
            for up_to, state in (
                (receipt.read_up_to, Status.READ),
                (receipt.delivered_up_to, Status.DELIVERED),
            ):
                database.execute(
                    "UPDATE outgoing SET state = ?"
                    " WHERE conversation_id = ? AND message_id <= ? AND state < 3 AND state < ?",
                    (state, receipt.conversation_id, up_to, state),
                )


def apply_synced(database: sqlite3.Connection, synced: Synced, user_id: UserId) -> None:
    """Apply a page of Sync, and note from where to ask next."""
    apply(database, synced.receipts, user_id)
    raise_mark(database, SYNCED_AT, synced.at_ms)


def raise_watermark(
    database: sqlite3.Connection,
    conversation_id: ConversationId,
    user_id: UserId,
    delivered: int,
    read: int,
) -> None:
    """Take the maximum of each watermark."""
    database.execute(
        "INSERT INTO watermarks VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)",
        (conversation_id, user_id, delivered, read),
    )


def state_of(database: sqlite3.Connection, conversation_id: ConversationId, message_id: MessageId) -> Status:
    """How far an own message has come, by the peer's watermarks."""
    delivered, read = database.execute(
        "SELECT coalesce(max(w.delivered), 0), coalesce(max(w.read), 0) FROM watermarks w"
        " JOIN conversations c ON c.conversation_id = w.conversation_id AND c.peer_id = w.user_id"
        " WHERE w.conversation_id = ?",
        (conversation_id,),
    ).fetchone()
    if message_id <= read:
        return Status.READ
    return Status.DELIVERED if message_id <= delivered else Status.SENT


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
        "UPDATE outgoing SET shown = max(shown, ?) WHERE conversation_id = ? AND message_id = ?",
        [(state, event.conversation_id, message_id) for message_id in event.message_ids],
    )


def mark(database: sqlite3.Connection, name: str) -> int | None:
    """A number that the profile remembers."""
    row = database.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def raise_mark(database: sqlite3.Connection, name: str, value: int) -> None:
    """Remember a number; it only grows."""
    database.execute(
        "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
        (name, value),
    )
