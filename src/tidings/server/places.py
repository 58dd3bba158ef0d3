"""Places: this node's sessions as they stand in the directory.

A session enters before its inbox is read, so that what comes after the read finds its way here; it is
refreshed while it lasts, and leaves. A place that the directory had forgotten is entered again, and the
session looks again for what it may have missed meanwhile.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from tidings.directory.contract import REFRESH_S, Directory, DirectoryError, Entered, Found, Place
from tidings.domain.clock import IdClock
from tidings.protocol import ids
from tidings.protocol.errors import OVERLOADED, ProtocolError
from tidings.protocol.ids import UserId
from tidings.server.connections import Connections, Receiver
from tidings.server.passing import Replaced
from tidings.server.relay import Relay

AT_ONCE = 500
"""places entered or left in one request"""
APART_MS = 2500
"""The numbers of sessions that begin at one moment are not so far apart, whatever the clocks."""
LATER_S = 0.05
"""A session that is to count waits so long for its number to be the greatest."""
LEAVING_MAX = 20_000
"""places that wait to be left; what is more times out by itself"""


class Announce(Protocol):
    """Takes note of who came to this node or left it, once the directory knows."""

    def __call__(self, users: Iterable[UserId]) -> None:
        """Must not wait."""


class Places:
    """See the module's text."""

    def __init__(
        self,
        node: int,
        directory: Directory,
        connections: Connections,
        relay: Relay,
        id_clock: IdClock,
        announce: Announce,
        loop: asyncio.AbstractEventLoop,
        log: FilteringBoundLogger,
    ) -> None:
        self._node = node
        self._directory = directory
        self._connections = connections
        self._relay = relay
        self._ids = id_clock
        self._announce = announce
        self._loop = loop
        self._log = log
        self._entering: dict[Receiver, Place] = {}
        """what is being entered: whether that is its device's latest is about to be found"""
        self._doubtful: set[Place] = set()
        """of which it is not known when they came into the directory"""
        self._leaving: list[Place] = []
        self._leaver: asyncio.Task[None] | None = None
        self._share = 0

    async def enter(self, session: Receiver, user: UserId) -> None:
        """Enter a session that is about to read its inbox. Raises ProtocolError (overloaded).

        Where the directory cannot be reached the session goes on, and is entered by a later refresh.
        """
        place = self._entering[session] = self._next(session, user)
        try:
            while True:
                entered = (await self._ask([(session, place)]))[0]
                if session.place is not place:
                    self._leave_soon(place)  # it ended while it was being entered
                    return
                if entered.found != Found.NEWER:
                    break
                # Of two sessions this one is the later, whatever the clocks of two nodes say; unless it
                # took long, and the device has gone elsewhere meanwhile.
                self._ids.observe(entered.session)
                if self._ids.last < entered.session:
                    await asyncio.sleep(LATER_S)
                if session.place is not place:
                    return
                if ids.unix_ms(entered.session) - ids.unix_ms(place.session) > APART_MS:
                    raise ProtocolError(OVERLOADED, "it took so long to enter that a later session did")
                place = self._entering[session] = self._next(session, user)
        except DirectoryError as error:
            self._log.warning("a session is not in the directory yet", reason=str(error))
            return
        finally:
            del self._entering[session]
        self._took(place, entered)

    async def confirm(self, session: Receiver) -> None:
        """See that a session is its device's latest. Raises ProtocolError (overloaded).

        What it asks for may have waited in a node that was stopped, while its device came back elsewhere,
        asked again, and others have changed it since. Where the directory does not say, the device is to
        ask again. Only for sessions that receive: others are in no directory.
        """
        place = session.place
        if place is not None and place is not self._entering.get(session):
            try:
                entered = (await self._ask([(session, place)]))[0]
            except DirectoryError:
                entered = Entered(Found.NOTHING)
            else:
                self._heed(session, place, entered)
            if entered.found == Found.OWN and session.place is place:
                return
        raise ProtocolError(OVERLOADED, "whether this session is its device's latest is not known yet")

    def left(self, session: Receiver) -> None:
        """A session is over."""
        place, session.place = session.place, None
        if place is not None:
            self._doubtful.discard(place)
            self._leave_soon(place)

    async def refresh(self, share: int, shares: int) -> None:
        """Refresh one of so many shares of the places; all of them within `REFRESH_S`."""
        users = dict.fromkeys(user for user, _ in self._connections.devices_online(share, shares))
        held = [
            (receiver, receiver.place)
            for user in users
            for receiver in self._connections.receivers(user)
            if receiver.place is not None and receiver not in self._entering
        ]
        for first in range(0, len(held), AT_ONCE):
            some = held[first : first + AT_ONCE]
            try:
                entered = await self._ask(some)
            except DirectoryError:
                return
            for (receiver, place), found in zip(some, entered, strict=True):
                self._heed(receiver, place, found)

    async def refresh_share(self) -> None:
        """Called each second: the next share of the places."""
        self._share = (self._share + 1) % REFRESH_S
        await self.refresh(self._share, REFRESH_S)

    async def close(self) -> None:
        """Wait until all that have left are out of the directory."""
        while self._leaver is not None:
            await asyncio.wait([self._leaver])

    def _heed(self, receiver: Receiver, place: Place, entered: Entered) -> None:
        was_in_doubt = place in self._doubtful
        self._doubtful.discard(place)
        if receiver.place != place:
            self._leave_soon(place)  # it had ended, maybe before this was asked
            return
        if entered.found == Found.NEWER:
            receiver.replace()
            return
        if entered.found != Found.OWN or was_in_doubt:
            # It was, or may have been, in no directory for some time: nobody could have found it.
            receiver.lose(self._connections.look_again_s())
        if entered.found != Found.OWN:
            self._took(place, entered)

    async def _ask(self, held: list[tuple[Receiver, Place]]) -> list[Entered]:
        """Enter or refresh places. Raises DirectoryError."""
        try:
            return await self._directory.enter([place for _, place in held])
        except DirectoryError:
            # It may have been done, and then they will be found where they were not before.
            self._doubtful.update(place for receiver, place in held if receiver.place is place)
            raise

    def _took(self, place: Place, entered: Entered) -> None:
        """A place is in the directory now that was not."""
        if entered.found == Found.OLDER and entered.node != self._node:
            self._relay.replace(entered.node, Replaced(place.user_id, place.device_id, place.session))
        self._announce([place.user_id])

    def _next(self, session: Receiver, user: UserId) -> Place:
        place = Place(user, session.device_id, self._ids.next(), self._node)
        session.place = place
        return place

    def _leave_soon(self, place: Place) -> None:
        if len(self._leaving) < LEAVING_MAX:
            self._leaving.append(place)
            if self._leaver is None:
                self._leaver = self._loop.create_task(self._leave())

    async def _leave(self) -> None:
        try:
            while self._leaving:
                leaving, self._leaving = self._leaving[:AT_ONCE], self._leaving[AT_ONCE:]
                try:
                    await self._directory.leave(leaving)
                except DirectoryError:
                    continue  # it times out by itself
                self._announce(dict.fromkeys(place.user_id for place in leaving))
        finally:
            self._leaver = None
