"""One run with encryption on: a seed, four users whose devices come and go, and who come to groups and go.

```
 setting up · calm · all faults, devices come and go · settling · calm end · quiet
```

Everything random that the run's course depends on comes from the seed. Keys and nonces do not: the core makes
them, and nothing that happens depends on their values.
"""

import asyncio
import logging
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tidings.client import State
from tidings.client.errors import ClientError, Refused
from tidings.client.http import Server
from tidings.protocol.api import LoggedIn
from tidings.protocol.ids import ConversationId, DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.server.config import Config
from tidings.server.services import Services
from tidings.store.contract import Row, Table
from tidings.store.schema import GENERATIONS, MESSAGES, ROSTERS, RosterRow
from tidings.testing.simulation import faults
from tidings.testing.simulation.cluster import Broken, Cluster
from tidings.testing.simulation.device import User
from tidings.testing.simulation.faults import Family, Injection
from tidings.testing.simulation.groups.record import GOES
from tidings.testing.simulation.loop import collected_after
from tidings.testing.simulation.machines import PROCESS
from tidings.testing.simulation.nodes import Node
from tidings.testing.simulation.sealed import checks, group_checks, people, replays
from tidings.testing.simulation.sealed.attack import Loot
from tidings.testing.simulation.sealed.device import SHOWN, Device
from tidings.testing.simulation.sealed.disk import Disk
from tidings.testing.simulation.sealed.linking import Linking
from tidings.testing.simulation.sealed.model import MARK, Kind, Membership, Model, Written
from tidings.testing.simulation.sealed.network import application
from tidings.testing.simulation.sealed.people import Action, People
from tidings.testing.simulation.sealed.spy import Spy
from tidings.testing.simulation.transcript import Line

HANDLES = ("alice", "bob", "carol", "dave")
GROUPS = {"alice": ("bob", "carol"), "dave": ("alice",)}
"""who makes one, and with whom"""
NODES = 3
CALM_S = 20.0
FAULTY_S = 180.0
SETTLED_S = 120.0
END_S = 20.0
AFTER_END_S = 170.0
"""a sender key is asked for half a minute later, and up to three times"""
QUIET_S = 300.0
HOUR_S = 3600.0
WHOLE_HOUR = 0.03
"""of the runs are quiet for a whole hour"""
DEEDS = {"calm": 20, "faulty": 130, "end": 20}
FAULTS = (6, 22)
REQUESTS_LOST = 0.08
"""of the requests, while there are faults"""
SETTING_UP = "setting up"
CALM = "calm"
FAULTY = "faults"
SETTLING = "settling"
END = "calm end"
QUIET = "quiet"
PHASES = (SETTING_UP, CALM, FAULTY, SETTLING, END, QUIET)


class Plan(NamedTuple):
    """What is to happen."""

    actions: list[Action]
    injections: list[Injection]


class Options(NamedTuple):
    """What to run."""

    seed: int
    nodes: int = NODES
    keeps_transcript: bool = False


class Outcome(NamedTuple):
    """What came of it."""

    seed: int
    broken: list[Broken]
    counts: Counter[tuple[str, str]]
    messages: int
    """that were acknowledged"""
    virtual_s: float
    callbacks: int
    digest: int
    """the same for two runs of one seed"""
    lines: list[Line]

    def transcript(self) -> Iterator[str]:
        """All that happened, if that was kept."""
        for line in self.lines:
            more = " ".join(str(thing) for thing in line.more)
            yield f"{line.at_s:10.3f}  {line.who:<10} {line.what} {more}"


class Final(NamedTuple):
    """What a device shows in the end."""

    lived: State
    """by its events"""
    fresh: State
    waiting: int
    """rows of its outbox"""


