"""Promotion: what a server's embedded store holds is copied to a cluster while it serves, then handed over.

Passes. The first copies a snapshot of the store, each further one what a newer snapshot has
otherwise; the last is made once the server is stopped, of the store itself. Two snapshots are compared
byte by byte, in the order of their keys: no row is read from the cluster, and none is written that did
not change.

What a crash leaves. `Scratch` remembers how far a pass got, and its snapshots are files: begun
again, it goes on there, and what it writes twice is written once. Of the last pass there is no
snapshot that would outlive it, since the server goes on when it fails; after one that was
begun the keyspace is emptied and all of it done again.

Verification. In the end each row is read back, and for each table the number of rows and the sum of their
digests compared with those of the store. Rows whose time is nearly over are left out on both sides.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from tidings.protocol import ids
from tidings.store.backup import Progress
from tidings.store.contract import Row, StoreError, StoreInUse, Table
from tidings.store.encoded import Caused
from tidings.store.rocks import RocksStore
from tidings.store.schema import NODES, TABLES, NodeRow

PAGE_ROWS = 500
WRITTEN_BYTES = 256 * 1024
"""rows of about so many bytes are one request for each of their partitions"""
AT_ONCE = 8
"""of these at a time"""
PASSES_MAX = 6
SHORT_S = 20.0
"""a pass that took no longer is short enough for the next one to be made with the server stopped"""
LEAVING_S = 3600
"""rows that have no longer to live are not compared"""
STATE = "state.json"
LOCK = "LOCK"
DIGEST_BYTES = 16
_MODULUS = 1 << 8 * DIGEST_BYTES

_encode = msgspec.msgpack.Encoder().encode


class Unequal(StoreError):
    """What was read back is not what was written. The message names the tables."""


class Target(Protocol):
    """What is filled. See `tidings.store.cassandra.filling.Filling`."""

    async def empty(self) -> None:
        """Remove all rows."""

    async def write(self, table: Table[Any], rows: Sequence[Caused[Any]], number: int) -> None:
        """Write rows, in the pass of this number."""

    async def erase(self, table: Table[Any], rows: Sequence[Caused[Any]]) -> None:
        """Remove rows that are gone."""

    def rows(self, table: Table[Any]) -> AsyncIterator[list[Caused[Any]]]:
        """All rows of a table with their causes."""


# --- differences ----------------------------------------------------------------------------


class Stretch(NamedTuple):
    """Some of a table: what is otherwise in a newer snapshot, as it is stored."""

    looked_at: int
    changed: list[bytes]
    gone: list[bytes]
    next: bytes | None
    """the key to go on with; None: that was the end"""


def differences(
    old: RocksStore | None, new: RocksStore, table: Table[Any], first: bytes = b"", limit: int = PAGE_ROWS
) -> Iterator[Stretch]:
    """What a table has otherwise than in `old` (None: it was empty), from a key on. Raises StoreError."""
    at: bytes | None = first
    while at is not None:
        now = new.stored(table, at, limit)
        was = [] if old is None else old.stored(table, at, limit)
        # What is behind the end of either page is the next one's.
        last = min((pairs[-1].key for pairs in (now, was) if len(pairs) == limit), default=None)
        if last is not None:
            now = [pair for pair in now if pair.key <= last]
            was = [pair for pair in was if pair.key <= last]
        before, behind = dict(was), {pair.key for pair in now}
        at = None if last is None else last + b"\0"
        yield Stretch(
            len(now),
            [value for key, value in now if before.get(key) != value],
            [value for key, value in was if key not in behind],
            at,
        )


def is_over(table: Table[Any], cause: int, now_ms: int) -> bool:
    """Whether a row's time is over at a moment."""
    if table.keep_s is None or table.grows or table.contested:
        return False
    return ids.unix_ms(cause) + table.keep_s * 1000 <= now_ms


class Place(msgspec.Struct, frozen=True):
    """How far a pass has got."""

    table: str = ""
    """empty: not begun"""
    key: bytes = b""
    """rows before it are done"""


BEGINNING = Place()
NO_ROWS: Mapping[str, int] = {}


async def make_pass(
    old: RocksStore | None,
    new: RocksStore,
    target: Target,
    number: int,
    *,
    at: Place = BEGINNING,
    tables: Sequence[Table[Any]] = TABLES,
    keep: Callable[[Place], None] = lambda _: None,
    rows: Mapping[str, int] = NO_ROWS,
    progress: Progress,
) -> int:
    """Have the target hold what `new` does, which holds what `old` does; how many rows were written.

    `keep` is told how far it is, each time that all before it is durable; `rows` are about how many each
    table has, for `progress`. Raises StoreError.
    """
    names = [table.name for table in tables]
    first = names.index(at.table) if at.table else 0
    written = 0
    for table in tables[first:]:
        key = at.key if table.name == at.table else b""
        done, total = 0, rows.get(table.name, 0)
        waiting: list[Awaitable[None]] = []
        for stretch in differences(old, new, table, key):
            waiting += _writes(new, old, target, table, stretch, number)
            written += len(stretch.changed) + len(stretch.gone)
            done += stretch.looked_at
            if len(waiting) >= AT_ONCE or stretch.next is None:
                await asyncio.gather(*waiting)
                waiting = []
                progress(table.name, done, max(total, done))
                if stretch.next is not None:
                    keep(Place(table.name, stretch.next))
    return written


