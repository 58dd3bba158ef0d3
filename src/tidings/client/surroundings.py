"""What the SDK takes from outside: time, chance, the network and the disk.

Tests pass their own, so that a seed replays a run; programs use the defaults.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from tidings.client.socket import Socket, dial


class Clock(Protocol):
    """Time as the SDK sees it."""

    def wall_ms(self) -> int:
        """Unix milliseconds."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


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

Connect = Callable[[Path], sqlite3.Connection]
"""Opens an SQLite database that exists."""


def connect(path: Path) -> sqlite3.Connection:
    """The database of a profile; waits up to 30 s for another process's transaction."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=30)


@dataclass(frozen=True)
class Surroundings:
    """The defaults suit every program."""

    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=Random)
    entropy: Callable[[int], bytes] = os.urandom
    dial: Dial = dial
    connect: Connect = connect
