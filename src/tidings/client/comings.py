"""Comings and goings: what the notices of a group say of who came and who went, and who may have gone.

Notices come in the order of the inbox, what was missed of them later; what a group is now is asked for at any
time. So the profile may know that somebody is not in a group before it is told that they went, and what they
wrote before may come between.

spec §6.17
"""

import sqlite3
from typing import NamedTuple

from tidings.client import contents, known_groups, transcript
from tidings.client.sealing import chains, rosters
from tidings.client.transcript import Self
from tidings.protocol.frames import GroupAction, Message, Reference
from tidings.protocol.ids import ConversationId, DeviceId, UserId


class Moved(NamedTuple):
    """Who came and who went by a change."""

    came: frozenset[UserId]
    went: frozenset[UserId]


NOBODY = frozenset[UserId]()


def of(message: Message) -> Moved:
    """Who came and who went by the change that a message tells of."""
    change = contents.change_of(message)
    if change is None:
        return Moved(NOBODY, NOBODY)
    users = frozenset(change.users)
    if change.action == GroupAction.CREATE:
        return Moved(users | {message.sender_id}, NOBODY)
    if change.action in (GroupAction.ADD, GroupAction.JOIN):
        return Moved(users, NOBODY)
    if change.action in (GroupAction.REMOVE, GroupAction.LEAVE):
        return Moved(NOBODY, users or frozenset([message.sender_id]))
    return Moved(NOBODY, NOBODY)


def tell_members(database: sqlite3.Connection, message: Message, me: Self) -> None:
    """The user is told who came and who went."""
    where, moved = message.conversation_id, of(message)
    if not (moved.came or moved.went):
        return
    # The history tells what was before: what came after it holds.
    later = _moved(database, where, "message_id > ?", message.message_id)
    came, went = moved.came - later, moved.went - later
    never_told = rosters.was_never_told(database, where, me.user_id, message.message_id)
    rosters.tell(database, where, sorted(came))
    rosters.untell(database, where, sorted(went), message.message_id)
    if me.user_id in came:
        # Of what was said before this user came (back) nothing is missing.
        chains.excuse_conversation(database, where)
    if me.user_id in went:
        rosters.forget(database, where, message.message_id, never_told=never_told)


def may_have_gone(database: sqlite3.Connection, message: Message) -> bool:
    """Whether a message may be of somebody who has gone since, of which the user is still to be told.

    That is so as long as the last removal that the profile knows of was not told.
    """
    where, row = message.conversation_id, known_groups.find(database, message.conversation_id)
    if row is None or message.version >= row.state.removal_at:
        return False
    removal = Reference(DeviceId(0), known_groups.name_of(where, row.state.removal_at))
    return not transcript.is_stored(database, removal)


def moved_since(database: sqlite3.Connection, conversation_id: ConversationId, seq: int) -> frozenset[UserId]:
    """Who came or went by what was stored after a row."""
    return _moved(database, conversation_id, "seq > ?", seq)


def _moved(
    database: sqlite3.Connection, conversation_id: ConversationId, where: str, value: int
) -> frozenset[UserId]:
    rows = database.execute(
        f"SELECT {transcript.COLUMNS} FROM messages m WHERE conversation_id = ? AND {where}"  # noqa: S608
        " AND sender_device = 0 AND content_type = ?",
        (conversation_id, value, contents.CHANGE),
    ).fetchall()
    return NOBODY.union(*(moved.came | moved.went for moved in (of(transcript.wire(row)) for row in rows)))
