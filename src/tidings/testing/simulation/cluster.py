"""A cluster: what every simulation stands on, whoever talks to it.

Nodes on machines, a store, a bus and a directory, in virtual time; what is injected is counted, and what
breaks a rule is noted.
"""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar, NamedTuple

from tidings.protocol.api import LoggedIn, NewAccount
from tidings.server.config import Config
from tidings.server.services import Services
from tidings.store.contract import R, Row, Table
from tidings.store.memory import MemoryStore, Tables
from tidings.testing.simulation import faults
from tidings.testing.simulation.bus import Broker
from tidings.testing.simulation.calm import Calm
from tidings.testing.simulation.device import User
from tidings.testing.simulation.directory import Registry
from tidings.testing.simulation.faults import Injector, Victim
from tidings.testing.simulation.loop import Loop
from tidings.testing.simulation.machines import Machine
from tidings.testing.simulation.nodes import Node, Shared
from tidings.testing.simulation.profile import Ref
from tidings.testing.simulation.store import done
from tidings.testing.simulation.tally import Tally
from tidings.testing.simulation.transcript import Transcript
from tidings.testing.world import PASSWORD

SET_UP_S = 60.0
DRAIN_S = 20.0
"""how long a node may take to drain before it is killed"""
ROWS_MAX = 100_000


class Broken(NamedTuple):
    """A rule that did not hold."""

    rule: str
    text: str
    refs: tuple[Ref, ...]


class Cluster:
    """See the module's text."""

    unheard_s: ClassVar[float] = 8.0
    """after publications were lost: until that is noticed, and what they said is found"""

    def __init__(
        self, seed: int, nodes: int, config: Config, random: Random, *, keeps_transcript: bool
    ) -> None:
        self.loop = Loop()  # type: ignore[abstract]  # what is left out needs an operating system
        self.random = random
        self.tally = Tally()
        self.transcript = Transcript(self.loop, keeps=keeps_transcript)
        self.note = self.transcript.note
        self.calm = Calm()
        self.registry = Registry(self.loop)
        self.tables = Tables(self.registry.places.time_ms)
        self.shared = Shared(
            self.loop,
            self.tables,
            Broker(),
            self.registry,
            config,
            self.tally,
            seed,
            nodes > 1,
            self.note,
            self.was_set,
        )
        self.nodes = [Node(self.shared, number, self._machine(number)) for number in range(1, nodes + 1)]
        self.users: list[User] = []
        self.found: list[Broken] = []
        self.injector = Injector(self)

    def victims(self) -> Sequence[Victim]:
        """The devices whose connections may be torn."""
        raise NotImplementedError

    def was_set(self, table: Table[Any], row: Row, also: Sequence[Row]) -> None:
        """Rows were set by comparing, whoever did it: the true order of what is contested."""

    def broken(self, rule: str, text: str, *refs: Ref) -> None:
        """A rule does not hold."""
        self.found.append(Broken(rule, text, refs))
        self.note("CHECK", rule, text)

    def scan(self, table: Table[R]) -> list[R]:
        """All rows of a table, as they are on the disk."""
        return done(MemoryStore(self.tables).scan(table, limit=ROWS_MAX))

    def start_node(self, node: Node) -> None:
        """Start a process of a node, if there is none."""
        if node.process.is_dead:
            node.start()

    def drain_node(self, node: Node, again_s: float) -> None:
        """Drain a node, and start it again in a while."""
        process = node.process

        def over(_: object = None) -> None:
            if node.process is process and not process.is_dead:
                node.ended()
                self.loop.after(again_s, self.start_node, node)

        task = node.call(lambda _: node.drain())
        task.add_done_callback(over, context=self.loop.world.context)
        self.loop.after(DRAIN_S, over)

    async def until(self, holds: Any, patience_s: float = SET_UP_S) -> None:
        """Wait until something holds."""
        until_s = self.loop.now_s + patience_s
        while not holds():
            if self.loop.now_s > until_s:
                raise RuntimeError("it never comes to that")
            await asyncio.sleep(0.05)

    async def register(self, node: Node, handle: str) -> tuple[LoggedIn, User]:
        """Another user, by the first device of the account."""

        async def registered(services: Services) -> LoggedIn:
            return await services.accounts.register(NewAccount(handle, PASSWORD))

        account = await node.call(registered)
        user = User(account.ids()[0], handle)
        self.users.append(user)
        return account, user

    def enter(self, phase: str) -> None:
        """Another phase begins."""
        self.tally.phase = phase
        self.note("PHASE", phase)

    def _machine(self, number: int) -> Machine:
        skew_s = self.random.uniform(-faults.SKEW_S, faults.SKEW_S) / 2
        return Machine(f"m{number}", booted_s=self.random.uniform(10.0, 1e6), skew_s=skew_s)
