"""A table's rows as statements: what is sent for each write, and what the answers say.

Nothing is sent here.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Generic

from tidings.store.cassandra import times
from tidings.store.cassandra.columns import Column, Kind, RowColumns, Values, encoded_row
from tidings.store.cassandra.statements import Statements
from tidings.store.contract import Key, PutEach, R, Row, Table
from tidings.store.counts import TableCounts

Sent = tuple[str, Values]
"""a statement's text and its values"""
ByPartition = defaultdict[Values, list[Sent]]
"""What is to be sent for each partition key: rows of several tables that share one go together."""


class Rows(Generic[R]):
    """A table: its rows as values, and the statements that they go into."""

    def __init__(self, table: Table[R], keyspace: str, counts: TableCounts | None = None) -> None:
        self.counts = counts or TableCounts()
        self.columns = RowColumns(table)
        self.statements = Statements(keyspace, self.columns)
        self.is_contested = table.contested
        self._takes_puts = not table.grows and not table.contested
        self._expires = self.statements.expires
        self._ranges: dict[tuple[bool, bool, bool], str] = {}
        self._growing = [column for column in self.columns.all if column.name in table.grows]
        self._beside = [column for column in self.columns.others if column.name not in table.grows]
        self._raise_beside = self.statements.raising(self._beside) if self._beside else ""
        self._raising: dict[tuple[str, ...], str] = {}

    def is_nobodys(self, partition: Values) -> bool:
        """Whether no partition can have this key: Cassandra refuses to look for an empty one."""
        return len(self.columns.partition) == 1 and not partition[0]

    def range(self, *, after: bool, before: bool, backwards: bool) -> str:
        """See `Statements.range`."""
        which = after, before, backwards
        cql = self._ranges.get(which)
        if cql is None:
            cql = self._ranges[which] = self.statements.range(after=after, before=before, backwards=backwards)
        return cql

    def _stamp(self, cause: int, now_ms: Callable[[], int]) -> Values | None:
        """The timestamp of a row, and its TTL if it has one; None if its time is over."""
        if not self._expires:
            return (times.of_cause(cause),)
        keep_s = self.columns.table.keep_s
        assert keep_s is not None
        ttl = times.left_s(cause, keep_s, now_ms())
        return (times.of_cause(cause), ttl) if ttl else None

    def put(
        self,
        found: ByPartition,
        row: Row,
        cause: int,
        now_ms: Callable[[], int],
    ) -> None:
        """Add what puts a row."""
        assert self._takes_puts, self.columns.table
        values = encoded_row(self.columns, row)
        stamp = self._stamp(cause, now_ms)
        if stamp is not None:
            found[self.columns.partition_of(values)].append((self.statements.put, values + stamp))
            self.counts.rows += 1
            self.counts.statements += 1

    def put_each(self, found: ByPartition, each: PutEach, now_ms: Callable[[], int]) -> None:
        """Add what puts a row once for each value."""
        columns = self.columns
        assert self._takes_puts, columns.table
        assert each.column in columns.table.partition, each.column
        values = encoded_row(columns, each.row)
        stamp = self._stamp(each.cause, now_ms)
        if stamp is None:
            return
        self.counts.rows += len(each.values)
        self.counts.statements += len(each.values)
        at = columns.at[each.column]
        before, behind = values[:at], values[at + 1 :]
        for value in each.values:
            copy = (*before, columns.of_column(each.column, value), *behind)
            found[columns.partition_of(copy)].append((self.statements.put, copy + stamp))

    def raise_to(self, found: ByPartition, row: Row, now_us: Callable[[], int]) -> None:
        """Add what raises a row."""
        columns, table = self.columns, self.columns.table
        assert table.grows, table
        values = encoded_row(columns, row)
        key = columns.key_of(values)
        sent = found[columns.partition_of(values)]
        before = len(sent)
        is_there = bool(self._beside)
        # Columns that have one value have one timestamp, and so one statement: as where all was read.
        by_stamp: dict[int, list[Column]] = {}
        for column in self._growing:
            value = getattr(row, column.name)
            # What has the default need not be written, but that there is a row.
            if column.default is None or value != column.default():
                by_stamp.setdefault(times.of_value(value), []).append(column)
                is_there = True
        for stamp, same in by_stamp.items():
            sent.append((self._raise(same), (stamp, *[values[columns.at[one.name]] for one in same], *key)))
        if self._beside:
            others = [values[columns.at[column.name]] for column in self._beside]
            sent.append((self._raise_beside, (now_us(), *others, *key)))
        if not is_there:
            column = self._growing[0]
            stamp = times.of_value(getattr(row, column.name))
            sent.append((self._raise([column]), (stamp, values[columns.at[column.name]], *key)))
        self.counts.rows += 1
        self.counts.statements += len(sent) - before

    def _raise(self, columns: list[Column]) -> str:
        names = tuple([column.name for column in columns])
        cql = self._raising.get(names)
        if cql is None:
            cql = self._raising[names] = self.statements.raising(columns)
        return cql

    def erase(self, found: ByPartition, key: Key, cause: int) -> None:
        """Add what erases a partition or a row."""
        columns, table = self.columns, self.columns.table
        assert not table.contested, table
        assert len(key) in (len(table.partition), len(table.key)), key
        values = columns.of_key(key)
        whole = len(key) == len(table.key)
        cql = self.statements.erase_row if whole else self.statements.erase_partition
        # The timestamps of what grows are its values: nothing else is above them all.
        stamp = times.TIMESTAMP_MAX if table.grows else times.of_cause(cause)
        found[values[: len(table.partition)]].append((cql, (stamp, *values)))
        self.counts.rows += 1
        self.counts.statements += 1

    def compared(self, values: Values, expected: Values | None, absent: frozenset[str]) -> Sent:
        """What sets a row if it is as expected (None: absent)."""
        if expected is None:
            return self.statements.insert_if_absent, values
        columns = self.columns
        at = [columns.at[column.name] for column in columns.others]
        conditions = [
            expected[columns.at[column.name]] for column in columns.others if column.name not in absent
        ]
        sent = (*(values[index] for index in at), *columns.key_of(values), *conditions)
        return self.statements.replace(absent), sent

    def found(self, answers: list[dict[str, Any]], values: Values) -> Values | None:
        """The row that was there instead, of the answers to a statement with a condition."""
        columns = self.columns
        key = {column.name: values[columns.at[column.name]] for column in columns.key}
        for column in columns.key:
            if column.kind is Kind.TEXT:  # which goes out as bytes
                key[column.name] = key[column.name].decode()
        for answer in answers:
            if all(answer.get(column.name) is None for column in columns.others):
                continue
            if all(answer.get(name, value) == value for name, value in key.items()):
                return tuple([key.get(column.name, answer.get(column.name)) for column in columns.all])
        return None

    def as_stored(self, expected: Values, found: Values) -> tuple[Values, frozenset[str]]:
        """A row that was found as it was expected, in the bytes in which it stands there, and what is null.

        Columns that are younger than the row are null, and what is nested lacks the fields that are.
        """
        each = list(zip(self.columns.all, expected, found, strict=True))
        nulls = frozenset(column.name for column, _, stored in each if stored is None)
        values = [stored if column.kind is Kind.NESTED else value for column, value, stored in each]
        return tuple(values), nulls
