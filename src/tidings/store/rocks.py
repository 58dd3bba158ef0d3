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
from functools import partial
from pathlib import Path
from typing import Any

from tidings.protocol import ids
from tidings.store.contract import (
    Batch,
    Key,
    R,
    Row,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    Table,
)
from tidings.store.encoded import BatchEncoder, Caused, Part, cause_bytes
from tidings.store.keys import Span
from tidings.store.rocks_checkpoint import CHECKPOINT, copy_store, remove_checkpoint, take_place
from tidings.store.rocks_database import Database, is_stall, wall_ms
from tidings.store.rocks_family import Examined, Family, Pair
from tidings.store.rocks_jobs import CompareAndSetJob, Done, Erasing, Job, Joined, Step, WriteJob, steps_of
from tidings.store.rocks_refusals import refusal
from tidings.store.room import FreeBytes, Room, free_bytes, probe
from tidings.store.schema import FORMAT, TABLES
from tidings.store.syncing import SyncThread

MiB = 1 << 20

JOINED_BYTES = 1 * MiB
"""A commit takes no further caller's writes once it is larger; one caller's may be. It bounds how
long the event loop is held: 20 ms for small rows."""
REOPEN_EVERY_S = 1.0
EXPIRE_REST_S = 0.002
"""from one look for old rows to the next, so that they take a part of the time only"""
EXAMINED_ROWS = 1000
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
        self._numbered = tuple(database.families.values())
        """in the order of the tables that it was opened with"""
        self._encode = BatchEncoder([family.codec for family in self._numbered])
        self._room = room
        self._clock = clock
        self._sync = sync
        self._thread = SyncThread("store-sync")
        self._waiting: deque[Job] = deque()
        self._flying: list[Job] = []
        self._failure: StoreError | None = None
        """why RocksDB takes no more writes until it was opened again"""
        self._reopen_at = 0.0
        self._making: asyncio.Future[None] | None = None
        """the checkpoint that is being made"""
        self._freezing = False
        """another thread is at the database: it must stay open"""
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
        wall_ms: Callable[[], int] = wall_ms,
        as_it_is: bool = False,
    ) -> "RocksStore":
        """Open the store in a directory; an empty or missing one becomes a new store.

        Without `sync` an acknowledged row may be lost with the power, though not with the process.
        `as_it_is`: neither make a new store nor migrate one of an older format, but refuse it.
        Raises StoreDamaged, StoreTooNew, StoreInUse, StoreFull, StoreUnavailable.
        """

        database = Database(path, tables, format_number, wall_ms=wall_ms, as_it_is=as_it_is)
        database.open()
        return cls(database, Room(path, min_free_bytes, free=free, clock=clock), clock, sync=sync)

    async def write(self, batch: Batch) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.write_encoded(self._encode(batch), partial(_settle, done))
        await done

    def write_encoded(self, parts: Sequence[Part], done: Done) -> None:
        """As `write`, for a batch that is encoded; `done` is called in the place of returning.

        Tables are numbered in the order in which the store was opened with them.
        """
        self._families()  # that it is open
        steps: list[Step] = []
        for part in parts:
            assert part.table < len(self._numbered), part.table
            steps += steps_of(self._numbered[part.table], part)
        self._add(WriteJob(steps, done))

    async def get(self, table: Table[R], key: Key) -> R | None:
        family: Family[R] = self._families()[table]
        value = family.get(family.keys.of_key(key))
        return None if value is None else family.row(value)

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        row = self._families()[table].row
        return [None if value is None else row(value) for value in self.get_encoded(table, keys)]

    def get_encoded(self, table: Table[Any], keys: Sequence[Key]) -> list[bytes | None]:
        """As `get_many`, of values as they are stored."""
        family = self._families()[table]
        get, of_key = family.get, family.keys.of_key
        return [get(of_key(key)) for key in keys]

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
        row = self._families()[table].row
        values = self.range_encoded(table, partition, after, before, limit, backwards=backwards)
        return [row(value) for value in values]

    def range_encoded(
        self,
        table: Table[Any],
        partition: Key,
        after: Key | None,
        before: Key | None,
        limit: int,
        *,
        backwards: bool,
    ) -> list[bytes]:
        """As `range`, of values as they are stored."""
        family = self._families()[table]
        return family.range(family.keys.span(partition, after, before), limit, backwards=backwards)

    async def compare_and_set(
        self, table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()
    ) -> R | None:
        family = self._families()[table]
        done: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
        self._add(CompareAndSetJob(family, expected, table.set_together(row, also), done))
        found = await done
        assert found is None or isinstance(found, table.row)
        return found

    async def scan(self, table: Table[R], *, after: Key | None = None, limit: int) -> list[R]:
        family: Family[R] = self._families()[table]
        return family.scan(after, limit)

    def scan_encoded(self, table: Table[Any], after: Key | None, limit: int) -> list[bytes]:
        """As `scan`, of values as they are stored."""
        family = self._families()[table]
        return [pair.value for pair in family.pairs(family.keys.behind(after), limit)]

    async def time_ms(self) -> int:
        self._families()
        return self._database.wall_ms()  # this machine keeps the rows

    async def expire(self, now_ms: int) -> int:
        count = 0
        for family in list(self._families().values()):
            keep_s = family.table.keep_s
            if keep_s is not None and family.codec.takes_puts:
                count += await self._expire(family, ids.first_at(now_ms - keep_s * 1000))
        return count

    async def _expire(self, family: Family[Any], before: int) -> int:
        """Remove the rows of a table whose cause is less than an id."""
        if not before:
            return 0
        limit, last = cause_bytes(before), cause_bytes(before - 1)
        first: bytes | None = b""
        count = 0
        while first is not None:
            self._families()  # that it is open still
            keys, first = family.older(first, limit)
            if keys:
                # Looked at again when its turn comes: a row may have been written anew by then.
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._add(WriteJob([Erasing(family, last, keys)], partial(_settle, done)))
                await done
                count += len(keys)
            await asyncio.sleep(EXPIRE_REST_S)
        return count

    def examine(self, table: Table[Any], first: bytes) -> Examined:
        """Decode some rows of a table from a key on, and tell which are not whole. For checks.

        Raises StoreDamaged where the files themselves are damaged.
        """
        return self._families()[table].examine(first, EXAMINED_ROWS)

    def stored(self, table: Table[Any], first: bytes, limit: int) -> list[Pair]:
        """At most `limit` keys and values of a table as they lie there, from a key on. For copies.

        Raises StoreDamaged, StoreUnavailable.
        """
        return self._families()[table].pairs(Span(first, None), limit)

    def caused(self, table: Table[R], value: bytes) -> Caused[R]:
        """The row of a value that `stored` gave, and its cause. Raises StoreDamaged."""
        family: Family[R] = self._families()[table]
        return family.caused(value)

    def estimate(self, table: Table[Any]) -> int:
        """About how many rows a table has."""
        return self._families()[table].estimate()

    async def checkpoint(self, path: Path) -> None:
        self._families()
        if self._making is not None:
            raise StoreUnavailable("another copy is being made: wait until it is done")
        self._making = making = asyncio.ensure_future(self._make_checkpoint(path))
        making.add_done_callback(self._made)
        # Whoever goes away must not leave the files to be closed under it.
        await asyncio.shield(making)

    async def _make_checkpoint(self, path: Path) -> None:
        own = self._database.path
        await asyncio.to_thread(take_place, path, apart_from=own)
        if self._failure is not None:
            raise self._failure
        self._freezing = True
        try:
            await asyncio.to_thread(self._database.freeze)
        except Exception as error:
            raise refusal(error, own) from None
        finally:
            self._freezing = False
        try:
            await asyncio.to_thread(copy_store, own / CHECKPOINT, path, self._unless_closed)
        finally:
            await asyncio.to_thread(remove_checkpoint, own)

    def _unless_closed(self, _done: int, _total: int) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    def _made(self, making: asyncio.Future[None]) -> None:
        self._making = None
        if not making.cancelled():
            making.exception()  # its caller may have gone away

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        if self._making is not None:
            await asyncio.wait([self._making])
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
                joined.written()
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
                joined.close()
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
        if isinstance(self._failure, StoreDamaged) or self._freezing or self._clock() < self._reopen_at:
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


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    """End a future with what became of a write. Its caller may have gone away."""
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
