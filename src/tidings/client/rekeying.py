"""A profile gets another key: its database is written anew, encrypted, and the old one is removed.

So are profiles of formats 1 and 2 converted, which are not encrypted. The new database is made beside the
old one, under another name; `account.json`, replaced at once, says which of them counts, and how its key is
kept. A kill at any step leaves the old or the new, and what else lies there goes with the next opening.

Who calls holds `open.lock` alone.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tidings.client import access, keeping, vault
from tidings.client import database as databases
from tidings.client.errors import ClientError, ProfileInUse, StorageFailed
from tidings.client.keeping import Entropy, InKeyring, Keep
from tidings.client.migrations import migrate
from tidings.client.profile import AROUND, DATABASE, FORMAT, OTHER_DATABASE, Account, Profile

ALONE_S = 2.0
"""how long other processes of an older version may take to close the database"""
POLL_S = 0.05


def rekey(profile: Profile, account: Account, key: bytes | None, keep: Keep, entropy: Entropy) -> Account:
    """Give a profile a new key, kept as said; `key` is the one that it has, None if it is not encrypted.

    Takes some 3 s for 100 MB. Raises ProfileInUse, ProfileLocked, ProfileDamaged, ProfileTooNew,
    StorageFailed; then it is as it was.
    """
    path = profile.database(account)
    try:
        with _alone(profile, path, key) as database:
            return _renewed(profile, account, database, keep, entropy)
    except (OSError, *databases.Failed) as error:
        failed = vault.explained(error, path)
        if isinstance(error, OSError):
            failed = StorageFailed(f"cannot write profile {profile.path}: {error.strerror}")
        raise failed from error


def _renewed(
    profile: Profile, account: Account, database: sqlite3.Connection, keep: Keep, entropy: Entropy
) -> Account:
    vault.format_of(database, profile.database(account))
    secured = keeping.secure(keep, profile.path, entropy, old=account.key)
    name = OTHER_DATABASE if account.database == DATABASE else DATABASE
    renewed = msgspec.structs.replace(account, format=FORMAT, token="", database=name, key=secured.kept)
    copy = profile.database(renewed)
    try:
        _copy(database, copy, secured.key)
        _complete(copy, secured.key, account.token if account.key is None else None)
        profile.replace(renewed)
    except BaseException:
        found = profile.account()
        if found.key != secured.kept:
            keeping.undo(secured.kept, profile.path)
            profile.tidy(found)
        raise
    if account.key is None:
        # An older version that waits for its turn must not go on with what is removed now.
        database.execute(f"PRAGMA user_version = {FORMAT}")
    profile.tidy(renewed)
    keeping.sync_folder(profile.path)
    if isinstance(account.key, InKeyring):
        with contextlib.suppress(ClientError):  # what is left of the old key opens nothing
            keeping.forget(account.key, profile.path)
    return renewed


@contextlib.contextmanager
def _alone(profile: Profile, path: Path, key: bytes | None) -> Iterator[sqlite3.Connection]:
    """The database, open here and nowhere else, with all of it in its one file. Raises ProfileInUse."""
    database = databases.connect_plain(path) if key is None else databases.connect(path, key)
    try:
        database.execute("PRAGMA busy_timeout = 0")
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        deadline = time.monotonic() + ALONE_S
        while not _leaves_wal(database):
            if time.monotonic() > deadline:
                raise ProfileInUse(
                    f"cannot encrypt profile {profile.path}: another process has it open",
                    "end all programs that use the profile, then try again",
                )
            time.sleep(POLL_S)
        yield database
    finally:
        database.close()


def _leaves_wal(database: sqlite3.Connection) -> bool:
    """Put what is in the WAL into the file; this can be done only alone."""
    try:
        (mode,) = database.execute("PRAGMA journal_mode = DELETE").fetchone()
        # The lock is taken with the first write, and kept.
        database.execute("BEGIN EXCLUSIVE")
        database.execute("COMMIT")
    except databases.Failed as error:
        if databases.code_of(error) != sqlite3.SQLITE_BUSY:
            raise
        return False
    return bool(mode == "delete")


def _copy(database: sqlite3.Connection, path: Path, key: bytes) -> None:
    """Write all of a database into another one, which is encrypted."""
    _remove(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    (found,) = database.execute("PRAGMA user_version").fetchone()
    databases.attach(database, path, key)
    # Nobody needs half of it: it is synced once, at the end.
    database.execute("PRAGMA sealed.synchronous = OFF")
    database.execute("SELECT sqlcipher_export('sealed')").fetchone()
    database.execute(f"PRAGMA sealed.user_version = {found}")
    database.execute("DETACH DATABASE sealed")


def _complete(path: Path, key: bytes, token: str | None) -> None:
    """Bring a copy to today's format, with the token that was not in it, and onto the disk."""
    database = databases.connect(path, key)
    try:
        migrate(database, vault.format_of(database, path))
        if token is not None:
            access.keep_token(database, token)
    finally:
        database.close()
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    keeping.sync_folder(path.parent)


def _remove(path: Path) -> None:
    for end in AROUND:
        path.with_name(path.name + end).unlink(missing_ok=True)
