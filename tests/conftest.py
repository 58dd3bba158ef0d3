"""What tests share: their order, servers with people on them, and the shim that cuts power."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from client.rig import People, ServerProcess
from durability.shim import compile_shim
from integration.server import MakeServer, Server
from redis.servers import redis_server as redis_server

# A busy machine is not a fault of the code: pytest's timeout bounds a test as a whole.
settings.register_profile("tidings", deadline=None, print_blob=True)
settings.load_profile("tidings")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts in the background what ignores Ctrl-C, and so would all programs that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


NEEDS_SERVERS = {"redis", "redis cluster", "cassandra"}
"""backends of the conformance suites that are servers of others"""


def pytest_itemcollected(item: pytest.Item) -> None:
    """What runs over such a backend is marked."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if any(isinstance(value, str) and value in NEEDS_SERVERS for value in parameters.values()):
        item.add_marker(pytest.mark.cluster)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked slow go last; otherwise the order stays."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def people(shared_server: ServerProcess, tmp_path: Path) -> People:
    return People(shared_server, tmp_path)


@pytest.fixture
def own_people(own_server: ServerProcess, tmp_path: Path) -> People:
    return People(own_server, tmp_path)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim of `durability/synced.c`."""
    compiled = compile_shim(tmp_path_factory.mktemp("shim"))
    if compiled is None:
        pytest.skip("no C compiler")
    return compiled


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Makes a server with what `Server` takes, not started yet."""
    made: list[Server] = []

    def make(**options: Any) -> Server:
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir(exist_ok=True)  # a shim may have made it
        made.append(Server(folder, **options))
        return made[-1]

    yield make
    for server in made:
        server.discard()
