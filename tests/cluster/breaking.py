"""A whole system on one machine, to be broken in every way, and `tidings chaos` that looks at it meanwhile.

Three Cassandras, one Redis or one that Sentinels watch, three nodes. The last node has a clock of its own and
reaches Cassandra, and the lone Redis, through Toxiproxy; clients may reach each node so.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from cluster.cassandras import PATIENCE, Ring, free_ports
from cluster.nodes import Node, make_tables
from integration.server import TIDINGS
from redis.clocks import ShiftedClock
from redis.servers import Server as Redis
from redis.watched import Watched
from tidings.store.cassandra.config import CassandraConfig
from tidings.testing.toxics import HOST, Proxy, Toxiproxy, toxiproxy

TIMES = int(os.environ.get("TIDINGS_TIMES", "2"))
"""how often each fault comes"""
FEW = ("--people", "8", "--devices", "2", "--conversations", "2", "--groups", "1x8", "--rate", "6")
CASSANDRAS = 3
NODES = 3
HEAP = "400M"
LIMITS = {rate: {"per_s": 1000.0, "burst": 1000} for rate in ("register_rate", "login_rate")}
"""people are made as fast as the machine can"""
WELL_S = 120.0
BEGUN_S = 900.0
JUDGED_S = 900.0
POLL_S = 0.1
STARTS = 5
RESTART_S = 2.0
"""as in `deploy/tidings@.service`"""


class System:
    """See the module's text; `running_system` makes one."""

    def __init__(self, ring: Ring, redis: Redis | Watched, clock: ShiftedClock) -> None:
        self.ring = ring
        self.redis = redis
        self.clock = clock
        """the last node's"""
        self.nodes: list[Node] = []
        self.doors: list[Proxy] = []
        """before each node, for clients"""
        self.to_redis: list[Proxy] = []
        """from the last node; none where Sentinels say where Redis is"""
        self.to_cassandra: list[Proxy] = []
        """from the last node, to each Cassandra"""

    async def is_well(self) -> None:
        """Wait until all nodes take messages."""
        await until(lambda: all(_status(node) == "ok" for node in self.nodes), WELL_S, "all nodes to be well")

    async def heal(self) -> None:
        """Whatever a test left broken is whole again."""
        for proxy in (*self.doors, *self.to_redis, *self.to_cassandra):
            await proxy.heal()
        self.clock.shift(0)
        for node in range(1, CASSANDRAS + 1):
            self.ring.thaw(node)
        await asyncio.to_thread(self.ring.start)
        for node in self.nodes:
            if _status(node) == "away":
                await started(node)
        await self.is_well()


async def started(node: Node) -> None:
    """Start it, again and again, as systemd does: a store that is slow just then ends a node that starts."""
    for _ in range(STARTS):
        with contextlib.suppress(AssertionError):
            await asyncio.to_thread(node.start)
            return
        if node.is_there:  # and is slow
            await until(lambda: _status(node) != "away", WELL_S, "a node to answer")
            return
        await asyncio.sleep(RESTART_S)
    raise AssertionError(f"it does not start: {node.log}")


async def until(condition: Callable[[], object], at_most_s: float, what: str) -> None:
    """Wait until something outside has happened; it is looked at in a thread."""
    ends_s = time.monotonic() + at_most_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < ends_s, f"waited in vain for {what}"
        await asyncio.sleep(POLL_S)


def _status(node: Node) -> str:
    try:
        return node.status()
    except OSError:
        return "away"


@contextlib.asynccontextmanager
async def running_system(folder: Path, redis: Redis | Watched) -> AsyncIterator[System]:
    """One that is well at first; `redis` is started, and stopped."""
    ring = Ring(folder / "cassandra", CASSANDRAS, HEAP=HEAP, PATIENCE=PATIENCE)
    system = System(ring, redis, ShiftedClock(folder))
    try:
        await asyncio.to_thread(redis.start)
        await asyncio.to_thread(ring.start)
        async with toxiproxy() as proxies:
            await _start_nodes(system, proxies, folder)
            yield system
            for node in system.nodes:
                await asyncio.to_thread(node.end)
    finally:
        for node in system.nodes:
            node.discard()
        redis.stop()
        ring.stop()


async def _start_nodes(system: System, proxies: Toxiproxy, folder: Path) -> None:
    cassandra = system.ring.config("chaos")
    await make_tables(cassandra)
    for number in range(1, NODES):
        system.nodes.append(Node(folder / f"node{number}", cassandra, system.redis))
    system.nodes.append(await _node_apart(system, proxies, cassandra, folder / f"node{NODES}"))
    for node in system.nodes:
        node.limits = LIMITS
        await started(node)
        system.doors.append(await proxies.before(node.port))
    await system.is_well()


