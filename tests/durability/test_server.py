"""Durable means durable: whoever was told Sent finds the message after the power was cut.

A server under load is killed, its files are cut to what was synced of them, and it starts again.
Every message that was acknowledged must be at its receiver, once, in order. The same without
fsync must lose some, else this test could not see a loss.
"""

import asyncio
import os
import random
import shutil
from pathlib import Path

import pytest

from durability.shim import Shim
from integration.pairs import Reader, Writer
from integration.people import Speaker
from integration.server import MakeServer, Server
from tidings.protocol import frames
from tidings.protocol.ids import ConversationId, MessageId
from tidings.store.rocks import RocksStore
from tidings.store.schema import BUCKETS, MESSAGES

PAIRS = 4
WINDOW = 8
CUTS = int(os.environ.get("TIDINGS_CUTS", "1"))
"""how often the power goes in one test; `make test-long` sets more"""
SETTLE_S = 20.0

pytestmark = pytest.mark.slow


class Pairs:
    """People in pairs; one of each writes, the other reads."""

    def __init__(self) -> None:
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        self.conversations: list[ConversationId] = []

    async def meet(self, server: Server) -> None:
        for number in range(PAIRS):
            writer, reader = (server.register(f"{role}{number}")["token"] for role in ("writer", "reader"))
            async with await Speaker.online(server, writer) as speaker:
                handle = f"reader{number}"
                opened = await speaker.ask(lambda n, h=handle: frames.OpenDirect(n, h), frames.Conversation)
            self.conversations.append(opened.conversation_id)
            self.writers.append(Writer(writer, opened.conversation_id, WINDOW, bytes(100)))
            self.readers.append(Reader(reader))

    @property
    def acked(self) -> int:
        return sum(len(writer.acked) for writer in self.writers)

    async def write_until_killed(self, server: Server, count: int) -> None:
        """Kill the server once so many more messages are acknowledged; then nobody is connected."""
        count += self.acked
        tasks = [asyncio.create_task(one.run(server.port)) for one in [*self.writers, *self.readers]]
        try:
            async with asyncio.timeout(SETTLE_S):
                while self.acked < count:
                    await asyncio.sleep(0)
            server.kill()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self, server: Server) -> None:
        """Answer and deliver everything."""
        tasks = [asyncio.create_task(one.run(server.port)) for one in [*self.writers, *self.readers]]
        try:
            async with asyncio.timeout(SETTLE_S * CUTS):
                for writer in self.writers:
                    writer.stop()
                await asyncio.gather(*(writer.idle.wait() for writer in self.writers))
                while not all(
                    writer.acked.keys() <= {number for _, number in reader.shown.values()}
                    for writer, reader in zip(self.writers, self.readers, strict=True)
                ):
                    await asyncio.sleep(0.01)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def missing(data: Path, pairs: Pairs) -> int:
    """How many acknowledged messages are not in the store.

    A copy of it is opened: what this process wrote to the store itself would be cut off next time.
    """
    copy = data.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy)
    store = RocksStore.open(copy, min_free_bytes=0)
    try:
        lost = 0
        for conversation, writer in zip(pairs.conversations, pairs.writers, strict=True):
            stored: set[MessageId] = set()
            for bucket in await store.range(BUCKETS, (conversation,), limit=10):
                rows = await store.range(MESSAGES, (conversation, bucket.bucket), limit=1 << 20)
                stored |= {row.message_id for row in rows}
            lost += len(set(writer.acked.values()) - stored)
        return lost
    finally:
        await store.close()


@pytest.mark.parametrize("seed", range(2), ids=lambda seed: f"seed-{seed}")
async def test_nothing_that_was_acknowledged_is_lost(
    make_server: MakeServer,
    library: Path,
    tmp_path: Path,
    seed: int,
) -> None:
    shim = Shim(library, tmp_path / "server0" / "data", tmp_path)
    server = make_server(environment=shim.environment)
    server.start()
    pairs = Pairs()
    await pairs.meet(server)
    rng = random.Random(seed)
    for _ in range(CUTS):
        await pairs.write_until_killed(server, rng.randint(200, 3000))
        shim.cut()
        assert await missing(server.data, pairs) == 0
        server.start()
    await pairs.settle(server)
    await asyncio.to_thread(server.stop)  # its clients answer meanwhile
    assert await missing(server.data, pairs) == 0
    for writer, reader in zip(pairs.writers, pairs.readers, strict=True):
        shown = [number for _, number in sorted(reader.shown.values())]
        assert shown == sorted(set(shown)), "twice or out of order"
        assert writer.acked.keys() <= set(shown)
        assert reader.doubled == 0


async def test_without_fsync_the_same_test_shows_a_loss(
    make_server: MakeServer,
    library: Path,
    tmp_path: Path,
) -> None:
    shim = Shim(library, tmp_path / "server0" / "data", tmp_path)
    server = make_server(environment=shim.environment, config={"sync": False})
    server.start()
    pairs = Pairs()
    await pairs.meet(server)
    await pairs.write_until_killed(server, 1000)
    shim.cut()
    assert await missing(server.data, pairs) > 0
