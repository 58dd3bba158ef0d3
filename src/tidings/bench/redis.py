"""`bench redis`: what bus and directory on Redis cost the node, in CPU of this process and in time."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import NamedTuple

import structlog
from structlog.typing import FilteringBoundLogger

from tidings.bench.progress import Progress
from tidings.bus.contract import BusError
from tidings.bus.redis import RedisBus
from tidings.directory.contract import DirectoryError, Place
from tidings.directory.redis import RedisDirectory
from tidings.protocol.ids import DeviceId, UserId
from tidings.redis.config import RedisConfig, RedisMisconfigured

BATCHES = (1, 3, 10, 50)
"""so many go out together"""
WARMING = 50
FIRST_USER = 1 << 60
"""beyond what is given in our time"""
PATIENCE_S = 10.0


class RedisOptions(NamedTuple):
    """What `bench redis` does."""

    address: str = "127.0.0.1:6379"
    operations: int = 3000
    """of each kind"""
    bytes: int = 200
    """of a publication"""


async def redis(options: RedisOptions, progress: Progress) -> dict[str, object]:
    """Run it; the result is what `--json` prints. Raises RuntimeError if Redis cannot be used."""
    # Its own keys and channels, whatever else is there.
    config = RedisConfig(addresses=(options.address,), prefix=f"bench:{token_hex(4)}:")
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr), wrapper_class=structlog.make_filtering_bound_logger("warning")
    )
    try:
        bus = await RedisBus.open(config, log)
        directory = await RedisDirectory.open(config, log)
    except (RedisMisconfigured, BusError, DirectoryError) as error:
        raise RuntimeError(str(error)) from error
    places = [
        Place(UserId(FIRST_USER + n), DeviceId(FIRST_USER + n), FIRST_USER + n, 1)
        for n in range(max(BATCHES))
    ]
    heard = _Counted()
    await bus.subscribe("bench", heard)
    data = bytes(options.bytes)

    async def look_up(count: int) -> None:
        await directory.look_up([place.user_id for place in places[:count]])

    async def refresh(count: int) -> None:
        await directory.enter(places[:count])

    async def ask_time(count: int) -> None:
        await asyncio.gather(*(directory.time_ms() for _ in range(count)))

    async def publish(count: int) -> None:
        for _ in range(count):
            bus.publish("bench", data)
        await heard.wait(count)

    kinds: dict[str, Callable[[int], Awaitable[None]]] = {
        "look_up": look_up,
        "refresh": refresh,
        "time": ask_time,
        "publish_and_hear": publish,
    }
    result: dict[str, object] = {"bench": "redis", "operations": options.operations, "batches": list(BATCHES)}
    try:
        for name, act in kinds.items():
            progress.say(name)
            measured = [await _measure(act, count, options.operations // count) for count in BATCHES]
            result[f"{name}_cpu_us"] = [cpu_us for cpu_us, _ in measured]
            result[f"{name}_us"] = [took_us for _, took_us in measured]
        await directory.leave(places)
    finally:
        await bus.close()
        await directory.close()
    return result


async def _measure(act: Callable[[int], Awaitable[None]], count: int, times: int) -> tuple[float, float]:
    """CPU and time of one operation, µs, where so many go out together."""
    for _ in range(WARMING):
        await act(count)
    cpu_s, began_s = time.process_time(), time.perf_counter()
    for _ in range(times):
        await act(count)
    cpu_s, took_s = time.process_time() - cpu_s, time.perf_counter() - began_s
    return round(cpu_s / times / count * 1e6, 1), round(took_s / times / count * 1e6, 1)


class _Counted:
    """Takes publications, until there were so many."""

    def __init__(self) -> None:
        self._missing = 0
        self._all: asyncio.Future[None] | None = None

    def __call__(self, _data: bytes) -> None:
        self._missing -= 1
        if self._missing <= 0 and self._all is not None and not self._all.done():
            self._all.set_result(None)

    async def wait(self, count: int) -> None:
        self._missing = count
        self._all = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE_S):
            await self._all
