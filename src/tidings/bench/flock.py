"""A process of clients that come back when they lose the server: `python -m tidings.bench.flock`.

Each has the SDK's own backoff. What counts is told afterwards, by the machine's monotonic clock, which
all processes share.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import msgspec

from tidings.bench.holding import PER_PROCESS, source
from tidings.bench.link import Link
from tidings.bench.load import Device
from tidings.bench.remote import Remote, serve
from tidings.client.backoff import Backoff

MODULE = "tidings.bench.flock"
HEARTBEAT_S = 30.0
PER_S = 500
"""clients that come for the first time, a second"""
ARRIVE_S = 120.0
POLL_S = 0.1


class Job(msgspec.Struct):
    """Whom to connect."""

    urls: list[str]
    """where to: the first one, and when that fails the next"""
    source: str
    """the address to come from"""
    tokens: list[str]
    seed: int


class Arrive(msgspec.Struct, tag=True):
    """Connect everybody. What was before does not count."""


class Tell(msgspec.Struct, tag=True):
    """What happened since the last telling?"""


class Told(msgspec.Struct):
    """What happened: moments are of the monotonic clock, in seconds."""

    up: int
    """clients whose inbox was sent, and whose connection stands"""
    lost: int
    """connections that broke"""
    tries_s: list[float]
    """when clients tried to connect"""
    ups_s: list[float]
    """when their inboxes were sent"""
    cpu_s: float = 0.0
    """that the clients used"""


class Flock:
    """Such clients, in as many processes as it takes."""

    def __init__(self, remotes: Sequence[Remote]) -> None:
        self._remotes = remotes

    @classmethod
    async def start(cls, urls: Sequence[str], tokens: Sequence[str], random: Random) -> "Flock":
        """Not connected yet. Whose try fails goes to the next address."""
        shares = [tokens[start : start + PER_PROCESS] for start in range(0, len(tokens), PER_PROCESS)]
        jobs = [
            Job(list(urls), source(number), list(share), random.getrandbits(32))
            for number, share in enumerate(shares)
        ]
        return cls([await Remote.start(MODULE, job) for job in jobs])

    async def arrive(self) -> Told:
        """Connect all; returns once they are, or `ARRIVE_S` have passed."""
        return await self._all(Arrive())

    async def tell(self) -> Told:
        """What happened since the last call."""
        return await self._all(Tell())

    async def close(self) -> None:
        """Drop all."""
        await asyncio.gather(*(remote.close() for remote in self._remotes))

    async def _all(self, order: Arrive | Tell) -> Told:
        parts = await asyncio.gather(*(remote.ask(order, Told) for remote in self._remotes))
        return Told(
            sum(part.up for part in parts),
            sum(part.lost for part in parts),
            [moment for part in parts for moment in part.tries_s],
            [moment for part in parts for moment in part.ups_s],
            sum(part.cpu_s for part in parts),
        )


class Clients:
    """The clients of one process, and what they do."""

    def __init__(self, job: Job) -> None:
        self._urls = job.urls
        random = Random(job.seed)
        self._links = [self._link(token, job.source, Random(random.random())) for token in job.tokens]
        self._running: list[asyncio.Task[None]] = []
        self._told = Told(0, 0, [], [])
        self._told_at_s = 0.0
        """of this process's own CPU"""

    async def do(self, order: Arrive | Tell) -> Told:
        """Obey."""
        if isinstance(order, Arrive):
            await self._arrive()
            told = Told(self._up, 0, [], [])
        else:
            told = self._told
            told.up = self._up
        told.cpu_s = time.process_time() - self._told_at_s
        self._told_at_s += told.cpu_s
        self._told = Told(0, 0, [], [])
        return told

    @property
    def _up(self) -> int:
        return sum(link.device is not None for link in self._links)

    async def _arrive(self) -> None:
        until_s = time.monotonic() + ARRIVE_S
        for link in self._links:
            self._running.append(asyncio.create_task(link.run(*self._urls)))
            await asyncio.sleep(1 / PER_S)
        while self._up < len(self._links) and time.monotonic() < until_s:
            await asyncio.sleep(POLL_S)
        gc.freeze()  # to look through all of them again and again is no part of the load

    def _link(self, token: str, from_: str, random: Random) -> Link:
        link = Link(token, Backoff(random), heartbeat_s=HEARTBEAT_S, source=from_)
        link.on_try, link.on_up, link.on_down = self._tried, self._came, self._lost
        return link

    def _tried(self) -> None:
        self._told.tries_s.append(time.monotonic())

    def _came(self, _: Device) -> None:
        self._told.ups_s.append(time.monotonic())

    def _lost(self) -> None:
        self._told.lost += 1


def work(job: Job) -> Callable[[Arrive | Tell], Awaitable[Told]]:
    """What the process does."""
    return Clients(job).do


if __name__ == "__main__":
    serve(Job, Arrive | Tell, work)
