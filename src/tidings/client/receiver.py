"""The receiver: stores what arrives, then acknowledges it; asks for receipts that were missed.

Frames that came together go into one transaction and get one Ack. Before a message of a
conversation is stored that the profile does not know, the server is asked who is in it, so that
what is stored can be shown without the server.

spec §6.4, §6.7
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence

from tidings.client import inbox, receipts
from tidings.client.connection import Arrival, Connection, refused
from tidings.client.conversations import Conversations
from tidings.client.errors import ConnectionLost, Refused
from tidings.client.events import CaughtUpEvent
from tidings.client.inbox import Self
from tidings.client.stream import Stream
from tidings.client.surroundings import Clock
from tidings.client.tables import SYNCED_AT
from tidings.client.vault import Vault
from tidings.protocol.frames import Ack, Deliver, Drained, Error, Frame, Sync, Synced
from tidings.protocol.ids import ConversationId


class Receiver:
    """See the module's text."""

    def __init__(
        self, vault: Vault, conversations: Conversations, stream: Stream, me: Self, clock: Clock
    ) -> None:
        self._vault = vault
        self._conversations = conversations
        self._stream = stream
        self._me = me
        self._clock = clock

    async def run(self, connection: Connection) -> None:
        """Receive over a connection until it is lost."""
        stored = 0
        repeats: set[asyncio.Task[None]] = set()

        async def acknowledge_again(pause_s: float) -> None:
            await self._clock.sleep(pause_s)
            connection.post(Ack(stored))

        def refused_unnamed(error: Error) -> None:
            pause_s = refused(error).retry_after_s
            if pause_s is not None:
                # It may have been an Ack; without it the server would wait for ever.
                repeats.add(asyncio.ensure_future(acknowledge_again(pause_s)))

        connection.refused_unnamed = refused_unnamed
        try:
            while True:
                arrived = await connection.arrivals()
                await self._store(connection, arrived)
                delivered = sum(isinstance(frame, Deliver) for frame in arrived)
                if delivered:
                    stored += delivered
                    connection.post(Ack(stored))
                if any(isinstance(frame, Drained) for frame in arrived):
                    self._stream.note(CaughtUpEvent())
                    repeats.add(asyncio.ensure_future(self._sync(connection)))
                for task in [task for task in repeats if task.done()]:
                    repeats.remove(task)
                    task.result()
        finally:
            for task in repeats:
                task.cancel()
            await asyncio.gather(*repeats, return_exceptions=True)

    async def _store(self, connection: Connection, arrived: Sequence[Arrival]) -> None:
        for frame in arrived:
            if isinstance(frame, Deliver):
                await self._get_to_know(connection, frame.message.conversation_id)
        now_ms = self._clock.wall_ms()
        newest = await self._vault.write(lambda database: inbox.store(database, arrived, self._me, now_ms))
        self._stream.stored(newest)

    async def _get_to_know(self, connection: Connection, conversation_id: ConversationId) -> None:
        while True:
            try:
                await self._conversations.described(conversation_id, connection.ask)
            except Refused as refusal:
                if refusal.retry_after_s is not None:
                    await self._clock.sleep(refusal.retry_after_s)
                    continue
                # Not a member any more: the message counts, its sender stays a number.
            return

    async def _sync(self, connection: Connection) -> None:
        """Fetch the receipts that were missed."""
        since = await self._vault.read(_synced_at)
        while True:
            try:
                synced = await connection.ask(_syncing(since))
            except ConnectionLost:
                return
            except Refused as refusal:
                if refusal.retry_after_s is None:
                    return
                await self._clock.sleep(refusal.retry_after_s)
                continue
            assert isinstance(synced, Synced)
            await self._vault.write(_applying(synced, self._me))
            self._stream.wake()
            if not synced.more:
                return
            since = synced.at_ms


def _synced_at(database: sqlite3.Connection) -> int:
    return receipts.mark(database, SYNCED_AT) or 0


def _syncing(since: int) -> Callable[[int], Frame]:
    return lambda request_id: Sync(request_id, since)


def _applying(synced: Synced, me: Self) -> Callable[[sqlite3.Connection], None]:
    return lambda database: receipts.apply_synced(database, synced, me.user_id)
