"""A real server, and a short run against it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tidings.bench.chaos.enrol import Enrolment, reached
from tidings.bench.chaos.run import ChaosOptions, Outcome, Run
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress

PROGRESS = Progress("test")
LIFTED = ("register_rate", "login_rate")


class Chatting(Progress):
    """Knows when the chat has begun."""

    def __init__(self) -> None:
        super().__init__("test")
        self._begun = asyncio.Event()

    def say(self, step: str) -> None:
        super().say(step)
        if step.startswith("chatting"):
            self._begun.set()

    async def until_begun(self) -> None:
        """Return once people write."""
        await self._begun.wait()


def small(url: str, **options: Any) -> ChaosOptions:
    """Few people, for a moment."""
    chosen = {"people": 4, "devices": 2, "conversations": 2, "groups": (4,), "for_s": 2.0, "rate": 100.0}
    return ChaosOptions((url,), **(chosen | {"settle_s": 20.0} | options))  # type: ignore[arg-type]


@asynccontextmanager
async def serving(folder: Path, workers: int = 1) -> AsyncIterator[ServerProcess]:
    """Such a server, that takes accounts as fast as they come."""
    config = folder / "tidings.toml"
    rates = (f"{rate} = {{ per_s = 1000.0, burst = 1000 }}" for rate in LIFTED)
    config.write_text("\n".join(["[limits]", *rates, ""]))
    server = ServerProcess(folder / "data", config=config, workers=workers)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def played(url: str, options: ChaosOptions, sockets: Sequence[str]) -> Outcome:
    """A run whose WebSockets go elsewhere, one address a node."""
    async with reached([url] * len(sockets)) as servers:
        accounts = await Enrolment(servers, PROGRESS).make(options.people, options.devices, "")
        nodes = [one._replace(ws=ws) for one, ws in zip(servers, sockets, strict=True)]
        return await Run(options, nodes, accounts, PROGRESS).run(asyncio.Event(), marks=False)


def broken(outcome: Outcome) -> set[str]:
    """Which promises were broken."""
    found = outcome.result["broken"]
    assert isinstance(found, dict)
    return {kind for kind, times in found.items() if times}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another task does."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)
