"""Device lists: which devices a user has signed, and what a sealed message must know of them.

The row of a list is changed by compare-and-set, so that of two that are signed at the same time one is the
next. Beside it stands a mark: the server id of the last removal of a device with keys.

Marks and ids. A sender names by `keys_at` as of when it has read lists; that is an id taken before the read.
A removal's last mark is taken after every node acts on it, so it is greater than the `keys_at` of anybody
who may have read what was before. `added_at` of a device is an id of the near future for the same reason:
whoever read the list while it was being written is told that the device is missing.

What a send needs is kept in memory: of a lone node always what is true, among others for `TRUST_S`.

spec §6.16
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit, refusal
from tidings.domain.peers import Freshness, Peers
from tidings.protocol import ids as snowflakes
from tidings.protocol.frames import SignedDevices
from tidings.protocol.ids import DeviceId, EntryId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import OutcomeUnknown, Raise, Store, StoreError
from tidings.store.schema import (
    DEVICE_KEYS,
    DEVICE_LISTS,
    DEVICES,
    KEY_MARKS,
    DeviceListRow,
    KeyMarkRow,
)

ADDED_AHEAD_MS = 10_000
"""how far ahead `added_at` is: no write of a list takes so long"""
NO_REQUEST = b""
"""As the request that emptied a list: all that empty it write the same."""


class KnownDevices:
    """What a node knows of the devices of a user that can be written to."""

    __slots__ = ("added_at", "freshness", "gone", "newest_at", "removal_at", "user_id")

    def __init__(
        self,
        user_id: UserId,
        added_at: dict[DeviceId, int],
        gone: frozenset[DeviceId],
        removal_at: int,
        freshness: Freshness | None,
    ) -> None:
        self.user_id = user_id
        self.added_at = added_at
        """of each device in the user's newest list"""
        self.newest_at = max(added_at.values(), default=0)
        self.gone = gone
        """those of them that are logged out"""
        self.removal_at = removal_at
        self.freshness = freshness
        """None where nobody else changes lists"""


