"""Checks of a store that nobody else has open: is everything readable, and does it fit together?

First every row of every table is decoded and its key compared with its columns. Then rows that
follow from others are compared with those. What `repair` may write is only what follows wholly
from other rows: memberships. Anything else that is wrong is told, never guessed at.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from tidings.protocol import frames, ids
from tidings.protocol.frames import ConversationKind
from tidings.protocol.keys import decode_list
from tidings.store import group_checks
from tidings.store.backup import Progress, no_progress, pages
from tidings.store.contract import Erase, Put, StoreDamaged, Table, Write
from tidings.store.rocks import RocksStore
from tidings.store.schema import (
    CURSORS,
    DEVICE_KEYS,
    DEVICE_LISTS,
    DEVICES,
    HANDLES,
    HEAD_MEMBER,
    INBOX,
    MEMBERS,
    MEMBERSHIPS,
    MESSAGES,
    NODES,
    ONE_TIME_KEYS,
    RELATIONS,
    ROSTERS,
    SEEN,
    SUBSCRIBERS,
    TABLES,
    USERS,
    DeviceListRow,
    MemberRow,
    MembershipRow,
)

EXAMPLES_MAX = 3

LACKS_MEMBERSHIP = "memberships: a member whose row is missing or wrong"
LACKS_MEMBER = "memberships: a row of somebody who is no member"
LACKS_HEAD = "members: a conversation without its own row"
LACKS_USER = "handles: in use by nobody of that name"
DEVICE_OF_NOBODY = "devices: of no account"
CURSOR_OF_NOBODY = "cursors: of no device"
SEEN_OF_NOBODY = "seen: of no device"
KEYS_OF_NOBODY = "device_keys: of no device"
LIST_OF_NOBODY = "device_lists: of no account"
UNREADABLE_LIST = "device_lists: one that no client could read"
PAIRS_OF_NOBODY = "one_time_keys: of no device"
LACKS_TARGET = "relations: to a message that is not there"
UNREADABLE_ENTRY = "inbox: an entry that no client could read"
UNCHECKED = "not compared, since its tables cannot be read"


class Findings:
    """What is wrong, by kind: how often, and a few examples of where."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.repaired: Counter[str] = Counter()
        self.rows: dict[str, int] = {}
        """of each table, as far as it could be read"""

    def add(self, kind: str, example: str) -> None:
        """One more of a kind."""
        self.counts[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(example)

    @property
    def left(self) -> Counter[str]:
        """What was found and not repaired."""
        return self.counts - self.repaired


async def check(
    store: RocksStore, *, repair: bool = False, now_ms: int, progress: Progress = no_progress
) -> Findings:
    """Look at everything. Raises StoreError where the store as a whole fails."""
    findings = Findings()
    sound = {table for table in TABLES if _readable(store, table, findings, progress)}
    checks: list[tuple[Callable[[], Awaitable[None]], tuple[Table[Any], ...]]] = [
        (
            lambda: _memberships(store, findings, repair=repair, now_ms=now_ms),
            (MEMBERS, MEMBERSHIPS, ROSTERS, SUBSCRIBERS, NODES),
        ),
        (lambda: _handles(store, findings), (HANDLES, USERS)),
        (lambda: _devices(store, findings), (DEVICES, USERS, CURSORS, SEEN)),
        (lambda: _keys(store, findings), (DEVICE_KEYS, DEVICES, ONE_TIME_KEYS)),
        (lambda: _lists(store, findings), (DEVICE_LISTS, USERS)),
        (lambda: _relations(store, findings), (RELATIONS, MESSAGES)),
        (lambda: _inbox(store, findings), (INBOX,)),
    ]
    for done, (compare, tables) in enumerate(checks):
        progress("comparing", done, len(checks))
        if sound.issuperset(tables):
            await compare()
        else:
            findings.add(UNCHECKED, ", ".join(table.name for table in tables))
    progress("comparing", len(checks), len(checks))
    return findings


def _readable(store: RocksStore, table: Table[Any], findings: Findings, progress: Progress) -> bool:
    """Whether every row of a table is whole."""
    estimate, sound, count = store.estimate(table), True, 0
    first: bytes | None = b""
    try:
        while first is not None:
            examined = store.examine(table, first)
            first = examined.go_on
            count += examined.rows
            for fault in examined.faults:
                sound = False
                findings.add(f"{table.name}: a row that cannot be read", fault)
            progress(table.name, count, max(estimate, count))
    except StoreDamaged as damage:
        sound = False
        findings.add(f"{table.name}: damaged", str(damage).partition("\n")[0])
    findings.rows[table.name] = count
    return sound


async def _memberships(store: RocksStore, findings: Findings, *, repair: bool, now_ms: int) -> None:
    """A user's list of conversations follows from the conversations' lists of users."""
    nodes = await store.scan(NODES, limit=ids.NODE_MAX + 1)
    cause = max([ids.first_at(now_ms), *(row.ids_until for row in nodes)])
    async for members in pages(store, MEMBERS):
        wrong = [write async for write in _lacking(store, members, cause, findings)]
        await _rewrite(store, wrong, LACKS_MEMBERSHIP, findings, repair=repair)
    async for where, writes in group_checks.lacking(store):
        findings.add(LACKS_MEMBERSHIP, where)
        await _rewrite(store, writes, LACKS_MEMBERSHIP, findings, repair=repair)
    async for rows in pages(store, MEMBERSHIPS):
        surplus: list[Write] = []
        keys = [(row.conversation_id, row.user_id) for row in rows]
        for row, member in zip(rows, await store.get_many(MEMBERS, keys), strict=True):
            if row.kind in (ConversationKind.GROUP, ConversationKind.CHANNEL):
                is_right = await group_checks.is_right(store, row)
            else:
                is_right = member is not None and member.left_version is None
            if not is_right:
                findings.add(LACKS_MEMBER, f"user {row.user_id} in {row.conversation_id.hex()}")
                surplus.append(Erase(MEMBERSHIPS, MEMBERSHIPS.key_of(row), ids.SNOWFLAKE_MAX))
        await _rewrite(store, surplus, LACKS_MEMBER, findings, repair=repair)


async def _lacking(
    store: RocksStore, members: list[MemberRow], cause: int, findings: Findings
) -> AsyncIterator[Write]:
    heads = {row.conversation_id for row in members if row.user_id == HEAD_MEMBER}
    for row in members:
        if row.user_id == HEAD_MEMBER or row.left_version is not None:
            continue
        where = f"user {row.user_id} in {row.conversation_id.hex()}"
        if row.conversation_id not in heads:  # its page may have begun behind it
            heads.add(row.conversation_id)
            if await store.get(MEMBERS, (row.conversation_id, HEAD_MEMBER)) is None:
                findings.add(LACKS_HEAD, row.conversation_id.hex())
        derived = MembershipRow(row.user_id, row.conversation_id, row.kind)
        if await store.get(MEMBERSHIPS, MEMBERSHIPS.key_of(derived)) == derived:
            continue
        # Who has gone for ever stays a member, so that the others' history holds, but has no list.
        if await store.get(USERS, (row.user_id,)) is not None:
            findings.add(LACKS_MEMBERSHIP, where)
            # Nobody else is here: whatever the cause of the wrong row says, it goes.
            yield Erase(MEMBERSHIPS, MEMBERSHIPS.key_of(derived), ids.SNOWFLAKE_MAX)
            yield Put(MEMBERSHIPS, derived, cause)


async def _rewrite(
    store: RocksStore, writes: list[Write], kind: str, findings: Findings, *, repair: bool
) -> None:
    if writes and repair:
        await store.write(writes)
        findings.repaired[kind] += sum(isinstance(write, Erase) for write in writes)


async def _handles(store: RocksStore, findings: Findings) -> None:
    async for rows in pages(store, HANDLES):
        used = [row for row in rows if not row.released_at]
        users = await store.get_many(USERS, [(row.user_id,) for row in used])
        for row, user in zip(used, users, strict=True):
            if user is None or user.handle != row.handle:
                findings.add(LACKS_USER, f"@{row.handle} of user {row.user_id}")


async def _devices(store: RocksStore, findings: Findings) -> None:
    known: set[int] = set()
    async for rows in pages(store, DEVICES):
        known.update(row.device_id for row in rows)
        users = await store.get_many(USERS, [(row.user_id,) for row in rows])
        for row, user in zip(rows, users, strict=True):
            if user is None:
                findings.add(DEVICE_OF_NOBODY, f"device {row.device_id} of user {row.user_id}")
    async for cursors in pages(store, CURSORS):
        for cursor in cursors:
            if cursor.device_id not in known:
                findings.add(CURSOR_OF_NOBODY, f"device {cursor.device_id}")
    async for seen in pages(store, SEEN):
        for at in seen:
            if at.device_id not in known:
                findings.add(SEEN_OF_NOBODY, f"device {at.device_id} of user {at.user_id}")


async def _keys(store: RocksStore, findings: Findings) -> None:
    known: set[int] = set()
    async for devices in pages(store, DEVICES):
        known.update(row.device_id for row in devices)
    async for rows in pages(store, DEVICE_KEYS):
        for row in rows:
            if row.device_id not in known:
                findings.add(KEYS_OF_NOBODY, f"device {row.device_id} of user {row.user_id}")
    async for pairs in pages(store, ONE_TIME_KEYS):
        for pair in pairs:
            if pair.device_id not in known:
                findings.add(PAIRS_OF_NOBODY, f"pair {pair.id} of device {pair.device_id}")


async def _lists(store: RocksStore, findings: Findings) -> None:
    async for rows in pages(store, DEVICE_LISTS):
        there = [row for row in rows if row.body]
        users = await store.get_many(USERS, [(row.user_id,) for row in there])
        for row, user in zip(there, users, strict=True):
            if user is None:
                findings.add(LIST_OF_NOBODY, f"user {row.user_id}")
            if not _is_whole(row):
                findings.add(UNREADABLE_LIST, f"version {row.version} of user {row.user_id}")


def _is_whole(row: DeviceListRow) -> bool:
    try:
        body = decode_list(row.body, len(row.added_at))
    except ValueError:
        return False
    return (body.user_id, body.version) == (row.user_id, row.version)


async def _relations(store: RocksStore, findings: Findings) -> None:
    async for rows in pages(store, RELATIONS):
        keys = [(row.conversation_id, row.bucket, row.target) for row in rows]
        for row, target in zip(rows, await store.get_many(MESSAGES, keys), strict=True):
            if target is None:
                findings.add(LACKS_TARGET, f"{row.message_id} to {row.target} in {row.conversation_id.hex()}")


async def _inbox(store: RocksStore, findings: Findings) -> None:
    decode = msgspec.msgpack.Decoder(frames.Message).decode
    async for rows in pages(store, INBOX):
        for row in rows:
            try:
                whole = not row.payload or decode(row.payload).message_id == row.message_id
            except msgspec.DecodeError:
                whole = False
            if not whole:
                findings.add(UNREADABLE_ENTRY, f"entry {row.entry_id} of user {row.user_id}")
