"""Nodes to be measured, on a real Cassandra and a real Redis, and people on them."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tidings.bench.backing import CassandraProcess, RedisProcess
from tidings.bench.load import Device
from tidings.bench.process import ServerProcess
from tidings.bench.seed import seed
from tidings.protocol.api import LoggedIn
from tidings.protocol.ids import ConversationId
from tidings.server.backends import open_cassandra
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import Driver

REQUEST_S = 60.0
"""that Cassandra is given: on a machine that has all of it to do it may be slow"""
BEAT_S = 25.0
"""from one heartbeat of a device to the next, as clients have it"""


class Nodes:
    """So many, with a keyspace and a prefix of their own."""

    def __init__(self, folder: Path, count: int, cassandra: CassandraProcess, redis: RedisProcess) -> None:
        self.servers: list[ServerProcess] = []
        self._folder = folder
        self._count = count
        self._redis = redis
        self._goes = cassandra.is_ours
        self._store = CassandraConfig(
            contact_points=(cassandra.host,),
            port=cassandra.port,
            keyspace=f"tidings_bench_{os.getpid()}_{count}",
            copies=1,
            request_s=REQUEST_S,
        )

    async def start(
        self, people: int, pairs: list[tuple[int, int]]
    ) -> tuple[list[LoggedIn], list[ConversationId]]:
        """Put people into the store, and conversations of some two, by their positions; start the nodes."""
        self._folder.mkdir()
        seeded = await seed(self._folder, people, pairs, store=await open_cassandra(self._store))
        for number in range(self._count):
            place = self._folder / f"node{number}"
            place.mkdir()
            (place / "node.toml").write_text(self._config())
            self.servers.append(ServerProcess(place, config=place / "node.toml"))
            await self.servers[-1].start()
        return seeded

    async def stop(self) -> None:
        """End the nodes, and drop what they kept in a Cassandra that stays."""
        async with AsyncExitStack() as stack:
            for server in self.servers:
                stack.push_async_callback(server.stop)
        if self._goes:
            return
        driver = await Driver.connect(self._store)
        await driver.query(f"DROP KEYSPACE IF EXISTS {self._store.keyspace}")
        await driver.close()

    def _config(self) -> str:
        return f"""
[cassandra]
contact_points = ["{self._store.contact_points[0]}"]
port = {self._store.port}
keyspace = "{self._store.keyspace}"
copies = {self._store.copies}
request_s = {self._store.request_s}

[redis]
addresses = ["127.0.0.1:{self._redis.port}"]
prefix = "of{self._count}:"
"""


async def connected(accounts: Sequence[LoggedIn], ports: Iterable[int]) -> list[Device]:
    """A device of each, on the node whose turn it is; returns once all were sent their inboxes."""
    devices = [
        await Device(account.token).connect(port) for account, port in zip(accounts, ports, strict=False)
    ]
    await asyncio.gather(*(device.drained for device in devices))
    return devices


async def beat(devices: Sequence[Device]) -> None:
    """Heartbeats, evenly: a system waits while others start or are measured, and its people stay."""
    while True:
        for device in devices:
            device.beat()
            await asyncio.sleep(BEAT_S / len(devices))
