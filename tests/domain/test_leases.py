"""A number of a node is nobody else's, whatever the clocks say and however a compare-and-set ends."""

import random

import pytest

from tidings.domain.clock import AHEAD_MS, IdClock
from tidings.domain.leases import (
    LEASE_MS,
    LeaseLost,
    NumberPermit,
    greatest_id,
    name_of,
    take,
    take_number,
)
from tidings.protocol import ids
from tidings.protocol.errors import OVERLOADED, ProtocolError
from tidings.store.contract import Raise
from tidings.store.memory import Fault, MemoryStore, PlannedFaults
from tidings.store.schema import LEASES, NODES, NodeRow
from tidings.testing.clock import FakeClock

NOW_MS = 1_800_000_000_000
ENTROPY = random.Random(1).randbytes


async def test_each_node_takes_a_number_of_its_own() -> None:
    store = MemoryStore()
    numbers = [(await take_number(store, ENTROPY, NOW_MS))[0] for _ in range(3)]
    assert numbers == [1, 2, 3]


async def test_a_number_that_ran_out_is_taken_again_for_ids_after_it() -> None:
    store = MemoryStore()
    number, lease = await take_number(store, ENTROPY, NOW_MS)
    assert (await take_number(store, ENTROPY, NOW_MS + LEASE_MS))[0] == 2
    taken, later = await take_number(store, ENTROPY, NOW_MS + LEASE_MS + 1)
    assert (taken, later.epoch) == (number, 2)
    assert later.after_ms == lease.until_ms
    with pytest.raises(LeaseLost):
        await lease.renew(NOW_MS + LEASE_MS + 2)


async def test_the_two_holders_of_a_number_share_no_moment() -> None:
    store = MemoryStore()
    number, lease = await take_number(store, ENTROPY, NOW_MS)
    slow, right = FakeClock(NOW_MS), FakeClock(NOW_MS + LEASE_MS + 1)  # one was paused, with its clock
    before = IdClock(slow, permit=NumberPermit(number, lease, lambda: True))
    _, later = await take_number(store, ENTROPY, right.wall_ms())
    after = IdClock(right, permit=NumberPermit(number, later, lambda: True))
    given = {after.next() for _ in range(3000)}
    for _ in range(40):
        slow.advance(0.5)
        if slow.wall_ms() <= lease.until_ms:
            assert before.next() not in given
        else:
            with pytest.raises(ProtocolError) as refused:
                before.next()
            assert refused.value.kind is OVERLOADED
    assert slow.wall_ms() > right.wall_ms()


async def test_a_lease_is_renewed_and_given_back() -> None:
    store = MemoryStore()
    lease = await take(store, ENTROPY, "upkeep", NOW_MS)
    assert lease is not None
    await lease.renew(NOW_MS + 10_000)
    assert await take(store, ENTROPY, "upkeep", NOW_MS + LEASE_MS + 1) is None
    await lease.give_back(NOW_MS + 10_001)
    assert await take(store, ENTROPY, "upkeep", NOW_MS + 10_002) is not None


@pytest.mark.parametrize("fault", [Fault.DONE_UNKNOWN, Fault.LOST_UNKNOWN])
async def test_what_an_unknown_outcome_was_is_found_out(fault: Fault) -> None:
    faults = PlannedFaults(random.Random(1))
    store = MemoryStore(faults=faults)
    faults.compare_and_sets.append(fault)
    number, lease = await take_number(store, ENTROPY, NOW_MS)
    assert number == (1 if fault is Fault.DONE_UNKNOWN else 2)
    row = await store.get(LEASES, (name_of(number),))
    assert row is not None
    assert row.epoch == lease.epoch == 1
    faults.compare_and_sets.append(fault)
    if fault is Fault.DONE_UNKNOWN:
        await lease.renew(NOW_MS + 1000)
    else:
        await lease.renew(NOW_MS + 1000)  # tried once more, on what was found
    assert lease.until_ms == NOW_MS + 1000 + LEASE_MS


async def test_no_ids_without_a_right_clock() -> None:
    _, lease = await take_number(MemoryStore(), ENTROPY, NOW_MS)
    right = [True]
    clock = IdClock(FakeClock(NOW_MS + 1), permit=NumberPermit(1, lease, lambda: right[0]))
    clock.next()
    right[0] = False
    with pytest.raises(ProtocolError) as refused:
        clock.next()
    assert refused.value.retry_after_s


async def test_the_greatest_id_is_that_of_any_node() -> None:
    store = MemoryStore()
    assert await greatest_id(store) == 0
    for node, ms in ((0, 5), (1, 9), (2, 7)):
        until = ids.snowflake(NOW_MS + ms, node, 0)
        await store.write([Raise(NODES, NodeRow(node, until))])
    assert await greatest_id(store) == ids.snowflake(NOW_MS + 9, 1, 0)


def test_an_id_of_another_node_is_passed_but_pulls_no_farther_than_clocks_differ() -> None:
    clock = FakeClock(NOW_MS)
    mine = IdClock(clock)
    theirs = ids.snowflake(NOW_MS + 400, 7, 3)
    mine.observe(theirs)
    assert mine.next() > theirs
    mine.observe(ids.snowflake(NOW_MS + 3_600_000, 7, 0))
    assert ids.unix_ms(mine.next()) <= NOW_MS + AHEAD_MS
    before = mine.next()
    mine.observe(before)
    assert mine.next() == before + 1
