"""The desk of a connection: its node's requests, carried out on store, bus and directory.

Batches are begun in the order in which they were asked for. Reads are done one after another by
one task, since a read of RocksDB never waits and a task a read costs more than the read; what may
take long has a task of its own. When the connection ends, so do its subscriptions, and the places
that were entered over it go: nobody else would say soon that they are over.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from tidings.bus.memory import Topics
from tidings.directory.contract import Found, Place
from tidings.directory.memory import Places
from tidings.hub.faults import failed
from tidings.hub.shelf import Shelf
from tidings.hub.wire import (
    Answer,
    Checkpoint,
    Compare,
    Count,
    Echo,
    Enter,
    Entries,
    Expire,
    Get,
    Leave,
    ListWorkers,
    Located,
    LookUp,
    Publish,
    Published,
    Range,
    Request,
    Scan,
    Subscribe,
    Unsubscribe,
    Values,
    Worker,
    Workers,
    Write,
)
from tidings.store.contract import StoreUnavailable

READS_AT_ONCE = 64
READ_BYTES = 1 << 20
"""So many reads, or so much of what they brought, and others get their turn."""
SPARE_PLACES = 1024
"""Of places that a connection entered, so many more are remembered than the directory holds."""


class Line(Protocol):
    """The way back to the node."""

    def hear(self, published: Published) -> None:
        """Pass a publication on, or lose it where too much waits already."""

    def done(self, number: int) -> None:
        """A request was carried out."""

    def answer(self, answer: Answer) -> None:
        """A request is answered."""

    async def room(self) -> None:
        """Wait until the node takes more."""


class Counters(Protocol):
    """What the hub tells of itself."""

    @property
    def workers(self) -> list[Worker]:
        """Who is connected."""


class Services:
    """What all desks share."""

    def __init__(self, shelf: Shelf, places: Places, counters: Counters, log: FilteringBoundLogger) -> None:
        self.shelf = shelf
        self.topics = Topics[Published]()
        self.places = places
        self.counters = counters
        self.log = log
        self.expiring: asyncio.Task[int] | None = None
        """All nodes ask for it now and then; it is done once at a time."""

    async def expire(self, now_ms: int) -> int:
        """See `Store.expire`. Who asks while it is being done gets the same answer."""
        if self.expiring is None:
            self.expiring = asyncio.get_running_loop().create_task(_awaited(self.shelf.expire(now_ms)))
            self.expiring.add_done_callback(self._expired)
        # Whoever goes away must not end it for the others.
        return await asyncio.shield(self.expiring)

    def _expired(self, expiring: asyncio.Task[int]) -> None:
        self.expiring = None
        if not expiring.cancelled():
            expiring.exception()  # whoever asked may have gone away

    def stop(self) -> None:
        """End what may take long."""
        if self.expiring is not None:
            self.expiring.cancel()


class Desk:
    """Carries out what one connection asks for."""

    def __init__(self, services: Services, line: Line) -> None:
        self._shelf = services.shelf
        self._topics = services.topics
        self._places = services.places
        self._services = services
        self._line = line
        self._hear = line.hear
        """held once for all subscriptions: a method is an object each time that it is asked for"""
        self._subscribed: set[str] = set()
        self._entered: dict[Place, None] = {}
        """what goes with this connection; in order that it takes little, the objects that `Places` holds"""
        self._reads: deque[Request] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._long: set[asyncio.Task[None]] = set()
        """those of them that may take long"""
        self._acts: dict[type[Request], Callable[[Any], None]] = {
            Write: self._write,
            Get: self._read,
            Range: self._read,
            Scan: self._read,
            Compare: self._compare,
            Expire: self._expire,
            Checkpoint: self._checkpoint,
            Subscribe: self._subscribe,
            Unsubscribe: self._unsubscribe,
            Enter: self._enter,
            Leave: self._leave,
            LookUp: self._look_up,
            Echo: self._echo,
            ListWorkers: self._list_workers,
        }

    def take(self, request: Request) -> None:
        """Begin a request. It is answered on the line, now or later."""
        try:
            self._acts[type(request)](request)
        except Exception as error:  # the others' requests are not to suffer for it
            self._fail(request, error)

    def publish(self, publication: Publish) -> None:
        """Pass a publication on."""
        receivers = self._topics.receivers.get(publication.topic)
        if receivers:
            published = Published(publication.topic, publication.data)
            for hear in receivers.values():
                hear(published)

    def interrupt(self) -> None:
        """End what may take long; it is answered as not done."""
        for task in self._long:
            task.cancel()

    def leave(self) -> None:
        """The node is gone."""
        self.interrupt()
        self._reads.clear()
        for topic in self._subscribed:
            self._topics.unsubscribe(topic, self)
        for place in self._entered:
            self._places.leave(place)
        self._subscribed.clear()
        self._entered.clear()

    def _fail(self, request: Request, error: Exception) -> None:
        self._line.answer(failed(request.number, error, self._services.log))

    # --- store ----------------------------------------------------------------------------

    def _write(self, request: Write) -> None:
        self._shelf.write(request.parts, partial(self._written, request))

    def _written(self, request: Write, error: Exception | None) -> None:
        if error is None:
            self._line.done(request.number)
        else:
            self._fail(request, error)

    def _read(self, request: Request) -> None:
        self._reads.append(request)
        if len(self._reads) == 1:
            self._run(self._read_all())

    async def _read_all(self) -> None:
        count = size = 0
        while self._reads:
            request = self._reads[0]
            try:
                values = await self._values(request)
            except Exception as error:
                self._fail(request, error)
            else:
                self._line.answer(Values(request.number, values))
                size += sum(len(value) for value in values if value is not None)
            count += 1
            if count >= READS_AT_ONCE or size >= READ_BYTES:
                count = size = 0
                await asyncio.sleep(0)
                await self._line.room()
            if self._reads:
                self._reads.popleft()

    def _values(self, request: Request) -> Awaitable[list[Any]]:
        if isinstance(request, Get):
            return self._shelf.get(request.table, request.keys)
        if isinstance(request, Range):
            return self._shelf.range(
                request.table,
                request.partition,
                request.after,
                request.before,
                request.limit,
                backwards=request.backwards,
            )
        assert isinstance(request, Scan)
        return self._shelf.scan(request.table, request.after, request.limit)

    def _compare(self, request: Compare) -> None:
        async def compare() -> None:
            found = await self._shelf.compare_and_set(
                request.table, request.expected, request.row, request.also
            )
            self._line.answer(Values(request.number, [found]))

        self._run(self._finish(compare(), request))

    def _expire(self, request: Expire) -> None:
        async def expire() -> None:
            self._line.answer(Count(request.number, await self._services.expire(request.now_ms)))

        self._run(self._finish(expire(), request), self._long)

    def _checkpoint(self, request: Checkpoint) -> None:
        async def copy() -> None:
            await self._shelf.checkpoint(Path(request.path))
            self._line.done(request.number)

        self._run(self._finish(copy(), request), self._long)

    async def _finish(self, act: Awaitable[None], request: Request) -> None:
        try:
            await act
        except asyncio.CancelledError:
            self._fail(request, StoreUnavailable("the hub is stopping"))
        except Exception as error:
            self._fail(request, error)

    def _run(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]] | None = None) -> None:
        task = asyncio.get_running_loop().create_task(work)
        for tasks in (self._tasks, among):
            if tasks is not None:
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    # --- bus ------------------------------------------------------------------------------

    def _subscribe(self, request: Subscribe) -> None:
        for topic in request.topics:
            self._subscribed.add(topic)
            self._topics.subscribe(topic, self, self._hear)
        self._line.done(request.number)

    def _unsubscribe(self, request: Unsubscribe) -> None:
        for topic in request.topics:
            self._subscribed.discard(topic)
            self._topics.unsubscribe(topic, self)
        self._line.done(request.number)

    # --- directory ------------------------------------------------------------------------

    def _enter(self, request: Enter) -> None:
        entered = [self._places.enter(place) for place in request.places]
        self._line.answer(Entries(request.number, entered))
        for place, one in zip(request.places, entered, strict=True):
            if one.found is not Found.NEWER:
                # Of equal ones the first stays: it is the one that the directory holds.
                self._entered.setdefault(place)
        if len(self._entered) > 2 * len(self._places) + SPARE_PLACES:
            look_up = self._places.look_up
            self._entered = {place: None for place in self._entered if place in look_up(place.user_id)}

    def _leave(self, request: Leave) -> None:
        for place in request.places:
            self._places.leave(place)
            self._entered.pop(place, None)
        self._line.done(request.number)

    def _look_up(self, request: LookUp) -> None:
        look_up = self._places.look_up
        self._line.answer(Located(request.number, [look_up(user) for user in request.users]))

    # --- the hub itself -------------------------------------------------------------------

    def _echo(self, request: Echo) -> None:
        self._line.done(request.number)

    def _list_workers(self, request: ListWorkers) -> None:
        self._line.answer(Workers(request.number, self._services.counters.workers))


async def _awaited(count: Awaitable[int]) -> int:
    return await count
