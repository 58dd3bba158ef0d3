"""The masters of a Redis that has one: at a given address, or where the Sentinels say."""

from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from tidings.redis.config import Address, parsed
from tidings.redis.dial import Dialer
from tidings.redis.link import Link, Random
from tidings.redis.masters import PATIENCE_S, Keeper, timed
from tidings.redis.wire import NOBODY, Command, RedisUnavailable, Reply


class OneMaster:
    """Implements `masters.Masters`."""

    is_cluster = False

    def __init__(self, dialer: Dialer, user: Keeper, jitter: Random, log: FilteringBoundLogger) -> None:
        self._dialer = dialer
        self._addresses = [parsed(address) for address in dialer.config.addresses]
        where = self._ask_sentinels if dialer.config.mode == "sentinel" else self._next_address
        self._tries = 0
        """to connect, so far"""
        self._reached: Address | None = None
        self._link = Link(where, dialer, user, jitter, log)

    async def open(self) -> None:
        self._link.start()
        await self._link.ready(2 * self._dialer.config.timeout_s)

    def of(self, key: bytes) -> Link:  # noqa: ARG002 - it has all of them
        return self._link

    async def ask(self, keys: Sequence[bytes], commands: Sequence[Command]) -> tuple[list[Reply], list[int]]:
        assert len(keys) == len(commands)
        replies, now_ms = await timed(await self._link.ready(PATIENCE_S), commands)
        return replies, [now_ms] * len(replies)

    async def look(self) -> None:
        """The link does."""

    async def close(self) -> None:
        await self._link.close()

    async def _next_address(self) -> Address:
        """While there is a connection its own; each try takes the next one."""
        if self._link.wire is None:
            self._reached = self._addresses[self._tries % len(self._addresses)]
            self._tries += 1
        assert self._reached is not None
        return self._reached

    async def _ask_sentinels(self) -> Address:
        """Where the first Sentinel that answers sees the master. Raises RedisUnavailable."""
        if self._link.wire is None:
            self._tries += 1  # each try asks another one first: what one says may be old
        first = self._tries % len(self._addresses)
        why = ""
        for sentinel in (*self._addresses[first:], *self._addresses[:first]):
            try:
                return await self._ask_sentinel(sentinel)
            except RedisUnavailable as error:
                why = str(error)
        raise RedisUnavailable(why)

    async def _ask_sentinel(self, sentinel: Address) -> Address:
        service = self._dialer.config.service
        wire = await self._dialer.sentinel(sentinel, NOBODY)
        try:
            found = (await wire.ask([(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service)]))[0]
        finally:
            wire.abort("it was not needed any more")
        if isinstance(found, wire.error_type):
            raise RedisUnavailable(f"the Sentinel at {sentinel}: {found}")
        if found is None:
            raise RedisUnavailable(f"the Sentinel at {sentinel} knows no master called {service!r}")
        host, port = found
        return Address(host.decode(), int(port))
