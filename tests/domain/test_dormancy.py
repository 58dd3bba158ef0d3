"""Members who were not seen for long: their inboxes get nothing until they are back."""

from tidings.protocol.frames import (
    ChangeGroup,
    Conversation,
    CreateGroup,
    Deliver,
    GroupAction,
    History,
    InboxExpired,
    Ok,
    Page,
    Sent,
)
from tidings.protocol.ids import ClientId, ConversationId, UserId
from tidings.protocol.limits import Limits
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import INBOX
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
