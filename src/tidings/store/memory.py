"""The store in memory, for tests and simulation: it keeps what the contract promises, no more.

`Tables` are the disk: hand the same ones to a new `MemoryStore` to reopen it. `Faults` decide
what goes wrong: a batch is torn between its partitions, the disk is full, a compare-and-set
ends unknown. As on a cluster, what was erased stays away, and a tie leaves some columns of each row.
Rows are kept encoded, so that nobody shares an object with the store, and ordered by their columns' own
values, so that this is a model which the byte order of RocksDB is compared with.
"""

import asyncio
import random
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from tidings.protocol import ids
from tidings.store.contract import (
    Batch,
    Erase,
    Key,
    OutcomeUnknown,
    Put,
    R,
    Raise,
    Row,
    Single,
    StoreFull,
    StoreUnavailable,
    Table,
    singly,
)
from tidings.store.growing import grown

NEVER = -1
"""below every cause"""
FOR_GOOD = 1 << 64
"""above every cause: what grows has none, and is not raised again once it was erased"""

_encode = msgspec.msgpack.encode


class Fault(Enum):
    """What may go wrong with a write or a compare-and-set."""

    FULL = auto()
    """nothing is written"""
    UNAVAILABLE = auto()
    """nothing is written"""
    TORN = auto()
    """a crash: some of the batch's partitions are written, StoreUnavailable is raised"""
    DONE_UNKNOWN = auto()
    """of a compare-and-set: it was done, OutcomeUnknown is raised"""
    LOST_UNKNOWN = auto()
    """of a compare-and-set: it was not done, OutcomeUnknown is raised"""


class Faults(Protocol):
    """Asked at each write what is to go wrong with it."""

    def of_write(self, batch: Batch) -> Fault | None:
        """FULL, UNAVAILABLE, TORN or None."""

    def of_compare_and_set(self, row: Row) -> Fault | None:
        """FULL, UNAVAILABLE, DONE_UNKNOWN, LOST_UNKNOWN or None."""

    def survives(self, partition: tuple[str, Key]) -> bool:
        """Whether a partition of a torn batch was written; asked once for each, in order."""


class NoFaults:
    """A disk without fault."""

    def of_write(self, batch: Batch) -> Fault | None:  # noqa: ARG002
        return None

    def of_compare_and_set(self, row: Row) -> Fault | None:  # noqa: ARG002
        return None

    def survives(self, partition: tuple[str, Key]) -> bool:  # noqa: ARG002
        return True


class PlannedFaults:
    """Faults in the order in which a test plans them; the seed decides where a batch tears."""

    def __init__(self, rng: random.Random) -> None:
        self.writes: deque[Fault | None] = deque()
        """for the next calls of `write`, in order"""
        self.compare_and_sets: deque[Fault | None] = deque()
        """for the next calls of `compare_and_set`, in order"""
        self._rng = rng

    def of_write(self, batch: Batch) -> Fault | None:  # noqa: ARG002
        return self.writes.popleft() if self.writes else None

    def of_compare_and_set(self, row: Row) -> Fault | None:  # noqa: ARG002
        return self.compare_and_sets.popleft() if self.compare_and_sets else None

    def survives(self, partition: tuple[str, Key]) -> bool:  # noqa: ARG002
        return self._rng.random() < 0.5


class _Stored(NamedTuple):
    cause: int
    encoded: bytes


class _Partition:
    """The rows of one partition by clustering key, and these keys in ascending order."""

    def __init__(self) -> None:
        self.rows: dict[Key, _Stored] = {}
        self.order: list[Key] = []
        self.erased_up_to = NEVER
        """the greatest cause with which all of it was erased"""
        self.erased: dict[Key, int] = {}
        """the same of single rows"""

    def is_erased(self, clustering: Key, cause: int) -> bool:
        """Whether a row that is written with this cause was erased before."""
        return cause <= max(self.erased_up_to, self.erased.get(clustering, NEVER))

    def put(self, clustering: Key, stored: _Stored) -> None:
        if clustering not in self.rows:
            insort(self.order, clustering)
        self.rows[clustering] = stored

    def remove(self, clustering: Key) -> None:
        if self.rows.pop(clustering, None) is not None:
            del self.order[bisect_left(self.order, clustering)]

    def between(self, low: Key | None, high: Key | None) -> list[Key]:
        first = 0 if low is None else bisect_right(self.order, low)
        end = len(self.order) if high is None else bisect_left(self.order, high)
        return self.order[first:end]


