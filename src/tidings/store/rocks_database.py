"""A RocksDB directory: opening it or refusing it, and its tables' column families.

The default column family holds what belongs to the store as a whole: the format number, the names
of its tables, and for each a cause that none of its rows is above. A directory in which the number
or a table is missing is damaged, never new: a new store is marked by a file from before its first
to after its last step of creation, and nothing is acknowledged while that file is there.
"""

import fcntl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rocksdict import Checkpoint, Options, Rdict, WriteBatch, WriteOptions

from tidings.store.contract import StoreTooNew, StoreUnavailable, Table
from tidings.store.promoted import require_own
from tidings.store.rocks_checkpoint import CHECKPOINT, remove_checkpoint, sync_directory
from tidings.store.rocks_family import NO_CAUSE, Family, bound_key, close
from tidings.store.rocks_migrations import MIGRATIONS
from tidings.store.rocks_options import database_options, new_cache, table_options
from tidings.store.rocks_refusals import LOGS, damaged, in_use, refusal

CREATING = "CREATING"
RESTORING = "RESTORING"
"""The directory in which `restore` prepares a store: as long as it is there, nothing is opened."""
_NOT_OURS = frozenset({CREATING, "lost+found"})
_FORMAT = b"format"
_TABLES = b"tables"

_encode = msgspec.msgpack.Encoder().encode


class Database:
    """A RocksDB directory and its tables, open or between `close` and `open`."""

    def __init__(
        self,
        path: Path,
        tables: Sequence[Table[Any]],
        format_number: int,
        *,
        wall_ms: Callable[[], int],
        as_it_is: bool,
    ) -> None:
        self.path = path
        self.families: dict[Table[Any], Family[Any]] = {table: Family(table, path) for table in tables}
        self._tables = tables
        self._format_number = format_number
        self.wall_ms = wall_ms
        self._as_it_is = as_it_is
        self._rocks: Rdict | None = None
        self._write_options = WriteOptions()
        self._write_options.no_slowdown = True

    def open(self) -> None:
        """Open the directory, or make a new store of an empty one.

        Raises StoreDamaged, StoreTooNew, StoreInUse, StoreFull, StoreUnavailable.
        """
        path, tables = self.path, self._tables
        try:
            if not holds_a_store(path):
                if self._as_it_is:
                    raise StoreUnavailable(f"there is no store in {path}")
                path.mkdir(parents=True, exist_ok=True)
                _create(path, tables, self._format_number)
            if (path / RESTORING).exists():
                raise StoreUnavailable(f"the restore into {path} was not finished\nhint: run it again")
            if not self._as_it_is:
                require_own(path)
            self._rocks = rocks = self._opened()
            remove_checkpoint(path)
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

    def freeze(self) -> None:
        """Make the directory CHECKPOINT: hard links to the files of this moment. On another thread.

        Making it holds the interpreter's lock for as long as it must flush, so that is done before.
        """
        assert self._rocks is not None
        remove_checkpoint(self.path)
        for family in self.families.values():
            family.flush()
        Checkpoint(self._rocks).create_checkpoint(str(self.path / CHECKPOINT))

    def close(self) -> None:
        """Release the files. What fails here was in the log before and is found there again."""
        for family in self.families.values():
            family.detach()
        if self._rocks is not None:
            close(self._rocks)
            self._rocks = None

    def _opened(self) -> Rdict:
        path = self.path
        present = _present(path)
        cache = new_cache()
        options = {name: table_options(cache) for name in present if name != "default"}
        rocks = _rdict(path, options, create=False)
        try:
            number = _format(path, rocks, self._format_number)
            if number < self._format_number and self._as_it_is:
                raise StoreUnavailable(
                    f"{path} has format {number}: a server of this version would migrate it\n"
                    "hint: use the version of Tidings that wrote it, or start the server once"
                )
            _require_tables(path, rocks, present)
            added = [table.name for table in self._tables if table.name not in present]
            _add_tables(rocks, added, table_options(cache))
            for older in range(number, self._format_number):
                self._migrate(rocks, older)
        except Exception as error:
            rocks.close()
            raise refusal(error, path) from None
        return rocks

    def _migrate(self, rocks: Rdict, older: int) -> None:
        """One step. A crash in the middle leaves the older number, and the step is done again."""
        MIGRATIONS[older](rocks, self.path, self.wall_ms())
        rocks.flush_wal(True)
        rocks[_FORMAT] = b"%d" % (older + 1)
        rocks.flush_wal(True)


def wall_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def is_stall(error: Exception) -> bool:
    """Whether a write was refused only because compaction is behind: repeat it a little later."""
    return str(error).startswith("Result incomplete")


def holds_a_store(path: Path) -> bool:
    """Whether a directory has anything in it but what a creation left unfinished. Raises OSError."""
    if not path.exists():
        return False
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
        for name in options:
            rocks[bound_key(name)] = NO_CAUSE
        rocks.close()
        mark.unlink()
    sync_directory(path)
    sync_directory(path.parent)


def _present(path: Path) -> list[str]:
    """The column families of a directory that must hold a store. Raises StoreDamaged."""
    if not (path / "CURRENT").is_file():
        raise damaged(path, "the file CURRENT is missing")
    # RocksDB always leaves a log, and without one would open as if nothing had been in it. Its
    # name makes people delete it. (The audit log is called so too.)
    if not any(path.glob("[0-9]*.log")):
        raise damaged(path, f"its write-ahead log is missing ({LOGS})")
    try:
        present: list[str] = Rdict.list_cf(str(path), database_options(create=False))
    except Exception as error:
        raise refusal(error, path) from None
    return present


def _rdict(path: Path, families: dict[str, Options], *, create: bool) -> Rdict:
    try:
        return Rdict(str(path), database_options(create=create), families)
    except Exception as error:
        # Of all its files RocksDB names only the logs not.
        raise refusal(error, path, unnamed=LOGS) from None


def _format(path: Path, rocks: Rdict, format_number: int) -> int:
    found = rocks.get(_FORMAT)
    if found is None or not found.isdigit():
        raise damaged(path, "the store's format number is missing")
    number = int(found)
    if number > format_number:
        raise StoreTooNew(
            f"{path} has format {number}, this version of Tidings reads up to {format_number}\n"
            "hint: install the version that wrote it, or a later one"
        )
    return number


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
    # Before there is a table: one that is there without it would be taken for one with rows.
    for name in names:
        rocks[bound_key(name)] = NO_CAUSE
    rocks.flush_wal(True)
    for name in names:
        rocks.create_column_family(name, options)
    rocks[_TABLES] = _encode(sorted({*known, *names}))
    rocks.flush_wal(True)
