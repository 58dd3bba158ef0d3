"""Settings: what all devices of a user share, from contacts and blocks to drafts.

One mechanism for all of it: a setting is durable, then told to the user's other devices
(`Changed`) and to those that were away (`Sync`); of two for one name the greater `at` counts. The
server knows the shape of what it acts on and takes the rest as it comes.

A removed setting leaves a row with an empty value behind, so that a device that was away learns
of it; such rows are dropped once no device can have been away that long. Rows of a user lie in
one partition, and the row of kind 0 in it counts them: it never disagrees with them, unless two nodes
changed settings of one user at the same moment; then it may be off by one, as a limit may.

spec §6.11
"""

import asyncio
import re
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple
from weakref import WeakValueDictionary

from tidings.domain.clock import PULLED_MS, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.router import Router
from tidings.protocol.errors import INVALID, OVERLOADED, TOO_LARGE, ProtocolError
from tidings.protocol.frames import Changed, Setting, SettingKind
from tidings.protocol.ids import SNOWFLAKE_MAX, DeviceId, EntryId, UserId, unix_ms
from tidings.protocol.limits import Limits
from tidings.store.contract import Erase, Put, Store, Write
from tidings.store.schema import SETTINGS, SettingRow

SERVER_KINDS = 32
"""From here on kinds are the server's to write."""
HEAD = 0
"""The kind of the rows that are no settings: counts, and when anything changed last."""
HEAD_KEY = ""
SERVER_HEAD_KEY = "server"
"""Rows that the server writes are counted apart: strangers' requests use up nobody's room."""
SCAN_ROWS = 256
"""rows read at once (2 MiB, should each be as large as it may be)"""
RECLAIM_ROWS = 1000
"""removed settings dropped at once"""
SOON_MS = 2000
"""At most so long after it was asked whether a device still wants a change, the change is made."""
RECLAIM_MS = 86_400_000
"""from one look for removed settings that may be dropped to the next"""

PRIVACY_KEYS = frozenset({"last_seen", "picture", "receipts", "phone", "groups"})
PRIVACY_VALUES = frozenset({b"everyone", b"contacts", b"nobody"})
BLOCKED = b"1"

_CLIENT_KINDS = frozenset(kind for kind in SettingKind if kind < SERVER_KINDS)
_CONVERSATION = re.compile(r"[0-9a-f]{32}")
_MESSAGE = re.compile(r"[0-9a-f]{32}:(?:0|[1-9][0-9]{0,18}):[0-9a-f]{32}")
_USER = re.compile(r"[1-9][0-9]{0,18}")

Name = tuple[int, str]
"""A setting's kind and key."""
Confirmed = Callable[[], Awaitable[None]]
Listener = Callable[[UserId, Setting], Awaitable[None]]


class Changes(NamedTuple):
    """Settings that changed, in the order in which they did."""

    settings: list[Setting]
    until_ms: int | None
    """None: all of them; else ask on from this moment"""


