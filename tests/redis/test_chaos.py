"""A Cluster to which anything may happen at any time, and what must hold nevertheless."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from redis.rig import PATIENCE_S, Node, nodes, until
from redis.servers import Cluster, Refused
from redis.test_cluster import EVERYBODY, config_of, finds
from tidings.directory.contract import DirectoryUnavailable

pytestmark = [pytest.mark.cluster, pytest.mark.long]

CHAOS_S = 20.0
TOPICS = [f"node:{number}" for number in range(40)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Each master has a replica."""
    cluster = Cluster(tmp_path, replicas=3)
    cluster.start()
    yield cluster
    cluster.stop()


class Talk:
    """All nodes publish to all topics, and listen to them."""

    def __init__(self, talkers: list[Node]) -> None:
        self._talkers = talkers
        self.heard: dict[tuple[int, str, int], list[int]] = {}
        """by listener, topic and talker: the numbers that came, as they came"""
        self.said = 0

    async def listen(self) -> None:
        for listener, node in enumerate(self._talkers):
            for topic in TOPICS:
                for talker in range(len(self._talkers)):
                    self.heard[listener, topic, talker] = []

                def take(data: bytes, listener: int = listener, topic: str = topic) -> None:
                    talker, number = data.split(b":")
                    self.heard[listener, topic, int(talker)].append(int(number))

                await node.bus.subscribe(topic, take)

    async def go_on(self) -> None:
        """Publish, and refresh places, until cancelled."""
        while True:
            self.said += 1
            for talker, node in enumerate(self._talkers):
                for topic in TOPICS:
                    node.bus.publish(topic, b"%d:%d" % (talker, self.said))
                if self.said % 20 == 0:
                    with suppress(DirectoryUnavailable):
                        await node.directory.enter(EVERYBODY)
            await asyncio.sleep(0.003)

    def all_hear(self, since: int) -> bool:
        """Whether something that was said since then has come everywhere."""
        return all(numbers and numbers[-1] > since for numbers in self.heard.values())


def harm(cluster: Cluster, chance: random.Random) -> None:
    """Do one thing that happens to servers."""
    server = chance.choice(cluster.servers)
    kind = chance.choice(["all connections", "connections", "hand over", "freeze", "kill"])
    if kind == "all connections":
        cluster.interrupt()
    elif kind == "connections":
        server.interrupt()
    elif kind == "hand over":
        with suppress(Refused):  # it is a master, or its master is away
            server.run("CLUSTER", "FAILOVER")
    elif kind == "freeze":
        server.freeze()
        time.sleep(chance.uniform(0.1, 2.5))
        server.thaw()
    else:
        server.kill()
        time.sleep(chance.uniform(0.0, 2.0))
        server.start()
    time.sleep(chance.uniform(0.0, 0.5))


@pytest.mark.parametrize("seed", range(1, 7))
async def test_whatever_happens_order_holds_and_all_comes_back(cluster: Cluster, seed: int) -> None:
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    async with nodes(config_of(cluster), 3) as talkers:
        talk = Talk(talkers)
        await talk.listen()
        talking = asyncio.ensure_future(talk.go_on())
        until_s = loop.time() + CHAOS_S
        while loop.time() < until_s:
            await loop.run_in_executor(None, harm, cluster, chance)
        await until(lambda since=talk.said: talk.all_hear(since))
        talking.cancel()
        for where, numbers in talk.heard.items():
            assert numbers == sorted(set(numbers)), where
        assert all(node.gaps and node.forgets for node in talkers)
        async with asyncio.timeout(PATIENCE_S):
            while await talkers[0].is_lost():
                await asyncio.sleep(0.01)
        await talkers[0].directory.enter(EVERYBODY)
        assert await finds(talkers[2], EVERYBODY) == [[one] for one in EVERYBODY]
        assert [line for node in talkers for line in node.lines if line.level == "error"] == []
