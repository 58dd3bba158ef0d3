"""The transcript: the rows of everything that was said, by whom and about what, once each.

A row's name is (sender_device, client_id); what comes again changes nothing but, for twins, the
`message_id`, which becomes the greater one. What was deleted or has expired loses its content here,
not only on the screen.

spec §6.3, §6.4
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

import msgspec

from tidings.client import contents, group_changes, names, receipts
from tidings.client.folding import folded
from tidings.client.group_values import Change, Tally, is_group
from tidings.client.sealing import asking
from tidings.client.sealing.opener import is_erased, is_sealed
from tidings.client.sealing.warnings import warn
from tidings.client.values import Fault, Message
from tidings.protocol import frames
from tidings.protocol.frames import CHANGES, Reference, Relation, Scheme, Status
from tidings.protocol.ids import (
    SNOWFLAKE_MAX,
    ClientId,
    ConversationId,
    DeviceId,
    MessageId,
    UserId,
)

M = TypeVar("M", bound=Message)

Name = tuple[DeviceId, ClientId]


class Self(NamedTuple):
    """Who reads."""

    user_id: UserId
    device_id: DeviceId
    handle: str


class Origin(IntEnum):
    """How a row came into the profile."""

    INBOX = 0
    HERE = 1
    """this device wrote it"""
    HISTORY = 2
    """from before the device was made, or told again by the server's history"""
    EXPIRED = 3
    """it was told, and has had its time since: that is told in its place"""
    OPENED = 4
    """it was told as one that cannot be read, and its key has come since"""


COLUMNS = (
    "m.message_id, m.conversation_id, m.sender_id, m.sender_device, m.client_id, m.content_type, m.content,"
    " m.created_at, m.target_device, m.target_client, m.expires_at, m.silent, m.relation"
)
"""What `_wire` reads."""

_SHOWN = f"""
    SELECT {COLUMNS}, coalesce(c.peer, 'user ' || m.sender_id), coalesce(c.peer_id, m.sender_id), o.state,
        coalesce((SELECT w.read FROM watermarks w WHERE w.conversation_id = m.conversation_id
            AND w.user_id = :me), 0),
        EXISTS (SELECT 1 FROM messages x WHERE x.target_device = m.sender_device
            AND x.target_client = m.client_id AND x.relation IN (2, 3, 4, 9)), m.is_sealed, m.fault,
        n.handle, t.delivered, t.read, t.entitled
    FROM messages m
    LEFT JOIN conversations c ON c.conversation_id = m.conversation_id
    LEFT JOIN outgoing o ON o.sender_device = m.sender_device AND o.client_id = m.client_id
    LEFT JOIN names n ON n.user_id = m.sender_id
    LEFT JOIN tallies t ON t.conversation_id = m.conversation_id AND t.message_id = m.message_id AND m.own = 1
"""  # noqa: S608


def add(
    database: sqlite3.Connection,
    message: frames.Message,
    me: Self,
    origin: Origin,
    *,
    consumed: bool = False,
    status: Status = Status.SENT,
    stands: bool = False,
    fault: Fault = Fault.NONE,
) -> None:
    """Store what was said, unless it is there. Told by `Client.events()` unless `consumed`.

    `status` is what else is known of how far an own message has come. `stands`: that it has this
    message_id is certain; else, of twins (spec §6.3), the greater one counts. `fault`: why it has no
    content.
    """
    name = (message.sender_device, message.client_id)
    own = is_own(message, me)
    if own:
        _add_outgoing(database, message, status, is_past=origin == Origin.HISTORY, stands=stands)
    row = database.execute(
        "SELECT seq, origin, message_id FROM messages WHERE sender_device = ? AND client_id = ?", name
    ).fetchone()
    if row is not None:
        if message.message_id != row[2]:
            _check_order(database, message, me, row[2])
        # Of twins the message is shown once all the same.
        database.execute(
            f"UPDATE messages SET message_id = {_place(stands=stands)} WHERE seq = ?",  # noqa: S608
            (message.message_id, row[0]),
        )
        if origin != Origin.HISTORY and row[1] == Origin.HISTORY:
            # The history was quicker than the inbox, or than the answer: it is news all the same.
            database.execute("UPDATE messages SET origin = ?, consumed = 0 WHERE seq = ?", (origin, row[0]))
        return
    _insert(database, message, own=own, origin=origin, consumed=consumed, fault=fault)
    if fault == Fault.NONE:
        _settle(database, message)


