"""Whereabouts: whether somebody who is watched is connected to another node.

Nobody's coming and going is told to every node. Whoever is watched here has a topic of their own, to
which the nodes that they come to and leave publish; what is published only says that it is time to look.
Since it may be lost, those who are watched are looked up again each `LOOK_AGAIN_S`.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from tidings.bus.contract import Bus, BusError, Receive, Topic
from tidings.bus.counted import CountedBus
from tidings.directory.contract import Directory, DirectoryError
from tidings.protocol.ids import DeviceId, UserId
from tidings.server.connections import Connections

LOOK_AGAIN_S = 30.0
AT_ONCE = 500
"""users looked up in one request"""

CAME_OR_WENT = b"c"
SHOWS_OTHERWISE = b"s"
"""what is published of a user; it says no more, so that it may come late or twice"""


class Watched(Protocol):
    """Who wants to know (`tidings.domain.presence`)."""

    def came(self, user: UserId) -> None:
        """A user is connected."""

    def went(self, user: UserId) -> None:
        """A user is connected no more."""

    def reconsider(self, user: UserId) -> None:
        """A user may have come or gone."""

    def shows_otherwise(self, user: UserId) -> None:
        """Others may see more or less of a user."""


class Whereabouts:
    """Implements `presence.Attendees` where there are other nodes."""

    def __init__(
        self,
        connections: Connections,
        directory: Directory,
        bus: Bus,
        counted: CountedBus,
        now_s: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        log: FilteringBoundLogger,
    ) -> None:
        self._connections = connections
        self._directory = directory
        self._bus = bus
        self._counted = counted
        self._now_s = now_s
        self._loop = loop
        self._log = log
        self.watched: Watched | None = None
        """set once, when the node is wired"""
        self._followed: set[UserId] = set()
        self._elsewhere: set[UserId] = set()
        self._to_look: dict[UserId, None] = {}
        self._looker: asyncio.Task[None] | None = None
        self._unfollowing: set[asyncio.Task[None]] = set()
        """held, or they might be collected"""
        self._looked_s = now_s()

    # --- for presence -----------------------------------------------------------------------

    def is_online(self, user: UserId) -> bool:
        """Whether a session of the user receives, on any node."""
        return self._connections.is_online(user) or user in self._elsewhere

    def devices_online(self, share: int, shares: int) -> Iterable[tuple[UserId, DeviceId]]:
        """One of so many shares of the devices of this node: each node notes its own as seen."""
        return self._connections.devices_online(share, shares)

    async def follow(self, users: Iterable[UserId]) -> None:
        """Know of these users from now on. Where bus or directory fail, a little later."""
        new = [user for user in users if user not in self._followed]
        if new:
            self._followed.update(new)
            await asyncio.gather(*map(self._subscribe, new))
            await self._look(new)

    def unfollow(self, user: UserId) -> None:
        """Nobody watches this user any more."""
        self._followed.discard(user)
        self._elsewhere.discard(user)
        task = self._loop.create_task(self._unsubscribe(user))
        self._unfollowing.add(task)
        task.add_done_callback(self._unfollowing.discard)

    def shows_otherwise(self, user: UserId) -> None:
        """The user lets others see more or less."""
        self._bus.publish(_topic(user), SHOWS_OTHERWISE)

    # --- for places -------------------------------------------------------------------------

    def announce(self, users: Iterable[UserId]) -> None:
        """Users came to this node or left it."""
        for user in users:
            self._bus.publish(_topic(user), CAME_OR_WENT)

    # --- for the cluster --------------------------------------------------------------------

    def look_again(self) -> None:
        """Something may have been lost."""
        self._looked_s = self._now_s()
        for user in self._followed:
            self._look_soon(user)

    def sweep(self) -> None:
        """Called each second."""
        if self._now_s() - self._looked_s >= LOOK_AGAIN_S:
            self.look_again()

    # --- inside -----------------------------------------------------------------------------

    async def _subscribe(self, user: UserId) -> None:
        try:
            await self._bus.subscribe(_topic(user), self._taker(user))
        except BusError as error:
            self._log.warning("somebody's coming and going is told late", reason=str(error))

    async def _unsubscribe(self, user: UserId) -> None:
        # Whoever watches anew ends the watch before first.
        if user not in self._followed:
            with suppress(BusError):
                await self._bus.unsubscribe(_topic(user))

    def _taker(self, user: UserId) -> Receive:
        def take(data: bytes) -> None:
            if data == SHOWS_OTHERWISE and self.watched is not None:
                self.watched.shows_otherwise(user)
            else:
                self._look_soon(user)

        return take

    def _look_soon(self, user: UserId) -> None:
        self._to_look[user] = None
        if self._looker is None:
            self._looker = self._loop.create_task(self._look_up())

    async def _look_up(self) -> None:
        try:
            while self._to_look:
                users = list(self._to_look)[:AT_ONCE]
                for user in users:
                    del self._to_look[user]
                await self._look(users)
        finally:
            self._looker = None

    async def _look(self, users: list[UserId]) -> None:
        try:
            found = await self._directory.look_up(users)
        except DirectoryError:
            return  # the next look comes
        for user, places in zip(users, found, strict=True):
            if user not in self._followed:
                continue
            is_there = any(
                place.node != self._counted.node and not self._counted.has_died(place.node)
                for place in places
            )
            if is_there != (user in self._elsewhere):
                self._note(user, is_there=is_there)

    def _note(self, user: UserId, *, is_there: bool) -> None:
        if is_there:
            self._elsewhere.add(user)
        else:
            self._elsewhere.discard(user)
        if self.watched is not None and not self._connections.is_online(user):
            if is_there:
                self.watched.came(user)
            else:
                self.watched.went(user)


def _topic(user: UserId) -> Topic:
    return f"user:{user:x}"
