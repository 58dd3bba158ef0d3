"""A scene on each of the set-ups."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from scenarios.setups import SETUPS
from tidings.protocol.limits import Limits
from tidings.server.config import Config
from tidings.testing.nodes import Node
from tidings.testing.pace import PacedClock, PacedLoop
from tidings.testing.scene import Scene

CONFIG = Config(limits=Limits(receipt_delay_s=0.0, expiry_sweep_s=1.0))


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time goes fast here."""
    return {"paced": PacedLoop}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) for name in SETUPS])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    """Nobody is there yet. After the test, all devices must agree and no node may have complained."""
    clock = PacedClock()
    async with SETUPS[request.param](tmp_path, clock) as ground:
        nodes = [Node(f"node {number}", one, CONFIG, clock) for number, one in enumerate(ground.backends)]
        for node in nodes:
            await node.starts()
        scene = Scene(nodes, tmp_path, clock, ground.restart)
        yield scene
        await scene.end()
