"""Each fault again and again, on a whole system of real processes: everybody is told the truth, in the end.

TIDINGS_TIMES says how often each fault comes. What is found, and the time line, stand in the report of the
run: in pytest's temporary folder, or in the one that TIDINGS_REPORTS names.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from cluster.breaking import Breaker, System, chatting, running_system
from tidings.testing.toxics import is_there

TIMES = int(os.environ.get("TIDINGS_TIMES", "2"))

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(900 + 120 * TIMES),
    pytest.mark.skipif(not is_there(), reason="no Toxiproxy: run scripts/toxiproxy"),
]

FEW = ("--people", "8", "--devices", "2", "--conversations", "2", "--groups", "1x8", "--rate", "6")
FIFTY = ("--people", "60", "--devices", "1", "--conversations", "2", "--groups", "1x50", "--rate", "4")
FAULTS = [
    Breaker.node_killed,
    Breaker.node_frozen,
    Breaker.node_drained,
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
    async with running_system(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest.fixture
def reports(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where what is found is written."""
    return Path(os.environ.get("TIDINGS_REPORTS", tmp_path)) / request.node.name


async def broken(
    system: System, urls: list[str], reports: Path, options: tuple[str, ...], faults: list[Any]
) -> dict[str, Any]:
    """What the judge says after these faults, one after another."""
    await system.heal()
    chance = Random(1)
    async with chatting(reports, urls, *options) as chat:
        breaker = Breaker(system, chance, chat.mark)
        try:
            for fault in faults:
                await asyncio.sleep(chance.uniform(2.0, 5.0))
                await fault(breaker)
                chat.assert_runs()
            await asyncio.sleep(chance.uniform(2.0, 5.0))
            await system.heal()
        except AssertionError:
            await chat.judged()  # so that the report says what came of it until then
            raise
        result = await chat.judged()
        assert result["clean"], chat.page
        assert len(result["marks"]) == len(faults)
        assert result["acknowledged"] > len(faults)
    return result


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