class Tables:
    """What outlives a MemoryStore."""

    def __init__(self, time_ms: Callable[[], int] | None = None) -> None:
        """`time_ms` is the store's clock; without one it has none to ask."""
        self.time_ms = time_ms
        self.partitions: defaultdict[tuple[str, Key], _Partition] = defaultdict(_Partition)
        self.written: dict[str, Table[Any]] = {}
        """the tables that have partitions"""


class MemoryStore:
    """A store over `Tables`. See `tidings.store.contract.Store`."""

    def __init__(self, tables: Tables | None = None, *, faults: Faults | None = None) -> None:
        tables = tables or Tables()
        self._time_ms = tables.time_ms
        self._partitions = tables.partitions
        self._written = tables.written
        self._faults = faults or NoFaults()
        self._closed = False

    async def write(self, batch: Batch) -> None:
        self._require_open()
        fault = self._faults.of_write(batch)
        if fault is not Fault.FULL and fault is not Fault.UNAVAILABLE:
            self._apply(batch, torn=fault is Fault.TORN)
        # Rows are seen by readers before the writer is told, as in any store.
        await asyncio.sleep(0)
        _raise(fault)

    async def get(self, table: Table[R], key: Key) -> R | None:
        self._require_open()
        stored = self._find(table, key)
        return None if stored is None else _decode(table, stored)

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        return [await self.get(table, key) for key in keys]

    async def range(
        self,
        table: Table[R],
        partition: Key,
        *,
        after: Key | None = None,
        before: Key | None = None,
        limit: int,
        backwards: bool = False,
    ) -> list[R]:
        self._require_open()
        rows = self._partitions.get((table.name, partition))
        if rows is None:
            return []
        low, high = (before, after) if table.descending else (after, before)
        found = rows.between(low, high)
        if table.descending != backwards:
            found.reverse()
        return [_decode(table, rows.rows[clustering]) for clustering in found[:limit]]

    async def compare_and_set(
        self, table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()
    ) -> R | None:
        self._require_open()
        # Encoded before the first is stored: one that cannot be must not leave the others there.
        rows = [(table.key_of(one), _encode(one)) for one in table.set_together(row, also)]
        fault = self._faults.of_compare_and_set(row)
        if fault in (Fault.FULL, Fault.UNAVAILABLE, Fault.LOST_UNKNOWN):
            _raise(fault)
        stored = self._find(table, table.key_of(row))
        found = None if stored is None else _decode(table, stored)
        assert found is not None or expected is None, f"a row of {table} was expected and never written"
        if found == expected:
            for key, encoded in rows:
                self._keep(table, key, _Stored(0, encoded))
        await asyncio.sleep(0)
        _raise(fault)
        return None if found == expected else found

    async def scan(self, table: Table[R], *, after: Key | None = None, limit: int) -> list[R]:
        self._require_open()
        keys = sorted(
            (*partition, *clustering)
            for (name, partition), rows in self._partitions.items()
            if name == table.name
            for clustering in rows.order
        )
        first = 0 if after is None else bisect_right(keys, after)
        found = [await self.get(table, key) for key in keys[first : first + limit]]
        return [row for row in found if row is not None]

    async def time_ms(self) -> int:
        self._require_open()
        if self._time_ms is None:
            raise StoreUnavailable("this store has no clock")
        return self._time_ms()

    async def expire(self, now_ms: int) -> int:
        self._require_open()
        count = 0
        for (name, _), rows in list(self._partitions.items()):
            table = self._written[name]
            if table.keep_s is not None and not table.grows and not table.contested:
                before = ids.first_at(now_ms - table.keep_s * 1000)
                for clustering in [key for key in rows.order if rows.rows[key].cause < before]:
                    rows.remove(clustering)
                    count += 1
        await asyncio.sleep(0)
        return count

    async def checkpoint(self, path: Path) -> None:  # noqa: ARG002
        raise StoreUnavailable("a store in memory cannot be copied")

    async def close(self) -> None:
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    def _apply(self, batch: Batch, *, torn: bool) -> None:
        by_partition: dict[tuple[str, Key], list[Single]] = {}
        for write in singly(batch):
            by_partition.setdefault(_partition_of(write), []).append(write)
        for partition, writes in by_partition.items():
            if torn and not self._faults.survives(partition):
                continue
            for write in writes:
                self._apply_one(write)

    def _apply_one(self, write: Single) -> None:
        if isinstance(write, Erase):
            self._erase(write)
            return
        table, row = write.table, write.row
        partition, clustering = _split(table, table.key_of(row))
        if self._partitions[table.name, partition].is_erased(clustering, cause=_cause_of(write)):
            return
        stored = self._find(table, table.key_of(row))
        if isinstance(write, Raise):
            old = None if stored is None else _decode(table, stored)
            self._store(table, grown(table, old, row), cause=0)
        elif stored is None or stored.cause < write.cause:
            self._store(table, row, write.cause)
        elif stored.cause == write.cause:
            self._store(table, _mixed(_decode(table, stored), row), write.cause)

    def _erase(self, write: Erase) -> None:
        table, columns = write.table, len(write.table.partition)
        self._written[table.name] = table
        rows = self._partitions[table.name, write.key[:columns]]
        cause = FOR_GOOD if table.grows else write.cause
        if len(write.key) == len(table.key):
            keys = [write.key[columns:]]
            rows.erased[keys[0]] = max(cause, rows.erased.get(keys[0], NEVER))
        else:
            keys = list(rows.order)
            rows.erased_up_to = max(cause, rows.erased_up_to)
        for clustering in keys:
            stored = rows.rows.get(clustering)
            if stored is not None and stored.cause <= cause:
                rows.remove(clustering)

    def _find(self, table: Table[Any], key: Key) -> _Stored | None:
        partition, clustering = _split(table, key)
        rows = self._partitions.get((table.name, partition))
        return None if rows is None else rows.rows.get(clustering)

    def _store(self, table: Table[Any], row: Row, cause: int) -> None:
        self._keep(table, table.key_of(row), _Stored(cause, _encode(row)))

    def _keep(self, table: Table[Any], key: Key, stored: _Stored) -> None:
        partition, clustering = _split(table, key)
        self._written[table.name] = table
        self._partitions[table.name, partition].put(clustering, stored)


