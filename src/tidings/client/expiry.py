"""Expiry: erases what has had its time, on this device as the server does on its own.

spec §6.3
"""

import asyncio
from collections.abc import Callable

from tidings.client import transcript
from tidings.client.server_time import ServerTime
from tidings.client.surroundings import Clock, wait
from tidings.client.vault import Vault

PAUSE_S_MAX = 3600.0
"""the clock may be set, and a machine may sleep"""


class Expiry:
    """See the module's text."""

    def __init__(self, vault: Vault, clock: Clock, time: ServerTime, changed: Callable[[], None]) -> None:
        """`changed` is called when something was erased."""
        self._vault = vault
        self._clock = clock
        self._time = time
        self._changed = changed
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There may be something that ends earlier than what was known."""
        self._wake.set()

    async def run(self) -> None:
        """Erase in time, for ever. Raises StorageFailed."""
        while True:
            self._wake.clear()
            moment = await self._vault.read(transcript.next_expiry_ms)
            if moment is None:
                await self._wake.wait()
                continue
            now_ms = self._time.surely_ms()
            if moment > now_ms:
                await wait(self._clock, self._wake, min((moment - now_ms) / 1000, PAUSE_S_MAX))
                continue
            await self._vault.write(lambda database: transcript.expire(database, now_ms))  # noqa: B023
            self._changed()
