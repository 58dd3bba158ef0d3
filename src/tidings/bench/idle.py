"""`bench idle`: what a connection costs that is logged in and only sends heartbeats."""

import asyncio
from pathlib import Path
from typing import NamedTuple

from tidings.bench.holding import AT_ONCE as AT_ONCE
from tidings.bench.holding import Holders, Job, connect, source
from tidings.bench.load import Device
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.seed import seed

SETTLE_S = 2.0


class IdleOptions(NamedTuple):
    """What `bench idle` does."""

    connections: int = 5000
    hold_s: float = 35.0
    """long enough for every connection to send a heartbeat"""
    workers: int = 1
    """processes that share the port; with more than one they have a hub"""
    settle_s: float = SETTLE_S
    """memory is looked at so long after something was done"""


async def idle(folder: Path, options: IdleOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    progress.say(f"registering {options.connections} people")
    accounts, _ = await seed(folder / "data", options.connections, [])
    tokens = [account.token for account in accounts]
    warming = AT_ONCE * options.workers
    assert options.connections > warming, (options, warming)
    server = ServerProcess(folder / "data", workers=options.workers)
    await server.start()
    holders = await Holders.start(server.port, tokens[warming:])
    try:
        # What the first connections load and allocate once is not a connection's cost.
        warm: list[Device] = []
        await connect(warm, Job(server.port, source(-1), tokens[:warming]))
        await asyncio.sleep(options.settle_s)
        before = server.usages()
        number = options.connections - warming
        progress.say(f"{number} connections")
        await holders.connect()
        connected = server.usages()
        progress.say(f"idle for {options.hold_s:.0f} s, with heartbeats")
        alive = await holders.beat(options.hold_s)
        await asyncio.sleep(options.settle_s)
        after = server.usages()
        grown = {
            name: one.rss_bytes - before.by_process[name].rss_bytes for name, one in after.by_process.items()
        }
        return {
            "bench": "idle",
            "workers": options.workers,
            "connections": number,
            "alive": alive,
            "rss_bytes_per_connection": round(sum(grown.values()) / number),
            "connect_cpu_us": round((connected.all.cpu_s - before.all.cpu_s) / number * 1e6),
            "heartbeat_cpu_us": round((after.all.cpu_s - connected.all.cpu_s) / number * 1e6),
            "rss_bytes": after.all.rss_bytes,
            "rss_bytes_grown_by_process": grown,
        }
    finally:
        await holders.close()
        await server.stop()
