"""Watch and Typing, from device to device."""

import pytest

from tidings.domain.presence import FLAP_S
from tidings.protocol import frames
from tidings.protocol.errors import NO_SUCH_CONVERSATION, TOO_LARGE
from tidings.protocol.frames import SettingKind
from tidings.protocol.ids import ConversationId, UserId
from tidings.testing.world import Device, World


def user_of(device: Device) -> UserId:
    return device.account.ids()[0]


async def watch(device: Device, *users: UserId) -> list[frames.Presence]:
    answer = await device.ask(lambda number: frames.Watch(number, list(users)), frames.Presences)
    return answer.items


async def set_(device: Device, kind: SettingKind, key: str, value: bytes) -> None:
    await device.ask(lambda number: frames.Set(number, kind, key, value), frames.Ok)


async def test_bob_sees_alice_come_and_go() -> None:
    world = await World.start()
    account = await world.register("alice")
    bob = await world.online(await world.register("bob"))
    alice_id = account.ids()[0]
    assert await watch(bob, alice_id) == [frames.Presence(alice_id, False, None)]
    alice = await world.online(account)
    assert (await bob.expect(frames.Presence)).online
    alice.drop()
    await world.services.commit.barrier()
    went_ms = world.clock.wall_ms()
    world.clock.advance(FLAP_S)
    world.services.presence.sweep()
    gone = await bob.expect(frames.Presence)
    assert (gone.online, gone.last_seen_ms) == (False, went_ms)
    assert world.complaints == []


async def test_a_block_hides_at_once_and_for_who_comes_later() -> None:
    world = await World.start()
    alice, bob = [await world.online(await world.register(handle)) for handle in ("alice", "bob")]
    alice_id, bob_id = user_of(alice), user_of(bob)
    assert (await watch(bob, alice_id))[0].online
    await set_(alice, SettingKind.BLOCK, str(bob_id), b"1")
    assert await bob.expect(frames.Presence) == frames.Presence(alice_id, False, None)
    assert await watch(bob, alice_id) == [frames.Presence(alice_id, False, None)]
    await set_(alice, SettingKind.BLOCK, str(bob_id), b"")
    assert (await bob.expect(frames.Presence)).online


async def test_who_shows_last_seen_to_contacts_shows_it_to_contacts() -> None:
    world = await World.start()
    alice, bob, carol = [await world.online(await world.register(name)) for name in ("alice", "bob", "carol")]
    await set_(alice, SettingKind.CONTACT, str(user_of(bob)), b"-")
    await set_(alice, SettingKind.PRIVACY, "last_seen", b"contacts")
    assert (await watch(bob, user_of(alice)))[0].online
    assert await watch(carol, user_of(alice)) == [frames.Presence(user_of(alice), False, None)]


async def test_too_many_watched_are_refused() -> None:
    world = await World.start()
    bob = await world.online(await world.register("bob"))
    users = [UserId(number) for number in range(1, 102)]
    refused = await bob.ask(lambda number: frames.Watch(number, users), frames.Error)
    assert refused.code == TOO_LARGE.code
    assert len(await watch(bob, *users[:100])) == 100


async def test_typing_reaches_the_other_and_nobody_else() -> None:
    world = await World.start()
    accounts = [await world.register(handle) for handle in ("alice", "bob")]
    alice, bob = [await world.online(account) for account in accounts]
    laptop, side = (
        await world.online(await world.login("alice")),
        await world.online(accounts[1], receive=False),
    )
    conversation = await alice.open("bob")
    for _ in range(10):
        alice.say(frames.Typing(conversation))
    alice.say(frames.Typing(conversation, active=False))
    typed = [await bob.expect(frames.Typed), await bob.expect(frames.Typed)]
    assert typed == [frames.Typed(conversation, user_of(alice), active) for active in (True, False)]
    for device in (alice, laptop, side, bob):
        assert not any(isinstance(frame, frames.Typed) for frame in await device.settle())


async def test_typing_is_silent_where_one_blocks_the_other() -> None:
    world = await World.start()
    alice, bob = [await world.online(await world.register(handle)) for handle in ("alice", "bob")]
    conversation = await alice.open("bob")
    await set_(bob, SettingKind.BLOCK, str(user_of(alice)), b"1")
    alice.say(frames.Typing(conversation))
    bob.say(frames.Typing(conversation))
    for device in (alice, bob):
        assert not any(isinstance(frame, frames.Typed) for frame in await device.settle())


async def test_typing_to_somebody_who_has_not_let_them_in_is_silent() -> None:
    world = await World.start(strangers="request")
    alice, bob = [await world.online(await world.register(handle)) for handle in ("alice", "bob")]
    conversation = await alice.open("bob")
    alice.say(frames.Typing(conversation))
    bob.say(frames.Typing(conversation))
    for device in (alice, bob):
        assert not any(isinstance(frame, frames.Typed) for frame in await device.settle())


@pytest.mark.parametrize("known", [True, False])
async def test_strangers_cannot_type_into_a_conversation(known: bool) -> None:
    world = await World.start()
    alice, bob, carol = [await world.online(await world.register(name)) for name in ("alice", "bob", "carol")]
    conversation = await alice.open("bob") if known else ConversationId(b"x" * 16)
    carol.say(frames.Typing(conversation))
    assert (await carol.expect(frames.Error)).code == NO_SUCH_CONVERSATION.code
    assert not any(isinstance(frame, frames.Typed) for frame in await bob.settle())


async def test_typing_too_fast_is_told_when_to_go_on() -> None:
    world = await World.start()
    alice = await world.online(await world.register("alice"))
    await world.register("bob")
    conversation = await alice.open("bob")
    for _ in range(world.services.limits.typing_rate.burst + 1):
        alice.say(frames.Typing(conversation))
    assert (await alice.expect(frames.Error)).retry_after is not None
