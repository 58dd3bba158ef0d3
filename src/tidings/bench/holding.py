"""A process that holds connections which only send heartbeats: `python -m tidings.bench.holding`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from tidings.bench.load import Device
from tidings.bench.remote import Remote, serve

MODULE = "tidings.bench.holding"
AT_ONCE = 50
"""connections that are made at the same time"""
PER_PROCESS = 10_000
"""connections of one process; it may have about 20,000 descriptors"""


class Job(msgspec.Struct):
    """Whom to connect."""

    port: int
    source: str
    """the address to come from"""
    tokens: list[str]


class Connect(msgspec.Struct, tag=True):
    """Connect everybody."""


class Beat(msgspec.Struct, tag=True):
    """Send one heartbeat each, spread over so long."""

    seconds: float


class Alive(msgspec.Struct):
    """So many connections stand."""

    count: int


class Holders:
    """Connections in as many processes as it takes, each coming from an address of its own."""

    def __init__(self, remotes: Sequence[Remote]) -> None:
        self._remotes = remotes

    @classmethod
    async def start(cls, port: int, tokens: Sequence[str]) -> "Holders":
        """Not connected yet."""
        shares = [tokens[start : start + PER_PROCESS] for start in range(0, len(tokens), PER_PROCESS)]
        jobs = [Job(port, source(number), list(share)) for number, share in enumerate(shares)]
        return cls([await Remote.start(MODULE, job) for job in jobs])

    async def connect(self) -> int:
        """Connect all; returns how many stand once all inboxes were sent."""
        return await self._all(Connect())

    async def beat(self, seconds: float) -> int:
        """Have each send a heartbeat, spread over so long; returns how many stand."""
        return await self._all(Beat(seconds))

    async def close(self) -> None:
        """Drop all."""
        await asyncio.gather(*(remote.close() for remote in self._remotes))

    async def _all(self, order: Connect | Beat) -> int:
        answers = await asyncio.gather(*(remote.ask(order, Alive) for remote in self._remotes))
        return sum(answer.count for answer in answers)


def source(number: int) -> str:
    """The address that a process of load comes from: each has its own ports, see `Device.connect`."""
    return f"127.0.0.{2 + number}"


def hold(job: Job) -> Callable[[Connect | Beat], Awaitable[Alive]]:
    """What the process does."""
    devices: list[Device] = []

    async def do(order: Connect | Beat) -> Alive:
        if isinstance(order, Connect):
            await connect(devices, job)
        else:
            await beat(devices, order.seconds)
        return Alive(sum(not device.closed.done() for device in devices))

    return do


async def connect(devices: list[Device], job: Job) -> None:
    """Connect everybody, some at a time, and wait until their inboxes were sent."""
    for start in range(0, len(job.tokens), AT_ONCE):
        some = [Device(token) for token in job.tokens[start : start + AT_ONCE]]
        await asyncio.gather(*(device.connect(job.port, source=job.source) for device in some))
        await asyncio.gather(*(device.drained for device in some))
        devices += some


async def beat(devices: list[Device], seconds: float) -> None:
    """One heartbeat each, at even distances."""
    begun = time.monotonic()
    for number, device in enumerate(devices):
        due = begun + seconds * number / len(devices)
        if due > time.monotonic():
            await asyncio.sleep(due - time.monotonic())
        device.beat()


if __name__ == "__main__":
    serve(Job, Connect | Beat, hold)