async def _node_apart(system: System, proxies: Toxiproxy, cassandra: CassandraConfig, folder: Path) -> Node:
    """One with its own ways to Cassandra and Redis, and a clock of its own."""
    (port,) = free_ports(1)
    for address in cassandra.contact_points:
        # The driver learns of the other addresses from the first one, and takes the same port everywhere:
        # so each address has its proxy at that port.
        proxy = await proxies.before(system.ring.port, address, listen=f"{address}:{port}")
        system.to_cassandra.append(proxy)
    node = Node(folder, msgspec.structs.replace(cassandra, port=port), system.redis)
    node.environment = {**os.environ, **system.clock.environment}
    if isinstance(system.redis, Redis):
        to_redis = await proxies.before(system.redis.port)
        system.to_redis.append(to_redis)
        node.config["redis"] = {"addresses": [f"{HOST}:{to_redis.port}"]}
    return node


# --- what is done to it ---------------------------------------------------------------------

Mark = Callable[[str], None]


class Breaker:
    """Breaks something and makes it whole again; each method is a fault, by its name."""

    def __init__(self, system: System, chance: Random, mark: Mark) -> None:
        self._system = system
        self._chance = chance
        self._mark = mark

    async def node_killed(self) -> None:
        """`kill -9`, and started again."""
        node = self._node()
        await asyncio.to_thread(node.kill)
        await self._pause(0.0, 3.0)
        await started(node)

    async def node_frozen(self) -> None:
        """Longer than it may take for a write, and than others believe that it is there."""
        node = self._node()
        os.kill(node.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(6.0)
        finally:
            os.kill(node.pid, signal.SIGCONT)

    async def node_drained(self) -> None:
        """SIGTERM, and started again."""
        node = self._node()
        await asyncio.to_thread(node.end)
        await started(node)

    async def clock_jumped(self) -> None:
        """A node's, and back after a while: it gives no ids meanwhile, and its devices go to others."""
        ms = self._chance.choice([-600_000, -5_000, 5_000, 600_000])
        self._mark(f"the clock of the last node jumps by {ms} ms")
        self._system.clock.shift(ms)
        await self._seen("tidings_node_takes_part 0.0")
        await self._pause(0.0, 3.0)
        self._system.clock.shift(0)
        await self._seen("tidings_node_takes_part 1.0")

    async def redis_killed(self) -> None:
        """With all that it knew."""
        redis = self._redis
        self._mark("Redis is killed")
        await asyncio.to_thread(redis.kill)
        await self._pause(0.0, 3.0)
        await asyncio.to_thread(redis.start)

    async def redis_frozen(self) -> None:
        """Longer than its clients wait."""
        redis = self._redis
        self._mark("Redis is frozen")
        redis.freeze()
        try:
            await asyncio.sleep(3.0)
        finally:
            redis.thaw()

    async def redis_failed_over(self) -> None:
        """The master dies, its replica takes over, and it comes back as a replica."""
        redis = self._system.redis
        assert isinstance(redis, Watched)
        self._mark(f"Redis at {redis.master.port} is killed, and fails over")
        await asyncio.to_thread(redis.fail_over)
        await self._pause(0.0, 3.0)
        await asyncio.to_thread(redis.mend)

    async def cassandra_killed(self) -> None:
        """One of three, and started again."""
        number = self._cassandra()
        await asyncio.to_thread(self._system.ring.kill, number)
        await self._pause(1.0, 5.0)
        await asyncio.to_thread(self._system.ring.start)

    async def cassandra_frozen(self) -> None:
        """One of three."""
        number = self._cassandra()
        self._system.ring.freeze(number)
        try:
            await asyncio.sleep(5.0)
        finally:
            self._system.ring.thaw(number)

    async def cut_off_from_redis(self) -> None:
        """A node: its connections are closed, or nothing comes through them."""
        self._mark("the last node is cut off from Redis")
        await self._cut(self._system.to_redis, 5.0, "tidings_bus_ok 0.0")

    async def cut_off_from_cassandra(self) -> None:
        """A node: its connections are closed, or nothing comes through them."""
        self._mark("the last node is cut off from Cassandra")
        await self._cut(self._system.to_cassandra, 5.0)  # a silence that short may only be a slow answer

    async def store_slow(self) -> None:
        """For one node, whose clock goes on meanwhile."""
        late_s = self._chance.choice([0.3, 1.0, 3.0])
        self._mark(f"Cassandra answers the last node {late_s} s later")
        await self._harmed(self._system.to_cassandra, lambda proxy: proxy.delay(late_s), 5.0)

    async def clients_half_open(self) -> None:
        """Those of one node: reset, or silent for longer than a heartbeat may take."""
        number = self._chance.randrange(NODES)
        door = self._system.doors[number]
        if self._chance.random() < 0.5:
            self._mark(f"connections to node {number + 1} are reset")
            await self._harmed([door], lambda proxy: proxy.reset(), 3.0)
        else:
            self._mark(f"connections to node {number + 1} are half open")
            await self._harmed([door], lambda proxy: proxy.silence(), 15.0)

    async def _cut(self, proxies: list[Proxy], for_s: float, seen_by: str = "") -> None:
        how = self._chance.choice([Proxy.close, Proxy.silence])
        await self._harmed(proxies, how, for_s, seen_by)

    async def _harmed(
        self, proxies: list[Proxy], harm: Callable[[Proxy], Any], for_s: float, seen_by: str = ""
    ) -> None:
        """For so long, and until the last node says of itself that it is harmed."""
        for proxy in proxies:
            await harm(proxy)
        await asyncio.sleep(for_s)
        if seen_by:
            await self._seen(seen_by)
        for proxy in proxies:
            await proxy.heal()

    async def _seen(self, line: str) -> None:
        """Wait until the last node says so of itself."""
        await until(lambda: line in self._system.nodes[-1].metrics(), WELL_S, line)

    @property
    def _redis(self) -> Redis:
        assert isinstance(self._system.redis, Redis)
        return self._system.redis

    async def _pause(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(least_s, most_s))

    def _node(self) -> Node:
        number = self._chance.randrange(NODES)
        self._mark(f"node {number + 1}")
        return self._system.nodes[number]

    def _cassandra(self) -> int:
        number = self._chance.randint(1, CASSANDRAS)
        self._mark(f"Cassandra {number}")
        return number


# --- who looks at it ------------------------------------------------------------------------


class Chat:
    """`tidings chaos` in a process of its own; `chatting` starts it."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self._folder = folder
        self._process = process

    def mark(self, text: str) -> None:
        """Note it in the time line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())

    @property
    def said(self) -> str:
        """What it said of its progress, and of errors."""
        return (self._folder / "stderr").read_text()

    @property
    def page(self) -> str:
        """Its report."""
        return (self._folder / "report.md").read_text()

    def assert_runs(self) -> None:
        """It is there."""
        assert self._process.returncode is None, self.said

    async def judged(self) -> dict[str, Any]:
        """End it; what it found."""
        self._process.send_signal(signal.SIGINT)
        async with asyncio.timeout(JUDGED_S):
            await self._process.wait()
        written = (self._folder / "result.json").read_text()
        assert written, self.said
        result: dict[str, Any] = msgspec.json.decode(written)
        return result

    async def begun(self) -> None:
        """Wait until people write."""
        await until(
            lambda: self._process.returncode is not None or "chatting" in self.said, BEGUN_S, "the chat"
        )
        self.assert_runs()


