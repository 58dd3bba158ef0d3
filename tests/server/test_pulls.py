"""Large groups and channels: read from the log for each device, live to those who are there."""

import asyncio
import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from tidings.domain.fanout import Fanout
from tidings.domain.rosters import Roster, Rosters
from tidings.protocol import frames, ids
from tidings.protocol.frames import (
    CHANGE_TYPE,
    ChangeGroup,
    Conversation,
    CreateGroup,
    Deliver,
    Error,
    GroupAction,
    GroupChange,
    Join,
    Joined,
    Ok,
    Sent,
    Tallies,
)
from tidings.protocol.ids import ClientId, ConversationId, UserId
from tidings.protocol.limits import Limits
from tidings.server.pulls import Pulls
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import INBOX, MEMBERSHIPS, PULL_CURSORS, MembershipRow
from tidings.testing.world import Device, World

CODE = b"an invite code"
LIMITS = Limits(
    receipt_delay_s=0.0,
    tally_delay_s=0.0,
    tally_delay_most_s=0.0,
    fanout_write_members=3,
    fanout_write_again=2,
    fanout_both_s=0.0,
    window_entries=8,
)


class Scene:
    """People on a node, whose store can be looked into."""

    def __init__(self, world: World, store: MemoryStore, people: list[Device]) -> None:
        self.world = world
        self.store = store
        self.people = people

    @classmethod
    async def of(cls, count: int, limits: Limits = LIMITS) -> "Scene":
        store = MemoryStore(Tables())
        world = await World.start(store, limits=limits)
        accounts = [await world.register(f"user{number}") for number in range(count)]
        return cls(world, store, [await world.online(account) for account in accounts])

    async def fanout(self, group: ConversationId, goal: Fanout) -> None:
        """Wait until the group goes that way."""
        async with asyncio.timeout(5):
            while True:
                found = await self.world.services.conversations.find(group)
                assert found is not None
                if found.fanout == goal:
                    return
                await asyncio.sleep(0)

    async def copies(self, text: str) -> int:
        """In how many inboxes a message stands."""
        rows = await self.store.scan(INBOX, limit=10_000)
        return sum(text.encode() in row.payload for row in rows)


def user(device: Device) -> UserId:
    return UserId(int(device.account.user_id))


async def group_of(maker: Device, others: Iterable[Device], **options: object) -> ConversationId:
    users = [user(other) for other in others]
    values: dict[str, object] = {"nonce": ClientId(b"n" * 16), "users": users, **options}
    made = await maker.ask(lambda n: CreateGroup(n, **values), Conversation)  # type: ignore[arg-type]
    return made.conversation_id


async def change(device: Device, group: ConversationId, action: GroupAction, **fields: object) -> None:
    await device.ask(lambda n: ChangeGroup(n, group, action, **fields), Ok)  # type: ignore[arg-type]


async def version(device: Device, group: ConversationId) -> int:
    return (await device.ask(lambda n: frames.Describe(n, group), Conversation)).version


async def say(device: Device, group: ConversationId, text: str) -> Sent:
    device.send(group, text, version=await version(device, group))
    return await device.expect(Sent)


async def has(device: Device, text: str) -> Deliver:
    return await device.expect(Deliver, lambda one: one.message.content == text.encode())


async def has_change(device: Device, action: GroupAction) -> None:
    await device.expect(
        Deliver,
        lambda one: (
            one.message.content_type == CHANGE_TYPE
            and msgspec.msgpack.decode(one.message.content, type=GroupChange).action == action
        ),
    )


async def texts(device: Device) -> list[str]:
    """What came and was not looked at yet, without what the server wrote."""
    left = [frame for frame in await device.settle() if isinstance(frame, Deliver)]
    return [one.message.content.decode() for one in left if one.message.content_type != CHANGE_TYPE]


async def read_so_far(scene: Scene) -> ConversationId:
    """A group of all of them, stored once, of which the second has read all."""
    alice, bob, *others = scene.people
    group = await group_of(alice, [bob, *others])
    await scene.fanout(group, Fanout.READ)
    await bob.settle()
    bob.ack()
    return group


async def test_a_message_of_a_large_group_is_written_once_and_comes_to_all() -> None:
    scene = await Scene.of(5)
    alice, *others = scene.people
    group = await group_of(alice, others)
    await scene.fanout(group, Fanout.READ)
    await say(alice, group, "to all of you")
    for other in others:
        came = await has(other, "to all of you")
        assert came.entry_id == 0
        other.ack()
    assert await scene.copies("to all of you") == 0
    await alice.expect(Tallies, lambda told: told.items[0].delivered == 4)


