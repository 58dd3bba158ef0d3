"""Two people who give commands, and the servers that all tests of the command line share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.rig import User
from client.rig import People, ServerProcess
from integration.server import Server, running


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all: nobody here needs a server that has seen nothing."""
    server = ServerProcess(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def asking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which strangers knock."""
    with running(tmp_path_factory.mktemp("asking"), config={"strangers": "request"}) as server:
        yield server


@pytest.fixture
def alice(people: People, tmp_path: Path) -> User:
    return User.new(people.server.url, people.handle("alice"), tmp_path / "alice")


@pytest.fixture
def bob(people: People, tmp_path: Path) -> User:
    return User.new(people.server.url, people.handle("bob"), tmp_path / "bob")


@pytest.fixture
def strangers(asking_server: Server, people: People, tmp_path: Path) -> tuple[User, User]:
    """Alice and Bob where they must knock."""
    alice, bob = (
        User.new(asking_server.url, people.handle(name), tmp_path / f"strange-{name}")
        for name in ("alice", "bob")
    )
    return alice, bob
