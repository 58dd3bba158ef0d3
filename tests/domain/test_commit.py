"""The group commit: one batch a turn, one in flight, nobody answered before it is durable."""

import asyncio

import pytest

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.protocol.errors import OVERLOADED, STORE_FULL, ProtocolError
from tidings.protocol.ids import DeviceId, EntryId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Batch, Erase, Put, Raise, StoreError, StoreFull
from tidings.store.memory import MemoryStore
from tidings.store.schema import CURSORS, NODES, USERS, CursorRow, UserRow
from tidings.testing.clock import FakeClock


class HeldStore(MemoryStore):
    """Keeps each batch until the test lets it go, or fails it; `ids_until` goes its way."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.released: asyncio.Queue[StoreError | None] = asyncio.Queue()

    async def write(self, batch: Batch) -> None:
        if batch[0].table is NODES:
            await super().write(batch)
            return
        self.batches.append(batch)
        error = await self.released.get()
        if error is not None:
            raise error
        await super().write(batch)


def user(number: int) -> Put:
    return Put(USERS, UserRow(UserId(number), "handle", "hash", 0), number)


def commit_on(store: HeldStore, **limits: float) -> GroupCommit:
    clock = IdClock(FakeClock())
    return GroupCommit(store, clock, Limits(**limits), asyncio.get_running_loop())  # type: ignore[arg-type]


async def turns(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_a_turn_collected_is_one_batch_and_answered_when_durable() -> None:
    store = HeldStore()
    commit = commit_on(store)
    done: list[int] = []
    for number in range(3):
        commit.add([user(number)], lambda error, number=number: done.append(number))
    await turns()
    assert len(store.batches) == 1
    assert len(store.batches[0]) == 3
    assert done == []
    store.released.put_nowait(None)
    await turns()
    assert done == [0, 1, 2]


async def test_what_comes_while_one_is_in_flight_makes_up_the_next() -> None:
    store = HeldStore()
    commit = commit_on(store)
    commit.add([user(1)], lambda _: None)
    await turns()
    commit.add([user(2)], lambda _: None)
    commit.add([user(3)], lambda _: None)
    await turns()
    assert len(store.batches) == 1
    store.released.put_nowait(None)
    await turns()
    assert [len(batch) for batch in store.batches] == [1, 2]


async def test_a_failed_batch_fails_all_that_were_in_it_and_nobody_else() -> None:
    store = HeldStore()
    commit = commit_on(store)
    outcomes: list[StoreError | None] = []
    commit.add([user(1)], outcomes.append)
    commit.add([user(2)], outcomes.append)
    await turns()
    store.released.put_nowait(StoreFull("no room"))
    await turns()
    assert [type(outcome) for outcome in outcomes] == [StoreFull, StoreFull]
    waiting = asyncio.create_task(commit.write([user(3)]))
    await turns()
    store.released.put_nowait(StoreFull("no room"))
    with pytest.raises(ProtocolError) as refused:
        await waiting
    assert refused.value.kind is STORE_FULL


async def test_raises_of_one_row_become_one_and_ride_together() -> None:
    store = HeldStore()
    commit = commit_on(store, receipt_delay_s=0.0)
    for up_to in range(1, 101):
        commit.raise_soon(CURSORS, CursorRow(DeviceId(7), EntryId(up_to)))
    passed = asyncio.create_task(commit.barrier())
    await turns()
    store.released.put_nowait(None)
    await passed
    (batch,) = store.batches
    raises = [write.row for write in batch if isinstance(write, Raise) and write.table is CURSORS]
    assert raises == [CursorRow(DeviceId(7), EntryId(100))]


async def test_rows_that_are_named_only_when_they_are_written_are_named_once() -> None:
    store = HeldStore()
    commit = commit_on(store, receipt_delay_s=0.0, store_retry_s=0.0)
    memory = {DeviceId(7): EntryId(0)}
    named: list[EntryId] = []

    def name_rows() -> None:
        named.append(memory[DeviceId(7)])
        commit.raise_soon(CURSORS, CursorRow(DeviceId(7), memory[DeviceId(7)]))

    commit.name_soon(name_rows)
    for up_to in range(1, 101):
        memory[DeviceId(7)] = EntryId(up_to)
        assert named == []
    for error in (StoreFull("no room"), None, None):  # what was named is tried again without being named
        passed = asyncio.create_task(commit.barrier())
        await turns()
        store.released.put_nowait(error)
        await passed
    assert named == [EntryId(100)]
    assert await store.get(CURSORS, (7,)) == CursorRow(DeviceId(7), EntryId(100))
    batches = len(store.batches)
    await turns()
    assert len(store.batches) == batches


async def test_a_row_that_cannot_be_named_holds_up_no_other() -> None:
    store = HeldStore()
    commit = commit_on(store, receipt_delay_s=0.0)
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def fail() -> None:
        raise RuntimeError("a bug")

    commit.name_soon(fail)
    commit.name_soon(lambda: commit.raise_soon(CURSORS, CursorRow(DeviceId(7), EntryId(1))))
    passed = asyncio.create_task(commit.barrier())
    await turns()
    store.released.put_nowait(None)
    await passed
    assert await store.get(CURSORS, (7,)) == CursorRow(DeviceId(7), EntryId(1))
    assert len(reported) == 1


async def test_rows_that_can_wait_ride_on_the_next_commit_and_start_none() -> None:
    store = HeldStore()
    commit = commit_on(store, receipt_delay_s=3600)
    done: list[StoreError | None] = []
    commit.add_soon(user(1), done.append)
    await turns()
    assert store.batches == []
    commit.add([user(2)], done.append)
    await turns()
    store.released.put_nowait(None)
    await turns()
    assert len(store.batches[0]) == 2
    assert done == [None, None]
    commit.close()


async def test_no_batch_goes_out_before_it_is_durable_that_ids_were_given_beyond_it() -> None:
    store, fake = HeldStore(), FakeClock()
    clock = IdClock(fake)
    commit = GroupCommit(store, clock, Limits(), asyncio.get_running_loop())
    for seconds in (0.0, 0.5, 3600.0, -3600.0):  # it is set forward, and back again
        fake.jump(seconds)
        given = clock.next()
        commit.add([user(1)], lambda _: None)
        await turns()
        assert len(store.batches) == 1
        row = await store.get(NODES, (0,))
        assert row is not None
        assert row.ids_until > given
        # From there on a restarted node goes on, whatever the clock says then.
        assert IdClock(fake, floor=row.ids_until).next() > given
        store.batches.clear()
        store.released.put_nowait(None)
        await turns()


async def test_a_disk_that_is_behind_refuses_new_work() -> None:
    store = HeldStore()
    commit = commit_on(store, commit_rows=10)
    commit.add([user(0)], lambda _: None)
    await turns()
    commit.admit()
    for number in range(10):
        commit.add([user(number)], lambda _: None)
    with pytest.raises(ProtocolError) as refused:
        commit.admit()
    assert refused.value.kind is OVERLOADED
    store.released.put_nowait(None)
    store.released.put_nowait(None)
    await turns()
    commit.admit()


async def test_one_broken_callback_leaves_nobody_else_unanswered() -> None:
    store = HeldStore()
    commit = commit_on(store)
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    done: list[StoreError | None] = []

    def broken(_: StoreError | None) -> None:
        raise ValueError("planted")

    commit.add([user(1)], broken)
    commit.add([user(2)], done.append)
    await turns()
    store.released.put_nowait(None)
    await turns()
    assert done == [None]
    assert [type(bug) for bug in reported] == [ValueError]


async def test_raises_of_a_failed_batch_are_tried_again_newer_ones_first() -> None:
    store = HeldStore()
    commit = commit_on(store, receipt_delay_s=0.0, store_retry_s=0.0)
    heard: list[StoreError | None] = []
    commit.raise_soon(CURSORS, CursorRow(DeviceId(7), EntryId(1)), heard.append)
    commit.raise_soon(CURSORS, CursorRow(DeviceId(8), EntryId(1)))
    passed = asyncio.create_task(commit.barrier())
    await turns()
    commit.raise_soon(CURSORS, CursorRow(DeviceId(8), EntryId(2)))
    store.released.put_nowait(StoreFull("no room"))
    await passed
    assert [type(error) for error in heard] == [StoreFull]
    assert commit.failure is not None
    store.released.put_nowait(None)
    store.released.put_nowait(None)
    await commit.barrier()
    rows = [await store.get(CURSORS, (device,)) for device in (7, 8)]
    assert rows == [CursorRow(DeviceId(7), EntryId(1)), CursorRow(DeviceId(8), EntryId(2))]
    assert commit.failure is None
    assert len(heard) == 1


async def test_of_a_row_that_is_put_and_then_erased_only_the_erasing_is_written() -> None:
    store = HeldStore()
    commit = commit_on(store, receipt_delay_s=0.0, store_retry_s=0.0)
    row, erased = user(7), Erase(USERS, (UserId(7),), 8)
    commit.write_soon((7,), row)
    passed = asyncio.create_task(commit.barrier())
    await turns()
    # What comes while the row is on its way, and fails, is newer than what is tried again.
    commit.write_soon((7,), erased)
    store.released.put_nowait(StoreFull("no room"))
    await passed
    store.released.put_nowait(None)
    await commit.barrier()
    assert [write for write in store.batches[0] if write.table is USERS] == [row]
    assert [write for write in store.batches[1] if write.table is USERS] == [erased]
    assert await store.get(USERS, (7,)) is None


async def test_a_store_that_failed_is_tried_without_anybody_writing() -> None:
    store = HeldStore()
    commit = commit_on(store, store_retry_s=0.0)
    store.released.put_nowait(StoreFull("no room"))
    with pytest.raises(ProtocolError):
        await commit.write([user(1)])
    assert commit.failure is not None
    store.released.put_nowait(None)
    async with asyncio.timeout(5):
        while commit.failure is not None:
            await asyncio.sleep(0)


async def test_once_it_is_closed_a_store_that_failed_is_tried_no_more() -> None:
    store = HeldStore()
    commit = commit_on(store, store_retry_s=0.0)
    writing = asyncio.create_task(commit.write([user(1)]))
    await turns()
    commit.close()
    store.released.put_nowait(StoreFull("no room"))
    with pytest.raises(ProtocolError):
        await writing
    await turns()
    assert commit.failure is not None  # the store would take it now


async def test_finishing_leaves_nothing_behind_that_callbacks_add() -> None:
    store = HeldStore()
    commit = commit_on(store, receipt_delay_s=3600)
    settled: list[StoreError | None] = []
    commit.add([user(1)], lambda _: commit.add_soon(user(2), settled.append))
    for _ in range(3):
        store.released.put_nowait(None)
    await commit.finish()
    assert settled == [None]
    assert await store.get(USERS, (2,)) is not None


async def test_bytes_that_wait_for_the_disk_are_bounded_in_flight_too() -> None:
    store = HeldStore()
    commit = commit_on(store, commit_bytes=100)
    commit.add([user(1)], lambda _: None, size=60)
    await turns()
    commit.admit()
    commit.add([user(2)], lambda _: None, size=60)
    with pytest.raises(ProtocolError) as refused:
        commit.admit()
    assert refused.value.kind is OVERLOADED
    store.released.put_nowait(None)
    await turns()
    commit.admit()
    store.released.put_nowait(None)
    await turns()