async def test_who_was_away_reads_on_from_where_they_were() -> None:
    scene = await Scene.of(5)
    alice, bob, *others = scene.people
    group = await group_of(alice, [bob, *others])
    await scene.fanout(group, Fanout.READ)
    await say(alice, group, "one")
    await has(bob, "one")
    bob.ack()
    await bob.settle()
    bob.drop()
    for text in ("two", "three"):
        await say(alice, group, text)
    again = await scene.world.online(bob.account)
    assert await texts(again) == ["two", "three"]
    again.drop()
    once_more = await scene.world.online(bob.account)
    assert await texts(once_more) == ["two", "three"]  # they were not acknowledged
    once_more.ack()
    await once_more.settle()
    assert await texts(await scene.world.online(bob.account)) == []


async def test_a_device_that_reads_slowly_gets_all_in_order() -> None:
    scene = await Scene.of(5)
    alice, bob, *_ = scene.people
    group = await read_so_far(scene)
    said = [f"{number}" for number in range(40)]
    for text in said:
        await say(alice, group, text)
    came: list[str] = []
    while len(came) < len(said):
        new = await texts(bob)
        assert 0 < len(new) <= LIMITS.window_entries
        came += new
        bob.ack()
    assert came == said


@contextmanager
def left_open() -> Iterator[list[object]]:
    """The asynchronous generators that are begun meanwhile, and that the garbage collector has to close."""
    before, found = sys.get_asyncgen_hooks(), []
    sys.set_asyncgen_hooks(finalizer=found.append)
    yield found
    sys.set_asyncgen_hooks(*before)


async def test_a_log_that_is_not_read_to_its_end_is_closed_at_once() -> None:
    scene = await Scene.of(5)
    alice, bob, *_ = scene.people
    group = await read_so_far(scene)
    with left_open() as found:
        for number in range(LIMITS.window_entries + 1):
            await say(alice, group, f"{number}")
        assert len(await texts(bob)) < LIMITS.window_entries + 1
        bob.ack()
        await has(bob, f"{LIMITS.window_entries}")
        assert (await bob.ask(lambda n: frames.History(n, group, limit=1), frames.Page)).more
        await bob.ask(frames.Conversations, frames.ConversationList)
    assert found == []


async def test_a_group_that_grows_and_shrinks_loses_and_repeats_nothing() -> None:
    scene = await Scene.of(6, msgspec.structs.replace(LIMITS, window_entries=256))
    alice, bob, carol, dave, erin, frank = scene.people
    group = await group_of(alice, [bob, carol])
    said: list[str] = []

    async def goes_on(text: str) -> None:
        said.append(text)
        await say(alice, group, text)

    await goes_on("small")
    dave_and_erin = [user(dave), user(erin)]
    bob.drop()
    await change(alice, group, GroupAction.ADD, users=dave_and_erin)
    await goes_on("growing")
    await scene.fanout(group, Fanout.READ)
    await goes_on("large")
    await change(alice, group, GroupAction.REMOVE, users=dave_and_erin)
    await change(alice, group, GroupAction.REMOVE, users=[user(carol)])
    await goes_on("shrinking")
    await scene.fanout(group, Fanout.WRITE)
    await goes_on("small again")
    bob = await scene.world.online(bob.account)
    came = await texts(bob)
    assert list(dict.fromkeys(sorted(came, key=said.index))) == said
    assert list(dict.fromkeys(await texts(carol))) == ["small", "growing", "large"]
    await change(alice, group, GroupAction.ADD, users=[user(frank), *dave_and_erin])
    await scene.fanout(group, Fanout.READ)
    await goes_on("large again")
    await has(bob, "large again")
    await has(frank, "large again")


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_group_that_is_large_once_more_does_not_repeat_what_was_copied(is_there: bool) -> None:
    scene = await Scene.of(5, msgspec.structs.replace(LIMITS, window_entries=256))
    alice, bob, carol, dave, erin = scene.people
    some = [user(carol), user(dave), user(erin)]
    group = await group_of(alice, [bob], rules=frames.GroupRules(add=frames.GroupRole.MEMBER))

    async def becomes(fanout: Fanout) -> None:
        action = GroupAction.REMOVE if fanout == Fanout.WRITE else GroupAction.ADD
        await change(alice, group, action, users=some)
        await scene.fanout(group, fanout)

    async def stored(text: str) -> None:
        await say(bob, group, text)
        await has(alice, text)
        alice.ack()
        await alice.settle()

    await becomes(Fanout.READ)
    await stored("large")
    await say(alice, group, "by themselves")
    await becomes(Fanout.WRITE)
    await stored("copied")
    await change(bob, group, GroupAction.ADD, users=some)
    if not is_there:
        alice.drop()
    await scene.fanout(group, Fanout.READ)
    await say(bob, group, "large again")
    if not is_there:
        alice = await scene.world.online(alice.account)
    assert await texts(alice) == ["large again"]
    alice.ack()
    await becomes(Fanout.WRITE)
    await stored("copied again")
    await becomes(Fanout.READ)
    await say(bob, group, "large for the third time")
    assert await texts(alice) == ["large for the third time"]


