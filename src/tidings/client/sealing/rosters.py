"""Rosters: who is in a group, and whom of them the user was told of.

The server says who is in a group, and nobody signs that. What a client can do is to give its sender key to
nobody whom its user was not told of: of each who comes and goes the server has to say so, as a message that
all see; who is there without that is warned of, before the key goes out.

spec §6.17
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from tidings.client.sealing.warnings import warn, withdraw
from tidings.protocol.frames import Group
from tidings.protocol.ids import TIME_SHIFT, ConversationId, MessageId, UserId

GONE_KEPT = 1024
"""members of a group of whom it is remembered when they went"""
UNHEARD_MS = 10_000
"""until all nodes have heard that somebody went; it is not answered before"""
ALL_TOLD = 0
"""instead of a user: those who were there when the group was met are told; with where this user went: until
then they never were"""
UNSAID = 0
"""instead of where somebody went: nobody said so"""


class Roster(NamedTuple):
    """Who is in a group, as the server says."""

    conversation_id: ConversationId
    version: int
    removal_at: int
    """the version of the last removal of a member"""
    members: tuple[UserId, ...]


class Untold(NamedTuple):
    """What of a roster was not told of."""

    came: list[UserId]
    went: list[UserId]

    def __bool__(self) -> bool:
        return bool(self.came or self.went)


def tell(database: sqlite3.Connection, conversation_id: ConversationId, users: Iterable[UserId]) -> None:
    """The user is told that these came in."""
    for user in users:
        database.execute("INSERT OR REPLACE INTO told_members VALUES (?, ?, NULL)", (conversation_id, user))
        withdraw(database, "member_unsaid", user, conversation_id)


def untell(
    database: sqlite3.Connection, conversation_id: ConversationId, users: Iterable[UserId], at: int
) -> None:
    """The user is told that these went, by the message at a place; that they were there, too."""
    for user in users:
        database.execute("INSERT OR REPLACE INTO told_members VALUES (?, ?, ?)", (conversation_id, user, at))
        withdraw(database, "member_unsaid", user, conversation_id)
    database.execute(
        "DELETE FROM told_members WHERE conversation_id = ?1 AND gone_at IS NOT NULL AND user_id NOT IN"
        " (SELECT user_id FROM told_members WHERE conversation_id = ?1 ORDER BY gone_at DESC LIMIT ?2)",
        (conversation_id, GONE_KEPT),
    )


def forget(
    database: sqlite3.Connection, conversation_id: ConversationId, at: int, *, never_told: bool
) -> None:
    """This user is in the group no more, by the message at a place: what the others say later is not heard.

    Who is there when they come back is told then. `never_told`: see `was_never_told`, of this stay.
    """
    told = database.execute(
        "DELETE FROM told_members WHERE conversation_id = ? AND user_id = ? RETURNING gone_at",
        (conversation_id, ALL_TOLD),
    ).fetchone()
    if never_told and told != (None,):
        database.execute("INSERT INTO told_members VALUES (?, ?, ?)", (conversation_id, ALL_TOLD, at))
    database.execute(
        "UPDATE told_members SET gone_at = ? WHERE conversation_id = ? AND gone_at IS NULL",
        (at, conversation_id),
    )


def untold(database: sqlite3.Connection, roster: Roster) -> Untold:
    """Who came and went without the user being told. Of a group that was just met it is nobody."""
    rows = database.execute(
        "SELECT user_id FROM told_members WHERE conversation_id = ? AND gone_at IS NULL",
        (roster.conversation_id,),
    )
    told = {UserId(row[0]) for row in rows}
    if ALL_TOLD not in told:
        tell(database, roster.conversation_id, [UserId(ALL_TOLD), *roster.members])
        return Untold([], [])
    told.remove(UserId(ALL_TOLD))
    members = set(roster.members)
    return Untold(sorted(members - told), sorted(told - members))


def warn_of(database: sqlite3.Connection, roster: Roster, unsaid: Untold) -> None:
    """Tell the user of those of whom the server did not."""
    tell(database, roster.conversation_id, unsaid.came)
    untell(database, roster.conversation_id, unsaid.went, UNSAID)
    for user in unsaid.came:
        warn(database, "member_unsaid", user, "they were added, and nobody said so", roster.conversation_id)
    for user in unsaid.went:
        warn(database, "member_unsaid", user, "they are gone, and nobody said so", roster.conversation_id)


def was_there(
    database: sqlite3.Connection, conversation_id: ConversationId, user: UserId, at: MessageId
) -> bool:
    """Whether somebody who is a member no more may have written a message at a place.

    They may as long as the user is not told that they went: what a group is now was asked for before all was
    here that came before. And a node that has not heard of it takes what they write for a moment still.
    """
    row = database.execute(
        "SELECT 1 FROM told_members WHERE conversation_id = ? AND user_id = ?"
        " AND (gone_at IS NULL OR gone_at > ?)",
        (conversation_id, user, at - (UNHEARD_MS << TIME_SHIFT)),
    ).fetchone()
    return row is not None


def was_never_told(
    database: sqlite3.Connection, conversation_id: ConversationId, me: UserId, at: MessageId
) -> bool:
    """Whether this user was in a group when a message at a place was written, and is out before the server
    could be asked who is in it."""
    row = database.execute(
        "SELECT 1 FROM groups WHERE conversation_id = ?1 AND is_left = 1 AND (version = 0 OR EXISTS"
        " (SELECT 1 FROM told_members t WHERE t.conversation_id = ?1"
        "  AND (user_id = ?2 AND gone_at IS NULL OR user_id = ?3 AND gone_at > ?4)))",
        (conversation_id, me, ALL_TOLD, at - (UNHEARD_MS << TIME_SHIFT)),
    ).fetchone()
    return row is not None


def of(database: sqlite3.Connection, conversation_id: ConversationId) -> Roster | None:
    """Who is in a group, as the profile knows it; None if it does not know all, or is in it no more."""
    row = database.execute(
        "SELECT version, state FROM groups WHERE conversation_id = ? AND is_left = 0 AND listed_at = version",
        (conversation_id,),
    ).fetchone()
    if row is None:
        return None
    members = database.execute(
        "SELECT user_id FROM members WHERE conversation_id = ? ORDER BY user_id", (conversation_id,)
    )
    users = tuple(UserId(member[0]) for member in members)
    return Roster(conversation_id, row[0], _decode(row[1]).removal_at, users)


def may_speak(
    database: sqlite3.Connection, conversation_id: ConversationId, user: UserId, at: MessageId
) -> bool:
    """Whether somebody is in a group, or was when a message at a place was written, as is known here."""
    row = database.execute(
        "SELECT 1 FROM members WHERE conversation_id = ? AND user_id = ?", (conversation_id, user)
    ).fetchone()
    return row is not None or was_there(database, conversation_id, user, at)


_decode = msgspec.msgpack.Decoder(Group).decode
