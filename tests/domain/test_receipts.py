"""Watermarks as others see them: what was told before a block stays as it was, and no more is told."""

from typing import NamedTuple

import pytest

from tidings.protocol.api import Proof
from tidings.protocol.frames import (
    Deliver,
    History,
    Info,
    MemberInfo,
    MessageInfo,
    Ok,
    Page,
    Read,
    Receipt,
    Sent,
    Set,
    SettingKind,
    Status,
    Sync,
    Synced,
)
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Batch, Erase, StoreUnavailable
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import FROZEN
from tidings.testing.clock import FakeClock
from tidings.testing.world import PASSWORD, Device, World

ONE_CACHED = Limits(receipt_delay_s=0.0, conversations_cached=1)


class Deaf(MemoryStore):
    """Does not take what is frozen, once told so."""

    is_deaf = False

    async def write(self, batch: Batch) -> None:
        if self.is_deaf and any(not isinstance(row, Erase) and row.table is FROZEN for row in batch):
            raise StoreUnavailable("planned")
        await super().write(batch)


class Talk(NamedTuple):
    """Alice writes, bob reads, and may block her."""

    world: World
    tables: Tables
    alice: Device
    bob: Device
    conversation: ConversationId

    @classmethod
    async def start(cls, limits: Limits | None = None, store: MemoryStore | None = None) -> "Talk":
        tables = Tables()
        world = await World.start(store or MemoryStore(tables), limits=limits, clock=FakeClock())
        alice = await world.online(await world.register("alice"))
        bob = await world.online(await world.register("bob"))
        return cls(world, tables, alice, bob, await alice.open("bob"))

    async def restarted(self, tables: Tables | None = None) -> "Talk":
        """The node died, and is started again."""
        world = await World.start(MemoryStore(tables or self.tables), clock=self.world.clock, seed=2)
        alice, bob = await world.online(self.alice.account), await world.online(self.bob.account)
        return self._replace(world=world, alice=alice, bob=bob)

    async def forgotten(self) -> None:
        """Others talk: where memory holds one conversation, it is not this one."""
        carol = await self.world.online(await self.world.register("carol"))
        await self.world.register("dave")
        await carol.open("dave")
        assert self.world.services.conversations.cached(self.conversation) is None

    async def say(self, text: str) -> MessageId:
        """Alice says something, and bob gets it."""
        self.alice.send(self.conversation, text)
        sent = await self.alice.expect(Sent)
        self.world.clock.advance(1.0)
        await self.bob.expect(Deliver)
        self.bob.ack()
        await self.bob.settle()
        return sent.message_id

    async def read(self, up_to: MessageId) -> None:
        await self.bob.ask(lambda n: Read(n, self.conversation, up_to), Ok)
        self.world.clock.advance(1.0)

    async def block(self, value: bytes = b"1") -> None:
        await self.bob.ask(lambda n: Set(n, SettingKind.BLOCK, str(self.alices), value), Ok)
        self.world.clock.advance(1.0)

    async def lift(self) -> None:
        await self.block(b"")

    async def hide_reads(self) -> None:
        await self.bob.ask(lambda n: Set(n, SettingKind.PRIVACY, "receipts", b"nobody"), Ok)

    async def statuses(self, viewer: Device | None = None) -> list[Status]:
        page = await (viewer or self.alice).ask(lambda n: History(n, self.conversation), Page)
        return [item.status for item in page.items]

    async def times(self, message_id: MessageId) -> MemberInfo:
        info = await self.alice.ask(lambda n: Info(n, self.conversation, message_id), MessageInfo)
        return info.members[0]

    async def synced(self) -> list[tuple[MessageId, MessageId]]:
        """What alice's device that was away is told of bob."""
        told = await self.alice.ask(lambda n: Sync(n, 0), Synced)
        return [
            (receipt.delivered_up_to, receipt.read_up_to)
            for receipt in told.receipts
            if receipt.user_id != self.alices
        ]

    @property
    def alices(self) -> UserId:
        return self.alice.account.ids()[0]


async def half_read() -> tuple[Talk, MessageId, MessageId]:
    """Bob read one of two messages, blocked alice, and read the other one."""
    return await half_read_in(await Talk.start())


async def half_read_in(talk: Talk) -> tuple[Talk, MessageId, MessageId]:
    one = await talk.say("one")
    two = await talk.say("two")
    await talk.read(one)
    await talk.alice.settle()
    await talk.block()
    await talk.read(two)
    return talk, one, two


async def check(talk: Talk, one: MessageId, two: MessageId) -> None:
    """Alice sees what she saw when she was blocked, wherever she looks."""
    assert await talk.statuses() == [Status.READ, Status.DELIVERED]
    assert (await talk.times(one)).read_at_ms > 0
    info = await talk.times(two)
    assert info.delivered_at_ms > 0
    assert info.read_at_ms == 0
    assert await talk.synced() == [(two, one)]
    assert not [frame for frame in await talk.alice.settle() if isinstance(frame, Receipt)]
    # Bob knows what he has read himself.
    assert await talk.statuses(talk.bob) == [Status.READ, Status.READ]


