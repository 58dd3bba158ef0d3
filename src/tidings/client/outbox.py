"""The outbox's rows: what was written and is not answered yet, and what became of it.

A row is written before its message is sent and removed in the transaction that records the
answer. `attempt` counts the transmissions: only the process that wrote a row, sending it for the
first time, uses 1; the server then need not look for an earlier one.

spec §6.3
"""

import sqlite3
from collections.abc import Collection
from typing import NamedTuple

from tidings.client.receipts import state_of
from tidings.protocol import ids
from tidings.protocol.frames import Sent, Status
from tidings.protocol.ids import ClientId, ConversationId, DeviceId

WRITER_BYTES = 16


class Row(NamedTuple):
    """A message that waits."""

    row_id: int
    client_id: ClientId
    peer: str
    content_type: str
    content: bytes
    attempt: int


class Outcome(NamedTuple):
    """What became of a message: `sent`, else an error of the registry."""

    sent: Sent | None
    conversation_id: ConversationId
    code: int = 0
    message: str = ""


class ClientIds:
    """Names messages: 8 random bytes, drawn anew at each connection, and a counter. spec §3.3"""

    def __init__(self, prefix: bytes) -> None:
        self.renew(prefix)

    def renew(self, prefix: bytes) -> None:
        """A new connection stands."""
        self._prefix = prefix
        self._count = 0

    def next(self) -> ClientId:
        """A name that was never given."""
        self._count += 1
        return ids.client_id(self._prefix, self._count)


def next_attempt(stored: int, *, is_writer: bool, was_tried: bool) -> int:
    """The attempt to transmit a row with, given the one it was stored with."""
    return stored if stored == 1 and is_writer and not was_tried else stored + 1


def append(
    database: sqlite3.Connection,
    client_id: ClientId,
    peer: str,
    content_type: str,
    content: bytes,
    writer: bytes,
) -> None:
    """Put a message at the end."""
    database.execute(
        "INSERT INTO outbox (client_id, peer, content_type, content, attempt, writer) VALUES (?,?,?,?,1,?)",
        (client_id, peer, content_type, content, writer),
    )


def is_empty(database: sqlite3.Connection) -> bool:
    """Whether nothing waits."""
    return database.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is None


def take(
    database: sqlite3.Connection, after: int, limit: int, writer: bytes, tried: Collection[ClientId]
) -> list[Row]:
    """The next rows to transmit, with the attempt that is theirs now and is stored with them."""
    found = database.execute(
        "SELECT row_id, client_id, peer, content_type, content, attempt, writer FROM outbox"
        " WHERE row_id > ? ORDER BY row_id LIMIT ?",
        (after, limit),
    ).fetchall()
    rows = []
    for row_id, client_id, peer, content_type, content, stored, wrote in found:
        row = Row(row_id, ClientId(client_id), peer, content_type, content, stored)
        attempt = next_attempt(stored, is_writer=wrote == writer, was_tried=row.client_id in tried)
        if attempt != stored:
            database.execute("UPDATE outbox SET attempt = ? WHERE row_id = ?", (attempt, row.row_id))
        rows.append(row._replace(attempt=attempt))
    return rows


def raise_attempt(database: sqlite3.Connection, row: Row) -> Row:
    """The row, for another try on the same connection."""
    raised = row._replace(attempt=row.attempt + 1)
    database.execute("UPDATE outbox SET attempt = ? WHERE row_id = ?", (raised.attempt, row.row_id))
    return raised


def record_sent(
    database: sqlite3.Connection, row: Row, sent: Sent, conversation_id: ConversationId, device: DeviceId
) -> None:
    """The server has it: move the row to the outgoing messages."""
    database.execute("DELETE FROM outbox WHERE row_id = ?", (row.row_id,))
    state = state_of(database, conversation_id, sent.message_id)
    database.execute(
        "INSERT OR IGNORE INTO outgoing VALUES (?, ?, ?, ?, ?, ?, ?)",
        (device, row.client_id, conversation_id, sent.message_id, sent.created_at, state, Status.SENT),
    )


def record_refused(database: sqlite3.Connection, row: Row, code: int, message: str, now_ms: int) -> None:
    """The server will never take it: remove the row, and keep the reason for who wrote it."""
    database.execute("DELETE FROM outbox WHERE row_id = ?", (row.row_id,))
    database.execute(
        "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)", (row.client_id, code, message, now_ms)
    )


def outcomes(
    database: sqlite3.Connection, names: Collection[ClientId], device: DeviceId
) -> dict[ClientId, Outcome]:
    """What has become of messages, for those that another process may have sent."""
    found: dict[ClientId, Outcome] = {}
    for name in names:
        row = database.execute(
            "SELECT conversation_id, message_id, created_at FROM outgoing"
            " WHERE sender_device = ? AND client_id = ?",
            (device, name),
        ).fetchone()
        if row is not None:
            found[name] = Outcome(Sent(name, row[1], created_at=row[2]), ConversationId(row[0]))
            continue
        row = database.execute("SELECT code, message FROM refused WHERE client_id = ?", (name,)).fetchone()
        if row is not None:
            found[name] = Outcome(None, ConversationId(b""), *row)
    return found


def forget_refused(database: sqlite3.Connection, name: ClientId) -> None:
    """The writer has heard of the refusal."""
    database.execute("DELETE FROM refused WHERE client_id = ?", (name,))
