"""The store of one node: slow, and now and then broken, over tables that all nodes share.

It keeps what `tidings.store.contract` promises and no more. Batches are applied in the order of the
calls, but a partition at a time at moments of their own, so that others see a part of a batch and a
node that dies leaves a part. A batch that fails may have been applied in part, and what it lacks may
appear up to an hour later. A read is true of some moment between its call and its answer.

Faults are *planned*: the next operation of their kind meets them.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar, cast

from tidings.store.contract import (
    Batch,
    Erase,
    Key,
    OutcomeUnknown,
    R,
    Row,
    StoreFull,
    StoreUnavailable,
    Table,
    Write,
    singly,
)
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import EXPIRIES
from tidings.testing.simulation.loop import Loop
from tidings.testing.simulation.tally import Tally

T = TypeVar("T")
Watch = Callable[[Table[Any], Row, Sequence[Row]], None]
"""Called with what a compare-and-set has written, at the moment at which it did."""

READ_S = (0.0002, 0.003)
WRITE_S = (0.0005, 0.02)
SLOW_S = (0.5, 8.0)
TIMEOUT_S = (2.0, 6.0)
LATE_S = (1.0, 3600.0)
"""after a write was given up on: until what is missing of it appears"""
REFUSAL_S = (0.001, 0.5)
MOMENTS = 3
"""at which a batch is applied, at most"""


class StoreFault(StrEnum):
    """What may go wrong with an operation."""

    SLOW_WRITE = "store: slow write"
    REFUSED_WRITE = "store: write refused"
    FULL = "store: full"
    LOST_WRITE = "store: write times out, lost"
    DONE_WRITE = "store: write times out, done"
    LATE_WRITE = "store: write times out, some partitions appear later"
    SLOW_READ = "store: slow read"
    FAILED_READ = "store: read fails"
    DONE_UNKNOWN = "store: compare-and-set unknown, done"
    LOST_UNKNOWN = "store: compare-and-set unknown, not done"


WRITE_FAULTS = frozenset(
    {
        StoreFault.SLOW_WRITE,
        StoreFault.REFUSED_WRITE,
        StoreFault.FULL,
        StoreFault.LOST_WRITE,
        StoreFault.DONE_WRITE,
        StoreFault.LATE_WRITE,
    }
)
READ_FAULTS = frozenset({StoreFault.SLOW_READ, StoreFault.FAILED_READ})
UNKNOWN_FAULTS = frozenset({StoreFault.DONE_UNKNOWN, StoreFault.LOST_UNKNOWN})


class Planned(NamedTuple):
    """A fault that waits for its operation."""

    fault: StoreFault
    until_s: float
    """true time at which it is dropped, met or not"""
    met: Callable[[float], None]
    """called with when it is over, once an operation has met it"""
    length_s: float = 0.0
    """of a slow write"""


class _Batch:
    """A batch under way: what of it is not applied yet."""

    __slots__ = ("parts", "waiting")

    def __init__(self, parts: list[list[Write]]) -> None:
        self.parts = parts
        self.waiting = set(range(len(parts)))


class NodeStore:
    """Implements `contract.Store` for one run of a node; see the module's text."""

    def __init__(
        self, loop: Loop, tables: Tables, random: Random, tally: Tally, watch: Watch | None = None
    ) -> None:
        self._loop = loop
        self._watch = watch
        self._disk = MemoryStore(tables)
        self._partitions = tables.partitions
        self._random = random
        self._tally = tally
        self._planned: dict[str, deque[Planned]] = {"write": deque(), "read": deque(), "set": deque()}
        self._slow_s = 0.0
        """how long the slow write that was met last takes"""
        self._out_until_s = 0.0
        """an outage lasts until then"""
        self._free_s = 0.0
        """when the batch before is applied as a whole"""
        self._under_way: dict[_Batch, None] = {}
        self._partly: Callable[[], None] | None = None
        self._partly_until_s = 0.0
        self._closed = False

    # --- the simulation's side ----------------------------------------------------------------

    def plan(self, planned: Planned) -> None:
        """Have the next operation of its kind meet a fault."""
        fault = planned.fault
        kind = "write" if fault in WRITE_FAULTS else "read" if fault in READ_FAULTS else "set"
        self._planned[kind].append(planned)

    def go_out(self, until_s: float) -> None:
        """Nothing is answered until then."""
        self._out_until_s = max(self._out_until_s, until_s)

    def when_partly(self, work: Callable[[], None], until_s: float) -> None:
        """Call once a batch is partly applied, if that happens until then."""
        self._partly, self._partly_until_s = work, until_s

    def died(self) -> bool:
        """Its node was killed: what was under way is applied in part. Whether a batch was torn by it."""
        self._closed = True
        torn = False
        for batch in self._under_way:
            dropped = [part for part in sorted(batch.waiting) if self._random.random() < 0.5]
            torn = torn or 0 < len(dropped) < len(batch.parts)
            batch.waiting.difference_update(dropped)
        return torn

    # --- the contract -------------------------------------------------------------------------

    async def write(self, batch: Batch) -> None:
        self._require_open()
        loop, random = self._loop, self._random
        fault = self._fault("write")
        if loop.now_s < self._out_until_s:
            fault = StoreFault.REFUSED_WRITE
        if fault is StoreFault.REFUSED_WRITE or fault is StoreFault.FULL:
            await self._loop.wait(random.uniform(*REFUSAL_S))
            raise StoreFull("no room") if fault is StoreFault.FULL else StoreUnavailable("refused")
        under_way = _Batch(_partitions(batch))
        begins_s = max(loop.now_s, self._free_s)
        lasts_s = self._slow_s if fault is StoreFault.SLOW_WRITE else random.uniform(*WRITE_S)
        if fault is None or fault is StoreFault.SLOW_WRITE:
            self._free_s = begins_s + lasts_s
            self._apply_within(under_way, begins_s, lasts_s)
            await self._loop.wait(self._free_s - loop.now_s + random.uniform(0.0, WRITE_S[0]))
            return
        ends_s = begins_s + random.uniform(*TIMEOUT_S)
        self._free_s = ends_s
        self._give_up(under_way, fault, begins_s, ends_s)
        await self._loop.wait(ends_s - loop.now_s)
        raise StoreUnavailable("timed out")

    async def get(self, table: Table[R], key: Key) -> R | None:
        return await self._read(partial(self._disk.get, table, key))

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        if len(keys) > 1 and self._random.random() < 0.2:
            # Each row is true of a moment, the answer as a whole need not be.
            first = await self._read(partial(self._disk.get_many, table, keys[:1]))
            return first + await self._read(partial(self._disk.get_many, table, keys[1:]))
        return await self._read(partial(self._disk.get_many, table, keys))

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
        if table is EXPIRIES and (table.name, partition) not in self._partitions:
            # A node that begins looks into each hour of a month; nothing is learned by waiting for that.
            return []
        return await self._read(
            partial(
                self._disk.range,
                table,
                partition,
                after=after,
                before=before,
                limit=limit,
                backwards=backwards,
            )
        )

    async def compare_and_set(
        self, table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()
    ) -> R | None:
        self._require_open()
        fault = self._fault("set")
        await self._loop.wait(self._random.uniform(*WRITE_S))
        if self._loop.now_s < self._out_until_s:
            raise StoreUnavailable("refused")
        if fault is StoreFault.LOST_UNKNOWN:
            await self._loop.wait(self._random.uniform(*TIMEOUT_S))
            raise OutcomeUnknown("timed out")
        # All of it at one moment: whoever dies is before that or after it.
        found = done(self._disk.compare_and_set(table, expected, row, also))
        if found is None and self._watch is not None:
            self._watch(table, row, also)
        if fault is StoreFault.DONE_UNKNOWN:
            await self._loop.wait(self._random.uniform(*TIMEOUT_S))
            raise OutcomeUnknown("timed out")
        await self._loop.wait(self._random.uniform(*READ_S))
        return found

    async def scan(self, table: Table[R], *, after: Key | None = None, limit: int) -> list[R]:
        return await self._read(partial(self._disk.scan, table, after=after, limit=limit))

    async def time_ms(self) -> int:
        return await self._read(self._disk.time_ms)

    async def expire(self, now_ms: int) -> int:  # noqa: ARG002
        """Rows expire by themselves; none lives long enough here."""
        return 0

    async def checkpoint(self, path: Path) -> None:
        raise StoreUnavailable(f"nothing of this is ever on a disk such as {path}")

    async def close(self) -> None:
        while self._loop.now_s < self._free_s:
            await self._loop.wait(self._free_s - self._loop.now_s)
        self._closed = True

    # --- inside -----------------------------------------------------------------------------

    async def _read(self, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._require_open()
        random = self._random
        fault = self._fault("read")
        if fault is StoreFault.FAILED_READ or self._loop.now_s < self._out_until_s:
            await self._loop.wait(random.uniform(*REFUSAL_S))
            raise StoreUnavailable("the read failed")
        lasts_s = random.uniform(*(SLOW_S if fault is StoreFault.SLOW_READ else READ_S))
        if random.random() < 0.5:
            found = done(read())
            await self._loop.wait(lasts_s)
            return found
        await self._loop.wait(lasts_s)
        return done(read())

    def _fault(self, kind: str) -> StoreFault | None:
        waiting = self._planned[kind]
        now_s = self._loop.now_s
        while waiting:
            planned = waiting.popleft()
            if now_s < planned.until_s:
                planned.met(now_s + (planned.length_s or SLOW_S[1]))
                self._slow_s = planned.length_s
                self._tally.count(planned.fault)
                return planned.fault
        return None

    def _apply_within(self, batch: _Batch, begins_s: float, lasts_s: float) -> None:
        """Apply a batch at up to `MOMENTS` moments, its partitions in any order."""
        random = self._random
        count = len(batch.parts)
        self._under_way[batch] = None
        order = list(range(count))
        random.shuffle(order)
        moments = sorted(random.random() for _ in range(min(count, MOMENTS)))
        share = -(-count // len(moments))
        for turn, moment in enumerate(moments):
            some = order[turn * share : (turn + 1) * share]
            self._loop.at(begins_s + moment * lasts_s, self._apply, batch, some)

    def _give_up(self, batch: _Batch, fault: StoreFault, begins_s: float, ends_s: float) -> None:
        """A write that times out: what becomes of each partition, and when."""
        if fault is StoreFault.LOST_WRITE:
            return
        random = self._random
        late = set(range(len(batch.parts)))
        lost: set[int] = set()
        if fault is StoreFault.LATE_WRITE:
            late = {part for part in late if random.random() < 0.6} or late
            lost = {part for part in range(len(batch.parts)) if part not in late and random.random() < 0.5}
        self._under_way[batch] = None
        batch.waiting.difference_update(lost)
        for part in sorted(batch.waiting):
            if part in late and fault is StoreFault.LATE_WRITE:
                # As often within seconds as within the hour.
                low, high = LATE_S
                at_s = ends_s + low * (high / low) ** random.random()
            else:
                at_s = random.uniform(begins_s, ends_s)
            self._loop.at(at_s, self._apply, batch, [part])
        if not batch.waiting:
            del self._under_way[batch]

    def _apply(self, batch: _Batch, parts: list[int]) -> None:
        for part in parts:
            if part in batch.waiting:
                batch.waiting.discard(part)
                done(self._disk.write(batch.parts[part]))
        if not batch.waiting:
            self._under_way.pop(batch, None)
        elif self._partly is not None and not self._closed:
            work, self._partly = self._partly, None
            if self._loop.now_s < self._partly_until_s:
                work()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


def _partitions(batch: Batch) -> list[list[Write]]:
    """A batch by partition."""
    parts: dict[tuple[str, Key], list[Write]] = {}
    for write in singly(batch):
        table = write.table
        if isinstance(write, Erase):
            key = write.key[: len(table.partition)]
        else:
            key = tuple(getattr(write.row, column) for column in table.partition)
        parts.setdefault((table.name, key), []).append(write)
    return list(parts.values())


def done(work: Coroutine[Any, Any, T]) -> T:
    """The result of what waits for nothing but its turn."""
    while True:
        try:
            work.send(None)
        except StopIteration as ended:
            return cast(T, ended.value)
