"""`bench group`: one writes, and all members of a group have it and have acknowledged it.

What counts is the server's CPU for one member's copy: its row, its frame, its acknowledgement, the
watermark and cursor that this moves, and its share of what the writer is told of it.
"""

import asyncio
import time
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tidings.bench.figures import milliseconds, percentile
from tidings.bench.musts import verdict
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.rooms import Room, configured, connected, made
from tidings.bench.seed import seed
from tidings.protocol.ids import UserId
from tidings.protocol.limits import Limits

STALL_S = 60.0
WARM = 20
"""messages before those that count"""
CPU_US = {1: 24.0, 8: 12.0}
"""that a copy may cost in a group of `MEMBERS`, by window"""
MEMBERS = 100
BOTH_S = 1.0
"""how long a group goes both ways here, on its way from inboxes to the log"""


class Way(StrEnum):
    """How the group's messages reach its members."""

    DEFAULT = "default"
    """as the server has it for a group of that size"""
    WRITE = "write"
    """a copy in each member's inbox"""
    READ = "read"
    """stored once"""


class GroupOptions(NamedTuple):
    """What `bench group` does."""

    members: int = MEMBERS
    """the one who writes included"""
    window: int = 1
    """messages in flight"""
    way: Way = Way.DEFAULT
    reads: bool = False
    """members also mark as read"""
    copies: int = 50_000
    """of a round, about"""
    rounds: int = 5
    content_bytes: int = 200
    workers: int = 1
    """processes that share the port; with more than one they have a hub"""
    settle_s: float = 12.0
    """from the start to what counts: a store that was just opened does not know yet how new a new row is"""

    @property
    def messages(self) -> int:
        """Of a round."""
        return max(1, self.copies // (self.members - 1))


class Round(NamedTuple):
    """What one round showed."""

    cpu_s: float
    """of the server"""
    wall_s: float
    """until all had all; what the writer is told comes later"""
    complete_s: list[float]


async def group(folder: Path, options: GroupOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    progress.say(f"registering {options.members} people")
    accounts, _ = await seed(folder / "data", options.members, [])
    config = configured(folder, **_limits(options))
    server = ServerProcess(folder / "data", config=config, workers=options.workers)
    await server.start()
    try:
        devices = await connected(server.port, [account.token for account in accounts])
        users = [UserId(int(account.user_id)) for account in accounts]
        room = Room(await made(devices[0], users[1:]), devices[0], devices[1:])
        for device in devices[1:]:
            device.marks_read = options.reads
        # It may be on its way from inboxes to the log.
        await asyncio.sleep(max(options.settle_s, 0.0 if options.way == Way.WRITE else 2 * BOTH_S))
        await _round(server, room, options, WARM)
        room.copies = room.pulled = 0
        progress.say(f"{options.rounds} rounds of {options.messages} messages")
        rounds = [await _round(server, room, options, options.messages) for _ in range(options.rounds)]
    finally:
        await server.stop()
    return _result(options, room, rounds)


async def _round(server: ServerProcess, room: Room, options: GroupOptions, messages: int) -> Round:
    before, begun = server.usage(), time.perf_counter()
    async with asyncio.timeout(STALL_S + messages * len(room.others) / 1000):
        await room.run(messages, options.window, options.content_bytes)
        wall_s = time.perf_counter() - begun
        await room.told(read=options.reads)
    return Round(server.usage().cpu_s - before.cpu_s, wall_s, list(room.complete_s))


def _limits(options: GroupOptions) -> dict[str, int | float]:
    defaults = Limits()
    match options.way:
        case Way.WRITE:
            return {"fanout_write_members": max(options.members, defaults.fanout_write_members)}
        case Way.READ:
            most = min(options.members - 1, defaults.fanout_write_members)
            return {"fanout_write_members": most, "fanout_write_again": most - 1, "fanout_both_s": BOTH_S}
        case Way.DEFAULT:
            return {"fanout_both_s": BOTH_S}


def _result(options: GroupOptions, room: Room, rounds: list[Round]) -> dict[str, object]:
    copies = options.messages * len(room.others)
    complete_s = [seconds for one in rounds for seconds in one.complete_s]
    each_us = [round(one.cpu_s / copies * 1e6, 1) for one in rounds]
    result: dict[str, object] = {
        "bench": "group",
        "workers": options.workers,
        "members": options.members,
        "window": options.window,
        "fanout": options.way.value,
        "reads": options.reads,
        "content_bytes": options.content_bytes,
        "messages": options.messages,
        "server_cpu_us_per_copy": median(each_us),
        "server_cpu_us_per_copy_by_round": each_us,
        "server_cpu_us_per_message": round(median(each_us) * len(room.others)),
        "messages_per_s": round(median(options.messages / one.wall_s for one in rounds)),
        "complete_p50_ms": milliseconds(percentile(complete_s, 0.5)),
        "complete_p99_ms": milliseconds(percentile(complete_s, 0.99)),
        "pulled": round(room.pulled / room.copies, 3),
        "tallies": room.tallies,
    }
    if options.members == MEMBERS and options.window in CPU_US and options.workers == 1 and not options.reads:
        result |= verdict(result, {"server_cpu_us_per_copy": CPU_US[options.window]})
    return result
