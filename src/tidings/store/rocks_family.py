"""A table's column family: its rows by key, and ranges of them, as `tidings.store.encoded` has them."""

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, NamedTuple

import msgspec
from rocksdict import ColumnFamily, Rdict, RdictIter, ReadOptions

from tidings.store.contract import Key, R, Row, StoreUnavailable, Table
from tidings.store.encoded import CAUSE_BYTES, Caused, RowCodec
from tidings.store.keys import Span
from tidings.store.rocks_refusals import damaged, refusal

RECENT_ROWS = 16_384
"""values that a table of growing rows remembers"""
LOOK = 500
"""rows that `Family.older` looks at in one go"""
LOOK_BYTES = 4096
"""of a value count as one more row: rocksdict copies all of it"""
NO_CAUSE = bytes(CAUSE_BYTES)
UNKNOWN = b"\xff" * (CAUSE_BYTES + 1)
"""As a greatest cause: it is above all, and equal to none."""


class Pair(NamedTuple):
    """What lies in a column family."""

    key: bytes
    value: bytes


class Examined(NamedTuple):
    """What came of looking at some of a table."""

    rows: int
    faults: list[str]
    """of those rows that are not whole: which, and why"""
    go_on: bytes | None
    """the key to go on with; None: the end"""


class Family(Generic[R]):
    """A table's column family: rows by key, one value a row. Detached while the database is closed."""

    def __init__(self, table: Table[R], path: Path) -> None:
        self.table = table
        self.codec = RowCodec(table)
        self.keys = self.codec.keys
        self._path = path
        self._rows: Rdict | None = None
        self.handle: ColumnFamily | None = None
        self.read: Callable[[bytes], bytes | None] = _refuse
        self.recent: dict[bytes, bytes] = {}
        """What `read` would return, of growing rows that were written lately: each is read again and
        again, and finding it in the database takes longer than all else that a raise does."""
        self.newest = UNKNOWN
        """No row has a greater cause: one that is put with it or a greater one finds nothing that stays."""
        self.bound = UNKNOWN
        """what of that is in the database: it was written with or before the first row that needed it"""

    def attach(self, database: Rdict) -> None:
        """Take the column family of an open database."""
        self._rows = rows = database.get_column_family(self.table.name)
        self.handle = database.get_column_family_handle(self.table.name)
        self.read = rows.get
        self.newest = self.bound = self._bound_in(database)

    def _bound_in(self, database: Rdict) -> bytes:
        if not self.codec.takes_puts:
            return NO_CAUSE  # the later write stays
        found: bytes | None = database.get(bound_key(self.table.name))
        if found is not None and len(found) != CAUSE_BYTES:
            raise damaged(self._path, f"the greatest cause in {self.table.name} cannot be read")
        return UNKNOWN if found is None else found

    def detach(self) -> None:
        """Let go of everything that would keep the database's files open."""
        if self._rows is not None:
            close(self._rows)
        self._rows = self.handle = None
        self.read = _refuse
        self.newest = self.bound = UNKNOWN
        self.recent.clear()

    def remember(self, written: dict[bytes, bytes]) -> None:
        """Growing rows were written; an empty value: it was erased."""
        if self.table.grows:
            if len(self.recent) + len(written) > RECENT_ROWS:
                self.recent.clear()
            self.recent.update(written)

    def value(self, row: Row, cause: int) -> bytes:
        """A row and its cause as a value."""
        return self.codec.value(row, cause)

    def row(self, value: bytes) -> R:
        """The row of a value that was read. Raises StoreDamaged."""
        try:
            return self.codec.row(value)
        except msgspec.DecodeError as error:
            raise damaged(self._path, f"a row of {self.table.name} cannot be read: {error}") from None

    def caused(self, value: bytes) -> Caused[R]:
        """The row of a value that was read, and its cause. Raises StoreDamaged."""
        row = self.row(value)
        return Caused(row, self.codec.cause(value))

    def get(self, key: bytes) -> bytes | None:
        """The value of a key. Raises StoreDamaged, StoreUnavailable."""
        try:
            return self.read(key)
        except Exception as error:
            raise refusal(error, self._path) from None

    def range(self, span: Span, limit: int, *, backwards: bool) -> list[bytes]:
        """At most `limit` values, in order or against it. Raises StoreDamaged, StoreUnavailable."""
        read = _backwards if backwards else _forwards
        try:
            return read(self._open(), span, limit)
        except Exception as error:
            raise refusal(error, self._path) from None

    def pairs(self, span: Span, limit: int) -> list[Pair]:
        """At most `limit` keys and values, undecoded. Raises StoreDamaged, StoreUnavailable."""
        try:
            return _pairs(self._open(), span, limit)
        except Exception as error:
            raise refusal(error, self._path) from None

    def scan(self, after: Key | None, limit: int) -> list[R]:
        """See `Store.scan`."""
        row = self.row
        return [row(pair.value) for pair in self.pairs(self.keys.behind(after), limit)]

    def examine(self, first: bytes, limit: int) -> Examined:
        """Decode rows from a key on. Raises StoreDamaged where the files themselves are."""
        pairs = self.pairs(Span(first, None), limit)
        faults: list[str] = []
        for key, value in pairs:
            try:
                at = self.keys.of_row(self.codec.row(value))
            except (msgspec.DecodeError, ValueError, struct.error) as error:
                faults.append(f"key {key.hex()}: {error}")
                continue
            if at != key:
                faults.append(f"key {key.hex()}: the row says {at.hex()}")
        return Examined(len(pairs), faults, pairs[-1].key + b"\0" if len(pairs) == limit else None)

    def estimate(self) -> int:
        """About how many rows there are."""
        return self._open().property_int_value("rocksdb.estimate-num-keys") or 0

    def older(self, first: bytes, cause: bytes) -> tuple[list[bytes], bytes | None]:
        """The keys of rows with causes below one among the next rows, and where to go on (None: the end).

        Looks at so many rows as take about a millisecond.
        """
        try:
            return _older(self._open(), first, cause)
        except Exception as error:
            raise refusal(error, self._path) from None

    def greatest_cause(self) -> bytes:
        """Of all rows. It looks at each. Raises StoreDamaged."""
        try:
            return _greatest_cause(self._open())
        except Exception as error:
            raise refusal(error, self._path) from None

    def flush(self) -> None:
        """Write to files what is in memory. Releases the interpreter's lock."""
        self._open().flush(True)

    def _open(self) -> Rdict:
        if self._rows is None:
            raise StoreUnavailable("the store is closed")
        return self._rows


