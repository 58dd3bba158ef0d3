"""A hub in the test's own process, and links to it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from tidings.hub.clocks import MACHINE, Clocks
from tidings.hub.connection import USUAL, Terms
from tidings.hub.framing import Splitter, encode, framed
from tidings.hub.link import HubLink
from tidings.hub.server import HubServer
from tidings.hub.wire import INCARNATION_BYTES, VERSION, Greeting, Hello, Item, News, Ping, Refusal
from tidings.store.contract import Batch, R, Row, Store, Table
from tidings.store.memory import MemoryStore
from tidings.store.schema import TABLES
from tidings.testing.clock import FakeClock

SOCKET = "hub.sock"


def silent_log() -> FilteringBoundLogger:
    """A log that goes nowhere."""
    log: FilteringBoundLogger = structlog.wrap_logger(None, processors=[_drop])
    return log


def _drop(_logger: object, _method: str, _event: structlog.types.EventDict) -> structlog.types.EventDict:
    raise structlog.DropEvent


def clocks_of(clock: FakeClock) -> Clocks:
    """Both of a machine's clocks, as a fake one shows them."""

    def now_ns() -> int:
        return clock.wall_ms() * 1_000_000

    return Clocks(now_ns, now_ns)


class Line(NamedTuple):
    """Something that was logged."""

    level: str
    event: str
    values: dict[str, Any]


def listening_log() -> tuple[FilteringBoundLogger, list[Line]]:
    """A log, and what it is told."""
    lines: list[Line] = []

    def keep(_logger: object, method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        lines.append(Line(method, event.pop("event"), dict(event)))
        raise structlog.DropEvent

    log: FilteringBoundLogger = structlog.wrap_logger(None, processors=[keep])
    return log, lines


class RunningHub:
    """A hub on a store, and what has been connected to it."""

    def __init__(
        self,
        path: Path,
        store: Store,
        tables: Sequence[Table[Any]] = TABLES,
        clocks: Clocks = MACHINE,
        log: FilteringBoundLogger | None = None,
        terms: Terms = USUAL,
        uid: int | None = None,
    ) -> None:
        self.path = path
        self.store = store
        self.tables = tables
        self._clocks = clocks
        self._log = log or silent_log()
        self._terms = terms
        self._uid = uid
        self._links: list[HubLink] = []
        self.nodes: list[RawNode] = []
        self.server = self._new()

    async def start(self) -> None:
        """Serve."""
        await self.server.listen(self.path)

    async def link(self, **options: Any) -> HubLink:
        """One more node's link; it is closed at the end. `options` are those of `HubLink`."""
        options = {"clocks": self._clocks, **options}
        self._links.append(await HubLink.open(self.path, self.tables, self._log, **options))
        return self._links[-1]

    async def restart(self) -> None:
        """Another hub takes the place of this one, in good order; the store stays."""
        await self.server.stop()
        await self.revive()

    async def die(self) -> None:
        """End as a kill does: nothing is answered any more."""
        listener = self.server._server
        assert listener is not None
        listener.close()
        for connection in tuple(self.server._accepted):
            connection.abort()
        await until(lambda: not any(link.is_connected for link in self._links))

    async def revive(self) -> None:
        """Another hub begins on the same store and socket."""
        self.server = self._new()
        await self.server.listen(self.path)

    async def stop(self) -> None:
        """End the links and the hub; the store stays open."""
        for link in self._links:
            await link.close()
        for node in self.nodes:
            node.close()
        await self.server.stop()

    def _new(self) -> HubServer:
        return HubServer(
            self.store,
            self.tables,
            self._log,
            incarnation=os.urandom(INCARNATION_BYTES),
            clocks=self._clocks,
            terms=self._terms,
            uid=self._uid,
        )


@contextlib.asynccontextmanager
async def running_hub(place: Path, store: Store, **options: Any) -> AsyncIterator[RunningHub]:
    """A hub in this process, its socket `hub.sock` in the folder `place`. The caller closes the store.

    `options` are those of `RunningHub`.
    """
    hub = RunningHub(place / SOCKET, store, **options)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


class HeldStore(MemoryStore):
    """A store that does what it is asked at once, and may keep its answers back."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        """what was done is answered while this is set"""
        self.answers.set()
        self.batches: list[Batch] = []
        """that were written, in their order"""
        self.compared = 0
        self.copies: list[Path] = []

    async def write(self, batch: Batch) -> None:
        self.batches.append(batch)
        await super().write(batch)
        await self.answers.wait()

    async def compare_and_set(
        self, table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()
    ) -> R | None:
        self.compared += 1
        found = await super().compare_and_set(table, expected, row, also)
        await self.answers.wait()
        return found

    async def checkpoint(self, path: Path) -> None:
        self.copies.append(path)
        await self.answers.wait()


class RawNode:
    """A node that says what a test wants it to, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        self._splitter = Splitter()
        self._frames: list[bytes] = []
        self.pings = 0
        """that were heard"""

    @classmethod
    async def connect(cls, hub: RunningHub) -> "RawNode":
        """Connect, and say nothing. It is closed with the hub."""
        hub.nodes.append(cls(*await asyncio.open_unix_connection(str(hub.path), limit=1 << 16)))
        return hub.nodes[-1]

    @classmethod
    async def greeted(cls, hub: RunningHub, link: bytes = b"raw node") -> "RawNode":
        """Connect and say Hello."""
        node = await cls.connect(hub)
        node.say(Hello(VERSION, link, [table.name for table in hub.tables]))
        first = await node.first()
        assert isinstance(first, Greeting), first
        return node

    def say(self, message: object) -> None:
        """Send a frame."""
        self.send(b"".join(framed(encode(message))))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    async def frame(self) -> bytes | None:
        """The next frame; None at the end of the connection."""
        while not self._frames:
            try:
                data = await self.reader.read(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._frames += map(bytes, self._splitter.feed(data))
        return self._frames.pop(0)

    async def first(self) -> Greeting | Refusal | None:
        """What the hub says first."""
        frame = await self.frame()
        return None if frame is None else msgspec.msgpack.decode(frame, type=Greeting | Refusal)

    async def items(self) -> list[Item]:
        """What the hub says in its next frame, but for pings; nothing at the end of the connection."""
        while (frame := await self.frame()) is not None:
            items = msgspec.msgpack.decode(frame, type=News).items
            others: list[Item] = [item for item in items if not isinstance(item, Ping)]
            self.pings += len(items) - len(others)
            if others:
                return others
        return []

    async def ended(self) -> bool:
        """Wait for the end of the connection."""
        while await self.frame() is not None:
            pass
        return True

    def close(self) -> None:
        """Go away."""
        self._writer.close()


class WarpedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time a test can set forward. Only its timers notice."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


async def pass_time(seconds: float) -> None:
    """Set a `WarpedLoop` forward, and let what is due then happen."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WarpedLoop)
    loop.ahead_s += seconds
    for _ in range(10):
        await asyncio.sleep(0)


def warped(work: Coroutine[Any, Any, None]) -> None:
    """Run a test on a `WarpedLoop`."""
    with asyncio.Runner(loop_factory=WarpedLoop) as runner:
        runner.run(work)


async def until(holds: Callable[[], object]) -> None:
    """Let the event loop run until something holds. The test's own timeout bounds it."""
    while not holds():
        await asyncio.sleep(0.001)
