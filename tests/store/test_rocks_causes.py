"""What RocksStore knows of the causes in a table, so that it need not look for older rows.

It may take a cause for there that is not, never the other way round.
"""

import contextlib
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from conformance.stores import (
    ASCENDING,
    CONTESTED,
    GROWING,
    LONE,
    TEST_TABLES,
    ContestedRow,
    GrowingRow,
    IntRow,
    LoneRow,
)
from tidings.protocol import ids
from tidings.protocol.ids import ConversationId, EntryId, MessageId, UserId
from tidings.store.backup import restore
from tidings.store.contract import Erase, Put, PutEach, Raise, StoreDamaged, StoreError, StoreFull, Write
from tidings.store.rocks import RocksStore
from tidings.store.rocks_checkpoint import files_of
from tidings.store.rocks_family import NO_CAUSE, UNKNOWN, bound_key
from tidings.store.rocks_jobs import AHEAD, CAUSE_MAX
from tidings.store.schema import PICTURES, TABLES, PictureRow

NOW = ids.first_at(1_795_575_173_000)
MINUTE = 60_000 << ids.TIME_SHIFT
HERE = ConversationId(b"c" * 16)


def open_store(path: Path, **options: object) -> RocksStore:
    return RocksStore.open(path, **{"tables": TEST_TABLES, "min_free_bytes": 0, **options})  # type: ignore[arg-type]


def put(cause: int, at: int = 1) -> Put:
    """A row that says its cause."""
    return Put(ASCENDING, IntRow(UserId(7), 1, MessageId(at), str(cause)), cause)


async def cause_of(store: RocksStore, at: int = 1) -> int:
    row = await store.get(ASCENDING, (7, 1, at))
    assert row is not None
    return int(row.text)


def assert_bounded(store: RocksStore) -> None:
    """No row is above what the store knows, and that not above what is on the disk."""
    for family in store._database.families.values():
        if family.codec.takes_puts:
            assert family.greatest_cause() <= family.newest <= family.bound, family.table


async def assert_the_greater_stays(store: RocksStore, at: int = 1) -> None:
    """Whatever is there: a lesser cause loses, a greater one wins."""
    there = await cause_of(store, at)
    if there:
        await store.write([put(there - 1, at)])
    assert await cause_of(store, at) == there
    await store.write([put(min(there + 1, CAUSE_MAX), at)])
    assert await cause_of(store, at) == min(there + 1, CAUSE_MAX)
    assert_bounded(store)


def copied(path: Path, target: Path) -> Path:
    """A store's files as the process leaves them that is killed now."""
    while True:
        before = sizes(path)
        target.mkdir()
        for name in before:
            with contextlib.suppress(FileNotFoundError):
                (target / name).write_bytes((path / name).read_bytes())
        if sizes(target) == sizes(path) == before:  # else a compaction was at work
            return target
        shutil.rmtree(target)


def sizes(path: Path) -> dict[str, int]:
    """Of the files that make up a store."""
    found = {}
    for file in files_of(path):
        with contextlib.suppress(FileNotFoundError):
            found[file.name] = file.stat().st_size
    return found


def logs(path: Path) -> list[Path]:
    return sorted(path.glob("[0-9]*.log"))


class Looks:
    """Counts the looks into a table."""

    def __init__(self, store: RocksStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        family = store._database.families[ASCENDING]
        self._read = family.read
        monkeypatch.setattr(family, "read", self)

    def __call__(self, key: bytes) -> bytes | None:
        self.count += 1
        return self._read(key)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RocksStore]:
    store = open_store(tmp_path / "store")
    yield store
    await store.close()


# --- looking --------------------------------------------------------------------------------


