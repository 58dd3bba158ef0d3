"""Nodes: the real rules and sessions on a simulated machine, store, bus and directory.

A node's process ends by being killed or by a drain, and a new one begins on the same tables, as a
supervisor would have it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, NamedTuple, Protocol

import structlog

from tidings.bus.contract import BusError
from tidings.directory.contract import DirectoryError
from tidings.domain.leases import LeaseLost
from tidings.protocol.codec import MSGPACK
from tidings.server import cluster
from tidings.server.config import Config
from tidings.server.link import Link
from tidings.server.node import wire
from tidings.server.services import Services
from tidings.server.session import Session
from tidings.server.upkeep import Upkeep
from tidings.store.contract import StoreError
from tidings.store.memory import Tables
from tidings.testing.simulation.bus import Broker, NodeBus
from tidings.testing.simulation.calm import Calm
from tidings.testing.simulation.directory import NodeDirectory, Registry
from tidings.testing.simulation.loop import Loop
from tidings.testing.simulation.machines import Machine, MachineClock, Process
from tidings.testing.simulation.store import NodeStore, Watch
from tidings.testing.simulation.tally import Tally
from tidings.testing.world import PlainPasswords

START_AGAIN_S = 1.0
DRAIN_S = 4.0
LOOK_S = 0.1


class Complaint(NamedTuple):
    """What a node logged as an error."""

    at_s: float
    node: str
    event: dict[str, Any]


class Caller(Protocol):
    """A connection or a request, as far as the node's end of it."""

    def node_died(self) -> None:
        """The node was killed."""

    def stop(self) -> None:
        """The node is about to stop, in its own turn."""


class Shared(NamedTuple):
    """What all nodes of a run stand on."""

    loop: Loop
    tables: Tables
    broker: Broker
    registry: Registry
    config: Config
    tally: Tally
    seed: int
    is_cluster: bool
    note: Callable[..., None]
    """tells the transcript: who, and what"""
    watch: Watch | None = None
    """sees what is set by comparing, of all nodes"""


class Node:
    """One node, over all its runs."""

    def __init__(self, shared: Shared, number: int, machine: Machine) -> None:
        self.shared = shared
        self.number = number
        self.name = f"n{number}"
        self.machine = machine
        self.wires: dict[Caller, None] = {}
        """connections and requests that it answers"""
        self.services: Services | None = None
        self.complaints: list[Complaint] = []
        self.calm = Calm()
        """of those who are connected here"""
        self.refuses_until_s = 0.0
        self.runs = 0
        """how often it was started"""
        self.is_ready = False
        self._upkeep: Upkeep | None = None
        self._build()

    @property
    def listens(self) -> bool:
        """Whether it takes connections."""
        return self.is_ready and self.shared.loop.now_s >= self.refuses_until_s

    def open_session(self, link: Link) -> Session:
        """A session for a connection that was accepted."""
        assert self.services is not None
        return Session(self.services, link, MSGPACK)

    def start(self) -> None:
        """Begin a process; it listens once it is ready."""
        if self.process.is_dead:
            self._build()
        self.runs += 1
        self.shared.loop.spawn(self.process, self._start())

    def kill(self) -> bool:
        """SIGKILL. Whether a batch of it was torn between its partitions."""
        self.shared.note(self.name, "is killed")
        self.is_ready = False
        self.process.kill()
        torn = self.store.died()
        self.bus.died()
        self.directory.died()
        wires, self.wires = self.wires, {}
        for one in wires:
            one.node_died()
        return torn

    async def drain(self) -> None:
        """SIGTERM: answer what was accepted, send everybody away, end. In the node's turn."""
        services, upkeep = self.services, self._upkeep
        assert services is not None
        assert upkeep is not None
        self.shared.note(self.name, "drains")
        self.is_ready = False
        await services.commit.barrier()
        for one in list(self.wires):
            one.stop()
        loop = self.shared.loop
        until_s = loop.time() + DRAIN_S
        while self.wires and loop.time() < until_s:  # noqa: ASYNC110 - they go in many ways
            await asyncio.sleep(LOOK_S)
        await upkeep.stop()
        if services.cluster is not None:
            await services.cluster.stop()
        await services.commit.finish()
        await self.store.close()

    def ended(self) -> None:
        """The drained process is gone."""
        if not self.process.is_dead:
            self.kill()

    def call(self, work: Callable[[Services], Coroutine[Any, Any, Any]]) -> Any:
        """Have the node do something; the task."""
        assert self.services is not None
        return self.shared.loop.spawn(self.process, work(self.services))

    # --- inside -----------------------------------------------------------------------------

    def _build(self) -> None:
        shared = self.shared
        name = f"{self.name}.{self.runs + 1}"
        self.process = Process(name, self.machine, shared.loop)

        def stream(part: str) -> Random:
            return Random(f"{shared.seed}/{name}/{part}")  # noqa: S311 - a seed replays the run

        loop, tally = shared.loop, shared.tally
        self.random = stream("bytes")
        self.store = NodeStore(loop, shared.tables, stream("store"), tally, shared.watch)
        self.bus = NodeBus(loop, shared.broker, self.process, stream("bus"), tally)
        self.directory = NodeDirectory(loop, shared.registry, self.process, stream("directory"), tally)

    async def _start(self) -> None:
        shared = self.shared
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[self._logged])
        clock = MachineClock(shared.loop, self.machine)
        while True:
            try:
                services = await self._wire(clock, log)
                break
            except (StoreError, DirectoryError, BusError, LeaseLost) as error:
                shared.note(self.name, "cannot start", str(error))
                await asyncio.sleep(START_AGAIN_S)
        self.services = services
        self._upkeep = Upkeep(services, self.store)
        self._upkeep.start()
        if services.cluster is not None:
            services.cluster.start()
        self.is_ready = True
        shared.note(self.name, "is ready")

    async def _wire(self, clock: MachineClock, log: Any) -> Services:
        shared = self.shared
        more: dict[str, Any] = {}
        if shared.is_cluster:
            more["shared"] = cluster.Shared(self.bus, self.directory)
        return await wire(
            shared.config, self.store, clock, PlainPasswords(), self.random.randbytes, log, **more
        )

    def _logged(self, _: object, method: str, event: structlog.typing.EventDict) -> str:
        if method in {"error", "exception", "critical"}:
            self.complaints.append(Complaint(self.shared.loop.now_s, self.process.name, dict(event)))
        self.shared.note(self.name, "logs", method, event)
        return ""