def _writes(
    new: RocksStore,
    old: RocksStore | None,
    target: Target,
    table: Table[Any],
    stretch: Stretch,
    number: int,
) -> Iterator[Awaitable[None]]:
    now_ms = time.time_ns() // 1_000_000
    for values in _portions(stretch.changed):
        yield target.write(table, [new.caused(table, value) for value in values], number)
    if stretch.gone:
        assert old is not None
        gone = [old.caused(table, value) for value in stretch.gone]
        # Those whose time is over go by themselves.
        gone = [one for one in gone if not is_over(table, one.cause, now_ms)]
        if gone:
            yield target.erase(table, gone)


def _portions(values: Sequence[bytes]) -> Iterator[list[bytes]]:
    portion: list[bytes] = []
    size = 0
    for value in values:
        portion.append(value)
        size += len(value)
        if size >= WRITTEN_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


# --- verification ---------------------------------------------------------------------------


class Sum:
    """How many rows a table has, and the sum of their digests: the same in every order."""

    def __init__(self) -> None:
        self.rows = 0
        self.leaving = 0
        """rows that were left out, since their time is nearly over"""
        self.greatest_cause = 0
        self._digest = 0

    def add(self, row: Row, cause: int) -> None:
        """One more."""
        encoded = cause.to_bytes(8, "big") + _encode(row)
        digest = hashlib.blake2b(encoded, digest_size=DIGEST_BYTES).digest()
        self._digest = (self._digest + int.from_bytes(digest, "big")) % _MODULUS
        self.rows += 1
        self.greatest_cause = max(self.greatest_cause, cause)

    @property
    def checksum(self) -> str:
        """Of all rows."""
        return self._digest.to_bytes(DIGEST_BYTES, "big").hex()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sum) and (self.rows, self._digest) == (other.rows, other._digest)

    __hash__ = None  # type: ignore[assignment]


def sum_of_store(store: RocksStore, table: Table[Any], until_ms: int) -> Sum:
    """Of a table's rows that live for longer than until a moment. Raises StoreError."""
    found = Sum()
    for stretch in differences(None, store, table):
        for value in stretch.changed:
            row, cause = store.caused(table, value)
            if is_over(table, cause, until_ms):
                found.leaving += 1
            else:
                found.add(row, cause)
    return found


async def sum_of_target(target: Target, table: Table[Any], until_ms: int) -> Sum:
    """The same, of what is read back. Raises StoreError."""
    found = Sum()
    async for page in target.rows(table):
        for row, cause in page:
            if is_over(table, cause, until_ms):
                found.leaving += 1
            else:
                found.add(row, cause)
    return found


async def verify(
    store: RocksStore, target: Target, *, tables: Sequence[Table[Any]] = TABLES, progress: Progress
) -> dict[str, Sum]:
    """Read all back and compare: the sums, by table. Raises Unequal, StoreError."""
    until_ms = time.time_ns() // 1_000_000 + LEAVING_S * 1000
    sums: dict[str, Sum] = {}
    unequal: list[str] = []
    for done, table in enumerate(tables):
        progress("verifying", done, len(tables))
        ours = sums[table.name] = sum_of_store(store, table, until_ms)
        theirs = await sum_of_target(target, table, until_ms)
        if ours != theirs:
            unequal.append(f"{table.name} ({ours.rows} rows here, {theirs.rows} there)")
    progress("verifying", len(tables), len(tables))
    if unequal:
        raise Unequal(
            f"what was read back is not what was written: {', '.join(unequal)}\n"
            "hint: does anything else write to this keyspace? Run it again: it begins anew"
        )
    return sums


# --- the whole ------------------------------------------------------------------------------


class State(msgspec.Struct):
    """What is remembered of a promotion that did not end."""

    holder: str
    rows: dict[str, int] = {}
    """how many each table of the first snapshot has"""
    number: int = 1
    """of the pass that is under way"""
    at: Place = BEGINNING
    is_last: bool = False
    """the last pass was begun: it cannot be gone on with"""


