"""The groups that a profile knows: what they are, and who is in them, as far as that was told.

A change that follows the version known here is applied; whoever missed one, or is unsure, asks the server
(`Describe`). What the server says with a lesser version than is known changes nothing.

spec §6.17
"""

import hashlib
import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from tidings.client import contents, group_info, names
from tidings.client.group_values import Group, GroupMember, InviteLink, Pinned, Rules, group_peer
from tidings.client.sealing.opener import is_sealed, note_sealed
from tidings.protocol import frames
from tidings.protocol.frames import ConversationKind, GroupAction, GroupChange, GroupRole, Scheme
from tidings.protocol.ids import ClientId, ConversationId, EntryId, UserId

UNLISTED = -1
"""the version of a list of members that is not complete"""
LISTED_MAX = 1024
"""members of a group that are told with it (spec §10, `group_members_told`)"""
SEALED_MAX = 200
"""groups of which a new device is given the sender key at once; of others with what is written next"""
TOLD_AT_ONCE = 64
"""groups that are told in one go"""
UNKNOWN = frames.Group(0, Scheme.PLAIN, b"", EntryId(0), frames.GroupRules(), 0, UserId(0), 0, 0, 0)
"""of a group that one was in, and has never seen"""


class Row(NamedTuple):
    """A group as the profile has it."""

    conversation_id: ConversationId
    kind: int
    version: int
    state: frames.Group
    name: str
    about: str
    is_left: bool
    listed_at: int
    rev: int


def keep(
    database: sqlite3.Connection, told: frames.Conversation | frames.ConversationSummary, me: UserId
) -> None:
    """The server says what a group is. An older version than is known changes nothing."""
    before, state = find(database, told.conversation_id), told.group
    assert state is not None
    names.note(database, [(member.user_id, member.handle) for member in told.members])
    if before is not None and told.version < before.version:
        return  # also of who has left since: it does not bring them back
    is_listed = len(told.members) >= state.count > 0
    same = before is not None and before.version == told.version and not before.is_left
    listed_at = told.version if is_listed else before.listed_at if before is not None and same else UNLISTED
    if is_listed:
        _list(database, told.conversation_id, {member.user_id: member.role for member in told.members})
    mine = next((one.role for one in told.members if one.user_id == me), state.role)
    state = msgspec.structs.replace(state, role=mine)
    _put(database, before, told.conversation_id, told.kind, told.version, state, listed_at=listed_at)


def leave(database: sqlite3.Connection, conversation_id: ConversationId, version: int = 0) -> None:
    """This user is no member any more, from a version on if that is known, whatever came before."""
    database.execute(
        "UPDATE groups SET is_left = 1, version = max(version, :version), rev = rev + 1"
        " WHERE conversation_id = :conversation AND (is_left = 0 OR version < :version)",
        {"version": version, "conversation": conversation_id},
    )


def meet(database: sqlite3.Connection, conversation_id: ConversationId) -> None:
    """Something came from a group of which the server tells nothing: one was in it, and is not any more."""
    if find(database, conversation_id) is None:
        _put(database, None, conversation_id, ConversationKind.GROUP, 0, UNKNOWN, is_left=True)


def heard_of(
    database: sqlite3.Connection, messages: Sequence[frames.Message], me: UserId
) -> dict[ConversationId, int]:
    """The groups of which messages tell something that cannot be known by them, and up to which version."""
    doubtful: dict[ConversationId, int] = {}
    known: dict[ConversationId, Row] = {}
    for message in messages:
        conversation_id = message.conversation_id
        row = known.get(conversation_id) or find(database, conversation_id)
        change = contents.change_of(message)
        version = message.version if change is None else max(change.version, message.version)
        if row is None or (change is None and row.is_left):
            continue
        if change is not None and change.version >= row.version and _is_gone(change, message.sender_id, me):
            row = row._replace(is_left=True)
        elif change is not None and _follows(row, change):
            listed_at = change.version if row.listed_at == row.version else row.listed_at
            row = row._replace(version=change.version, listed_at=listed_at)
        elif _comes(change, me) if row.is_left else version > row.version:
            doubtful[conversation_id] = version
            row = row._replace(version=version)
        known[conversation_id] = row
    return doubtful


