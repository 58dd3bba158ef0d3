"""Settings: what all devices of a user share, kept in the profile and told to the server.

A change holds on this device at once and waits there until the server has it; of one key only the
last change waits. What the server tells counts if it is newer than what it told before, except where a
change of this device is still on its way. One process of a profile sends at a time, so that of two changes
the later one is the later one for the server, too.

spec §6.11
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from tidings.client import keys
from tidings.client.connection import Connection
from tidings.client.errors import Refused
from tidings.client.events import RequestEvent, SettingEvent
from tidings.client.profile import FileLock
from tidings.client.sealing import chains, notes
from tidings.client.surroundings import Clock
from tidings.client.tables import SYNCED_AT
from tidings.client.vault import Vault
from tidings.protocol.errors import REGISTRY, UNSEALABLE
from tidings.protocol.frames import Set, Setting, SettingKind
from tidings.protocol.ids import UserId

TOLD_AT_ONCE = 512
"""settings that are told in one go"""
POLL_S = 0.05
"""how often to look whether another process has let go of the lock"""
REVISION = "settings_revision"
"""mark: of the last change; never given twice, so that an answer is not taken for another change's"""

log = logging.getLogger("tidings.client")


class Pending(NamedTuple):
    """A change that the server has not heard of. Of two the later one has the greater `rev`."""

    kind: SettingKind
    key: str
    value: bytes
    rev: int
    at: int
    """what the server had told last when this was sent"""


class Untold(NamedTuple):
    """A setting that changed. `event` is None where there is nothing that could be told."""

    kind: int
    key: str
    value: bytes
    event: SettingEvent | RequestEvent | None


async def _at_once() -> None:
    pass


