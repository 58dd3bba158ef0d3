"""A Redis Cluster of three masters: who has what, one of them dies, slots move."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from redis.rig import PATIENCE_S, SHORT_S, Node, arrives, nodes, place, reaches, until
from redis.servers import Cluster, Server
from redis.test_single import RULES
from tidings.bus.contract import BusUnavailable
from tidings.directory.contract import DirectoryUnavailable, Entered, Found, Place
from tidings.redis.config import RedisConfig
from tidings.redis.slots import SLOTS, slot_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

OWN, NOTHING = Entered(Found.OWN), Entered(Found.NOTHING)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One to which nothing happens."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Cluster]:
    """One with a replica of its first master."""
    cluster = Cluster(tmp_path, replicas=1)
    cluster.start()
    yield cluster
    cluster.stop()


def config_of(cluster: Cluster) -> RedisConfig:
    return RedisConfig(mode="cluster", addresses=cluster.addresses, timeout_s=SHORT_S)


def topic_of(master: int) -> str:
    """One that is this master's."""
    return next(f"node:{n}" for n in range(1000) if slot_of(b"node:%d" % n) * 3 // SLOTS == master)


def places_of(master: int) -> list[Place]:
    """Some that are this master's."""
    users = [n for n in range(1, 1000) if slot_of(b"%d" % n) * 3 // SLOTS == master]
    return [place(user=user) for user in users[:20]]


TOPICS = [topic_of(master) for master in range(3)]
EVERYBODY = [one for master in range(3) for one in places_of(master)]


async def finds(node: Node, places: list[Place]) -> list[list[Place]]:
    return await node.directory.look_up([one.user_id for one in places])


async def test_slots_are_those_of_redis(lasting: Cluster) -> None:
    for key in (
        b"",
        b"a",
        b"{a}b",
        b"a{b}c",
        b"{}",
        b"{}a",
        b"a{",
        b"}{a}",
        b"presence:{20}",
        b"{a}{b}",
        b"\xff",
    ):
        assert slot_of(key) == lasting.masters[0].run("CLUSTER", "KEYSLOT", key)


async def test_each_master_has_its_share(lasting: Cluster) -> None:
    async with nodes(config_of(lasting)) as [here, there]:
        assert await here.directory.enter(EVERYBODY) == [NOTHING] * 60
        assert await there.directory.enter(EVERYBODY) == [OWN] * 60
        assert await finds(there, EVERYBODY[::-1]) == [[one] for one in EVERYBODY[::-1]]
        assert [server.run("DBSIZE") for server in lasting.masters] == [20, 20, 20]
        await there.listen(*TOPICS)
        assert [server.run("PUBSUB", "SHARDCHANNELS") for server in lasting.masters] == [
            [topic.encode()] for topic in TOPICS
        ]
        for topic in TOPICS:
            here.bus.publish(topic, topic.encode())
        await until(lambda: len(there.heard) == 3)
        assert sorted(there.heard) == sorted(topic.encode() for topic in TOPICS)
        await here.directory.leave(EVERYBODY)
        assert await finds(there, EVERYBODY) == [[]] * 60


async def test_one_address_is_enough(lasting: Cluster) -> None:
    config = RedisConfig(mode="cluster", addresses=("127.0.0.1:1", lasting.masters[1].address))
    async with nodes(config) as [here, there]:
        await there.listen(*TOPICS)
        for topic in TOPICS:
            await arrives(here, there, topic)


async def test_a_user_that_may_do_what_is_needed_and_no_more(lasting: Cluster) -> None:
    rules = f"{RULES} +spublish +ssubscribe +sunsubscribe +cluster|slots +cluster|info +asking"
    for server in lasting.masters:
        server.run("ACL", "SETUSER", "tidings", "on", ">secret", *rules.split())
    config = RedisConfig(
        mode="cluster", addresses=lasting.addresses, username="tidings", password="secret", timeout_s=SHORT_S
    )
    async with nodes(config) as [here, there]:
        await there.listen(*TOPICS)
        await here.directory.enter(EVERYBODY)
        assert await finds(there, EVERYBODY) == [[one] for one in EVERYBODY]
        await here.directory.leave(EVERYBODY)
        for topic in TOPICS:
            await arrives(here, there, topic)
        await there.bus.unsubscribe(TOPICS[0])
        assert [server.run("ACL", "LOG") for server in lasting.masters] == [[], [], []]


async def test_what_is_no_cluster_is_refused(redis_server: Server) -> None:
    config = RedisConfig(mode="cluster", addresses=(redis_server.address,), timeout_s=SHORT_S)
    with pytest.raises(BusUnavailable, match="cluster support disabled"):
        async with nodes(config):
            pass


async def test_a_master_dies_and_its_replica_takes_over(mortal: Cluster) -> None:
    async with nodes(config_of(mortal)) as [here, there]:
        await there.listen(*TOPICS)
        await here.directory.enter(EVERYBODY)
        for topic in TOPICS:
            await arrives(here, there, topic)
        mortal.masters[0].kill()
        # The others go on.
        await arrives(here, there, TOPICS[1])
        assert await finds(there, places_of(2)) == [[one] for one in places_of(2)]
        with pytest.raises(DirectoryUnavailable):
            await finds(there, EVERYBODY)
        await until(lambda: min(here.gaps, there.gaps, here.forgets, there.forgets) >= 1)
        for topic in TOPICS:
            await arrives(here, there, topic)
        found = await here.directory.enter(EVERYBODY)
        assert found[20:] == [OWN] * 40
        assert await finds(there, EVERYBODY) == [[one] for one in EVERYBODY]
        assert mortal.replicas[0].run("DBSIZE") == 20


async def test_a_master_hands_over_to_its_replica(mortal: Cluster) -> None:
    async with nodes(config_of(mortal)) as [here, there]:
        await there.listen(*TOPICS)
        mortal.replicas[0].run("CLUSTER", "FAILOVER")
        await until(lambda: min(here.gaps, there.gaps, here.forgets, there.forgets) >= 1)
        for topic in TOPICS:
            await arrives(here, there, topic)
        heard = len(there.heard)
        here.bus.publish(TOPICS[0], b"once")
        await arrives(here, there, TOPICS[0])
        assert there.heard[heard:].count(b"once") == 1
        assert await here.directory.enter(EVERYBODY) == [NOTHING] * 60


async def test_a_master_freezes_and_comes_back_as_a_replica(mortal: Cluster) -> None:
    async with nodes(config_of(mortal)) as [here, there]:
        await there.listen(*TOPICS)
        await here.directory.enter(EVERYBODY)
        mortal.masters[0].freeze()
        await until(lambda: min(here.gaps, there.gaps, here.forgets, there.forgets) >= 1)
        await arrives(here, there, TOPICS[0])
        mortal.masters[0].thaw()
        await reaches(here)
        await here.directory.enter(EVERYBODY)
        assert await finds(there, EVERYBODY) == [[one] for one in EVERYBODY]
        for topic in TOPICS:
            await arrives(here, there, topic)


async def test_a_slot_moves_to_another_master(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.start()
    source, target = cluster.masters[:2]
    one = places_of(0)[0]
    key = b"presence:{%d}" % one.user_id
    slot = slot_of(key)
    topic = next(f"t{n}" for n in range(1_000_000) if slot_of(b"t%d" % n) == slot)
    try:
        async with nodes(config_of(cluster)) as [here, there]:
            await there.listen(topic)
            await here.directory.enter([one])
            source_id, target_id = (server.run("CLUSTER", "MYID") for server in (source, target))
            target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            assert await finds(there, [one]) == [[one]]
            source.run("MIGRATE", "127.0.0.1", target.port, key, 0, 1000)
            # It is asked for where it goes (ASK), before anybody knows that it is there (MOVED).
            assert await finds(there, [one]) == [[one]]
            assert await there.directory.enter([one]) == [OWN]
            for server in (target, source, cluster.masters[2]):
                server.run("CLUSTER", "SETSLOT", slot, "NODE", target_id)
            assert await finds(there, [one]) == [[one]]
            assert await here.directory.enter([one]) == [OWN]
            await arrives(here, there, topic)
            await until(lambda: there.gaps == 1)
            assert (here.forgets, there.forgets) == (0, 0)
            assert target.run("PUBSUB", "SHARDCHANNELS") == [topic.encode()]
            assert source.run("PUBSUB", "SHARDCHANNELS") == []
    finally:
        cluster.stop()


async def test_a_cluster_that_is_killed_and_started_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.start()
    try:
        async with nodes(config_of(cluster)) as [here, there]:
            await there.listen(*TOPICS)
            await here.directory.enter(EVERYBODY)
            for server in cluster.servers:
                server.kill()
            async with asyncio.timeout(PATIENCE_S):
                while not await there.is_lost():
                    await asyncio.sleep(0.01)
            for server in cluster.servers:
                server.start()
            for topic in TOPICS:
                await arrives(here, there, topic)
            await until(lambda: here.forgets and there.forgets)
            await reaches(here)
            assert await here.directory.enter(EVERYBODY) == [NOTHING] * 60
    finally:
        cluster.stop()
