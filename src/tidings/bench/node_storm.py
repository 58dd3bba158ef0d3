"""`bench storm --cluster`: a node with thousands of clients is killed, and all of them go to the others.

The clients are idle, and know the addresses of all nodes: a try goes to the one that they were on, which is
gone, the next one to another. In production a balancer spares them the first. People who chat on the
other nodes are watched meanwhile.
"""

import asyncio
import os
import time
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from random import Random
from typing import NamedTuple

from tidings.bench.backing import backing
from tidings.bench.bystanders import Bystanders
from tidings.bench.flock import Flock
from tidings.bench.load import Device, local
from tidings.bench.musts import verdict
from tidings.bench.nodes import Nodes, beat, connected
from tidings.bench.pairs import Pair
from tidings.bench.progress import Progress
from tidings.bench.storm import latencies, times, watch
from tidings.protocol.ids import ConversationId

BACK_S = 10.0
"""until the last of 2,000 is back"""


class NodeStormOptions(NamedTuple):
    """What `bench storm --cluster` does."""

    nodes: int = 3
    clients: int = 2000
    """on the node that is killed"""
    seed: int = 1
    bystanders: int = 20
    """pairs that chat on the other nodes"""
    calm_s: float = 15.0
    """after the arrival: by then all have had their second look at the inbox"""
    after_s: float = 3.0
    """this long all is watched once everybody is back: a second wave would come then"""


async def node_storm(folder: Path, options: NodeStormOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    async with AsyncExitStack() as stack:
        progress.say("Cassandra and Redis")
        nodes = Nodes(folder / "nodes", options.nodes, *await stack.enter_async_context(backing(folder)))
        stack.push_async_callback(nodes.stop)
        chatting = 2 * options.bystanders
        progress.say(f"registering {options.clients + chatting} people")
        accounts, conversations = await nodes.start(
            options.clients + chatting, [(n, n + 1) for n in range(0, chatting, 2)]
        )
        # On those to which nothing happens.
        turns = cycle(server.port for server in nodes.servers[1:])
        devices = await connected(accounts[:chatting], turns)
        beating = asyncio.create_task(beat(devices))
        tokens = [account.token for account in accounts[chatting:]]
        flock = await Flock.start(
            [local(server.port) for server in nodes.servers], tokens, Random(options.seed)
        )
        try:
            return await _storm(nodes, flock, _bystanders(devices, conversations), options, progress)
        finally:
            beating.cancel()
            await flock.close()


def _bystanders(devices: list[Device], conversations: list[ConversationId]) -> Bystanders:
    twos = zip(devices[::2], devices[1::2], strict=True)
    return Bystanders([Pair(*two, where) for two, where in zip(twos, conversations, strict=True)])


async def _storm(
    nodes: Nodes, flock: Flock, bystanders: Bystanders, options: NodeStormOptions, progress: Progress
) -> dict[str, object]:
    progress.say(f"{options.clients} clients come")
    arrived = await flock.arrive()
    if arrived.up < options.clients:
        raise RuntimeError(f"{arrived.up} of {options.clients} clients are there")
    bystanders.chat()
    await asyncio.sleep(options.calm_s)
    calm_s = await bystanders.latencies_s()
    await flock.tell()
    progress.say("their node is killed")
    victim, *others = nodes.servers
    before = [server.usage().cpu_s for server in others]
    killed_s = time.monotonic()
    await victim.kill()
    seen = await watch(flock, options.clients, options.after_s)
    cpu_s = [server.usage().cpu_s - was for server, was in zip(others, before, strict=True)]
    storm_s = await bystanders.latencies_s()
    await bystanders.stop()
    result: dict[str, object] = {
        "bench": "node_storm",
        "nodes": options.nodes,
        "clients": options.clients,
        "seed": options.seed,
        "load": round(os.getloadavg()[1], 1),
        "cut_off": seen.lost,
        "back": seen.up == options.clients,
        **times(seen, killed_s),
        "nodes_left_cpu_s": [round(one, 2) for one in cpu_s],
        "clients_cpu_s": round(seen.cpu_s, 2),
        "bystanders": {
            "pairs": options.bystanders,
            "before": latencies(calm_s),
            "meanwhile": latencies(storm_s),
            "refused_for_now": bystanders.refused,
        },
    }
    return result | verdict(result, {"back_last_s": BACK_S})
