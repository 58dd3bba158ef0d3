"""The profile's database: SQLite whose file is encrypted, by SQLCipher.

Each page is encrypted and authenticated with a key of 32 random bytes, in the file, its journal and its WAL.
This is the one module that knows SQLCipher: its connections are like those of `sqlite3`, and said to be such;
its exceptions have classes of their own. One process must not open one file through both: each library would
release the other's locks.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import cast

from sqlcipher3 import dbapi2 as sqlcipher  # type: ignore[import-untyped]

from tidings.protocol.frames import Relation, Scheme, SettingKind, Status

KEY_BYTES = 32
BUSY_S = 30.0
"""how long another process's transaction is waited for"""

Failed: tuple[type[Exception], type[Exception]] = (sqlite3.Error, sqlcipher.Error)
"""What a connection raises, whichever of the two libraries made it."""

Connect = Callable[[Path, bytes], sqlite3.Connection]
"""Opens a database that exists, with its key."""


# A value is asked, by raising and catching errors, what it would be in SQL, unless that is known of its type:
# that costs more than most statements.
for _same in (int, float, str, bytes):
    sqlcipher.register_adapter(_same, _same)
for _number in (bool, Relation, Scheme, SettingKind, Status):
    sqlcipher.register_adapter(_number, int)
sqlcipher.register_adapter(type(None), lambda none: none)


def connect(path: Path, key: bytes) -> sqlite3.Connection:
    """Open a database that exists. A wrong key shows with the first query: SQLITE_NOTADB."""
    database = _open(path, "rw")
    _use(database, key)
    return database


def connect_plain(path: Path) -> sqlite3.Connection:
    """Open a database that exists and is not encrypted."""
    return _open(path, "rw")


def create(path: Path, key: bytes) -> sqlite3.Connection:
    """Open a database for its first contents; the file may exist, and is empty then."""
    database = _open(path, "rwc")
    _use(database, key)
    return database


def attach(database: sqlite3.Connection, path: Path, key: bytes) -> None:
    """Have an empty encrypted database beside another one, named `sealed`."""
    database.execute("ATTACH DATABASE ? AS sealed KEY ?", (str(path.absolute()), _literal(key)))


def code_of(error: Exception) -> int:
    """SQLite's primary result code; 0 if there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _open(path: Path, mode: str) -> sqlite3.Connection:
    name = f"{path.absolute().as_uri()}?mode={mode}"
    database = sqlcipher.connect(name, uri=True, isolation_level=None, timeout=BUSY_S)
    # It would print what it raises anyway.
    database.execute("PRAGMA cipher_log_level = NONE")
    # What is sorted or vacuumed would go to the disk in plain.
    database.execute("PRAGMA temp_store = MEMORY")
    return cast(sqlite3.Connection, database)


def _use(database: sqlite3.Connection, key: bytes) -> None:
    # A key that is random needs no stretching: given as a blob it is used as it is.
    database.execute(f'PRAGMA key = "{_literal(key)}"')


def _literal(key: bytes) -> str:
    assert len(key) == KEY_BYTES
    return f"x'{key.hex()}'"