class DeviceLists:
    """Reads lists and marks, and writes them for those who know the rules."""

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
        self._known: OrderedDict[UserId, KnownDevices] = OrderedDict()
        self._changes = 0
        """of lists or devices with keys: what was read before the last one may be out of date"""

    # --- for those who send -----------------------------------------------------------------

    def known(self, user_id: UserId) -> KnownDevices | None:
        """What is in memory of a user and may be trusted: the fast path of a sealed message."""
        known = self._known.get(user_id)
        if known is None or (known.freshness is not None and not known.freshness.holds(self._now_s())):
            return None
        return known

    def held(self, user_id: UserId) -> KnownDevices | None:
        """The same, however old: for who has just had it learnt."""
        return self._known.get(user_id)

    async def learn(self, users: Iterable[UserId], *, anew: bool = False) -> None:
        """Read what is not known of these users, or (`anew`) all of it. Raises StoreError."""
        for user_id in users:
            if anew or self.known(user_id) is None:
                await self._learn(user_id)

    async def signed(self, users: Iterable[UserId]) -> tuple[EntryId, list[SignedDevices]]:
        """The lists of users as they are now, without those of who has none, and their `keys_at`.

        Raises StoreError.
        """
        keys_at = self._ids.next()  # before they are read
        names = [(user_id,) for user_id in users]
        marks = await self._store.get_many(KEY_MARKS, names)
        # A mark of a node whose clock is ahead: what stands behind it is in what is read here.
        keys_at = max(keys_at, *(mark.removal_at for mark in marks if mark is not None), 0)
        rows = [
            row for row in await self._store.get_many(DEVICE_LISTS, names) if row is not None and row.body
        ]
        listed = [(row.user_id, device_id) for row in rows for device_id in row.added_at]
        found = await self._store.get_many(DEVICES, listed)
        gone = {name for name, device in zip(listed, found, strict=True) if device is None}
        return EntryId(keys_at), [
            SignedDevices(
                row.user_id,
                row.body,
                row.signature,
                row.previous_signature,
                sorted(device_id for device_id in row.added_at if (row.user_id, device_id) in gone),
            )
            for row in rows
        ]

    # --- for those who change ---------------------------------------------------------------

    async def row(self, user_id: UserId) -> DeviceListRow | None:
        """A user's newest list, as it is stored; None for who has none."""
        row = await self.stored(user_id)
        return row if row is not None and row.body else None

    async def stored(self, user_id: UserId) -> DeviceListRow | None:
        """The same with what is left of a list: what a next one is compared with."""
        return await self._store.get(DEVICE_LISTS, (user_id,))

    async def replace(self, expected: DeviceListRow | None, row: DeviceListRow) -> bool:
        """Make a list the newest one; False if another one is. Raises ProtocolError (store_…)."""
        try:
            return await self._store.compare_and_set(DEVICE_LISTS, expected, row) is None
        except OutcomeUnknown:
            held = await self.stored(row.user_id)
            return held is not None and held.request_id == row.request_id
        except StoreError as error:
            raise refusal(error) from error
        finally:
            self._forget(row.user_id)

    async def erase(self, user_id: UserId) -> None:
        """The account ends: nothing is left of its list but the version. Raises ProtocolError (store_…)."""
        stored = await self.row(user_id)
        while stored is not None:
            emptied = DeviceListRow(user_id, stored.version, b"", b"", b"", {}, NO_REQUEST)
            if await self.replace(stored, emptied):
                return
            stored = await self.row(user_id)

    def now_ms(self) -> int:
        """The time by which `added_at` is reckoned."""
        return self._ids.now_ms()

    def added_from_now(self) -> int:
        """`added_at` of a device that is being added."""
        return snowflakes.first_at(self._ids.now_ms() + ADDED_AHEAD_MS)

    async def concern(self, user_id: UserId, devices: Sequence[DeviceId]) -> bool:
        """Whether any of these devices can be written to, as others may believe. Raises StoreError."""
        row = await self.row(user_id)
        if row is not None and not row.added_at.keys().isdisjoint(devices):
            return True
        keys = await self._store.get_many(DEVICE_KEYS, [(user_id, device_id) for device_id in devices])
        return any(keys)

    async def mark_removal(self, user_id: UserId) -> None:
        """Have who sealed for a user's devices before now look at them again.

        Once before a device is removed, so that dying in between leaves nothing unmarked, and once after
        every node knows. Raises ProtocolError (store_…).
        """
        row = KeyMarkRow(user_id, max(self._ids.next(), await self._removal_at(user_id) + 1))
        try:
            await self._commit.write([Raise(KEY_MARKS, row)])
        finally:
            self._forget(user_id)

    def removed(self, user_id: UserId) -> None:
        """Devices of a user were logged out: know it from here on."""
        self._forget(user_id)

    # --- inside -----------------------------------------------------------------------------

    async def _learn(self, user_id: UserId) -> None:
        while True:
            before, began_s = self._changes, self._now_s()
            removal_at = await self._removal_at(user_id)
            row = await self.row(user_id)
            added_at = {} if row is None else row.added_at
            gone = await self._gone(user_id, added_at)
            if before == self._changes:
                break
        freshness = Freshness(began_s) if self._peers.are_there else None
        self._known[user_id] = KnownDevices(user_id, added_at, gone, removal_at, freshness)
        self._known.move_to_end(user_id)
        if len(self._known) > self._limits.device_lists_cached:
            self._known.popitem(last=False)

    async def _removal_at(self, user_id: UserId) -> int:
        mark = await self._store.get(KEY_MARKS, (user_id,))
        return 0 if mark is None else mark.removal_at

    async def _gone(self, user_id: UserId, listed: Iterable[DeviceId]) -> frozenset[DeviceId]:
        devices = list(listed)
        rows = await self._store.get_many(DEVICES, [(user_id, device_id) for device_id in devices])
        return frozenset(device for device, row in zip(devices, rows, strict=True) if row is None)

    def _forget(self, user_id: UserId) -> None:
        self._changes += 1
        self._known.pop(user_id, None)
