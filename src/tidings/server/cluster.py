"""A node among others: its number, its clock, its place in the directory, and what it tells the rest.

```
 rules --Router--> relay --> bus -----------> the other nodes' relays --> their sessions
                     |--> directory (who is where)
 sessions --> places --> directory
 each second: beat, clock, lease, a share of the places
```

Each second it compares its wall clock with the directory's. Where they are too far apart (`clock_guard`), or
the wall clock was set since, it gives no ids and moves no cursors, and sends its devices to other nodes.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from tidings.bus.contract import Bus, BusError
from tidings.bus.counted import BEAT_S, CountedBus
from tidings.directory.contract import Directory, DirectoryError
from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import IDS_AHEAD_MS
from tidings.domain.leases import (
    Lease,
    LeaseLost,
    NumberPermit,
    Random,
    has_ended,
    incarnation,
    take,
    take_number,
)
from tidings.domain.peers import KNOWN_S, LATE_S
from tidings.protocol import ids
from tidings.protocol.errors import ProtocolError
from tidings.protocol.ids import UserId
from tidings.server.clock_guard import ClockGuard
from tidings.server.common_time import CommonTime
from tidings.server.connections import Connections
from tidings.server.places import Places
from tidings.server.relay import Relay
from tidings.server.shared_feed import Present
from tidings.server.whereabouts import Whereabouts
from tidings.store.contract import Store, StoreError
from tidings.store.schema import DEVICES, USERS

RENEW_MS = 5_000
"""What is left of a lease when it is renewed, at the latest; it is tried each second from two thirds on."""
HELD_UP_S = 2.5
"""A node whose rounds are so late was stopped, or its loop was: what its sockets hold is old."""
OLD_FRAMES_S = 10.0
"""how long it may take until that has been read"""
POLL_S = 3.0
"""Without the bus, or while a node is silent that lives, inboxes are read so often: the store is all
that reaches everybody then."""
EARLIER_S = 1.2
"""From Hello on until a repeat may be taken. Of an earlier attempt on another node some rows may be there,
and of twins the greater is shown, so that must be the one that is acknowledged: by then this node's
clock is past that of any other at the time of Hello."""
UPKEEP = "upkeep"
RECHECKED_AT_ONCE = 256
"""devices looked up in one read"""


class Shared(NamedTuple):
    """What the nodes of a system share besides the store."""

    bus: Bus
    directory: Directory
    one_machine: bool = False
    """whether all nodes go by one machine's clock"""


