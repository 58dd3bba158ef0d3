"""`bench direct --cluster`: pairs that chat over several nodes, with a real Cassandra and a real Redis.

The two of a pair are on different nodes (of one node, on it). What a message costs is measured in two ways:

- *at full speed*, where the messages of one turn share commits, look-ups and publications;
- *one by one*, at a pace at which every message is alone: a publication and look-ups of its own, for it and
  for its receipts. So a system of a thousand nodes sees it, where two messages of one turn are hardly ever
  for the same node. Once what was read for the message before is trusted no more, since each pair was silent
  for so long; once it is. What the nodes use while nobody says anything, measured in the same run, is left
  out, and told.

With several numbers of nodes they are measured by turns, on one Cassandra and one Redis, with the same
pairs. Where there is more than one node, other pairs, each *at home* on one node, are measured after each
round at full speed: nothing crosses there. So the difference is what crossing costs. The rest of what more
nodes cost is that each has fewer messages at a time, which share what a turn of its loop and a commit cost:
the pairs are so many that also of four nodes each has as many as the single process of `bench direct`.

All processes are scheduled in batches (`SCHED_BATCH`) where the system can: one that wakes up does not
interrupt the one that runs. Of a dozen processes on a few cores, each would else do its work in many small
pieces, with cold caches: four nodes on two cores took 339 µs a message, and 214 so.
"""

import asyncio
import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tidings.bench.backing import CassandraProcess, RedisProcess, backing
from tidings.bench.figures import milliseconds, percentile
from tidings.bench.musts import verdict
from tidings.bench.nodes import Nodes, beat, connected
from tidings.bench.pairs import Pair
from tidings.bench.progress import Progress
from tidings.bench.scheduling import scheduled_in_batches
from tidings.bench.scrape import scraped
from tidings.domain.peers import TRUST_S
from tidings.protocol.frames import Error

STALL_S = 60.0
WARM = 20
"""messages of a pair before those that count"""
SETTLE_S = 12.0
"""after the start: what nodes do once, and cursors"""
UNTRUSTED_S = 1.25 * TRUST_S
"""after which a conversation is read anew"""
TRUSTED_TIMES = 20
"""messages of a pair, about, until it is read anew where it need not be for each"""
NODE_CPU_US = 250.0
"""that a message may cost all nodes together"""
GROWTH = 1.25
"""of it, from the fewest to the most nodes"""
PUBLISHING = ("publish", "spublish")
LOOKING_UP = ("hgetall",)
BY_TABLE = ("rows", "statements", "reads")


class ClusterOptions(NamedTuple):
    """What `bench direct --cluster` does."""

    nodes: tuple[int, ...] = (2,)
    """of each system that is measured"""
    rounds: int = 1
    pairs: int = 200
    """of the system: it has as much to do, however many nodes there are"""
    messages: int = 200
    """a pair and round, at full speed"""
    window: int = 8
    """messages of a pair that are not read yet"""
    content_bytes: int = 200
    paced_s: float = 20.0
    """of a round, one by one; as long is measured while nobody says anything"""


class Work(NamedTuple):
    """What a system had used, and asked for, at some moment."""

    nodes_s: float
    redis_s: float
    cassandra_s: float | None
    calls: dict[str, int]
    """of Redis, by command"""
    store: dict[str, dict[str, float]]
    """rows, statements and reads by table; and `write_requests`"""


class Quiet(NamedTuple):
    """A time in which nobody said anything."""

    before: Work
    after: Work
    seconds: float


