"""A device: a disk, and a program on it that lives on what the SDK tells it.

The program opens the profile, takes its state once, and lives on events. It may be killed at any moment,
or at a chosen write to its disk, and begins again on what is there. Its user's deeds run as tasks of it.
"""

import asyncio
from collections.abc import Coroutine
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

from tidings.client import Client, ClientError, SessionEnded, State, Surroundings
from tidings.client.events import Event, WarningEvent
from tidings.client.values import Message
from tidings.protocol.close import CloseCode
from tidings.protocol.ids import DeviceId
from tidings.testing.simulation.calm import Calm
from tidings.testing.simulation.device import User
from tidings.testing.simulation.links import Wire
from tidings.testing.simulation.machines import Machine, MachineClock, Process
from tidings.testing.simulation.sealed.disk import Disk
from tidings.testing.simulation.sealed.network import Network
from tidings.testing.simulation.sealed.worker import LoopWorker

if TYPE_CHECKING:
    from tidings.testing.simulation.loop import Loop
    from tidings.testing.simulation.sealed.run import Sealed

SHOWN = 10_000
"""messages of a conversation that a program keeps"""
SKEW_S = 30.0
"""by which a device's clock may be off"""
REOPEN_S = (1.0, 8.0)
"""until somebody opens the program again after another connection took over"""


class Clock(MachineClock):
    """Implements `surroundings.Clock`."""

    async def sleep(self, seconds: float) -> None:
        """Wait, by the machine's clock."""
        await asyncio.sleep(seconds)


