"""Members who were not seen for long: their inboxes get nothing until they are back."""

from typing import Any

import pytest

from tidings.protocol.errors import UNAUTHENTICATED
from tidings.protocol.frames import (
    ChangeGroup,
    Conversation,
    CreateGroup,
    Deliver,
    Drained,
    Error,
    GroupAction,
    History,
    InboxExpired,
    Ok,
    Page,
    Sent,
    Sync,
    Synced,
)
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Batch, Raise, StoreUnavailable, singly
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import INBOX, SEEN
from tidings.testing.world import Device, World

DAY_S = 86_400
LIMITS = Limits(receipt_delay_s=0.0, dormant_s=30 * DAY_S)


def user(device: Device) -> UserId:
    return UserId(int(device.account.user_id))


async def scene() -> tuple[World, MemoryStore, Device, Device, ConversationId]:
    """Alice, and Bob who goes away for long."""
    store = MemoryStore(Tables())
    world = await World.start(store, limits=LIMITS)
    alice, bob = [await world.online(await world.register(name)) for name in ("alice", "bob")]
    made = await alice.ask(lambda n: CreateGroup(n, ClientId(b"n" * 16), users=[user(bob)]), Conversation)
    await bob.expect(Deliver)
    bob.ack()
    await bob.settle()
    bob.drop()
    return world, store, alice, bob, made.conversation_id


async def say(device: Device, group: ConversationId, text: str) -> Sent:
    device.send(group, text)
    return await device.expect(Sent)


async def months_pass(world: World, alice: Device) -> Device:
    """Alice is seen now and then; Bob is not."""
    for _ in range(4):
        alice.drop()
        world.clock.advance(10 * DAY_S)
        alice = await world.online(alice.account)
        alice.ack()
        await alice.settle()
    return alice


async def entries(store: MemoryStore, of: Device) -> int:
    rows = await store.scan(INBOX, limit=10_000)
    return sum(row.user_id == user(of) for row in rows)


async def test_who_was_not_seen_for_long_gets_no_copies_and_all_again_once_back() -> None:
    world, store, alice, bob, group = await scene()
    alice = await months_pass(world, alice)
    assert await world.services.dormancy.sweep() == 1
    before = await entries(store, bob)
    for text in ("one", "two"):
        await say(alice, group, text)
    assert await entries(store, bob) == before
    back = world.connect(bob.account)
    back.hello()
    expired = await back.expect(InboxExpired)
    assert expired.until > expired.since
    page = await back.ask(lambda n: History(n, group), Page)
    assert [item.message.content for item in page.items if item.message.sender_device] == [b"one", b"two"]
    await say(alice, group, "three")
    await back.expect(Deliver, lambda one: one.message.content == b"three")
    assert await entries(store, bob) == before + 1


async def test_who_comes_back_with_another_device_is_awake_too() -> None:
    world, _, alice, _, group = await scene()
    alice = await months_pass(world, alice)
    assert await world.services.dormancy.sweep() == 1
    second = await world.online(await world.login("bob"))
    await say(alice, group, "welcome back")
    await second.expect(Deliver, lambda one: one.message.content == b"welcome back")


async def test_who_is_seen_is_awake_and_a_group_is_looked_at_once_a_day() -> None:
    world, store, alice, bob, group = await scene()
    assert await world.services.dormancy.sweep() == 0
    bob = await world.online(bob.account)
    alice = await months_pass(world, alice)
    bob.drop()
    bob = await world.online(bob.account)
    assert await world.services.dormancy.sweep() == 0
    before = await entries(store, bob)
    await say(alice, group, "hello")
    assert await entries(store, bob) == before + 1


async def test_a_dormant_member_is_told_of_changes_all_the_same() -> None:
    world, store, alice, bob, group = await scene()
    alice = await months_pass(world, alice)
    await world.services.dormancy.sweep()
    before = await entries(store, bob)
    await alice.ask(lambda n: ChangeGroup(n, group, GroupAction.INFO, info=b"Family"), Ok)
    assert await entries(store, bob) == before + 1


async def fall_asleep() -> tuple[World, MemoryStore, Device, list[Device], ConversationId]:
    """Alice, and Bob's two devices, which were both away for long; one message came meanwhile."""
    world, store, alice, bob, group = await scene()
    second = await world.online(await world.login("bob"))
    await second.settle()
    second.drop()
    alice = await months_pass(world, alice)
    assert await world.services.dormancy.sweep() == 1
    await say(alice, group, "meanwhile")
    return world, store, alice, [bob, second], group


async def says_expired(device: Device) -> bool:
    """Connect; whether the device is told that its inbox is not complete. It says nothing more."""
    device.hello()
    await device.expect(Drained)
    return any(isinstance(frame, InboxExpired) for frame in device.seen)