async def test_reading_on_after_a_block_changes_nothing_for_the_blocked_one() -> None:
    await check(*await half_read())


async def test_nor_does_a_restart() -> None:
    talk, one, two = await half_read()
    for _ in range(2):
        talk = await talk.restarted()
        # Before anything is in memory, and after.
        assert await talk.synced() == [(two, one)]
        await check(talk, one, two)


async def test_nor_that_memory_is_short() -> None:
    talk, one, two = await half_read_in(await Talk.start(ONE_CACHED))
    await talk.forgotten()
    assert await talk.synced() == [(two, one)]
    await check(talk, one, two)


async def test_nor_that_the_conversation_was_out_of_memory_at_the_block() -> None:
    talk = await Talk.start(ONE_CACHED)
    one, two = await talk.say("one"), await talk.say("two")
    await talk.read(one)
    await talk.alice.settle()
    await talk.forgotten()
    await talk.block()
    await talk.read(two)
    await check(talk, one, two)


async def test_nor_does_blocking_once_more() -> None:
    talk, one, two = await half_read()
    await talk.block()
    await check(talk, one, two)
    talk = await talk.restarted()
    await talk.block()
    await check(talk, one, two)


async def test_once_the_block_is_lifted_everything_shows() -> None:
    talk, _, two = await half_read()
    await talk.lift()
    for _ in range(2):
        assert await talk.statuses() == [Status.READ, Status.READ]
        talk = await talk.restarted()
    # The next block begins anew.
    await talk.block()
    assert await talk.statuses() == [Status.READ, Status.READ]
    assert await talk.synced() == [(two, two)]


async def test_what_was_sent_meanwhile_stays_sent() -> None:
    talk, _, _ = await half_read()
    talk.alice.send(talk.conversation, "three")
    await talk.alice.expect(Sent)
    await talk.lift()
    await talk.read(await talk.say("four"))
    assert await talk.statuses() == [Status.READ, Status.READ, Status.SENT, Status.READ]


async def test_who_also_hides_reading_shows_what_was_delivered() -> None:
    talk, _, two = await half_read()
    await talk.hide_reads()
    for _ in range(2):
        assert await talk.synced() == [(two, 0)]
        assert await talk.statuses() == [Status.DELIVERED, Status.DELIVERED]
        talk = await talk.restarted()


async def test_times_tell_nothing_of_what_came_after_the_block() -> None:
    # Both reads within one delay: the log has the later one only.
    talk = await Talk.start(Limits(receipt_delay_s=0.0))
    one, two = await talk.say("one"), await talk.say("two")
    clock = talk.world.clock
    await talk.read(one)
    await talk.block()
    blocked_ms = clock.wall_ms()
    await talk.read(two)
    assert 0 < (await talk.times(one)).read_at_ms < blocked_ms


async def test_a_block_whose_node_died_before_anything_was_frozen() -> None:
    tables = Tables()
    store = Deaf(tables)
    talk = await Talk.start(store=store)
    one, two = await talk.say("one"), await talk.say("two")
    await talk.read(one)
    await talk.alice.settle()
    store.is_deaf = True
    await talk.block()
    assert await talk.statuses() == [Status.READ, Status.DELIVERED]
    # What moves now reaches the disk no earlier.
    talk.bob.say(Read(900, talk.conversation, two))
    await talk.statuses(talk.bob)
    talk = await talk.restarted(tables)
    await talk.read(two)
    await check(talk, one, two)


async def test_what_was_not_frozen_and_moved_since_is_not_shown() -> None:
    talk, _, two = await half_read()
    store = MemoryStore(talk.tables)
    for row in await store.scan(FROZEN, limit=9):
        await store.write([Erase(FROZEN, FROZEN.key_of(row), row.blocked_at)])
    talk = await talk.restarted()
    assert await talk.synced() == []
    assert await talk.statuses() == [Status.SENT, Status.SENT]
    assert await talk.times(two) == MemberInfo(talk.bob.account.ids()[0], 0, 0)


@pytest.mark.parametrize("restart", [False, True])
async def test_deleting_the_account_lifts_no_block(restart: bool) -> None:
    talk, _, _ = await half_read()
    bobs, _ = talk.bob.account.ids()
    await talk.world.services.account_rules.departures.depart(bobs, Proof(PASSWORD))
    if restart:
        world = await World.start(MemoryStore(talk.tables), clock=talk.world.clock, seed=2)
        talk = talk._replace(world=world, alice=await world.online(talk.alice.account))
    assert await talk.statuses() == [Status.READ, Status.DELIVERED]


async def test_the_one_who_blocks_sees_the_other_one_as_before() -> None:
    talk = await Talk.start()
    await talk.block()
    talk.bob.send(talk.conversation, "hello")
    sent = await talk.bob.expect(Sent)
    await talk.alice.expect(Deliver)
    talk.alice.ack()
    await talk.alice.ask(lambda n: Read(n, talk.conversation, sent.message_id), Ok)
    receipt = await talk.bob.expect(Receipt, lambda receipt: receipt.read_up_to > 0)
    assert receipt.read_up_to == sent.message_id
    assert await talk.statuses(talk.bob) == [Status.READ]
