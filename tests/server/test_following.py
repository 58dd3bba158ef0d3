"""Large groups and channels on several nodes: what one takes is told by another one."""

import asyncio
from typing import Any

import pytest

from server.test_hard_nodes import Nodes, cluster, nodes, turns
from server.test_pulls import LIMITS, change, group_of, has, say, texts, user
from tidings.bus.memory import MemoryBus
from tidings.domain.peers import MARGIN_S, TRUST_S
from tidings.protocol.frames import ChangeGroup, ConversationKind, Drained, Error, GroupAction
from tidings.protocol.ids import ConversationId
from tidings.protocol.limits import Limits
from tidings.store.contract import Key, StoreUnavailable, Table
from tidings.store.schema import HEADS, MEMBERSHIPS, ROSTERS
from tidings.testing.clock import FakeClock
from tidings.testing.torn import Torn
from tidings.testing.world import Device, World

__all__ = ["nodes"]
BEHIND_MS = 300
BEATS = 2
"""until what a publisher counted must have come"""


async def apart(nodes: Nodes) -> tuple[World, World, Device, Device, ConversationId]:
    """Two nodes; alice on the one and bob on the other are in a channel, and he has heard her."""
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await other.register("bob"))
    channel = await group_of(alice, [bob], kind=ConversationKind.CHANNEL)
    await say(alice, channel, "heard")
    await has(bob, "heard")
    return one, other, alice, bob, channel


async def test_a_new_device_gets_what_is_taken_after_it_was_made_by_a_clock_that_is_behind(
    nodes: Nodes,
) -> None:
    one = await nodes.start()
    other = await nodes.start(FakeClock(nodes.clock.wall_ms() - BEHIND_MS))
    alice = await other.online(await other.register("alice"))
    bob = await one.online(await one.register("bob"))
    channel = await group_of(alice, [bob], kind=ConversationKind.CHANNEL)
    sent = await say(alice, channel, "news")
    assert sent.message_id < int(bob.account.device_id)
    await has(bob, "news")