def _check_order(database: sqlite3.Connection, message: frames.Message, me: Self, before: MessageId) -> None:
    """Warn if a message changes places with another one of its device. No twin does."""
    low, high = sorted((before, message.message_id))
    passed = database.execute(
        "SELECT 1 FROM messages WHERE conversation_id = ? AND message_id > ? AND message_id < ?"
        " AND relation IN (0, 1, 5) AND is_sealed = 1 AND sender_device = ? LIMIT 1",
        (message.conversation_id, low, high, message.sender_device),
    ).fetchone()
    if passed is not None and message.sender_device != me.device_id:
        detail = "it was said to stand elsewhere, later"
        warn(database, "reordered", message.sender_id, detail, message.conversation_id)


def fill(database: sqlite3.Connection, message: frames.Message, me: Self, fault: Fault) -> None:
    """The key of a message came after it: it is told (again), whole, or with another fault.

    What was said of it before, nobody had sealed: that is replaced, too.
    """
    name, target = (message.sender_device, message.client_id), message.relates_to
    database.execute(
        "UPDATE messages SET content_type = ?, content = ?, expires_at = ?, fault = ?,"
        " message_id = ?, conversation_id = ?, sender_id = ?, own = ?, created_at = ?, relation = ?,"
        " target_device = ?, target_client = ?, silent = ?, is_sealed = ?,"
        " origin = CASE WHEN consumed = 1 THEN ? ELSE origin END, consumed = 0"
        " WHERE sender_device = ? AND client_id = ?",
        (
            message.content_type,
            message.content,
            message.expires_at,
            fault,
            message.message_id,
            message.conversation_id,
            message.sender_id,
            is_own(message, me),
            message.created_at,
            message.relation,
            None if target is None else target.sender_device,
            None if target is None else target.client_id,
            message.silent,
            message.scheme != Scheme.PLAIN,
            Origin.OPENED,
            *name,
        ),
    )
    if fault == Fault.NONE:
        _settle(database, message)


def is_stored(database: sqlite3.Connection, name: Reference) -> bool:
    """Whether a message is there, whatever can be read of it."""
    row = database.execute(
        "SELECT 1 FROM messages WHERE sender_device = ? AND client_id = ?",
        (name.sender_device, name.client_id),
    ).fetchone()
    return row is not None


def newest_seq(database: sqlite3.Connection) -> int:
    """The `seq` of the row that was stored last; 0 if there is none."""
    (seq,) = database.execute("SELECT coalesce(max(seq), 0) FROM messages").fetchone()
    return int(seq)


def stored(database: sqlite3.Connection, name: Reference) -> frames.Message | None:
    """A message as it crossed the wire, with the content that the profile has."""
    row = database.execute(
        f"SELECT {COLUMNS} FROM messages m WHERE m.sender_device = ? AND m.client_id = ?",  # noqa: S608
        (name.sender_device, name.client_id),
    ).fetchone()
    return None if row is None else wire(row)


