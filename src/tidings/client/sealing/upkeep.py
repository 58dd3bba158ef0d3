"""Upkeep: what others need to write to this device is kept in supply on the server, while connected.

It is looked at with each connection, when the account's devices have changed, and each hour; a device that
stays connected for weeks renews its prekeys, too. What fails is tried again.

spec §6.16
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random

from tidings.client.backoff import Backoff
from tidings.client.connection import Answer, Connection
from tidings.client.errors import Refused, Unreachable
from tidings.client.sealing.linking import Linking
from tidings.client.sealing.publishing import Publishing
from tidings.client.surroundings import Clock, wait
from tidings.protocol.frames import Frame

LOOK_S = 3600.0
"""how often to look at what the server has"""

log = logging.getLogger("tidings.client")


class Upkeep:
    """See the module's text."""

    def __init__(
        self,
        publishing: Publishing,
        linking: Linking,
        sync: Callable[[Connection], Awaitable[None]],
        tried: Callable[[], None],
        clock: Clock,
        random: Random,
    ) -> None:
        """`sync` asks for settings once more; `tried` is called when more may be sealed than before."""
        self._publishing = publishing
        self._linking = linking
        self._sync = sync
        self._tried = tried
        self._clock = clock
        self._random = random
        self._changed = asyncio.Event()
        self._is_asking_again = False
        """whether settings can be opened that could not be: they are to be asked for once more"""

    def devices_changed(self) -> None:
        """There may be another list of the account, or an answer for this device."""
        self._changed.set()

    def got_identity(self) -> None:
        """This device got the user's identity."""
        self._is_asking_again = True
        self._changed.set()

    async def run(self, connection: Connection) -> None:
        """Keep what is there in supply, over a connection until it is lost."""
        backoff = Backoff(self._random)
        while True:
            self._changed.clear()
            pause_s = LOOK_S
            try:
                await self._look(connection)
                backoff = Backoff(self._random)
            except (Refused, Unreachable) as error:
                log.warning("this device's keys could not be published: %s", error)
                pause_s = _pause_s(error, backoff)
            self._publishing.tried()
            self._tried()
            await wait(self._clock, self._changed, pause_s)

    async def _look(self, connection: Connection) -> None:
        async def ask(make: Callable[[int], Frame]) -> Answer:
            return await connection.ask_patiently(make, self._clock)

        state = await self._publishing.publish(ask)
        await self._linking.finish()
        await self._linking.collect(ask, state)
        if self._is_asking_again:
            self._is_asking_again = False
            await self._sync(connection)


def _pause_s(error: Refused | Unreachable, backoff: Backoff) -> float:
    """How long to wait after a failure; what was refused for good is looked at with the rest."""
    if isinstance(error, Refused):
        return LOOK_S if error.retry_after_s is None else error.retry_after_s
    return backoff.next_s()
