"""What the rules hold in memory where others change things too, at bad moments."""

import asyncio
from collections.abc import Sequence

import pytest

from tidings.domain.clock import PULLED_MS, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.peers import Alone
from tidings.domain.users import Users
from tidings.protocol import ids
from tidings.protocol.errors import STORE_FAILED, ProtocolError
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Key, Put, R, StoreError, Table
from tidings.store.memory import MemoryStore
from tidings.store.schema import CHANGED, DEVICES, USERS, ChangedRow, DeviceRow, UserRow
from tidings.testing.clock import FakeClock

ALICE = UserId(1)


class Others(Alone):
    """Other nodes, and what is to be said of late writes."""

    are_there = True

    def __init__(self) -> None:
        self.late = False
        self.broken = False
        self.asked_ms: list[int] = []

    async def is_late(self, since_ms: int) -> bool:
        self.asked_ms.append(since_ms)
        if self.broken:
            raise RuntimeError("planned")
        return self.late


class Held(MemoryStore):
    """Holds reads of devices after they were made."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[asyncio.Event] = []

    async def range(
        self,
        table: Table[R],
        partition: Key,
        *,
        after: Key | None = None,
        before: Key | None = None,
        limit: int,
        backwards: bool = False,
    ) -> list[R]:
        found = await super().range(
            table, partition, after=after, before=before, limit=limit, backwards=backwards
        )
        if table.name == DEVICES.name:
            gate = asyncio.Event()
            self.gates.append(gate)
            await gate.wait()
        return found


class Permit:
    """A number that becomes another one."""

    node = 5
    clock_is_right = True

    def check(self, at_ms: int) -> None:
        """It may give any."""


def committed(peers: Alone, clock: FakeClock | None = None) -> GroupCommit:
    id_clock = IdClock(clock or FakeClock())
    id_clock.next()
    limits = Limits(receipt_delay_s=0.0)
    return GroupCommit(MemoryStore(), id_clock, limits, asyncio.get_running_loop(), peers)


def account() -> Put:
    return Put(USERS, UserRow(ALICE, "alice", "hash", 0), 1)


async def until_some(things: Sequence[object], count: int) -> None:
    async with asyncio.timeout(5.0):
        while len(things) < count:
            await asyncio.sleep(0)


async def test_where_it_cannot_be_seen_whether_a_write_was_late_it_failed_and_the_next_one_is_made() -> None:
    peers, reported = Others(), []
    commit = committed(peers)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
    peers.broken = True
    with pytest.raises(ProtocolError) as refused:
        await commit.write([account()])
    assert refused.value.kind is STORE_FAILED
    assert len(reported) == 1
    peers.broken = False
    assert await commit.write([account()])


async def test_a_raise_learns_that_it_came_late_too() -> None:
    peers, clock = Others(), FakeClock()
    commit = committed(peers, clock)
    named_ms, late = clock.wall_ms(), []

    def done(error: StoreError | None) -> None:
        assert error is None
        late.append(commit.came_late)

    peers.late = True
    commit.raise_soon(CHANGED, ChangedRow(ALICE, b"c" * 16, named_ms), done)  # type: ignore[arg-type]
    clock.advance(3.0)
    await until_some(late, 1)
    assert late == [True]
    assert peers.asked_ms == [named_ms]
    peers.late = False
    assert await commit.write([account()])
    assert peers.asked_ms[1:] == [named_ms]  # nothing of the one before is left


async def test_what_is_being_written_is_not_lost_by_a_second_reader_of_a_lone_node() -> None:
    store, ids = Held(), IdClock(FakeClock())
    phone, laptop = DeviceId(7), DeviceId(8)
    await store.write([account(), Put(DEVICES, DeviceRow(ALICE, phone, b"", "phone", 0), 1)])
    commit = GroupCommit(store, ids, Limits(), asyncio.get_running_loop())
    users = Users(store, commit, ids, Limits(), Alone(), lambda: 0.0)
    first, second = (asyncio.ensure_future(users.user(ALICE)) for _ in range(2))
    await until_some(store.gates, 2)
    store.gates[0].set()
    user = await first
    user.devices.append(laptop)  # on its way to the disk
    store.gates[1].set()
    assert await second is user
    assert user.devices == [phone, laptop]


def test_ids_grow_when_the_number_becomes_a_lesser_one() -> None:
    permit = Permit()
    ids = IdClock(FakeClock(), permit=permit)
    last = ids.next()
    permit.node = 2
    ids.renumbered()
    assert ids.next() > last


def test_what_is_seen_while_the_clock_is_wrong_counts_once_it_is_right() -> None:
    clock, permit = FakeClock(), Permit()
    ids_of = IdClock(clock, permit=permit)
    permit.clock_is_right = False
    ahead = ids.first_at(clock.wall_ms() + 900)
    ids_of.observe(ahead)
    assert ids_of.last < ahead
    permit.clock_is_right = True
    assert ids_of.next() > ahead
    assert ids.unix_ms(ids_of.next()) - clock.wall_ms() <= PULLED_MS