def readable(database: sqlite3.Connection, message: frames.Message) -> tuple[frames.Message, Fault]:
    """A message that the server tells without its key, as the profile has it; only where it stands is news.

    One that is not here says nothing, unless nothing was ever sealed in its conversation.
    """
    row = database.execute(
        f"SELECT {COLUMNS}, m.fault FROM messages m WHERE m.sender_device = ? AND m.client_id = ?",  # noqa: S608
        (message.sender_device, message.client_id),
    ).fetchone()
    if message.scheme == Scheme.PLAIN and not is_sealed(database, message.conversation_id):
        return message, Fault.NONE
    if contents.is_notice(message):
        return message, Fault.NONE  # the server's own
    empty, is_gone = msgspec.structs.replace(message, content=b""), is_erased(message)
    if row is None and is_gone:
        return empty, Fault.NONE
    if row is None:
        return empty, Fault.PLAINTEXT if message.scheme == Scheme.PLAIN else Fault.NO_KEY
    if row[1] != message.conversation_id:
        return empty, Fault.FORGED
    known = msgspec.structs.replace(wire(row), message_id=message.message_id, scheme=message.scheme)
    if is_gone:
        return msgspec.structs.replace(known, content_type="", content=b""), Fault.NONE
    return known, Fault(row[-1])


def _settle(database: sqlite3.Connection, message: frames.Message) -> None:
    """What follows from a message that is there and can be read."""
    name = (message.sender_device, message.client_id)
    if message.relation == Relation.DELETE and message.relates_to is not None:
        _erase_deleted(database, message.relates_to)
    elif _is_gone(database, message):
        _erase(database, Reference(*name))


def shown(
    database: sqlite3.Connection,
    me: Self,
    conversation_id: ConversationId,
    *,
    limit: int,
    before: MessageId | None = None,
    after: MessageId | None = None,
) -> list[Message]:
    """The newest messages of a conversation (or those before or after one) in order, changes folded in."""
    below, above = (SNOWFLAKE_MAX if before is None else before), (0 if after is None else after)
    rows = database.execute(
        f"{_SHOWN} WHERE m.conversation_id = :conversation AND m.message_id < :below"
        " AND m.message_id > :above AND m.relation IN (0, 1, 5)"
        f" ORDER BY m.message_id {'DESC' if after is None else 'ASC'} LIMIT :limit",
        {"me": me.user_id, "conversation": conversation_id, "below": below, "above": above, "limit": limit},
    ).fetchall()
    return [_whole(database, row, me, Message) for row in (rows if after is not None else reversed(rows))]


def conversations(database: sqlite3.Connection) -> list[ConversationId]:
    """Those in which something was said."""
    # From one to the next by the index; DISTINCT would look at every message.
    rows = database.execute(
        "WITH RECURSIVE found(id) AS (SELECT min(conversation_id) FROM messages WHERE relation IN (0, 1, 5)"
        " UNION ALL SELECT (SELECT min(conversation_id) FROM messages"
        " WHERE relation IN (0, 1, 5) AND conversation_id > found.id) FROM found WHERE id IS NOT NULL)"
        " SELECT id FROM found WHERE id IS NOT NULL"
    ).fetchall()
    return [ConversationId(row[0]) for row in rows]


def find(database: sqlite3.Connection, me: Self, reference: Reference) -> Message | None:
    """A message as it stands now."""
    row = database.execute(
        f"{_SHOWN} WHERE m.sender_device = :device AND m.client_id = :name AND m.relation IN (0, 1, 5)",
        {"me": me.user_id, "device": reference.sender_device, "name": reference.client_id},
    ).fetchone()
    return None if row is None else _whole(database, row, me, Message)


def at(
    database: sqlite3.Connection, me: Self, conversation_id: ConversationId, message_id: MessageId
) -> Message | None:
    """The message that stands at a place of a conversation."""
    row = database.execute(
        f"{_SHOWN} WHERE m.conversation_id = :conversation AND m.message_id = :place"
        " AND m.relation IN (0, 1, 5)",
        {"me": me.user_id, "conversation": conversation_id, "place": message_id},
    ).fetchone()
    return None if row is None else _whole(database, row, me, Message)


