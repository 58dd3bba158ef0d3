"""Tallies: how many members of a group have an own message, and how many have read it.

State, not events: counts only grow, and for whom a message is only shrinks, by those who leave without it.
Who leaves just as they get it may be counted late: a message is for no fewer than have it. What was missed
while away is asked for, of the newest own messages that not everybody has read.

spec §6.17
"""

import sqlite3
from collections import defaultdict

from tidings.client.events import TallyEvent
from tidings.client.group_values import Tally, group_peer
from tidings.protocol.frames import Status, Tallies
from tidings.protocol.ids import ConversationId, MessageId

ASKED_AFTER = 256
"""own messages that are asked after at once (spec §10, `tallied`)"""
TOLD_AT_ONCE = 512


def apply(database: sqlite3.Connection, told: Tallies) -> None:
    """The server tells counts."""
    for one in told.items:
        where = (told.conversation_id, one.message_id)
        database.execute(
            # (That nobody is left who could have it is news, too.)
            "INSERT INTO tallies (conversation_id, message_id, delivered, read, entitled, told_entitled)"
            " VALUES (?, ?, ?, ?, ?, -1) ON CONFLICT DO UPDATE SET"
            " delivered = max(delivered, excluded.delivered), read = max(read, excluded.read),"
            " entitled = max(delivered, excluded.delivered, min(entitled, excluded.entitled))",
            (*where, one.delivered, one.read, one.of),
        )
        state = status_of(database, *where)
        database.execute(
            "UPDATE outgoing SET state = ? WHERE conversation_id = ? AND message_id = ? AND state < 3"
            " AND state < ?",
            (state, *where, state),
        )


def status_of(database: sqlite3.Connection, conversation_id: ConversationId, message_id: MessageId) -> Status:
    """How far an own message has come, for all members."""
    row = database.execute(
        "SELECT delivered, read, entitled FROM tallies WHERE conversation_id = ? AND message_id = ?",
        (conversation_id, message_id),
    ).fetchone()
    return Status.SENT if row is None else Tally(*row).status


def unfinished(database: sqlite3.Connection) -> dict[ConversationId, list[MessageId]]:
    """The newest own messages that not everybody has read, as far as is known."""
    rows = database.execute(
        "SELECT o.conversation_id, o.message_id FROM outgoing o"
        " JOIN groups g ON g.conversation_id = o.conversation_id"
        " WHERE o.state < 3 AND g.is_left = 0 AND g.kind = 2 ORDER BY o.message_id DESC LIMIT ?",
        (ASKED_AFTER,),
    ).fetchall()
    found: dict[ConversationId, list[MessageId]] = defaultdict(list)
    for conversation_id, message_id in rows:
        found[ConversationId(bytes(conversation_id))].append(MessageId(message_id))
    return found


def untold(database: sqlite3.Connection) -> list[TallyEvent]:
    """What has changed since the program was told."""
    rows = database.execute(
        "SELECT conversation_id, message_id, delivered, read, entitled FROM tallies"
        " WHERE delivered <> told_delivered OR read <> told_read OR entitled <> told_entitled LIMIT ?",
        (TOLD_AT_ONCE,),
    ).fetchall()
    return [
        TallyEvent(
            ConversationId(bytes(row[0])),
            group_peer(ConversationId(bytes(row[0]))),
            MessageId(row[1]),
            Tally(*row[2:]),
        )
        for row in rows
    ]


def tell(database: sqlite3.Connection, event: TallyEvent) -> None:
    """The program was told."""
    database.execute(
        "UPDATE tallies SET told_delivered = ?, told_read = ?, told_entitled = ?"
        " WHERE conversation_id = ? AND message_id = ?",
        (*event.tally, event.conversation_id, event.message_id),
    )