def _raise(fault: Fault | None) -> None:
    if fault is Fault.FULL:
        raise StoreFull("the disk is full")
    if fault is Fault.UNAVAILABLE or fault is Fault.TORN:
        raise StoreUnavailable("the store crashed")
    if fault is not None:
        raise OutcomeUnknown("the store did not answer")


def _cause_of(write: Put | Raise) -> int:
    return write.cause if isinstance(write, Put) else 0


def _mixed(one: Row, other: Row) -> Row:
    """What two rows of one key and cause leave: of each column one of them, whichever came last."""
    fields = one.__struct_fields__
    return type(one)(*[max(getattr(one, name), getattr(other, name), key=_encode) for name in fields])


def _partition_of(write: Single) -> tuple[str, Key]:
    table = write.table
    assert not table.contested, table
    if isinstance(write, Erase):
        assert len(write.key) in (len(table.partition), len(table.key)), write.key
        return table.name, write.key[: len(table.partition)]
    assert bool(table.grows) is isinstance(write, Raise), table
    return table.name, _split(table, table.key_of(write.row))[0]


def _split(table: Table[Any], key: Key) -> tuple[Key, Key]:
    assert len(key) == len(table.key), key
    columns = len(table.partition)
    return key[:columns], key[columns:]


def _decode(table: Table[R], stored: _Stored) -> R:
    return msgspec.msgpack.decode(stored.encoded, type=table.row)
