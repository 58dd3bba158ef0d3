"""The CQL of a table: what creates it, writes it and reads it, from its one declaration.

Names are qualified and quoted. Everything here is text; nothing is sent.
"""

from typing import Any, Generic

from tidings.store.cassandra.columns import Column, RowColumns
from tidings.store.cassandra.times import STEPS_PER_US
from tidings.store.contract import R, Table

DAY_S = 86_400
GC_GRACE_S = 10 * DAY_S
"""Repair each table more often than that, else what was erased may come back."""
GC_GRACE_KEPT_S = 3 * DAY_S
"""of tables whose rows expire: what is wrong there goes by itself"""
WINDOWS = 20
"""files that the rows of a table which expires are kept in, by their age"""


class Statements(Generic[R]):
    """The statements of a table in a keyspace. Their parameters are in the order of the text."""

    def __init__(self, keyspace: str, columns: RowColumns[R]) -> None:
        self._columns = columns
        self._table = table = columns.table
        self.name = f'"{keyspace}"."{table.name}"'
        self._selected = ", ".join(column.selected for column in columns.all)
        self._whole_key = _each_equals(columns.key)
        self._in_partition = _each_equals(columns.partition)
        ttl = " AND TTL ?" if self.expires else ""
        self.put = f"{self._insert()} USING TIMESTAMP ?{ttl}"
        """the row's columns; the timestamp; the TTL, if rows expire"""
        self.insert = self._insert()
        """the row's columns"""
        self.insert_if_absent = f"{self._insert()} IF NOT EXISTS"
        """the row's columns"""
        self.erase_partition = f"DELETE FROM {self.name} USING TIMESTAMP ? WHERE {self._in_partition}"
        self.erase_row = f"DELETE FROM {self.name} USING TIMESTAMP ? WHERE {self._whole_key}"
        self.get = f"SELECT {self._selected} FROM {self.name} WHERE {self._whole_key}"
        """the key"""
        self.get_several = (
            f"SELECT {self._selected} FROM {self.name}"
            f" WHERE {self._in_partition} AND {_one_or_tuple(columns.clustering)} IN ?"
        )
        """the partition key; a list of clustering keys"""

        written = f"WRITETIME({columns.others[0].quoted})" if columns.others else "0"
        self.all = f"SELECT {self._selected}, {written} FROM {self.name}"
        """all rows, each with its timestamp"""

    @property
    def expires(self) -> bool:
        """Whether rows have an age."""
        table = self._table
        return table.keep_s is not None and not table.grows and not table.contested

    def _insert(self) -> str:
        columns = self._columns.all
        names = ", ".join(column.quoted for column in columns)
        markers = ", ".join(column.marker for column in columns)
        return f"INSERT INTO {self.name} ({names}) VALUES ({markers})"

    def raising(self, columns: list[Column]) -> str:
        """Set some columns: the timestamp, their values, the key."""
        return f"UPDATE {self.name} USING TIMESTAMP ? SET {_each_is(columns)} WHERE {self._whole_key}"

    def replace(self, absent: frozenset[str] = frozenset()) -> str:
        """Set all columns but the key, if they are as expected: values, key, expected values.

        `absent` are columns that are expected to be null, and have no parameter for that.
        """
        others = self._columns.others
        conditions = " AND ".join(
            f"{column.quoted} = {'null' if column.name in absent else '?'}" for column in others
        )
        return f"UPDATE {self.name} SET {_each_is(others)} WHERE {self._whole_key} IF {conditions}"

    def range(self, *, after: bool, before: bool, backwards: bool) -> str:
        """Rows of a partition: its key, the clustering key after, the one before, the limit."""
        table, clustering = self._table, self._columns.clustering
        where, slots = [self._in_partition], ", ".join("?" for _ in clustering)
        behind, ahead = (">", "<") if not table.descending else ("<", ">")
        if after:
            where.append(f"{_tuple(clustering)} {behind} ({slots})")
        if before:
            where.append(f"{_tuple(clustering)} {ahead} ({slots})")
        order = ""
        if backwards and clustering:
            direction = "DESC" if not table.descending else "ASC"
            order = " ORDER BY " + ", ".join(f"{column.quoted} {direction}" for column in clustering)
        return f"SELECT {self._selected} FROM {self.name} WHERE {' AND '.join(where)}{order} LIMIT ?"

    def scan(self, *, after: bool) -> str:
        """Rows of all partitions, or of those after one: its key, the limit."""
        names = ", ".join(column.quoted for column in self._columns.partition)
        slots = ", ".join("?" for _ in self._columns.partition)
        where = f" WHERE token({names}) > token({slots})" if after else ""
        return f"SELECT {self._selected} FROM {self.name}{where} LIMIT ?"

    def create(self) -> str:
        """What makes the table, if it is not there."""
        columns, table = self._columns, self._table
        lines = [f"{column.quoted} {column.cql}" for column in columns.all]
        key = ", ".join([f"({_names(columns.partition)})", *(column.quoted for column in columns.clustering)])
        lines.append(f"PRIMARY KEY ({key})")
        options = [f"{name} = {value}" for name, value in options_of(table, expires=self.expires).items()]
        if columns.clustering:
            direction = "DESC" if table.descending else "ASC"
            order = ", ".join(f"{column.quoted} {direction}" for column in columns.clustering)
            options.insert(0, f"CLUSTERING ORDER BY ({order})")
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(lines)}) WITH {' AND '.join(options)}"

    def add(self, column: Column) -> str:
        """What adds a column to the table."""
        return f"ALTER TABLE {self.name} ADD {column.quoted} {column.cql}"


def options_of(table: Table[Any], *, expires: bool) -> dict[str, str]:
    """The properties of a table in CQL: how it is compacted, how long tombstones stay."""
    doc, _, _ = (table.row.__doc__ or "").strip().partition("\n")
    options = {"comment": _literal(doc), "gc_grace_seconds": str(GC_GRACE_S)}
    if expires:
        assert table.keep_s is not None
        options["gc_grace_seconds"] = str(min(GC_GRACE_KEPT_S, table.keep_s))
        options["default_time_to_live"] = str(table.keep_s)
    if expires and table.keep_s >= WINDOWS * DAY_S:  # type: ignore[operator]
        # In steps of timestamps, which it takes for microseconds.
        days = round(table.keep_s / WINDOWS / DAY_S * STEPS_PER_US)  # type: ignore[operator]
        options["compaction"] = (
            "{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS',"
            f" 'compaction_window_size': {days}}}"
        )
    elif table.grows or table.contested:
        # Few rows that are written again and again: each should be read from one file.
        options["compaction"] = "{'class': 'LeveledCompactionStrategy'}"
    else:
        options["compaction"] = "{'class': 'SizeTieredCompactionStrategy'}"
    return options


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _names(columns: list[Column]) -> str:
    return ", ".join(column.quoted for column in columns)


def _tuple(columns: list[Column]) -> str:
    return f"({_names(columns)})"


def _one_or_tuple(columns: list[Column]) -> str:
    return columns[0].quoted if len(columns) == 1 else _tuple(columns)


def _each_equals(columns: list[Column]) -> str:
    return " AND ".join(f"{column.quoted} = ?" for column in columns)


def _each_is(columns: list[Column]) -> str:
    return ", ".join(f"{column.quoted} = {column.marker}" for column in columns)
