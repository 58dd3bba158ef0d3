"""Names: what those who write in groups are called here, by their id.

The server says who has a handle. As with conversations, what was heard once stays, and a name that somebody
has here is given to nobody else: what somebody wrote never becomes another one's.

spec §3.2, §6.12
"""

import sqlite3
from collections.abc import Iterable

from tidings.client import contents
from tidings.client.sealing.warnings import warn
from tidings.protocol.frames import Message
from tidings.protocol.ids import UserId


def number(user_id: int) -> str:
    """Somebody whose handle is not known."""
    return f"user {user_id}"


def note(database: sqlite3.Connection, people: Iterable[tuple[UserId, str]]) -> None:
    """The server tells who has which handle."""
    for user_id, handle in people:
        if not handle or has(database, user_id):
            continue
        known = database.execute("SELECT peer FROM conversations WHERE peer_id = ?", (user_id,)).fetchone()
        if known is not None and known[0] != number(user_id):
            handle = str(known[0])  # noqa: PLW2901 - whom one talks to has a name already
        elif owner(database, handle, user_id) is not None:
            warn(database, "name_taken", user_id, handle)
            handle = number(user_id)  # noqa: PLW2901
        database.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (user_id, handle))


def owner(database: sqlite3.Connection, handle: str, but: UserId) -> UserId | None:
    """Who else has a handle here."""
    row = database.execute(
        "SELECT user_id FROM names WHERE handle = ?1 AND user_id <> ?2 UNION ALL"
        " SELECT peer_id FROM conversations WHERE peer = ?1 AND peer_id <> ?2 LIMIT 1",
        (handle, but),
    ).fetchone()
    return None if row is None else UserId(row[0])


def of(database: sqlite3.Connection, user_ids: Iterable[int]) -> dict[int, str]:
    """The names of users; a number for whom nobody here knows."""
    found = {}
    for user_id in set(user_ids):
        row = database.execute("SELECT handle FROM names WHERE user_id = ?", (user_id,)).fetchone()
        found[user_id] = number(user_id) if row is None else str(row[0])
    return found


def by_handle(database: sqlite3.Connection, handle: str) -> UserId | None:
    """Who has a handle here."""
    row = database.execute("SELECT user_id FROM names WHERE handle = ?", (handle,)).fetchone()
    return None if row is None else UserId(row[0])


def named_in(message: Message) -> set[UserId]:
    """Those whose names it takes to show a message of a group."""
    change = contents.change_of(message)
    return {message.sender_id} if change is None else {message.sender_id, *change.users}


def has(database: sqlite3.Connection, user_id: UserId) -> bool:
    """Whether a user has a name here."""
    return database.execute("SELECT 1 FROM names WHERE user_id = ?", (user_id,)).fetchone() is not None
