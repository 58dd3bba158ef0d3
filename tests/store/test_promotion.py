"""Passes from one snapshot to the next, what they remember, and the sums that tell two stores apart."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidings.protocol import ids
from tidings.protocol.ids import DeviceId, EntryId, MessageId, UserId
from tidings.store.contract import Erase, Put, Raise, StoreInUse, StoreUnavailable, Table
from tidings.store.encoded import Caused
from tidings.store.memory import MemoryStore
from tidings.store.promotion import (
    BEGINNING,
    LEAVING_S,
    Place,
    Promotion,
    Scratch,
    Stretch,
    Unequal,
    differences,
    is_over,
    make_pass,
    sum_of_store,
    verify,
)
from tidings.store.rocks import RocksStore
from tidings.store.schema import (
    CURSORS,
    HANDLES,
    PROFILES,
    SENDS,
    CursorRow,
    HandleRow,
    ProfileRow,
    SendRow,
)

pytestmark = pytest.mark.slow

FEW: tuple[Table[Any], ...] = (PROFILES, CURSORS, HANDLES, SENDS)


class MemoryTarget:
    """What is filled: a store in memory that also knows the causes of its rows."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.causes: dict[tuple[str, Any], int] = {}
        self.writes = 0
        self.fails_after: int | None = None

    async def empty(self) -> None:
        self.store = MemoryStore()
        self.causes.clear()

    async def write(self, table: Table[Any], rows: Sequence[Caused[Any]], number: int) -> None:
        assert number > 0
        self.writes += len(rows)
        if self.fails_after is not None and self.writes > self.fails_after:
            raise StoreUnavailable("cut off")
        for row, cause in rows:
            key = table.key_of(row)
            if table.contested:
                found = await self.store.get(table, key)
                assert await self.store.compare_and_set(table, found, row) is None
                continue
            await self.store.write([Raise(table, row) if table.grows else Put(table, row, cause)])
            self.causes[table.name, key] = 0 if table.grows else cause

    async def erase(self, table: Table[Any], rows: Sequence[Caused[Any]]) -> None:
        await self.store.write([Erase(table, table.key_of(row), cause) for row, cause in rows])

    async def rows(self, table: Table[Any]) -> AsyncIterator[list[Caused[Any]]]:
        for row in await self.store.scan(table, limit=10**9):
            yield [Caused(row, self.causes.get((table.name, table.key_of(row)), 0))]


def silent(_step: str, _done: int, _total: int) -> None:
    """Progress that nobody looks at."""


async def nothing_to_see(_store: RocksStore) -> dict[str, int]:
    """What is examined is well."""
    return {"profiles": 3}