class Settings:
    """Keeps what the devices of a user share."""

    def __init__(
        self, store: Store, commit: GroupCommit, ids: IdClock, router: Router, limits: Limits
    ) -> None:
        self._store = store
        self._commit = commit
        self._ids = ids
        self._router = router
        self._limits = limits
        self._locks: WeakValueDictionary[UserId, asyncio.Lock] = WeakValueDictionary()
        """of users whose settings are being written"""
        self._listeners: dict[int, list[Listener]] = {}

    def on(self, kind: int, listener: Listener) -> None:
        """Have a kind's settings told to `listener` once durable, before anybody is answered.

        The user's further changes wait for it, so it makes none itself.
        """
        self._listeners.setdefault(kind, []).append(listener)

    async def set(
        self,
        user: UserId,
        kind: int,
        key: str,
        value: bytes,
        *,
        device: DeviceId | None,
        confirmed: Confirmed | None = None,
    ) -> Setting:
        """Change a setting as a device of the user asks. Durable when it returns.

        `confirmed`: returns if the device still asks for it, else raises ProtocolError. Raises
        ProtocolError (invalid, too_large, overloaded, store_…). What was refused with `store_…` may
        or may not hold: repeating it settles that.
        """
        check(user, kind, key, value, self._limits)
        return await self._change(user, kind, key, value, device, confirmed)

    async def write(self, user: UserId, kind: int, key: str, value: bytes) -> Setting:
        """Change a setting as the server decides, of any kind. Raises as `set` does."""
        _check_size(key, value, self._limits)
        return await self._change(user, kind, key, value, None)

    async def get(self, user: UserId, kind: int, key: str) -> bytes | None:
        """A setting's value; None if it is absent or was removed."""
        return (await self.get_many(user, [(kind, key)]))[0]

    async def get_many(self, user: UserId, names: Sequence[Name]) -> list[bytes | None]:
        """The values of some settings of a user, in the order of their names."""
        return [None if row is None else row.value for row in await self.rows(user, names)]

    async def rows(self, user: UserId, names: Sequence[Name]) -> list[SettingRow | None]:
        """The same, with when each was set."""
        return await self.rows_of([(user, kind, key) for kind, key in names])

    async def rows_of(self, names: Sequence[tuple[UserId, int, str]]) -> list[SettingRow | None]:
        """The same, of several users at once."""
        rows = await self._store.get_many(SETTINGS, names)
        return [row if row is not None and row.value else None for row in rows]

    async def of_kind(self, user: UserId, kind: int) -> list[Setting]:
        """The settings of a kind, without removed ones."""
        first, end = (kind, ""), (kind + 1, "")
        return [_setting(row) async for row in self._scan(user, first, end) if row.value]

    async def changed_since(self, user: UserId, since_ms: int) -> list[Setting]:
        """All that changed at a moment or after it, removed ones too, in the order in which it did.

        Complete as far as a barrier of the group commit was passed after that moment.
        """
        return (await self._since(user, since_ms, SNOWFLAKE_MAX)).settings

    async def page_since(self, user: UserId, since_ms: int) -> Changes:
        """As `changed_since`, but about `page_bytes` at a time, the earliest first."""
        return await self._since(user, since_ms, self._limits.page_bytes)

    async def _since(self, user: UserId, since_ms: int, limit_bytes: int) -> Changes:
        head = await self._store.get(SETTINGS, (user, HEAD, HEAD_KEY))
        if head is None or unix_ms(head.at) < since_ms:
            return Changes([], None)
        found: list[Setting] = []
        until_ms: int | None = None
        size = 0
        async for row in self._scan(user, (HEAD, SERVER_HEAD_KEY), None):
            if unix_ms(row.at) < since_ms or (until_ms is not None and unix_ms(row.at) >= until_ms):
                continue
            found.append(_setting(row))
            size += _size(row)
            # Cut as it grows, so that no more than two pages are ever held.
            if size > 2 * limit_bytes:
                found, until_ms = _earliest(found, limit_bytes, until_ms)
                size = sum(_size(setting) for setting in found)
        return Changes(*_earliest(found, limit_bytes, until_ms))

    async def _scan(self, user: UserId, after: Name, before: Name | None) -> AsyncIterator[SettingRow]:
        while True:
            rows = await self._store.range(SETTINGS, (user,), after=after, before=before, limit=SCAN_ROWS)
            for row in rows:
                yield row
            if len(rows) < SCAN_ROWS:
                return
            after = (rows[-1].kind, rows[-1].key)

    async def _change(
        self,
        user: UserId,
        kind: int,
        key: str,
        value: bytes,
        device: DeviceId | None,
        confirmed: Confirmed | None = None,
    ) -> Setting:
        lock = self._locks.setdefault(user, asyncio.Lock())
        async with lock:
            self._commit.admit()
            asked_ms = self._ids.now_ms()
            if confirmed is not None:
                await confirmed()
            head, counts, old = await self._read(user, kind, key)
            if confirmed is not None:
                self._check_time(asked_ms, old)
            if old is None and not value:
                # Nothing to remove, and nothing that a device could have to be told.
                return Setting(kind, key, value, head.at)
            if old is None and counts.count >= 2 * self._limits.settings_per_user:
                await self._reclaim(user, counts)
            _count(counts, old, value, self._limits.settings_per_user)
            row = SettingRow(user, kind, key, value, EntryId(0))
            while not await self._put(row, head, counts):
                # One that came late is written again: other devices may have synced past it.
                head, counts, old = await self._read(user, kind, key)
                if old is None or old.at != row.at:
                    return _setting(row)  # it was changed on another node meanwhile, and that is newer
            setting = _setting(row)
            try:
                for listener in self._listeners.get(kind, ()):
                    await listener(user, setting)
            finally:
                # Told in the order of `at`, since the lock is held.
                self._router.tell([user], Changed([setting]), skip=device)
            return setting

    def _check_time(self, asked_ms: int, old: SettingRow | None) -> None:
        """Raise ProtocolError (overloaded) if this node was stopped since a moment.

        Others may have changed the setting meanwhile, and whoever did knew better. Where the clock stood
        still, too, it is what they wrote that tells; else it may have been read before they did.
        """
        moments_ms = (self._ids.now_ms() - SOON_MS, unix_ms(old.at) - PULLED_MS if old is not None else 0)
        if max(moments_ms) > asked_ms:
            raise ProtocolError(OVERLOADED, "it took long, and may have been changed elsewhere meanwhile")

    async def _put(self, row: SettingRow, head: SettingRow, counts: SettingRow) -> bool:
        """Write a setting with the rows that go with it; whether it came in time for all readers."""
        # Nothing is awaited from here to the commit: a Sync that passes its barrier finds all
        # ids that were given before.
        at = row.at = head.at = counts.at = EntryId(max(self._ids.next(), head.at + 1))
        rows = (row, head) if counts is head else (row, head, counts)
        return await self._commit.write([Put(SETTINGS, written, at) for written in rows])

    async def _read(
        self, user: UserId, kind: int, key: str
    ) -> tuple[SettingRow, SettingRow, SettingRow | None]:
        """The row that says when, the row that counts (maybe the same), and the setting's own."""
        head_key = SERVER_HEAD_KEY if kind >= SERVER_KINDS else HEAD_KEY
        names = [(HEAD, HEAD_KEY), (HEAD, head_key), (kind, key)]
        head, counts, old = await self._store.get_many(SETTINGS, [(user, *name) for name in names])
        head = head or _head(user, HEAD_KEY)
        if head_key == HEAD_KEY:
            return head, head, old
        return head, counts or _head(user, head_key), old

    async def _reclaim(self, user: UserId, counts: SettingRow) -> None:
        """Drop removed settings that no device can still have to be told of, if any are left."""
        now_ms = self._ids.now_ms()
        # The value of a counting row says when this was last of no more use.
        if now_ms - int(counts.value or b"0") < RECLAIM_MS:
            return
        ends_ms = now_ms - self._limits.unlink_s * 1000
        own = counts.key == HEAD_KEY
        first = (HEAD, SERVER_HEAD_KEY) if own else (SERVER_KINDS, "")
        before = (SERVER_KINDS, "") if own else None
        erased: list[Write] = []
        async for row in self._scan(user, first, before):
            if not row.value and unix_ms(row.at) < ends_ms and len(erased) < RECLAIM_ROWS:
                erased.append(Erase(SETTINGS, (user, row.kind, row.key), row.at))
        counts.count -= len(erased)
        counts.removed -= len(erased)
        if len(erased) < RECLAIM_ROWS:
            counts.value = str(now_ms).encode()
        await self._commit.write([*erased, Put(SETTINGS, counts, self._ids.next())])


