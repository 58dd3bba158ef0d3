"""The vault: the profile's encrypted SQLite database, on a thread of its own (see `worker.py`).

What is submitted while a transaction runs makes up the next one: a group commit, fsynced once.
A job either happened whole when its call returns, or its exception says that it did not. The
database is in WAL mode, so that several processes of one profile work at the same time.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tidings.client import access, transcript
from tidings.client import database as databases
from tidings.client.database import Connect, Failed
from tidings.client.errors import ClientClosed, ClientError, StorageFailed, StorageFull
from tidings.client.migrations import migrate
from tidings.client.profile import FORMAT, damaged, too_new
from tidings.client.sealing import asking, group_asking
from tidings.client.server_time import offset_of, surely_ms
from tidings.client.tables import KEEP_MS, KEEP_REMOVED_MS, SCHEMA
from tidings.client.worker import Thread, Worker
from tidings.protocol.ids import first_at

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]


class _Ticket(NamedTuple):
    job: Job[Any]
    future: "asyncio.Future[Any]"
    writes: bool
    durable: bool


HELD_S = 0.05
"""how long what nobody waits for is held back: what is done together touches each page once"""
HELD_MAX = 64
_OPEN, _CLOSE = object(), object()
"""given to the worker first, and last"""


def create(path: Path, key: bytes, token: str = "") -> None:
    """Make a vault with nothing but the device's token, encrypted with a key; only its owner may read it."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    database = databases.create(path, key)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT};")
        access.keep_token(database, token)
        database.execute("COMMIT")
    finally:
        database.close()


