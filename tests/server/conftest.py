"""The server runs on uvloop alone, so its tests do too."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from server.rig import Rig


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def rig(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Rig]:
    """A gateway on a port of its own, once `start` is called."""
    caplog.set_level(logging.INFO)
    rig = Rig()
    yield rig
    await rig.stop()
    complaints = [
        record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING
    ]
    assert complaints == rig.expected_complaints
