"""Redis is killed while each node has a thousand devices: what is said still comes within five seconds."""

import asyncio
import time
from itertools import cycle
from pathlib import Path

import pytest

from cluster.nodes import Node
from redis.servers import Server as Redis
from tidings.bench.nodes import beat, connected
from tidings.bench.pairs import Pair
from tidings.bench.seed import seed
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.store import CassandraStore

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

DEVICES = 1000
"""on each node"""
SERVING = 2
PAIRS = 20
"""of people who write"""
ROUNDS = 4
PAUSE_S = 0.2
"""from one message to the next: a round takes longer than inboxes lie unread without Redis"""
POLLED_S = 5.0


async def test_messages_to_a_thousand_devices_a_node_come_within_five_seconds(
    nodes: list[Node], cassandra: CassandraConfig, redis: Redis, tmp_path: Path
) -> None:
    talking = [(2 * number, 2 * number + 1) for number in range(PAIRS)]
    store = await CassandraStore.open(cassandra)
    accounts, conversations = await seed(tmp_path, SERVING * DEVICES, talking, store=store)
    # The two of a pair are one after the other, so on two nodes.
    devices = await connected(accounts, cycle(node.port for node in nodes[:SERVING]))
    beating = asyncio.create_task(beat(devices))
    pairs = [
        Pair(devices[one], devices[other], conversation)
        for (one, other), conversation in zip(talking, conversations, strict=True)
    ]
    try:
        await talk(pairs, rounds=1)
        redis.kill()
        found_s = await talk(pairs, rounds=ROUNDS)
        assert "tidings_bus_ok 0.0" in nodes[0].metrics()
        print(f"without Redis: median {sorted(found_s)[len(found_s) // 2]:.2f} s, worst {max(found_s):.2f} s")
        assert len(found_s) == PAIRS * ROUNDS
        assert max(found_s) < POLLED_S
    finally:
        redis.start()
        beating.cancel()
        for device in devices:
            device.disconnect()


async def talk(pairs: list[Pair], rounds: int) -> list[float]:
    """Seconds that each message took to the other one's device."""
    for pair in pairs:
        pair.latencies_s.clear()
        pair.received = 0
        pair.prepare(rounds, bytes(100))
        pair.run(rounds, 0)
    for _ in range(rounds):
        for pair in pairs:
            pair.send_one()
            await asyncio.sleep(PAUSE_S)
    ends_s = time.monotonic() + 60
    while any(pair.received < rounds for pair in pairs):
        assert time.monotonic() < ends_s, "some did not come"
        await asyncio.sleep(0.05)
    return [latency_s for pair in pairs for latency_s in pair.latencies_s]
