"""A keyspace that is filled from another store, before any node may start on it.

Rows go in with the causes that they have: as timestamps, and as the time that is left to them, so what
is written twice is written once, nothing lives longer than it would have, and nodes that follow write over
it as over rows of their own. Contested rows have no cause and are only ever compared and set. While a
keyspace is filled nobody does that, so they are inserted as they are, with timestamps that are
the numbers of the passes: 1, 2, …. Those of all compare-and-sets that follow are microseconds since 1970.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from tidings.store.cassandra.columns import encoded_row
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import Driver, repeated
from tidings.store.cassandra.migrations import Schema, replication
from tidings.store.cassandra.rows import ByPartition, Rows
from tidings.store.cassandra.store import CassandraStore, wall_ms
from tidings.store.contract import Erase, Put, Raise, StoreUnavailable, Table, Write
from tidings.store.encoded import Caused
from tidings.store.schema import FORMAT, TABLES

PAGE_ROWS = 500
PATIENCE_S = 120.0
"""For a request: nobody waits for its answer, and to make or empty a table takes a busy cluster long. For
so long one that was refused is repeated, too: a copy brings as much as a cluster takes."""
IN_FLIGHT = 256
"""requests at a time: more than keeps a cluster busy would only wait there until it gives them up"""


class Keyspace(NamedTuple):
    """What is there before anything is done."""

    replication: str
    """its own, or what it is made with"""
    is_made: bool
    filler: str | None
    """who fills it"""
    occupied: str | None
    """a table that has rows"""


def patient(config: CassandraConfig) -> CassandraConfig:
    """The config of somebody who has time."""
    return msgspec.structs.replace(
        config, request_s=max(PATIENCE_S, config.request_s), in_flight=min(IN_FLIGHT, config.in_flight)
    )


async def look(config: CassandraConfig, tables: Sequence[Table[Any]] = TABLES) -> Keyspace:
    """Look at a keyspace and change nothing. Raises StoreUnavailable."""
    driver = await Driver.connect(patient(config))
    try:
        found = await driver.query(
            f"SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = '{config.keyspace}'"
        )
        if not found:
            return Keyspace(replication(config), False, None, None)
        there = {
            name
            for (name,) in await driver.query(
                f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{config.keyspace}'"
            )
        }
        filler = None
        if "schema_version" in there:
            filler = await Schema(driver, config, tables, FORMAT).filler()
        occupied = await _occupied(driver, config, [table for table in tables if table.name in there])
        return Keyspace(str(dict(found[0][0])), True, filler, occupied)
    finally:
        await driver.close()


async def _occupied(driver: Driver, config: CassandraConfig, tables: Sequence[Table[Any]]) -> str | None:
    for table in tables:
        rows: Rows[Any] = Rows(table, config.keyspace)
        if await driver.read(rows.statements.scan(after=False), (1,), limit=1):
            return table.name
    return None


class Filling:
    """A keyspace that is somebody's to fill. Make one with `claim`. Every method may raise StoreError."""

    def __init__(
        self,
        driver: Driver,
        schema: Schema,
        config: CassandraConfig,
        tables: Sequence[Table[Any]],
        holder: str,
    ) -> None:
        self._driver = driver
        self._schema = schema
        self._config = config
        self._holder = holder
        self._store = CassandraStore(driver, config.keyspace, tables, wall_ms, config.together)
        self._tables = {table: Rows(table, config.keyspace) for table in tables}

    @classmethod
    async def claim(
        cls,
        config: CassandraConfig,
        holder: str,
        *,
        instead_of: str | None = None,
        tables: Sequence[Table[Any]] = TABLES,
        format_number: int = FORMAT,
    ) -> "Filling":
        """Make what is missing of a keyspace, and keep nodes from starting on it until `finish`.

        `instead_of`: who has it now. Raises StoreInUse if it is another's, StoreTooNew, StoreUnavailable.
        """
        driver = await Driver.connect(patient(config))
        try:
            schema = Schema(driver, config, tables, format_number)
            if instead_of is not None:
                await schema.take_over(instead_of, holder)
            await schema.prepare(holder=holder)
        except BaseException:
            await driver.close()
            raise
        return cls(driver, schema, config, tables, holder)

    async def require_empty(self) -> None:
        """Raise StoreUnavailable if there are rows: a node was quicker."""
        occupied = await _occupied(self._driver, self._config, list(self._tables))
        if occupied is not None:
            raise StoreUnavailable(
                f"the keyspace {self._config.keyspace} has rows, in {occupied}\n"
                "hint: name another keyspace, or drop this one if nobody needs what is in it"
            )

    async def empty(self) -> None:
        """Remove all rows."""
        for rows in self._tables.values():
            cql = f"TRUNCATE {rows.statements.name}"
            await repeated(partial(self._driver.query, cql), PATIENCE_S)

    async def write(self, table: Table[Any], rows: Sequence[Caused[Any]], number: int) -> None:
        """Write rows, in this pass; those whose time is over are left out."""
        if table.contested:
            await self._insert(table, rows, number)
            return
        batch: list[Write] = [
            Raise(table, row) if table.grows else Put(table, row, cause) for row, cause in rows
        ]
        await repeated(partial(self._store.write, batch), PATIENCE_S)

    async def _insert(self, table: Table[Any], rows: Sequence[Caused[Any]], number: int) -> None:
        of_table = self._tables[table]
        found: ByPartition = defaultdict(list)
        for row, _ in rows:
            values = encoded_row(of_table.columns, row)
            partition = of_table.columns.partition_of(values)
            found[partition].append((of_table.statements.put, (*values, number)))
        await repeated(partial(self._store.send, found), PATIENCE_S)

    async def erase(self, table: Table[Any], rows: Sequence[Caused[Any]]) -> None:
        """Remove rows that are gone where they came from. What is written with greater causes stays."""
        batch = [Erase(table, table.key_of(row), cause) for row, cause in rows]
        await repeated(partial(self._store.write, batch), PATIENCE_S)

    async def rows(self, table: Table[Any]) -> AsyncIterator[list[Caused[Any]]]:
        """All rows of a table as they are read, with their causes."""
        of_table = self._tables[table]
        has_causes = not table.grows and not table.contested
        to_row = of_table.columns.row
        async for page in self._driver.pages(
            of_table.statements.all, (), size=PAGE_ROWS, patience_s=PATIENCE_S
        ):
            yield [Caused(to_row(values[:-1]), values[-1] if has_causes else 0) for values in page]

    async def time_ms(self) -> int:
        """The cluster's clock, Unix ms."""
        return await self._store.time_ms()

    async def finish(self) -> None:
        """Nodes may start on it."""
        await self._schema.filled(self._holder)

    async def close(self) -> None:
        """Take leave of the cluster."""
        await self._store.close()