def check(user: UserId, kind: int, key: str, value: bytes, limits: Limits) -> None:
    """Refuse what a client may not set. Raises ProtocolError (invalid, too_large)."""
    if kind >= SERVER_KINDS:
        raise ProtocolError(INVALID, f"settings of kind {kind} are written by the server")
    if kind not in _CLIENT_KINDS:
        raise ProtocolError(INVALID, f"there is no kind {kind} of settings")
    _check_size(key, value, limits)
    match kind:
        case SettingKind.CONTACT | SettingKind.BLOCK:
            _check_user(user, kind, key, value)
        case SettingKind.PRIVACY:
            if key not in PRIVACY_KEYS or (value and value not in PRIVACY_VALUES):
                raise ProtocolError(
                    INVALID,
                    f"privacy of {', '.join(sorted(PRIVACY_KEYS))}: everyone, contacts or nobody",
                )
        case SettingKind.STAR | SettingKind.HIDDEN:
            if not _MESSAGE.fullmatch(key):
                raise ProtocolError(INVALID, "the key names a message: conversation:sender_device:client_id")
        case SettingKind.PIN | SettingKind.MUTE | SettingKind.ARCHIVE | SettingKind.DRAFT:
            if not _CONVERSATION.fullmatch(key):
                raise ProtocolError(INVALID, "the key is a conversation_id in 32 lower case hex digits")
        case _:
            pass


