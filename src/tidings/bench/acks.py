"""`bench acks`: what an acknowledgement costs in many small groups and in a large one of as many people.

The same connections say it, as often and at the same pace; only the size of the groups differs. What was
sent waits on the devices before, so that nothing but acknowledgements and what follows from them is counted.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tidings.bench.load import Device
from tidings.bench.musts import verdict
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.rooms import Room, configured, connected, made
from tidings.bench.seed import seed
from tidings.protocol.ids import UserId

STALL_S = 120.0
SETTLE_S = 0.5
"""until all have acknowledged what they were told of the groups themselves"""
WINDOW = 8
RATIO = 1.25
"""what one in the large group may cost, in terms of one in a small group"""


class AcksOptions(NamedTuple):
    """What `bench acks` does."""

    members: int = 200
    """of the large group"""
    few: int = 10
    """of each small one"""
    waves: int = 200
    """each device acknowledges so many messages, one by one; at most as many as the window takes"""
    pause_s: float = 0.015
    """from one wave to the next: the server should be idle by then"""
    rounds: int = 5
    content_bytes: int = 200


async def acks(folder: Path, options: AcksOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    progress.say(f"registering {options.members} people")
    accounts, _ = await seed(folder / "data", options.members, [])
    server = ServerProcess(folder / "data", config=configured(folder))
    await server.start()
    try:
        devices = await connected(server.port, [account.token for account in accounts])
        users = [UserId(int(account.user_id)) for account in accounts]
        few = [
            await _room(devices[first : first + options.few], users[first : first + options.few])
            for first in range(0, options.members, options.few)
        ]
        many = [await _room(devices, users)]
        await asyncio.sleep(SETTLE_S)
        for rooms in (few, many):  # connections and caches are warm
            await _round(server, rooms, options._replace(waves=20))
        each_us: list[tuple[float, float]] = []
        for number in range(1, options.rounds + 1):
            progress.say(f"{number} of {options.rounds}: {options.waves} messages to everybody, twice")
            each_us.append((await _round(server, few, options), await _round(server, many, options)))
    finally:
        await server.stop()
    few_us, many_us = (list(column) for column in zip(*each_us, strict=True))
    result: dict[str, object] = {
        "bench": "acks",
        "members": [options.few, options.members],
        "groups": [len(few), len(many)],
        "waves": options.waves,
        "server_cpu_us_per_ack": [median(few_us), median(many_us)],
        "server_cpu_us_per_ack_by_round": [few_us, many_us],
        "ratio": round(median(many_us) / max(median(few_us), 0.1), 2),
    }
    return result | verdict(result, {"ratio": RATIO})


async def _room(devices: Sequence[Device], users: Sequence[UserId]) -> Room:
    return Room(await made(devices[0], users[1:]), devices[0], devices[1:])


async def _round(server: ServerProcess, rooms: Sequence[Room], options: AcksOptions) -> float:
    """The CPU of an acknowledgement, in µs."""
    others = [device for room in rooms for device in room.others]
    async with asyncio.timeout(STALL_S):
        for device in others:
            device.holds_back = True
        await asyncio.gather(*(room.run(options.waves, WINDOW, options.content_bytes) for room in rooms))
        before = server.usage()
        for _ in range(options.waves):
            await asyncio.sleep(options.pause_s)
            for device in others:
                device.acknowledge_one()
        await asyncio.gather(*(room.told(read=False) for room in rooms))
    spent_s = server.usage().cpu_s - before.cpu_s
    for device in others:
        device.holds_back = False
    return round(spent_s / (options.waves * len(others)) * 1e6, 1)
