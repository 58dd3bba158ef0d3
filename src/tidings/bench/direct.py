"""`bench direct`: pairs that chat, every message durable, delivered and read with both receipts.

At full speed the CPU of the server a message; paced, how long a message takes from send to
receive beside what an fsync took in the same run.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tidings.bench.family import Usage, Usages
from tidings.bench.figures import FsyncProbe, milliseconds, percentile
from tidings.bench.musts import verdict
from tidings.bench.pairs import Pair, Spread, Two, connected, where
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.sealed import SealedPair, sealed_pairs
from tidings.bench.seed import seed
from tidings.protocol.api import LoggedIn
from tidings.protocol.ids import ConversationId

STALL_S = 60.0
WARM = 20
"""messages of a pair before those that count"""
PLAIN_CPU_US = 80.0
"""of a single process, that a message may cost at full speed"""
ENCRYPTED_CPU_US = 100.0
"""the same, where it goes to three devices under seals"""


class DirectOptions(NamedTuple):
    """What `bench direct` does."""

    pairs: int = 50
    messages: int = 400
    """a pair, at full speed"""
    window: int = 8
    """messages of a pair that are not read yet"""
    content_bytes: int = 200
    rates: tuple[int, ...] = (500, 1000)
    """messages a second, paced"""
    paced_s: float = 10.0
    workers: int = 1
    """processes that share the port; with more than one they have a hub"""
    spread: Spread = Spread.ANY
    """over which of them a pair is"""
    encrypted: bool = False
    """each has two devices, and what is written is sealed for the three others"""


async def direct(folder: Path, options: DirectOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    people = 2 * options.pairs
    progress.say(f"registering {people} people")
    accounts, conversations = await seed(
        folder / "data",
        people,
        [(2 * n, 2 * n + 1) for n in range(options.pairs)],
        devices=2 if options.encrypted else 1,
    )
    server = ServerProcess(folder / "data", workers=options.workers)
    await server.start()
    try:
        devices = await connected(server, accounts[:people], conversations, options.spread)
        pairs = await _pairs(server, accounts, devices, conversations, options, progress)
        content = bytes(options.content_bytes)
        _prepare(pairs, WARM, content)
        await _full_speed(pairs, WARM, options.window)  # connections and caches are warm
        _prepare(pairs, options.messages, content)
        before, begun = server.usages(), time.perf_counter()
        progress.say(f"{options.pairs * options.messages} messages at full speed")
        await _full_speed(pairs, options.messages, options.window)
        wall_s = time.perf_counter() - begun
        total = options.pairs * options.messages
        result: dict[str, object] = {
            "bench": "direct",
            "workers": options.workers,
            "pairs": options.pairs,
            "pairs_on_two_workers": sum(one != other for one, other in where(server, devices)),
            "messages": total,
            "window": options.window,
            "content_bytes": options.content_bytes,
            **_cpu_us(before, server.usages(), total),
            "messages_per_s": round(total / wall_s),
            **_opened(pairs),
            "paced": [
                await _paced(server, pairs, rate, options, content, progress) for rate in options.rates
            ],
            **_memory(server.usages()),
        }
        if options.workers == 1:
            most_us = ENCRYPTED_CPU_US if options.encrypted else PLAIN_CPU_US
            result |= verdict(result, {"server_cpu_us_per_message": most_us})
    finally:
        await server.stop()
    return result


def _cpu_us(before: Usages, after: Usages, messages: int) -> dict[str, float]:
    """CPU a message: of all processes, and of what they are where there are several."""

    def spent(of: Callable[[Usages], Usage]) -> float:
        return round((of(after).cpu_s - of(before).cpu_s) / messages * 1e6, 1)

    total = {"server_cpu_us_per_message": spent(lambda one: one.all)}
    if len(after.by_process) == 1:
        return total
    return total | {
        "hub_cpu_us_per_message": spent(lambda one: one.hub),
        "workers_cpu_us_per_message": spent(lambda one: one.workers),
    }


def _memory(usages: Usages) -> dict[str, object]:
    by_process = {name: one.rss_bytes for name, one in usages.by_process.items()}
    return {"rss_bytes": usages.all.rss_bytes} | (
        {} if len(by_process) == 1 else {"rss_bytes_by_process": by_process}
    )


async def _pairs(
    server: ServerProcess,
    accounts: Sequence[LoggedIn],
    devices: list[Two],
    conversations: Sequence[ConversationId],
    options: DirectOptions,
    progress: Progress,
) -> list[Pair]:
    if not options.encrypted:
        return [Pair(*two, conversation) for two, conversation in zip(devices, conversations, strict=True)]
    progress.say("keys, lists and sessions")
    further = await connected(server, accounts[len(accounts) // 2 :], conversations, Spread.ANY)
    return [*await sealed_pairs(server, accounts, further, devices, conversations)]


def _opened(pairs: list[Pair]) -> dict[str, object]:
    """Of those that encrypt: how much was opened, and how much of that is not what was sent."""
    looked = [pair.wrong() for pair in pairs if isinstance(pair, SealedPair)]
    if not looked:
        return {"encrypted": False}
    opened, wrong = (sum(part) for part in zip(*looked, strict=True))
    return {"encrypted": True, "devices": 4, "opened": opened, "wrong": wrong}


def _prepare(pairs: list[Pair], messages: int, content: bytes) -> None:
    for pair in pairs:
        pair.prepare(messages, content)


async def _full_speed(pairs: list[Pair], messages: int, window: int) -> None:
    for pair in pairs:
        pair.run(messages, window)
    async with asyncio.timeout(STALL_S + messages * len(pairs) / 500):
        await asyncio.gather(*(pair.finished for pair in pairs))


async def _paced(
    server: ServerProcess,
    pairs: list[Pair],
    rate: int,
    options: DirectOptions,
    content: bytes,
    progress: Progress,
) -> dict[str, object]:
    """Messages at even distances, each pair in turn."""
    total = int(rate * options.paced_s)
    progress.say(f"{total} messages at {rate} a second")
    for number, pair in enumerate(pairs):
        pair.latencies_s.clear()
        messages = len(range(number, total, len(pairs)))
        pair.prepare(messages, content)
        pair.run(messages, 0)
    before, begun = server.usages(), time.perf_counter()
    async with FsyncProbe(server.data) as probe:
        for number in range(total):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            pairs[number % len(pairs)].send_one()
        async with asyncio.timeout(STALL_S):
            await asyncio.gather(*(pair.finished for pair in pairs))
    after = server.usages()
    latencies = [latency for pair in pairs for latency in pair.latencies_s]
    assert len(latencies) == total, (len(latencies), total)
    return {
        "messages_per_s": rate,
        **_cpu_us(before, after, total),
        "p50_ms": milliseconds(percentile(latencies, 0.5)),
        "p99_ms": milliseconds(percentile(latencies, 0.99)),
        "fsync_p50_ms": milliseconds(percentile(probe.seconds, 0.5)),
        "fsync_p99_ms": milliseconds(percentile(probe.seconds, 0.99)),
    }
