"""A RocksDB directory: opening it or refusing it, and its tables' column families.

The default column family holds what belongs to the store as a whole: the format number and the
names of its tables. A directory in which one of them is missing is damaged, never new: a new
store is marked by a file from before its first to after its last step of creation, and nothing
is acknowledged while that file is there.
"""

import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic

import msgspec
from rocksdict import ColumnFamily, Options, Rdict, RdictIter, ReadOptions, WriteBatch, WriteOptions

from tidings.store.contract import Key, R, Row, StoreTooNew, StoreUnavailable, Table
from tidings.store.keys import KeyCodec, Span
from tidings.store.rocks_options import database_options, new_cache, table_options
from tidings.store.rocks_refusals import LOGS, damaged, in_use, refusal

Migration = Callable[[Rdict], None]
MIGRATIONS: Mapping[int, Migration] = {}
"""From each older format to the one that follows it."""

CREATING = "CREATING"
_NOT_OURS = frozenset({CREATING, "lost+found"})
_FORMAT = b"format"
_TABLES = b"tables"

CAUSE_BYTES = 8
"""A value is its cause, big-endian, and the row in MessagePack: values of one row compare by cause."""

_encode = msgspec.msgpack.Encoder().encode


class Family(Generic[R]):
    """A table's column family: rows by key, one value a row. Detached while the database is closed."""

    def __init__(self, table: Table[R], path: Path) -> None:
        self.table = table
        self.takes_puts = not table.grows and not table.contested
        self.keys = KeyCodec(table)
        self._decode = msgspec.msgpack.Decoder(table.row).decode
        self._path = path
        self._rows: Rdict | None = None
        self.handle: ColumnFamily | None = None
        self.read: Callable[[bytes], bytes | None] = _refuse

    def attach(self, database: Rdict) -> None:
        """Take the column family of an open database."""
        self._rows = rows = database.get_column_family(self.table.name)
        self.handle = database.get_column_family_handle(self.table.name)
        self.read = rows.get

    def detach(self) -> None:
        """Let go of everything that would keep the database's files open."""
        if self._rows is not None:
            _close(self._rows)
        self._rows = self.handle = None
        self.read = _refuse

    def value(self, row: Row, cause: int) -> bytes:
        """A row and its cause as a value."""
        return cause.to_bytes(CAUSE_BYTES, "big") + _encode(row)

    def row(self, value: bytes) -> R:
        """The row of a value. Raises StoreDamaged."""
        try:
            return self._decode(value[CAUSE_BYTES:])
        except msgspec.DecodeError as error:
            raise damaged(self._path, f"a row of {self.table.name} cannot be read: {error}") from None

    def get(self, key: bytes) -> bytes | None:
        """The value of a key. Raises StoreDamaged, StoreUnavailable."""
        try:
            return self.read(key)
        except Exception as error:
            raise refusal(error, self._path) from None

    def range(
        self, partition: Key, after: Key | None, before: Key | None, limit: int, *, backwards: bool
    ) -> list[R]:
        """See `Store.range`."""
        if self._rows is None:
            raise StoreUnavailable("the store is closed")
        span = self.keys.span(partition, after, before)
        read = _backwards if backwards else _forwards
        try:
            values = read(self._rows, span, limit)
        except Exception as error:
            raise refusal(error, self._path) from None
        row = self.row
        return [row(value) for value in values]


def _cursor(rows: Rdict, span: Span) -> RdictIter:
    options = ReadOptions()
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


class Database:
    """A RocksDB directory and its tables, open or between `close` and `open`."""

    def __init__(self, path: Path, tables: Sequence[Table[Any]], format_number: int) -> None:
        self.path = path
        self.families: dict[Table[Any], Family[Any]] = {table: Family(table, path) for table in tables}
        self._tables = tables
        self._format_number = format_number
        self._rocks: Rdict | None = None
        self._write_options = WriteOptions()
        self._write_options.no_slowdown = True

    def open(self) -> None:
        """Open the directory, or make a new store of an empty one.

        Raises StoreDamaged, StoreTooNew, StoreInUse, StoreFull, StoreUnavailable.
        """
        path, tables = self.path, self._tables
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not _holds_a_store(path):
                _create(path, tables, self._format_number)
            self._rocks = rocks = _open(path, tables, self._format_number)
        except OSError as error:
            raise refusal(error, path) from None
        for family in self.families.values():
            family.attach(rocks)

    def write(self, batch: WriteBatch) -> None:
        """Write a batch to the log and to memory; `sync` makes it durable.

        rocksdict holds the interpreter's lock while it writes, so a write that also waited for
        the disk would halt the event loop, on whichever thread it ran. For the same reason it
        does not wait while compaction is behind: it raises, and `is_stall` knows the error.
        """
        assert self._rocks is not None
        self._rocks.write(batch, self._write_options)

    def sync(self) -> None:
        """Wait until all that was written is on the disk. Releases the interpreter's lock."""
        assert self._rocks is not None
        self._rocks.flush_wal(True)

    def close(self) -> None:
        """Release the files. What fails here was in the log before and is found there again."""
        for family in self.families.values():
            family.detach()
        if self._rocks is not None:
            _close(self._rocks)
            self._rocks = None


