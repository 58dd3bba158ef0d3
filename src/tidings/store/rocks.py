"""The embedded store: RocksDB, a column family a table, one commit in flight.

Commits. Writes that come while a commit is on its way to the disk wait and go together in the
next. A batch is built and handed to RocksDB on the event loop, which takes microseconds; one
thread then waits for the disk. Reads run on the event loop too.

What a read may see. Rows of a commit that is not yet durable are seen by reads already. Whatever
is written after such a read becomes durable only with them or after them.

Full disk. Below its reserve of free bytes the store refuses writes before RocksDB meets a full
disk. If it does meet one, it takes no writes until it is closed and opened again, which is tried
at most once a second, when a write comes and a probe has shown that there is room. Reads go on.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tidings.store.contract import (
    Batch,
    Key,
    Put,
    R,
    Raise,
    Row,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    Table,
)
from tidings.store.rocks_database import Database, Family, is_stall
from tidings.store.rocks_jobs import CompareAndSetJob, Job, Joined, Staged, WriteJob
from tidings.store.rocks_refusals import refusal
from tidings.store.room import FreeBytes, Room, free_bytes, probe
from tidings.store.schema import FORMAT, TABLES
from tidings.store.syncing import SyncThread

MiB = 1 << 20

JOINED_BYTES = 1 * MiB
"""A commit takes no further caller's writes once it is larger; one caller's may be. It bounds how
long the event loop is held: 20 ms for small rows."""
REOPEN_EVERY_S = 1.0
STALL_S = 0.005
"""from a write that RocksDB refused because compaction is behind to the next try"""


class RocksStore:
    """A store in a directory. See `tidings.store.contract.Store`; make one with `open`."""

    def __init__(
        self,
        database: Database,
        room: Room,
        clock: Callable[[], float],
        *,
        sync: bool,
    ) -> None:
        self._database = database
        self._room = room
        self._clock = clock
        self._sync = sync
        self._thread = SyncThread("store-sync")
        self._waiting: deque[Job] = deque()
        self._flying: list[Job] = []
        self._failure: StoreError | None = None
        """why RocksDB takes no more writes until it was opened again"""
        self._reopen_at = 0.0
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        """set by `close`, which waits for it"""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        tables: Sequence[Table[Any]] = TABLES,
        format_number: int = FORMAT,
        sync: bool = True,
        min_free_bytes: int = 64 * MiB,
        free: FreeBytes = free_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> "RocksStore":
        """Open the store in a directory; an empty or missing one becomes a new store.

        Without `sync` an acknowledged row may be lost with the power, though not with the process.
        Raises StoreDamaged, StoreTooNew, StoreInUse, StoreFull, StoreUnavailable.
        """

        database = Database(path, tables, format_number)
        database.open()
        return cls(database, Room(path, min_free_bytes, free=free, clock=clock), clock, sync=sync)

    async def write(self, batch: Batch) -> None:
        writes: list[Staged] = []
        size = 0
        families = self._families()
        for write in batch:
            family = families[write.table]
            key = family.keys.of_row(write.row)
            if type(write) is Put:
                assert family.takes_puts, family.table
                value = family.value(write.row, write.cause)
                size += len(value)
                writes.append((family, key, value, write.row))
            else:
                assert type(write) is Raise
                writes.append((family, key, None, write.row))
            size += len(key)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._add(WriteJob(writes, size, done))
        await done

    async def get(self, table: Table[R], key: Key) -> R | None:
        family: Family[R] = self._families()[table]
        value = family.get(family.keys.of_key(key))
        return None if value is None else family.row(value)

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        family: Family[R] = self._families()[table]
        get, of_key, row = family.get, family.keys.of_key, family.row
        values = [get(of_key(key)) for key in keys]
        return [None if value is None else row(value) for value in values]

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
        family: Family[R] = self._families()[table]
        return family.range(partition, after, before, limit, backwards=backwards)

    async def compare_and_set(self, table: Table[R], expected: R | None, row: R) -> R | None:
        assert table.contested, table
        family = self._families()[table]
        done: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
        self._add(CompareAndSetJob(family, expected, row, done))
        found = await done
        assert found is None or isinstance(found, table.row)
        return found

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        if self._flying or self._waiting:
            self._idle = loop.create_future()
            await self._idle
        closed: asyncio.Future[None] = loop.create_future()
        self._thread.run(self._database.close, lambda _error: closed.set_result(None))
        self._thread.stop()
        await closed

    def _families(self) -> dict[Table[Any], Family[Any]]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return self._database.families

    # --- commits ---------------------------------------------------------------------------

    def _add(self, job: Job) -> None:
        self._waiting.append(job)
        if not self._flying:
            self._take_off()

    def _take_off(self) -> None:
        """Make a commit of what waits."""
        size = 0
        while self._waiting and size < JOINED_BYTES:
            job = self._waiting.popleft()
            size += job.size
            self._flying.append(job)
        self._commit(size)

    def _commit(self, size: int) -> None:
        begun = False
        try:
            self._ensure_writable()
            self._room.take(size)
            joined = self._joined()
            if not joined.empty:
                begun = True
                self._database.write(joined.batch)
        except Exception as error:
            if is_stall(error):
                asyncio.get_running_loop().call_later(STALL_S, self._commit, size)
            else:
                self._land(error, begun=begun)
            return
        if self._sync and not joined.empty:
            self._thread.run(self._database.sync, self._land)
        else:
            self._land(None)

    def _joined(self) -> Joined:
        """The batch of all that flies. Who meets damage, or has a bug, fails alone."""
        while True:
            joined = Joined()
            for job in self._flying:
                try:
                    job.stage(joined)
                except Exception as error:
                    self._flying.remove(job)
                    job.fail(refusal(error, self._database.path), begun=False)
                    break
            else:
                return joined

    def _land(self, error: Exception | None, *, begun: bool = True) -> None:
        """The commit is durable, or failed; the next one follows."""
        jobs, self._flying = self._flying, []
        if error is None:
            for job in jobs:
                job.succeed()
        else:
            refused = refusal(error, self._database.path)
            if isinstance(refused, StoreError) and begun:
                self._failure = refused
            for job in jobs:
                job.fail(refused, begun=begun)
        if self._waiting:
            self._take_off()
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _ensure_writable(self) -> None:
        """After a failed write: open the database again. Raises StoreError if that must wait."""
        if self._failure is None:
            return
        if isinstance(self._failure, StoreDamaged) or self._clock() < self._reopen_at:
            raise self._failure
        self._reopen_at = self._clock() + REOPEN_EVERY_S
        # Closed it cannot be read, so it is closed only when it will open again.
        probe(self._database.path)
        self._database.close()
        try:
            self._database.open()
        except StoreDamaged as damage:
            self._failure = damage
            raise
        self._failure = None