class Cluster:
    """See the module's text. Implements `domain.peers.Peers`. Make one with `join`."""

    are_there = True

    def __init__(
        self,
        store: Store,
        shared: Shared,
        time: CommonTime,
        clock: Clock,
        guard: ClockGuard,
        permit: NumberPermit,
        floor: int,
        connections: Connections,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._directory = shared.directory
        self.time = self._time = time
        self._wall_ms = clock.wall_ms
        self._one_machine = shared.one_machine
        self._permit = permit
        self._connections = connections
        self._loop = loop
        self._random = random
        self._log = log
        self.guard = self._guard = guard
        self.ids = IdClock(clock, permit=permit, floor=floor)
        self.node = incarnation(permit.node, permit.lease)
        """this incarnation, as it was when it joined: never used twice"""
        self.seen_ms = 0
        self.bus = CountedBus(shared.bus, self.node, loop.time, self._receive, self._may_have_lost)
        self.relay = Relay(connections, shared.directory, self.bus, self.ids, guard.doubt, loop, log)
        self.whereabouts = Whereabouts(
            connections, shared.directory, shared.bus, self.bus, loop.time, loop, log
        )
        self.places = Places(
            self.node,
            shared.directory,
            connections,
            self.relay,
            self.ids,
            self.whereabouts.announce,
            loop,
            log,
        )
        self.present = Present(clock.wall_ms, loop.time, self._guard.is_right)
        shared.directory.on_loss(self._directory_lost)
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat_s = loop.time()
        self._polled_s = 0.0
        self._old_until_s = 0.0
        self._was_right = guard.agreed
        self._in_doubt = False
        """whether somebody may have been signed out without this node knowing"""
        self._recheck: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        """at nodes that fell silent"""
        self._renewal_fails = False
        self._upkeep: Lease | None = None

    @classmethod
    async def join(
        cls,
        store: Store,
        shared: Shared,
        clock: Clock,
        newest: int,
        connections: Connections,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        log: FilteringBoundLogger,
    ) -> "Cluster":
        """Take a number and be there for the others.

        `newest`: no id that was given before is greater. Raises StoreError, DirectoryError, BusError,
        LeaseLost.
        """
        time = CommonTime(shared.directory, store)
        now_ms = await time.time_ms(fresh=True)
        number, lease = await take_number(store, random, now_ms)
        guard = ClockGuard(clock)
        await guard.compare(time)
        permit = NumberPermit(number, lease, guard.is_right)
        # Only where all clocks went back since the last run: what lives is ahead by that much.
        floor = max(0, newest - (IDS_AHEAD_MS << ids.TIME_SHIFT))
        cluster = cls(store, shared, time, clock, guard, permit, floor, connections, loop, random, log)
        await cluster.bus.open()
        return cluster

    def start(self) -> None:
        """Begin the rounds."""
        self._begin(self._beats())
        self._begin(self._rounds())

    async def stop(self) -> None:
        """Leave: what waits to be passed on, places, bus, leases."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.relay.close()
        await self.places.close()
        try:
            await self.bus.close()
            if self._upkeep is not None:
                await self._upkeep.give_back(0)
            await self._permit.lease.give_back(ids.unix_ms(self.ids.last))
        except (BusError, StoreError, LeaseLost) as error:
            self._log.warning("the node's number stays taken for a while", reason=str(error))

    # --- for the rules (Peers) --------------------------------------------------------------

    async def know(self) -> None:
        await asyncio.sleep(KNOWN_S)

    async def is_late(self, since_ms: int) -> bool:
        now_ms = self.seen_ms = await self._time.time_ms()
        if self._guard.is_behind(now_ms):
            # It was paused, and does not know yet.
            return True
        return now_ms - since_ms > LATE_S * 1000

    @property
    def was_held_up(self) -> bool:
        now_s = self._loop.time()
        if now_s - self._beat_s > HELD_UP_S:
            self._old_until_s = now_s + OLD_FRAMES_S
        return now_s < self._old_until_s

    # --- for sessions, upkeep and operators -------------------------------------------------

    @property
    def takes_part(self) -> bool:
        """Whether messages can be accepted here: else devices are better off with another node."""
        if self._renewal_fails:
            return False  # the store is away, which may otherwise show in writes only, and nobody may write
        try:
            self._permit.check(self._wall_ms())
        except ProtocolError:
            return False
        return True

    async def online(self, users: Sequence[UserId]) -> set[UserId]:
        """Which of these users receive on any node, as far as the directory can be asked."""
        here = {user for user in users if self._connections.is_online(user)}
        try:
            found = await self._directory.look_up(users)
        except DirectoryError:
            return here
        return here | {user for user, places in zip(users, found, strict=True) if places}

    async def outwait_earlier(self, began_s: float) -> None:
        """A session that began at this moment of the loop's clock repeats a message."""
        if not self._one_machine:
            await asyncio.sleep(max(0.0, began_s + EARLIER_S - self._loop.time()))

    async def keeps_up(self) -> bool:
        """Whether this node is the one that does the upkeep of what all share."""
        try:
            now_ms = await self._time.time_ms()
            held = self._upkeep
            if held is None:
                # Of two rounds that ask at once one gets nothing: the other one's lease stays.
                self._upkeep = await take(self._store, self._random, UPKEEP, now_ms) or self._upkeep
            else:
                await held.renew(now_ms)
        except LeaseLost:
            if self._upkeep is held:
                self._upkeep = None
        except StoreError:
            return False
        return self._upkeep is not None

    # --- inside -----------------------------------------------------------------------------

    def _begin(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _beats(self) -> None:
        """What waits for nobody: a slow directory must not make this node look dead, or held up."""
        while True:
            await asyncio.sleep(BEAT_S)
            # Asked before the beat is noted: whether this one is late.
            _ = self.was_held_up
            self._beat_s = self._loop.time()
            try:
                if self.bus.is_cut_off:
                    self._poll()
                self.bus.beat()
                self.whereabouts.sweep()
                self._check_soon()
            except Exception as bug:
                self._log.error("a beat of the cluster failed", exc_info=bug)

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._look_at_clock()
                await self._keep_number()
                await self.places.refresh_share()
                self._look_at_silent_soon()
            except Exception as bug:
                self._log.error("a round of the cluster failed", exc_info=bug)

    async def _look_at_clock(self) -> None:
        await self._guard.compare(self._time)
        # It may also have been found wrong since the last look.
        was_right, self._was_right = self._was_right, self._guard.agreed
        if was_right and not self._was_right:
            self._log.warning("this node's clock is wrong: its devices are sent to others")
            self._connections.drain()
        elif not was_right and self._was_right:
            self._log.warning("this node's clock is right again")

    def _poll(self) -> None:
        """Look for what nobody tells, if that was not done lately."""
        now_s = self._loop.time()
        if now_s - self._polled_s >= POLL_S:
            self._polled_s = now_s
            self._may_have_lost()

    def _look_at_silent_soon(self) -> None:
        """Apart from the rounds: a store that leaves a read unanswered must not cost this node its number."""
        if self.bus.silent and self._looking is None:
            self._looking = self._begin(self._look_once())

    async def _look_once(self) -> None:
        try:
            await self._look_at_silent()
        except Exception as bug:
            self._log.error("silent nodes were not looked at", exc_info=bug)
        finally:
            self._looking = None

    async def _look_at_silent(self) -> None:
        """A node that fell silent may only be cut off from the bus.

        It goes on accepting messages, and nobody hears of them. So it is looked for them as long as the lease
        of its number holds, and once more when that has ended, and with it all that it may have accepted.
        """
        if self._one_machine or not self.bus.silent:
            return  # on one machine the way to the bus is also that to the store
        try:
            now_ms = await self._time.time_ms()
            for node, held in tuple(self.bus.silent.items()):
                if await has_ended(self._store, held, now_ms - int(LATE_S * 1000)):
                    self.bus.silent.pop(node, None)
                    self._may_have_lost()
                else:
                    self._poll()
        except StoreError:
            return  # the next round looks again

    async def _keep_number(self) -> None:
        lease = self._permit.lease
        try:
            now_ms = await self._time.time_ms()
            if lease.until_ms - now_ms > 2 * RENEW_MS:
                return
            await lease.renew(now_ms)
        except LeaseLost:
            number, lease = await take_number(self._store, self._random, now_ms)
            self._log.warning("the node's number was taken: it has another", number=number)
            self._permit.node, self._permit.lease = number, lease
            self.bus.lease = incarnation(number, lease)
            self.ids.renumbered()
        except StoreError as error:
            if not self._renewal_fails:  # a full disk may stay full for hours
                self._log.warning("the lease of the node's number was not renewed", reason=str(error))
            self._renewal_fails = True
            return
        self._renewal_fails = False

    def _receive(self, data: bytes) -> None:
        try:
            self.relay.receive(data)
        except Exception as bug:
            self._log.error("what another node published could not be used", exc_info=bug)
            self._may_have_lost()

    def _may_have_lost(self) -> None:
        """A gap: sessions read their inboxes again, clients sync, and whoever was logged out is out."""
        self._connections.may_have_lost()
        self.whereabouts.look_again()
        self._in_doubt = True
        self._check_soon()

    def _directory_lost(self) -> None:
        self._may_have_lost()
        self._begin(self.places.refresh(0, 1))

    def _check_soon(self) -> None:
        if self._in_doubt and self._recheck is None:
            self._recheck = self._begin(self._check_devices())

    async def _check_devices(self) -> None:
        """That somebody was signed out may be what was lost. What fails is tried again with the next beat."""
        try:
            while self._in_doubt:
                self._in_doubt = False
                await self._expel_signed_out()
        except StoreError as error:
            self._in_doubt = True
            self._log.warning("devices were not checked", reason=str(error))
        finally:
            self._recheck = None

    async def _expel_signed_out(self) -> None:
        self._connections.doubt()
        keys = self._connections.devices()
        for first in range(0, len(keys), RECHECKED_AT_ONCE):
            some = keys[first : first + RECHECKED_AT_ONCE]
            devices = await self._store.get_many(DEVICES, some)
            users = await self._store.get_many(USERS, [(user,) for user, _ in some])
            for (user, device), row, account in zip(some, devices, users, strict=True):
                if row is None or account is None or account.suspended_at:
                    self._connections.expel(user, device)
            await asyncio.sleep(0)