def place_of(database: sqlite3.Connection, reference: Reference) -> MessageId | None:
    """Where a message stands: what the server calls the `target` of what is said about it."""
    name = (reference.sender_device, reference.client_id)
    (place,) = database.execute(
        "SELECT max(message_id) FROM ("
        " SELECT message_id FROM messages WHERE sender_device = ? AND client_id = ?"
        " UNION ALL SELECT message_id FROM outgoing WHERE sender_device = ? AND client_id = ?)",
        (*name, *name),
    ).fetchone()
    return None if place is None else MessageId(place)


def newest(database: sqlite3.Connection, conversation_id: ConversationId) -> MessageId:
    """The newest message of a conversation that this device has; 0 if it has none."""
    (found,) = database.execute(
        "SELECT max(message_id) FROM messages WHERE conversation_id = ? AND relation IN (0, 1, 5)",
        (conversation_id,),
    ).fetchone()
    return MessageId(found or 0)


def is_known(database: sqlite3.Connection, reference: Reference | None) -> bool:
    """Whether a message came otherwise than out of the past."""
    if reference is None:
        return False
    row = database.execute(
        "SELECT 1 FROM messages WHERE sender_device = ? AND client_id = ? AND origin <> ?",
        (reference.sender_device, reference.client_id, Origin.HISTORY),
    ).fetchone()
    return row is not None


def expire(database: sqlite3.Connection, now_ms: int) -> None:
    """Erase what has had its time. Where the program knows the message it is told, by any process."""
    rows = database.execute(
        "SELECT seq, sender_device, client_id FROM messages WHERE expires_at <= ? AND content_type <> ''",
        (now_ms,),
    ).fetchall()
    for seq, device, name in rows:
        _erase(database, Reference(DeviceId(device), ClientId(name)))
        tell_expired(database, "seq = ? AND consumed = 1", seq)


def tell_expired(database: sqlite3.Connection, where: str, seq: int) -> None:
    """Have the program told that a message is gone, if it meets a condition."""
    database.execute(
        f"UPDATE messages SET origin = ?, consumed = 0 WHERE {where} AND relation IN (0, 1, 5)",  # noqa: S608
        (Origin.EXPIRED, seq),
    )


def next_expiry_ms(database: sqlite3.Connection) -> int | None:
    """When `expire` has something to do."""
    (moment,) = database.execute(
        "SELECT min(expires_at) FROM messages WHERE expires_at IS NOT NULL AND content_type <> ''"
    ).fetchone()
    return None if moment is None else int(moment)


def read_message(database: sqlite3.Connection, seq: int, me: Self, kind: type[M]) -> M:
    """The message of a row that is known to be one."""
    row = database.execute(f"{_SHOWN} WHERE m.seq = :seq", {"me": me.user_id, "seq": seq}).fetchone()
    return _whole(database, row, me, kind)


def _whole(database: sqlite3.Connection, row: Any, me: Self, kind: type[M]) -> M:
    """A row of `_SHOWN` with what this profile knows to have been said about it."""
    message, has_changes = _message(database, row, me, kind), row[17]
    if row[18] or row[19]:
        message = replace(message, sealed=bool(row[18]), fault=Fault(row[19]))
    if not has_changes:
        return message
    rows = database.execute(
        f"SELECT {COLUMNS} FROM messages m"  # noqa: S608
        " WHERE m.target_device = ? AND m.target_client = ? AND m.relation IN (2, 3, 4, 9) AND m.fault = 0",
        (message.reference.sender_device, message.reference.client_id),
    ).fetchall()
    changes = [wire(row) for row in rows]
    return folded(message, changes, names_in(database, me, message, changes))


def names_in(
    database: sqlite3.Connection, me: Self, message: Message, changes: Iterable[frames.Message]
) -> dict[int, str]:
    """The names of those who said something about a message."""
    if message.in_group:
        return {**names.of(database, (change.sender_id for change in changes)), me.user_id: me.handle}
    return {message.peer_id: message.peer, me.user_id: me.handle}


