"""A disk: what a device has stored, over all runs of its program, and copies of it.

The database is SQLite in memory. A program that is killed leaves in it what was committed; one that begins
finds the files of a profile in a folder of its own, so that nobody holds their locks.
"""

import shutil
import sqlite3
from pathlib import Path

from tidings.client import access
from tidings.client.enrolment import save
from tidings.client.http import Server
from tidings.client.profile import DATABASE, FORMAT, Profile
from tidings.client.tables import SCHEMA
from tidings.protocol.api import LoggedIn

SMALL = ("account.json", "profile.key")
"""files of a profile that never change here"""


class _Lasting(sqlite3.Connection):
    """A database that outlives who has it open."""

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()


class Disk:
    """See the module's text."""

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self._folder = folder
        self.database = database
        self._runs = 0

    @classmethod
    def new(cls, folder: Path, server: Server, account: LoggedIn) -> "Disk":
        """The disk of a device that has just logged in."""
        profile = Profile(folder / "made")
        with profile.create():
            save(profile, server, account)
        database = _open()
        database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        access.keep_token(database, account.token)
        return cls(folder, database)

    def begin(self) -> Path:
        """The profile's folder, for another run of the program."""
        self._runs += 1
        path = self._folder / str(self._runs)
        path.mkdir(mode=0o700)
        for name in SMALL:
            shutil.copy(self._folder / "made" / name, path / name)
        (path / DATABASE).touch(mode=0o600)
        return path

    def connect(self, path: Path, key: bytes) -> sqlite3.Connection:  # noqa: ARG002 - see `database.Connect`
        """Open the database, for the one program that runs."""
        return self.database

    def power_off(self) -> None:
        """Whoever had it open is gone; what was not committed, too."""
        self.database.close()

    @property
    def generation(self) -> int:
        """How often the profile has connected."""
        row = self.database.execute("SELECT generation FROM own_keys").fetchone()
        return 0 if row is None else int(row[0])

    def outbox(self) -> list[tuple[bytes, bytes]]:
        """What waits to be sent: name and content."""
        return self.database.execute("SELECT client_id, content FROM outbox").fetchall()

    def copied(self) -> bytes:
        """A copy of all that is in it."""
        return self.database.serialize()

    def restore(self, copy: bytes) -> None:
        """Have what a copy has."""
        self.database = opened(copy)


def opened(copy: bytes) -> sqlite3.Connection:
    """A database of its own, with what a copy has."""
    database = _open()
    database.deserialize(copy)
    return database


def _open() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, factory=_Lasting)