def cause_ago(seconds: float) -> int:
    return ids.first_at(time.time_ns() // 1_000_000 - int(seconds * 1000))


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[RocksStore]:
    store = RocksStore.open(tmp_path / "data", min_free_bytes=0, sync=False)
    yield store
    await store.close()


@pytest.fixture
def target() -> MemoryTarget:
    return MemoryTarget()


async def profiles(store: RocksStore, users: Sequence[int], name: str, cause: int) -> None:
    await store.write([Put(PROFILES, ProfileRow(UserId(user), name), cause + user) for user in users])


def users_of(store: RocksStore, stretches: Sequence[Stretch]) -> tuple[list[int], list[int]]:
    changed = [store.caused(PROFILES, value).row.user_id for one in stretches for value in one.changed]
    gone = [store.caused(PROFILES, value).row.user_id for one in stretches for value in one.gone]
    return changed, gone


@given(
    before=st.dictionaries(st.integers(0, 30), st.sampled_from("ab")),
    behind=st.dictionaries(st.integers(0, 30), st.sampled_from("ab")),
    limit=st.integers(1, 9),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_differences_are_what_dictionaries_have(
    tmp_path_factory: pytest.TempPathFactory, before: dict[int, str], behind: dict[int, str], limit: int
) -> None:
    async def compare() -> None:
        folder = tmp_path_factory.mktemp("two")
        stores = [
            RocksStore.open(folder / name, tables=[PROFILES], min_free_bytes=0, sync=False)
            for name in ("old", "new")
        ]
        for store, rows in zip(stores, (before, behind), strict=True):
            for user, name in rows.items():
                await profiles(store, [user], name, 5)
        old, new = stores
        changed, gone = users_of(new, list(differences(old, new, PROFILES, limit=limit)))
        assert changed == sorted(user for user, name in behind.items() if before.get(user) != name)
        assert gone == sorted(set(before) - set(behind))
        everything, _ = users_of(new, list(differences(None, new, PROFILES, limit=limit)))
        assert everything == sorted(behind)
        for store in stores:
            await store.close()

    asyncio.run(compare())


async def test_another_cause_alone_is_a_difference(source: RocksStore, tmp_path: Path) -> None:
    await profiles(source, [1, 2], "name", 5)
    await source.checkpoint(tmp_path / "old")
    await profiles(source, [2], "name", 9)
    old = RocksStore.open(tmp_path / "old", as_it_is=True)
    assert users_of(source, list(differences(old, source, PROFILES))) == ([2], [])
    await old.close()


async def test_a_pass_that_was_cut_off_goes_on_where_it_was(source: RocksStore, target: MemoryTarget) -> None:
    count = 12_000
    await profiles(source, range(1, count), "name", cause_ago(60))
    kept: list[Place] = []
    target.fails_after = 9000
    with pytest.raises(StoreUnavailable, match="cut off"):
        await make_pass(None, source, target, 1, tables=FEW, keep=kept.append, progress=silent)
    assert kept
    target.fails_after, target.writes = None, 0
    written = await make_pass(None, source, target, 1, at=kept[-1], tables=FEW, progress=silent)
    assert written == target.writes < count - 1
    assert (await verify(source, target, tables=FEW, progress=silent))["profiles"].rows == count - 1
    # Without the first half it is another.
    half = MemoryTarget()
    await make_pass(None, source, half, 1, at=kept[-1], tables=FEW, progress=silent)
    with pytest.raises(Unequal):
        await verify(source, half, tables=FEW, progress=silent)


async def test_every_kind_of_table_follows(source: RocksStore, target: MemoryTarget, tmp_path: Path) -> None:
    await profiles(source, [1, 2, 3], "old", cause_ago(60))
    await source.write([Raise(CURSORS, CursorRow(DeviceId(1), EntryId(5)))])
    alice = HandleRow("alice", UserId(1), b"1")
    await source.compare_and_set(HANDLES, None, alice)
    scratch = Scratch(tmp_path / "scratch", tmp_path / "data")
    with scratch.held() as is_begun:
        assert not is_begun
        promotion = Promotion(scratch, silent, tables=FEW)
        await promotion.prepare(source.checkpoint, nothing_to_see)
        assert scratch.state.rows == {"profiles": 3}
        await promotion.follow(target, source.checkpoint)
        assert promotion.written == 5
        await profiles(source, [2], "new", cause_ago(30))
        await source.write([Erase(PROFILES, (3,), cause_ago(10))])
        await source.write([Raise(CURSORS, CursorRow(DeviceId(1), EntryId(9)))])
        await source.compare_and_set(HANDLES, alice, HandleRow("alice", UserId(2), b"2"))
        sums = await promotion.hand_over(target, source)
        assert promotion.written == 9
    assert {name: one.rows for name, one in sums.items()} == {
        "profiles": 2,
        "cursors": 1,
        "handles": 1,
        "sends": 0,
    }
    assert await target.store.get(PROFILES, (2,)) == ProfileRow(UserId(2), "new")
    assert await target.store.get(CURSORS, (1,)) == CursorRow(DeviceId(1), EntryId(9))
    assert await target.store.get(HANDLES, ("alice",)) == HandleRow("alice", UserId(2), b"2")


async def test_what_is_remembered_over_a_crash(
    source: RocksStore, target: MemoryTarget, tmp_path: Path
) -> None:
    await profiles(source, [1, 2, 3], "old", cause_ago(60))
    path = tmp_path / "scratch"
    first = Scratch(path, tmp_path / "data")
    with first.held():
        with pytest.raises(StoreInUse), Scratch(path, tmp_path / "data").held():
            pass
        await Promotion(first, silent, tables=FEW).follow(target, source.checkpoint)
    second = Scratch(path, tmp_path / "data")
    with second.held() as is_begun:
        assert is_begun
        assert second.state == first.state
        assert (second.state.number, second.state.at, second.state.is_last) == (2, BEGINNING, False)
        assert await Promotion(second, silent, tables=FEW).hand_over(target, source)
    third = Scratch(path, tmp_path / "data")
    with third.held() as is_begun:
        assert third.state.is_last
        third.begin_anew()
        assert (third.state.number, third.state.holder, third.state.is_last) == (1, first.state.holder, False)
        assert not list(path.glob("snapshot*"))
        third.remove()
    assert not path.exists()


async def test_a_state_that_power_cut_off_is_none(tmp_path: Path) -> None:
    path = tmp_path / "scratch"
    path.mkdir()
    (path / "state.json").write_bytes(b'{"holder": "somebo')
    with Scratch(path, tmp_path / "data").held() as is_begun:
        assert not is_begun


async def test_a_snapshot_that_was_not_finished_is_made_again(source: RocksStore, tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", tmp_path / "data")
    with scratch.held():
        half = scratch.snapshot(1)
        half.mkdir()
        (half / "000005.sst").write_bytes(b"half")
        await Promotion(scratch, silent, tables=FEW).prepare(source.checkpoint, nothing_to_see)
        assert (half / "CURRENT").exists()


async def test_what_the_examination_refuses_goes_no_further(source: RocksStore, tmp_path: Path) -> None:
    async def refuse(_store: RocksStore) -> dict[str, int]:
        raise StoreUnavailable("this is not well")

    scratch = Scratch(tmp_path / "scratch", tmp_path / "data")
    with scratch.held(), pytest.raises(StoreUnavailable, match="not well"):
        await Promotion(scratch, silent, tables=FEW).prepare(source.checkpoint, refuse)


@pytest.mark.parametrize("how", ["changed", "lost", "another cause", "one too many"])
async def test_what_is_not_equal_is_found(source: RocksStore, target: MemoryTarget, how: str) -> None:
    cause = cause_ago(60)
    await profiles(source, [1, 2, 3], "name", cause)
    await make_pass(None, source, target, 1, tables=FEW, progress=silent)
    await verify(source, target, tables=FEW, progress=silent)
    if how == "another cause":
        target.causes["profiles", (2,)] += 1
    elif how == "lost":
        await target.store.write([Erase(PROFILES, (2,), cause + 2)])
    else:
        row = ProfileRow(UserId(2 if how == "changed" else 4), "other")
        await target.write(PROFILES, [Caused(row, cause + 2 if how == "one too many" else cause + 3)], 1)
        target.causes["profiles", (2,)] = cause + 2
    with pytest.raises(Unequal, match="profiles"):
        await verify(source, target, tables=FEW, progress=silent)


async def test_rows_whose_time_is_nearly_over_are_not_compared(
    source: RocksStore, target: MemoryTarget
) -> None:
    assert SENDS.keep_s is not None
    ages = [60, SENDS.keep_s - LEAVING_S - 60, SENDS.keep_s - LEAVING_S + 60, SENDS.keep_s + 60]
    for number, age in enumerate(ages):
        row = SendRow(DeviceId(1), b"12345678", number, MessageId(1), 1)
        await source.write([Put(SENDS, row, cause_ago(age))])
    now_ms = time.time_ns() // 1_000_000
    found = sum_of_store(source, SENDS, now_ms + LEAVING_S * 1000)
    assert (found.rows, found.leaving) == (2, 2)
    assert is_over(SENDS, cause_ago(ages[3]), now_ms)
    assert not is_over(SENDS, cause_ago(ages[2]), now_ms)
    assert not is_over(PROFILES, 0, now_ms)
    await make_pass(None, source, target, 1, tables=FEW, progress=silent)
    await target.erase(SENDS, [Caused(SendRow(DeviceId(1), b"12345678", 3, MessageId(1), 1), cause_ago(0))])
    await verify(source, target, tables=FEW, progress=silent)


async def test_the_sum_is_the_same_in_every_order_and_for_no_other_rows(
    source: RocksStore, tmp_path: Path
) -> None:
    other = RocksStore.open(tmp_path / "other", min_free_bytes=0, sync=False)
    for store, users in ((source, [1, 2, 3]), (other, [3, 1, 2])):
        await profiles(store, users, "name", 5)
    assert sum_of_store(source, PROFILES, 0) == sum_of_store(other, PROFILES, 0)
    await profiles(other, [1], "name", 6)
    assert sum_of_store(source, PROFILES, 0) != sum_of_store(other, PROFILES, 0)
    assert sum_of_store(source, PROFILES, 0).greatest_cause == 8
    await other.close()