class System:
    """So many nodes with a keyspace and a prefix of their own, and pairs on them."""

    def __init__(
        self,
        folder: Path,
        nodes: int,
        cassandra: CassandraProcess,
        redis: RedisProcess,
        options: ClusterOptions,
    ) -> None:
        self.nodes = nodes
        self._cassandra = cassandra
        self._redis = redis
        self._options = options
        self._family = Nodes(folder / f"of{nodes}", nodes, cassandra, redis)
        self.pairs: list[Pair] = []
        """the two of each on neighbouring nodes"""
        self.at_home: list[Pair] = []
        """the two of each on one node; none where there is only one"""
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Seed it, start the nodes, connect the pairs."""
        across = self._options.pairs
        pairs = across if self.nodes == 1 else 2 * across
        accounts, conversations = await self._family.start(
            2 * pairs, [(2 * n, 2 * n + 1) for n in range(pairs)]
        )
        ports = [server.port for server in self._family.servers]
        # The second of a pair is on the neighbour of the first, or at home with it.
        places = (place for pair in range(pairs) for place in (pair, pair + int(pair < across)))
        devices = await connected(accounts, (ports[place % self.nodes] for place in places))
        self._beating = asyncio.create_task(beat(devices))
        for n, conversation in enumerate(conversations):
            pair = Pair(devices[2 * n], devices[2 * n + 1], conversation)
            pair.one.on_error = pair.other.on_error = partial(_refused, pair)
            (self.pairs if n < across else self.at_home).append(pair)

    async def stop(self) -> None:
        """End the nodes, and drop what they kept."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        await self._family.stop()

    async def work(self) -> Work:
        """What it has used so far, all nodes together; Redis and Cassandra are everybody's."""
        store: dict[str, dict[str, float]] = {kind: {} for kind in (*BY_TABLE, "write_requests")}
        for server in self._family.servers:
            for kind, by_table in (await scraped(server.data, "tidings_store_", store)).items():
                for table, number in by_table.items():
                    store[kind][table] = store[kind].get(table, 0) + number
        calls = await self._redis.calls()
        return Work(
            sum(server.usage().cpu_s for server in self._family.servers),
            self._redis.cpu_s,
            self._cassandra.cpu_s,
            calls,
            store,
        )

    async def full_speed(self, pairs: Sequence[Pair], messages: int) -> None:
        """So many messages of each pair, with its window full."""
        for pair in pairs:
            pair.prepare(messages, bytes(self._options.content_bytes))
            pair.run(messages, self._options.window)
        async with asyncio.timeout(STALL_S + messages * len(pairs) / 50):
            await asyncio.gather(*(pair.finished for pair in pairs))

    async def paced(self, pairs: Sequence[Pair], messages: int, per_s: float) -> list[float]:
        """Messages at even distances, each pair in turn: seconds from send to receive."""
        for number, pair in enumerate(pairs):
            pair.latencies_s.clear()
            turns = len(range(number, messages, len(pairs)))
            pair.prepare(turns, bytes(self._options.content_bytes))
            pair.run(turns, 0)
        begun = time.perf_counter()
        for number in range(messages):
            await asyncio.sleep(max(0.0, begun + number / per_s - time.perf_counter()))
            pairs[number % len(pairs)].send_one()
        async with asyncio.timeout(STALL_S):
            await asyncio.gather(*(pair.finished for pair in pairs[:messages]))
        return [latency for pair in pairs for latency in pair.latencies_s]