class Settings:
    """Changes settings and sees to it that the server hears of it."""

    def __init__(
        self,
        vault: Vault,
        clock: Clock,
        changed: Callable[[], None],
        lock: FileLock,
        *,
        is_sealed: bool,
        published: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        """`changed` is called when something holds here that did not before.

        `is_sealed`: the server is not told what drafts and nicknames say. `published` returns once this
        device has the keys for that, if it can have them by itself.
        """
        self._published = published
        self._vault = vault
        self._is_sealed = is_sealed
        self._lock = lock
        self._clock = clock
        self._changed = changed
        self._wake = asyncio.Event()
        self._waiters: list[_Waiter] = []
        self._failure: Exception | None = None

    async def set(self, kind: SettingKind, key: str, value: bytes) -> None:
        """Change a setting (an empty value removes it) and wait until the server has it.

        Cancelling the wait leaves the change in the profile; it goes out later. Raises Refused: then
        it is undone here, too.
        """
        if self._failure is not None:
            raise self._failure
        waiter = _Waiter((kind, key), asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            waiter.rev = await self._vault.write(lambda database: change(database, kind, key, value))
            self._changed()
            self._wake.set()
            await waiter.future
        finally:
            self._waiters.remove(waiter)

    async def forget(self, kind: SettingKind, key: str) -> None:
        """The server has removed a setting of its own, and has not told so yet."""
        await self._vault.write(lambda database: remove(database, kind, key))
        self._changed()

    async def get(self, kind: SettingKind, key: str) -> bytes:
        """What holds on this device; empty if it is not set."""
        return await self._vault.read(lambda database: value_of(database, kind, key))

    async def of_kind(self, kind: SettingKind) -> dict[str, bytes]:
        """All settings of a kind, by key."""
        return await self._vault.read(lambda database: values_of(database, kind))

    async def run(self, connection: Connection) -> None:
        """Send what waits over a connection until it is lost."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while waiting := await self._vault.read(pending):
                if not self._lock.take():
                    await self._settle()
                    await self._clock.sleep(POLL_S)
                    continue
                try:
                    for one in waiting:
                        await self._send(connection, one)
                finally:
                    self._lock.release()
            await self._settle()

    def wake(self) -> None:
        """Another process may have changed something."""
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """Nothing will be sent any more; what waits stays in the profile."""
        self._failure = error
        for waiter in self._waiters:
            waiter.answer(error)

    async def _send(self, connection: Connection, one: Pending) -> None:
        try:
            value = await self._sealed(one)
            await connection.ask_patiently(
                lambda request_id: Set(request_id, one.kind, one.key, value), self._clock
            )
        except Refused as refusal:
            await self._undo(one, refusal)
            return
        # What the server told before its answer counts first.
        await connection.absorbed()
        await self._vault.write(lambda database: confirm(database, one))
        for waiter in self._waiting(one):
            waiter.answer(None)

    async def _sealed(self, one: Pending) -> bytes:
        """The value as the server is told it. Raises Refused on a device that is not linked."""
        if not self._is_sealed:
            return one.value
        value = await self._vault.read(lambda database: notes.seal(database, one.kind, one.key, one.value))
        if value is None:
            await self._published()
            value = await self._vault.read(
                lambda database: notes.seal(database, one.kind, one.key, one.value)
            )
        if value is None:
            raise Refused(UNSEALABLE.code, UNSEALABLE.name, "this device is not linked to the account yet")
        return value

    async def _undo(self, one: Pending, refusal: Refused) -> None:
        waiting = self._waiting(one)
        if not waiting:
            log.warning("a setting was not taken: %s", refusal.reason)
        await self._vault.write(lambda database: undo(database, one, refusal, self._clock.wall_ms()))
        for waiter in waiting:
            waiter.answer(refusal)
        self._changed()

    def _waiting(self, one: Pending) -> "list[_Waiter]":
        """Those who wait for a change, or for an earlier one of the same setting."""
        return [
            waiter for waiter in self._waiters if waiter.name == (one.kind, one.key) and waiter.rev <= one.rev
        ]

    async def _settle(self) -> None:
        """Answer those whose change another process took to the server, or this on another connection."""
        written = [waiter for waiter in self._waiters if waiter.rev < _UNWRITTEN]
        if not written:
            return
        left, refusals = await self._vault.read(
            lambda database: (pending(database), [refusal_of(database, waiter.name) for waiter in written])
        )
        names = {(one.kind, one.key) for one in left}
        for waiter, refusal in zip(written, refusals, strict=True):
            if waiter.name not in names:
                waiter.answer(refusal)


_UNWRITTEN = 2**63
"""greater than any revision"""


class _Waiter:
    """Somebody who waits until the server has a change."""

    def __init__(self, name: keys.Name, future: "asyncio.Future[None]") -> None:
        self.name = name
        self.future = future
        self.rev = _UNWRITTEN

    def answer(self, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


def change(database: sqlite3.Connection, kind: SettingKind, key: str, value: bytes) -> int:
    """This device changes a setting; returns the revision."""
    database.execute(
        "INSERT INTO marks VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1", (REVISION,)
    )
    (rev,) = database.execute("SELECT value FROM marks WHERE name = ?", (REVISION,)).fetchone()
    database.execute(
        "INSERT INTO settings VALUES (?, ?, ?, x'', 0, ?, x'')"  # noqa: S608
        f" ON CONFLICT DO UPDATE SET {_told('excluded.value')}, value = excluded.value,"
        " pending = excluded.pending",
        (kind, key, value, rev),
    )
    database.execute("DELETE FROM refused WHERE client_id = ?", (_refused_name(kind, key),))
    return int(rev)


def remove(database: sqlite3.Connection, kind: SettingKind, key: str) -> None:
    """What the server writes itself is gone."""
    database.execute(
        f"UPDATE settings SET {_told(_NOTHING)}, value = x'', confirmed = x'' WHERE kind = ? AND key = ?",  # noqa: S608
        (kind, key),
    )


def confirm(database: sqlite3.Connection, one: Pending) -> None:
    """The server has a change. If another followed meanwhile, that one still waits.

    So does this one if the server told of another value: nobody here knows which it took first.
    """
    database.execute(
        "UPDATE settings SET confirmed = value, pending = 0"
        " WHERE kind = ? AND key = ? AND pending = ? AND (at = ? OR confirmed = value)",
        (one.kind, one.key, one.rev, one.at),
    )
    if one.kind == SettingKind.BLOCK:
        # Nobody tells this device when that was; what was kept back meanwhile is not missing.
        chains.excuse(database, UserId(keys.number(one.key.encode())))


def undo(database: sqlite3.Connection, one: Pending, refusal: Refused, now_ms: int) -> None:
    """The server does not take a change. If another followed meanwhile, that one still waits.

    The reason is kept: another process may wait for it.
    """
    undone = database.execute(
        f"UPDATE settings SET {_told('confirmed')}, value = confirmed, pending = 0"  # noqa: S608
        " WHERE kind = ? AND key = ? AND pending = ?",
        (one.kind, one.key, one.rev),
    )
    if undone.rowcount:
        database.execute(
            "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)",
            (_refused_name(one.kind, one.key), refusal.code, refusal.reason, now_ms),
        )


def refusal_of(database: sqlite3.Connection, name: keys.Name) -> Refused | None:
    """Why the last change of a setting was undone, if it was."""
    row = database.execute(
        "SELECT code, message FROM refused WHERE client_id = ?", (_refused_name(*name),)
    ).fetchone()
    if row is None:
        return None
    kind = REGISTRY.get(row[0])
    return Refused(row[0], kind.name if kind else f"error_{row[0]}", row[1])


_NOTHING = "x''"


def _told(value: str) -> str:
    """What the program was told, given the next value (SQL).

    Going back to what was told last is told, too: a state may have been loaded in between.
    """
    return f"told = CASE WHEN told = {value} AND value <> {value} THEN value ELSE told END"


def _refused_name(kind: SettingKind, key: str) -> bytes:
    return f"setting {int(kind)} {key}".encode()


def apply(database: sqlite3.Connection, settings: Iterable[Setting]) -> None:
    """The server tells settings. An older one than it told before changes nothing."""
    counts = "CASE WHEN pending = 0 THEN excluded.value ELSE value END"
    for setting in settings:
        value = notes.unseal(database, setting.kind, setting.key, setting.value)
        database.execute(
            "INSERT INTO settings VALUES (?, ?, ?, ?, ?, 0, x'') ON CONFLICT DO UPDATE SET"  # noqa: S608
            f" {_told(counts)}, value = {counts},"
            " confirmed = excluded.confirmed, at = excluded.at WHERE excluded.at > at",
            (setting.kind, setting.key, value, value, setting.at),
        )


def tell_again(database: sqlite3.Connection) -> None:
    """What is sealed is told once more, also what is on its way: it is sealed with another key now."""
    kinds = ", ".join(str(int(kind)) for kind in notes.SEALED)
    rows = database.execute(
        f"SELECT kind, key, value FROM settings WHERE kind IN ({kinds}) AND value <> x''"  # noqa: S608
    ).fetchall()
    for kind, key, value in rows:
        change(database, SettingKind(kind), key, bytes(value))


def ask_again(database: sqlite3.Connection) -> None:
    """What is sealed can be opened from now on: the next Sync tells it once more."""
    kinds = ", ".join(str(int(kind)) for kind in notes.SEALED)
    database.execute(f"UPDATE settings SET at = 0 WHERE kind IN ({kinds}) AND pending = 0")  # noqa: S608
    database.execute("DELETE FROM marks WHERE name = ?", (SYNCED_AT,))


def pending(database: sqlite3.Connection) -> list[Pending]:
    """What the server has not heard of."""
    rows = database.execute(
        "SELECT kind, key, value, pending, at FROM settings WHERE pending > 0 ORDER BY pending"
    ).fetchall()
    return [Pending(SettingKind(kind), key, value, rev, at) for kind, key, value, rev, at in rows]


def value_of(database: sqlite3.Connection, kind: SettingKind, key: str) -> bytes:
    """What holds on this device; empty if it is not set."""
    row = database.execute("SELECT value FROM settings WHERE kind = ? AND key = ?", (kind, key)).fetchone()
    return b"" if row is None else bytes(row[0])


def values_of(database: sqlite3.Connection, kind: SettingKind) -> dict[str, bytes]:
    """All settings of a kind, by key."""
    rows = database.execute("SELECT key, value FROM settings WHERE kind = ? AND value <> x''", (kind,))
    return {key: bytes(value) for key, value in rows.fetchall()}


def everything(database: sqlite3.Connection) -> dict[keys.Name, bytes]:
    """All settings."""
    rows = database.execute(
        f"SELECT kind, key, value FROM settings WHERE value <> x'' AND kind IN ({_KNOWN})"  # noqa: S608
    ).fetchall()
    return {(SettingKind(kind), key): bytes(value) for kind, key, value in rows}


def untold(database: sqlite3.Connection) -> list[Untold]:
    """What has changed since the program was told."""
    rows = database.execute(
        f"SELECT kind, key, value, told FROM settings WHERE told <> value AND kind IN ({_KNOWN}) LIMIT ?",  # noqa: S608
        (TOLD_AT_ONCE,),
    ).fetchall()
    return [Untold(kind, key, value, _event(kind, key, value, told)) for kind, key, value, told in rows]


def tell(database: sqlite3.Connection, one: Untold) -> None:
    """The program has been told."""
    database.execute(
        "UPDATE settings SET told = ? WHERE kind = ? AND key = ?", (one.value, one.kind, one.key)
    )


_KNOWN = ", ".join(str(int(kind)) for kind in SettingKind)
"""kinds that this version knows; others, of a newer server, wait for a newer version of this"""


def _event(kind: int, key: str, value: bytes, told: bytes) -> SettingEvent | RequestEvent | None:
    if kind == SettingKind.REQUEST:
        return keys.request_event(key, value, told)
    return SettingEvent(SettingKind(kind), key, value)