async def test_who_is_removed_gets_what_was_said_before_and_nothing_after() -> None:
    scene = await Scene.of(6)
    alice, bob, carol, *others = scene.people
    group = await group_of(alice, [bob, carol, *others])
    await scene.fanout(group, Fanout.READ)
    await bob.settle()
    bob.drop()
    await say(alice, group, "before")
    await change(alice, group, GroupAction.REMOVE, users=[user(bob), user(carol)])
    await say(alice, group, "after")
    assert await texts(carol) == ["before"]
    away = await scene.world.online(bob.account)
    assert await texts(away) == ["before"]
    away.ack()
    await away.settle()
    assert await texts(await scene.world.online(bob.account)) == []


async def test_who_comes_back_and_goes_before_their_session_looks_gets_what_was_said_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await Scene.of(5)
    alice, *_, dave = scene.people
    group = await group_of(alice, scene.people[1:])
    await scene.fanout(group, Fanout.READ)
    await change(alice, group, GroupAction.REMOVE, users=[user(dave)])
    await say(alice, group, "without him")
    assert await texts(dave) == []
    dave.ack()
    await dave.settle()
    look = asyncio.Event()
    membership = Pulls._membership

    async def held_up(self: Pulls, conversation_id: ConversationId) -> MembershipRow | None:
        if self._user == user(dave):
            await look.wait()
        return await membership(self, conversation_id)

    monkeypatch.setattr(Pulls, "_membership", held_up)
    await change(alice, group, GroupAction.ADD, users=[user(dave)])
    await say(alice, group, "with him")
    await change(alice, group, GroupAction.REMOVE, users=[user(dave)])
    await say(alice, group, "without him again")
    look.set()
    await has(dave, "with him")
    assert await texts(dave) == []


async def test_who_joins_a_large_group_hears_it_from_then_on() -> None:
    scene = await Scene.of(6)
    alice, *others, frank = scene.people
    group = await group_of(alice, others)
    await scene.fanout(group, Fanout.READ)
    await say(alice, group, "before")
    await change(alice, group, GroupAction.ADD, users=[user(frank)])
    await say(alice, group, "welcome")
    await has(frank, "welcome")
    frank.drop()
    again = await scene.world.online(frank.account)
    assert await texts(again) == ["welcome"]


async def test_a_new_device_begins_with_what_comes_after_it() -> None:
    scene = await Scene.of(5)
    alice, bob, *others = scene.people
    group = await group_of(alice, [bob, *others])
    await scene.fanout(group, Fanout.READ)
    await say(alice, group, "before")
    scene.world.clock.advance(1)
    second = await scene.world.online(await scene.world.login("user1"))
    await say(alice, group, "after")
    assert (await has(second, "after")).entry_id == 0
    assert await texts(second) == []
    page = await second.ask(lambda n: frames.History(n, group), frames.Page)
    assert b"before" in [item.message.content for item in page.items]


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_channel_comes_to_its_members(*, is_away: bool) -> None:
    scene = await Scene.of(3)
    alice, bob, carol = scene.people
    channel = await group_of(alice, [bob], kind=3)
    await bob.settle()
    if is_away:
        bob.drop()
    await say(alice, channel, "the first")
    until = scene.world.clock.wall_ms() + 60_000
    await change(alice, channel, GroupAction.LINK, link=hashlib.sha256(CODE).digest(), until=until)
    scene.world.clock.advance(2)
    await carol.ask(lambda n: Join(n, CODE), Joined)
    await say(alice, channel, "the second")
    await has(carol, "the second")
    assert "the first" not in await texts(carol)
    if is_away:
        bob = await scene.world.online(bob.account)
    assert await texts(bob) == ["the first", "the second"]
    assert await scene.copies("the second") == 0
    page = await carol.ask(lambda n: frames.History(n, channel), frames.Page)
    assert [item.message.content for item in page.items if item.message.sender_device] == [b"the second"]


