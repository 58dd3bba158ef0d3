"""Load is driven by uvloop; a module with a `server` has two people on it."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from integration.people import Friends
from integration.server import Server


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What drives the load must not be what is slow."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module")
def friends(server: Server) -> Friends:
    """Two people on the module's own server."""
    return asyncio.run(Friends.of(server))
