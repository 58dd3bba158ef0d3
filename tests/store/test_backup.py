"""Restoring: what is refused, what is changed, and what an interruption leaves."""

import shutil
from pathlib import Path

import pytest

from keyed import person
from store.test_rocks import HOLDER, child
from tidings.protocol import errors, frames, ids
from tidings.protocol.ids import ClientId, DeviceId, UserId
from tidings.store import backup
from tidings.store.backup import (
    IDS_MARGIN_MS,
    SEEN_AGO_MS,
    VERSIONS_SKIPPED,
    RestoreRefused,
    prepare,
    restore,
)
from tidings.store.contract import Put, StoreDamaged, StoreInUse, StoreUnavailable
from tidings.store.memory import MemoryStore, Tables
from tidings.store.rocks import RocksStore
from tidings.store.rocks_checkpoint import files_of
from tidings.store.rocks_database import CREATING, RESTORING
from tidings.store.schema import DEVICES, HEAD_MEMBER, MEMBERS, NODES, SEEN, TABLES, DeviceRow
from tidings.testing.clock import FakeClock
from tidings.testing.world import World

WALL_MS = 1_800_000_000_000
LATER_MS = WALL_MS + 200 * 86_400_000


def open_store(path: Path) -> RocksStore:
    return RocksStore.open(path, min_free_bytes=0, as_it_is=True)


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    """A backup of a node with alice and bob on it, who have talked."""
    store = RocksStore.open(tmp_path / "lost", min_free_bytes=0)
    world = await World.start(store, clock=FakeClock(WALL_MS))
    alice, bob = await world.register("alice"), await world.register("bob")
    device, other = await world.online(alice), await world.online(bob)
    conversation = await device.open("bob")
    for number in range(5):
        device.send(conversation, f"message {number}")
        await device.expect(frames.Sent)
    await other.texts(5)
    other.ack()
    await other.settle()
    await world.services.commit.finish()
    await store.checkpoint(tmp_path / "backup")
    await store.close()
    return tmp_path / "backup"