def is_own(message: frames.Message, me: Self) -> bool:
    """Whether the user wrote a message, on any device. What the server says of a change nobody wrote."""
    return message.sender_id == me.user_id and message.sender_device != 0


def wire(row: Any) -> frames.Message:
    """A row, up to the end of `COLUMNS`, as the message that crossed the wire."""
    device, name = row[8], row[9]
    return frames.Message(
        message_id=MessageId(row[0]),
        conversation_id=ConversationId(row[1]),
        sender_id=UserId(row[2]),
        sender_device=DeviceId(row[3]),
        client_id=ClientId(row[4]),
        version=0,
        scheme=Scheme.PLAIN,
        content_type=row[5],
        content=row[6],
        created_at=row[7],
        relates_to=None if device is None else Reference(DeviceId(device), ClientId(name)),
        expires_at=row[10],
        silent=bool(row[11]),
        relation=row[12],
    )


def message_of(
    message: frames.Message,
    me: Self,
    peer: str,
    peer_id: UserId,
    status: Status,
    kind: type[M],
    *,
    called: str | None = None,
    change: Change | None = None,
    tally: Tally | None = None,
) -> M:
    """A message of the wire as programs see it, nothing folded in yet. `called`: who wrote it in a group."""
    other = (called or names.number(message.sender_id)) if is_group(peer) else peer
    return kind(
        reference=Reference(message.sender_device, message.client_id),
        message_id=message.message_id,
        conversation_id=message.conversation_id,
        peer=peer,
        peer_id=peer_id,
        sender=me.handle if message.sender_id == me.user_id else other,
        sender_id=message.sender_id,
        own=is_own(message, me),
        content=message.content,
        content_type=message.content_type,
        created_at=message.created_at,
        status=status,
        reply_to=message.relates_to if message.relation == Relation.REPLY else None,
        forwarded=message.relation == Relation.FORWARD,
        silent=message.silent,
        expires_at=message.expires_at,
        change=change,
        tally=tally,
        me_id=me.user_id,
    )


def _message(database: sqlite3.Connection, row: Any, me: Self, kind: type[M]) -> M:
    message = wire(row)
    peer, peer_id, state, read_up_to = row[13:17]
    if is_own(message, me):
        status = Status.SENT if state is None else Status(state)
    else:
        status = Status.READ if message.message_id <= read_up_to else Status.DELIVERED
    return message_of(
        message,
        me,
        peer,
        UserId(peer_id),
        status,
        kind,
        called=row[20],
        change=group_changes.shown(database, message, me.user_id, me.handle),
        tally=None if row[21] is None else Tally(*row[21:24]),
    )


def _add_outgoing(
    database: sqlite3.Connection, message: frames.Message, status: Status, *, is_past: bool, stands: bool
) -> None:
    """Keep how far an own message has come. What only changes another one gets no ticks."""
    if message.relation in CHANGES:
        return
    name = (message.sender_device, message.client_id)
    state = max(status, receipts.state_of(database, message.conversation_id, message.message_id))
    added = database.execute(
        "INSERT OR IGNORE INTO outgoing VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *name,
            message.conversation_id,
            message.message_id,
            message.created_at,
            state,
            state if is_past else Status.SENT,
        ),
    ).rowcount
    if not added:
        database.execute(
            f"UPDATE outgoing SET message_id = {_place(stands=stands)}"  # noqa: S608
            " WHERE sender_device = ? AND client_id = ?",
            (message.message_id, *name),
        )


def _place(*, stands: bool) -> str:
    """Where a message stands, given that it came again (SQL)."""
    return "?" if stands else "max(message_id, ?)"