async def cluster(folder: Path, options: ClusterOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    systems: list[System] = []
    async with AsyncExitStack() as stack:
        stack.enter_context(scheduled_in_batches())
        progress.say("Cassandra and Redis")
        cassandra, redis = await stack.enter_async_context(backing(folder))
        for nodes in options.nodes:
            progress.say(f"people on {nodes} nodes")
            system = System(folder, nodes, cassandra, redis, options)
            systems.append(system)
            stack.push_async_callback(system.stop)
            await system.start()
        for system in systems:
            await system.full_speed([*system.pairs, *system.at_home], WARM)
        await asyncio.sleep(SETTLE_S)
        rounds: dict[int, list[dict[str, object]]] = {system.nodes: [] for system in systems}
        for number in range(options.rounds):
            for system in systems:
                progress.say(f"round {number + 1} of {options.rounds}, {system.nodes} nodes")
                rounds[system.nodes].append(await _round(system, options))
    return _result(options, rounds)


async def _round(system: System, options: ClusterOptions) -> dict[str, object]:
    figures = await _at_full_speed(system, system.pairs, options)
    if system.at_home:
        figures["at_home"] = await _at_full_speed(system, system.at_home, options)
    if not options.paced_s:
        return figures
    await asyncio.sleep(UNTRUSTED_S)
    before = await system.work()
    await asyncio.sleep(options.paced_s)
    quiet = Quiet(before, await system.work(), options.paced_s)
    # So fast that each pair is silent for as long; then the same, by few of them.
    per_s = len(system.pairs) / UNTRUSTED_S
    some = system.pairs[: math.ceil(per_s * TRUST_S / TRUSTED_TIMES)]
    figures["one_by_one"] = await _paced(system, system.pairs, per_s, quiet)
    figures["one_by_one_trusted"] = await _paced(system, some, per_s, quiet)
    return figures


async def _at_full_speed(system: System, pairs: Sequence[Pair], options: ClusterOptions) -> dict[str, object]:
    total = options.messages * len(pairs)
    before, begun = await system.work(), time.perf_counter()
    await system.full_speed(pairs, options.messages)
    wall_s = time.perf_counter() - begun
    return {**_spent(before, await system.work(), total), "messages_per_s": round(total / wall_s)}


async def _paced(system: System, pairs: Sequence[Pair], per_s: float, quiet: Quiet) -> dict[str, object]:
    messages = max(1, int(per_s * quiet.seconds))
    before, begun = await system.work(), time.perf_counter()
    latencies = await system.paced(pairs, messages, per_s)
    times = (time.perf_counter() - begun) / quiet.seconds
    idle = _idle(quiet.before, quiet.after, times)
    return {
        "messages_per_s": round(per_s),
        **_spent(before, await system.work(), messages, idle),
        "p50_ms": milliseconds(percentile(latencies, 0.5)),
        "p99_ms": milliseconds(percentile(latencies, 0.99)),
        "idle_cpu_ms_per_s": round((quiet.after.nodes_s - quiet.before.nodes_s) / quiet.seconds * 1e3, 1),
    }


def _refused(pair: Pair, error: Error) -> None:
    """What was refused would have to be sent again, and is nothing to measure."""
    if not pair.finished.done():
        pair.finished.set_exception(RuntimeError(f"the server refused: {error.message}"))


def _idle(before: Work, after: Work, times: float) -> Work:
    """What went by itself, in so many times as long."""
    return Work(
        (after.nodes_s - before.nodes_s) * times,
        (after.redis_s - before.redis_s) * times,
        None
        if after.cassandra_s is None or before.cassandra_s is None
        else (after.cassandra_s - before.cassandra_s) * times,
        {name: round((calls - before.calls.get(name, 0)) * times) for name, calls in after.calls.items()},
        {
            kind: {
                table: (number - before.store[kind].get(table, 0)) * times
                for table, number in by_table.items()
            }
            for kind, by_table in after.store.items()
        },
    )


NO_WORK = Work(0.0, 0.0, 0.0, {}, {})


def _spent(before: Work, after: Work, messages: int, idle: Work = NO_WORK) -> dict[str, object]:
    """What a message took, without what went by itself."""

    def cpu_us(seconds: float) -> float:
        return round(seconds / messages * 1e6, 1)

    def calls(names: Sequence[str]) -> float:
        made = sum(
            after.calls.get(name, 0) - before.calls.get(name, 0) - idle.calls.get(name, 0) for name in names
        )
        return round(made / messages, 2)

    def by_table(kind: str) -> dict[str, float]:
        gone = {
            table: (number - before.store[kind].get(table, 0) - idle.store.get(kind, {}).get(table, 0))
            / messages
            for table, number in after.store[kind].items()
        }
        return {table: round(number, 2) for table, number in gone.items() if number >= 0.005}

    cassandra: dict[str, object] = {}
    if after.cassandra_s is not None and before.cassandra_s is not None:
        used_s = after.cassandra_s - before.cassandra_s - (idle.cassandra_s or 0.0)
        cassandra["cassandra_cpu_us_per_message"] = cpu_us(used_s)
    return {
        "node_cpu_us_per_message": cpu_us(after.nodes_s - before.nodes_s - idle.nodes_s),
        "redis_cpu_us_per_message": cpu_us(after.redis_s - before.redis_s - idle.redis_s),
        **cassandra,
        "publications_per_message": calls(PUBLISHING),
        "look_ups_per_message": calls(LOOKING_UP),
        "requests_per_message": sum(by_table("write_requests").values()),
        "rows_per_message": by_table("rows"),
        "statements_per_message": by_table("statements"),
        "reads_per_message": by_table("reads"),
    }


def _result(options: ClusterOptions, rounds: Mapping[int, list[dict[str, object]]]) -> dict[str, object]:
    by_nodes = [{"nodes": nodes, **_middle(found)} for nodes, found in rounds.items()]
    result: dict[str, object] = {
        "bench": "cluster",
        "rounds": options.rounds,
        "pairs": options.pairs,
        "messages_of_a_pair": options.messages,
        "window": options.window,
        "content_bytes": options.content_bytes,
        "load": round(os.getloadavg()[1], 1),
        "by_nodes": by_nodes,
    }
    cpu_us = {nodes: _cpu_us(found) for nodes, found in rounds.items()}
    fewest, most = min(cpu_us), max(cpu_us)
    result["node_cpu_us_per_message"] = cpu_us[most]
    musts = {"node_cpu_us_per_message": NODE_CPU_US}
    if fewest < most:
        result["node_cpu_growth"] = round(cpu_us[most] / cpu_us[fewest], 2)
        musts["node_cpu_growth"] = GROWTH
    at_home = [found for one in rounds[most] if isinstance(found := one.get("at_home"), dict)]
    if at_home:
        result["crossing"] = round(cpu_us[most] / _cpu_us(at_home), 2)
    return result | verdict(result, musts)


def _cpu_us(rounds: Sequence[Mapping[str, object]]) -> float:
    return median(float(str(one["node_cpu_us_per_message"])) for one in rounds)


def _middle(rounds: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Of each figure the median over the rounds, and all rounds of what the nodes used."""
    result: dict[str, object] = {}
    for name in dict.fromkeys(name for one in rounds for name in one):
        values = [one[name] for one in rounds if name in one]
        if isinstance(values[0], dict):
            result[name] = _middle([value for value in values if isinstance(value, dict)])
        else:
            result[name] = round(median(float(str(value)) for value in values), 2)
            if name == "node_cpu_us_per_message" and len(values) > 1:
                result["node_cpu_us_per_message_of_rounds"] = values
    return result