class Scratch:
    """The folder of a promotion: its snapshots, and how far it is. One process at a time has it."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path = path
        self.state = State(f"{secrets.token_hex(8)} from {os.uname().nodename}:{source.absolute()}")

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Take it; whether a promotion is to be gone on with. Raises StoreInUse, OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.path / LOCK).open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreInUse(f"another promotion works in {self.path}\nhint: let it end") from None
            # A file that a loss of power left cut off is none: it all begins anew.
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                self.state = msgspec.json.decode((self.path / STATE).read_bytes(), type=State)
                yield True
                return
            yield False

    def keep(self) -> None:
        """Remember the state."""
        draft = self.path / f"{STATE}.tmp"
        draft.write_bytes(msgspec.json.encode(self.state))
        draft.rename(self.path / STATE)

    def snapshot(self, number: int) -> Path:
        """Where the one of a pass is."""
        return self.path / f"snapshot{number}"

    def begin_anew(self) -> None:
        """Forget how far it was."""
        self._drop_snapshots()
        self.state = State(self.state.holder)
        self.keep()

    def remove(self) -> None:
        """All of it, at the end."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _drop_snapshots(self) -> None:
        for snapshot in self.path.glob("snapshot*"):
            shutil.rmtree(snapshot, ignore_errors=True)


Snapshot = Callable[[Path], Awaitable[None]]
"""Makes a copy of the store, as it is, in a folder that is not there."""
Examine = Callable[[RocksStore], Awaitable[dict[str, int]]]
"""Looks at the first snapshot: how many rows each table has. What it raises ends the promotion."""


class Promotion:
    """One promotion, from the first pass to the last."""

    def __init__(
        self, scratch: Scratch, progress: Progress, *, tables: Sequence[Table[Any]] = TABLES
    ) -> None:
        self._scratch = scratch
        self._tables = tables
        self._progress = progress
        self.written = 0
        """rows that were written to the target, by all passes"""

    async def prepare(self, snapshot: Snapshot, examine: Examine) -> None:
        """Have a snapshot for the next pass, and look at the very first one. Raises StoreError, OSError."""
        state = self._scratch.state
        await self._ensure_snapshot(state.number, snapshot)
        if state.number == 1 and state.at == BEGINNING:
            async with _opened(self._scratch.snapshot(1)) as store:
                state.rows = await examine(store)
                self._scratch.keep()

    async def follow(self, target: Target, snapshot: Snapshot) -> None:
        """Make passes until the next one will be short. The server may go on. Raises StoreError, OSError."""
        state = self._scratch.state
        while True:
            began_s, is_whole = time.monotonic(), state.at == BEGINNING
            number = state.number
            await self._ensure_snapshot(number, snapshot)
            async with _opened(self._scratch.snapshot(number)) as new:
                if number == 1:
                    await self._pass(target, None, new)
                else:
                    async with _opened(self._scratch.snapshot(number - 1)) as old:
                        await self._pass(target, old, new)
            state.number, state.at = number + 1, BEGINNING
            self._scratch.keep()
            shutil.rmtree(self._scratch.snapshot(number - 1), ignore_errors=True)
            if (is_whole and time.monotonic() - began_s <= SHORT_S) or number >= PASSES_MAX:
                return

    async def hand_over(self, target: Target, store: RocksStore) -> dict[str, Sum]:
        """The last pass, of the store itself, which nobody else has open, and the verification of all.

        The sums of each table. Raises Unequal, StoreError: then the next promotion begins anew.
        """
        scratch = self._scratch
        number = scratch.state.number
        scratch.state.is_last = True
        scratch.keep()
        async with _opened(scratch.snapshot(number - 1)) as old:
            self.written += await make_pass(
                old,
                store,
                target,
                number,
                tables=self._tables,
                rows=scratch.state.rows,
                progress=self._progress,
            )
        return await verify(store, target, tables=self._tables, progress=self._progress)

    async def raise_ids(self, target: Target, sums: dict[str, Sum], store: RocksStore, ahead_ms: int) -> int:
        """Have nodes give none but greater ids than the store has seen; the greatest one."""
        nodes = await store.scan(NODES, limit=ids.NODE_MAX + 1)
        until = max([row.ids_until for row in nodes], default=0)
        seen = min(until, max(one.greatest_cause for one in sums.values()))
        # A node goes on from `ahead_ms` before what is noted, in ordinary times from its clock.
        until = max(until, seen + (ahead_ms << ids.TIME_SHIFT))
        await target.write(NODES, [Caused(NodeRow(0, until), 0)], self._scratch.state.number)
        return seen

    async def _ensure_snapshot(self, number: int, snapshot: Snapshot) -> None:
        path = self._scratch.snapshot(number)
        if (path / "CURRENT").exists():
            return
        if path.exists():
            shutil.rmtree(path)  # it was not finished
        self._progress(f"snapshot {number}", 0, 1)
        await snapshot(path)
        self._progress(f"snapshot {number}", 1, 1)

    async def _pass(self, target: Target, old: RocksStore | None, new: RocksStore) -> None:
        state = self._scratch.state

        def keep(place: Place) -> None:
            state.at = place
            self._scratch.keep()

        self.written += await make_pass(
            old,
            new,
            target,
            state.number,
            at=state.at,
            tables=self._tables,
            keep=keep,
            rows=state.rows,
            progress=self._progress,
        )


@contextlib.asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[RocksStore]:
    """A snapshot, open. Raises StoreError."""
    store = RocksStore.open(path, as_it_is=True, min_free_bytes=0)
    try:
        yield store
    finally:
        await store.close()
