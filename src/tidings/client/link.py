"""The link: keeps a connection to the server, for as long as the server lets it come back.

```
 down --dial, Hello--> up --lost--> down …          --closed for good--> ended
```

While it is up, the works (the outbox, the receiver, …) run beside it; they end with it and are
begun anew on the next one. A work that fails for another reason than the connection ends the link.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from tidings.client.backoff import Backoff
from tidings.client.connection import Answer, Connection
from tidings.client.errors import ConnectionLost, Refused, SessionEnded
from tidings.client.events import ConnectionEvent
from tidings.client.surroundings import Surroundings
from tidings.protocol.close import CloseCode, may_reconnect
from tidings.protocol.errors import SUSPENDED
from tidings.protocol.frames import Frame, Hello, Welcome

Work = Callable[[Connection], Awaitable[None]]

DRAIN_S_MAX = 120.0
"""the longest pause that a close reason is believed to ask for"""

ENDINGS = {
    CloseCode.NOT_ALLOWED: (
        "the server does not accept this device's token",
        "log in again into a new profile",
    ),
    CloseCode.REPLACED: (
        "another connection of this device took over",
        "a profile must not be copied; log in again for a second device",
    ),
}


class Link:
    """See the module's text."""

    def __init__(
        self,
        url: str,
        hello: Callable[[], Awaitable[Hello]],
        works: Sequence[Work],
        welcomed: Callable[[Welcome], Awaitable[None]],
        told: Callable[[ConnectionEvent], None],
        surroundings: Surroundings,
    ) -> None:
        self._url = url
        self._hello = hello
        self._works = works
        self._welcomed = welcomed
        self._told = told
        self._surroundings = surroundings
        self._backoff = Backoff(surroundings.random)
        self._up: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Connect, again and again. Ends only with an exception: SessionEnded, StorageFailed, …"""
        clock = self._surroundings.clock
        pause_s = self._backoff.next_s()
        while True:
            await clock.sleep(pause_s)
            try:
                await self._connect_once()
            except ConnectionLost as lost:
                if not may_reconnect(lost.code):
                    raise ended(lost) from None
                pause_s = self._pause_s(lost)
                reason = "the server is stopping" if lost.code == CloseCode.DRAIN else lost.reason
                self._told(ConnectionEvent("disconnected", reason, pause_s))

    async def connection(self) -> Connection:
        """The connection, once there is one. Raises what `run` ended with."""
        if self._failure is not None:
            raise self._failure
        return await asyncio.shield(self._up)

    async def ask(self, make: Callable[[int], Frame]) -> Answer:
        """Ask over this connection or, if it is lost or the server busy, later. Raises Refused."""
        while True:
            connection = await self.connection()
            try:
                return await connection.ask(make)
            except ConnectionLost:
                # The link may not have noticed yet.
                await asyncio.sleep(0)
            except Refused as refusal:
                if refusal.retry_after_s is None:
                    raise
                await self._surroundings.clock.sleep(refusal.retry_after_s)

    @property
    def up(self) -> Connection | None:
        """The connection, if there is one right now."""
        return self._up.result() if self._up.done() and not self._up.exception() else None

    def fail(self, error: Exception) -> None:
        """Whoever waits for a connection, now or later, gets this error."""
        self._failure = error
        if not self._up.done():
            self._up.set_exception(error)
            # It is no mistake if nobody ever asks.
            self._up.exception()

    async def _connect_once(self) -> None:
        clock = self._surroundings.clock
        hello = await self._hello()
        socket = await self._surroundings.dial(self._url)
        connection = await Connection.open(socket, hello, clock)
        try:
            await self._welcomed(connection.welcome)
        except BaseException:
            await socket.close(CloseCode.NORMAL, "")
            raise
        since_s = clock.monotonic_s()
        self._up.set_result(connection)
        self._told(ConnectionEvent("connected"))
        try:
            await _together([connection.run(), *(work(connection) for work in self._works)])
        finally:
            self._up = asyncio.get_running_loop().create_future()
            self._backoff.held(clock.monotonic_s() - since_s)

    def _pause_s(self, lost: ConnectionLost) -> float:
        if lost.code == CloseCode.DRAIN:
            # The reason is this client's own moment, chosen by the server. spec §9
            with contextlib.suppress(ValueError):
                return min(max(float(lost.reason), 0.0), DRAIN_S_MAX)
        return self._backoff.next_s()


def ended(lost: ConnectionLost) -> SessionEnded:
    """The error for a connection that was closed for good."""
    known = ENDINGS.get(CloseCode(lost.code)) if lost.code in ENDINGS else None
    if lost.reason == SUSPENDED.name:
        known = ("the server's operator has suspended this account", "ask them; nothing of it is deleted")
    message, hint = known or (f"{lost.reason or 'no reason given'} (close code {lost.code})", "")
    return SessionEnded(lost.code, f"cannot go on: {message}", hint)


async def _together(works: Sequence[Awaitable[None]]) -> None:
    """Run all until one fails; raise its error once the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        errors = [task.exception() for task in done]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    # A lost connection is what the others fail of; anything else is the better reason.
    failed = [error for error in errors if error is not None]
    failed.sort(key=lambda error: isinstance(error, ConnectionLost))
    raise failed[0] if failed else ConnectionLost(CloseCode.NORMAL, "closed")
