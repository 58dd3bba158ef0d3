"""What tests of a whole system share."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cassandras import PATIENCE, Ring
from cluster.nodes import Node, make_tables
from conformance.cassandra import config_of
from redis.servers import Server as Redis
from tidings.store.cassandra.config import CassandraConfig

NODES = 3
LIMITS = {"lookup_rate": {"per_s": 1000.0, "burst": 2000}}
"""who makes a group of hundreds need not wait until they may look up all of them"""


@pytest.fixture
def reports(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where what is found is written."""
    return Path(os.environ.get("TIDINGS_REPORTS", tmp_path)) / request.node.name


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    redis = Redis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def cassandra(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[CassandraConfig]:
    """A keyspace of its own, on the Cassandra that was given, or on one that is started."""
    ring = None
    address = os.environ.get("TIDINGS_CASSANDRA")
    if address is None:
        ring = Ring(tmp_path_factory.mktemp("cassandra"), PATIENCE=PATIENCE)
        ring.start()
        address = f"127.0.0.1:{ring.port}"
    keyspace = f"{request.module.__name__.rpartition('.')[2]}_{os.getpid()}"
    config = config_of(address, keyspace)
    asyncio.run(make_tables(config))
    yield config
    if ring is not None:
        ring.stop()


@pytest.fixture(scope="module")
def nodes(
    tmp_path_factory: pytest.TempPathFactory, cassandra: CassandraConfig, redis: Redis
) -> Iterator[list[Node]]:
    folder = tmp_path_factory.mktemp("nodes")
    nodes = [Node(folder / f"node{number}", cassandra, redis) for number in range(1, NODES + 1)]
    try:
        for node in nodes:
            node.limits = LIMITS
            node.start()
        yield nodes
        for node in nodes:
            node.stop()
    finally:
        for node in nodes:
            node.discard()