def _insert(
    database: sqlite3.Connection,
    message: frames.Message,
    *,
    own: bool,
    origin: Origin,
    consumed: bool,
    fault: Fault,
) -> None:
    target = message.relates_to
    database.execute(
        "INSERT INTO messages (sender_device, client_id, message_id, conversation_id, sender_id,"
        " content_type, content, created_at, own, origin, consumed, relation, target_device, target_client,"
        " silent, expires_at, fault, is_sealed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            message.sender_device,
            message.client_id,
            message.message_id,
            message.conversation_id,
            message.sender_id,
            message.content_type,
            message.content,
            message.created_at,
            own,
            int(origin),
            consumed,
            message.relation,
            None if target is None else target.sender_device,
            None if target is None else target.client_id,
            message.silent,
            message.expires_at,
            int(fault),
            message.scheme != Scheme.PLAIN,
        ),
    )


def _erase_deleted(database: sqlite3.Connection, target: Reference) -> None:
    """A delete came: erase its target, if the author is the same."""
    name = (target.sender_device, target.client_id)
    row = database.execute(
        "SELECT m.sender_id, m.conversation_id FROM messages m WHERE m.sender_device = ? AND m.client_id = ?",
        name,
    ).fetchone()
    if row is not None and _has_delete(database, target, UserId(row[0]), ConversationId(row[1])):
        _erase(database, target)
    elif row is None:
        # Its author is not known yet; what they themselves made of it is gone in any case.
        database.execute(
            "UPDATE messages SET content = x'', content_type = ''"
            " WHERE target_device = ? AND target_client = ? AND relation = 2"
            " AND sender_id IN (SELECT d.sender_id FROM messages d"
            " WHERE d.target_device = ? AND d.target_client = ? AND d.relation = 3 AND d.fault = 0)",
            (*name, *name),
        )


def _is_gone(database: sqlite3.Connection, message: frames.Message) -> bool:
    """Whether what just came is gone already: it, or what it is about, was deleted or has expired before."""
    about = message.relates_to
    if message.relation not in CHANGES:
        name = Reference(message.sender_device, message.client_id)
        return _has_delete(database, name, message.sender_id, message.conversation_id)
    if about is None or message.relation == Relation.DELETE:
        return False
    row = database.execute(
        "SELECT content_type FROM messages WHERE sender_device = ? AND client_id = ?",
        (about.sender_device, about.client_id),
    ).fetchone()
    if row is not None:
        return not row[0]
    return message.relation == Relation.EDIT and _has_delete(
        database, about, message.sender_id, message.conversation_id
    )


def _has_delete(
    database: sqlite3.Connection, target: Reference, author: UserId, conversation_id: ConversationId
) -> bool:
    """Whether a message was deleted by who may: its author, or in a group (as the server says) an admin."""
    row = database.execute(
        "SELECT 1 FROM messages WHERE target_device = ? AND target_client = ? AND relation = ?"
        " AND relation IN (2, 3, 4, 9) AND fault = 0 AND (sender_id = ? OR (conversation_id = ?"
        " AND conversation_id IN (SELECT conversation_id FROM groups))) LIMIT 1",
        (target.sender_device, target.client_id, Relation.DELETE, author, conversation_id),
    ).fetchone()
    return row is not None


def _erase(database: sqlite3.Connection, reference: Reference) -> None:
    """Overwrite what a message and its edits and reactions said, and forget their keys."""
    name = (reference.sender_device, reference.client_id)
    changes = database.execute(
        "SELECT sender_device, client_id FROM messages"
        " WHERE target_device = ? AND target_client = ? AND relation IN (2, 4, 9)",
        name,
    ).fetchall()
    for gone in (reference, *(Reference(DeviceId(device), ClientId(named)) for device, named in changes)):
        asking.forget(database, gone)
    database.execute(
        "UPDATE messages SET content = x'', content_type = '' WHERE sender_device = ? AND client_id = ?", name
    )
    database.execute(
        "UPDATE messages SET content = x'', content_type = ''"
        " WHERE target_device = ? AND target_client = ? AND relation IN (2, 3, 4, 9)",
        name,
    )
