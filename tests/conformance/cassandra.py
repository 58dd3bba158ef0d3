"""Cassandra for the suite of the store: one keyspace a run, emptied before each test."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import Driver
from tidings.store.cassandra.store import CassandraStore
from tidings.store.contract import Batch, R, Row, Store, Table

KEYSPACE = "tidings_conformance"


class _NotingStore(CassandraStore):
    """Notes which tables it wrote: to empty one takes as long as all that a test does with it."""

    written: set[str] = set()

    async def write(self, batch: Batch) -> None:
        self.written.update(write.table.name for write in batch)
        await super().write(batch)

    async def compare_and_set(
        self, table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()
    ) -> R | None:
        self.written.add(table.name)
        return await super().compare_and_set(table, expected, row, also)


class _Keyspace:
    def __init__(self, config: CassandraConfig) -> None:
        self._config = config
        self._is_made = False

    async def fresh(self) -> None:
        """Without rows; the first time without tables."""
        driver = await Driver.connect(self._config)
        try:
            if not self._is_made:
                await driver.query(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
                self._is_made = True
            for name in _NotingStore.written:
                await driver.query(f'TRUNCATE "{KEYSPACE}"."{name}"')
            _NotingStore.written.clear()
        finally:
            await driver.close()


def config_of(address: str, keyspace: str = KEYSPACE, **options: Any) -> CassandraConfig:
    """How to reach the Cassandra at host:port."""
    host, _, port = address.partition(":")
    # A busy machine is not a fault of the code: pytest's timeout bounds a test as a whole.
    settings: dict[str, Any] = {"copies": 1, "request_s": 60.0, "connect_s": 30.0, **options}
    return CassandraConfig(contact_points=(host,), port=int(port), keyspace=keyspace, **settings)


def backend(address: str, tables: Sequence[Table[Any]]) -> Callable[[Path], Callable[[], Awaitable[Store]]]:
    """The backend on a cluster, for `BACKENDS`."""
    config = config_of(address)
    keyspace = _Keyspace(config)

    def at(place: Path) -> Callable[[], Awaitable[Store]]:
        begun = False

        async def open_store() -> Store:
            nonlocal begun
            if not begun:
                begun = True
                await keyspace.fresh()
            return await _NotingStore.open(config, tables=tables)

        return open_store

    return at
