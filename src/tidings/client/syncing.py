"""Syncing: fetches the receipts and settings that came while this profile was not connected.

A side client asks once a connection, a receiving one when its inbox was empty and whenever the server
says that something may have been missed. `ready` is for those who ask a client that has just been opened
what there is: they get what the server knew by then, or what the profile has if it cannot be reached.

spec §6.7
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable

from tidings.client import receipts, settings
from tidings.client.connection import Connection
from tidings.client.conversations import Conversations
from tidings.client.errors import Refused
from tidings.client.surroundings import Clock
from tidings.client.tables import SYNCED_AT
from tidings.client.transcript import Self
from tidings.client.vault import Vault
from tidings.protocol.frames import Frame, Sync, Synced

READY_S = 5.0
"""how long `ready` waits at most"""


class Syncing:
    """See the module's text."""

    def __init__(
        self, vault: Vault, conversations: Conversations, me: Self, clock: Clock, changed: Callable[[], None]
    ) -> None:
        """`changed` is called when something was stored."""
        self._vault = vault
        self._conversations = conversations
        self._me = me
        self._clock = clock
        self._changed = changed
        self._is_ready = asyncio.Event()

    async def run(self, connection: Connection) -> None:
        """What a side client does with a connection."""
        with contextlib.suppress(Refused):
            await self.sync(connection)
        self.settled()
        # A work of the link that returned would be taken for one that is done with.
        await asyncio.Event().wait()

    async def sync(self, connection: Connection) -> None:
        """Fetch what was missed. Raises Refused, ConnectionLost."""
        since = await self._vault.read(_synced_at)
        while True:
            synced = await connection.ask_patiently(_asking(since), self._clock)
            assert isinstance(synced, Synced)
            await self._conversations.timed(synced.settings, connection, self._clock)
            await self._vault.write(_applying(synced, self._me, since))
            self._changed()
            if not synced.more:
                return
            since = synced.at_ms

    def settled(self) -> None:
        """All that can be known for now is known: who waits in `ready` goes on."""
        self._is_ready.set()

    async def ready(self) -> None:
        """Wait, for a moment at most, until a client that was just opened knows what the server knows."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                await self._is_ready.wait()


def _synced_at(database: sqlite3.Connection) -> int:
    return receipts.mark(database, SYNCED_AT) or 0


def _asking(since: int) -> Callable[[int], Frame]:
    return lambda request_id: Sync(request_id, since)


def _applying(synced: Synced, me: Self, since: int) -> Callable[[sqlite3.Connection], None]:
    def apply(database: sqlite3.Connection) -> None:
        receipts.apply_synced(database, synced, me.user_id, since)
        settings.apply(database, synced.settings)

    return apply
