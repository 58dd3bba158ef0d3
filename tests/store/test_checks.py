"""`check`: each kind of mistake is found, counted and named, and nothing but memberships is repaired."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import msgspec
import pytest
from rocksdict import Options, Rdict

from tidings.protocol import frames
from tidings.protocol.api import SignedKey
from tidings.protocol.frames import GroupRules
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.store import checks
from tidings.store.checks import check
from tidings.store.contract import Erase, Put, Raise, Write
from tidings.store.rocks import RocksStore
from tidings.store.schema import (
    CURSORS,
    DEVICE_KEYS,
    DEVICE_LISTS,
    DEVICES,
    HANDLES,
    HEAD_MEMBER,
    INBOX,
    MEMBERS,
    MEMBERSHIPS,
    ONE_TIME_KEYS,
    RELATIONS,
    ROSTERS,
    SEEN,
    SUBSCRIBERS,
    USERS,
    CursorRow,
    DeviceKeysRow,
    DeviceListRow,
    DeviceRow,
    GroupHead,
    HandleRow,
    InboxRow,
    MemberRow,
    MembershipRow,
    OneTimeKeyRow,
    RelationRow,
    RosterRow,
    SeenRow,
    SubscriberRow,
    share_of,
)
from tidings.testing.clock import FakeClock
from tidings.testing.keyring import Keyring
from tidings.testing.world import World

NOW_MS = 1_800_000_100_000
TOP = (1 << 63) - 1
NOBODY = UserId(99)
ELSEWHERE = ConversationId(b"e" * 16)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RocksStore]:
    """Alice and bob have talked."""
    store = RocksStore.open(tmp_path / "store", min_free_bytes=0)
    world = await World.start(store, clock=FakeClock(NOW_MS - 100_000))
    alice, bob = await world.register("alice"), await world.register("bob")
    device, other = await world.online(alice), await world.online(bob)
    conversation = await device.open("bob")
    device.send(conversation, "hello")
    await device.expect(frames.Sent)
    await other.texts(1)
    other.ack()
    await other.settle()
    await world.services.commit.finish()
    yield store
    await store.close()


async def memberships(store: RocksStore) -> list[MembershipRow]:
    return await store.scan(MEMBERSHIPS, limit=99)


async def test_a_store_in_order(store: RocksStore) -> None:
    steps: list[tuple[str, int, int]] = []
    findings = await check(store, now_ms=NOW_MS, progress=lambda *step: steps.append(step))
    assert findings.counts == {}
    assert findings.rows["members"] == 3
    assert steps[-1] == ("comparing", 7, 7)
    assert all(done <= total for _, done, total in steps)


INBOX_ENTRY = InboxRow(
    NOBODY, 0, EntryId(1), 1, ELSEWHERE, MessageId(1), NOBODY, DeviceId(1), b"\xc1 no message"
)
KEYS = DeviceKeysRow(NOBODY, DeviceId(9), b"", b"", b"", SignedKey(1, b"", b""), SignedKey(1, b"", b""))
RELATION = RelationRow(ELSEWHERE, 0, MessageId(1), MessageId(2), NOBODY, 1, b"")
WRONG: list[tuple[str, Write]] = [
    (checks.CURSOR_OF_NOBODY, Raise(CURSORS, CursorRow(DeviceId(9), EntryId(1)))),
    (checks.SEEN_OF_NOBODY, Raise(SEEN, SeenRow(NOBODY, DeviceId(9), 1))),
    (checks.DEVICE_OF_NOBODY, Put(DEVICES, DeviceRow(NOBODY, DeviceId(9), b"", "", 1), 1)),
    (checks.KEYS_OF_NOBODY, Put(DEVICE_KEYS, KEYS, 1)),
    (checks.PAIRS_OF_NOBODY, Put(ONE_TIME_KEYS, OneTimeKeyRow(DeviceId(9), 1, 1, b"", b"", b""), 1)),
    (checks.LACKS_TARGET, Put(RELATIONS, RELATION, 1)),
    (checks.UNREADABLE_ENTRY, Put(INBOX, INBOX_ENTRY, 1)),
    (checks.LACKS_MEMBER, Put(MEMBERSHIPS, MembershipRow(NOBODY, ELSEWHERE, 1), 1)),
    (checks.LACKS_HEAD, Put(MEMBERS, MemberRow(ELSEWHERE, NOBODY, 1), 1)),
]


@pytest.mark.parametrize(("kind", "write"), WRONG, ids=[kind for kind, _ in WRONG])
async def test_what_points_nowhere_is_found(store: RocksStore, kind: str, write: Write) -> None:
    await store.write([write])
    findings = await check(store, now_ms=NOW_MS)
    assert findings.counts == {kind: 1}
    assert len(findings.examples[kind]) == 1
    again = await check(store, repair=True, now_ms=NOW_MS)
    assert again.counts == {kind: 1}
    assert again.left == ({} if kind == checks.LACKS_MEMBER else {kind: 1})


async def test_device_lists_are_of_somebody_and_whole(store: RocksStore) -> None:
    alice = await store.get(HANDLES, ("alice",))
    assert alice is not None
    whole = Keyring(alice.user_id, Random(1)).sign().body
    for user_id, body in ((alice.user_id, whole), (NOBODY, whole), (UserId(98), b""), (UserId(97), b"x")):
        row = DeviceListRow(user_id, 1, body, b"", b"", {}, b"r")
        await store.compare_and_set(DEVICE_LISTS, None, row)
    findings = await check(store, now_ms=NOW_MS)
    assert findings.counts == {checks.LIST_OF_NOBODY: 2, checks.UNREADABLE_LIST: 2}


async def test_a_handle_in_use_by_nobody(store: RocksStore) -> None:
    alice = await store.get(HANDLES, ("alice",))
    assert alice is not None
    await store.compare_and_set(HANDLES, None, HandleRow("carol", NOBODY, b"r"))
    await store.compare_and_set(HANDLES, None, HandleRow("alicia", alice.user_id, b"r"))
    await store.compare_and_set(HANDLES, None, HandleRow("dave", NOBODY, b"r", released_at=1))
    findings = await check(store, now_ms=NOW_MS)
    assert findings.counts == {checks.LACKS_USER: 2}


async def test_memberships_are_written_anew_from_members(store: RocksStore) -> None:
    right = await memberships(store)
    assert len(right) == 2
    await store.write(
        [
            Erase(MEMBERSHIPS, (right[0].user_id,), TOP),
            Put(MEMBERSHIPS, MembershipRow(right[1].user_id, right[1].conversation_id, 9), 1 << 60),
            Put(MEMBERSHIPS, MembershipRow(NOBODY, ELSEWHERE, 1), 1),
        ]
    )
    found = await check(store, now_ms=NOW_MS)
    assert found.counts == {checks.LACKS_MEMBERSHIP: 2, checks.LACKS_MEMBER: 1}
    assert await memberships(store) != right
    repaired = await check(store, repair=True, now_ms=NOW_MS)
    assert repaired.repaired == found.counts
    assert repaired.left == {}
    after = await check(store, repair=True, now_ms=NOW_MS)
    assert after.counts == {}
    assert await memberships(store) == right


async def test_lists_of_groups_are_written_anew_from_rosters_and_subscribers(store: RocksStore) -> None:
    alice, bob = [row.user_id for row in await memberships(store)]
    head = GroupHead(2, 0, 3, alice, 0, 2, GroupRules(), cause=5)
    group, channel = ConversationId(b"g" * 16), ConversationId(b"c" * 16)
    members = [
        RosterRow(group, alice, joined_version=1),
        RosterRow(group, bob, joined_version=2, left_version=3),
    ]
    await store.compare_and_set(ROSTERS, None, RosterRow(group, HEAD_MEMBER, b"r", head=head), members)
    of_channel = msgspec.structs.replace(head, kind=3, fanout=2)
    await store.compare_and_set(ROSTERS, None, RosterRow(channel, HEAD_MEMBER, b"r", head=of_channel))
    left = MembershipRow(bob, group, 2, 2, 3)
    await store.write(
        [
            Put(SUBSCRIBERS, SubscriberRow(channel, share_of(bob), bob, 1), 1),
            Put(MEMBERSHIPS, left, 1),
            Put(MEMBERSHIPS, MembershipRow(bob, ConversationId(b"x" * 16), 2, 1), 1),
            Put(MEMBERSHIPS, MembershipRow(alice, channel, 3, 1), 1),
        ]
    )
    found = await check(store, now_ms=NOW_MS)
    assert found.counts == {checks.LACKS_MEMBERSHIP: 2, checks.LACKS_MEMBER: 2}
    repaired = await check(store, repair=True, now_ms=NOW_MS)
    assert repaired.left == {}
    assert (await check(store, now_ms=NOW_MS)).counts == {}
    lists = await memberships(store)
    assert {(row.user_id, row.conversation_id) for row in lists if row.kind != 1} == {
        (alice, group),
        (bob, group),
        (bob, channel),
    }
    assert left in lists


async def test_who_has_left_or_has_gone_for_ever_needs_no_membership(store: RocksStore) -> None:
    for row in await memberships(store):
        await store.write([Erase(MEMBERSHIPS, (row.user_id,), TOP)])
    alice, bob = [row for row in await store.scan(MEMBERS, limit=9) if row.user_id != HEAD_MEMBER]
    await store.write([Put(MEMBERS, MemberRow(alice.conversation_id, alice.user_id, 1, left_version=2), TOP)])
    assert (await check(store, now_ms=NOW_MS)).counts == {checks.LACKS_MEMBERSHIP: 1}
    await store.write([Erase(USERS, (bob.user_id,), TOP), Erase(DEVICES, (bob.user_id,), TOP)])
    found = (await check(store, now_ms=NOW_MS)).counts
    assert checks.LACKS_MEMBERSHIP not in found


async def test_examples_are_few_and_counts_are_whole(store: RocksStore) -> None:
    await store.write([Raise(CURSORS, CursorRow(DeviceId(at), EntryId(1))) for at in range(1, 51)])
    findings = await check(store, now_ms=NOW_MS)
    assert findings.counts == {checks.CURSOR_OF_NOBODY: 50}
    assert len(findings.examples[checks.CURSOR_OF_NOBODY]) == checks.EXAMPLES_MAX


async def test_rows_that_cannot_be_read_are_counted_and_what_needs_them_is_not_compared(
    store: RocksStore, tmp_path: Path
) -> None:
    await store.close()
    raw = Rdict(str(tmp_path / "store"), Options(raw_mode=True))
    members = raw.get_column_family("members")
    good = next(iter(members.values()))
    members[b"short"] = b"12345678\xc1"
    members[b"empty"] = b""
    members[b"another key"] = good
    members.close()
    raw.close()
    store = RocksStore.open(tmp_path / "store", min_free_bytes=0)
    findings = await check(store, repair=True, now_ms=NOW_MS)
    assert findings.counts == {"members: a row that cannot be read": 3, checks.UNCHECKED: 1}
    assert findings.rows["members"] == 6
    assert findings.left.total() == 4
    await store.close()
