"""A link: the connection to one master, made again whenever it breaks.

A server that answers may still be the wrong one: demoted, or emptied by a restart. So a connection
counts only when the server has said that it is a master, and it is asked again each `CHECK_S`; if it is
none by then, or has other data, or another is in its place, the connection is broken off.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from tidings.redis.config import Address, RedisMisconfigured
from tidings.redis.dial import Dialer, Identity, identity
from tidings.redis.wire import NOBODY, RedisUnavailable, Wire

BACKOFF_FIRST_S = 0.02
BACKOFF_MOST_S = 1.0
"""from one try to connect to the next, less a random share up to half of it"""
CHECK_S = 5.0
"""from one look whether the master is still the master to the next"""

Random = Callable[[], float]
"""at least 0, less than 1"""


class User(Protocol):
    """Bus or directory."""

    async def greet(self, link: "Link", wire: Wire) -> None:
        """Do what must come first on a new connection. Raises RedisUnavailable."""

    def connected(self, link: "Link", *, forgotten: bool) -> None:
        """`link.wire` can be used. `forgotten`: by a server that may not know what the last one knew."""

    def disconnected(self, link: "Link") -> None:
        """There is no connection until `connected`."""

    def pushed(self, push: Sequence[Any]) -> None:
        """See `wire.Owner`."""


class Link:
    """See the module's text. Use it within the loop that it was made in."""

    def __init__(
        self,
        where: Callable[[], Awaitable[Address]],
        dialer: Dialer,
        user: User,
        jitter: Random,
        log: FilteringBoundLogger,
    ) -> None:
        """`where` tells the master's address. Raises RedisUnavailable."""
        self._where = where
        self._dialer = dialer
        self._user = user
        self.pushed = user.pushed
        self._jitter = jitter
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._up = asyncio.Event()
        self._down_s = self._loop.time()
        """since when there is no connection"""
        self._task: asyncio.Task[None] | None = None
        self._identity: Identity | None = None
        self.wire: Wire | None = None
        """while there is a connection that can be used"""
        self.why = "Redis was not reached yet"
        """what the last connection or try ended with"""

    def start(self) -> None:
        """Begin to connect, and to connect again."""
        self._task = self._loop.create_task(self._stay_connected())

    async def close(self) -> None:
        """Send what waits and end."""
        if self._task is None:
            return
        task, self._task = self._task, None
        if self.wire is not None:
            await self.wire.close()
        task.cancel()
        await asyncio.wait([task])
        self.why = "the connection to Redis is closed"

    def cut_off(self, why: str) -> None:
        """End at once."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.wire is not None:
            self.wire.abort(why)

    async def ready(self, patience_s: float) -> Wire:
        """The connection; it is waited for until there was none for so long. Raises RedisUnavailable."""
        until_s = self._down_s + patience_s
        if self.wire is None and self._task is not None and self._loop.time() < until_s:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until_s):
                    await self._up.wait()
        if self.wire is None:
            raise RedisUnavailable(self.why)
        return self.wire

    # --- for the wire (Owner) ---------------------------------------------------------------

    def ended(self, wire: Wire, why: str) -> None:
        if wire is self.wire:
            self.wire = None
            self.why = why
            self._up.clear()
            self._down_s = self._loop.time()
            if self._task is not None:
                self._log.warning("the connection to Redis broke", reason=why)
            self._user.disconnected(self)

    # --- inside -----------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            began_s = self._loop.time()
            try:
                await self._connect_once()
            except (RedisUnavailable, RedisMisconfigured) as error:
                self._fail(str(error))
            except Exception as bug:
                # Whatever is wrong with one connection, the next one may be right.
                self._log.error("a connection to Redis failed", exc_info=bug)
                self._fail(str(bug))
            if self._loop.time() - began_s > BACKOFF_MOST_S + self._dialer.config.timeout_s:
                backoff_s = BACKOFF_FIRST_S  # it lasted
            await asyncio.sleep(backoff_s * (1 - self._jitter() / 2))
            backoff_s = min(backoff_s * 2, BACKOFF_MOST_S)

    def _fail(self, why: str) -> None:
        if why != self.why:
            self._log.warning("Redis cannot be used", reason=why)
            self.why = why
        self._user.disconnected(self)

    async def _connect_once(self) -> None:
        """Connect and stay so for as long as it goes. Raises RedisUnavailable, RedisMisconfigured."""
        address = await self._where()
        wire, found = await self._dialer.master(address, self)
        try:
            await self._user.greet(self, wire)
            self._connected(wire, found, address)
            while wire.is_open:
                await asyncio.wait([wire.lost], timeout=CHECK_S)
                if wire.is_open:
                    await self._check(wire, found, address)
        finally:
            wire.abort("it was not needed")

    def _connected(self, wire: Wire, found: Identity, address: Address) -> None:
        if not wire.is_open:
            raise RedisUnavailable(wire.lost.result())
        known, self._identity = self._identity, found
        self.wire = wire
        self._up.set()
        log = self._log.debug if known is None else self._log.info
        log("connected to Redis", address=str(address), same=found == known)
        self._user.connected(self, forgotten=found != known)

    async def _check(self, wire: Wire, found: Identity, address: Address) -> None:
        """Break off if another is master by now. What cannot be found out changes nothing."""
        try:
            replies = await wire.ask(self._dialer.who_are_you)
        except RedisUnavailable:
            return
        try:
            if any(isinstance(reply, wire.error_type) for reply in replies):
                return
            if identity(replies) != found:
                wire.abort(f"Redis at {address} has other data")
        except RedisUnavailable as error:
            wire.abort(f"Redis at {address}: {error}")
        with suppress(RedisUnavailable, RedisMisconfigured):
            there = await self._where()
            if there != address:
                # Only if it says so itself: who told may know less than we do.
                other, _ = await self._dialer.master(there, NOBODY)
                other.abort("it was only looked at")
                wire.abort(f"the master is at {there} now, no longer at {address}")
