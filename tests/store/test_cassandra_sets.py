"""Compare-and-sets of rows that an older version wrote, on a row that is compared as Cassandra does."""

import re
from typing import Any, NamedTuple, cast

import msgspec

from tidings.store.cassandra.driver import Driver
from tidings.store.cassandra.rows import Sent
from tidings.store.cassandra.store import CassandraStore
from tidings.store.contract import Row, Table
from tidings.store.counts import StoreCounts

TOGETHER = 10


class OldRules(msgspec.Struct, array_like=True):
    open_to_all: bool


class Rules(msgspec.Struct, array_like=True):
    open_to_all: bool
    slow_s: int = 0


class OldGroupRow(Row):
    name: str
    request_id: bytes
    rules: OldRules


class GroupRow(Row):
    name: str
    request_id: bytes
    rules: Rules
    count: int = 1


OLD = Table("rows", OldGroupRow, partition=("name",), contested=True)
NEW = Table("rows", GroupRow, partition=("name",), contested=True)


class Statement(NamedTuple):
    cql: str
    values: tuple[Any, ...]


class OneRow:
    """In place of the driver: a table of one row, whose columns are compared as they are stored."""

    def __init__(self) -> None:
        self.counts = StoreCounts()
        self.row: dict[str, Any] = {}

    async def bound(self, sent: list[Sent]) -> list[Statement]:
        return [Statement(cql, values) for cql, values in sent]

    async def write_if(self, statements: list[Statement]) -> tuple[bool, list[dict[str, Any]]]:
        (statement,) = statements
        if statement.cql.startswith("INSERT"):
            columns = re.findall(r'"(\w+)"', statement.cql.split("(", 1)[1].split(")", 1)[0])
            self.row = dict(zip(columns, statement.values, strict=True))
            return True, []
        values = iter(statement.values)
        set_to, found = (
            {name: next(values) if marker == "?" else None for name, marker in named}
            for named in (re.findall(r'"(\w+)" = (\?|null)', part) for part in statement.cql.split(" IF "))
        )
        if any(self.row.get(name) != value for name, value in found.items()):
            names = [*self.row, *found]
            return False, [{name: self.row.get(name) for name in names if name != "name"}]
        self.row |= set_to
        return True, []


async def test_a_row_is_set_in_which_a_struct_lacks_what_was_added_to_it_since() -> None:
    driver = OneRow()
    old, new = (
        CassandraStore(cast(Driver, driver), "tidings", [table], lambda: 0, TOGETHER) for table in (OLD, NEW)
    )
    assert await old.compare_and_set(OLD, None, OldGroupRow("g", b"1", OldRules(True))) is None
    read = GroupRow("g", b"1", Rules(True))
    changed = GroupRow("g", b"2", Rules(True, 5), 2)
    assert await new.compare_and_set(NEW, read, changed) is None
    # And what is not as it was expected is still found.
    assert await new.compare_and_set(NEW, read, GroupRow("g", b"3", Rules(True))) == changed
