"""People for a benchmark, put into the store before the server starts.

The rules register them as usual, but with a cheap password hash: hashing five thousand
passwords properly would take minutes and is not what is measured.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from argon2 import PasswordHasher

from tidings.domain.clock import SystemClock
from tidings.protocol.api import Credentials, LoggedIn, NewAccount
from tidings.protocol.ids import ConversationId, UserId
from tidings.server.config import Config
from tidings.server.logs import open_log
from tidings.server.node import wire
from tidings.server.passwords import Argon2Passwords
from tidings.server.services import Services
from tidings.store.contract import Store
from tidings.store.rocks import RocksStore

PASSWORD = "benchmark password"  # noqa: S105 - of people who do not exist

AT_ONCE = 32
"""registrations that share a commit; more would be refused, as too many logins at once are"""


async def seed(
    data: Path,
    people: int,
    pairs: list[tuple[int, int]],
    *,
    devices: int = 1,
    store: Store | None = None,
) -> tuple[list[LoggedIn], list[ConversationId]]:
    """Register so many people and open conversations between pairs of them (by position).

    `devices` of each: all the first ones come first, then all the second ones, and so on. `store` is where
    they are put, and closed after that; without one it is a RocksDB in the folder.
    """
    async with rules(data, store) as (services, _):
        accounts = await register(services, people, devices)
        conversations = []
        for one, other in pairs:
            user, peer = UserId(int(accounts[one].user_id)), UserId(int(accounts[other].user_id))
            conversations.append((await services.conversations.open_direct(user, peer)).conversation_id)
    return accounts, conversations


@asynccontextmanager
async def rules(data: Path, store: Store | None = None) -> AsyncIterator[tuple[Services, Store]]:
    """A server's rules and store without a server; at the end all is durable, and the store closed."""
    config = Config(data=str(data), strangers="deliver")
    passwords = Argon2Passwords(config.limits, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    store = store or RocksStore.open(data)
    try:
        log = open_log("warning", as_json=False)
        services = await wire(config, store, SystemClock(), passwords, os.urandom, log)
        yield services, store
        await services.commit.barrier()
    finally:
        passwords.close()
        await store.close()


async def register(services: Services, people: int, devices: int = 1) -> list[LoggedIn]:
    """See `seed`."""
    accounts: list[LoggedIn] = []
    for start in range(0, people, AT_ONCE):
        names = [f"user{number}" for number in range(start, min(people, start + AT_ONCE))]
        accounts += await asyncio.gather(
            *(services.accounts.register(NewAccount(name, PASSWORD)) for name in names)
        )
    for number in range(people, people * devices):
        handle = f"user{number % people}"
        accounts.append(await services.accounts.login(Credentials(handle, PASSWORD)))
    return accounts