@contextlib.asynccontextmanager
async def chatting(folder: Path, urls: list[str], *options: str) -> AsyncIterator[Chat]:
    """People who chat at these addresses. Their accounts are left there."""
    folder.mkdir(parents=True)
    command = [TIDINGS, "chaos", "--marks", "--json", "--report", str(folder / "report.md"), "--keep"]
    command += [word for url in urls for word in ("--against", url)]
    with (folder / "stderr").open("wb") as told, (folder / "result.json").open("wb") as result:
        process = await asyncio.create_subprocess_exec(
            *command, "--for", "24h", *options, stdin=asyncio.subprocess.PIPE, stdout=result, stderr=told
        )
    try:
        chat = Chat(folder, process)
        await chat.begun()
        yield chat
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def broken(
    system: System, urls: list[str], reports: Path, options: tuple[str, ...], faults: list[Any]
) -> dict[str, Any]:
    """What the judge says after these faults, one after another."""
    await system.heal()
    chance = Random(1)
    async with chatting(reports, urls, *options) as chat:
        breaker = Breaker(system, chance, chat.mark)
        try:
            for fault in faults:
                await asyncio.sleep(chance.uniform(2.0, 5.0))
                await fault(breaker)
                chat.assert_runs()
            await asyncio.sleep(chance.uniform(2.0, 5.0))
            await system.heal()
        except AssertionError:
            await chat.judged()  # so that the report says what came of it until then
            raise
        result = await chat.judged()
        assert result["clean"], chat.page
        assert len(result["marks"]) == len(faults)
        assert result["acknowledged"] > len(faults)
    return result