def _comes(change: GroupChange | None, me: UserId) -> bool:
    return change is not None and change.action in (GroupAction.ADD, GroupAction.JOIN) and me in change.users


def apply(database: sqlite3.Connection, message: frames.Message, me: UserId) -> None:
    """A change came: heed it, if it follows what is known. What cannot be told by it is asked for."""
    change = contents.change_of(message)
    row = find(database, message.conversation_id)
    if change is None or row is None:
        return
    if _is_gone(change, message.sender_id, me) and change.version >= row.version:
        leave(database, row.conversation_id, change.version)
    elif _follows(row, change):
        _change(database, row, change, message.sender_id)


def is_genuine(message: frames.Message) -> bool:
    """Whether what the server says of a change bears the name that such a message has."""
    change = contents.change_of(message)
    if change is None:
        return False
    return message.client_id == name_of(message.conversation_id, change.version)


def name_of(conversation_id: ConversationId, version: int) -> ClientId:
    """What the message is called that tells of a version."""
    digest = hashlib.sha256(b"change" + conversation_id + version.to_bytes(8, "big")).digest()
    return ClientId(digest[:16])


def find(database: sqlite3.Connection, conversation_id: ConversationId) -> Row | None:
    """A group, if the profile knows it."""
    found = _rows(database, "conversation_id = ?", conversation_id)
    return found[0] if found else None


def scheme(database: sqlite3.Connection, conversation_id: ConversationId) -> Scheme:
    """How a group is sealed; one that is not known is not."""
    row = find(database, conversation_id)
    return Scheme.PLAIN if row is None else Scheme(row.state.scheme)


def sealed(database: sqlite3.Connection) -> list[Row]:
    """The groups that the user is in and that are encrypted, `SEALED_MAX` of them."""
    rows = _rows(database, "is_left = 0 AND kind = ?", ConversationKind.GROUP)
    return [row for row in rows if row.state.scheme != Scheme.PLAIN][:SEALED_MAX]


def everything(database: sqlite3.Connection) -> list[Group]:
    """All groups, those too that were left."""
    return [shown(database, row) for row in _rows(database)]


def shown(database: sqlite3.Connection, row: Row) -> Group:
    """A group as programs see it."""
    state = row.state
    called = names.of(
        database, {state.made_by, *state.waiting, *(link.made_by for link in state.links)} - {UserId(0)}
    )
    return Group(
        conversation_id=row.conversation_id,
        peer=group_peer(row.conversation_id),
        name=row.name,
        about=row.about,
        is_channel=row.kind == ConversationKind.CHANNEL,
        version=row.version,
        role=_role(state.role),
        rules=rules_of(state.rules),
        count=state.count,
        picture=int(state.picture),
        sealed=state.scheme != Scheme.PLAIN,
        made_by=called.get(state.made_by, ""),
        made_at=state.made_at,
        pins=tuple(Pinned(pin.reference, pin.message_id) for pin in state.pins),
        links=tuple(InviteLink(link.hash, link.until, called[link.made_by]) for link in state.links),
        waiting=tuple(called[user_id] for user_id in state.waiting),
        is_left=row.is_left,
    )


def rules_of(rules: frames.GroupRules) -> Rules:
    """Rules as programs see them."""
    return Rules(_role(rules.write), _role(rules.add), _role(rules.edit), rules.approval)


def named(database: sqlite3.Connection, text: str) -> list[Row]:
    """The groups that somebody may mean: by id, else by name, else by the beginning of an id."""
    rows = _rows(database)
    wanted = text.casefold()
    by_name = [row for row in rows if row.name.casefold() == wanted]
    return (
        [row for row in rows if row.conversation_id.hex() == wanted]
        or [row for row in by_name if not row.is_left]
        or [row for row in rows if len(wanted) >= SHORT_MIN and row.conversation_id.hex().startswith(wanted)]
        or by_name
    )


SHORT_MIN = 4
"""digits of an id that are worth looking for"""


