"""Calling a Redis server: connect, say who one is, and see who answers."""

import asyncio
from typing import NamedTuple

from tidings.redis.config import (
    Address,
    Login,
    RedisConfig,
    checked,
    login,
    sentinel_login,
    tls_context,
)
from tidings.redis.wire import Command, Owner, RedisUnavailable, Reply, Wire, hiredis

NAME = b"tidings"
"""what our connections are called in Redis' CLIENT LIST"""


class Identity(NamedTuple):
    """Whose data a server has: as long as both stay, it has forgotten nothing."""

    run_id: str
    """another one after each start"""
    replication_id: str
    """another one after each promotion"""


class Dialer:
    """Calls servers as the config says."""

    def __init__(self, config: RedisConfig) -> None:
        """Raises RedisMisconfigured."""
        hiredis()  # that it is there is seen now
        self.config = checked(config)
        self._tls = tls_context(config)
        # So is it whether these can be read. They are read again for each connection: they may change.
        login(config)
        sentinel_login(config)
        self.who_are_you: list[Command] = [
            (b"INFO", section) for section in (b"server", b"replication", b"persistence")
        ]
        """what `identity` is found out with"""
        if config.mode == "cluster":
            self.who_are_you.append((b"CLUSTER", b"INFO"))

    async def master(self, address: Address, owner: Owner) -> tuple[Wire, Identity]:
        """A connection to a server that must be a master. Raises RedisUnavailable."""
        greeting: list[Command] = [_hello(login(self.config))]
        if self.config.db:
            greeting.append((b"SELECT", self.config.db))
        wire, replies = await self._dial(address, owner, [*greeting, *self.who_are_you])
        try:
            return wire, identity(replies[len(greeting) :])
        except RedisUnavailable as error:
            wire.abort(str(error))
            raise RedisUnavailable(f"Redis at {address}: {error}") from None

    async def any_server(self, address: Address, owner: Owner) -> Wire:
        """A connection to a server, master or not. Raises RedisUnavailable."""
        wire, _ = await self._dial(address, owner, [_hello(login(self.config))])
        return wire

    async def sentinel(self, address: Address, owner: Owner) -> Wire:
        """A connection to a Sentinel. Raises RedisUnavailable."""
        wire, _ = await self._dial(address, owner, [_hello(sentinel_login(self.config))])
        return wire

    async def _dial(
        self, address: Address, owner: Owner, greeting: list[Command]
    ) -> tuple[Wire, list[Reply]]:
        wire = Wire(owner, self.config.timeout_s)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.config.timeout_s):
                await loop.create_connection(lambda: wire, *address, ssl=self._tls)
                replies = await wire.ask(greeting)
            for reply in replies:
                if isinstance(reply, wire.error_type):
                    raise RedisUnavailable(_fit_for_logs(str(reply)))
        except BaseException as error:
            wire.abort("it was not needed")
            if isinstance(error, TimeoutError):
                why = f"it does not answer within {self.config.timeout_s:g} s"
            elif isinstance(error, OSError | RedisUnavailable):
                why = str(error)
            else:
                raise
            raise RedisUnavailable(f"Redis at {address}: {why}") from None
        return wire, replies


def identity(told: list[bytes]) -> Identity:
    """Who a master is, by its replies to `who_are_you`. Raises RedisUnavailable if it is none, or idle."""
    lines = b"\n".join(told).decode().splitlines()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    if values.get("role") != "master":
        raise RedisUnavailable("it is no master just now")
    if values.get("loading") != "0":
        raise RedisUnavailable("it is still loading what it had")
    if values.get("cluster_state", "ok") != "ok":
        raise RedisUnavailable("the Cluster is down, as it sees it")
    return Identity(values["run_id"], values["master_replid"])


def _fit_for_logs(said: str) -> str:
    """An error without what it repeats of a command that the server does not know: our password is in it."""
    return said.partition(", with args")[0]


def _hello(login: Login | None) -> Command:
    who: Command = (b"AUTH", login.username, login.password) if login is not None else ()
    return (b"HELLO", 3, *who, b"SETNAME", NAME)
