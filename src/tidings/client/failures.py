"""Failures: own messages that the server refused while nobody waited for them.

Who called `send` and still waits is told by an exception, in whichever process, and that is all. What was
written by a program that is gone is kept here with the reason: an event tells of it once, and it stays until
somebody has seen to it.

spec §6.3
"""

import sqlite3
from collections.abc import Iterable

from tidings.client.events import FailedEvent
from tidings.client.outbox import Row
from tidings.client.values import FailedMessage
from tidings.protocol.errors import REGISTRY
from tidings.protocol.frames import UNSHOWN, Reference, Relation
from tidings.protocol.ids import ClientId, DeviceId

HEARD_MS = 1000
"""from a refusal to the event: who waits for it in another process hears of it sooner, and takes it away"""
KEPT = 1000
"""of more, the oldest are forgotten"""
AT_ONCE = 64

_COLUMNS = "client_id, peer, content_type, content, relation, about_device, about_client, code, reason, at_ms"


def keep(database: sqlite3.Connection, row: Row, code: int, reason: str, now_ms: int) -> None:
    """A message was refused for good."""
    draft = row.draft
    if draft.relation in UNSHOWN:
        return  # nobody wrote it
    about = draft.relates_to
    database.execute(
        f"INSERT OR REPLACE INTO failed ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            row.client_id,
            draft.peer,
            draft.content_type,
            draft.content,
            draft.relation,
            None if about is None else about.sender_device,
            None if about is None else about.client_id,
            code,
            reason,
            now_ms,
        ),
    )
    database.execute(
        "DELETE FROM failed WHERE client_id NOT IN"
        " (SELECT client_id FROM failed ORDER BY at_ms DESC LIMIT ?)",
        (KEPT,),
    )


def forget(database: sqlite3.Connection, name: ClientId) -> None:
    """Somebody has seen to it."""
    database.execute("DELETE FROM failed WHERE client_id = ?", (name,))


def everything(database: sqlite3.Connection, now_ms: int) -> list[FailedMessage]:
    """What failed, in the order in which it did."""
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM failed WHERE at_ms NOT BETWEEN ? AND ? ORDER BY at_ms",  # noqa: S608
        (now_ms - HEARD_MS, now_ms),
    )
    return [FailedMessage(*values) for values in _read(rows)]


def untold(database: sqlite3.Connection, now_ms: int) -> list[FailedEvent]:
    """What the program was not told of."""
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM failed WHERE told = 0 AND at_ms NOT BETWEEN ? AND ?"  # noqa: S608
        " ORDER BY at_ms LIMIT ?",
        (now_ms - HEARD_MS, now_ms, AT_ONCE),
    )
    return [FailedEvent(*values) for values in _read(rows)]


def tell(database: sqlite3.Connection, event: FailedEvent) -> None:
    """The program was told."""
    database.execute("UPDATE failed SET told = 1 WHERE client_id = ?", (event.client_id,))


def _read(
    rows: Iterable[tuple[bytes, str, str, bytes, int, int | None, bytes | None, int, str, int]],
) -> list[tuple[ClientId, str, str, bytes, Relation, Reference | None, int, str, str, int]]:
    found = []
    for name, peer, content_type, content, relation, device, client, code, reason, at_ms in rows:
        about = None if device is None or client is None else Reference(DeviceId(device), ClientId(client))
        kind = REGISTRY.get(code)
        called = kind.name if kind else f"error_{code}"
        found.append(
            (
                ClientId(name),
                peer,
                content_type,
                content,
                Relation(relation),
                about,
                code,
                called,
                reason,
                at_ms,
            )
        )
    return found
