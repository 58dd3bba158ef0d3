"""What the SDK takes from outside: time, chance, the network and the disk.

Tests pass their own, so that a seed replays a run; programs use the defaults.
"""

import asyncio
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Protocol

from tidings.client.database import Connect, connect
from tidings.client.errors import Unreachable
from tidings.client.socket import Socket, dial
from tidings.client.stretching import Stretch, stretched
from tidings.client.worker import Thread, Worker

ANSWER_S = 30.0
"""how long the server may take: it hashes a password, perhaps after others"""


class Clock(Protocol):
    """Time as the SDK sees it."""

    def wall_ms(self) -> int:
        """Unix milliseconds."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


async def wait(clock: Clock, event: asyncio.Event, seconds: float) -> None:
    """Return once an event is set, or after so many seconds."""
    sleep = asyncio.ensure_future(clock.sleep(seconds))
    happened = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({sleep, happened}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleep.cancel()
        happened.cancel()


class SystemClock:
    """The machine's own time."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        # Where there is such a clock, one that goes on while the machine sleeps.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


Dial = Callable[[str], Awaitable[Socket]]
"""Opens a WebSocket to an URL. Raises ConnectionLost if that cannot be done now."""

Request = Callable[[str, str, bytes | None, dict[str, str]], Awaitable[tuple[int, bytes]]]
"""One HTTP request (method, URL, body, headers) and the status and body of its answer.

Raises Unreachable."""


async def request(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    """Over the network, with a client of its own."""
    # Here and not above: it costs as much to import as all the rest, and few programs need it.
    import httpx  # noqa: PLC0415

    try:
        async with httpx.AsyncClient(timeout=ANSWER_S, verify=_authorities()) as http:
            response = await http.request(method, url, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).lower() or type(error).__name__
        raise Unreachable(
            f"cannot reach {url.partition('/v1/')[0]}: {reason}",
            "is the server running, and the address right?",
        ) from None
    return response.status_code, response.content


@cache
def _authorities() -> ssl.SSLContext:
    """Whose certificates are trusted. Read once: that costs more than all the rest."""
    import httpx  # noqa: PLC0415

    return httpx.create_ssl_context()


@dataclass(frozen=True)
class Surroundings:
    """The defaults suit every program."""

    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=Random)
    entropy: Callable[[int], bytes] = os.urandom
    dial: Dial = dial
    connect: Connect = connect
    worker: Callable[[], Worker] = Thread
    """what does the work of the profile's database"""
    stretch: Stretch = stretched
    """what makes a code that people type costly to guess"""
    request: Request = request
    strict: bool = False
    """nothing is encrypted for a user whose identity changed until that was agreed to"""
