"""Each fault again and again, on a whole system of real processes: everybody is told the truth, in the end.

TIDINGS_TIMES says how often each fault comes. What is found, and the time line, stand in the report of the
run: in pytest's temporary folder, or in the one that TIDINGS_REPORTS names.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cluster.breaking import FEW, TIMES, Breaker, System, broken, running_system
from redis.servers import Server as Redis
from tidings.testing.toxics import is_there

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(900 + 120 * TIMES),
    pytest.mark.skipif(not is_there(), reason="no Toxiproxy: run scripts/toxiproxy"),
]

FIFTY = ("--people", "60", "--devices", "1", "--conversations", "2", "--groups", "1x50", "--rate", "4")
FIVE_HUNDRED = (
    "--people",
    "500",
    "--devices",
    "1",
    "--conversations",
    "2",
    "--groups",
    "1x500",
    "--rate",
    "1",
)
FAULTS = [
    Breaker.node_killed,
    Breaker.node_frozen,
    Breaker.node_drained,
    Breaker.clock_jumped,
    Breaker.redis_killed,
    Breaker.redis_frozen,
    Breaker.cassandra_killed,
    Breaker.cassandra_frozen,
    Breaker.cut_off_from_redis,
    Breaker.cut_off_from_cassandra,
    Breaker.store_slow,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    folder = tmp_path_factory.mktemp("system")
    async with running_system(folder, Redis(folder / "redis")) as system:
        yield system


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_people_at_three_nodes(system: System, reports: Path, fault: Any) -> None:
    await broken(system, [node.url for node in system.nodes], reports, FEW, [fault] * TIMES)


async def test_clients_whose_connections_are_reset_or_half_open(system: System, reports: Path) -> None:
    urls = [f"http://127.0.0.1:{door.port}" for door in system.doors]
    result = await broken(system, urls, reports, FEW, [Breaker.clients_half_open] * TIMES)
    assert result["connections_broken"] > 0


async def test_a_group_of_fifty(system: System, reports: Path) -> None:
    """Every fault, in turn."""
    urls = [node.url for node in system.nodes]
    await broken(system, urls, reports, FIFTY, FAULTS * max(1, TIMES // 10))


async def test_a_group_of_five_hundred(system: System, reports: Path) -> None:
    """Every fault, in turn: its messages are stored once, and read by all from there."""
    urls = [node.url for node in system.nodes]
    await broken(system, urls, reports, FIVE_HUNDRED, FAULTS * max(1, TIMES // 10))
