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


@pytest.mark.parametrize(
    ("people", "members", "rate"),
    [(60, 50, 4), (500, 500, 1)],
    ids=["fifty", "five-hundred"],
)
async def test_a_large_group(system: System, reports: Path, people: int, members: int, rate: int) -> None:
    """Every fault, in turn."""
    urls = [node.url for node in system.nodes]
    options = f"--people {people} --devices 1 --conversations 2 --groups 1x{members} --rate {rate}"
    await broken(system, urls, reports, tuple(options.split()), FAULTS * max(1, TIMES // 10))