class Vault:
    """See the module's text."""

    def __init__(self, path: Path, key: bytes, connect: Connect, worker: Worker) -> None:
        self._path = path
        self._key = key
        self._connect = connect
        self._worker = worker
        self._loop = loop = asyncio.get_running_loop()
        self._database: sqlite3.Connection | None = None
        """only the worker has it"""
        self._is_synced: bool | None = None
        """how SQLite was told to commit last; None: not yet"""
        self._held: list[_Ticket] = []
        self._held_for: asyncio.TimerHandle | None = None
        self._opened: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._is_closing = False

    @classmethod
    async def open(
        cls, path: Path, key: bytes, connect: Connect, now_ms: int, worker: Callable[[], Worker] = Thread
    ) -> "Vault":
        """Open a vault and drop what is too old. Raises ProfileDamaged, ProfileTooNew, StorageFailed.

        The key is taken to be the right one: with another, what is there looks damaged.
        """
        vault = cls(path, key, connect, worker())
        vault._worker.start(vault._work)
        vault._worker.give(_OPEN)
        try:
            await vault._opened
            await vault.write(lambda database: _prune(database, now_ms))
        except BaseException:
            await vault.close()
            raise
        return vault

    async def write(self, job: Job[T], *, durable: bool = True, ahead: bool = False) -> T:
        """Run a job in a transaction; it is on the disk when this returns.

        Jobs run in the order of the calls; one that goes `ahead` may pass what was put off by `later` and
        is not durable. With `durable` false it outlives the process but perhaps not the machine. Raises
        StorageFull, StorageFailed, ProfileDamaged; then the job changed nothing.
        """
        return await self._submit(job, writes=True, durable=durable, ahead=ahead)

    async def read(self, job: Job[T], *, ahead: bool = False) -> T:
        """Run a job that writes nothing; `ahead` as with `write`. Raises StorageFailed, ProfileDamaged."""
        return await self._submit(job, writes=False, durable=False, ahead=ahead)

    def later(self, job: Job[T], *, durable: bool = False) -> "asyncio.Future[T]":
        """Have a job run as by `write`, together with the next one or within `HELD_S`.

        Whatever is asked for after this call sees what it has done, but for what goes ahead.
        """
        if self._is_closing:
            raise ClientClosed("the client is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._held.append(_Ticket(job, future, writes=True, durable=durable))
        if len(self._held) >= HELD_MAX:
            self._give_held()
        elif self._held_for is None:
            self._held_for = self._loop.call_later(HELD_S, self._give_held)
        return future

    async def close(self) -> None:
        """Finish what was submitted and close. May be called twice."""
        if not self._is_closing:
            self._is_closing = True
            self._give_held()
            self._worker.give(_CLOSE)
        await asyncio.shield(self._closed)
        self._worker.join()  # that was the last it did

    async def _submit(self, job: Job[T], *, writes: bool, durable: bool, ahead: bool = False) -> T:
        if self._is_closing:
            raise ClientClosed("the client is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        if not ahead or (writes and any(ticket.durable for ticket in self._held)):
            self._give_held()
        self._worker.give(_Ticket(job, future, writes, durable))
        return await future

    def _give_held(self) -> None:
        held, self._held = self._held, []
        for ticket in held:
            self._worker.give(ticket)
        if self._held_for is not None:
            self._held_for.cancel()
            self._held_for = None

    # --- at the worker --------------------------------------------------------------------

    def _work(self, pieces: list[Any]) -> bool:
        """Open, commit what came together, close; whether there may be more to do."""
        if pieces[0] is _OPEN:
            del pieces[0]
            try:
                self._database = self._open()
            except (*Failed, ClientError) as error:
                self._later(_fail, self._opened, explained(error, self._path))
                self._end()
                return False
            self._later(_settle, self._opened, None)
        is_last = bool(pieces) and pieces[-1] is _CLOSE
        group = pieces[:-1] if is_last else pieces
        try:
            if group:
                assert self._database is not None
                self._commit(self._database, group)
        finally:
            if is_last:
                self._end()
        return not is_last

    def _end(self) -> None:
        if self._database is not None:
            self._database.close()
        self._later(_settle, self._closed, None)

    def _open(self) -> sqlite3.Connection:
        database = self._connect(self._path, self._key)
        try:
            found = format_of(database, self._path)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            # What was deleted must be gone from the file, too.
            database.execute("PRAGMA secure_delete = ON")
            migrate(database, found)
        except BaseException:
            database.close()
            raise
        return database

    def _commit(self, database: sqlite3.Connection, group: list[_Ticket]) -> None:
        try:
            results = self._transact(database, group)
        except Exception as error:
            if len(group) > 1:
                # One of them spoiled it for all: let each have its own transaction.
                for ticket in group:
                    self._commit(database, [ticket])
                return
            self._later(_fail, group[0].future, explained(error, self._path))
            return
        self._later(_settle_all, group, results)

    def _transact(self, database: sqlite3.Connection, group: list[_Ticket]) -> list[Any]:
        durable = any(ticket.durable for ticket in group)
        if durable != self._is_synced:
            database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._is_synced = durable
        database.execute("BEGIN IMMEDIATE" if any(ticket.writes for ticket in group) else "BEGIN")
        try:
            results = [ticket.job(database) for ticket in group]
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return results

    def _later(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop was closed over our head; nobody waits any more.
            return


def format_of(database: sqlite3.Connection, path: Path) -> int:
    """The format of a vault, a known one. Raises ProfileTooNew, ProfileDamaged."""
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found > FORMAT:
        raise too_new(path.parent, found)
    if found == 0:
        raise damaged(path.parent, f"{path.name} has no format number")
    return int(found)


def explained(error: Exception, path: Path) -> Exception:
    """What a failure of the vault at a path means for who uses it."""
    if isinstance(error, OverflowError | UnicodeEncodeError):
        return ClientError(f"this cannot be stored: {error}")
    if not isinstance(error, Failed):
        return error
    code = databases.code_of(error)
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(
            f"cannot write to profile {path.parent}: the disk is full",
            "make room; what was not stored was not acknowledged and comes again",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "no such table" in str(error):
        return damaged(path.parent, f"{path.name}: {error}")
    return StorageFailed(f"cannot use profile {path.parent}: {error}")


def _prune(database: sqlite3.Connection, now_ms: int) -> None:
    """Forget what was refused or removed long ago, and what has had its time."""
    database.execute("DELETE FROM refused WHERE at_ms < ?", (now_ms - KEEP_MS,))
    database.execute(
        "DELETE FROM settings WHERE value = x'' AND told = x'' AND pending = 0 AND at < ?",
        (first_at(now_ms - KEEP_REMOVED_MS),),
    )
    asking.prune(database, now_ms)
    group_asking.prune(database, now_ms)
    transcript.expire(database, surely_ms(now_ms, offset_of(database)))


def _settle(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _settle_all(group: list[_Ticket], results: list[Any]) -> None:
    for ticket, result in zip(group, results, strict=True):
        _settle(ticket.future, result)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
