"""A service whose processes are stubs (see `stub.py`), within the test's own event loop."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from tidings.protocol.limits import Limits
from tidings.server.config import Config
from tidings.server.workers.child import Child
from tidings.server.workers.doors import open_doors
from tidings.server.workers.service import Service
from tidings.server.workers.slot import Slot

PROGRAM = (sys.executable, str(Path(__file__).with_name("stub.py")))
PATIENCE_S = 30.0
HOST = "127.0.0.1"


class Rig:
    """The service, its log, and what can be done to it."""

    def __init__(self, data: Path, workers: int = 2) -> None:
        self.data = data
        self.events: list[dict[str, object]] = []
        self.log = structlog.wrap_logger(
            structlog.ReturnLogger(), processors=[self._note], wrapper_class=structlog.stdlib.BoundLogger
        )
        limits = Limits(drain_s=1)
        self.doors = open_doors(HOST, 0, limits, workers)
        self.port = self.doors[0].port
        self.service = Service(
            Config(data=str(data), workers=workers, limits=limits),
            self.doors,
            str(data / "hub.sock"),
            time.monotonic,
            self.log,
            program=PROGRAM,
        )

    def does(self, name: str, **what: object) -> None:
        """What the next processes of a name do; nothing: they serve."""
        (self.data / f"{name}.does").write_text(json.dumps(what))

    async def served(self) -> str:
        """Who answers to a connection. Raises OSError if nobody does."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            return (await reader.read()).decode().split()[0]
        finally:
            writer.close()

    def said(self, event: str) -> int:
        """How often that is in the log."""
        return sum(one["event"] == event for one in self.events)

    def _note(self, _: object, method: str, event: structlog.typing.EventDict) -> str:
        self.events.append({"level": method, **event})
        return ""


def child(slot: Slot) -> Child:
    """Who is in a place."""
    assert slot.child is not None
    return slot.child


def is_alive(pid: int) -> bool:
    """Whether a process of ours is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that other processes do."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def started(data: Path, workers: int = 2) -> AsyncIterator[Rig]:
    """A service that serves; nobody is left of it in the end."""
    rig = Rig(data, workers)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await rig.service.start()
        yield rig
    finally:
        await stop(rig)


async def stop(rig: Rig) -> None:
    """Stop it, and see that nobody is left."""
    pids = [one.pid for one in rig.service.children()]
    async with asyncio.timeout(PATIENCE_S):
        await rig.service.stop()
    assert not [pid for pid in pids if is_alive(pid)]