async def test_each_device_of_who_slept_is_told_however_late_it_comes() -> None:
    world, _, _, devices, _ = await fall_asleep()
    for device in devices:
        assert await says_expired(world.connect(device.account))


async def test_a_device_that_was_cut_off_before_it_noted_what_it_lacks_is_told_again() -> None:
    world, _, _, (bob, _), _ = await fall_asleep()
    for _ in range(2):
        back = world.connect(bob.account)
        assert await says_expired(back)
        back.drop()
    back = world.connect(bob.account)
    assert await says_expired(back)
    await back.ask(lambda n: Sync(n, 0), Synced)
    await back.settle()
    back.drop()
    assert not await says_expired(world.connect(bob.account))


async def test_a_node_that_dies_while_it_wakes_somebody_leaves_that_to_the_next() -> None:
    world, store, alice, (bob, _), group = await fall_asleep()
    write = store.write
    woken = 0

    async def dies(batch: Batch) -> None:
        nonlocal woken
        if any(isinstance(one, Raise) and getattr(one.row, "woken", 0) for one in singly(batch)):
            woken += 1
            if woken == 1:
                raise StoreUnavailable("the node is gone")
        await write(batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write", dies)
        back = world.connect(bob.account)
        back.hello()
        await back.expect(Error)
        assert await says_expired(world.connect(bob.account))
    before = await entries(store, bob)
    await say(alice, group, "again")
    assert await entries(store, bob) == before + 1


async def test_who_was_removed_while_they_slept_is_told_too() -> None:
    world, _, alice, (bob, _), group = await fall_asleep()
    await alice.ask(lambda n: ChangeGroup(n, group, GroupAction.REMOVE, users=[user(bob)]), Ok)
    assert await says_expired(world.connect(bob.account))


async def test_a_profile_from_before_is_told_although_its_device_knew() -> None:
    world, _, _, (bob, _), _ = await fall_asleep()
    have = await world.services.inboxes.cursor(DeviceId(int(bob.account.device_id)))
    back = world.connect(bob.account)
    assert await says_expired(back)
    await back.ask(lambda n: Sync(n, 0), Synced)
    await back.settle()
    back.drop()
    old = world.connect(bob.account)
    old.hello(have=have)
    await old.expect(InboxExpired)


async def test_who_comes_back_while_they_are_put_to_sleep_is_awake() -> None:
    """At each moment of a sweep in turn: as it reads who was seen, or writes, a device connects."""
    for moment in range(6):
        world, store, alice, bob, group = await scene()
        alice = await months_pass(world, alice)
        back = world.connect(bob.account)
        steps = 0

        async def meanwhile(back: Device = back, moment: int = moment) -> None:
            nonlocal steps
            steps += 1
            if steps == moment + 1:
                back.hello()
                await back.expect(Drained)

        async def reading(table: Any, *names: Any, read: Any = store.range, **options: Any) -> Any:
            if table is SEEN:
                await meanwhile()
            return await read(table, *names, **options)

        async def setting(*rows: Any, write: Any = store.compare_and_set) -> Any:
            await meanwhile()
            return await write(*rows)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "range", reading)
            patch.setattr(store, "compare_and_set", setting)
            await world.services.dormancy.sweep()
        if steps <= moment:
            assert moment >= 4
            break
        await say(alice, group, "welcome")
        await back.expect(Deliver, lambda one: one.message.content == b"welcome")


async def test_who_comes_back_stays_awake_though_the_device_that_was_seen_is_signed_out() -> None:
    world, _, alice, bob, group = await scene()
    tablet = await world.online(await world.login("bob"))
    for _ in range(4):
        for device in (alice, tablet):
            device.drop()
        world.clock.advance(10 * DAY_S)
        alice, tablet = [await world.online(one.account) for one in (alice, tablet)]
        for device in (alice, tablet):
            device.ack()
            await device.settle()
    # While it connects: it is noted as seen once it is told that it is welcome.
    await world.services.dormancy.came_back(*bob.account.ids(), EntryId(1))
    await world.services.account_rules.devices.revoke(*tablet.account.ids())
    assert await world.services.dormancy.sweep() == 0
    back = await world.online(bob.account)
    await say(alice, group, "welcome")
    await back.expect(Deliver, lambda one: one.message.content == b"welcome")


async def test_who_is_signed_out_while_their_groups_are_told_that_they_are_back_is_not_welcome() -> None:
    world, _, _, bob, _ = await scene()
    dormancy, devices = world.services.dormancy, world.services.account_rules.devices
    came_back = dormancy.came_back

    async def slowly(*names: Any) -> Any:
        complete = await came_back(*names)
        await devices.revoke(*bob.account.ids())
        return complete

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dormancy, "came_back", slowly)
        back = world.connect(bob.account)
        back.hello()
        assert (await back.expect(Error)).code == UNAUTHENTICATED.code
