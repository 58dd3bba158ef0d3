"""RocksStore and its files: what it refuses, what survives, what a full disk does."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from conformance.stores import (
    ASCENDING,
    CONTESTED,
    KEPT,
    LONE,
    TEST_TABLES,
    VERSIONS,
    ContestedRow,
    IntRow,
    LoneRow,
    VersionRow,
)
from tidings.protocol import ids
from tidings.protocol.ids import MessageId, UserId
from tidings.store.contract import (
    OutcomeUnknown,
    Put,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreInUse,
    StoreTooNew,
    StoreUnavailable,
)
from tidings.store.rocks import RocksStore
from tidings.store.rocks_database import CREATING

MiB = 1 << 20


def open_store(path: Path, **options: object) -> RocksStore:
    return RocksStore.open(path, **{"tables": TEST_TABLES, "min_free_bytes": 0, **options})  # type: ignore[arg-type]


def row(at: int) -> IntRow:
    # Random, so that a byte of the file is a byte of a row however it is compressed.
    return IntRow(UserId(7), 1, MessageId(at), "", os.urandom(200))


def puts(first: int, end: int) -> list[Put]:
    return [Put(ASCENDING, row(at), 1) for at in range(first, end)]


async def ats(store: RocksStore, *, backwards: bool = False) -> list[int]:
    rows = await store.range(ASCENDING, (7, 1), limit=1 << 20, backwards=backwards)
    return [found.at for found in rows]


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store of rows 0 to 99 in a table file, and of rows 100 to 199 in the log alone."""
    store = open_store(tmp_path / "first")
    await store.write(puts(0, 100))
    await store.close()
    store = open_store(tmp_path / "first")
    await store.write(puts(100, 200))
    copy = tmp_path / "store"
    copy.mkdir()
    for file in (tmp_path / "first").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a log that was read in and is removed
            (copy / file.name).write_bytes(file.read_bytes())
    await store.close()
    return copy


async def set_versions(store: RocksStore, owner: int, *, size: int = 1) -> None:
    """Versions 0 to 4, together, after those of the owner before."""
    expected = await store.get(VERSIONS, ("alice", 0))
    rows = [VersionRow("alice", number, owner, os.urandom(size)) for number in range(5)]
    assert await store.compare_and_set(VERSIONS, expected, rows[0], rows[1:]) is None


async def owners(store: RocksStore) -> list[int]:
    """Of all versions."""
    return [row.owner for row in await store.range(VERSIONS, ("alice",), limit=99)]


def largest(path: Path, pattern: str) -> Path:
    return max(path.glob(pattern), key=lambda file: file.stat().st_size)


# --- damage ---------------------------------------------------------------------------------


def flip(pattern: str, part: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = largest(path, pattern)
        data = bytearray(file.read_bytes())
        data[int(len(data) * part)] ^= 0x55
        file.write_bytes(data)

    return damage


def truncate(pattern: str, part: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = largest(path, pattern)
        os.truncate(file, int(file.stat().st_size * part))

    return damage


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda path: largest(path, pattern).unlink()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (flip("*.log", 0.01), r"\.log"),
        (flip("*.log", 0.5), r"\.log"),
        (remove("*.log"), r"\.log"),
        (truncate("*.sst", 0.5), r"\d+\.sst"),
        (remove("*.sst"), r"\d+\.sst"),
        (truncate("CURRENT", 0), "CURRENT"),
        (truncate("CURRENT", 0.5), "CURRENT"),
        (remove("CURRENT"), "CURRENT"),
        (truncate("MANIFEST*", 0), "MANIFEST"),
        (truncate("MANIFEST*", 0.5), "MANIFEST"),
        (flip("MANIFEST*", 0.5), "MANIFEST"),
        (remove("MANIFEST*"), "MANIFEST"),
    ],
)
async def test_damage_is_refused_at_opening(path: Path, damage: Callable[[Path], None], named: str) -> None:
    damage(path)
    before = sorted(file.name for file in path.iterdir() if not file.name.startswith("LOG"))
    for _ in range(2):  # it is not opened at the second try either
        with pytest.raises(StoreDamaged, match=named) as refused:
            open_store(path)
        assert "hint: " in str(refused.value)
    after = sorted(file.name for file in path.iterdir() if not file.name.startswith("LOG"))
    assert set(before) <= set(after)


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_damaged_block_is_never_a_shorter_answer(path: Path, backwards: bool) -> None:
    flip("*.sst", 0.4)(path)
    store = open_store(path)
    with pytest.raises(StoreDamaged, match=r"\d+\.sst"):
        await ats(store, backwards=backwards)
    with pytest.raises(StoreDamaged, match=r"\d+\.sst"):
        await store.get_many(ASCENDING, [(7, 1, at) for at in range(100)])
    with pytest.raises(StoreDamaged, match=r"\d+\.sst"):  # of writes that must know what is there
        await store.write(puts(0, 100))
    await store.write(puts(300, 301))  # who does not meet it goes on
    await store.close()


