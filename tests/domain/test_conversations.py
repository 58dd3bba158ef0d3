"""Conversations: opened once, found again, and nothing forgotten when memory is short."""

import asyncio

import pytest

from tidings.protocol import errors, frames, ids
from tidings.protocol.api import Proof
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import ConversationKind, Deliver, Ok, Receipt, Sent
from tidings.protocol.ids import UserId
from tidings.protocol.limits import Limits
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import MEMBERSHIPS
from tidings.testing.world import PASSWORD, World


async def test_opened_by_both_at_once_it_is_one() -> None:
    world = await World.start()
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    one, other = await asyncio.gather(alice.open("@bob"), bob.open("Alice"))
    assert one == other
    described = await bob.ask(lambda n: frames.Describe(n, one), frames.Conversation)
    assert described.kind == ConversationKind.DIRECT
    assert {member.handle for member in described.members} == {"alice", "bob"}


async def test_opening_is_remembered_for_both() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    alice, bob = await world.register("alice"), await world.register("bob")
    conversation = await (await world.online(alice)).open("bob")
    for account in (alice, bob):
        rows = await MemoryStore(tables).range(MEMBERSHIPS, (account.ids()[0],), limit=10)
        assert [row.conversation_id for row in rows] == [conversation]


async def test_nobody_talks_to_themselves_or_to_nobody() -> None:
    world = await World.start()
    account = await world.register("alice")
    device = await world.online(account)
    error = await device.ask(lambda n: frames.OpenDirect(n, "alice"), frames.Error)
    assert error.code == errors.INVALID.code
    error = await device.ask(lambda n: frames.OpenDirect(n, "nobody"), frames.Error)
    assert error.code == errors.NO_SUCH_USER.code
    with pytest.raises(ProtocolError):
        await world.services.conversations.open_direct(UserId(1), UserId(1))


async def test_what_memory_forgets_the_store_knows_receipts_on_their_way_included() -> None:
    # One conversation fits: each message to the other one evicts it, with watermarks unwritten.
    world = await World.start(limits=Limits(conversations_cached=1, receipt_delay_s=3600))
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    carol = await world.online(await world.register("carol"))
    with_bob, with_carol = await alice.open("bob"), await alice.open("carol")
    for round_ in range(3):
        for peer, conversation in ((bob, with_bob), (carol, with_carol)):
            alice.send(conversation, f"round {round_}")
            sent = await alice.expect(Sent)
            await peer.expect(Deliver)
            peer.ack()
            receipt = await alice.expect(Receipt)
            assert (receipt.delivered_up_to, receipt.conversation_id) == (sent.message_id, conversation)
    page = await alice.ask(lambda n: frames.History(n, with_bob), frames.Page)
    assert [item.status for item in page.items] == [frames.Status.DELIVERED] * 3


async def test_a_read_of_a_conversation_out_of_memory_is_still_clamped() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    conversation = await alice.open("bob")
    alice.send(conversation, "hello")
    sent = await alice.expect(Sent)
    await alice.settle()
    again = await World.start(MemoryStore(tables), clock=world.clock)
    alice, bob = await again.online(alice.account), await again.online(bob.account)
    greatest = frames.MessageId(ids.SNOWFLAKE_MAX)
    await bob.ask(lambda n: frames.Read(n, conversation, greatest), Ok)
    assert (await alice.expect(Receipt)).read_up_to == sent.message_id


async def test_an_inbox_is_read_over_its_buckets_and_not_beyond_its_keep_time() -> None:
    world = await World.start()
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    conversation = await alice.open("bob")
    bob.drop()
    for day in range(0, 50, 5):
        alice.send(conversation, f"day {day}")
        await alice.expect(Sent)
        world.clock.advance(5 * 86_400)
    bob = await world.online(bob.account)
    texts = [frame.message.content.decode() for frame in bob.seen if isinstance(frame, Deliver)]
    assert texts == [f"day {day}" for day in range(5, 50, 5)]


async def test_to_a_deleted_account_nothing_is_sent_any_more() -> None:
    world = await World.start()
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    conversation = await alice.open("bob")
    alice.send(conversation, "hello")
    await alice.expect(Sent)
    user_id = bob.session.known_user.user_id
    await world.services.account_rules.departures.depart(user_id, Proof(PASSWORD))
    frame = alice.send(conversation, "anybody there?")
    error = await alice.expect(frames.Error, lambda error: error.client_id == frame.client_id)
    assert error.code == errors.NO_SUCH_USER.code
    described = await alice.ask(lambda n: frames.Describe(n, conversation), frames.Conversation)
    assert {member.handle for member in described.members} == {"alice", ""}
    page = await alice.ask(lambda n: frames.History(n, conversation), frames.Page)
    assert [item.message.content for item in page.items] == [b"hello"]


async def test_who_looks_while_it_is_opened_hinders_nobody() -> None:
    world = await World.start()
    conversations = world.services.conversations
    users = [UserId(int((await world.register(handle)).user_id)) for handle in ("erin", "frank")]
    opening = asyncio.ensure_future(conversations.open_direct(*users))
    while not opening.done():
        # What began to be read before it was written says that there is none.
        looking = [asyncio.ensure_future(conversations.find(ids.direct_conversation_id(*users)))]
        await asyncio.sleep(0)
    await asyncio.gather(*looking)
    assert set(opening.result().members) == set(users)