class Sealed(Cluster):
    """What the parts of a run share."""

    def __init__(self, options: Options, folder: Path) -> None:
        random = Random(f"{options.seed}/sealed")  # noqa: S311 - a seed replays the run
        limits = Limits(window_entries=random.choice([3, 16, 256]))
        super().__init__(
            options.seed,
            options.nodes,
            Config(limits=limits, strangers="deliver"),
            random,
            keeps_transcript=options.keeps_transcript,
        )
        self.options = options
        self.server = Server.at("http://simulation")
        self.folder = folder
        self.model = Model()
        self.spy = Spy(self)
        self.devices: list[Device] = []
        self.linking = Linking(self)
        self.people = People(self)
        self.requests_lost = 0.0
        """of the HTTP requests, or their answers"""
        self.finals: dict[Device, Final] = {}
        self.loot: dict[tuple[Device, ConversationId], Loot] = {}
        """what was found that a device could steal"""
        self.plan = plan(options.seed, is_cluster=options.nodes > 1)
        self.groups: list[User] = []
        """as those to whom one writes"""
        self._applications: dict[str, Any] = {}

    # --- for the parts ------------------------------------------------------------------------

    def victims(self) -> list[Device]:
        return self.devices

    def was_set(self, table: Table[Any], row: Row, also: Sequence[Row]) -> None:
        """A group was changed, or something else was set."""
        if table is not ROSTERS:
            return
        assert isinstance(row, RosterRow)
        assert row.head is not None
        self.note("store", "group is now", row.conversation_id.hex()[-6:], row.head.change)
        self.model.stored(row, [one for one in also if isinstance(one, RosterRow)], self.loop.now_s)
        change = row.head.change
        if change is not None and change.action in GOES:
            # What who goes has at that moment is tried in the end, whatever their programs forget of it.
            for device in self.devices:
                if device.user.user_id in change.users:
                    device.seized.append(device.disk.copied())

    def application(self, node: Node, services: Services) -> Any:
        """The HTTP side of a node that runs."""
        name = node.process.name
        if name not in self._applications:
            self._applications[name] = application(node, services)
        return self._applications[name]

    def generation(self, device: DeviceId) -> int:
        """The greatest that the server has heard of a device's profile."""
        return max((row.generation for row in self.scan(GENERATIONS) if row.device_id == device), default=0)

    def add_device(self, user: User, account: LoggedIn) -> Device:
        """A device that has just logged in."""
        name = f"{user.handle}.{sum(device.user == user for device in self.devices) + 1}"
        random = Random(f"{self.options.seed}/{name}")  # noqa: S311 - a seed replays the run
        folder = self.folder / name
        folder.mkdir()
        disk = Disk.new(folder, self.server, account)
        device = Device(self, name, user, account.ids()[1], disk, random)
        self.devices.append(device)
        self.model.memberships[device] = Membership(self.loop.now_s)
        return device

    def refused(self, written: Written, refusal: Refused) -> None:
        """The server, or the SDK, will not have something."""
        self.tally.count(f"people: refused ({refusal.name})")
        checks.check_refusal(self, written, refusal)

    # --- the run ------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run it, and check."""
        try:
            with _Logged(self):
                self.loop.run_until_complete(self._run())
            self.model.logged(self.scan(MESSAGES))
            checks.check(self)
            group_checks.check(self)
            replays.check(self)
            return self._outcome()
        finally:
            self.loop.close()

    async def _run(self) -> None:
        self.tally.phase = SETTING_UP
        await self._set_up()
        begin_s = self.loop.now_s
        for action in self.plan.actions:
            self.loop.at(begin_s + action.at_s, self.people.act, action)
        for injection in self.plan.injections:
            self.loop.at(begin_s + injection.at_s, self.injector.inject, injection)
        self.enter(CALM)
        await asyncio.sleep(CALM_S)
        self.enter(FAULTY)
        self.requests_lost = REQUESTS_LOST
        await asyncio.sleep(FAULTY_S)
        self.requests_lost = 0.0
        self.enter(SETTLING)
        self._come_back()
        await asyncio.sleep(SETTLED_S)
        self._insist()
        self.enter(END)
        await asyncio.sleep(END_S)
        self._come_back()
        self._insist()
        await asyncio.sleep(AFTER_END_S)
        self.enter(QUIET)
        self.spy.is_quiet = True
        await asyncio.sleep(HOUR_S if self.random.random() < WHOLE_HOUR else QUIET_S)
        self.spy.is_quiet = False
        await self._look()

    async def _set_up(self) -> None:
        for node in self.nodes:
            node.start()
        first = self.nodes[0]
        await self.until(lambda: all(node.is_ready for node in self.nodes))
        for handle in HANDLES:
            account, user = await self.register(first, handle)
            self.add_device(user, account).start()
        await self._until_linked()
        for user in self.users:
            if self.random.random() < 0.7:
                await self.linking.log_in(user)
        await self._until_linked()
        for handle, others in GROUPS.items():
            await self._found_group(handle, others)

    async def _found_group(self, handle: str, others: Sequence[str]) -> None:
        founder = next(device for device in self.devices if device.user.handle == handle)
        client = founder.client
        assert client is not None
        group = await founder.do(client.groups.create(f"{MARK}{handle}", [f"@{other}" for other in others]))
        self.groups.append(User(UserId(0), group.peer))
        theirs = [device for device in self.devices if device.user.handle in (handle, *others)]
        await self.until(lambda: all(_knows(device, group.peer) for device in theirs))

    async def _until_linked(self) -> None:
        members = self.model.memberships
        await self.until(lambda: all(members[one].linked_s is not None for one in self.devices))

    def _come_back(self) -> None:
        """Whoever was away is there from now on."""
        for device in self.devices:
            device.kill_in = None
            device.network.is_up = True
            device.start()

    def _insist(self) -> None:
        """What somebody began to take out is taken out."""
        for device, member in self.model.memberships.items():
            if member.removal_s is not None and member.removed_s is None:
                self.linking.remove(device, stolen=member.is_stolen)

    async def _look(self) -> None:
        """What each device shows."""
        for device in self.devices:
            client, lived = device.client, device.state
            if client is None or lived is None:
                continue
            try:
                fresh = await device.do(client.state(messages=SHOWN))
            except ClientError as error:
                self.broken("the program goes on", f"{device.name}: {error!r}")
                continue
            (waiting,) = device.disk.database.execute("SELECT count(*) FROM outbox").fetchone()
            self.finals[device] = Final(lived, fresh, waiting)

    def _outcome(self) -> Outcome:
        acked = [one for one in self.model.written if one.is_acked]
        counts = sorted(self.tally.counts.items())
        places = [(one.text, one.message_id) for one in acked]
        digest = zlib.crc32(repr((self.loop.callbacks, self.loop.now_s, counts, places)).encode())
        return Outcome(
            self.options.seed,
            self.found,
            self.tally.counts,
            len([one for one in acked if one.kind is Kind.MESSAGE]),
            self.loop.now_s,
            self.loop.callbacks,
            digest,
            self.transcript.lines,
        )


