"""The store on a cluster: Cassandra, or ScyllaDB.

Writes. What a batch writes to one partition key goes out together, in whichever tables: it is one
mutation there. Small ones of several keys share a request, up to `together` of them, since a request costs
both sides more than what is in it. All requests go out at once; each row has a timestamp made from its cause
(see `times`), so that order, repeats and two writers do not matter. Nothing is read for a write.

Reads ask a quorum, as writes do, so that each sees what was written before it. Of contested
tables they are serial: what a compare-and-set left undecided is decided by whoever reads.

Compare-and-sets of one partition that come from this store go one after another, in the order of
the calls; between stores the cluster decides.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tidings.store.cassandra.columns import Values, encoded_row
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import Driver
from tidings.store.cassandra.migrations import MIGRATIONS, Migration, Schema
from tidings.store.cassandra.rows import ByPartition, Rows, Sent
from tidings.store.cassandra.turns import Door, Turns
from tidings.store.contract import (
    Batch,
    Erase,
    Key,
    OutcomeUnknown,
    Put,
    PutEach,
    R,
    Raise,
    Row,
    StoreError,
    StoreUnavailable,
    Table,
)
from tidings.store.counts import StoreCounts
from tidings.store.schema import FORMAT, TABLES

LIMIT_MAX = (1 << 31) - 1
"""rows that a query may ask for"""
TOGETHER_BYTES = 4500
"""of a request that writes to several partitions: above 5 KiB Cassandra warns, above 50 it refuses"""
VALUE_BYTES = 24
"""what a value takes there beside itself"""
KEYS_AT_ONCE = 100
"""rows of one partition that are asked for by their keys in one request"""


def wall_ms() -> int:
    """Unix ms, by this machine."""
    return time.time_ns() // 1_000_000


class CassandraStore:
    """A store in a keyspace. See `tidings.store.contract.Store`; make one with `open`."""

    def __init__(
        self,
        driver: Driver,
        keyspace: str,
        tables: Sequence[Table[Any]],
        wall_ms: Callable[[], int],
        together: int,
    ) -> None:
        self._driver = driver
        self._together = together
        self._counts = driver.counts
        self._tables = {table: Rows(table, keyspace, self._counts.tables[table.name]) for table in tables}
        self._wall_ms = wall_ms
        self._last_us = 0
        self._turns = Turns()
        self._door = Door()

    @classmethod
    async def open(
        cls,
        config: CassandraConfig,
        *,
        tables: Sequence[Table[Any]] = TABLES,
        format_number: int = FORMAT,
        migrations: Mapping[int, Migration] = MIGRATIONS,
        wall_ms: Callable[[], int] = wall_ms,
        counts: StoreCounts | None = None,
    ) -> "CassandraStore":
        """Open the store; keyspace and tables that are missing are made, older ones migrated.

        What is asked for is counted in `counts`. Raises StoreTooNew, StoreUnavailable.
        """
        driver = await Driver.connect(config, counts)
        try:
            await Schema(driver, config, tables, format_number, migrations).prepare()
        except BaseException:
            await driver.close()
            raise
        return cls(driver, config.keyspace, tables, wall_ms, config.together)

    # --- writing ----------------------------------------------------------------------------

    async def write(self, batch: Batch) -> None:
        with self._door:
            await self.send(self._sorted(batch))

    async def send(self, by_partition: ByPartition) -> None:
        """Send statements, those of a partition key together. Raises StoreError."""
        requests = shared(by_partition.values(), self._together)
        bound = [await self._driver.bound(sent) for sent in requests]
        self._counts.write_requests += len(bound)
        if len(bound) == 1:
            await self._driver.write(bound[0])
        elif bound:
            await _all([self._driver.write(statements) for statements in bound])

    def _sorted(self, batch: Batch) -> ByPartition:
        """What is to be sent for each partition. AssertionError, TypeError for what is no batch."""
        found: ByPartition = defaultdict(list)
        for write in batch:
            rows = self._tables[write.table]
            if type(write) is Put:
                rows.put(found, write.row, write.cause, self._wall_ms)
            elif type(write) is PutEach:
                rows.put_each(found, write, self._wall_ms)
            elif type(write) is Raise:
                rows.raise_to(found, write.row, self._now_us)
            else:
                assert type(write) is Erase, write
                rows.erase(found, write.key, write.cause)
        return found

    def _now_us(self) -> int:
        """Greater each time."""
        self._last_us = max(self._wall_ms() * 1000, self._last_us + 1)
        return self._last_us

    async def compare_and_set(
        self, table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()
    ) -> R | None:
        with self._door:
            rows: Rows[R] = self._tables[table]
            all_values = [encoded_row(rows.columns, one) for one in table.set_together(row, also)]
            rows.counts.rows += len(all_values)
            values = all_values[0]
            # Nothing is waited for before the turn: it is in the order of the calls.
            async with self._turns.of((table.name, rows.columns.partition_of(values))):
                return await self._set(rows, expected, all_values)

    async def _set(self, rows: Rows[R], expected: R | None, all_values: list[Values]) -> R | None:
        values = all_values[0]
        behind = [(rows.statements.insert, one) for one in all_values[1:]]
        condition = None if expected is None else encoded_row(rows.columns, expected)
        absent: frozenset[str] = frozenset()
        while True:
            sent = [rows.compared(values, condition, absent), *behind]
            rows.counts.statements += len(sent)
            self._counts.write_requests += 1
            done, answers = await self._driver.write_if(await self._driver.bound(sent))
            if done:
                return None
            found = rows.found(answers, values)
            # The row that would be returned is None, which says that it was written.
            assert found is not None, f"a row of {rows.columns.table} was expected and never written"
            if rows.columns.row(found) != expected:
                return rows.columns.row(found)
            # As expected, but in the words of an older version, in which it is to be asked for.
            assert condition is not None
            stored, nulls = rows.as_stored(condition, found)
            if (stored, nulls) == (condition, absent):
                raise OutcomeUnknown("a compare-and-set was refused, and the row is as it was expected")
            condition, absent = stored, nulls

    # --- reading ----------------------------------------------------------------------------

    async def get(self, table: Table[R], key: Key) -> R | None:
        with self._door:
            return await self._get(self._tables[table], key)

    async def _get(self, rows: Rows[R], key: Key) -> R | None:
        assert len(key) == len(rows.columns.table.key), key
        values = rows.columns.of_key(key)
        if rows.is_nobodys(values):
            return None
        found = await self._read(rows, rows.statements.get, values)
        return rows.columns.row(found[0]) if found else None

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        with self._door:
            rows: Rows[R] = self._tables[table]
            columns = len(table.partition)
            wanted: defaultdict[Key, list[Key]] = defaultdict(list)
            for key in dict.fromkeys(keys):
                assert len(key) == len(table.key), key
                wanted[key[:columns]].append(key)
            reads: list[Awaitable[list[R]]] = []
            for partition, same in wanted.items():
                for first in range(0, len(same), KEYS_AT_ONCE):
                    reads.append(self._get_some(rows, partition, same[first : first + KEYS_AT_ONCE]))
            found = {table.key_of(row): row for some in await _all(reads) for row in some}
            return [found.get(key) for key in keys]

    async def _get_some(self, rows: Rows[R], partition: Key, keys: list[Key]) -> list[R]:
        """Those of some rows of one partition that are there."""
        if len(keys) == 1:
            row = await self._get(rows, keys[0])
            return [] if row is None else [row]
        values = rows.columns.of_key(partition)
        if rows.is_nobodys(values):
            return []
        ends = [rows.columns.of_key(key[len(partition) :], len(partition)) for key in keys]
        several = [end[0] for end in ends] if len(ends[0]) == 1 else ends
        found = await self._read(rows, rows.statements.get_several, (*values, several))
        return [rows.columns.row(one) for one in found]

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
        with self._door:
            rows: Rows[R] = self._tables[table]
            assert len(partition) == len(table.partition), partition
            return await self._range(rows, partition, after, before, limit, backwards=backwards)

    async def _range(
        self,
        rows: Rows[R],
        partition: Key,
        after: Key | None,
        before: Key | None,
        limit: int,
        *,
        backwards: bool = False,
        serial: bool | None = None,
    ) -> list[R]:
        values = rows.columns.of_key(partition)
        if limit <= 0 or rows.is_nobodys(values):
            return []
        limit = min(limit, LIMIT_MAX)
        for bound in (after, before):
            if bound is not None:
                assert len(partition) + len(bound) == len(rows.columns.table.key), bound
                values += rows.columns.of_key(bound, len(partition))
        cql = rows.range(after=after is not None, before=before is not None, backwards=backwards)
        found = await self._read(rows, cql, (*values, limit), limit, serial=serial)
        return [rows.columns.row(one) for one in found]

    async def scan(self, table: Table[R], *, after: Key | None = None, limit: int) -> list[R]:
        with self._door:
            rows: Rows[R] = self._tables[table]
            if limit <= 0:
                return []
            limit = min(limit, LIMIT_MAX)
            if after is None:
                found = await self._read(
                    rows, rows.statements.scan(after=False), (limit,), limit, serial=False
                )
                return [rows.columns.row(one) for one in found]
            assert len(after) == len(table.key), after
            columns = len(table.partition)
            rest: list[R] = []
            if table.clustering:
                rest = await self._range(rows, after[:columns], after[columns:], None, limit, serial=False)
            if len(rest) < limit:
                limit -= len(rest)
                values = rows.columns.of_key(after[:columns])
                scan = rows.statements.scan(after=True)
                more = await self._read(rows, scan, (*values, limit), limit, serial=False)
                rest += [rows.columns.row(one) for one in more]
            return rest

    async def _read(
        self, rows: Rows[R], cql: str, values: Values, limit: int | None = None, *, serial: bool | None = None
    ) -> list[tuple[Any, ...]]:
        rows.counts.reads += 1
        is_serial = rows.is_contested if serial is None else serial
        return await self._driver.read(cql, values, limit=limit, serial=is_serial)

    async def time_ms(self) -> int:
        with self._door:
            (row,) = await self._driver.read("SELECT toUnixTimestamp(now()) FROM system.local", ())
            now_ms: int = row[0]
            return now_ms

    # --- the rest ---------------------------------------------------------------------------

    async def expire(self, now_ms: int) -> int:  # noqa: ARG002
        with self._door:
            return 0

    async def checkpoint(self, path: Path) -> None:  # noqa: ARG002
        with self._door:
            raise StoreUnavailable(
                "a store on Cassandra is copied by its own tools\n"
                "hint: nodetool snapshot on every node; see docs/operating/cassandra.md"
            )

    async def close(self) -> None:
        if not self._door.is_closed:
            await self._door.close()
            await self._driver.close()


async def _all(requests: Sequence[Awaitable[Any]]) -> list[Any]:
    """All answers, once all are there. Raises the first failure of ours, else of the cluster."""
    if len(requests) == 1:
        return [await requests[0]]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    for failure in failures:
        if not isinstance(failure, StoreError):
            raise failure
    if failures:
        raise failures[0]
    return answers


def shared(partitions: Iterable[list[Sent]], most: int) -> list[list[Sent]]:
    """What goes out in one request each: at most so many partitions, of few bytes, or one of any size."""
    requests: list[list[Sent]] = []
    room = count = 0
    for sent in partitions:
        size = sum(map(_size, sent))
        if count == 0 or count >= most or size > room:
            requests.append(sent)
            room, count = TOGETHER_BYTES - size, 1
        else:
            requests[-1] = requests[-1] + sent
            room, count = room - size, count + 1
    return requests


def _size(sent: Sent) -> int:
    """About what a statement takes where it is carried out."""
    values = sent[1]
    return VALUE_BYTES * len(values) + sum([len(value) for value in values if type(value) is bytes])
