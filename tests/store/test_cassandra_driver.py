"""What is asked of the driver, where it keeps silent: the session is one that never answers."""

import asyncio
from typing import Any

import pytest

from tidings.store.cassandra import driver as driver_module
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import Driver
from tidings.store.contract import OutcomeUnknown, StoreUnavailable
from tidings.store.counts import StoreCounts

pytest.importorskip("acsylla")


class Silent:
    """A session of which no request is ever answered, as when all nodes went."""

    async def execute(self, statement: Any) -> Any:
        await asyncio.get_running_loop().create_future()


class Conditional:
    """A statement, as far as a compare-and-set has to do with it."""

    def set_serial_consistency(self, level: Any) -> None:
        """Any will do."""

    def set_retry_policy(self, name: str) -> None:
        """Likewise."""


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> CassandraConfig:
    monkeypatch.setattr(driver_module, "LOST_S", 0.01)
    return CassandraConfig(request_s=0.01, in_flight=1)


async def test_what_is_never_answered_fails_and_gives_its_place_to_the_next(silent: CassandraConfig) -> None:
    counts = StoreCounts()
    driver = Driver(silent, None, Silent(), counts)
    for _ in range(2):  # the second one would wait for the place of the first
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await asyncio.wait_for(driver.query("SELECT now() FROM system.local"), 5)
    assert counts.failures == 2


async def test_of_a_compare_and_set_it_is_not_known_what_became(silent: CassandraConfig) -> None:
    driver = Driver(silent, None, Silent(), StoreCounts())
    with pytest.raises(OutcomeUnknown, match="no answer in time"):
        await asyncio.wait_for(driver.write_if([Conditional()]), 5)