def _knows(device: Device, peer: str) -> bool:
    return device.state is not None and any(chat.peer == peer for chat in device.state.chats)


def plan(seed: int, *, is_cluster: bool) -> Plan:
    """What happens in the run of a seed."""
    random = Random(f"{seed}/sealed plan")  # noqa: S311 - a seed replays the run
    faulty_s, settled_s = CALM_S + FAULTY_S, CALM_S + FAULTY_S + SETTLED_S
    actions = people.plan(random, 0.0, CALM_S, DEEDS["calm"], peaceful=True)
    actions += people.plan(random, CALM_S, faulty_s, DEEDS["faulty"], peaceful=False)
    actions += people.plan(random, settled_s, settled_s + END_S, DEEDS["end"], peaceful=True)
    count = random.randint(*FAULTS)
    injections = faults.plan(random, list(Family), CALM_S, faulty_s, count, alone=not is_cluster)
    return Plan(actions, injections)


def run(options: Options) -> Outcome:
    """Run a seed."""
    with (
        collected_after(),
        tempfile.TemporaryDirectory(prefix="tidings-sealed-", dir=_fast()) as folder,
    ):
        return Sealed(options, Path(folder)).run()


def _fast() -> str | None:
    """Where nothing is written to a disk, if there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a new folder in it is used


class _Logged(logging.Handler):
    """What the SDK logs goes into the transcript."""

    def __init__(self, simulation: Sealed) -> None:
        super().__init__()
        self._simulation = simulation
        self._logger = logging.getLogger("tidings.client")

    def __enter__(self) -> None:
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    def emit(self, record: logging.LogRecord) -> None:
        who = PROCESS.get(self._simulation.loop.world).name
        self._simulation.note(who, "logs", record.getMessage())