async def test_who_is_removed_from_a_channel_or_leaves_it_hears_nothing_more() -> None:
    scene = await Scene.of(4)
    alice, bob, carol, dave = scene.people
    channel = await group_of(alice, [bob, carol, dave], kind=3)
    await say(alice, channel, "hello")
    for device in (bob, carol, dave):
        await has(device, "hello")
        device.ack()
    await change(alice, channel, GroupAction.REMOVE, users=[user(bob)])
    await change(carol, channel, GroupAction.LEAVE)
    await say(alice, channel, "still there?")
    await has(dave, "still there?")
    for device in (bob, carol):
        assert await texts(device) == []
        again = await scene.world.online(device.account)
        assert await texts(again) == []
        gone = await again.ask(lambda n: frames.History(n, channel), Error)
        assert gone.code == 9


async def test_what_was_read_of_a_group_before_it_crossed_a_threshold_does_not_take_it_back() -> None:
    scene = await Scene.of(5)
    alice, *others = scene.people
    group = await group_of(alice, others[:2])
    small = await Rosters(scene.store).read(group)
    assert small is not None
    await change(alice, group, GroupAction.ADD, users=[user(others[2])])
    await scene.fanout(group, Fanout.READ)
    large = await Rosters(scene.store).read(group)
    assert large is not None
    before = msgspec.structs.replace(large.head, fanout=Fanout.WRITE, cause=small.head.cause)
    conversations = scene.world.services.conversations
    row = msgspec.structs.replace(small.row, head=before)
    known = await conversations.changed(large._replace(row=row, head=before))
    assert known.fanout == Fanout.READ


async def test_a_group_that_grows_while_a_crossing_looks_for_the_last_time_crosses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await Scene.of(5)
    alice, *others = scene.people
    group = await group_of(alice, [others[0]])
    read, held, released = Rosters.read, asyncio.Event(), asyncio.Event()

    async def slowly(self: Rosters, conversation_id: ConversationId) -> Roster | None:
        found = await read(self, conversation_id)
        held.set()
        await released.wait()
        return found

    crossings = scene.world.services.groups._crossings
    crossings._crossing[group] = asyncio.ensure_future(crossings._cross(group))
    with monkeypatch.context() as patched:
        patched.setattr(Rosters, "read", slowly)
        await held.wait()
    await change(alice, group, GroupAction.ADD, users=[user(other) for other in others[1:]])
    released.set()
    await scene.fanout(group, Fanout.READ)


async def test_a_group_that_becomes_large_while_it_is_looked_at_is_looked_at_again() -> None:
    scene = await Scene.of(5)
    alice, bob, carol, *others = scene.people
    group = await group_of(alice, [bob, carol])
    await has_change(bob, GroupAction.CREATE)
    await bob.settle()
    is_read, goes_on = asyncio.Event(), asyncio.Event()

    async def slowly(table: Any, key: Any, get: Any = scene.store.get, **options: Any) -> Any:
        row = await get(table, key, **options)
        if table is MEMBERSHIPS and key[0] == user(bob) and not is_read.is_set():
            is_read.set()
            await goes_on.wait()
        return row

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.store, "get", slowly)
        await change(alice, group, GroupAction.INFO, info=b"a name")
        await is_read.wait()
        await change(alice, group, GroupAction.ADD, users=[user(other) for other in others])
        await scene.fanout(group, Fanout.READ)
        goes_on.set()
        await say(alice, group, "to all of you")
        await has(bob, "to all of you")


async def test_cursors_go_with_what_is_acknowledged() -> None:
    scene = await Scene.of(5)
    alice, bob, *_ = scene.people
    group = await read_so_far(scene)
    first = await say(alice, group, "one")
    await say(alice, group, "two")
    await has(bob, "two")
    delivered = bob._delivered
    bob.say(frames.Ack(delivered - 1))
    await bob.settle()
    device = int(bob.account.device_id)
    row = await scene.store.get(PULL_CURSORS, (device, group))
    assert row is not None
    assert first.message_id <= row.up_to < ids.SNOWFLAKE_MAX
    again = await scene.world.online(bob.account)
    assert await texts(again) == ["two"]


def test_the_limits_are_those_of_the_design() -> None:
    limits = Limits()
    assert (limits.fanout_write_members, limits.fanout_write_again) == (256, 200)
    assert (limits.fanout_read_members, limits.group_members) == (10_000, 1024)
    assert msgspec.structs.asdict(limits)["fanout_both_s"] >= 30
