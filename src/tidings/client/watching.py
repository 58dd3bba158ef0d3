"""Watching: the session's list of those whose presence is told, over all of its connections.

It is named again after each reconnect; in between nothing is known, and nothing is stored.

spec §6.15
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from tidings.client.connection import Connection
from tidings.client.conversations import Ask
from tidings.client.errors import ClientClosed, ClientError, Refused
from tidings.client.events import PresenceEvent
from tidings.client.surroundings import Clock
from tidings.client.values import Presence
from tidings.protocol import frames
from tidings.protocol.frames import Presences, Watch
from tidings.protocol.ids import UserId

CHANGES_MAX = 1000
"""changes kept for a loop over `changes()` that does not ask; older ones are dropped"""


class Watching:
    """See the module's text."""

    def __init__(self, ask: Ask, clock: Clock, note: Callable[[PresenceEvent], None]) -> None:
        self._ask = ask
        self._clock = clock
        self._note = note
        self._watched: dict[UserId, str] = {}
        """handles by user_id"""
        self._now: dict[UserId, frames.Presence] = {}
        self._turn = asyncio.Lock()
        """one list at a time is named to the server, and the last one holds"""
        self._in_doubt = asyncio.Event()
        """whether the server may have been named another list than holds here"""
        self._changes: deque[PresenceEvent] = deque(maxlen=CHANGES_MAX)
        self._has_changed = asyncio.Event()
        self._is_looped = False
        self._failure: Exception | None = None

    async def watch(self, watched: dict[UserId, str]) -> list[Presence]:
        """Watch these instead of those before; returns how they are. Raises Refused: then nothing changes."""
        async with self._turn:
            before = self._watched, self._now
            # In force before the answer is looked at: a change may follow right behind it.
            self._watched, self._now = watched, {}
            try:
                answer = await self._ask(lambda request_id: Watch(request_id, list(watched)))
            except BaseException:
                self._watched, self._now = before
                self._in_doubt.set()
                raise
            assert isinstance(answer, Presences)
            self._now = {one.user_id: one for one in answer.items} | self._now
            return [self._presence(user_id) for user_id in watched]

    async def changes(self) -> AsyncGenerator[PresenceEvent, None]:
        """As `OwnPresence.changes`."""
        if self._is_looped:
            raise ClientError("cannot read presence twice at once", "use one loop over changes()")
        self._is_looped = True
        try:
            while True:
                while self._changes:
                    yield self._changes.popleft()
                if isinstance(self._failure, ClientClosed):
                    return
                if self._failure is not None:
                    raise self._failure
                self._has_changed.clear()
                await self._has_changed.wait()
        finally:
            self._is_looped = False

    async def run(self, connection: Connection) -> None:
        """Name those who are watched again on a new connection."""
        while True:
            is_in_doubt = self._in_doubt.is_set()
            self._in_doubt.clear()
            # While `watch` waits for its answer it asks each connection itself.
            if (self._watched or is_in_doubt) and not self._turn.locked():
                await self._name(connection)
            # (A work of the link that returned would be taken for one that is done with.)
            await self._in_doubt.wait()

    def passed(self, presence: frames.Presence) -> None:
        """The server told how somebody is."""
        known = self._now.get(presence.user_id)
        if presence.user_id not in self._watched or known == presence:
            return
        self._now[presence.user_id] = presence
        if known is not None and _looks(known) == _looks(presence):
            return
        now = self._presence(presence.user_id)
        event = PresenceEvent(now.user_id, now.handle, now.online, now.last_seen)
        self._changes.append(event)
        self._has_changed.set()
        self._note(event)

    def fail(self, error: Exception) -> None:
        """Nothing more will be told."""
        self._failure = error
        self._has_changed.set()

    async def _name(self, connection: Connection) -> None:
        with suppress(Refused):
            answer = await connection.ask_patiently(
                lambda request_id: Watch(request_id, list(self._watched)), self._clock
            )
            assert isinstance(answer, Presences)
            for one in answer.items:
                self.passed(one)

    def _presence(self, user_id: UserId) -> Presence:
        now = self._now.get(user_id)
        online, last_seen = (False, None) if now is None else (now.online, now.last_seen_ms)
        return Presence(user_id, self._watched[user_id], online, last_seen)


def _looks(presence: frames.Presence) -> tuple[bool, bool]:
    """What counts as a change: whether somebody is there, and whether they show when they were."""
    return presence.online, presence.online or presence.last_seen_ms is not None