async def test_a_torn_tail_is_no_damage(path: Path) -> None:
    log = largest(path, "*.log")
    os.truncate(log, log.stat().st_size - 10)
    store = open_store(path)
    assert await ats(store) == list(range(100))
    await store.close()


@pytest.mark.slow
async def test_a_torn_tail_leaves_all_of_a_compare_and_set_or_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    await set_versions(store, 1)
    log = largest(tmp_path / "store", "*.log")
    begin = log.stat().st_size
    await set_versions(store, 2, size=20_000)  # a log is in blocks of 32 KiB
    end = log.stat().st_size
    assert end - begin > 100_000
    files = {file.name: file.read_bytes() for file in (tmp_path / "store").iterdir()}
    await store.close()
    for at, cut in enumerate((begin, begin + 1, *range(begin + 1000, end, 9000), end - 1, end)):
        copy = tmp_path / f"copy {at}"
        copy.mkdir()
        for name, data in files.items():
            (copy / name).write_bytes(data[:cut] if name == log.name else data)
        store = open_store(copy)
        assert await owners(store) == [2 if cut == end else 1] * 5
        await store.close()


async def test_rows_that_are_set_together_are_whole_to_a_check(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await set_versions(store, 1)
    await set_versions(store, 2)
    assert store.examine(VERSIONS, b"") == (5, [], None)
    await store.close()


async def test_an_audit_log_is_not_taken_for_the_write_ahead_log(path: Path) -> None:
    (path / "audit.log").write_text("alice logged in\n")
    await open_store(path).close()
    remove("0*.log")(path)
    with pytest.raises(StoreDamaged, match="write-ahead log"):
        open_store(path)


# --- expiry ---------------------------------------------------------------------------------


async def test_expiry_takes_turns_with_others(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for part in range(20):
        await store.write([Put(KEPT, IntRow(UserId(7), part, MessageId(at)), 1) for at in range(500)])
    expiring = asyncio.ensure_future(store.expire(ids.EPOCH_MS + 3_600_000))
    turns = 0
    while not expiring.done():
        await store.write(puts(turns, turns + 1))
        turns += 1
    assert await expiring == 10_000
    assert turns >= 20
    await store.close()


async def test_expiry_ends_with_the_store(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.write([Put(KEPT, IntRow(UserId(7), 1, MessageId(at)), 1) for at in range(5000)])
    expiring = asyncio.ensure_future(store.expire(ids.EPOCH_MS + 3_600_000))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await expiring


# --- opening --------------------------------------------------------------------------------


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    await open_store(tmp_path / "store", format_number=3).close()
    with pytest.raises(StoreTooNew, match=r"format 3.*up to 2"):
        open_store(tmp_path / "store", format_number=2)
    await open_store(tmp_path / "store", format_number=3).close()


async def test_a_store_that_is_open_here_is_in_use(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(StoreInUse, match="hint: "):
        open_store(tmp_path)
    await store.close()
    await open_store(tmp_path).close()


@pytest.mark.slow
async def test_a_store_that_another_process_has_open_is_in_use(tmp_path: Path) -> None:
    with child(HOLDER, tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreInUse, match="hint: "):
            open_store(tmp_path)
        holder.kill()
        holder.wait()
    await open_store(tmp_path).close()


async def test_a_new_table_is_added(tmp_path: Path) -> None:
    store = open_store(tmp_path, tables=(ASCENDING,))
    await store.write(puts(0, 1))
    await store.close()
    store = open_store(tmp_path, tables=(ASCENDING, LONE))
    assert await store.get(LONE, ("name",)) is None
    await store.write([Put(LONE, LoneRow("name"), 1)])
    await store.close()
    store = open_store(tmp_path, tables=(ASCENDING,))
    assert await ats(store) == [0]
    await store.close()


async def test_a_creation_that_was_interrupted_begins_anew(path: Path) -> None:
    # As long as the mark is there nothing was acknowledged, whatever the files hold.
    (path / CREATING).touch()
    largest(path, "MANIFEST*").unlink()
    store = open_store(path)
    assert await ats(store) == []
    assert not (path / CREATING).exists()
    await store.close()


async def test_a_directory_with_other_files_is_not_taken_for_a_new_store(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear Bob")
    with pytest.raises(StoreDamaged, match="CURRENT"):
        open_store(tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "dear Bob"


async def test_the_root_of_a_fresh_disk_is_a_new_store(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    await open_store(tmp_path).close()


async def test_a_path_that_cannot_be_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        open_store(tmp_path / "file")


# --- a killed process -----------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from store.test_rocks import open_store
store = open_store(Path(sys.argv[1]))
print("open", flush=True)
time.sleep(60)
"""

WRITER = """
import asyncio, sys
from pathlib import Path
from store.test_rocks import open_store, puts
async def main():
    store = open_store(Path(sys.argv[1]))
    at = 0
    while True:
        await store.write(puts(at, at + 3))
        at += 3
        print(at, flush=True)
asyncio.run(main())
"""


SETTER = """
import asyncio, sys
from pathlib import Path
from store.test_rocks import open_store, set_versions
async def main():
    store = open_store(Path(sys.argv[1]))
    for owner in range(1, 1 << 30):
        await set_versions(store, owner, size=3000)
        print(owner, flush=True)
asyncio.run(main())
"""


def child(program: str, path: Path) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        env={**os.environ, "PYTHONPATH": tests},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
async def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with child(WRITER, tmp_path / "store") as writer:
        assert writer.stdout is not None
        for _ in range(200):
            acknowledged = int(writer.stdout.readline())
        writer.kill()
    store = open_store(tmp_path / "store")
    found = await ats(store)
    assert found[:acknowledged] == list(range(acknowledged))
    assert len(found) % 3 == 0, "a batch came back in part"
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 50, 300])
async def test_a_killed_process_leaves_all_of_a_compare_and_set_or_nothing(
    tmp_path: Path, count: int
) -> None:
    with child(SETTER, tmp_path / "store") as setter:
        assert setter.stdout is not None
        for _ in range(count):
            acknowledged = int(setter.stdout.readline())
        setter.kill()
    store = open_store(tmp_path / "store")
    found = await owners(store)
    assert len(found) == 5
    assert len(set(found)) == 1, "a compare-and-set came back in part"
    assert found[0] >= acknowledged
    await store.close()


# --- a full disk ----------------------------------------------------------------------------


class Disk:
    """Free space and time, as a test sets them."""

    def __init__(self) -> None:
        self.bytes = 100 * MiB
        self.now = 1000.0
        self.asked = 0

    def free(self, _path: Path) -> int:
        self.asked += 1
        return self.bytes

    def clock(self) -> float:
        return self.now


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def store(tmp_path: Path, disk: Disk) -> AsyncIterator[RocksStore]:
    store = open_store(tmp_path, min_free_bytes=64 * MiB, free=disk.free, clock=disk.clock)
    yield store
    await store.close()


async def test_below_its_reserve_the_store_refuses(store: RocksStore, disk: Disk) -> None:
    await store.write(puts(0, 1))
    disk.bytes = 63 * MiB
    disk.now += 2
    for _ in range(2):
        with pytest.raises(StoreFull, match="hint: "):
            await store.write(puts(1, 2))
    with pytest.raises(StoreFull):
        await store.compare_and_set(CONTESTED, None, ContestedRow("alice", 1, b"r"))
    assert await ats(store) == [0]
    disk.bytes = 65 * MiB
    await store.write(puts(1, 2))
    assert await ats(store) == [0, 1]


async def test_space_is_asked_for_once_a_second_and_each_mebibyte(store: RocksStore, disk: Disk) -> None:
    for at in range(10):
        await store.write(puts(at, at + 1))
    assert disk.asked == 1
    disk.now += 1.1
    await store.write(puts(10, 11))
    assert disk.asked == 2
    await store.write([Put(ASCENDING, IntRow(UserId(1), 1, MessageId(1), "", bytes(2 * MiB)), 1)])
    assert disk.asked == 3


class Failing:
    """Stands before a database's method and fails when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: RocksStore, method: str) -> None:
        self.error: str | None = None
        self._real: Callable[..., None] = getattr(store._database, method)
        monkeypatch.setattr(store._database, method, self)

    def __call__(self, *arguments: object) -> None:
        if self.error is not None:
            raise Exception(self.error)  # as rocksdict does
        self._real(*arguments)


@pytest.mark.parametrize("method", ["write", "sync"])
async def test_after_a_full_disk_the_database_is_opened_again(
    store: RocksStore, disk: Disk, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    await store.write(puts(0, 1))
    failing = Failing(monkeypatch, store, method)
    failing.error = "IO error: No space left on device: While appending to file: 000004.log"
    with pytest.raises(StoreFull):
        await store.write(puts(1, 2))
    disk.now += 2
    with pytest.raises(OutcomeUnknown):
        await store.compare_and_set(CONTESTED, None, ContestedRow("alice", 1, b"r"))
    failing.error = None
    assert (await ats(store))[0] == 0
    with pytest.raises(StoreFull):  # it is not tried again before a second is over
        await store.write(puts(2, 3))
    disk.now += 2
    await store.write(puts(3, 4))
    assert {0, 3} <= set(await ats(store))


@pytest.mark.parametrize("method", ["write", "sync"])
async def test_where_the_outcome_is_unknown_all_was_set_or_nothing(
    store: RocksStore, disk: Disk, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    await set_versions(store, 1)
    failing = Failing(monkeypatch, store, method)
    failing.error = "IO error: While appending to file: 000004.log: Input/output error"
    with pytest.raises(OutcomeUnknown):
        await set_versions(store, 2)
    failing.error = None
    disk.now += 2
    await store.write(puts(0, 1))  # it is opened again
    assert await owners(store) in ([1] * 5, [2] * 5)
    await set_versions(store, 3)
    assert await owners(store) == [3] * 5


async def test_a_disk_that_stays_full_leaves_the_store_readable(
    store: RocksStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write(puts(0, 1))
    Failing(monkeypatch, store, "sync").error = "IO error: No space left on device"
    with pytest.raises(StoreFull):
        await store.write(puts(1, 2))

    def no_room(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tidings.store.rocks.probe", no_room)
    for _ in range(3):
        disk.now += 2
        with pytest.raises(StoreFull):
            await store.write(puts(1, 2))
        assert (await ats(store))[0] == 0


async def test_any_other_failure_is_unavailable_and_fails_everyone_in_the_commit(
    store: RocksStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing(monkeypatch, store, "sync").error = "IO error: While fdatasync: 000004.log: Input/output error"
    results = await asyncio.gather(
        *[store.write(puts(at, at + 1)) for at in range(5)], return_exceptions=True
    )
    assert {type(result) for result in results} == {StoreUnavailable}


async def test_a_write_that_compaction_holds_up_is_tried_again(
    store: RocksStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, store, "write")
    failing.error = "Result incomplete: Write stall"
    writing = asyncio.ensure_future(store.write(puts(0, 1)))
    await asyncio.sleep(0)
    assert not writing.done()
    failing.error = None
    await writing
    assert await ats(store) == [0]
