"""One run: a seed, three users with two devices each, the nodes, and what befalls them.

```
 setting up · calm · a phase for each family of faults · all at once · calm again · an hour · quiet
```

Everything random comes from the seed, in streams of their own, so that leaving out a part of what happens
leaves the rest as it was as far as possible. At the end the checks compare everybody with the model.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from random import Random
from typing import Any, NamedTuple

from tidings.domain.conversation import Conversation
from tidings.protocol.api import Credentials, LoggedIn
from tidings.protocol.ids import ConversationId, UserId
from tidings.protocol.limits import Limits
from tidings.server.config import Config
from tidings.server.services import Services
from tidings.testing.simulation import checks, faults, people
from tidings.testing.simulation.cluster import DRAIN_S, Broken, Cluster
from tidings.testing.simulation.device import Device, User
from tidings.testing.simulation.faults import Family, Injection
from tidings.testing.simulation.loop import collected_after
from tidings.testing.simulation.model import Model
from tidings.testing.simulation.past import Past
from tidings.testing.simulation.people import Action, People
from tidings.testing.simulation.transcript import Line, Names, tell
from tidings.testing.world import PASSWORD

HANDLES = ("alice", "bob", "carol")
DEVICES = 2
NODES = 3
CALM_S = 12.0
FAMILY_S = 40.0
ALL_S = 60.0
SETTLED_S = 75.0
"""after the last fault: until everything is prompt again"""
END_S = 10.0
AFTER_END_S = 65.0
HOUR_S = 3700.0
LIVE_HOUR = 0.02
"""of the runs have everybody there during the hour"""
QUIET_S = 45.0
LONG_QUIET_S = 400.0
"""longer than it takes a node to read an inbox again by itself"""
MESSAGES = {"calm": 25, "family": 28, "all": 50, "end": 25}
FAULTS = {"family": (4, 9), "all": (8, 16)}
SETTING_UP = "setting up"
CALM = "calm"
ALL = "all at once"
END = "calm end"
QUIET = "quiet"


class Phase(NamedTuple):
    """A span of the run, from when it was set up."""

    name: str
    begin_s: float
    end_s: float
    families: tuple[Family, ...]


class Plan(NamedTuple):
    """What is to happen."""

    phases: list[Phase]
    actions: list[Action]
    injections: list[Injection]


class Options(NamedTuple):
    """What to run, and which part of it."""

    seed: int
    nodes: int = NODES
    actions: Collection[int] | None = None
    """by their places in the plan; None: all"""
    injections: Collection[int] | None = None
    keeps_transcript: bool = False


class Outcome(NamedTuple):
    """What came of it."""

    seed: int
    broken: list[Broken]
    counts: Counter[tuple[str, str]]
    """by phase: faults, deeds, and what else is worth counting"""
    messages: int
    """that were acknowledged"""
    virtual_s: float
    callbacks: int
    digest: int
    """the same for two runs of one seed"""
    lines: list[Line]
    """the transcript, if it was kept"""
    names: Names | None
    """what its lines call things"""

    def transcript(self, *, whole: bool = False) -> Iterator[str]:
        """What happened around the messages for which a rule is broken, or all that did."""
        refs = [] if whole else [ref for broken in self.broken for ref in broken.refs]
        return iter(()) if self.names is None else tell(self.lines, self.names, refs)


class Simulation(Cluster):
    """What the parts of a run share."""

    def __init__(self, options: Options) -> None:
        self.options = options
        random = Random(f"{options.seed}/run")  # noqa: S311 - a seed replays the run
        self.asks = random.random() < 0.2
        """whether strangers must be let in"""
        is_cluster = options.nodes > 1
        limits = Limits(window_entries=random.choice([3, 16, 256]), state_bytes=random.choice([64, 65_536]))
        config = Config(limits=limits, strangers="request" if self.asks else "deliver")
        super().__init__(
            options.seed, options.nodes, config, random, keeps_transcript=options.keeps_transcript
        )
        self.model = Model()
        self.devices: list[Device] = []
        self.blocking: list[tuple[UserId, UserId]] = []
        """who may block whom"""
        self.pasts: dict[UserId, Past] = {}
        """what the history tells each user at the end"""
        self.people = People(self)
        self.plan = plan(options.seed, is_cluster=is_cluster, asks=self.asks)

    # --- for the parts ------------------------------------------------------------------------

    def victims(self) -> list[Device]:
        return self.devices

    def conversations_of(self, user: UserId) -> list[ConversationId]:
        """A user's conversations."""
        return [name for name, members in self.model.members.items() if user in members]

    def log_in(self, user: User, where: float) -> bool:
        """Make a further device of a user, on some node; whether that was begun."""
        node = self.nodes[int(where * len(self.nodes))]
        if not node.is_ready:
            return False

        def done(task: "asyncio.Task[LoggedIn]") -> None:
            if task.cancelled() or task.exception() is not None:
                self.note(user.handle, "cannot log in", task.exception())
            else:
                self._add_device(task.result(), user).go_online()

        task = node.call(lambda services: services.accounts.login(Credentials(user.handle, PASSWORD)))
        task.add_done_callback(done, context=self.loop.world.context)
        return True

    # --- the run ------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run it, and check."""
        try:
            self.loop.run_until_complete(self._run())
            checks.check(self)
            return self._outcome()
        finally:
            self.loop.close()

    async def _run(self) -> None:
        self.tally.phase = SETTING_UP
        await self._set_up()
        begin_s = self.loop.now_s
        wanted = self.options
        for phase in self.plan.phases:
            self.loop.at(begin_s + phase.begin_s, self.enter, phase.name)
        for place, action in enumerate(self.plan.actions):
            if wanted.actions is None or place in wanted.actions:
                self.loop.at(begin_s + action.at_s, self.people.act, action)
        for place, injection in enumerate(self.plan.injections):
            if wanted.injections is None or place in wanted.injections:
                self.loop.at(begin_s + injection.at_s, self.injector.inject, injection)
        end = self.plan.phases[-1]
        await asyncio.sleep(end.begin_s)
        for device in self.devices:
            device.go_online()
        await asyncio.sleep(end.end_s - end.begin_s)
        self.enter(QUIET)
        await self._let_in()
        await asyncio.sleep(AFTER_END_S)
        await self._pass_hour()
        await asyncio.sleep(LONG_QUIET_S if self.random.random() < 0.1 else QUIET_S)
        await self._look_back()

    async def _set_up(self) -> None:
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        await self.until(lambda: all(node.is_ready for node in self.nodes))
        for handle in HANDLES:
            account, user = await self.register(first, handle)
            self._add_device(account, user)
            for _ in range(DEVICES - 1):
                node = self.random.choice(self.nodes)
                further = await node.call(_logging_in(handle))
                self._add_device(further, user)
        for one in self.users:
            for other in self.users:
                if one.user_id < other.user_id:
                    conversation = await first.call(_opening(one.user_id, other.user_id))
                    name = conversation.conversation_id
                    self.model.members[name] = one.user_id, other.user_id
                    if self.asks:
                        self.model.asking.add(name)
        pairs = [(one.user_id, other.user_id) for one in self.users for other in self.users if one != other]
        self.blocking = self.random.sample(pairs, self.random.randrange(3))
        for device in self.devices:
            device.go_online()
        await self.until(lambda: all(device.live_s is not None for device in self.devices))

    async def _let_in(self) -> None:
        """Whoever was asked lets the other one in, on some device that is there."""
        if self.asks:
            for name, (_, asked) in self.model.members.items():
                for device in self.devices:
                    if device.user.user_id == asked and device.live_s is not None:
                        self.people.let_in(device, name)
                        break

    async def _pass_hour(self) -> None:
        """What was late by up to an hour appears; mostly with nobody there, which costs nothing."""
        if self.random.random() < LIVE_HOUR:
            await asyncio.sleep(HOUR_S)
            return
        for device in self.devices:
            device.go_offline()
        await asyncio.sleep(1.0)
        for node in self.nodes:
            if node.is_ready:
                self.drain_node(node, HOUR_S)
        await asyncio.sleep(HOUR_S + DRAIN_S + 1.0)
        await self.until(lambda: all(node.is_ready for node in self.nodes))
        for device in self.devices:
            device.go_online()

    async def _look_back(self) -> None:
        """A new device of each user reads the whole history."""
        node = self.random.choice(self.nodes)
        for user in self.users:
            account = await node.call(_logging_in(user.handle))
            device = self._device(account, user)
            device.go_online()
            await self.until(lambda device=device: device.live_s is not None)
            past = self.pasts[user.user_id] = Past(device, self.conversations_of(user.user_id))
            past.fetch()
            await self.until(past.goes_on)
            device.go_offline()

    def _add_device(self, account: LoggedIn, user: User) -> Device:
        device = self._device(account, user)
        self.devices.append(device)
        return device

    def _device(self, account: LoggedIn, user: User) -> Device:
        count = sum(device.user == user for device in self.devices) + 1
        name = f"{user.handle}.{count}"
        random = Random(f"{self.options.seed}/{name}")  # noqa: S311 - a seed replays the run
        device_id = account.ids()[1]
        self.model.user_of[device_id] = user.user_id
        return Device(self, name, user, device_id, account.token, random)

    def _outcome(self) -> Outcome:
        acked = [said for said in self.model.said.values() if said.acked_s is not None]
        places = [(said.ref, said.message_ids, said.acked_s) for said in acked]
        counts = sorted(self.tally.counts.items())
        digest = zlib.crc32(repr((self.loop.callbacks, self.loop.now_s, counts, places)).encode())
        return Outcome(
            self.options.seed,
            self.found,
            self.tally.counts,
            len(acked),
            self.loop.now_s,
            self.loop.callbacks,
            digest,
            self.transcript.lines,
            self._names() if self.transcript.keeps else None,
        )

    def _names(self) -> Names:
        devices = {device.device_id: device.name for device in self.devices}
        return Names(self.model, devices, {user.user_id: user.handle for user in self.users})


