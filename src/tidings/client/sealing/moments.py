"""Moments: which came first, a session or what was sealed, whatever the clock does between the two.

The time here is the server's as it told it last, so that it may go back: with a slow Welcome, with another
node, with a clock that is put right. A session that is older than a message may be the one that was lost.
"""

import sqlite3

STEP_BACK_MAX_MS = 24 * 3600 * 1000
"""a clock that goes back by more is gone by: what was dated too far ahead would else never be forgotten"""


def next_ms(database: sqlite3.Connection, now_ms: int) -> int:
    """A time, Unix milliseconds, later than any that was given to this profile before: now, if it can be."""
    row = database.execute(
        "INSERT INTO marks VALUES ('moment', ?1) ON CONFLICT DO UPDATE SET value = CASE"
        " WHEN value BETWEEN ?1 AND ?1 + ?2 THEN value + 1 ELSE ?1 END RETURNING value",
        (now_ms, STEP_BACK_MAX_MS),
    ).fetchone()
    return int(row[0])
