"""The group commit: what one turn of the event loop collected goes to the store in one batch.

One batch is in flight at a time; what is added meanwhile makes up the next. Nobody is answered
before the batch that holds their rows is durable. Three kinds of rows differ in what they wait for:

- `add`: start a commit at the end of this turn (messages);
- `add_soon`: ride on the next commit, whenever it comes, at the latest after `receipt_delay_s`
  (rows whose loss costs a repeat, never a message);
- `raise_soon` and `write_soon`: the same, but kept back for the whole delay, since of the many that
  have one name in it the last one is written. What a failed batch held of these is tried again.
  Where there are very many, `name_soon` has them made and named only when they are written.

No batch goes out with an id that is not below `ids_until`, which is made durable before and is kept
`IDS_AHEAD_MS` ahead. A node that starts again gives ids from there on, so none of its ids is below one
that may have been read, not even where a batch was torn and the clock then went back.

Where there are other nodes, a batch may be durable and yet have come too late for those who read it
(`tidings.domain.peers`): whoever is called then finds `came_late` set.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tidings.domain.clock import IdClock
from tidings.domain.peers import Alone, Peers
from tidings.protocol.errors import OVERLOADED, STORE_FAILED, STORE_FULL, ProtocolError
from tidings.protocol.ids import unix_ms
from tidings.protocol.limits import Limits
from tidings.store.contract import (
    Erase,
    Key,
    Put,
    Raise,
    Row,
    Store,
    StoreError,
    StoreFull,
    StoreUnavailable,
    Table,
    Write,
    rows_in,
)
from tidings.store.schema import NODES, NodeRow

Done = Callable[[StoreError | None], None]
"""Called with None when the rows are durable, else with what went wrong. Must not raise."""

IDS_AHEAD_MS = 2000
"""How far ahead of the ids `ids_until` is kept: one more write in so long, while there are any."""

_Late = dict[tuple[str, Key], Write]


class _Batch(NamedTuple):
    rows: list[Write]
    late: _Late
    done: list[Done]
    size: int
    oldest: int
    """the id that was given last when its first rows that must come in time were added"""


class GroupCommit:
    """Collects rows and writes them in batches; see the module's text."""

    def __init__(
        self,
        store: Store,
        ids: IdClock,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        peers: Peers | None = None,
    ) -> None:
        self._store = store
        self._ids = ids
        self._limits = limits
        self._loop = loop
        self._peers = peers or Alone()
        self.came_late = False
        """while callbacks of `add` and `raise_soon` run: whether their batch came too late to be read"""
        self._oldest = 0
        self._raised_oldest = 0
        self._ids_until = 0
        """durable"""
        self._rows: list[Write] = []
        self._row_count = 0
        self._done: list[Done] = []
        self._bytes = 0
        """held by rows that wait or are on their way to the disk"""
        self._waiting_bytes = 0
        self._riding: list[Done] = []
        """of rows that start no commit of their own"""
        self._late: _Late = {}
        self._raised: list[Done] = []
        self._namers: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._due = False
        """the delay of what waits in `_raises` is over"""
        self._writer: asyncio.Task[None] | None = None
        self.failure: StoreError | None = None
        """what the last batch failed with, for health"""
        # For the metrics, since the start.
        self.batches = 0
        self.rows_written = 0
        self.failures = 0
        self.seconds = 0.0

    @property
    def waiting_bytes(self) -> int:
        """About how much waits or is on its way to the disk."""
        return self._bytes

    def admit(self) -> None:
        """Raise ProtocolError (overloaded) while more waits for the disk than the limits allow."""
        limits = self._limits
        if self._row_count >= limits.commit_rows or self._bytes >= limits.commit_bytes:
            raise ProtocolError(OVERLOADED, "the disk is behind", retry_after_s=1.0)

    def add(self, rows: Iterable[Write], done: Done, *, size: int = 0) -> None:
        """Commit rows with this turn's batch; `done` is called when it is durable or failed.

        `size` is about how many bytes each row holds, for `admit`.
        """
        if not self._done:
            self._oldest = self._ids.last
        before = len(self._rows)
        self._rows.extend(rows)
        count = rows_in(self._rows[before:])
        self._row_count += count
        self._bytes += count * size
        self._waiting_bytes += count * size
        self._done.append(done)
        self._wake()

    def add_soon(self, row: Write, done: Done) -> None:
        """Commit a row with whatever batch comes next."""
        self._rows.append(row)
        self._row_count += 1
        self._riding.append(done)
        self._arm()

    def raise_soon(self, table: Table[Any], row: Row, done: Done | None = None) -> None:
        """Raise a growing row within `receipt_delay_s`; the last values named for a row count.

        The caller holds the row's values in memory, so that no call names lower ones.
        """
        self._late[table.name, table.key_of(row)] = Raise(table, row)
        if done is not None:
            if not self._raised:
                self._raised_oldest = self._ids.last
            self._raised.append(done)
        self._arm()

    def write_soon(self, name: Key, write: Put | Erase) -> None:
        """Put or erase a row within `receipt_delay_s`; of several with one name the last one."""
        self._late[write.table.name, name] = write
        self._arm()

    def name_soon(self, name_rows: Callable[[], None]) -> None:
        """Call `name_rows` once, within `receipt_delay_s`: it names rows for the batch that goes out then.

        By `raise_soon` and `write_soon`. What memory holds may change many times before.
        """
        self._namers.append(name_rows)
        self._arm()

    async def write(self, rows: Iterable[Write], then: Callable[[], None] | None = None) -> bool:
        """Commit rows and wait until they are durable; whether they came in time to be read.

        If they did, `then` is called before anybody hears of what is durable later. Raises ProtocolError
        (store_…).
        """
        durable: asyncio.Future[bool] = self._loop.create_future()

        def done(error: StoreError | None) -> None:
            if then is not None and error is None and not self.came_late:
                then()
            if not durable.done():
                if error is None:
                    durable.set_result(not self.came_late)
                else:
                    durable.set_exception(refusal(error))

        self.add(rows, done)
        return await durable

    async def barrier(self) -> None:
        """Wait until everything added so far, raises included, is in the store (or has failed)."""
        passed: asyncio.Future[StoreError | None] = self._loop.create_future()
        self._due = True
        self.add((), lambda error: _settle(passed, error))
        await passed

    async def finish(self) -> None:
        """Commit what waits, as far as the store takes it, and start no commit any more."""
        await self.barrier()
        await self.barrier()  # for what the callbacks of the first one added: the rows of `sends`
        self.close()

    def close(self) -> None:
        """Start no commit any more; what still waits is given up."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if not self._due:
            self._ring_after(self._limits.receipt_delay_s)

    def _ring_after(self, delay_s: float) -> None:
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._due = True
        self._wake()

    def _wake(self) -> None:
        if self._writer is None:
            # The task starts after this turn's remaining callbacks: they join its first batch.
            self._writer = self._loop.create_task(self._run())

    async def _run(self) -> None:
        while self._done or self._due:
            batch = self._take()
            error = None
            if batch.rows or batch.late:
                error = self.failure = await self._write_above([*batch.rows, *batch.late.values()])
            if error is not None:
                self._keep(batch.late)
            elif batch.oldest and self._peers.are_there:
                error = await self._see_if_late(batch.oldest)
            self._bytes -= batch.size
            for callback in batch.done:
                try:
                    callback(error)
                except Exception as bug:
                    # One broken callback must not leave everybody else unanswered for ever.
                    self._report("a callback of the group commit failed", bug)
            self.came_late = False
        self._writer = None

    def _take(self) -> _Batch:
        rows, done = self._rows, self._done + self._riding
        late: _Late = {}
        self._rows, self._done, self._riding = [], [], []
        self._row_count = 0
        if self._due:
            self._name_rows()
            self._due = False
            late, self._late = self._late, {}
            done += self._raised
            self._raised = []
        size, self._waiting_bytes = self._waiting_bytes, 0
        oldest, self._oldest = self._oldest, 0
        if late and self._raised_oldest:
            oldest, self._raised_oldest = min(oldest or self._raised_oldest, self._raised_oldest), 0
        return _Batch(rows, late, done, size, oldest)

    def _name_rows(self) -> None:
        namers, self._namers = self._namers, []
        for name_rows in namers:
            try:
                name_rows()
            except Exception as bug:
                self._report("rows of the group commit could not be named", bug)

    async def _see_if_late(self, oldest: int) -> StoreError | None:
        """Set `came_late` for a batch that is durable. What cannot be judged is not to be relied upon."""
        try:
            self.came_late = await self._peers.is_late(unix_ms(oldest))
        except StoreError as error:
            return error
        except Exception as bug:
            self._report("it could not be seen whether a batch came late", bug)
            return StoreUnavailable(str(bug))
        return None

    def _keep(self, late: _Late) -> None:
        """Try again later: memory has moved on, so nobody would ever name these values again."""
        for key, held in late.items():
            self._late.setdefault(key, held)
        # Something to try it with, should nobody write meanwhile.
        node = NodeRow(self._ids.node, self._ids.last)
        self._late.setdefault((NODES.name, NODES.key_of(node)), Raise(NODES, node))
        self._ring_after(self._limits.store_retry_s)

    async def _write_above(self, rows: list[Write]) -> StoreError | None:
        """Write rows once `ids_until` is above all ids that they may have."""
        if self._ids.last >= self._ids_until:
            until = self._ids.horizon(IDS_AHEAD_MS)
            error = await self._write([Raise(NODES, NodeRow(self._ids.node, until))])
            if error is not None:
                return error
            self._ids_until = until
        return await self._write(rows)

    async def _write(self, rows: list[Write]) -> StoreError | None:
        began_s = self._loop.time()
        error = await self._try(rows)
        self.seconds += self._loop.time() - began_s
        if error is None:
            self.batches += 1
            self.rows_written += rows_in(rows)
        else:
            self.failures += 1
        return error

    async def _try(self, rows: list[Write]) -> StoreError | None:
        try:
            await self._store.write(rows)
        except StoreError as error:
            return error
        except Exception as bug:
            self._report("the store failed in a way that it does not name", bug)
            return StoreUnavailable(str(bug))
        return None

    def _report(self, message: str, bug: Exception) -> None:
        self._loop.call_exception_handler({"message": message, "exception": bug})


def refusal(error: StoreError) -> ProtocolError:
    """What a client is told of a store that did not do its work."""
    if isinstance(error, StoreFull):
        return ProtocolError(STORE_FULL, retry_after_s=10.0)
    return ProtocolError(STORE_FAILED, retry_after_s=2.0)


def _settle(future: "asyncio.Future[StoreError | None]", error: StoreError | None) -> None:
    if not future.done():
        future.set_result(error)