def plan(seed: int, *, is_cluster: bool, asks: bool) -> Plan:
    """What happens in the run of a seed."""
    random = Random(f"{seed}/plan")  # noqa: S311 - a seed replays the run
    families = list(Family)
    random.shuffle(families)
    spans = [(CALM, CALM_S, ()), *((family, FAMILY_S, (family,)) for family in families)]
    spans.append((ALL, ALL_S, tuple(families)))
    phases: list[Phase] = []
    actions: list[Action] = []
    injections: list[Injection] = []
    at_s = 0.0
    for name, length_s, wanted in spans:
        kind = "calm" if not wanted else "family" if len(wanted) == 1 else "all"
        phase = Phase(str(name), at_s, at_s + length_s, wanted)
        phases.append(phase)
        actions += people.plan(
            random, phase.begin_s, phase.end_s, MESSAGES[kind], peaceful=kind == "calm", asks=asks
        )
        if wanted:
            count = random.randint(*FAULTS[kind])
            injections += faults.plan(random, wanted, phase.begin_s, phase.end_s, count, alone=not is_cluster)
        at_s += length_s
    end = Phase(END, at_s, at_s + SETTLED_S + END_S, ())
    phases.append(end)
    actions += people.plan(
        random, end.begin_s + SETTLED_S, end.end_s, MESSAGES["end"], peaceful=True, asks=asks
    )
    return Plan(phases, actions, injections)


def run(options: Options) -> Outcome:
    """Run a seed, or a part of what happens in it."""
    with collected_after():
        return Simulation(options).run()


def _logging_in(handle: str) -> Any:
    async def log_in(services: Services) -> LoggedIn:
        return await services.accounts.login(Credentials(handle, PASSWORD))

    return log_in


def _opening(one: UserId, other: UserId) -> Any:
    async def open_direct(services: Services) -> Conversation:
        return await services.conversations.open_direct(one, other)

    return open_direct