async def test_a_publication_that_was_lost_is_looked_for_with_the_next_beats(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, alice, bob, channel = await apart(nodes)
    following, loop = other.services.following, other.services.loop
    following.sweep(loop.time() + 60.0)
    await turns()
    with monkeypatch.context() as lossy:
        publish = MemoryBus.publish

        def loses(bus: MemoryBus, topic: str, data: bytes) -> None:
            if not topic.startswith("conversation:"):
                publish(bus, topic, data)

        lossy.setattr(MemoryBus, "publish", loses)
        await say(alice, channel, "lost on the way")
    for _ in range(BEATS):
        cluster(one).bus.beat()
        await turns()
    following.sweep(loop.time())
    await has(bob, "lost on the way")


async def test_what_could_not_be_read_when_a_session_began_leaves_nothing_on_the_bus_after_it(
    nodes: Nodes,
) -> None:
    limits = Limits(receipt_delay_s=0.0, store_retry_s=0.0)
    one, other = await nodes.start(limits=limits), await nodes.start(limits=limits)
    alice = await one.online(await one.register("alice"))
    account = await other.register("bob")
    bob = await other.online(account)
    await group_of(alice, [bob], kind=ConversationKind.CHANNEL)
    await turns()
    for device in (alice, bob):
        device.drop()
    await turns()
    before = set(nodes.topics.receivers)
    nodes.stores[1].failing = {HEADS.name}
    again = other.connect(account)
    again.hello()
    await turns(300)
    assert again.session.pulls is not None
    assert not again.session.pulls.is_loaded
    nodes.stores[1].failing = set()
    await again.expect(Drained)
    again.drop()
    await turns()
    assert set(nodes.topics.receivers) == before


async def test_what_could_not_be_offered_is_read_once_more(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publication is lost; when the log is read it cannot be read who is in the group."""
    _, other, alice, bob, channel = await apart(nodes)
    following, loop = other.services.following, other.services.loop
    with monkeypatch.context() as lossy:
        lossy.setattr(MemoryBus, "publish", lambda *_: None)
        await say(alice, channel, "lost on the way")
    nodes.clock.advance(2 * MARGIN_S)

    async def fails(_: ConversationId) -> None:
        raise StoreUnavailable("planned")

    conversations = other.services.conversations
    with monkeypatch.context() as unread:
        unread.setattr(conversations, "cached", lambda _: None)
        unread.setattr(conversations, "find", fails)
        following.sweep(loop.time() + 60.0)
        await turns()
    following.sweep(loop.time() + 60.0)
    await has(bob, "lost on the way")


async def test_who_was_removed_from_a_channel_hears_nothing_more_though_their_list_does_not_say_so(
    nodes: Nodes,
) -> None:
    torn = Torn(MEMBERSHIPS)
    one, other = await nodes.start(faults=torn), await nodes.start()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await other.register("bob"))
    channel = await group_of(alice, [bob], kind=ConversationKind.CHANNEL)
    await say(alice, channel, "with him")
    await has(bob, "with him")
    torn.is_due = True
    await alice.ask(lambda n: ChangeGroup(n, channel, GroupAction.REMOVE, users=[user(bob)]), Error)
    await say(alice, channel, "without him")
    await turns()
    # What his inbox has of it, which was written, has his session look into the list once more.
    bob.session.sweep(other.services.loop.time() + 10.0)
    await turns()
    await say(alice, channel, "still without him")
    await turns()
    assert not {"without him", "still without him"} & set(await texts(bob))


async def test_who_comes_back_to_a_channel_hears_of_it_where_nobody_knew_that_their_removal_was_told(
    nodes: Nodes,
) -> None:
    torn = Torn(MEMBERSHIPS)
    one, other = await nodes.start(faults=torn), await nodes.start()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await other.register("bob"))
    channel = await group_of(alice, [bob], kind=ConversationKind.CHANNEL)
    torn.is_due = True
    await alice.ask(lambda n: ChangeGroup(n, channel, GroupAction.REMOVE, users=[user(bob)]), Error)
    await say(alice, channel, "without him")
    await turns()
    await change(alice, channel, GroupAction.ADD, users=[user(bob)])
    await turns()
    await say(alice, channel, "with him again")
    await has(bob, "with him again")


async def test_who_was_removed_from_a_channel_while_its_log_is_read_gets_nothing_that_was_said_after_it(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nodes.two(limits=LIMITS)
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await other.register("bob"))
    channel = await group_of(alice, [bob], kind=ConversationKind.CHANNEL)
    await bob.settle()
    bob.ack()
    said = [str(number) for number in range(LIMITS.window_entries + 1)]
    for text in said:
        await say(alice, channel, text)
    assert said[-1] not in await texts(bob)
    monkeypatch.setattr(MemoryBus, "publish", lambda *_: None)
    await change(alice, channel, GroupAction.REMOVE, users=[user(bob)])
    await say(alice, channel, "without him")
    bob.ack()
    await has(bob, said[-1])
    await turns()
    assert "without him" not in await texts(bob)


async def test_who_comes_back_to_a_channel_unheard_gets_what_was_said_since_though_others_go(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nodes.two()
    alice, carol = [await one.online(await one.register(name)) for name in ("alice", "carol")]
    bob = await other.online(await other.register("bob"))
    channel = await group_of(alice, [bob, carol], kind=ConversationKind.CHANNEL)
    await change(alice, channel, GroupAction.REMOVE, users=[user(bob)])
    await say(alice, channel, "without him")
    await turns()
    with monkeypatch.context() as lossy:
        lossy.setattr(MemoryBus, "publish", lambda *_: None)
        await change(alice, channel, GroupAction.ADD, users=[user(bob)])
    await say(alice, channel, "with him again")
    await turns()
    await change(alice, channel, GroupAction.REMOVE, users=[user(carol)])
    await say(alice, channel, "without her")
    await has(bob, "without her")
    bob.session.sweep(other.services.loop.time() + 10.0)
    await has(bob, "with him again")


async def test_more_than_may_wait_for_the_members_to_be_read_comes_from_the_log(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.server.following.WAITING_MOST", 2)
    _, other, alice, bob, channel = await apart(nodes)
    nodes.clock.advance(2 * TRUST_S)
    slow = nodes.stores[1]
    slow.hold_range = asyncio.Event()
    for text in ("0", "1", "2", "3"):
        await say(alice, channel, text)
    await turns()
    slow.hold_range.set()
    slow.hold_range = None
    await turns()
    other.services.following.sweep(other.services.loop.time())
    await turns()
    assert {"0", "1", "2", "3"} <= set(await texts(bob))


async def test_what_waited_in_vain_for_the_members_to_be_read_comes_from_the_log_however_long_it_waited(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other, alice, bob, channel = await apart(nodes)
    nodes.clock.advance(2 * TRUST_S)
    following, loop, slow = other.services.following, other.services.loop, nodes.stores[1]
    given_up = asyncio.Event()
    with monkeypatch.context() as broken:
        get = slow.get

        async def times_out(table: Table[Any], key: Key) -> Any:
            if table is ROSTERS:
                await given_up.wait()
                raise StoreUnavailable("planned")
            return await get(table, key)

        broken.setattr(slow, "get", times_out)
        await say(alice, channel, "waits")
        await turns()
        nodes.clock.advance(2 * MARGIN_S)
        following.sweep(loop.time() + 60.0)
        await turns()
        given_up.set()
        await turns()
    following.sweep(loop.time())
    await has(bob, "waits")
