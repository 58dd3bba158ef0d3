"""The receiver: stores what arrives, then acknowledges it; asks for what was missed.

Frames that came together go into one transaction and get one Ack. Before a message of a
conversation is stored that the profile does not know, the server is asked who is in it, so that
what is stored can be shown without the server. Once the inbox was empty, the receipts and settings
that were missed are asked for (`Sync`), and what only the history still has (`Filling`).

spec §6.4, §6.7
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from tidings.client import inbox
from tidings.client.connection import Arrival, Connection, refused
from tidings.client.conversations import Conversations
from tidings.client.errors import ConnectionLost, Refused
from tidings.client.events import CaughtUpEvent, GapEvent
from tidings.client.filling import Filling
from tidings.client.stream import Stream
from tidings.client.surroundings import Clock
from tidings.client.syncing import Syncing
from tidings.client.transcript import Self
from tidings.client.vault import Vault
from tidings.protocol.frames import Ack, Changed, Deliver, Drained, Error, InboxExpired, Stale
from tidings.protocol.ids import unix_ms

log = logging.getLogger("tidings.client")


class Receiver:
    """See the module's text."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        stream: Stream,
        syncing: Syncing,
        filling: Filling,
        me: Self,
        clock: Clock,
    ) -> None:
        self._vault = vault
        self._conversations = conversations
        self._stream = stream
        self._syncing = syncing
        self._filling = filling
        self._me = me
        self._clock = clock

    async def run(self, connection: Connection) -> None:
        """Receive over a connection until it is lost."""
        stored = 0
        beside: set[asyncio.Task[None]] = set()

        async def acknowledge_again(pause_s: float) -> None:
            await self._clock.sleep(pause_s)
            connection.post(Ack(stored))

        def refused_unnamed(error: Error) -> None:
            pause_s = refused(error).retry_after_s
            if pause_s is not None:
                # It may have been an Ack; without it the server would wait for ever.
                beside.add(asyncio.ensure_future(acknowledge_again(pause_s)))

        connection.refused_unnamed = refused_unnamed
        try:
            while True:
                arrived = await connection.arrivals()
                await self._store(connection, arrived)
                connection.stored(len(arrived))
                delivered = sum(isinstance(frame, Deliver) for frame in arrived)
                if delivered:
                    stored += delivered
                    connection.post(Ack(stored))
                for task in self._follow_up(connection, arrived):
                    beside.add(task)
                for task in [task for task in beside if task.done()]:
                    beside.remove(task)
                    task.result()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def _follow_up(self, connection: Connection, arrived: Sequence[Arrival]) -> list["asyncio.Task[None]"]:
        """What has to be asked for, now that the frames are stored."""
        tasks = []
        for frame in arrived:
            if isinstance(frame, InboxExpired):
                self._stream.note(GapEvent(unix_ms(frame.since)))
        if any(isinstance(frame, Drained) for frame in arrived):
            self._stream.note(CaughtUpEvent())
            tasks.append(asyncio.ensure_future(self._catch_up(connection)))
        elif any(isinstance(frame, Stale) for frame in arrived):
            tasks.append(asyncio.ensure_future(self._sync(connection)))
        return tasks

    async def _store(self, connection: Connection, arrived: Sequence[Arrival]) -> None:
        for frame in arrived:
            if isinstance(frame, Deliver):
                await self._conversations.met(frame.message.conversation_id, connection, self._clock)
            elif isinstance(frame, Changed):
                await self._conversations.timed(frame.settings, connection, self._clock)
        newest = await self._vault.write(lambda database: inbox.store(database, arrived, self._me))
        self._stream.stored(newest)

    async def _catch_up(self, connection: Connection) -> None:
        try:
            await self._syncing.sync(connection)
            await self._filling.fill(connection)
        except ConnectionLost:
            return
        except Refused as refusal:
            log.warning("what was missed could not be fetched: %s", refusal.reason)
        self._syncing.settled()

    async def _sync(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionLost, Refused):
            await self._syncing.sync(connection)