def members(database: sqlite3.Connection, conversation_id: ConversationId) -> list[GroupMember] | None:
    """Who is in a group, by id; None if not all are known."""
    row = find(database, conversation_id)
    if row is None or row.listed_at != row.version or row.is_left:
        return None
    roles = _members(database, conversation_id)
    called = names.of(database, roles)
    return [GroupMember(user_id, called[user_id], _role(roles[user_id])) for user_id in sorted(roles)]


def mentioned(database: sqlite3.Connection, peer: str, handles: Collection[str]) -> dict[str, UserId]:
    """Those of some handles who are in a group, by handle; in a large one, those whom the profile knows."""
    listed = members(database, ConversationId(bytes.fromhex(peer[1:])))
    if listed is not None:
        return {one.handle: one.user_id for one in listed if one.handle in handles}
    found = {handle: names.by_handle(database, handle) for handle in handles}
    return {handle: user_id for handle, user_id in found.items() if user_id is not None}


def unlisted(database: sqlite3.Connection) -> list[ConversationId]:
    """Groups whose members are not known, and would be told with the group."""
    rows = database.execute(
        "SELECT conversation_id FROM groups WHERE listed_at <> version AND is_left = 0 AND kind = ? LIMIT ?",
        (ConversationKind.GROUP, TOLD_AT_ONCE),
    ).fetchall()
    found = [row for (one,) in rows if (row := find(database, ConversationId(bytes(one)))) is not None]
    return [row.conversation_id for row in found if row.state.count <= LISTED_MAX]


def untold(database: sqlite3.Connection) -> list[tuple[Row, Group]]:
    """Groups that are otherwise than the program was told."""
    return [(row, shown(database, row)) for row in _rows(database, "told <> rev LIMIT ?", TOLD_AT_ONCE)]


def tell(database: sqlite3.Connection, row: Row) -> None:
    """The program was told."""
    database.execute("UPDATE groups SET told = ? WHERE conversation_id = ?", (row.rev, row.conversation_id))


def _change(database: sqlite3.Connection, row: Row, change: GroupChange, actor: UserId) -> None:
    state, listed_at, roles = row.state, row.listed_at, _members(database, row.conversation_id)
    users = set(change.users)
    changed = msgspec.structs.replace
    match change.action:
        case GroupAction.ADD | GroupAction.JOIN:
            came = users - roles.keys()
            roles |= dict.fromkeys(came, int(GroupRole.MEMBER))
            waiting = [one for one in state.waiting if one not in users]
            state = changed(state, count=state.count + len(came), waiting=waiting)
        case GroupAction.REMOVE | GroupAction.LEAVE:
            gone = users or {actor}
            roles = {user_id: role for user_id, role in roles.items() if user_id not in gone}
            state = changed(state, count=max(state.count - len(gone), 0), removal_at=change.version)
        case GroupAction.INFO:
            state = changed(state, info=change.info)
        case GroupAction.PICTURE:
            state = changed(state, picture=change.picture)
        case GroupAction.ASK:
            state = changed(state, waiting=[*state.waiting, *(users - set(state.waiting))])
        case GroupAction.DENY:
            state = changed(state, waiting=[one for one in state.waiting if one not in users])
        case GroupAction.PIN if change.relates_to is not None:
            others = [pin for pin in state.pins if pin.reference != change.relates_to]
            state = changed(state, pins=[*others, frames.Pin(change.target, change.relates_to)])
        case GroupAction.UNPIN:
            state = changed(state, pins=[pin for pin in state.pins if pin.reference != change.relates_to])
        case _:
            pass
    if listed_at == row.version:
        _list(database, row.conversation_id, roles)
        listed_at = change.version
    _put(database, row, row.conversation_id, row.kind, change.version, state, listed_at=listed_at)


def read_info(database: sqlite3.Connection, conversation_id: ConversationId) -> None:
    """What opens a group's info may have come: what it says is known now."""
    row = find(database, conversation_id)
    if row is not None:
        _put(
            database,
            row,
            conversation_id,
            row.kind,
            row.version,
            row.state,
            listed_at=row.listed_at,
            is_left=row.is_left,
        )


def _follows(row: Row, change: GroupChange) -> bool:
    """Whether a change makes the next version of what is known, and says all that is new in it."""
    if change.version != row.version + 1 or row.is_left or change.action in _UNTOLD:
        return False
    # Whom it adds may be there already, as far as is known here.
    return row.listed_at == row.version or change.action not in _ABOUT_MEMBERS


