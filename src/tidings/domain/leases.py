"""Leases: what only one node may have at a time, kept in the store.

A lease holds until a moment of the directory's clock, and is renewed long before. It is taken by
compare-and-set, and whoever takes it over gets a greater epoch.

The number of a node. Ids hold it, so two nodes must never give ids of one moment under one number.
Whoever has the lease of a number gives ids up to its end only, and who takes it over only ids after
that end: however wrong their clocks are, or however long one of them was paused, they share no moment.
"""

from collections.abc import Callable

from tidings.protocol import ids
from tidings.protocol.errors import OVERLOADED, ProtocolError
from tidings.store.contract import OutcomeUnknown, Store
from tidings.store.schema import LEASES, NODES, LeaseRow

LEASE_MS = 15_000
"""From taking or renewing a lease to its end."""
NUMBERS_AT_ONCE = 64
"""numbers of nodes looked at in one read"""
REQUEST_ID_BYTES = 16

Random = Callable[[int], bytes]


class LeaseLost(Exception):
    """Somebody else has it now."""


class Lease:
    """A lease that this node has (or had)."""

    def __init__(self, store: Store, random: Random, row: LeaseRow, *, after_ms: int = 0) -> None:
        self._store = store
        self._random = random
        self._row = row
        self.after_ms = after_ms
        """where the one before it ended"""

    @property
    def epoch(self) -> int:
        """How often it was given, this time included."""
        return self._row.epoch

    @property
    def until_ms(self) -> int:
        """Its end, by the directory's clock."""
        return self._row.until_ms

    async def renew(self, now_ms: int) -> None:
        """Hold it for longer. Raises LeaseLost, and StoreError: then it holds as long as it did."""
        await self._write(max(self._row.until_ms, now_ms + LEASE_MS))

    async def give_back(self, at_ms: int) -> None:
        """Let others have it from now on (a number: from its last id on). Raises LeaseLost, StoreError."""
        await self._write(min(self._row.until_ms, at_ms))

    async def _write(self, until_ms: int) -> None:
        row = LeaseRow(self._row.name, self._row.epoch, until_ms, self._random(REQUEST_ID_BYTES))
        if not await _is_written(self._store, self._row, row):
            # One of our own may have been done that was answered as unknown and could not be read.
            found = await self._store.get(LEASES, (row.name,))
            if found is None or found.epoch != self._row.epoch:
                raise LeaseLost(row.name)
            self._row = found
            if not await _is_written(self._store, found, row):
                raise LeaseLost(row.name)
        self._row = row


async def take(store: Store, random: Random, name: str, now_ms: int) -> Lease | None:
    """Take a lease, if nobody has it. Raises StoreError."""
    return await _take(store, random, name, await store.get(LEASES, (name,)), now_ms)


async def take_number(store: Store, random: Random, now_ms: int) -> tuple[int, Lease]:
    """Take the least number of a node that nobody has. Raises StoreError; LeaseLost if all are taken."""
    for first in range(1, ids.NODE_MAX + 1, NUMBERS_AT_ONCE):
        numbers = range(first, min(first + NUMBERS_AT_ONCE, ids.NODE_MAX + 1))
        rows = await store.get_many(LEASES, [(name_of(number),) for number in numbers])
        for number, row in zip(numbers, rows, strict=True):
            lease = await _take(store, random, name_of(number), row, now_ms)
            if lease is not None:
                return number, lease
    raise LeaseLost("all numbers of nodes are taken")


async def greatest_id(store: Store) -> int:
    """The greatest id that any node may have given. Raises StoreError."""
    greatest = 0
    for first in range(0, ids.NODE_MAX + 1, NUMBERS_AT_ONCE):
        numbers = range(first, min(first + NUMBERS_AT_ONCE, ids.NODE_MAX + 1))
        rows = await store.get_many(NODES, [(number,) for number in numbers])
        known = [row.ids_until for row in rows if row is not None]
        greatest = max(greatest, *known, 0)
        if not known:
            break  # numbers are taken from the least on
    return greatest


def name_of(number: int) -> str:
    """The name of the lease of a node's number."""
    return f"node {number}"


def incarnation(number: int, lease: Lease) -> int:
    """A node's name while it has a number: never used twice."""
    return lease.epoch << ids.NODE_BITS | number


async def has_ended(store: Store, node: int, at_ms: int) -> bool:
    """Whether the lease of an incarnation was over at some moment. Raises StoreError."""
    row = await store.get(LEASES, (name_of(node & ids.NODE_MAX),))
    return row is None or row.epoch != node >> ids.NODE_BITS or row.until_ms < at_ms


class NumberPermit:
    """Implements `clock.Permit` by the lease of a number."""

    def __init__(self, number: int, lease: Lease, clock_is_right: Callable[[], bool]) -> None:
        self.node = number
        self.lease = lease
        self._clock_is_right = clock_is_right

    @property
    def clock_is_right(self) -> bool:
        return self._clock_is_right()

    def check(self, at_ms: int) -> None:
        if not self._clock_is_right():
            raise ProtocolError(OVERLOADED, "this node's clock is wrong", retry_after_s=2.0)
        if not self.lease.after_ms < at_ms <= self.lease.until_ms:
            raise ProtocolError(OVERLOADED, "this node has no number for its ids", retry_after_s=2.0)


async def _take(store: Store, random: Random, name: str, found: LeaseRow | None, now_ms: int) -> Lease | None:
    if found is not None and found.until_ms >= now_ms:
        return None
    before = found or LeaseRow(name, 0, 0, b"")
    row = LeaseRow(name, before.epoch + 1, now_ms + LEASE_MS, random(REQUEST_ID_BYTES))
    if not await _is_written(store, found, row):
        return None
    return Lease(store, random, row, after_ms=before.until_ms)


async def _is_written(store: Store, expected: LeaseRow | None, row: LeaseRow) -> bool:
    """Whether a compare-and-set was done, also where its own answer does not say. Raises StoreError."""
    try:
        return await store.compare_and_set(LEASES, expected, row) is None
    except OutcomeUnknown:
        found = await store.get(LEASES, (row.name,))
        return found is not None and found.request_id == row.request_id
