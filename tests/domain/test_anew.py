"""A known direct conversation is read anew where there are other nodes: little of it, and in one step."""

import asyncio

from server.test_hard_nodes import Nodes, nodes, turns, until
from tidings.domain.peers import TRUST_S
from tidings.protocol import frames
from tidings.protocol.frames import (
    ConversationList,
    Conversations,
    Deliver,
    Ok,
    Receipt,
    Sent,
    Set,
    SettingKind,
)
from tidings.testing.world import Device, World

__all__ = ["nodes"]


async def pair(nodes: Nodes) -> tuple[World, Device, World, Device]:
    """Two people on a node each, who have talked."""
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    alice.send(chat, "hello")
    await alice.expect(Sent)
    await bob.expect(Deliver)
    return one, alice, other, bob


async def test_all_that_is_needed_is_asked_for_at_once_and_nothing_else(nodes: Nodes) -> None:
    _, alice, _, bob = await pair(nodes)
    chat = await alice.open("bob")
    store = nodes.stores[0]
    nodes.clock.advance(TRUST_S)
    store.hold_range = asyncio.Event()
    store.asked.clear()
    alice.send(chat, "again")
    await until(lambda: store.asked["members"])
    await turns()
    asked = dict(store.asked)
    store.hold_range.set()
    await alice.expect(Sent)
    await bob.expect(Deliver, lambda one: one.message.content == b"again")
    assert asked.keys() == {"members", "heads", "watermarks", "users", "settings"}
    assert not store.asked.keys() & {"frozen", "messages"}


async def test_a_block_that_was_set_elsewhere_holds_and_what_is_shown_since_stays(nodes: Nodes) -> None:
    one, alice, _, bob = await pair(nodes)
    chat = await alice.open("bob")
    bob.ack()
    await alice.expect(Receipt, lambda receipt: receipt.delivered_up_to > 0)
    await bob.ask(lambda n: Set(n, SettingKind.BLOCK, alice.account.user_id, b"1"), Ok)
    frozen = None
    for text in ("buy", "my", "vitamins"):
        nodes.clock.advance(TRUST_S)
        alice.send(chat, text)
        await alice.expect(Sent)
        known = one.services.conversations.cached(chat)
        assert known is not None
        assert list(known.blockers) == list(known.frozen) == [int(bob.account.user_id)]
        assert frozen in (None, known.frozen)
        frozen = dict(known.frozen)
    assert not [frame for frame in await bob.settle() if isinstance(frame, Deliver)]
    await bob.ask(lambda n: Set(n, SettingKind.BLOCK, alice.account.user_id, b""), Ok)
    nodes.clock.advance(TRUST_S)
    alice.send(chat, "sorry")
    await bob.expect(Deliver, lambda one: one.message.content == b"sorry")
    known = one.services.conversations.cached(chat)
    assert known is not None
    assert (known.blockers, known.frozen) == (frozenset(), {})


async def test_what_was_accepted_elsewhere_meanwhile_is_listed_and_can_be_read(nodes: Nodes) -> None:
    one, alice, _, bob = await pair(nodes)
    chat = await alice.open("bob")
    alice.drop()
    bob.send(chat, "are you there?")
    sent = await bob.expect(Sent)
    nodes.clock.advance(TRUST_S)
    back = await one.online(await one.login("alice"))
    (listed,) = (await back.ask(Conversations, ConversationList)).items
    assert (listed.newest, listed.unread) == (sent.message_id, 1)
    bob.send(chat, "call me")
    sent = await bob.expect(Sent)
    known = one.services.conversations.cached(chat)
    assert known is not None
    known.newest = listed.newest  # as if it had not come by
    await back.ask(lambda n: frames.Read(n, chat, sent.message_id), Ok)
    await bob.expect(Receipt, lambda receipt: receipt.read_up_to == sent.message_id)
