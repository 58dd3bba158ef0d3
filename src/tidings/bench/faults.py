"""What is done to a server in the middle of its work. It must come back from it by itself."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from random import Random

from tidings.bench.family import is_same, stat
from tidings.bench.process import ServerProcess
from tidings.store.room import free_bytes

STOPPED_S = 30.0
"""a process is stopped for so long, unless it is killed meanwhile"""
FULL_S = 3.0
"""the disk is full for so long"""
ROOM_BYTES = 1 << 30
"""what the disk has besides the reserve, and the filler takes; the benchmark itself needs a part of it"""
POLL_S = 0.05


class Fault(StrEnum):
    """Which."""

    KILLED = "killed"
    """kill -9 of the whole server, which is then started again"""
    WORKER_KILLED = "worker-killed"
    HUB_KILLED = "hub-killed"
    WORKER_STOPPED = "worker-stopped"
    """SIGSTOP, later SIGCONT"""
    HUB_STOPPED = "hub-stopped"
    DISK_FULL = "disk-full"
    """the free space falls below the reserve (`store_free_bytes`)"""

    @property
    def needs_workers(self) -> bool:
        """Whether a single process cannot have it."""
        return self not in {Fault.KILLED, Fault.DISK_FULL}


class Saboteur:
    """Injects one kind of fault into a server, again and again."""

    def __init__(self, fault: Fault, folder: Path, random: Random) -> None:
        """`folder` is on the disk of the server's data."""
        self._fault = fault
        self._filler = folder / "filler"
        self._random = random
        self.reserve_bytes: int | None = None
        """what the server must be configured to keep free"""
        if fault is Fault.DISK_FULL:
            self.reserve_bytes = free_bytes(folder) - ROOM_BYTES
            if self.reserve_bytes < ROOM_BYTES:
                raise RuntimeError(f"{folder} has too little free space to play with")

    async def strike(self, server: ServerProcess, struck: Callable[[], None]) -> None:
        """Do it once, and undo it; `struck` is called at the moment from which on it has to come back."""
        match self._fault:
            case Fault.KILLED:
                struck()
                await server.kill()
                await server.start()
            case Fault.DISK_FULL:
                await self._fill(struck)
            case Fault.WORKER_KILLED | Fault.HUB_KILLED:
                struck()
                os.kill(self._victim(server), signal.SIGKILL)
            case Fault.WORKER_STOPPED | Fault.HUB_STOPPED:
                struck()
                await _pause(self._victim(server))

    def _victim(self, server: ServerProcess) -> int:
        family = server.family()
        if self._fault in {Fault.HUB_KILLED, Fault.HUB_STOPPED}:
            assert family.hub is not None
            return family.hub
        return self._random.choice(family.workers)

    async def _fill(self, struck: Callable[[], None]) -> None:
        assert self.reserve_bytes is not None
        try:
            with self._filler.open("wb") as file:
                missing = free_bytes(self._filler.parent) - self.reserve_bytes
                os.posix_fallocate(file.fileno(), 0, max(1, missing + ROOM_BYTES // 2))
            await asyncio.sleep(FULL_S)
        finally:
            self._filler.unlink(missing_ok=True)
        struck()


async def _pause(pid: int) -> None:
    began = stat(pid).started_ticks
    os.kill(pid, signal.SIGSTOP)
    until_s = time.monotonic() + STOPPED_S
    while is_same(pid, began) and time.monotonic() < until_s:
        await asyncio.sleep(POLL_S)
    with contextlib.suppress(ProcessLookupError):
        if is_same(pid, began):
            os.kill(pid, signal.SIGCONT)