class Device:
    """See the module's text. Implements `faults.Victim`."""

    def __init__(
        self, simulation: "Sealed", name: str, user: User, device_id: DeviceId, disk: Disk, random: Random
    ) -> None:
        self.simulation = simulation
        self.loop: Loop = simulation.loop
        self.name = name
        self.user = user
        self.device_id = device_id
        self.disk = disk
        self.copies: list[Copy] = []
        self.seized: list[bytes] = []
        """copies that nobody restores, of when its user went from a group"""
        self.calm = Calm()
        self.network = Network(simulation, random, simulation.spy.tap(self))
        self.client: Client | None = None
        self.state: State | None = None
        """what the program shows: it was loaded once, and lives on events"""
        self.is_wanted = False
        """whether the program is to run"""
        self.codes = 0
        """that it showed to be let in"""
        self.has_doubts = False
        """the user was told that there is another list of theirs, which this device did not sign"""
        self.is_out = False
        """the server does not let it in any more"""
        self.warnings: list[WarningEvent] = []
        self.restored_s: list[float] = []
        """when it was restored from an older copy"""
        self.kill_in: int | None = None
        """at the so many-th write from now"""
        self.machine = Machine(
            name, booted_s=random.uniform(10.0, 1e6), skew_s=random.uniform(-SKEW_S, SKEW_S)
        )
        self.process: Process | None = None
        self.random = random
        self._starts = 0

    # --- as a victim --------------------------------------------------------------------------

    @property
    def wire(self) -> Wire | None:
        """The connection, if the server has answered on it and it stands."""
        socket = self.network.socket
        return socket.wire if socket is not None and socket.is_welcome and not socket.is_over else None

    def interrupted(self) -> None:
        """Its connection is torn."""

    # --- its program --------------------------------------------------------------------------

    @property
    def is_online(self) -> bool:
        """Whether it runs, and has a connection as far as it knows."""
        return self.client is not None and self.wire is not None

    def note(self, what: str, *more: object) -> None:
        """Tell the transcript."""
        self.simulation.note(self.name, what, *more)

    def start(self) -> None:
        """Begin a run of the program, if none runs and the server has not sent it away."""
        self.is_wanted = True
        if self.is_out or (self.process is not None and not self.process.is_dead):
            return
        self._starts += 1
        self.process = Process(f"{self.name}.{self._starts}", self.machine, self.loop)
        self.network.is_up = True
        self.loop.spawn(self.process, self._run(self.process))

    def kill(self) -> None:
        """kill -9: nothing more happens in it, and what was not committed is gone."""
        if self.process is None or self.process.is_dead:
            return
        self.note("is killed")
        self.process.kill()
        self.client = self.state = self.kill_in = None
        if self.network.socket is not None:
            self.network.socket.vanish()
        self.disk.power_off()
        self.simulation.model.left_behind(self, self.disk.outbox())

    def stop(self) -> None:
        """It is killed, and not to run for now."""
        self.is_wanted = False
        self.kill()

    def do(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Have its program do something."""
        assert self.process is not None
        return self.loop.spawn(self.process, work)

    def copy(self) -> None:
        """Copy the profile away."""
        if self.process is not None:
            self.copies.append(Copy(self.loop.now_s, self.disk.generation, self.disk.copied()))

    def restore(self, place: float) -> bool:
        """Begin again with an older profile; whether there is one."""
        since_s = self.simulation.linking.identity_since_s(self.user)
        told = self.simulation.generation(self.device_id)
        # One that was made during the last connection is not noticed: see docs/concepts/encryption.md.
        copies = [one for one in self.copies if one.at_s > since_s and one.generation < told]
        if not copies or self.is_out:
            return False
        copy = copies[int(place * len(copies))]
        self.kill()
        self.disk.restore(copy.data)
        self.restored_s.append(self.loop.now_s)
        self.note("is restored to what it was at", f"{copy.at_s:.3f}")
        self.start()
        return True

    def worker(self) -> LoopWorker:
        """Implements `surroundings.worker`."""
        return LoopWorker(self.loop, self.random, self._writes)

    def shown(self) -> list[Message]:
        """What its program shows, in all conversations."""
        if self.state is None:
            return []
        return [one for chat in self.state.chats for one in self.state.messages(chat.peer)]

    def groups(self) -> list[User]:
        """The groups that its program shows as its user's."""
        there = set() if self.state is None else {group.peer for group in self.state.groups}
        return [group for group in self.simulation.groups if group.handle in there]

    # --- inside -----------------------------------------------------------------------------

    def _writes(self) -> bool:
        """It is about to write; whether it may: else it is killed first."""
        if self.kill_in is None:
            return True
        self.kill_in -= 1
        if self.kill_in > 0:
            return True
        self.simulation.tally.count("device: killed at a write")
        self._ends()
        return False

    def _ends(self) -> None:
        self.kill()
        self.loop.after(self.random.uniform(0.1, 5.0), self._again)

    def _again(self) -> None:
        if self.is_wanted:
            self.start()

    async def _run(self, process: Process) -> None:
        try:
            await self._live()
        except SessionEnded as ended:
            self.note("is sent away", ended.code)
            self._left(ended)
        except (ClientError, OSError) as error:
            self.simulation.broken("the program goes on", f"{self.name}: {error!r}")
        if process is self.process:
            self.kill()

    async def _live(self) -> None:
        surroundings = Surroundings(
            clock=Clock(self.loop, self.machine),
            random=self.random,
            entropy=self.random.randbytes,
            dial=self.network.dial,
            connect=self.disk.connect,
            worker=self.worker,
            stretch=stretched,
            request=self.network.request,
        )
        async with Client.open(self.disk.begin(), surroundings=surroundings) as client:
            self.state = await client.state(messages=SHOWN)
            self.client = client
            self.note("is open")
            seeing = asyncio.ensure_future(self.simulation.linking.see_to(self, client))
            try:
                async for event in client.events():
                    self._take(event)
            finally:
                seeing.cancel()

    def _take(self, event: Event) -> None:
        assert self.state is not None
        self.state.apply(event)
        self.note("hears", type(event).__name__, getattr(event, "content", b""), getattr(event, "fault", ""))
        if isinstance(event, WarningEvent):
            self.note("is warned", event)
            self.warnings.append(event)
            if event.kind == "list_forged" and event.user_id == self.user.user_id:
                self.has_doubts = True

    def _left(self, ended: SessionEnded) -> None:
        if ended.code == CloseCode.REPLACED:
            self.simulation.tally.count("device: replaced")
            self.loop.after(self.random.uniform(*REOPEN_S), self._again)
            return
        self.is_out = True


class Copy:
    """A copy of a profile."""

    def __init__(self, at_s: float, generation: int, data: bytes) -> None:
        self.at_s = at_s
        self.generation = generation
        self.data = data


def stretched(text: bytes, salt: bytes, *, passes: int, memory_kib: int, lanes: int) -> bytes:  # noqa: ARG001
    """Implements `stretching.Stretch` without the work."""
    return sha256(salt + text).digest()
