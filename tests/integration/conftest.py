"""Load is driven by uvloop."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What drives the load must not be what is slow."""
    return {"uvloop": uvloop.new_event_loop}
