"""A process that is a program on the SDK: `python -m tidings.bench.program`.

It has a profile, as any program has, and does what it is told. The CPU that it tells is of all its threads.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from tidings.bench.remote import Remote, serve
from tidings.client import Client, MessageEvent

MODULE = "tidings.bench.program"
TIMEOUT_S = 280.0
POLL_S = 0.05
"""how often it is looked whether all has come"""


class Job(msgspec.Struct):
    """Whose program it is."""

    profile: str


class Write(msgspec.Struct, tag=True):
    """Send messages to somebody: a number each, from `first` on, and padding."""

    peer: str
    first: int
    messages: int
    at_once: int
    """calls of `send` that wait for their answers"""
    chars: int


class Receive(msgspec.Struct, tag=True):
    """Receive until the newest message is the one of a number, stored and acknowledged."""

    peer: str
    last: int


class Listen(msgspec.Struct, tag=True):
    """Read `events()` until so many messages of others were told."""

    messages: int


class Compare(msgspec.Struct, tag=True):
    """Look whether the newest messages of somebody are those that were written, in their order."""

    peer: str
    first: int
    messages: int


class Close(msgspec.Struct, tag=True):
    """Send what waits, and close the profile. Other orders open it."""


Order = Write | Receive | Listen | Compare | Close


class Cost(msgspec.Struct):
    """What an order took, opening the profile included where it was not open."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    wrong: int = 0
    """messages that are not there, or do not say what was written"""


class Program:
    """Such a process, from the side of the benchmark."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    @classmethod
    async def start(cls, profile: Path) -> "Program":
        """The profile is not open yet."""
        return cls(await Remote.start(MODULE, Job(str(profile))))

    async def do(self, order: Order) -> Cost:
        """Have something done. Raises RemoteFailed, TimeoutError."""
        return await self._remote.ask(order, Cost)

    async def close(self) -> None:
        """End it."""
        await self._remote.close()


class Owner:
    """What the process does with its profile."""

    def __init__(self, job: Job) -> None:
        self._profile = job.profile
        self._client: Client | None = None

    async def do(self, order: Order) -> Cost:
        """Obey."""
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        async with asyncio.timeout(TIMEOUT_S):
            wrong = await self._obey(order)
        return Cost(time.process_time() - cpu_s, time.perf_counter() - wall_s, wrong)

    async def _obey(self, order: Order) -> int:
        if isinstance(order, Close):
            await self._close()
            return 0
        if self._client is None:
            self._client = await Client.open(self._profile).__aenter__()
        match order:
            case Write():
                await _write(self._client, order)
            case Receive():
                await _receive(self._client, order)
            case Listen():
                await _listen(self._client, order.messages)
            case Compare():
                return await _compare(self._client, order)
        return 0

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.flushed()
            await self._client.close()
            self._client = None


async def _write(me: Client, order: Write) -> None:
    numbers = iter(range(order.first, order.first + order.messages))

    async def write_some() -> None:
        for number in numbers:
            await me.send(order.peer, _text(number, order.chars))

    await asyncio.gather(*(write_some() for _ in range(order.at_once)))


async def _receive(me: Client, order: Receive) -> None:
    while not [
        one for one in await me.messages.recent(order.peer, limit=1) if _number(one.text) == order.last
    ]:
        await asyncio.sleep(POLL_S)
    # The acknowledgement was said before this is asked: once it is answered the server has heard it.
    await me.history(order.peer, limit=1)


async def _listen(me: Client, messages: int) -> None:
    left = messages
    async for event in me.events():
        left -= isinstance(event, MessageEvent)
        if not left:
            return


async def _compare(me: Client, order: Compare) -> int:
    found = await me.messages.recent(order.peer, limit=order.messages)
    numbers = [_number(message.text) for message in found if message.sealed and not message.fault]
    expected = range(order.first, order.first + order.messages)
    return (
        sum(one != other for one, other in zip(numbers, expected, strict=False))
        + len(expected)
        - len(numbers)
    )


def _text(number: int, chars: int) -> str:
    return str(number).ljust(chars, ".")


def _number(text: str) -> int:
    return int(text.rstrip(".") or -1)


def work(job: Job) -> Callable[[Order], Awaitable[Cost]]:
    """What the process does."""
    return Owner(job).do


if __name__ == "__main__":
    serve(Job, Order, work)
