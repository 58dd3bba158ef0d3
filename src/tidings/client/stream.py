"""The stream: what `Client.events()` yields, from what is stored.

Messages, and what changed them, come in the order in which they were stored and count as consumed once
the program asks for the next event; receipts, reads and settings are the difference between what is
known and what was told. All of it survives a kill at any moment. What no table holds (connections,
presence, typing) is told in its place among the messages and is forgotten with the process.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

from tidings.client import failures, inbox, known_groups, receipts, settings, tallies
from tidings.client.errors import ClientClosed, ClientError
from tidings.client.events import (
    CaughtUpEvent,
    ConnectionEvent,
    Event,
    FailedEvent,
    GapEvent,
    GroupEvent,
    PresenceEvent,
    ReadEvent,
    ReceiptEvent,
    TallyEvent,
    TypingEvent,
    WarningEvent,
)
from tidings.client.inbox import Waiting
from tidings.client.sealing import warnings
from tidings.client.sealing.warnings import Warning
from tidings.client.surroundings import Clock
from tidings.client.transcript import Self
from tidings.client.vault import Vault

BATCH = 64
"""messages read from the vault at once"""
NOTES_MAX = 1000
"""passing events kept for a program that does not ask; older ones are dropped"""

Passing = ConnectionEvent | CaughtUpEvent | GapEvent | PresenceEvent | TypingEvent


class _Note(NamedTuple):
    event: Passing
    after_seq: int
    """of the newest message that was stored before it"""


class Stream:
    """See the module's text."""

    def __init__(
        self, vault: Vault, me: Self, newest_seq: int, came: Callable[[], None], clock: Clock
    ) -> None:
        """`came` is called when messages were stored."""
        self._vault = vault
        self._came = came
        self._me = me
        self._clock = clock
        self._newest_seq = newest_seq
        self._notes: deque[_Note] = deque(maxlen=NOTES_MAX)
        self._wake = asyncio.Event()
        self._is_closed = False
        self._failure: Exception | None = None
        self._is_read = False

    def note(self, event: Passing) -> None:
        """Something that no table holds."""
        self._notes.append(_Note(event, self._newest_seq))
        self._wake.set()

    def stored(self, newest_seq: int) -> None:
        """Messages or receipts were stored."""
        self._newest_seq = max(self._newest_seq, newest_seq)
        self._wake.set()
        self._came()

    def wake(self) -> None:
        """Something may have changed in the vault."""
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """Nothing more will come; whoever reads gets what is stored, then this error."""
        self._failure = self._failure or error
        self._wake.set()

    def close(self) -> None:
        """The client is closed: the stream ends."""
        self._is_closed = True
        self._wake.set()

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield events for ever; ends when the client is closed. Raises what the link ended with."""
        if self._is_read:
            raise ClientError("cannot read events twice at once", "use one loop over events()")
        self._is_read = True
        try:
            while not self._is_closed:
                self._wake.clear()
                async with contextlib.aclosing(self._available()) as available:
                    async for event in available:
                        # What was asked for the next of counts as handled, if the vault still takes that.
                        if self._is_closed:
                            return
                        yield event
                if self._wake.is_set():
                    continue
                if self._failure is not None:
                    raise self._failure
                await self._wake.wait()
        except ClientClosed:
            if not self._is_closed:
                raise
        finally:
            self._is_read = False

    async def _available(self) -> AsyncGenerator[Event, None]:
        """What there is now: messages and notes in their order, then receipts, reads and settings."""
        while True:
            waiting, newest_seq = await self._vault.read(
                lambda database: inbox.waiting(database, self._me, BATCH)
            )
            if not waiting:
                break
            for one in waiting:
                for note in self._notes_before(one.seq):
                    yield note
                if one.event is not None:
                    yield one.event
                await self._consume(one)
        for note in self._notes_before(newest_seq + 1):
            yield note
        for some in (self._differences(), self._of_groups()):
            async with contextlib.aclosing(some) as differences:
                async for event in differences:
                    yield event

    async def _differences(self) -> AsyncGenerator[Event, None]:
        """What is known and was not told: receipts, reads, what failed, settings."""
        while told := await self._vault.read(receipts.untold):
            for receipt in told:
                yield receipt
                await self._tell(receipt)
        while reads := await self._vault.read(self._reads):
            for read in reads:
                yield read
                await self._tell_read(read)
        while warned := await self._vault.read(self._warnings):
            for warning, event in warned:
                yield event
                await self._tell_warning(warning)
        while failed := await self._vault.read(self._failed):
            for failure in failed:
                yield failure
                await self._tell_failed(failure)
        while changed := await self._vault.read(settings.untold):
            for setting in changed:
                if setting.event is not None:
                    yield setting.event
                await self._tell_setting(setting)

    async def _of_groups(self) -> AsyncGenerator[Event, None]:
        """The same of groups, and of what was said in them."""
        while groups := await self._vault.read(known_groups.untold):
            for row, group in groups:
                yield GroupEvent(group)
                await self._tell_group(row)
        while counted := await self._vault.read(tallies.untold):
            for tally in counted:
                yield tally
                await self._tell_tally(tally)

    def _notes_before(self, seq: int) -> list[Passing]:
        notes = []
        while self._notes and self._notes[0].after_seq < seq:
            notes.append(self._notes.popleft().event)
        return notes

    async def _consume(self, one: Waiting) -> None:
        # Not fsynced: a machine that loses power may show the last messages again, never lose one.
        await self._vault.write(lambda database: inbox.consume(database, one), durable=False)

    async def _tell(self, receipt: ReceiptEvent) -> None:
        await self._vault.write(lambda database: receipts.tell(database, receipt), durable=False)

    async def _tell_group(self, row: known_groups.Row) -> None:
        await self._vault.write(lambda database: known_groups.tell(database, row), durable=False)

    async def _tell_tally(self, tally: TallyEvent) -> None:
        await self._vault.write(lambda database: tallies.tell(database, tally), durable=False)

    def _reads(self, database: sqlite3.Connection) -> list[ReadEvent]:
        return receipts.untold_reads(database, self._me.user_id)

    async def _tell_read(self, read: ReadEvent) -> None:
        await self._vault.write(
            lambda database: receipts.tell_read(database, read, self._me.user_id), durable=False
        )

    def _warnings(self, database: sqlite3.Connection) -> list[tuple[Warning, WarningEvent]]:
        return [
            (one, WarningEvent(one.kind, _handle(database, one), *one[2:]))
            for one in warnings.untold(database)
        ]

    async def _tell_warning(self, warning: Warning) -> None:
        await self._vault.write(lambda database: warnings.tell(database, warning), durable=False)

    def _failed(self, database: sqlite3.Connection) -> list[FailedEvent]:
        return failures.untold(database, self._clock.wall_ms())

    async def _tell_failed(self, failed: FailedEvent) -> None:
        await self._vault.write(lambda database: failures.tell(database, failed), durable=False)

    async def _tell_setting(self, setting: settings.Untold) -> None:
        await self._vault.write(lambda database: settings.tell(database, setting), durable=False)


def _handle(database: sqlite3.Connection, warning: Warning) -> str:
    """Whom a warning concerns; one that concerns nobody is about a group."""
    row = database.execute(
        "SELECT peer FROM conversations WHERE peer_id = ?1 AND ?1 <> 0"
        " UNION ALL SELECT handle FROM names WHERE user_id = ?1"
        " UNION ALL SELECT handle FROM people WHERE user_id = ?1"
        " UNION ALL SELECT peer FROM conversations WHERE conversation_id = ?2 AND ?1 = 0 LIMIT 1",
        (warning.user_id, warning.conversation_id),
    ).fetchone()
    return f"user {warning.user_id}" if row is None else str(row[0])
