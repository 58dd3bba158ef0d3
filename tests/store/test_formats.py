"""Stores that earlier versions wrote open, whole, in this one."""

import tarfile
from pathlib import Path

import pytest
from rocksdict import Rdict

from keyed import Person, keys_at
from tidings.protocol import frames, ids
from tidings.protocol.codec import decode_message
from tidings.protocol.frames import Status
from tidings.store.checks import check
from tidings.store.contract import StoreTooNew, StoreUnavailable
from tidings.store.rocks import RocksStore
from tidings.store.rocks_migrations import MIGRATIONS
from tidings.store.schema import DEVICES, FORMAT, HANDLES, INBOX, SEEN, USERS, SeenRow
from tidings.testing.clock import FakeClock
from tidings.testing.world import World

MADE_AT_MS = 1_795_575_173_000
NOW_MS = MADE_AT_MS + 3_600_000
SECOND_MADE_AT_MS = 1_795_676_600_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of format 1."""
    with tarfile.open(Path(__file__).parent / "data" / "format1.tar.gz") as archive:
        archive.extractall(tmp_path / "store", filter="data")
    return tmp_path / "store"


def open_store(path: Path, **options: object) -> RocksStore:
    return RocksStore.open(path, min_free_bytes=0, wall_ms=lambda: NOW_MS, **options)  # type: ignore[arg-type]


async def test_everything_in_it_is_readable_and_of_one_piece(path: Path) -> None:
    store = open_store(path)
    findings = await check(store, now_ms=NOW_MS)
    assert findings.counts == {}
    assert {name: count for name, count in findings.rows.items() if count} == {
        "messages": 11,
        "buckets": 1,
        "inbox": 17,
        "cursors": 2,
        "sends": 11,
        "watermarks": 2,
        "changed": 2,
        "members": 3,
        "memberships": 2,
        "users": 2,
        "handles": 2,
        "devices": 3,
        "nodes": 1,
        "seen": 3,
    }
    for row in await store.scan(INBOX, limit=99):
        assert decode_message(row.payload).content.startswith((b"from ", b"while bob was away"))
    await store.close()


async def test_the_rules_read_it_as_they_read_their_own(path: Path) -> None:
    store = open_store(path)
    world = await World.start(store, clock=FakeClock(wall_ms=NOW_MS))
    services = world.services
    alice = await services.accounts.by_handle("alice")
    bob = await services.accounts.by_handle("bob")
    conversation = await services.conversations.find(ids.direct_conversation_id(alice.user_id, bob.user_id))
    assert conversation is not None
    page = await services.histories.page(
        conversation, bob.user_id, frames.History(1, conversation.conversation_id)
    )
    contents = [item.message.content.decode() for item in page.items]
    assert sorted(contents) == sorted(
        [*(f"from {who} {number}" for who in ("alice", "bob") for number in range(5)), "while bob was away"]
    )
    own = [item.status for item in page.items if item.message.sender_id == alice.user_id]
    assert sorted(own) == [Status.SENT, *[Status.READ] * 5]
    assert conversation.watermarks[bob.user_id].read_up_to > 0
    await services.commit.finish()
    await store.close()
    assert world.complaints == []


async def test_devices_count_as_seen_at_the_migration(path: Path) -> None:
    store = open_store(path)
    devices = await store.scan(DEVICES, limit=9)
    assert await store.scan(SEEN, limit=9) == [
        SeenRow(device.user_id, device.device_id, NOW_MS) for device in devices
    ]
    assert len(devices) == 3
    await store.close()
    later = RocksStore.open(path, min_free_bytes=0, wall_ms=lambda: NOW_MS + 1)
    assert {row.at_ms for row in await later.scan(SEEN, limit=9)} == {NOW_MS}
    await later.close()


async def test_after_the_migration_a_binary_of_format_1_refuses_it(path: Path) -> None:
    await open_store(path).close()
    with pytest.raises(StoreTooNew, match=f"format {FORMAT}.*up to 1"):
        open_store(path, format_number=1)


async def test_as_it_is_it_is_not_migrated(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"has format 1.*\nhint: "):
        open_store(path, as_it_is=True)
    store = open_store(path, format_number=1, as_it_is=True)
    assert len(await store.scan(USERS, limit=9)) == 2
    assert await store.scan(SEEN, limit=9) == []
    await store.close()


class Died(Exception):
    """Where the test ends the process."""


@pytest.mark.parametrize("when", ["before", "between", "after"])
async def test_a_migration_that_was_interrupted_is_done_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    step = MIGRATIONS[1]

    def dying(rocks: Rdict, where: Path, now_ms: int) -> None:
        if when == "between":
            seen = rocks.get_column_family("seen")
            step(rocks, where, now_ms)
            key = next(iter(seen.keys()))
            seen.delete(key)
            seen.close()
        elif when == "after":
            step(rocks, where, now_ms)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr("tidings.store.rocks_database.MIGRATIONS", {1: dying})
        with pytest.raises(Died):
            open_store(path)
    store = RocksStore.open(path, min_free_bytes=0, wall_ms=lambda: NOW_MS + 5)
    rows = await store.scan(SEEN, limit=9)
    assert len(rows) == 3
    expected = {
        "before": {NOW_MS + 5},
        "between": {NOW_MS, NOW_MS + 5},
        "after": {NOW_MS},
    }
    assert {row.at_ms for row in rows} == expected[when]
    assert {row.handle for row in await store.scan(HANDLES, limit=9)} == {"alice", "bob"}
    await store.close()
    await open_store(path, as_it_is=True).close()


# --- format 2 -------------------------------------------------------------------------------


async def test_a_store_of_format_2_gets_the_tables_of_keys(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent / "data" / "format2.tar.gz") as archive:
        archive.extractall(tmp_path / "store", filter="data")
    path = tmp_path / "store"
    with pytest.raises(StoreUnavailable, match="has format 2"):
        open_store(path, as_it_is=True)
    store = RocksStore.open(path, min_free_bytes=0)
    found = await check(store, now_ms=SECOND_MADE_AT_MS)
    assert found.counts == {}
    assert (found.rows["messages"], found.rows["relations"], found.rows["devices"]) == (7, 1, 3)
    world = await World.start(store, clock=FakeClock(wall_ms=SECOND_MADE_AT_MS))
    people = []
    for seed, handle in enumerate(("alice", "bob")):
        user = await world.services.accounts.by_handle(handle)
        row = await store.get(USERS, (user.user_id,))
        assert row is not None
        one = Person(world, await world.services.account_rules.devices.add(row, "new"), seed)
        await one.add()
        people.append(one)
    alice, bob = people
    phone, other = await world.online(alice.account), await world.online(bob.account)
    chat = await phone.open("bob")
    phone.send(chat, "still plain")
    await phone.expect(frames.Sent)
    seen = await keys_at(phone, alice.user_id, bob.user_id)
    key = {bob.devices[0].device_id: b"key"}
    phone.send(chat, "sealed", scheme=frames.Scheme.DIRECT, keys_at=seen, envelopes=key)
    await phone.expect(frames.Sent)
    await other.expect(frames.Deliver)
    assert (await other.expect(frames.Deliver)).envelope == b"key"
    await world.services.commit.finish()
    await store.close()
    with pytest.raises(StoreTooNew, match=f"format {FORMAT}.*up to 2"):
        open_store(path, format_number=2)
    assert world.complaints == []