def _check_size(key: str, value: bytes, limits: Limits) -> None:
    if len(key) > limits.setting_key_chars:
        raise ProtocolError(TOO_LARGE, f"key is over {limits.setting_key_chars} characters")
    if len(value) > limits.setting_bytes:
        raise ProtocolError(TOO_LARGE, f"value is over {limits.setting_bytes} bytes")
    if not key or any(unicodedata.category(char) in ("Cc", "Cs") for char in key):
        raise ProtocolError(INVALID, "key is empty or has control characters")


def _check_user(user: UserId, kind: int, key: str, value: bytes) -> None:
    # Whether such a user exists is not said: a setting is no way to find out.
    if not _USER.fullmatch(key) or int(key) > SNOWFLAKE_MAX:
        raise ProtocolError(INVALID, "the key is a user_id in decimal digits")
    if kind == SettingKind.BLOCK:
        if value not in (b"", BLOCKED):
            raise ProtocolError(INVALID, "the value of a block is 1, or empty to lift it")
        if int(key) == user:
            raise ProtocolError(INVALID, "nobody can block themselves")


def _count(counts: SettingRow, old: SettingRow | None, value: bytes, most: int) -> None:
    """Count what is about to be written: at most so many settings, and rows of removed ones likewise.

    Raises ProtocolError (too_large), and has counted nothing then.
    """
    had, has = old is not None and bool(old.value), bool(value)
    settings = counts.count - counts.removed
    if has and not had and (settings >= most or (old is None and counts.count >= 2 * most)):
        raise ProtocolError(TOO_LARGE, _full(counts, settings, most))
    counts.count += old is None
    counts.removed += had - has if old is not None else 0


def _full(counts: SettingRow, settings: int, most: int) -> str:
    if counts.key == SERVER_HEAD_KEY:
        return "too many requests wait for an answer"  # told to who knocks
    if settings < most:
        return f"over {2 * most} settings were made and removed within some months"
    return f"there are {most} settings (contacts, stars, drafts and so on): remove some first"


def _earliest(
    found: list[Setting], limit_bytes: int, until_ms: int | None
) -> tuple[list[Setting], int | None]:
    """The first settings, up to a size and with all of the last one's moment, and where they end."""
    found.sort(key=lambda setting: setting.at)
    size = 0
    for place, setting in enumerate(found):
        if size >= limit_bytes and unix_ms(setting.at) > unix_ms(found[place - 1].at):
            return found[:place], unix_ms(setting.at)
        size += _size(setting)
    return found, until_ms


def _size(setting: Setting | SettingRow) -> int:
    return 32 + len(setting.key) + len(setting.value)


def _setting(row: SettingRow) -> Setting:
    return Setting(row.kind, row.key, row.value, row.at)


def _head(user: UserId, key: str) -> SettingRow:
    return SettingRow(user, HEAD, key, b"", EntryId(0))
