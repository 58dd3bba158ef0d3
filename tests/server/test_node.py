"""A node as a whole: what a clock that was wrong does to it."""

import pytest

from tidings.bus.memory import MemoryBus, Topics
from tidings.directory.memory import MemoryDirectory, Places
from tidings.domain.clock import ClockWentBack
from tidings.protocol import frames
from tidings.protocol.frames import Deliver, Info, MessageInfo, Ok, Page, Read, Receipt, Sent, Status
from tidings.server.cluster import Shared
from tidings.server.node import _status
from tidings.store.contract import StoreUnavailable
from tidings.store.memory import MemoryStore, Tables
from tidings.testing.clock import FakeClock
from tidings.testing.world import World

IN_2026_MS = 1_800_000_000_000
IN_2035_MS = 2_065_000_000_000


async def test_a_day_in_2035_is_a_day_like_any_other() -> None:
    clock = FakeClock(IN_2035_MS)
    world = await World.start(clock=clock)
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    conversation = await alice.open("bob")
    alice.send(conversation, "for a minute", expires_at=clock.wall_ms() + 60_000)
    await alice.expect(Sent)
    alice.send(conversation, "hello")
    sent = await alice.expect(Sent)
    assert await bob.texts(2) == ["for a minute", "hello"]
    bob.ack()
    await bob.ask(lambda n: Read(n, conversation, sent.message_id), Ok)
    await alice.expect(Receipt, lambda receipt: receipt.read_up_to == sent.message_id)
    info = await alice.ask(lambda n: Info(n, conversation, sent.message_id), MessageInfo)
    assert info.members[0].read_at_ms >= IN_2035_MS
    clock.advance(61)
    assert await world.services.eraser.sweep(clock.wall_ms()) == 1
    page = await bob.ask(lambda n: frames.History(n, conversation), Page)
    assert [item.message.content for item in page.items] == [b"", b"hello"]
    assert world.complaints == []


async def test_a_clock_that_jumps_to_2035_and_back_loses_nothing() -> None:
    tables = Tables()
    clock = FakeClock(IN_2026_MS)
    world = await World.start(MemoryStore(tables), clock=clock)
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    conversation = await alice.open("bob")
    for jump_s in (0, (IN_2035_MS - IN_2026_MS) // 1000, -(IN_2035_MS - IN_2026_MS) // 1000):
        clock.jump(jump_s)
        alice.send(conversation, f"at {jump_s}")
        await alice.expect(Sent)
        await bob.expect(Deliver)
    page = await bob.ask(lambda n: frames.History(n, conversation), Page)
    texts = [item.message.content for item in page.items]
    assert texts[0] == b"at 0"
    assert len(texts) == 3
    bob.ack()
    await alice.settle()

    # Started again with the right clock it does not guess which of the two was wrong.
    with pytest.raises(ClockWentBack, match="days behind"):
        await World.start(MemoryStore(tables), clock=FakeClock(IN_2026_MS), seed=2)
    again = await World.start(MemoryStore(tables), clock=FakeClock(IN_2026_MS), seed=2, accept_clock=True)
    alice, bob = await again.online(alice.account), await again.online(bob.account)
    alice.send(conversation, "and on")
    await alice.expect(Sent)
    assert await bob.texts(1) == ["and on"]
    page = await bob.ask(lambda n: frames.History(n, conversation), Page)
    assert [item.message.content for item in page.items] == [*texts, b"and on"]
    statuses = [item.status for item in page.items]
    assert statuses[:3] == [Status.DELIVERED] * 3
    assert again.complaints == []


async def test_health_tells_what_spreads_connections_where_nobody_should_go() -> None:
    clock = FakeClock()
    shared = Shared(MemoryBus(Topics()), MemoryDirectory(Places(FakeClock().wall_ms)))
    world = await World.start(MemoryStore(), clock=clock, shared=shared)
    services = world.services
    cluster = services.cluster
    assert cluster is not None
    assert _status(services, is_stopping=False) == "ok"
    assert _status(services, is_stopping=True) == "draining"
    clock.jump(3)
    await cluster._look_at_clock()
    assert _status(services, is_stopping=False) == "overloaded"
    clock.jump(-3)
    await cluster._look_at_clock()
    assert _status(services, is_stopping=False) == "ok"
    services.commit.failure = StoreUnavailable("away")
    assert _status(services, is_stopping=False) == "store_failed"
    services.commit.failure = None
    cluster._permit.lease._row.until_ms = clock.wall_ms() - 1
    assert _status(services, is_stopping=False) == "overloaded"
    await cluster.stop()