def _cursor(rows: Rdict, span: Span, *, keep: bool = True) -> RdictIter:
    """Without `keep` what is read does not push out of the cache what is read often."""
    options = ReadOptions()
    options.fill_cache(keep)  # type: ignore[call-arg]  # its stub lacks the argument
    if span.end is not None:
        options.set_iterate_upper_bound(span.end)
    # There is no lower bound: `set_iterate_lower_bound` of rocksdict 0.3 sets the upper one.
    return rows.iter(options)


def _forwards(rows: Rdict, span: Span, limit: int) -> list[bytes]:
    cursor = _cursor(rows, span)
    cursor.seek(span.first)
    values: list[bytes] = []
    value, step, add = cursor.value, cursor.next, values.append
    while len(values) < limit and (found := value()) is not None:
        add(found)
        step()
    # At a damaged block the cursor only ends; `items()` and `values()` would hide that.
    cursor.status()
    return values


def _backwards(rows: Rdict, span: Span, limit: int) -> list[bytes]:
    cursor = _cursor(rows, span)
    cursor.seek_to_last()
    values: list[bytes] = []
    while len(values) < limit and (key := cursor.key()) is not None and key >= span.first:
        values.append(cursor.value())
        cursor.prev()
    cursor.status()
    return values


def _pairs(rows: Rdict, span: Span, limit: int) -> list[Pair]:
    cursor = _cursor(rows, span, keep=False)
    cursor.seek(span.first)
    found: list[Pair] = []
    while len(found) < limit and (key := cursor.key()) is not None:
        found.append(Pair(key, cursor.value()))
        cursor.next()
    cursor.status()
    return found


def _older(rows: Rdict, first: bytes, cause: bytes) -> tuple[list[bytes], bytes | None]:
    cursor = _cursor(rows, Span(first, None), keep=False)
    cursor.seek(first)
    found: list[bytes] = []
    key, value, step = cursor.key, cursor.value, cursor.next
    work = 0
    while (at := key()) is not None and work < LOOK:
        data = value()
        work += 1 + len(data) // LOOK_BYTES
        if data[:CAUSE_BYTES] < cause:
            found.append(at)
        step()
    cursor.status()
    return found, at


def _greatest_cause(rows: Rdict) -> bytes:
    cursor = _cursor(rows, Span(b"", None), keep=False)
    cursor.seek(b"")
    value, step = cursor.value, cursor.next
    greatest = NO_CAUSE
    while (data := value()) is not None:
        greatest = max(greatest, data[:CAUSE_BYTES])
        step()
    cursor.status()
    return greatest


def bound_key(table: str) -> bytes:
    """Where the default column family has a cause that no row of a table is above."""
    return b"newest:" + table.encode()


def _refuse(_key: bytes) -> bytes | None:
    raise StoreUnavailable("the store is closed")


def close(rocks: Rdict) -> None:
    """Close a database or let go of a column family."""
    with suppress(Exception):
        rocks.close()
