"""One-time prekeys: pairs that a device brings, each given to one who asks, and never to another.

A counter of the device, changed by compare-and-set, says which were given. It is moved past a pair before
the pair is answered: dying in between loses one, and nothing gives one twice. Where an answer is
unknown, the counter's own row tells whose it is; where that cannot be told, the pair is lost.

Pairs stand in batches, one a request. A batch of which all were given is erased as a whole when the device
brings more.

spec §6.16
"""

import asyncio
import hashlib
from weakref import WeakValueDictionary

import msgspec

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit, refusal
from tidings.domain.tokens import Random
from tidings.protocol.api import OneTimeKeys
from tidings.protocol.errors import INVALID, STORE_FAILED, TOO_LARGE, ProtocolError
from tidings.protocol.ids import DeviceId
from tidings.protocol.limits import Limits
from tidings.store.contract import Erase, OutcomeUnknown, Put, Store, StoreError, Write
from tidings.store.schema import (
    ONE_TIME_COUNTERS,
    ONE_TIME_KEYS,
    KeyBatch,
    OneTimeCounterRow,
    OneTimeKeyRow,
)

REQUEST_ID_BYTES = 16
TRIES = 16
"""how often a counter is tried to be moved, that others move at the same time"""


class Prekeys:
    """Keeps them, counts them and gives them away."""

    def __init__(
        self, store: Store, commit: GroupCommit, ids: IdClock, random: Random, limits: Limits
    ) -> None:
        self._store = store
        self._commit = commit
        self._ids = ids
        self._random = random
        self._limits = limits
        self._locks: WeakValueDictionary[DeviceId, asyncio.Lock] = WeakValueDictionary()
        """of devices whose counter this node is changing: it would only fail against itself"""

    async def left(self, device: DeviceId) -> int | None:
        """How many pairs are left to be given; None for a device that has published no keys."""
        counter = await self._counter(device)
        return None if counter is None or counter.closed else counter.left

    async def state(self, device: DeviceId) -> tuple[int, int]:
        """How many pairs are left, and the greatest id that was brought."""
        counter = await self._counter(device)
        return (0, 0) if counter is None else (counter.left, counter.newest)

    async def open(self, device: DeviceId) -> None:
        """A device has published its keys: count its pairs from now on. Raises ProtocolError (store_…)."""
        async with self._lock(device):
            if await self._counter(device) is None:
                await self._replace(None, OneTimeCounterRow(device, 1, 0, 0, [], b"", self._request_id()))

    async def add(self, device: DeviceId, brought: OneTimeKeys) -> int:
        """Keep the pairs of a request; how many are left. The same request again changes nothing.

        Raises ProtocolError (invalid, too_large, store_…).
        """
        if not brought.keys and not brought.replace:
            return await self.left(device) or 0
        digest = hashlib.sha256(_encode(brought)).digest()
        async with self._lock(device):
            for _ in range(TRIES):
                counter = await self._counter(device)
                if counter is None or counter.closed:
                    raise ProtocolError(INVALID, "publish the device's keys first")
                if counter.digest == digest:
                    return counter.left
                _check_ids(counter, brought)
                added = self._added(counter, brought, digest)
                # The pairs before the counter that counts them: what it names is there.
                await self._commit.write(self._rows(counter, brought))
                if await self._replace(counter, added):
                    return added.left
        raise ProtocolError(STORE_FAILED)

    async def take(self, device: DeviceId) -> OneTimeKeyRow | None:
        """Give a pair away, for good; None where none is left. Raises StoreError, ProtocolError (store_…)."""
        async with self._lock(device):
            for _ in range(TRIES):
                counter = await self._counter(device)
                if counter is None or counter.closed or not counter.left:
                    return None
                row = await self._next(counter)
                if row is None:
                    return None
                taken = msgspec.structs.replace(
                    counter, next=row.id + 1, left=counter.left - 1, request_id=self._request_id()
                )
                if await self._replace(counter, taken):
                    return row
        return None  # others take them all the time: the last resort does

    async def erasures(self, device: DeviceId, cause: int) -> list[Write]:
        """What erases the pairs of a device."""
        counter = await self._counter(device)
        if counter is None:
            return []
        return [Erase(ONE_TIME_KEYS, (device, batch.first), cause) for batch in counter.batches]

    async def close(self, device: DeviceId) -> None:
        """The device is gone: nothing of it is given any more. Raises ProtocolError (store_…)."""
        async with self._lock(device):
            for _ in range(TRIES):
                counter = await self._counter(device)
                if counter is None or counter.closed:
                    return
                closed = msgspec.structs.replace(
                    counter, left=0, batches=[], digest=b"", request_id=self._request_id(), closed=True
                )
                if await self._replace(counter, closed):
                    return

    def _rows(self, counter: OneTimeCounterRow, brought: OneTimeKeys) -> list[Write]:
        cause = self._ids.next()
        rows: list[Write] = [
            Erase(ONE_TIME_KEYS, (counter.device_id, batch.first), cause)
            for batch in counter.batches
            if batch.last < counter.next
        ]
        for key in brought.keys:
            batch = brought.keys[0].id
            row = OneTimeKeyRow(counter.device_id, batch, key.id, key.key, key.kem, key.kem_signature)
            rows.append(Put(ONE_TIME_KEYS, row, cause))
        return rows

    def _added(self, counter: OneTimeCounterRow, brought: OneTimeKeys, digest: bytes) -> OneTimeCounterRow:
        most = self._limits.one_time_keys
        left = len(brought.keys) + (0 if brought.replace else counter.left)
        if left > most:
            raise ProtocolError(TOO_LARGE, f"at most {most} one-time prekeys are kept")
        batches = [batch for batch in counter.batches if batch.last >= counter.next]
        newest, first = counter.newest, counter.next
        if brought.replace:
            first = newest + 1
        if brought.keys:
            newest = brought.keys[-1].id
            batches.append(KeyBatch(brought.keys[0].id, newest))
        return OneTimeCounterRow(counter.device_id, first, newest, left, batches, digest, self._request_id())

    async def _next(self, counter: OneTimeCounterRow) -> OneTimeKeyRow | None:
        for batch in counter.batches:
            if batch.last >= counter.next:
                rows = await self._store.range(
                    ONE_TIME_KEYS, (counter.device_id, batch.first), after=(counter.next - 1,), limit=1
                )
                if rows:
                    return rows[0]
        return None

    async def _counter(self, device: DeviceId) -> OneTimeCounterRow | None:
        return await self._store.get(ONE_TIME_COUNTERS, (device,))

    async def _replace(self, expected: OneTimeCounterRow | None, row: OneTimeCounterRow) -> bool:
        try:
            return await self._store.compare_and_set(ONE_TIME_COUNTERS, expected, row) is None
        except OutcomeUnknown:
            held = await self._counter(row.device_id)
            return held is not None and held.request_id == row.request_id
        except StoreError as error:
            raise refusal(error) from error

    def _request_id(self) -> bytes:
        return self._random(REQUEST_ID_BYTES)

    def _lock(self, device: DeviceId) -> asyncio.Lock:
        return self._locks.setdefault(device, asyncio.Lock())


def _check_ids(counter: OneTimeCounterRow, brought: OneTimeKeys) -> None:
    newest = counter.newest
    for key in brought.keys:
        if key.id <= newest:
            raise ProtocolError(INVALID, "ids of one-time prekeys ascend, above all that were brought before")
        newest = key.id


_encode = msgspec.msgpack.Encoder().encode
