"""Faults: what goes wrong when, and how long it may be felt.

All of it is drawn before the run begins, phase by phase, so that a failure can be tried again with a part
of it. `Injector` makes it happen, and notes for how long (`calm`).
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tidings.testing.simulation.bus import BusFault
from tidings.testing.simulation.calm import Calm
from tidings.testing.simulation.directory import DirectoryFault
from tidings.testing.simulation.links import LinkFault, Wire
from tidings.testing.simulation.store import Planned, StoreFault

if TYPE_CHECKING:
    from tidings.testing.simulation.cluster import Cluster
    from tidings.testing.simulation.nodes import Node


class MachineFault(StrEnum):
    """What may happen to machines, their clocks, and the processes on them."""

    STOPPED = "machine: process stopped (SIGSTOP)"
    PAUSED = "machine: paused with its clocks"
    STEPPED = "machine: clock stepped by up to half a second"
    JUMPED = "machine: clock jumps ten minutes"
    KILLED = "node: killed"
    TORN_BATCH = "node: killed between partitions of a batch"
    DRAINED = "node: drained"


class Outage(StrEnum):
    """Faults of a whole part."""

    STORE = "store: outage"


Fault = LinkFault | BusFault | DirectoryFault | StoreFault | MachineFault | Outage


class Family(StrEnum):
    """Faults that come together."""

    NETWORK = "network"
    BUS = "bus and directory"
    STORE = "store"
    MACHINES = "machines and clocks"
    CRASHES = "crashes and drains"


FAMILIES: dict[Family, dict[Fault, int]] = {
    Family.NETWORK: {
        LinkFault.TORN: 4,
        LinkFault.HALF_OPEN: 3,
        LinkFault.DEAF: 3,
        LinkFault.SLOW: 3,
        LinkFault.REFUSED: 2,
    },
    Family.BUS: {
        BusFault.LOST: 5,
        BusFault.LATE: 4,
        BusFault.OUT: 2,
        DirectoryFault.FORGETS_SOME: 3,
        DirectoryFault.FORGETS_ALL: 2,
        DirectoryFault.FAILS_OVER: 2,
        DirectoryFault.SLOW: 2,
        DirectoryFault.AWAY: 2,
    },
    Family.STORE: {
        StoreFault.SLOW_WRITE: 4,
        StoreFault.REFUSED_WRITE: 3,
        StoreFault.FULL: 1,
        StoreFault.LOST_WRITE: 2,
        StoreFault.DONE_WRITE: 3,
        StoreFault.LATE_WRITE: 5,
        StoreFault.SLOW_READ: 3,
        StoreFault.FAILED_READ: 2,
        StoreFault.DONE_UNKNOWN: 3,
        StoreFault.LOST_UNKNOWN: 3,
        Outage.STORE: 1,
    },
    Family.MACHINES: {
        MachineFault.STOPPED: 4,
        MachineFault.PAUSED: 4,
        MachineFault.STEPPED: 2,
        MachineFault.JUMPED: 2,
    },
    Family.CRASHES: {
        MachineFault.KILLED: 3,
        MachineFault.TORN_BATCH: 4,
        MachineFault.DRAINED: 3,
    },
}
"""The faults of each family, and how often each comes beside the others."""

NEEDS_PEERS = frozenset({*BusFault, *DirectoryFault, StoreFault.DONE_UNKNOWN, StoreFault.LOST_UNKNOWN})
"""faults of what only a cluster has"""

LENGTH_S: dict[Fault, tuple[float, float]] = {
    LinkFault.SLOW: (3.0, 15.0),
    LinkFault.REFUSED: (2.0, 15.0),
    BusFault.LOST: (1.0, 10.0),
    BusFault.LATE: (1.0, 10.0),
    BusFault.OUT: (0.5, 15.0),
    DirectoryFault.SLOW: (1.0, 15.0),
    DirectoryFault.AWAY: (1.0, 15.0),
    StoreFault.SLOW_WRITE: (0.5, 60.0),
    Outage.STORE: (0.5, 5.0),
    MachineFault.STOPPED: (1.0, 70.0),
    MachineFault.PAUSED: (1.0, 70.0),
    MachineFault.JUMPED: (10.0, 40.0),
    MachineFault.KILLED: (0.3, 15.0),
    MachineFault.TORN_BATCH: (0.3, 15.0),
    MachineFault.DRAINED: (0.3, 10.0),
}
"""how long they last, where they last; of those that end a node, until it is started again"""
PLANNED_S = 20.0
"""how long a fault of the store waits for an operation that meets it"""
TORN_BATCH_S = 10.0
"""how long one waits for a batch that is partly applied"""
CORRECTED_S = (5.0, 30.0)
"""after a machine was paused: until its wall clock is set right"""
UNNOTICED_S = 45.0
"""until all devices have noticed that a node does nothing"""
SILENT_S = 2.0
"""before a node is killed: how long it may be cut off from the bus"""
ALL = 1 << 30
JUMP_S = 600.0
SKEW_S = 0.5
COUNT = 4
"""publications lost or late at once, at most"""


class Injection(NamedTuple):
    """A fault that is to happen."""

    at_s: float
    fault: Fault
    length_s: float
    where: float
    """which node or device"""
    what: float


def plan(
    random: Random, families: Sequence[Family], begin_s: float, end_s: float, count: int, *, alone: bool
) -> list[Injection]:
    """So many faults of some families within a span of time; in its order."""
    weights: dict[Fault, float] = {}
    for family in families:
        total = sum(FAMILIES[family].values())
        for fault, weight in FAMILIES[family].items():
            if not (alone and fault in NEEDS_PEERS):
                weights[fault] = weight / total
    found = []
    for _ in range(count if weights else 0):
        (fault,) = random.choices(list(weights), list(weights.values()))
        low, high = LENGTH_S.get(fault, (0.0, 0.0))
        # As often short as long; none outlasts the span.
        length_s = low * (high / low) ** random.random() if low else 0.0
        length_s = min(length_s, end_s - begin_s)
        at_s = random.uniform(begin_s, end_s - length_s)
        found.append(Injection(at_s, fault, length_s, random.random(), random.random()))
    return sorted(found)


class Victim(Protocol):
    """A device whose connection may be torn."""

    @property
    def name(self) -> str: ...

    @property
    def calm(self) -> Calm:
        """When nothing was wrong with its connections but that they were torn."""

    @property
    def wire(self) -> Wire | None:
        """Its connection, if one stands."""

    def interrupted(self) -> None:
        """It is about to be torn, whether the device notices or not."""


class Injector:
    """Makes faults happen."""

    def __init__(self, simulation: "Cluster") -> None:
        self._simulation = simulation
        self._loop = simulation.loop
        self._count = simulation.tally.count

    def inject(self, injection: Injection) -> None:
        """Do it now, if there is something to do it to."""
        _DO[injection.fault](self, injection)

    # --- network ------------------------------------------------------------------------------

    def _cut(self, injection: Injection) -> None:
        device, wire = self._connected(injection)
        if device is not None and wire is not None:
            assert isinstance(injection.fault, LinkFault)
            self._note(device.name, injection)
            device.interrupted()
            wire.cut(injection.fault)

    def _slow(self, injection: Injection) -> None:
        device, wire = self._connected(injection)
        if device is not None and wire is not None:
            self._note(device.name, injection)
            self._count(injection.fault)
            until_s = self._loop.now_s + injection.length_s
            wire.slow_down(until_s)
            device.calm.disturbed(self._loop.now_s, until_s + 5.0)

    def _refuse(self, injection: Injection) -> None:
        node = self._node(injection)
        self._note(node.name, injection)
        self._count(injection.fault)
        node.refuses_until_s = self._loop.now_s + injection.length_s

    # --- bus and directory --------------------------------------------------------------------

    def _lose(self, injection: Injection) -> None:
        node = self._node(injection)
        self._note(node.name, injection)
        node.bus.lose(1 + int(injection.what * COUNT), self._loop.now_s + injection.length_s)
        self._felt(injection.length_s, self._simulation.unheard_s)

    def _delay(self, injection: Injection) -> None:
        node = self._node(injection)
        self._note(node.name, injection)
        node.bus.delay(1 + int(injection.what * COUNT), self._loop.now_s + injection.length_s)
        self._felt(injection.length_s, 15.0)

    def _cut_bus(self, injection: Injection) -> None:
        node = self._node(injection)
        self._note(node.name, injection)
        self._count(injection.fault)
        node.bus.go_out(self._loop.now_s + injection.length_s)
        self._felt(injection.length_s, 10.0)

    def _forget(self, injection: Injection) -> None:
        simulation = self._simulation
        self._note("directory", injection)
        self._count(injection.fault)
        if injection.fault is DirectoryFault.FORGETS_SOME:
            users = simulation.users
            simulation.registry.places.forget([users[int(injection.where * len(users))].user_id])
        elif injection.fault is DirectoryFault.FORGETS_ALL:
            simulation.registry.places.forget()
        else:
            simulation.registry.fail_over()
        self._felt(0.0, 30.0)

    def _directory_slow(self, injection: Injection) -> None:
        node = self._node(injection)
        self._note(node.name, injection)
        node.directory.be_slow(self._loop.now_s + injection.length_s)
        self._felt(injection.length_s, 15.0)

    def _directory_away(self, injection: Injection) -> None:
        node = self._node(injection)
        self._note(node.name, injection)
        node.directory.go_away(self._loop.now_s + injection.length_s)
        self._felt(injection.length_s, 30.0)

    # --- store --------------------------------------------------------------------------------

    def _store(self, injection: Injection) -> None:
        node = self._node(injection)
        self._note(node.name, "plans", injection)
        assert isinstance(injection.fault, StoreFault)
        now_s = self._loop.now_s

        def met(over_s: float) -> None:
            self._note(node.name, injection)
            # It delays Sent, and those who are connected there. Everybody else is as prompt as ever.
            node.calm.disturbed(self._loop.now_s, over_s + 15.0)

        node.store.plan(Planned(injection.fault, now_s + PLANNED_S, met, injection.length_s))

    def _store_out(self, injection: Injection) -> None:
        self._count(injection.fault)
        self._note("store", injection)
        for node in self._simulation.nodes:
            node.store.go_out(self._loop.now_s + injection.length_s)
        self._felt(injection.length_s, 20.0)

    # --- machines -----------------------------------------------------------------------------

    def _stop(self, injection: Injection) -> None:
        node = self._node(injection)
        process = node.process
        if not process.runs or not node.is_ready:
            return
        self._note(node.name, injection)
        self._count(injection.fault)
        process.stop()
        self._loop.after(injection.length_s, self._continue, node, process)
        self._felt(max(injection.length_s, UNNOTICED_S), 15.0)

    def _continue(self, node: "Node", process: object) -> None:
        if process is node.process and not node.process.is_dead:
            self._simulation.note(node.name, "goes on")
            node.process.resume()

    def _pause(self, injection: Injection) -> None:
        node = self._node(injection)
        machine = node.machine
        if machine.paused_at_s is not None or not node.is_ready:
            return
        self._note(node.name, injection)
        self._count(injection.fault)
        self._loop.pause(machine)
        low, high = CORRECTED_S
        corrected_s = low + injection.what * (high - low)
        self._loop.after(injection.length_s, self._unpause, node, corrected_s)
        self._felt(max(injection.length_s + corrected_s, UNNOTICED_S), 15.0)

    def _unpause(self, node: "Node", corrected_s: float) -> None:
        self._simulation.note(node.name, "goes on, its clock behind")
        self._loop.unpause(node.machine)
        self._loop.after(corrected_s, self._correct, node)

    def _correct(self, node: "Node") -> None:
        machine = node.machine
        if machine.paused_at_s is None:
            machine.wall_off_s = machine.skew_s

    def _step(self, injection: Injection) -> None:
        node = self._node(injection)
        self._note(node.name, injection)
        self._count(injection.fault)
        node.machine.skew_s = (2 * injection.what - 1) * SKEW_S
        self._correct(node)
        self._felt(0.0, 5.0)

    def _jump(self, injection: Injection) -> None:
        node = self._node(injection)
        if node.machine.paused_at_s is not None:
            return
        self._note(node.name, injection)
        self._count(injection.fault)
        node.machine.wall_off_s += JUMP_S if injection.what < 0.6 else -JUMP_S
        self._loop.after(injection.length_s, self._correct, node)
        self._felt(injection.length_s, 15.0)

    # --- crashes ------------------------------------------------------------------------------

    def _kill(self, injection: Injection) -> None:
        node = self._node(injection)
        if not self._may_end(node):
            return
        silent_s = max(0.0, injection.what - 0.5) * 2 * SILENT_S
        if silent_s:
            # Its network goes first: what it publishes last reaches nobody.
            node.bus.lose(ALL, self._loop.now_s + silent_s)
        self._felt(silent_s, 0.0)
        self._loop.after(silent_s, self._end_process, node, node.process, injection)

    def _tear(self, injection: Injection) -> None:
        """Kill a node once a batch of its is half applied."""
        node = self._node(injection)

        def partly() -> None:
            if self._may_end(node):
                self._end(node, injection)

        self._felt(TORN_BATCH_S, 0.0)
        node.store.when_partly(partly, self._loop.now_s + TORN_BATCH_S)

    def _end_process(self, node: "Node", process: object, injection: Injection) -> None:
        if process is node.process and self._may_end(node):
            self._end(node, injection)

    def _end(self, node: "Node", injection: Injection) -> None:
        self._note(node.name, injection)
        torn = node.kill()
        self._count(MachineFault.TORN_BATCH if torn else MachineFault.KILLED)
        self._loop.after(injection.length_s, self._simulation.start_node, node)
        self._felt(0.0, 20.0)

    def _drain(self, injection: Injection) -> None:
        node = self._node(injection)
        if not self._may_end(node):
            return
        self._note(node.name, injection)
        self._count(injection.fault)
        self._simulation.drain_node(node, injection.length_s)
        self._felt(10.0, 20.0)

    # --- inside -----------------------------------------------------------------------------

    def _may_end(self, node: "Node") -> bool:
        return node.is_ready and node.process.runs

    def _node(self, injection: Injection) -> "Node":
        nodes = self._simulation.nodes
        return nodes[int(injection.where * len(nodes))]

    def _connected(self, injection: Injection) -> tuple[Victim | None, Wire | None]:
        there = [device for device in self._simulation.victims() if device.wire is not None]
        device = there[int(injection.where * len(there))] if there else None
        return device, None if device is None else device.wire

    def _note(self, who: str, injection: Injection | str, *more: object) -> None:
        if isinstance(injection, Injection):
            self._simulation.note(who, "FAULT", str(injection.fault), f"{injection.length_s:.1f} s")
        else:
            self._simulation.note(who, "FAULT", injection, *more)

    def _felt(self, length_s: float, echo_s: float) -> None:
        """It lasts so long, and may be felt for a while after that."""
        now_s = self._loop.now_s
        self._simulation.calm.disturbed(now_s, now_s + length_s + echo_s)


_DO: dict[Fault, Callable[[Injector, Injection], None]] = {
    LinkFault.TORN: Injector._cut,
    LinkFault.HALF_OPEN: Injector._cut,
    LinkFault.DEAF: Injector._cut,
    LinkFault.SLOW: Injector._slow,
    LinkFault.REFUSED: Injector._refuse,
    BusFault.LOST: Injector._lose,
    BusFault.LATE: Injector._delay,
    BusFault.OUT: Injector._cut_bus,
    DirectoryFault.FORGETS_SOME: Injector._forget,
    DirectoryFault.FORGETS_ALL: Injector._forget,
    DirectoryFault.FAILS_OVER: Injector._forget,
    DirectoryFault.SLOW: Injector._directory_slow,
    DirectoryFault.AWAY: Injector._directory_away,
    **dict.fromkeys(StoreFault, Injector._store),
    Outage.STORE: Injector._store_out,
    MachineFault.STOPPED: Injector._stop,
    MachineFault.PAUSED: Injector._pause,
    MachineFault.STEPPED: Injector._step,
    MachineFault.JUMPED: Injector._jump,
    MachineFault.KILLED: Injector._kill,
    MachineFault.TORN_BATCH: Injector._tear,
    MachineFault.DRAINED: Injector._drain,
}
