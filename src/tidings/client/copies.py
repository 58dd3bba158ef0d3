"""Copies: a profile that was restored from an older copy, and what it does no more with what it knows.

What it would seal was sealed before, in its other life; what waits in its outbox may have been sent there,
sealed otherwise.

spec §6.16
"""

import sqlite3

from tidings.client import receipts
from tidings.client.sealing import chains, sender_keys, sessions
from tidings.client.tables import COPIED_AT, COPIED_TO


def begin_anew(database: sqlite3.Connection, now_ms: int) -> None:
    """This profile is an older copy: nothing that it knew of sealing is used for sealing again.

    `now_ms` by the server's time.
    """
    sessions.forget_outbound(database)
    chains.begin_anew(database)
    sender_keys.begin_anew(database)
    (newest_row,) = database.execute("SELECT coalesce(max(row_id), 0) FROM outbox").fetchone()
    receipts.set_mark(database, COPIED_TO, newest_row)
    receipts.set_mark(database, COPIED_AT, now_ms)


def may_be_sent(database: sqlite3.Connection, row_id: int) -> bool:
    """Whether a row of the outbox may have been sent in another life, sealed otherwise."""
    return row_id <= (receipts.mark(database, COPIED_TO) or 0)


def was_sent(database: sqlite3.Connection, row_id: int, created_at: int) -> bool:
    """Whether a row of the outbox that the server took at a time was sent in another life."""
    return may_be_sent(database, row_id) and created_at <= (receipts.mark(database, COPIED_AT) or 0)
