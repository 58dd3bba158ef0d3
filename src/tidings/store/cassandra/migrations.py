"""Keyspace and tables: made by the node that comes first, and brought to a newer format by one node.

What format the tables have is a row of `schema_version`, which is compared and set. Who would change
it takes the row `lock` first, for `LOCK_S`: a node that dies in the middle is followed by another,
so every step may be run again. The format is set last.

Who fills a keyspace from elsewhere claims it first, with the row `filling`: no node starts on one that has
such a row, since what is in it is not whole.

A table that is new is created, and a column that was added to a row is added to its table, without a
step. What else a format needs is a `Migration`.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from tidings.store.cassandra.columns import RowColumns
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import Driver
from tidings.store.cassandra.statements import Statements
from tidings.store.contract import (
    OutcomeUnknown,
    StoreError,
    StoreInUse,
    StoreTooNew,
    StoreUnavailable,
    Table,
)

LOCK_S = 60
"""A lock that was taken longer ago is nobody's; it is taken again at each step."""
SEEN_S = 30
"""until what was made has to be there for everybody"""
LOOK_S = 0.5
"""between two looks at what another node has done"""

_UNHEARD = re.compile(
    r"does not exist|doesn't exist|unconfigured table|incompatible_schema|timed out", re.IGNORECASE
)
"""what hosts say, or those who ask them, that have not heard of a table yet"""
FILLING = "filling"

Migration = Callable[[Driver, str], Awaitable[None]]
"""Of the cluster and the keyspace's name. May be run again, also after it was half done."""

MIGRATIONS: Mapping[int, Migration] = {}
"""from each older format to the one that follows it; the first one on a cluster was 4"""


