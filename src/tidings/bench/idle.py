"""`bench idle`: what a connection costs that is logged in and only sends heartbeats."""

import asyncio
import resource
import time
from pathlib import Path
from typing import NamedTuple

from tidings.bench.load import Device
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.seed import seed
from tidings.protocol.frames import Heartbeat

AT_ONCE = 50
SETTLE_S = 2.0


class IdleOptions(NamedTuple):
    """What `bench idle` does."""

    connections: int = 5000
    hold_s: float = 35.0
    """long enough for every connection to send a heartbeat"""


async def idle(folder: Path, options: IdleOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    progress.say(f"registering {options.connections} people")
    accounts, _ = await seed(folder / "data", options.connections, [])
    server = ServerProcess(folder / "data")
    await server.start()
    try:
        # What the first connections load and allocate once is not a connection's cost.
        warm = [await Device(account.token).connect(server.port) for account in accounts[:AT_ONCE]]
        await asyncio.gather(*(device.drained for device in warm))
        await asyncio.sleep(SETTLE_S)
        before = server.usage()
        progress.say(f"{options.connections - AT_ONCE} connections")
        devices: list[Device] = []
        for start in range(AT_ONCE, len(accounts), AT_ONCE):
            batch = [
                Device(account.token).connect(server.port) for account in accounts[start : start + AT_ONCE]
            ]
            devices += await asyncio.gather(*batch)
            await asyncio.gather(*(device.drained for device in devices[-AT_ONCE:]))
        connected = server.usage()
        progress.say(f"idle for {options.hold_s:.0f} s, with heartbeats")
        begun = time.monotonic()
        for number, device in enumerate(devices):
            due = begun + options.hold_s * number / len(devices)
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            device.say(Heartbeat())
        await asyncio.sleep(SETTLE_S)
        after = server.usage()
        alive = sum(not device.closed.done() for device in devices)
        return {
            "bench": "idle",
            "connections": len(devices),
            "alive": alive,
            "rss_bytes_per_connection": round((after.rss_bytes - before.rss_bytes) / len(devices)),
            "connect_cpu_us": round((connected.cpu_s - before.cpu_s) / len(devices) * 1e6),
            "heartbeat_cpu_us": round((after.cpu_s - connected.cpu_s) / len(devices) * 1e6),
            "rss_bytes": after.rss_bytes,
        }
    finally:
        await server.stop()
