"""Users: their rows, changed by one at a time, and the objects that stand for them in memory.

Who changes an account, its devices, its factor or its number holds the user's lock from the read to
the write, and nobody holds two users' locks at once. The lock is this node's: of two nodes that change
one account at once the later change of each row stays.

Where there are other nodes, an object is read anew when it was not for `TRUST_S`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.peers import Freshness, Peers
from tidings.protocol.errors import NO_SUCH_USER, QUOTA, ProtocolError
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store, Write
from tidings.store.schema import DEVICES, USERS, UserRow

DAY_MS = 86_400_000


class User:
    """A user that is being talked to: one object while anybody holds it.

    It follows what happens to the account: `handle` is empty once that was deleted.
    """

    __slots__ = (
        "__weakref__",
        "devices",
        "freshness",
        "handle",
        "is_suspended",
        "messages_per_day",
        "sent",
        "sessions",
        "user_id",
    )

    def __init__(
        self,
        user_id: UserId,
        handle: str,
        devices: list[DeviceId],
        *,
        is_suspended: bool = False,
        messages_per_day: int = 0,
    ) -> None:
        self.user_id = user_id
        self.handle = handle
        self.devices = devices
        self.is_suspended = is_suspended
        self.messages_per_day = messages_per_day
        """quota; 0: none"""
        self.sent = (0, 0)
        """the day, and how many messages were counted on it; only where there is a quota"""
        self.sessions = 0
        """of this node"""
        self.freshness: Freshness | None = None
        """None where nobody else changes users"""

    def count_message(self, now_ms: int) -> None:
        """Count a message towards the quota, from the first one of a day on. Raises ProtocolError (quota)."""
        today = now_ms // DAY_MS
        day, count = self.sent
        if day != today:
            count = 0
        if count >= self.messages_per_day:
            raise ProtocolError(QUOTA, f"no more than {self.messages_per_day} messages a day")
        self.sent = (today, count + 1)


async def ending(store: Store, users: Sequence[UserId]) -> list[UserId]:
    """Those whose account has ended, or is about to, as it is stored. Raises StoreError."""
    rows = await store.get_many(USERS, [(user,) for user in users]) if users else []
    return [user for user, row in zip(users, rows, strict=True) if row is None or row.leaving]


class Users:
    """Finds users and changes their rows."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        ids: IdClock,
        limits: Limits,
        peers: Peers,
        now_s: Callable[[], float],
    ) -> None:
        """`now_s` is a monotonic clock."""
        self._store = store
        self._commit = commit
        self._ids = ids
        self._limits = limits
        self._peers = peers
        self._now_s = now_s
        self._users: WeakValueDictionary[UserId, User] = WeakValueDictionary()
        self._locks: WeakValueDictionary[UserId, asyncio.Lock] = WeakValueDictionary()
        self._changes = 0
        """of users or their devices: what was read before the last one may be out of date"""

    def lock(self, user_id: UserId) -> asyncio.Lock:
        """To be held while anything of an account is changed."""
        return self._locks.setdefault(user_id, asyncio.Lock())

    async def row(self, user_id: UserId) -> UserRow | None:
        """The account as it is stored."""
        return await self._store.get(USERS, (user_id,))

    async def existing(self, user_id: UserId) -> UserRow:
        """The account as it is stored. Raises ProtocolError (no_such_user)."""
        row = await self.row(user_id)
        if row is None:
            raise ProtocolError(NO_SUCH_USER, "there is no such account")
        return row

    async def user(self, user_id: UserId) -> User:
        """Who has this id; one who was deleted (or never was) has an empty handle and no devices."""
        known = self._users.get(user_id)
        return known if known is not None and self.is_fresh(known) else await self._read(user_id)

    async def anew(self, user_id: UserId) -> User:
        """As `user`, read now: for whoever is about to be turned away by what may be out of date."""
        return await self._read(user_id) if self._peers.are_there else await self.user(user_id)

    def is_fresh(self, user: User) -> bool:
        """Whether what is in memory may be relied upon; else ask for the user again."""
        return user.freshness is None or user.freshness.holds(self._now_s())

    async def _read(self, user_id: UserId) -> User:
        while True:
            before, began_s = self._changes, self._now_s()
            loaded = await self._load(user_id)
            if before == self._changes:
                return self._renewed(loaded, began_s)

    def _renewed(self, loaded: User, began_s: float) -> User:
        """The one object of a user, as it was just read."""
        user = self._users.setdefault(loaded.user_id, loaded)
        if not self._peers.are_there:
            return user  # never behind: what is being written is in it already
        if user is not loaded:
            user.handle, user.is_suspended = loaded.handle, loaded.is_suspended
            user.messages_per_day = loaded.messages_per_day
            user.devices[:] = loaded.devices
        user.freshness = user.freshness or Freshness(began_s)
        user.freshness.renew(began_s)
        return user

    async def write(self, row: UserRow, *more: Write) -> None:
        """Change an account, under its lock. Raises ProtocolError (store_…)."""
        await self._commit.write([Put(USERS, row, self._ids.next()), *more])
        self.changed()
        known = self._users.get(row.user_id)
        if known is not None:
            known.handle = row.handle
            known.is_suspended = bool(row.suspended_at)
            known.messages_per_day = row.messages_per_day

    async def revise(self, user_id: UserId, **columns: Any) -> UserRow:
        """Change some columns of an account. Raises ProtocolError (no_such_user, store_…)."""
        async with self.lock(user_id):
            row = msgspec.structs.replace(await self.existing(user_id), **columns)
            await self.write(row)
            return row

    def changed(self) -> None:
        """Rows of a user or their devices were written: what is being loaded is read again."""
        self._changes += 1

    async def _load(self, user_id: UserId) -> User:
        row = await self.row(user_id)
        if row is None:
            return User(user_id, "", [])
        most = max(self._limits.devices_per_user, row.devices_max)
        devices = await self._store.range(DEVICES, (user_id,), limit=most)
        return User(
            user_id,
            row.handle,
            [device.device_id for device in devices],
            is_suspended=bool(row.suspended_at),
            messages_per_day=row.messages_per_day,
        )
