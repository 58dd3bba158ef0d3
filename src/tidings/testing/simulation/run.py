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
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import Any, ClassVar, NamedTuple

from tidings.domain.conversation import Conversation
from tidings.protocol.api import Credentials, LoggedIn
from tidings.protocol.ids import ConversationId, DeviceId, UserId
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

PAIRS = "pairs"
"""people write to each other, two and two"""
GROUPS = "groups"
"""people are in groups"""
HANDLES = ("alice", "bob", "carol")
DEVICES = 2
NODES = 3
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


class Course(NamedTuple):
    """How long and how eventful phases are."""

    calm_s: float = 12.0
    family_s: float = 40.0
    all_s: float = 60.0
    calm_messages: int = 25
    family_messages: int = 28
    all_messages: int = 50
    end_messages: int = 25
    family_faults: tuple[int, int] = (4, 9)
    all_faults: tuple[int, int] = (8, 16)


class Plan(NamedTuple):
    """What is to happen."""

    phases: list[Phase]
    actions: list[Action]
    injections: list[Injection]


class Options(NamedTuple):
    """What to run, and which part of it."""

    seed: int
    nodes: int = NODES
    people: str = PAIRS
    """PAIRS or GROUPS"""
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
    """What the parts of a run share: people who write to each other, two and two."""

    handles: ClassVar[Sequence[str]] = HANDLES

    def __init__(self, options: Options) -> None:
        self.options = options
        random = Random(f"{options.seed}/run")  # noqa: S311 - a seed replays the run
        self.asks = random.random() < 0.2
        """whether strangers must be let in"""
        config = self.config(random)
        super().__init__(
            options.seed, options.nodes, config, random, keeps_transcript=options.keeps_transcript
        )
        self.model = Model()
        self.devices: list[Device] = []
        self.blocking: list[tuple[UserId, UserId]] = []
        """who may block whom"""
        self.pasts: dict[UserId, Past] = {}
        """what the history tells each user at the end"""
        self.began_s = 0.0
        """when all was set up, and the plan began"""
        self.people = People(self)
        self.plan = self.planned(is_cluster=options.nodes > 1)

    # --- what another kind of run does differently --------------------------------------------

    def config(self, random: Random) -> Config:
        """How the nodes are configured."""
        limits = Limits(window_entries=random.choice([3, 16, 256]), state_bytes=random.choice([64, 65_536]))
        return Config(limits=limits, strangers="request" if self.asks else "deliver")

    def planned(self, *, is_cluster: bool) -> Plan:
        """What is to happen."""
        weights = {calm: people.weights(peaceful=calm, asks=self.asks) for calm in (False, True)}
        return plan(f"{self.options.seed}/plan", Course(), weights, is_cluster=is_cluster)

    def new_device(self, name: str, user: User, device_id: DeviceId, token: str, random: Random) -> Device:
        """A device of a user."""
        return Device(self, name, user, device_id, token, random)

    def devices_of(self, handle: str) -> int:  # noqa: ARG002
        """How many a user begins with."""
        return DEVICES

    async def open_conversations(self) -> None:
        """Everybody gets to know everybody."""
        for one in self.users:
            for other in self.users:
                if one.user_id < other.user_id:
                    conversation = await self.nodes[0].call(_opening(one.user_id, other.user_id))
                    name = conversation.conversation_id
                    self.model.members[name] = one.user_id, other.user_id
                    if self.asks:
                        self.model.asking.add(name)
        pairs = [(one.user_id, other.user_id) for one in self.users for other in self.users if one != other]
        self.blocking = self.random.sample(pairs, self.random.randrange(3))

    async def begin(self) -> None:
        """Everybody is connected, and nothing has happened yet."""

    async def after_end(self) -> None:
        """Nothing has happened for a minute."""

    def check(self) -> None:
        """Find all that is broken."""
        checks.check(self)

    # --- for the parts ------------------------------------------------------------------------

    def victims(self) -> list[Device]:
        return self.devices

    def everybody(self) -> Sequence[Device]:
        """Also the devices that are gone."""
        return self.devices

    def all_users(self) -> Sequence[User]:
        """Also those who are gone."""
        return self.users

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
            self.check()
            return self._outcome()
        finally:
            self.loop.close()

    async def _run(self) -> None:
        self.tally.phase = SETTING_UP
        await self._set_up()
        begin_s = self.began_s = self.loop.now_s
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
        await self.after_end()
        await self._pass_hour()
        await asyncio.sleep(LONG_QUIET_S if self.random.random() < 0.1 else QUIET_S)
        await self._look_back()

    async def _set_up(self) -> None:
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        await self.until(lambda: all(node.is_ready for node in self.nodes))
        for handle in self.handles:
            account, user = await self.register(first, handle)
            self._add_device(account, user)
            for _ in range(self.devices_of(handle) - 1):
                node = self.random.choice(self.nodes)
                further = await node.call(_logging_in(handle))
                self._add_device(further, user)
        await self.open_conversations()
        for device in self.devices:
            device.go_online()
        await self.until(lambda: all(device.live_s is not None for device in self.devices))
        await self.begin()

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
            await self.look_back(device)
            device.go_offline()

    async def look_back(self, device: Device) -> None:
        """A new device reads all that its user may."""
        user = device.user.user_id
        past = self.pasts[user] = Past(device, self.conversations_of(user))
        past.fetch()
        await self.until(past.goes_on)

    def _add_device(self, account: LoggedIn, user: User) -> Device:
        device = self._device(account, user)
        self.devices.append(device)
        return device

    def _device(self, account: LoggedIn, user: User) -> Device:
        count = sum(device.user == user for device in self.everybody()) + 1
        name = f"{user.handle}.{count}"
        random = Random(f"{self.options.seed}/{name}")  # noqa: S311 - a seed replays the run
        device_id = account.ids()[1]
        self.model.user_of[device_id] = user.user_id
        return self.new_device(name, user, device_id, account.token, random)

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
        devices = {device.device_id: device.name for device in self.everybody()}
        return Names(self.model, devices, {user.user_id: user.handle for user in self.all_users()})


def plan(
    stream: str, course: Course, weights: Mapping[bool, Mapping[StrEnum, int]], *, is_cluster: bool
) -> Plan:
    """What happens in a run. `weights`: how often people do what, where all is calm or is not."""
    random = Random(stream)  # noqa: S311 - a seed replays the run
    families = list(Family)
    random.shuffle(families)
    spans = [(CALM, course.calm_s, ()), *((family, course.family_s, (family,)) for family in families)]
    spans.append((ALL, course.all_s, tuple(families)))
    phases: list[Phase] = []
    actions: list[Action] = []
    injections: list[Injection] = []
    at_s = 0.0
    for name, length_s, wanted in spans:
        is_mixed = len(wanted) > 1
        messages = course.all_messages if is_mixed else course.family_messages
        phase = Phase(str(name), at_s, at_s + length_s, wanted)
        phases.append(phase)
        messages = messages if wanted else course.calm_messages
        actions += people.plan(random, phase.begin_s, phase.end_s, messages, weights[not wanted])
        if wanted:
            count = random.randint(*(course.all_faults if is_mixed else course.family_faults))
            injections += faults.plan(random, wanted, phase.begin_s, phase.end_s, count, alone=not is_cluster)
        at_s += length_s
    end = Phase(END, at_s, at_s + SETTLED_S + END_S, ())
    phases.append(end)
    actions += people.plan(random, end.begin_s + SETTLED_S, end.end_s, course.end_messages, weights[True])
    return Plan(phases, actions, injections)


def run(options: Options) -> Outcome:
    """Run a seed of pairs, or a part of what happens in it."""
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
