"""`bench storm`: a worker with thousands of clients is killed, and all of them come back at once.

The clients are idle; what is looked at is how soon all are served again, in how many waves they knock,
what that costs the processes that are left, and how much later a message comes there meanwhile.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from tidings.bench.bystanders import Bystanders
from tidings.bench.family import usage
from tidings.bench.figures import milliseconds, percentile
from tidings.bench.flock import Flock, Told
from tidings.bench.load import local
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.seed import seed
from tidings.bench.spread import owners

BACK_S = 60.0
POLL_S = 0.25


class StormOptions(NamedTuple):
    """What `bench storm` does."""

    workers: int = 2
    clients: int = 5000
    """about so many on each worker, and so on the one that is killed"""
    seed: int = 1
    bystanders: int = 20
    """pairs that chat on the other workers"""
    calm_s: float = 12.0
    """after the arrival: by then all have had their second look at the inbox"""
    after_s: float = 3.0
    """this long all is watched once everybody is back: a second wave would come then"""


class Cost(NamedTuple):
    """CPU seconds that processes used meanwhile."""

    supervisor: float
    hub: float
    workers_left: list[float]
    new_workers: list[float]
    """with their start"""


async def storm(folder: Path, options: StormOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    assert options.workers > 1, options
    total = options.clients * options.workers
    progress.say(f"registering {total} people")
    chatting = 2 * options.bystanders
    accounts, conversations = await seed(
        folder / "data", total + chatting, [(n, n + 1) for n in range(0, chatting, 2)]
    )
    server = ServerProcess(folder / "data", workers=options.workers)
    await server.start()
    tokens = [account.token for account in accounts[chatting:]]
    flock = await Flock.start([local(server.port)], tokens, Random(options.seed))
    try:
        progress.say(f"{total} clients come")
        arrived = await flock.arrive()
        if arrived.up < total:
            raise RuntimeError(f"{arrived.up} of {total} clients are there")
        victim, held = _fullest(server)
        bystanders = await Bystanders.connect(server, accounts[:chatting], conversations, victim)
        bystanders.chat()
        await asyncio.sleep(options.calm_s)
        calm_s = await bystanders.latencies_s()
        await flock.tell()
        progress.say(f"the worker that has {held} of them is killed")
        before = {pid: usage(pid).cpu_s for pid in server.family().pids}
        killed_s = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        seen = await watch(flock, total, options.after_s)
        cost = _cost(server, before)
        storm_s = await bystanders.latencies_s()
        await bystanders.stop()
    finally:
        await flock.close()
        await server.stop()
    return {
        "bench": "storm",
        "workers": options.workers,
        "clients": total,
        "seed": options.seed,
        "cut_off": seen.lost,
        "back": seen.up == total,
        **times(seen, killed_s),
        "cpu_s": {name: _rounded(value) for name, value in cost._asdict().items()},
        "clients_cpu_s": round(seen.cpu_s, 2),
        "bystanders": {
            "pairs": options.bystanders,
            "before": latencies(calm_s),
            "meanwhile": latencies(storm_s),
        },
    }


def _fullest(server: ServerProcess) -> tuple[int, int]:
    """The worker that has the most connections, and how many."""
    held = Counter(owners(server.port, server.family().workers).values())
    ((pid, number),) = held.most_common(1)
    return pid, number


async def watch(flock: Flock, total: int, after_s: float) -> Told:
    """All that happens until everybody is back, and a little longer."""
    seen = Told(0, 0, [], [])
    until_s = time.monotonic() + BACK_S
    while not seen.lost or seen.up < total:
        if time.monotonic() > until_s:
            break
        await asyncio.sleep(POLL_S)
        seen = _added(seen, await flock.tell())
    await asyncio.sleep(after_s)
    return _added(seen, await flock.tell())


def _added(seen: Told, more: Told) -> Told:
    return Told(
        more.up,
        seen.lost + more.lost,
        seen.tries_s + more.tries_s,
        seen.ups_s + more.ups_s,
        seen.cpu_s + more.cpu_s,
    )


def _cost(server: ServerProcess, before: dict[int, float]) -> Cost:
    family = server.family()
    assert family.hub is not None
    used = {pid: usage(pid).cpu_s - before.get(pid, 0.0) for pid in family.pids}
    return Cost(
        used[family.first],
        used[family.hub],
        [used[pid] for pid in family.workers if pid in before],
        [used[pid] for pid in family.workers if pid not in before],
    )


def times(seen: Told, killed_s: float) -> dict[str, object]:
    """When clients tried and when they were back, in seconds after the kill."""
    tries, ups = ([moment - killed_s for moment in moments] for moments in (seen.tries_s, seen.ups_s))
    tries_per_s = _per_second(tries)
    return {
        "back_p50_s": round(percentile(ups, 0.5), 2),
        "back_p99_s": round(percentile(ups, 0.99), 2),
        "back_last_s": round(max(ups, default=0.0), 2),
        "tries": len(tries),
        "tries_peak_per_s": max(tries_per_s, default=0),
        "tries_in_each_second": tries_per_s,
        "back_in_each_second": _per_second(ups),
    }


def latencies(latencies_s: Sequence[float]) -> dict[str, float]:
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "worst_ms": 1.0}
    return {name: milliseconds(percentile(latencies_s, share)) for name, share in shares.items()}


def _per_second(moments: Sequence[float]) -> list[int]:
    counted = Counter(int(moment) for moment in moments)
    return [counted[second] for second in range(max(counted, default=-1) + 1)]


def _rounded(value: float | list[float]) -> float | list[float]:
    return round(value, 2) if isinstance(value, float) else [round(one, 2) for one in value]