def _close(rocks: Rdict) -> None:
    with suppress(Exception):
        rocks.close()


def _refuse(_key: bytes) -> bytes | None:
    raise StoreUnavailable("the store is closed")


def is_stall(error: Exception) -> bool:
    """Whether a write was refused only because compaction is behind: repeat it a little later."""
    return str(error).startswith("Result incomplete")


def _holds_a_store(path: Path) -> bool:
    if (path / CREATING).exists():
        return False
    return any(entry.name not in _NOT_OURS for entry in path.iterdir())


def _create(path: Path, tables: Sequence[Table[Any]], format_number: int) -> None:
    """Make a store; whatever a crash leaves of it is begun anew."""
    mark = path / CREATING
    with mark.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise in_use(path) from None
        for entry in path.iterdir():
            if entry.name not in _NOT_OURS and entry.is_file():
                entry.unlink()
        options = {table.name: table_options(new_cache()) for table in tables}
        rocks = _rdict(path, options, create=True)
        rocks[_FORMAT] = b"%d" % format_number
        rocks[_TABLES] = _encode(sorted(options))
        rocks.close()
        mark.unlink()
    _sync_directory(path)
    _sync_directory(path.parent)


def _open(path: Path, tables: Sequence[Table[Any]], format_number: int) -> Rdict:
    if not (path / "CURRENT").is_file():
        raise damaged(path, "the file CURRENT is missing")
    # RocksDB always leaves a log, and without one would open as if nothing had been in it. Its
    # name makes people delete it.
    if not any(path.glob("*.log")):
        raise damaged(path, f"its write-ahead log is missing ({LOGS})")
    try:
        present = Rdict.list_cf(str(path), database_options(create=False))
    except Exception as error:
        raise refusal(error, path) from None
    cache = new_cache()
    rocks = _rdict(path, {name: table_options(cache) for name in present if name != "default"}, create=False)
    try:
        _require_format(path, rocks, format_number)
        _require_tables(path, rocks, present)
        _add_tables(
            rocks, [table.name for table in tables if table.name not in present], table_options(cache)
        )
    except Exception:
        rocks.close()
        raise
    return rocks


def _rdict(path: Path, families: dict[str, Options], *, create: bool) -> Rdict:
    try:
        return Rdict(str(path), database_options(create=create), families)
    except Exception as error:
        # Of all its files RocksDB names only the logs not.
        raise refusal(error, path, unnamed=LOGS) from None


def _require_format(path: Path, rocks: Rdict, format_number: int) -> None:
    found = rocks.get(_FORMAT)
    if found is None or not found.isdigit():
        raise damaged(path, "the store's format number is missing")
    number = int(found)
    if number > format_number:
        raise StoreTooNew(
            f"{path} has format {number}, this version of Tidings reads up to {format_number}\n"
            "hint: install the version that wrote it, or a later one"
        )
    for older in range(number, format_number):
        MIGRATIONS[older](rocks)
        rocks[_FORMAT] = b"%d" % (older + 1)


def _require_tables(path: Path, rocks: Rdict, present: Sequence[str]) -> None:
    expected: set[str] = set(msgspec.msgpack.decode(rocks.get(_TABLES) or b"\x90"))
    missing = sorted(expected.difference(present))
    if missing:
        raise damaged(path, f"the tables {', '.join(missing)} are missing")


def _add_tables(rocks: Rdict, names: Sequence[str], options: Options) -> None:
    """Tables that came with a newer version of the program: created before they are named."""
    if not names:
        return
    known = msgspec.msgpack.decode(rocks.get(_TABLES) or b"\x90")
    for name in names:
        rocks.create_column_family(name, options)
    rocks[_TABLES] = _encode(sorted({*known, *names}))
    rocks.flush_wal(True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
