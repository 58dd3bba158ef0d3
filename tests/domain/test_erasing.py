"""Disappearing messages: left out at once when their time is over, erased soon after."""

from tidings.protocol import errors, frames
from tidings.protocol.frames import Deliver, Error, History, Page, Reference, Relation, Sent
from tidings.store.contract import Erase
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import EXPIRIES, INBOX, MESSAGES, RELATIONS, SENDS
from tidings.testing.clock import FakeClock
from tidings.testing.world import World


async def test_an_expired_message_is_gone_at_once_and_erased_by_the_sweep() -> None:
    tables, clock = Tables(), FakeClock()
    world = await World.start(MemoryStore(tables), clock=clock)
    alice = await world.online(await world.register("alice"))
    account = await world.register("bob")
    conversation = await alice.open("bob")
    alice.send(conversation, "stays")
    frame = alice.send(conversation, "a secret", expires_at=clock.wall_ms() + 60_000)
    await alice.expect(Sent)
    sent = await alice.expect(Sent)
    alice.send(
        conversation,
        "a secret reaction",
        relation=Relation.REACTION,
        relates_to=Reference(alice.session.device_id, frame.client_id),
        target=sent.message_id,
    )
    await alice.expect(Sent)
    assert await world.services.eraser.sweep(clock.wall_ms()) == 0
    clock.advance(61)
    # The sweep has not come by yet.
    page = await alice.ask(lambda n: History(n, conversation), Page)
    assert [item.message.content for item in page.items] == [b"stays", b""]
    bob = world.connect(account)
    bob.hello()
    assert (await bob.expect(Deliver)).message.content == b"stays"
    # What was said about it vanishes with it.
    assert not [frame for frame in await bob.settle() if isinstance(frame, Deliver)]

    assert await world.services.eraser.sweep(clock.wall_ms()) == 2
    store = MemoryStore(tables)
    for table in (MESSAGES, INBOX, RELATIONS):
        rows = await store.scan(table, limit=100)
        assert rows
        assert not any(b"secret" in repr(row).encode() for row in rows), table
    assert await store.scan(EXPIRIES, limit=10) == []
    assert await world.services.eraser.sweep(clock.wall_ms()) == 0


async def test_with_a_message_goes_the_twin_that_was_acknowledged() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    alice = await world.online(await world.register("alice"))
    await world.register("bob")
    conversation = await alice.open("bob")
    frame = alice.send(conversation, "a secret")
    first = await alice.expect(Sent)
    await alice.settle()
    # That it was accepted is lost, so that its repeat is a second message.
    for row in await MemoryStore(tables).scan(SENDS, limit=10):
        await MemoryStore(tables).write([Erase(SENDS, SENDS.key_of(row), row.message_id)])
    frame.attempt = 2
    alice.say(frame)
    assert (await alice.expect(Sent)).message_id > first.message_id
    await alice.settle()
    named = Reference(alice.session.device_id, frame.client_id)
    delete = alice.send(conversation, "", relation=Relation.DELETE, relates_to=named, target=first.message_id)
    await alice.expect(Sent, lambda sent: sent.client_id == delete.client_id)
    for table in (MESSAGES, INBOX):
        rows = await MemoryStore(tables).scan(table, limit=10)
        assert rows
        assert not any(b"secret" in repr(row).encode() for row in rows), table


async def test_what_expired_while_the_server_was_off_is_found() -> None:
    tables, clock = Tables(), FakeClock()
    world = await World.start(MemoryStore(tables), clock=clock)
    alice = await world.online(await world.register("alice"))
    await world.register("bob")
    conversation = await alice.open("bob")
    alice.send(conversation, "a secret", expires_at=clock.wall_ms() + 60_000)
    await alice.expect(Sent)
    await world.services.commit.finish()
    clock.advance(7 * 86_400)
    later = await World.start(MemoryStore(tables), clock=clock, seed=2)
    assert await later.services.eraser.sweep(clock.wall_ms()) == 1
    assert not any(b"secret" in row.content for row in await MemoryStore(tables).scan(MESSAGES, limit=10))


async def test_a_clock_in_2035_is_told() -> None:
    world = await World.start()
    alice = await world.online(await world.register("alice"))
    await world.register("bob")
    conversation = await alice.open("bob")
    for expires_at in (world.clock.wall_ms(), world.clock.wall_ms() + 9 * 365 * 86_400_000):
        frame = alice.send(conversation, "late", expires_at=expires_at)
        error = await alice.expect(Error, lambda error, frame=frame: error.client_id == frame.client_id)
        assert error.code == errors.INVALID.code


async def test_a_device_that_was_away_too_long_is_told_and_only_until_it_has_noted_it() -> None:
    clock = FakeClock()
    world = await World.start(clock=clock)
    account = await world.register("bob")
    bob = await world.online(account)
    alice = await world.online(await world.register("alice"))
    conversation = await alice.open("bob")
    alice.send(conversation, "one")
    entry = await bob.expect(Deliver)
    bob.ack()
    await bob.settle()
    bob.drop()
    clock.advance(46 * 86_400)
    for _ in range(2):  # not noted the first time: the connection broke
        again = world.connect(account)
        again.hello()
        expired = await again.expect(frames.InboxExpired)
        assert expired.since == entry.entry_id
        assert expired.until > entry.entry_id
        again.drop()
    again = await world.online(account)
    await again.expect(frames.InboxExpired)
    await again.settle()  # which asks with Sync
    again.drop()
    last = await world.online(account)
    assert not any(isinstance(frame, frames.InboxExpired) for frame in await last.settle())
