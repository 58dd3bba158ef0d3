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
import sqlite3
from collections.abc import Callable, Sequence
from random import Random

from tidings.client import inbox
from tidings.client.connection import Arrival, Connection, refused
from tidings.client.conversations import Conversations
from tidings.client.errors import ConnectionLost, Refused
from tidings.client.events import CaughtUpEvent, GapEvent
from tidings.client.filling import Filling
from tidings.client.grouping import Grouping
from tidings.client.outbox import Posting
from tidings.client.sealing import chains, group_asking, lists, rosters
from tidings.client.sealing.opener import is_of_other_identity, needs_list
from tidings.client.sealing.supplies import Supplies
from tidings.client.server_time import ServerTime
from tidings.client.stream import Stream
from tidings.client.surroundings import Clock
from tidings.client.syncing import Syncing
from tidings.client.transcript import Self
from tidings.client.vault import Job, Vault
from tidings.protocol.frames import (
    Ack,
    Changed,
    Deliver,
    Drained,
    Error,
    InboxExpired,
    Message,
    Scheme,
    SettingKind,
    Stale,
)
from tidings.protocol.ids import ConversationId, UserId, unix_ms

ASK_S = 5.0
"""how often to look whether a sender key is overdue, while one is awaited"""
GAPS_S = 60.0
"""how often to look whether something is overdue that a sender has counted"""

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
        grouping: Grouping,
        supplies: Supplies,
        posting: Posting,
        me: Self,
        clock: Clock,
        time: ServerTime,
        posted: Callable[[], None],
        devices_changed: Callable[[], None],
        random: Random,
    ) -> None:
        """`posted` is called when something may have been put into the outbox."""
        self._vault = vault
        self._conversations = conversations
        self._stream = stream
        self._syncing = syncing
        self._filling = filling
        self._grouping = grouping
        self._supplies = supplies
        self._posting = posting
        self._me = me
        self._clock = clock
        self._time = time
        self._posted = posted
        self._devices_changed = devices_changed
        self._random = random
        self._has_arrived = asyncio.Event()

    async def run(self, connection: Connection) -> None:
        """Receive over a connection until it is lost."""
        stored = 0
        beside: set[asyncio.Task[None]] = set()
        is_watching = False

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
                beside.update(self._follow_up(connection, arrived))
                if not is_watching and _is_any_drained(arrived):
                    # A server may say so again and again: those that look go on as long as the connection.
                    is_watching = True
                    beside.add(asyncio.ensure_future(self._look_for_gaps()))
                    beside.add(asyncio.ensure_future(self._ask_for_keys()))
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
        if _is_any_drained(arrived):
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
        await self._grouping.prepare(connection, [frame for frame in arrived if isinstance(frame, Deliver)])
        await self._get_to_know(connection, arrived)
        await self._know_speakers(connection, arrived)
        now_ms = self._time.now_ms()
        newest = await self._vault.write(
            lambda database: inbox.store(database, arrived, self._me, self._posting, now_ms)
        )
        self._stream.stored(newest)
        self._posted()
        self._has_arrived.set()
        changed = [setting for frame in arrived if isinstance(frame, Changed) for setting in frame.settings]
        if any((setting.kind, setting.key) == (SettingKind.ACCOUNT, "devices") for setting in changed):
            self._devices_changed()

    async def _get_to_know(self, connection: Connection, arrived: Sequence[Arrival]) -> None:
        """Ask for the lists of senders whose device, or identity, is not known yet. Raises ConnectionLost."""
        delivered = [frame for frame in arrived if isinstance(frame, Deliver)]
        if all(frame.message.scheme == Scheme.PLAIN for frame in delivered):
            return
        unknown = await self._vault.read(lambda database: self._unknown(database, delivered))
        if unknown:
            with contextlib.suppress(Refused):
                await self._supplies.lists(unknown, lambda make: connection.ask_patiently(make, self._clock))

    async def _know_speakers(self, connection: Connection, arrived: Sequence[Arrival]) -> None:
        """Ask who is in a group in which somebody writes who is not in it here. Raises ConnectionLost."""
        sealed = [
            frame.message
            for frame in arrived
            if isinstance(frame, Deliver) and frame.message.scheme == Scheme.SENDER_KEY
        ]
        if not sealed:
            return
        for conversation_id in sorted(await self._vault.read(lambda database: _strange(database, sealed))):
            await self._grouping.ask_anew(connection, conversation_id)

    def _unknown(self, database: sqlite3.Connection, delivered: Sequence[Deliver]) -> set[UserId]:
        """Whose lists are to be asked for: what comes may be by newer ones, one's own among them."""
        unknown = set()
        if lists.known(database, self._me.user_id) is None:
            # It was published just now; somebody else was told of it sooner than this device.
            unknown.add(self._me.user_id)
        for frame in delivered:
            message = frame.message
            if needs_list(database, message):
                unknown.add(message.sender_id)
            elif is_of_other_identity(database, inbox.sealing(self._me), message, frame.envelope):
                unknown |= {message.sender_id, self._me.user_id}
        return unknown

    async def _catch_up(self, connection: Connection) -> None:
        try:
            await self._syncing.sync(connection)
            await self._fill(connection)
            await self._grouping.catch_up(connection)
        except ConnectionLost:
            return
        except Refused as refusal:
            log.warning("what was missed could not be fetched: %s", refusal.reason)
        self._syncing.settled()

    async def _look_for_gaps(self) -> None:
        """While the connection lasts, have the user told of what was sent and has not come."""
        while True:
            await self._clock.sleep(GAPS_S)
            await self._vault.write(self._report_gaps, durable=False)
            self._stream.wake()

    async def _ask_for_keys(self) -> None:
        """While the connection lasts, ask for sender keys that do not come. The inbox was read before."""
        jitter_ms = self._random.randrange(group_asking.JITTER_MS)
        while True:
            self._has_arrived.clear()
            is_any_awaited = await self._vault.write(self._asking(jitter_ms))
            self._posted()
            if is_any_awaited:
                await self._clock.sleep(ASK_S)
            else:
                await self._has_arrived.wait()

    def _asking(self, jitter_ms: int) -> Job[bool]:
        now_ms = self._time.now_ms()
        return lambda database: inbox.ask_for_keys(database, self._me, self._posting, now_ms, jitter_ms)

    def _report_gaps(self, database: sqlite3.Connection) -> None:
        chains.report(database, self._time.now_ms())

    async def _sync(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionLost, Refused):
            await self._syncing.sync(connection)
            await self._fill(connection)  # what was on its way when that was done first

    async def _fill(self, connection: Connection) -> None:
        await self._filling.fill(connection)
        self._has_arrived.set()  # keys of what was read there may be missing


def _is_any_drained(arrived: Sequence[Arrival]) -> bool:
    return any(isinstance(frame, Drained) for frame in arrived)


def _strange(database: sqlite3.Connection, messages: Sequence[Message]) -> set[ConversationId]:
    """The groups in which somebody writes who is not in them, as far as is known."""
    return {
        one.conversation_id
        for one in messages
        if not rosters.may_speak(database, one.conversation_id, one.sender_id, one.message_id)
    }
