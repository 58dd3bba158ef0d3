"""Warnings: what the user must be told of keys, devices and a server that does not do its part.

They are kept until they were told, the newest `KEPT` of them.
"""

import sqlite3
from typing import Literal, NamedTuple, get_args

from tidings.protocol.ids import ConversationId, UserId

KEPT = 1000
NOWHERE = ConversationId(b"")
NOBODY = UserId(0)

Kind = Literal[
    "identity_changed",
    "identity_replaced",
    "list_forged",
    "list_old",
    "keys_forged",
    "name_taken",
    "device_unknown",
    "plaintext",
    "forged",
    "missing",
    "repeated",
    "reordered",
    "backdated",
    "member_unsaid",
    "info_forged",
    "info_old",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Warning(NamedTuple):
    """One that waits to be told."""

    seq: int
    kind: Kind
    user_id: UserId
    """whom it concerns"""
    conversation_id: ConversationId
    """empty where it is about none"""
    detail: str


def warn(
    database: sqlite3.Connection,
    kind: Kind,
    user_id: UserId,
    detail: str,
    conversation_id: ConversationId = NOWHERE,
) -> None:
    """Keep something to be told."""
    database.execute(
        "INSERT INTO warnings (kind, user_id, conversation_id, detail) VALUES (?, ?, ?, ?)",
        (kind, user_id, conversation_id, detail),
    )
    database.execute("DELETE FROM warnings WHERE seq <= (SELECT max(seq) FROM warnings) - ?", (KEPT,))


def withdraw(
    database: sqlite3.Connection, kind: Kind, user_id: UserId, conversation_id: ConversationId
) -> None:
    """What was not told yet is not so, as it turns out."""
    database.execute(
        "DELETE FROM warnings WHERE kind = ? AND user_id = ? AND conversation_id = ?",
        (kind, user_id, conversation_id),
    )


def untold(database: sqlite3.Connection) -> list[Warning]:
    """What was not told yet, the oldest first."""
    rows = database.execute("SELECT seq, kind, user_id, conversation_id, detail FROM warnings ORDER BY seq")
    return [Warning(*row) for row in rows if row[1] in KINDS]


def tell(database: sqlite3.Connection, warning: Warning) -> None:
    """It was told."""
    database.execute("DELETE FROM warnings WHERE seq = ?", (warning.seq,))
