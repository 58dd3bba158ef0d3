"""A server that moves to a cluster while people write: they notice a reconnect, and nothing else."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cli.rig import Result, tidings
from client.rig import PASSWORD, TIDINGS, Watcher, environment, link, watching
from cluster.cassandras import Ring
from conformance.cassandra import config_of
from integration.server import Server, write_config
from redis.servers import Server as Redis
from tidings.client import Client
from tidings.protocol import ids
from tidings.protocol.frames import Status
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.store.cassandra.driver import Driver
from tidings.store.cassandra.filling import patient
from tidings.store.contract import Put
from tidings.store.rocks import RocksStore
from tidings.store.schema import INBOX, MESSAGES, InboxRow, MessageRow

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

KEYSPACE = "tidings_promote"
OLD_MESSAGES = 12_000
"""that nobody will look at, so that the copy takes long enough to be cut off"""
BEFORE = 40
MEANWHILE = 15
"""messages of each load"""
PATIENCE_S = 600.0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a Cassandra: the one that was given, or one that is started."""
    if given := os.environ.get("TIDINGS_CASSANDRA"):
        yield given
        return
    ring = Ring(tmp_path_factory.mktemp("cassandra"))
    ring.start()
    yield f"127.0.0.1:{ring.port}"
    ring.stop()


class Load:
    """Messages of one to a peer, one after the other, and which of them were acknowledged."""

    def __init__(self, sender: Client, peer: str, name: str) -> None:
        self.acknowledged: list[str] = []
        self._over = False
        self._task = asyncio.ensure_future(self._send(sender, peer, name))

    async def more(self, count: int) -> None:
        """Wait until so many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self.acknowledged) < wanted:
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Send no more, and wait for what is under way."""
        self._over = True
        await self._task

    async def _send(self, sender: Client, peer: str, name: str) -> None:
        for number in itertools.count():
            if self._over:
                return
            text = f"{name} {number}"
            await sender.send(peer, text)
            self.acknowledged.append(text)
            await asyncio.sleep(0.1)


class Cluster:
    """What the new node needs, and its config."""

    def __init__(self, address: str, redis: Redis, file: Path) -> None:
        host, _, port = address.partition(":")
        self.address = address
        self.config: dict[str, Any] = {
            "strangers": "deliver",
            "cassandra": {"contact_points": [host], "port": int(port), "keyspace": KEYSPACE, "copies": 1},
            "redis": {"addresses": [redis.address]},
        }
        self.file = file

    def write_for(self, server: Server) -> None:
        """Its config, of a node in the place of a server."""
        write_config(self.file, {**self.config, "listen": f"127.0.0.1:{server.port}"}, {})

    async def query(self, cql: str) -> list[tuple[Any, ...]]:
        driver = await Driver.connect(patient(config_of(self.address, KEYSPACE)))
        try:
            return await driver.query(cql)
        finally:
            await driver.close()

    async def take(self, server: Server, folder: Path) -> None:
        """Start the new node in the place of the old one."""
        server.config, server.data = self.config, folder / "node"
        await asyncio.to_thread(server.start)