_UNTOLD = (
    GroupAction.CREATE,
    GroupAction.LINK,
    GroupAction.UNLINK,
    GroupAction.ROLE,
    GroupAction.RULES,
)
"""changes that do not tell all: which links there are now, what who may add is told besides"""
_ABOUT_MEMBERS = (GroupAction.ADD, GroupAction.JOIN, GroupAction.REMOVE, GroupAction.LEAVE)


def _is_gone(change: GroupChange, actor: UserId, me: UserId) -> bool:
    if change.action == GroupAction.LEAVE:
        return actor == me
    return change.action == GroupAction.REMOVE and me in change.users


def _put(
    database: sqlite3.Connection,
    before: Row | None,
    conversation_id: ConversationId,
    kind: int,
    version: int,
    state: frames.Group,
    *,
    listed_at: int = UNLISTED,
    is_left: bool = False,
) -> None:
    if state.scheme != Scheme.PLAIN:
        note_sealed(database, conversation_id)
    elif is_sealed(database, conversation_id):
        state = msgspec.structs.replace(state, scheme=Scheme.SENDER_KEY)  # whatever the server says
    info = group_info.read(database, conversation_id, state.scheme, state.info)
    values = (kind, version, msgspec.msgpack.encode(state), info.name, info.about, is_left)
    if before is None:
        database.execute(
            "INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, 0)", (conversation_id, *values, listed_at)
        )
    elif values != (*before[1:3], msgspec.msgpack.encode(before.state), *before[4:7]):
        database.execute(
            "UPDATE groups SET kind = ?, version = ?, state = ?, name = ?, about = ?, is_left = ?,"
            " listed_at = ?, rev = rev + 1 WHERE conversation_id = ?",
            (*values, listed_at, conversation_id),
        )
    elif listed_at != before.listed_at:
        database.execute(
            "UPDATE groups SET listed_at = ? WHERE conversation_id = ?", (listed_at, conversation_id)
        )
    database.execute(
        "INSERT INTO conversations VALUES (?, ?, 0, ?) ON CONFLICT DO UPDATE SET version = excluded.version",
        (conversation_id, version, group_peer(conversation_id)),
    )


def _rows(database: sqlite3.Connection, where: str = "1", *values: object) -> list[Row]:
    rows = database.execute(
        "SELECT conversation_id, kind, version, state, name, about, is_left, listed_at, rev FROM groups"  # noqa: S608
        f" WHERE {where}",
        values,
    ).fetchall()
    return [
        Row(
            conversation_id=ConversationId(bytes(row[0])),
            kind=row[1],
            version=row[2],
            state=_decode(row[3]),
            name=row[4],
            about=row[5],
            is_left=bool(row[6]),
            listed_at=row[7],
            rev=row[8],
        )
        for row in rows
    ]


def _members(database: sqlite3.Connection, conversation_id: ConversationId) -> dict[UserId, int]:
    rows = database.execute(
        "SELECT user_id, role FROM members WHERE conversation_id = ?", (conversation_id,)
    ).fetchall()
    return {UserId(user_id): role for user_id, role in rows}


def _list(database: sqlite3.Connection, conversation_id: ConversationId, roles: dict[UserId, int]) -> None:
    before = _members(database, conversation_id)
    database.executemany(
        "DELETE FROM members WHERE conversation_id = ? AND user_id = ?",
        [(conversation_id, user_id) for user_id in before.keys() - roles.keys()],
    )
    database.executemany(
        "INSERT OR REPLACE INTO members VALUES (?, ?, ?)",
        [
            (conversation_id, user_id, int(role))
            for user_id, role in roles.items()
            if before.get(user_id) != role
        ],
    )


def _role(role: int) -> GroupRole:
    """A role; one that only a newer version knows is an ordinary member's."""
    return GroupRole(role) if role in _ROLES else GroupRole.MEMBER


_ROLES = frozenset(int(role) for role in GroupRole)


_decode = msgspec.msgpack.Decoder(frames.Group).decode
