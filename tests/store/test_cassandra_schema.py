"""What a node that starts says to hosts that have not heard yet of what another one has just made."""

from typing import Any, cast

import pytest

from tidings.store.cassandra import migrations
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import Driver
from tidings.store.cassandra.migrations import Schema
from tidings.store.cassandra.refusals import refusal
from tidings.store.contract import StoreUnavailable
from tidings.store.schema import FORMAT

CONFIG = CassandraConfig(contact_points=("db1",))


class Hosts:
    """Answers as a keyspace whose tables are there; reads fail at first, as they are told to."""

    def __init__(self, *failures: str) -> None:
        self.failures = list(failures)

    async def least_host(self) -> str:
        return "db1"

    async def query(self, cql: str, **_: object) -> list[Any]:
        return [("schema_version",)] if "system_schema.tables" in cql else []

    async def read(self, cql: str, values: tuple[str, ...], **_: object) -> list[Any]:
        if self.failures:
            raise refusal(RuntimeError(self.failures.pop(0)), CONFIG)
        return [(FORMAT,)] if values == ("format",) else []


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "LOOK_S", 0.0)


async def start(hosts: Hosts) -> None:
    await Schema(cast("Driver", hosts), CONFIG, [], FORMAT).prepare()


@pytest.mark.parametrize(
    "failure",
    [
        "Operation failed - received 0 responses and 1 failures: INCOMPATIBLE_SCHEMA from /127.0.0.3:43649",
        "unconfigured table schema_version",
        "Keyspace 'tidings' does not exist",
    ],
)
async def test_hosts_that_have_not_heard_of_a_table_yet_are_asked_again(failure: str) -> None:
    hosts = Hosts(failure, failure)
    await start(hosts)
    assert hosts.failures == []


async def test_what_else_fails_is_told_at_once() -> None:
    hosts = Hosts("no hosts available", "never asked for")
    with pytest.raises(StoreUnavailable, match="no hosts"):
        await start(hosts)
    assert hosts.failures == ["never asked for"]