async def test_only_for_an_older_cause_is_a_row_looked_for(
    store: RocksStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(store, monkeypatch)
    await store.write([put(NOW), put(NOW, 2), put(NOW + 5, 3)])
    await store.write([put(NOW + 5, 4), put(NOW + 6, 1)])
    assert looks.count == 0
    await store.write([put(NOW + 5, 1), put(NOW + 6, 2), put(NOW + 7, 5)])
    assert looks.count == 1
    assert [await cause_of(store, at) for at in range(1, 6)] == [NOW + 6, NOW + 6, NOW + 5, NOW + 5, NOW + 7]


async def test_each_table_has_causes_of_its_own(store: RocksStore, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(store, monkeypatch)
    await store.write([Put(LONE, LoneRow("a"), CAUSE_MAX)])
    await store.write([put(NOW)])
    assert looks.count == 0
    assert_bounded(store)


async def test_after_a_start_rows_are_looked_for_until_the_bound_is_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    await store.write([put(NOW)])
    await store.close()
    store = open_store(tmp_path)
    looks = Looks(store, monkeypatch)
    await store.write([put(NOW + 1)])
    await store.write([put(NOW + AHEAD - 1, 2)])
    assert looks.count == 2
    await store.write([put(NOW + AHEAD, 3)])
    await store.write([put(NOW + AHEAD + 1, 4)])
    assert looks.count == 2
    assert_bounded(store)
    await store.close()


async def test_the_bound_is_written_once_in_a_while(store: RocksStore) -> None:
    family = store._database.families[ASCENDING]
    bounds = set()
    for step in range(100):
        await store.write([put(NOW + step * (AHEAD // 50))])
        bounds.add(family.bound)
    assert len(bounds) == 2


async def test_an_erased_row_leaves_no_cause(store: RocksStore) -> None:
    await store.write([put(NOW)])
    await store.write([Erase(ASCENDING, (7, 1), NOW)])
    await store.write([put(5)])
    assert await cause_of(store) == 5
    await store.write([put(NOW, 2), Erase(ASCENDING, (7, 1), NOW), put(6, 2)])
    assert await cause_of(store, 2) == 6


async def test_tables_without_causes_have_no_bound(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    row, other = ContestedRow("a", 1, b"r"), ContestedRow("a", 2, b"r")
    assert await store.compare_and_set(CONTESTED, None, row) is None
    await store.write([Raise(GROWING, GrowingRow(HERE, UserId(1), 5))])
    await store.close()
    store = open_store(tmp_path)
    assert await store.compare_and_set(CONTESTED, row, other) is None
    assert await store.get(CONTESTED, ("a",)) == other
    await store.write([Raise(GROWING, GrowingRow(HERE, UserId(1), 3))])
    assert await store.get(GROWING, (HERE, 1)) == GrowingRow(HERE, UserId(1), 5)
    families = store._database.families
    assert {families[table].bound for table in (CONTESTED, GROWING)} == {NO_CAUSE}
    await store.close()


# --- of two puts the greater cause stays ----------------------------------------------------


@pytest.mark.parametrize("cause", [0, 1, 250, NOW, NOW + MINUTE, CAUSE_MAX - 1, CAUSE_MAX])
async def test_after_a_start_an_older_put_loses(tmp_path: Path, cause: int) -> None:
    store = open_store(tmp_path)
    await store.write([put(cause)])
    await assert_the_greater_stays(store)
    await store.close()
    store = open_store(tmp_path)
    await assert_the_greater_stays(store)
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_the_greatest_cause_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    path, now, model = tmp_path / "0", NOW, dict[int, int]()
    store = open_store(path, sync=False)
    for turn in range(40):
        now += rng.choice((1, AHEAD // 3, MINUTE))
        causes = (now, now, now, now - 5, now - MINUTE, rng.randrange(9), now + 2 * AHEAD)
        batch: list[Write] = []
        for _ in range(rng.randint(1, 4)):
            at, cause = rng.randrange(4), rng.choice(causes)
            if rng.random() < 0.2:
                batch.append(Erase(ASCENDING, (7, 1, at), cause))
                if model.get(at, CAUSE_MAX) <= cause:
                    del model[at]
            else:
                batch.append(put(cause, at))
                model[at] = max(cause, model.get(at, 0))
        await store.write(batch)
        match rng.randrange(8):
            case 0:
                await store.close()
                store = open_store(path, sync=False)
            case 1:  # it is killed
                left = copied(path, tmp_path / f"{turn + 1}")
                await store.close()
                path, store = left, open_store(left, sync=False)
            case 2:
                store._database.families[ASCENDING].flush()
            case 3:
                await store.checkpoint(tmp_path / f"{turn + 1}")
                await store.close()
                path = tmp_path / f"{turn + 1}"
                store = open_store(path, sync=False)
        rows = await store.range(ASCENDING, (7, 1), limit=9)
        assert {row.at: int(row.text) for row in rows} == model
        assert_bounded(store)
    await store.close()


# --- what a crash leaves --------------------------------------------------------------------


@pytest.mark.slow
async def test_a_torn_log_has_no_row_without_its_bound(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    await store.write([put(5)])
    begun = logs(tmp_path / "store")[-1].stat().st_size
    for step in range(1, 5):
        await store.write([put(NOW + step * MINUTE, step), Put(LONE, LoneRow("a"), NOW + step)])
    whole = copied(tmp_path / "store", tmp_path / "whole")
    await store.close()
    length = logs(whole)[-1].stat().st_size
    found = set()
    for size in range(begun, length, 37):
        torn = copied(whole, tmp_path / f"{size}")
        os.truncate(logs(torn)[-1], size)
        store = open_store(torn)
        assert_bounded(store)
        found.add(await cause_of(store))
        await assert_the_greater_stays(store)
        await store.close()
    assert found == {5, NOW + MINUTE}


async def test_rows_that_are_in_a_file_have_their_bound_in_a_log_that_is_durable(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", sync=False)
    await store.write([put(NOW)])
    store._database.families[ASCENDING].flush()
    await store.write([put(NOW + 1)])
    left = copied(tmp_path / "store", tmp_path / "left")
    await store.close()
    os.truncate(logs(left)[-1], 0)  # the power took what nobody had waited for
    store = open_store(left)
    assert await cause_of(store) == NOW
    await assert_the_greater_stays(store)
    await store.close()


def failing(store: RocksStore, method: str, *, done: bool) -> Callable[..., None]:
    """A database's method that fails, before or after it did its work."""
    real = getattr(store._database, method)

    def fail(*arguments: object) -> None:
        if done:
            real(*arguments)
        raise Exception("IO error: No space left on device: While appending to file: 000004.log")

    return fail


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("method", ["write", "sync"])
async def test_a_failed_write_leaves_what_is_known_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, *, done: bool
) -> None:
    now_s = 0.0
    store = open_store(tmp_path, clock=lambda: now_s)
    await store.write([put(NOW)])
    with monkeypatch.context() as patched:
        patched.setattr(store._database, method, failing(store, method, done=done))
        with pytest.raises(StoreFull):
            await store.write([put(NOW + MINUTE)])
    now_s = 2.0
    await store.write([put(NOW + MINUTE // 2, 2)])  # it is opened again
    assert_bounded(store)
    there = await cause_of(store)
    assert there in (NOW, NOW + MINUTE)
    await assert_the_greater_stays(store)
    await store.write([put(NOW + MINUTE + AHEAD // 2, 3)])
    assert_bounded(store)
    await store.close()
    store = open_store(tmp_path)
    await assert_the_greater_stays(store, 3)
    await store.close()


async def test_before_it_is_opened_again_nothing_that_failed_is_known(
    store: RocksStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = store._database.families[ASCENDING]
    await store.write([put(NOW)])
    known = family.newest, family.bound
    monkeypatch.setattr(store._database, "write", failing(store, "write", done=False))
    with pytest.raises(StoreError):
        await store.write([put(NOW + MINUTE)])
    assert (family.newest, family.bound) == known


# --- copies, and stores of before -----------------------------------------------------------


async def test_a_store_that_was_restored_knows_the_causes_in_it(tmp_path: Path) -> None:
    store = RocksStore.open(tmp_path / "store", min_free_bytes=0)
    row, older = (PictureRow(UserId(1), "kind", data, EntryId(1)) for data in (b"new", b"old"))
    await store.write([Put(PICTURES, row, NOW)])
    await store.checkpoint(tmp_path / "copy")
    await store.close()
    await restore(tmp_path / "copy", tmp_path / "data", now_ms=ids.unix_ms(NOW))
    store = RocksStore.open(tmp_path / "data", min_free_bytes=0)
    assert_bounded(store)
    await store.write([Put(PICTURES, older, NOW - 1)])
    assert await store.get(PICTURES, (1,)) == row
    await store.close()


async def test_rows_of_old_causes_that_are_copied_into_a_new_store(store: RocksStore) -> None:
    causes = [NOW - step * MINUTE for step in range(5)]
    for cause in [*causes, *causes[::-1], *causes]:
        await store.write([put(cause)])
        assert await cause_of(store) == NOW or cause < NOW
    assert await cause_of(store) == NOW
    await assert_the_greater_stays(store)


def change(path: Path, changes: dict[bytes, bytes | None]) -> None:
    """Write or remove what stands in the default column family."""
    families = {name: Options(raw_mode=True) for name in Rdict.list_cf(str(path), Options(raw_mode=True))}
    rocks = Rdict(str(path), Options(raw_mode=True), families)
    for key, value in changes.items():
        if value is None:
            rocks.delete(key)
        else:
            rocks[key] = value
    rocks.close()


async def test_where_nothing_is_known_every_row_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    await store.write([put(NOW)])
    await store.close()
    change(tmp_path, {bound_key(ASCENDING.name): None})
    store = open_store(tmp_path)
    assert store._database.families[ASCENDING].newest == UNKNOWN
    looks = Looks(store, monkeypatch)
    for cause, stays in ((NOW - 1, NOW), (NOW + MINUTE, NOW + MINUTE), (CAUSE_MAX, CAUSE_MAX)):
        await store.write([put(cause)])
        assert await cause_of(store) == stays
    assert looks.count == 3 + 3
    await store.close()


async def test_a_bound_that_is_none_is_damage(tmp_path: Path) -> None:
    await open_store(tmp_path).close()
    change(tmp_path, {bound_key(ASCENDING.name): b"short"})
    with pytest.raises(StoreDamaged, match="cause in ascending"):
        open_store(tmp_path)


async def test_a_store_of_format_3_learns_the_causes_in_it(tmp_path: Path) -> None:
    store = RocksStore.open(tmp_path, min_free_bytes=0)
    row, older = (PictureRow(UserId(1), "kind", data, EntryId(1)) for data in (b"new", b"old"))
    await store.write(
        [Put(PICTURES, PictureRow(UserId(2), "kind", b"", EntryId(1)), 5), Put(PICTURES, row, NOW)]
    )
    await store.close()
    change(tmp_path, {b"format": b"3", **dict.fromkeys(bound_key(table.name) for table in TABLES)})
    store = RocksStore.open(tmp_path, min_free_bytes=0)
    assert_bounded(store)
    family = store._database.families[PICTURES]
    assert family.newest == family.greatest_cause() == NOW.to_bytes(8, "big")
    await store.write([Put(PICTURES, older, NOW - 1)])
    assert await store.get(PICTURES, (1,)) == row
    await store.close()


async def test_a_table_that_is_new_is_known_to_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_store(tmp_path, tables=[LONE]).close()
    store = open_store(tmp_path)
    looks = Looks(store, monkeypatch)
    rows = [PutEach(ASCENDING, put(0).row, "partition", (1, 2, 3), NOW)]
    await store.write(rows)
    assert looks.count == 0
    await store.close()
