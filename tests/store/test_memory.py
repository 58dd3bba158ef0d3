"""What the store in memory can be made to do wrong, and that it stays within the contract."""

import random

import pytest

from conformance.stores import (
    ASCENDING,
    CONTESTED,
    GROWING,
    VERSIONS,
    ContestedRow,
    GrowingRow,
    IntRow,
    VersionRow,
)
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.contract import (
    Erase,
    Key,
    OutcomeUnknown,
    Put,
    PutEach,
    Raise,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from tidings.store.memory import Fault, MemoryStore, PlannedFaults, Tables

ALICE = ContestedRow("alice", 1, b"request 1")
HERE = ConversationId(b"c" * 16)


@pytest.fixture
def faults() -> PlannedFaults:
    return PlannedFaults(random.Random(7))


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture
def store(tables: Tables, faults: PlannedFaults) -> MemoryStore:
    return MemoryStore(tables, faults=faults)


def batch(partitions: int) -> list[Put]:
    """Two rows in each partition."""
    return [
        Put(ASCENDING, IntRow(UserId(user), 1, MessageId(at)), 1)
        for at in (1, 2)
        for user in range(partitions)
    ]


async def test_a_crash_tears_a_batch_between_partitions_only(
    store: MemoryStore, tables: Tables, faults: PlannedFaults
) -> None:
    faults.writes.append(Fault.TORN)
    with pytest.raises(StoreUnavailable):
        await store.write(batch(20))
    reopened = MemoryStore(tables)
    found = [len(await reopened.range(ASCENDING, (user, 1), limit=9)) for user in range(20)]
    assert set(found) == {0, 2}
    await reopened.write(batch(20))
    found = [len(await reopened.range(ASCENDING, (user, 1), limit=9)) for user in range(20)]
    assert set(found) == {2}


async def test_a_crash_tears_a_row_for_each(
    store: MemoryStore, tables: Tables, faults: PlannedFaults
) -> None:
    each = PutEach(ASCENDING, IntRow(UserId(0), 1, MessageId(1)), "partition", range(20), 1)
    faults.writes.append(Fault.TORN)
    with pytest.raises(StoreUnavailable):
        await store.write([each])
    reopened = MemoryStore(tables)
    found = [len(await reopened.range(ASCENDING, (user, 1), limit=9)) for user in range(20)]
    assert set(found) == {0, 1}


async def test_the_seed_decides_where_a_batch_tears() -> None:
    outcomes = set()
    for seed in (1, 1, 2):
        faults = PlannedFaults(random.Random(seed))
        faults.writes.append(Fault.TORN)
        store = MemoryStore(faults=faults)
        with pytest.raises(StoreUnavailable):
            await store.write(batch(20))
        outcomes.add(tuple([len(await store.range(ASCENDING, (user, 1), limit=9)) for user in range(20)]))
    assert len(outcomes) == 2


@pytest.mark.parametrize(("fault", "error"), [(Fault.FULL, StoreFull), (Fault.UNAVAILABLE, StoreUnavailable)])
async def test_a_refused_write_leaves_nothing(
    store: MemoryStore, faults: PlannedFaults, fault: Fault, error: type[Exception]
) -> None:
    faults.writes.extend((fault, None))
    with pytest.raises(error):
        await store.write(batch(1))
    assert await store.range(ASCENDING, (0, 1), limit=9) == []
    await store.write(batch(1))
    assert len(await store.range(ASCENDING, (0, 1), limit=9)) == 2
    faults.compare_and_sets.append(fault)
    with pytest.raises(error):
        await store.compare_and_set(CONTESTED, None, ALICE)
    assert await store.get(CONTESTED, ("alice",)) is None


@pytest.mark.parametrize(("fault", "done"), [(Fault.DONE_UNKNOWN, True), (Fault.LOST_UNKNOWN, False)])
async def test_a_read_settles_an_unknown_outcome(
    store: MemoryStore, faults: PlannedFaults, fault: Fault, done: bool
) -> None:
    faults.compare_and_sets.append(fault)
    with pytest.raises(OutcomeUnknown):
        await store.compare_and_set(CONTESTED, None, ALICE)
    found = await store.get(CONTESTED, ("alice",))
    assert (found is not None and found.request_id == ALICE.request_id) is done


@pytest.mark.parametrize(
    ("fault", "done"),
    [
        (Fault.FULL, False),
        (Fault.UNAVAILABLE, False),
        (Fault.LOST_UNKNOWN, False),
        (Fault.DONE_UNKNOWN, True),
    ],
)
async def test_of_rows_that_are_set_together_a_fault_leaves_all_or_none(
    store: MemoryStore, faults: PlannedFaults, tables: Tables, fault: Fault, done: bool
) -> None:
    before = [VersionRow("alice", number, 1, b"request 1") for number in (0, 1)]
    after = [VersionRow("alice", number, 2, b"request 2") for number in (0, 1, 2)]
    assert await store.compare_and_set(VERSIONS, None, before[0], before[1:]) is None
    faults.compare_and_sets.append(fault)
    with pytest.raises(StoreError):
        await store.compare_and_set(VERSIONS, before[0], after[0], after[1:])
    reopened = MemoryStore(tables)
    assert await reopened.range(VERSIONS, ("alice",), limit=9) == (after if done else before)


async def test_a_tie_leaves_some_columns_of_each_row(store: MemoryStore) -> None:
    rows = [IntRow(UserId(7), 1, MessageId(1), "b", b"1"), IntRow(UserId(7), 1, MessageId(1), "a", b"2")]
    for row in rows:
        await store.write([Put(ASCENDING, row, 5)])
    mixed = IntRow(UserId(7), 1, MessageId(1), "b", b"2")
    assert await store.get(ASCENDING, (7, 1, 1)) == mixed
    for row in rows:
        await store.write([Put(ASCENDING, row, 5)])
    assert await store.get(ASCENDING, (7, 1, 1)) == mixed


@pytest.mark.parametrize("key", [(7, 1), (7, 1, 1)], ids=["partition", "row"])
async def test_what_was_erased_comes_back_with_a_greater_cause_only(
    store: MemoryStore, tables: Tables, key: Key
) -> None:
    row = IntRow(UserId(7), 1, MessageId(1))
    await store.write([Erase(ASCENDING, key, 5)])
    for cause, there in ((4, None), (5, None), (6, row)):
        await store.write([Put(ASCENDING, row, cause)])
        assert await MemoryStore(tables).get(ASCENDING, (7, 1, 1)) == there


async def test_what_grew_is_erased_for_good(store: MemoryStore) -> None:
    await store.write([Erase(GROWING, (HERE, 1), 0), Raise(GROWING, GrowingRow(HERE, UserId(1), 1 << 63))])
    assert await store.get(GROWING, (HERE, 1)) is None