def listing(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


async def test_everything_is_there_and_the_backup_as_it_was(source: Path, tmp_path: Path) -> None:
    before = listing(source)
    data = tmp_path / "new" / "data"
    steps: list[str] = []
    await restore(source, data, now_ms=LATER_MS, progress=lambda step, _done, _total: steps.append(step))
    assert listing(source) == before
    assert list(dict.fromkeys(steps)) == ["copying", "versions", "devices"]
    assert not (data / RESTORING).exists()
    assert all(file.stat().st_nlink == 1 for file in data.iterdir())
    shutil.copytree(source, tmp_path / "plain")
    plain, restored = open_store(tmp_path / "plain"), open_store(data)
    for table in TABLES:
        if table not in (NODES, MEMBERS, DEVICES, SEEN):
            assert await restored.scan(table, limit=99) == await plain.scan(table, limit=99)
    await plain.close()
    await restored.close()


async def test_no_id_is_given_twice(source: Path, tmp_path: Path) -> None:
    await restore(source, tmp_path / "data", now_ms=LATER_MS)
    store = open_store(tmp_path / "data")
    world = await World.start(store, clock=FakeClock(LATER_MS))
    assert world.services.ids.next() > ids.first_at(LATER_MS + IDS_MARGIN_MS)
    await store.close()


async def test_where_the_clock_is_behind_the_backup_ids_go_on_from_there(
    source: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "plain"
    shutil.copytree(source, copied)
    plain = open_store(copied)
    until = max(row.ids_until for row in await plain.scan(NODES, limit=9))
    await plain.close()
    await restore(source, tmp_path / "data", now_ms=WALL_MS - 10 * IDS_MARGIN_MS)
    store = open_store(tmp_path / "data")
    assert [row.ids_until for row in await store.scan(NODES, limit=9)] == [until]
    await store.close()


async def test_versions_are_raised_and_tokens_are_to_be_renewed(source: Path, tmp_path: Path) -> None:
    await restore(source, tmp_path / "data", now_ms=LATER_MS)
    store = open_store(tmp_path / "data")
    versions = {row.user_id == HEAD_MEMBER: row.version for row in await store.scan(MEMBERS, limit=9)}
    assert versions == {True: 1 + VERSIONS_SKIPPED, False: 1}
    assert [row.renew for row in await store.scan(DEVICES, limit=9)] == [True, True]
    assert {row.at_ms for row in await store.scan(SEEN, limit=9)} == {LATER_MS - SEEN_AGO_MS}
    await store.close()


async def test_who_writes_in_a_group_looks_at_it_first() -> None:
    store = MemoryStore()
    world = await World.start(store)
    alice = await world.online(await world.register("alice"))
    made = await alice.ask(lambda n: frames.CreateGroup(n, ClientId(b"n" * 16)), frames.Conversation)
    await world.services.commit.finish()
    await prepare(store, now_ms=LATER_MS)
    world = await World.start(store, clock=FakeClock(LATER_MS))
    alice = await world.online(alice.account)
    alice.send(made.conversation_id, "as before", version=made.version)
    assert (await alice.expect(frames.Error)).code == errors.GROUP_CHANGED.code
    found = await alice.ask(lambda n: frames.Describe(n, made.conversation_id), frames.Conversation)
    assert found.version == made.version + VERSIONS_SKIPPED
    alice.send(made.conversation_id, "on", version=found.version)
    await alice.expect(frames.Sent)
    rename = frames.ChangeGroup(1, made.conversation_id, frames.GroupAction.INFO, info=b"Family")
    alice.say(rename)
    await alice.expect(frames.Ok)


async def test_a_token_that_had_been_offered_holds_too() -> None:
    # Its device may have used it since, and then has no other.
    store = MemoryStore()
    row = DeviceRow(UserId(1), DeviceId(2), b"old", "", 1, next_hash=b"new", renew=True)
    await store.write([Put(DEVICES, row, 5)])
    await prepare(store, now_ms=LATER_MS)
    assert await store.scan(DEVICES, limit=9) == [row]


async def test_pairs_that_may_have_been_given_since_are_given_to_nobody() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    bob = await person(world, "bob", 1)
    device = bob.devices[0]
    await bob.bring(device, 1, 9)
    before = await world.services.account_rules.lists.signed([bob.user_id])
    await prepare(MemoryStore(tables), now_ms=LATER_MS)
    world = await World.start(MemoryStore(tables), clock=FakeClock(LATER_MS))
    bob.world = world
    assert await world.services.prekeys.take(device.device_id) is None
    assert await bob.bring(device, 40, 2) == 2
    given = await world.services.prekeys.take(device.device_id)
    assert given is not None
    assert given.id == 40
    lists = world.services.account_rules.lists
    await lists.learn([bob.user_id])
    known = lists.known(bob.user_id)
    assert known is not None
    assert before[0] < known.removal_at <= (await lists.signed([bob.user_id]))[0]


async def test_a_restored_store_may_be_backed_up_and_restored_again(source: Path, tmp_path: Path) -> None:
    await restore(source, tmp_path / "data", now_ms=LATER_MS)
    await restore(tmp_path / "data", tmp_path / "again", now_ms=LATER_MS)
    store = open_store(tmp_path / "again")
    head = next(row for row in await store.scan(MEMBERS, limit=9) if row.user_id == HEAD_MEMBER)
    assert head.version == 1 + 2 * VERSIONS_SKIPPED
    await store.close()


# --- what is refused ------------------------------------------------------------------------


async def test_a_folder_that_holds_something_is_refused(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "letter.txt").write_text("dear Bob")
    for place in (data, source, source / "within", tmp_path / "lost"):
        with pytest.raises(RestoreRefused, match=r"(?s)cannot restore into .*hint: "):
            await restore(source, place, now_ms=LATER_MS)
    assert (data / "letter.txt").read_text() == "dear Bob"
    assert len(list(data.iterdir())) == 1


async def test_what_is_no_store_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (source / CREATING).touch()
    for place in (tmp_path / "empty", tmp_path / "missing", source):
        with pytest.raises(RestoreRefused, match="hint: "):
            await restore(place, tmp_path / "data", now_ms=LATER_MS)
    assert not (tmp_path / "data").exists()


async def test_a_damaged_backup_is_refused_and_never_opened_as_data(source: Path, tmp_path: Path) -> None:
    next(source.glob("MANIFEST*")).unlink()
    with pytest.raises(StoreDamaged):
        await restore(source, tmp_path / "data", now_ms=LATER_MS)
    with pytest.raises(StoreUnavailable, match="was not finished"):
        RocksStore.open(tmp_path / "data", min_free_bytes=0)


@pytest.mark.slow
async def test_the_folder_of_a_running_server_is_no_backup(tmp_path: Path) -> None:
    with child(HOLDER, tmp_path / "running") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreInUse, match="hint: "):
            await restore(tmp_path / "running", tmp_path / "data", now_ms=LATER_MS)
        assert not (tmp_path / "data").exists()
        holder.kill()
        holder.wait()
    await restore(tmp_path / "running", tmp_path / "data", now_ms=LATER_MS)


# --- interruptions --------------------------------------------------------------------------


class Died(BaseException):
    """Where the test ends the process."""


@pytest.mark.parametrize("moment", ["copied", "prepared", "moved some", "moved all"])
async def test_a_restore_that_was_interrupted_is_refused_and_begun_anew(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    data = tmp_path / "data"

    async def die(*_arguments: object, **_options: object) -> None:
        raise Died

    def die_at_the_end(staging: Path, place: Path) -> None:
        files = files_of(staging)
        moved = {"prepared": 0, "moved some": len(files) // 2, "moved all": len(files)}[moment]
        for file in files[:moved]:
            file.rename(place / file.name)
        raise Died

    with monkeypatch.context() as patched:
        if moment == "copied":
            patched.setattr(backup, "prepare", die)
        else:
            patched.setattr(backup, "_finish", die_at_the_end)
        with pytest.raises(Died):
            await restore(source, data, now_ms=LATER_MS)
    with pytest.raises(StoreUnavailable, match="was not finished\nhint: run it again"):
        RocksStore.open(data, min_free_bytes=0)
    await restore(source, data, now_ms=LATER_MS)
    store = open_store(data)
    head = next(row for row in await store.scan(MEMBERS, limit=9) if row.user_id == HEAD_MEMBER)
    assert head.version == 1 + VERSIONS_SKIPPED
    await store.close()
