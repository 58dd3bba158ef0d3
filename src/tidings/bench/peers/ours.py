"""This server, by its own benchmarks.

Their clients do more than those of the others: they acknowledge, and mark as read.
"""

from pathlib import Path
from typing import Any, cast

from tidings import __version__
from tidings.bench.direct import DirectOptions, direct
from tidings.bench.idle import AT_ONCE, IdleOptions, idle
from tidings.bench.offline import OfflineOptions, offline
from tidings.bench.peers.contract import Direct, Idle, Offline, Sizes
from tidings.bench.progress import Progress

Result = dict[str, Any]


class Tidings:
    """A contestant like any other, but that it has benchmarks of its own."""

    name = "Tidings"
    promises = (
        "`Sent` comes after the fsync; each message is acknowledged by its receiver and read, with both "
        "receipts; it waits 45 days for every device, whose place the server keeps"
    )

    def version(self) -> str:
        return __version__

    async def direct(self, folder: Path, sizes: Sizes, progress: Progress) -> Direct:
        options = DirectOptions(
            pairs=sizes.pairs,
            messages=sizes.messages,
            window=sizes.window,
            content_bytes=sizes.content_bytes,
            rates=(sizes.rate,),
            paced_s=sizes.paced_s,
        )
        return direct_figures(await direct(folder, options, progress))

    async def idle(self, folder: Path, sizes: Sizes, progress: Progress) -> Idle:
        assert sizes.connections > AT_ONCE, sizes
        return idle_figures(await idle(folder, IdleOptions(sizes.connections, sizes.hold_s), progress))

    async def offline(self, folder: Path, sizes: Sizes, progress: Progress) -> Offline:
        options = OfflineOptions(sizes.users, sizes.waiting, sizes.content_bytes)
        return offline_figures(await offline(folder, options, progress))


def direct_figures(result: dict[str, object]) -> Direct:
    """Out of what `bench direct --json` prints."""
    found = cast(Result, result)
    paced = found["paced"][0]
    return Direct(
        found["server_cpu_us_per_message"],
        found["messages_per_s"],
        paced["server_cpu_us_per_message"],
        paced["p50_ms"],
        paced["p99_ms"],
    )


def idle_figures(result: dict[str, object]) -> Idle:
    """Out of what `bench idle --json` prints."""
    found = cast(Result, result)
    return Idle(found["rss_bytes_per_connection"], found["connect_cpu_us"])


def offline_figures(result: dict[str, object]) -> Offline:
    """Out of what `bench offline --json` prints."""
    found = cast(Result, result)
    return Offline(
        found["server_cpu_us_per_message"], found["messages_per_s"], found["send_cpu_us_per_message"]
    )