@pytest.fixture
async def cluster(address: str, redis_server: Redis, tmp_path: Path) -> Cluster:
    cluster = Cluster(address, redis_server, tmp_path / "cluster.toml")
    await cluster.query(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    return cluster


async def fill(data: Path) -> None:
    """A store with a past."""
    now = ids.first_at(time.time_ns() // 1_000_000 - 60_000)
    store = RocksStore.open(data)
    for first in range(0, OLD_MESSAGES, 1000):
        batch = []
        for number in range(first, first + 1000):
            at = MessageId(now + number)
            place = ConversationId(b"%016d" % (number // 100))
            row = MessageRow(
                place, 1, at, UserId(1), DeviceId(1), ClientId(b"x" * 16), 1, 0, "", b"y" * 50, 1
            )
            batch.append(Put(MESSAGES, row, at))
            entry = InboxRow(UserId(1), 1, EntryId(at), 1, place, at, UserId(1), DeviceId(1), b"")
            batch.append(Put(INBOX, entry, at))
        await store.write(batch)
    await store.close()


def promoting(server: Server, cluster: Cluster) -> list[str]:
    return [
        TIDINGS, "promote", "--data", str(server.data), "--to", str(cluster.file), "--yes", "--json",
    ]  # fmt: skip


def promote(server: Server, cluster: Cluster, *options: str) -> Result:
    """Run it to its end."""
    return Result(
        subprocess.run(
            [*promoting(server, cluster), *options],
            env=environment(),
            text=True,
            capture_output=True,
            check=False,
        )
    )


async def cut_off(server: Server, cluster: Cluster) -> None:
    """Run it, and kill it in the middle of the copy."""
    state = server.data.with_name("data.promotion") / "state.json"
    said = server.folder / "cut-off.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            promoting(server, cluster), env=environment(), stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (state.exists() and json.loads(state.read_bytes())["at"]["table"]):
                assert process.poll() is None, said.read_text()
                await asyncio.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert json.loads(state.read_bytes())["number"] == 1


async def on_server(client: Client, peer: str) -> list[tuple[str, int]]:
    """All of a conversation with its ids, the oldest first."""
    found: list[tuple[str, int]] = []
    before = None
    while messages := list(await client.history(peer, limit=100, before=before)):
        page = sorted((int(message.message_id), message.text) for message in messages)
        found = [(text, at) for at, text in page] + found
        before = min(message.message_id for message in messages)
    return found


async def test_people_write_while_their_server_is_promoted(cluster: Cluster, tmp_path: Path) -> None:
    server = Server(tmp_path)
    await fill(server.data)
    cluster.write_for(server)
    await asyncio.to_thread(server.start)
    profiles = {name: tmp_path / name for name in ("alice", "bob", "carol", "laptop")}
    for name in ("alice", "bob", "carol"):
        await Client.register(server.url, handle=name, password=PASSWORD, profile=profiles[name])
    await Client.login(server.url, handle="alice", password=PASSWORD, profile=profiles["laptop"])
    await link(profiles["alice"], profiles["laptop"])
    try:
        async with AsyncExitStack() as stack:
            alice, bob, carol, laptop = [
                await stack.enter_async_context(watching(profile)) for profile in profiles.values()
            ]
            family = await alice.client.groups.create("Family", ["@bob", "@carol"])
            news = await alice.client.groups.create("News", ["@bob", "@carol"], channel=True)
            loads = {
                "alice to bob": Load(alice.client, "bob", "alice to bob"),
                "bob to alice": Load(bob.client, "alice", "bob to alice"),
                "carol to family": Load(carol.client, family.peer, "carol to family"),
                "laptop to family": Load(laptop.client, family.peer, "laptop to family"),
                "alice to news": Load(alice.client, news.peer, "alice to news"),
            }
            for load in loads.values():
                await load.more(BEFORE)
            before = await on_server(alice.client, "bob")

            await cut_off(server, cluster)
            for load in loads.values():
                await load.more(MEANWHILE)  # the old server goes on
            done = await asyncio.to_thread(promote, server, cluster)
            assert done.code == 0, done.err
            plan, copied, promoted = done.objects
            assert plan["goes_on"]
            assert copied["rows"] > 0
            assert promoted["rows"] > 2 * OLD_MESSAGES
            print(plan, copied, promoted["rows"], promoted["stopped_s"])

            server.reap()
            await cluster.take(server, tmp_path)
            for load in loads.values():
                await load.more(MEANWHILE)
                await load.end()
            await check_that_all_is_there(loads, alice, bob, carol, laptop, family.peer, news.peer)
            after = await on_server(alice.client, "bob")
            assert after[: len(before)] == before
            status = {message.text: message.status for message in await alice.client.messages.recent("bob")}
            assert status[loads["alice to bob"].acknowledged[-1]] >= Status.DELIVERED
        server.stop()
    finally:
        server.discard()
    old = await asyncio.to_thread(tidings, "serve", "--data", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert old.code == 1
    assert "handed over" in old.err
    assert "--take-back" in old.err
    assert not (tmp_path / "data.promotion").exists()


async def check_that_all_is_there(
    loads: dict[str, Load],
    alice: Watcher,
    bob: Watcher,
    carol: Watcher,
    laptop: Watcher,
    family: str,
    news: str,
) -> None:
    """Each has what the others wrote: all of it, once, in its order; so has the server."""
    receivers = {
        "alice to bob": (bob,),
        "bob to alice": (alice, laptop),
        "carol to family": (alice, laptop, bob),
        "laptop to family": (bob, carol),
        "alice to news": (bob, carol),
    }
    for name, load in loads.items():
        for one in receivers[name]:
            await one.until(lambda seen, last=load.acknowledged[-1]: last in seen.texts)  # type: ignore[misc]
            assert [text for text in one.texts if text.startswith(name)] == load.acknowledged
    for one, peer in ((alice, "bob"), (bob, "alice"), (carol, family), (carol, news)):
        texts = [text for text, _ in await on_server(one.client, peer)]
        assert max(Counter(text for text in texts if text).values()) == 1
        for name, load in loads.items():
            mine = [text for text in texts if text.startswith(name)]
            assert mine in ([], load.acknowledged)