class Schema:
    """The tables of a keyspace."""

    def __init__(
        self,
        driver: Driver,
        config: CassandraConfig,
        tables: Sequence[Table[Any]],
        format_number: int,
        migrations: Mapping[int, Migration] = MIGRATIONS,
    ) -> None:
        self._driver = driver
        self._config = config
        self._tables = tables
        self._format = format_number
        self._migrations = migrations
        self._versions = f'"{config.keyspace}"."schema_version"'
        self._me = uuid4().hex
        self._host = ""
        """Who is asked for every change of tables, by every node: of two hosts each would make its own."""

    async def prepare(self, *, holder: str | None = None) -> None:
        """See to it that the tables are there and of this format. Raises StoreError, StoreTooNew.

        `holder`: who is to fill them; the keyspace is theirs until `filled`. Raises StoreInUse if it is
        somebody else's. Without one: StoreUnavailable if it is anybody's.
        """
        self._host = await self._driver.least_host()
        await self._be_there()
        if holder is not None:
            await self._claim(holder)
        await self._make_tables()
        if holder is None and (filler := await self.filler()) is not None:
            raise StoreUnavailable(
                f"the keyspace {self._config.keyspace} is being filled, or was never filled to the end:"
                f" {filler}\nhint: let `tidings promote` end, or run it again"
            )

    async def _make_tables(self) -> None:
        deadline = time.monotonic() + self._config.migrate_s
        while (found := await self._version()) != self._format:
            if found is not None and found > self._format:
                raise StoreTooNew(
                    f"the keyspace {self._config.keyspace} has format {found}, this version knows"
                    f" {self._format}\nhint: start a version that is at least as new as the one that wrote it"
                )
            # Looked at first: who only waits must not get in the way of who sets.
            if await self._holder() is None and await self._lock():
                try:
                    await self._change(found)
                finally:
                    await self._unlock()
            elif time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"another node has been changing the tables for over {self._config.migrate_s:g} s\n"
                    "hint: look at its log; once it is gone, start again"
                )
            else:
                await asyncio.sleep(LOOK_S)

    async def _be_there(self) -> None:
        """Make what is needed to agree on anything else, and wait until it is known everywhere."""
        deadline = time.monotonic() + SEEN_S
        while True:
            try:
                await self._make_keyspace()
                await self._version()
            except StoreUnavailable as error:
                # Another node has just made it, and who was asked has not heard of that yet.
                if not _UNHEARD.search(str(error)) or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(LOOK_S)
            else:
                return

    async def _make_keyspace(self) -> None:
        keyspace = self._config.keyspace
        # Looked for first: who may not make one can use one that an operator made.
        there = await self._driver.query(
            f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'"
        )
        if ("schema_version",) in there:
            return
        found = await self._driver.query(
            f"SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = '{keyspace}'"
        )
        if not found:
            await self._change_schema(
                f'CREATE KEYSPACE IF NOT EXISTS "{keyspace}" WITH replication = {replication(self._config)}'
            )
        await self._change_schema(
            f"CREATE TABLE IF NOT EXISTS {self._versions} (name text PRIMARY KEY, format int, holder text)"
            " WITH comment = 'What format the tables have, and who is changing it.'"
        )

    async def _change_schema(self, cql: str) -> None:
        # All hosts have to agree on it, which takes longer than any other request.
        await self._driver.query(cql, host=self._host, timeout_s=self._config.migrate_s)

    async def filler(self) -> str | None:
        """Who fills the keyspace, which must be there. Raises StoreError."""
        rows = await self._driver.read(
            f"SELECT holder FROM {self._versions} WHERE name = ?", (FILLING,), serial=True
        )
        return rows[0][0] if rows else None

    async def _claim(self, holder: str) -> None:
        cql = f"INSERT INTO {self._versions} (name, holder) VALUES (?, ?) IF NOT EXISTS"
        with suppress(OutcomeUnknown):  # it is read
            await self._set_if(cql, FILLING, holder)
        found = await self.filler()
        if found != holder:
            raise StoreInUse(
                f"the keyspace {self._config.keyspace} is being filled by somebody else: {found}"
            )

    async def take_over(self, holder: str, new: str) -> None:
        """Have another one fill the keyspace. Raises StoreInUse if it is not `holder` who does."""
        cql = f"UPDATE {self._versions} SET holder = ? WHERE name = ? IF holder = ?"
        if not await self._set_if(cql, new, FILLING, holder):
            raise StoreInUse(f"the keyspace {self._config.keyspace} is not being filled by {holder} any more")

    async def filled(self, holder: str) -> None:
        """All is there: nodes may start. Raises StoreError; then it may be said again."""
        await self._set_if(f"DELETE FROM {self._versions} WHERE name = ? IF holder = ?", FILLING, holder)
        found = await self.filler()
        if found is not None:
            raise StoreInUse(
                f"the keyspace {self._config.keyspace} is being filled by somebody else: {found}"
            )

    async def _version(self) -> int | None:
        rows = await self._driver.read(f"SELECT format FROM {self._versions} WHERE name = ?", ("format",))
        return rows[0][0] if rows else None

    async def _holder(self, *, serial: bool = False) -> str | None:
        """Who has the lock; `serial` if it may be undecided."""
        rows = await self._driver.read(
            f"SELECT holder FROM {self._versions} WHERE name = ?", ("lock",), serial=serial
        )
        return rows[0][0] if rows else None

    async def _set_if(self, cql: str, *values: Any) -> bool:
        prepared = await self._driver.prepared(cql)
        done, _ = await self._driver.write_if([prepared.bind(values)])
        return done

    async def _lock(self) -> bool:
        """Take the lock, if nobody has it."""
        return await self._taken(
            f"INSERT INTO {self._versions} (name, holder) VALUES (?, ?) IF NOT EXISTS USING TTL {LOCK_S}",
            "lock",
            self._me,
        )

    async def _hold(self) -> None:
        """Take the lock anew. Raises StoreUnavailable if it was lost."""
        cql = f"UPDATE {self._versions} USING TTL {LOCK_S} SET holder = ? WHERE name = ? IF holder = ?"
        if not await self._taken(cql, self._me, "lock", self._me):
            raise StoreUnavailable("another node took over changing the tables\nhint: start again")

    async def _taken(self, cql: str, *values: Any) -> bool:
        try:
            return await self._set_if(cql, *values)
        except OutcomeUnknown:
            return await self._holder(serial=True) == self._me

    async def _unlock(self) -> None:
        # If it fails, the lock ends by itself.
        with suppress(StoreError):
            await self._set_if(f"DELETE FROM {self._versions} WHERE name = ? IF holder = ?", "lock", self._me)

    async def _change(self, found: int | None) -> None:
        """Under the lock: make what is missing, then say that it is there."""
        if await self._version() != found:
            return  # somebody else did
        for table in self._tables:
            await self._make(table)
        for number in range(found or self._format, self._format):
            await self._hold()
            if number in self._migrations:
                await self._migrations[number](self._driver, self._config.keyspace)
        await self._hold()
        # Whatever became of it, the format is read next.
        with suppress(OutcomeUnknown):
            await self._say(found)

    async def _say(self, found: int | None) -> None:
        """Note the format, in the place of the one that was found."""
        if found is None:
            cql = f"INSERT INTO {self._versions} (name, format) VALUES (?, ?) IF NOT EXISTS"
            await self._set_if(cql, "format", self._format)
        else:
            cql = f"UPDATE {self._versions} SET format = ? WHERE name = ? IF format = ?"
            await self._set_if(cql, self._format, "format", found)

    async def _make(self, table: Table[Any]) -> None:
        """Make a table, or add the columns that it lacks."""
        await self._hold()
        columns = RowColumns(table)
        statements = Statements(self._config.keyspace, columns)
        there = await self._driver.query(
            "SELECT column_name FROM system_schema.columns WHERE"
            f" keyspace_name = '{self._config.keyspace}' AND table_name = '{table.name}'"
        )
        if not there:
            await self._change_schema(statements.create())
            return
        names = {name for (name,) in there}
        for column in columns.all:
            if column.name not in names:
                await self._change_schema(statements.add(column))


def replication(config: CassandraConfig) -> str:
    """The replication of a keyspace that is made."""
    if config.replication:
        each = "".join(f", '{name}': {copies}" for name, copies in config.replication.items())
        return f"{{'class': 'NetworkTopologyStrategy'{each}}}"
    return f"{{'class': 'SimpleStrategy', 'replication_factor': {config.copies}}}"
