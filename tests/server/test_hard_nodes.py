"""Two nodes at bad moments: something ends, fails or is slow while something else is under way."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import pytest

from server.test_shared_feed import Bench
from tidings.bus.counted import DEAD_S
from tidings.bus.memory import MemoryBus, Topics
from tidings.directory.contract import DirectoryUnavailable, Entered, Place
from tidings.directory.memory import MemoryDirectory, Places
from tidings.domain.inboxes import Entry
from tidings.domain.leases import LEASE_MS
from tidings.domain.peers import LATE_S, MARGIN_S, TRUST_S
from tidings.protocol import frames, ids
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import NO_SUCH_CONVERSATION, OVERLOADED
from tidings.protocol.frames import (
    AnswerRequest,
    Deliver,
    Error,
    Ok,
    Presence,
    Receipt,
    Reference,
    Relation,
    Sent,
    SettingKind,
)
from tidings.protocol.ids import ConversationId, EntryId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.server.cluster import Cluster, Shared
from tidings.store.contract import Batch, Key, Put, R, Row, StoreUnavailable, Table
from tidings.store.memory import Faults, MemoryStore, Tables
from tidings.store.schema import CHANGED, DEVICES, INBOX, LEASES, MEMBERS, SETTINGS, SettingRow
from tidings.testing.clock import FakeClock
from tidings.testing.world import Device, World

SOON_S = 5.0


class Slow(MemoryDirectory):
    """A node's end that can be held, and that fails as it is told to."""

    def __init__(self, places: Places) -> None:
        super().__init__(places)
        self.hold_enter: asyncio.Event | None = None
        self.hold_look_up: asyncio.Event | None = None
        self.hold_time: asyncio.Event | None = None
        self.asked = asyncio.Event()
        self.entered: Callable[[], None] = lambda: None
        self.loses_answers = False
        self.bugs = 0
        """look-ups that are to fail in a way that has no name"""

    async def enter(self, places: Sequence[Place]) -> list[Entered]:
        if self.hold_enter is not None:
            self.asked.set()
            await self.hold_enter.wait()
        found = await super().enter(places)
        if self.loses_answers:
            raise DirectoryUnavailable("planned")
        self.entered()
        await turns()
        return found

    async def look_up(self, users: Sequence[UserId]) -> list[list[Place]]:
        if self.hold_look_up is not None:
            self.asked.set()
            await self.hold_look_up.wait()
        if self.bugs:
            self.bugs -= 1
            raise RuntimeError("planned")
        return await super().look_up(users)

    async def time_ms(self, *, fresh: bool = False) -> int:
        if self.loses_answers:
            raise DirectoryUnavailable("planned")
        if self.hold_time is not None:
            await self.hold_time.wait()
        return await super().time_ms(fresh=fresh)


class Faulty(MemoryStore):
    """Does something before a write that a test chooses, and fails reads that it chooses."""

    def __init__(self, tables: Tables, faults: Faults | None = None) -> None:
        super().__init__(tables, faults=faults)
        self.writing: Callable[[Batch], None] = lambda _: None
        self.failing: set[str] = set()
        """tables that cannot be read"""
        self.asked: Counter[str] = Counter()
        """how often each table was"""
        self.hold_read: asyncio.Event | None = None
        self.hold_read_of = ""
        """of which table what was read is held: it is old by the time it is released"""
        self.hold_range: asyncio.Event | None = None
        self.held = asyncio.Event()

    async def write(self, batch: Batch) -> None:
        self.writing(batch)
        await super().write(batch)

    async def get(self, table: Table[R], key: Key) -> R | None:
        self._fail(table.name)
        return await super().get(table, key)

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        self._fail(table.name)
        found = await super().get_many(table, keys)
        if self.hold_read is not None and table.name == self.hold_read_of:
            self.held.set()
            await self.hold_read.wait()
        return found

    async def range(
        self,
        table: Table[R],
        partition: Key,
        *,
        after: Key | None = None,
        before: Key | None = None,
        limit: int,
        backwards: bool = False,
    ) -> list[R]:
        self._fail(table.name)
        if self.hold_range is not None:
            self.held.set()
            await self.hold_range.wait()
        return await super().range(
            table, partition, after=after, before=before, limit=limit, backwards=backwards
        )

    def _fail(self, table: str) -> None:
        self.asked[table] += 1
        if table in self.failing:
            raise StoreUnavailable("planned")


class Nodes:
    """Nodes that share everything, and what is in their way."""

    def __init__(self) -> None:
        self.clock, self.topics = FakeClock(), Topics()
        self.store_ahead_ms = 0
        """of the store's clock"""
        self.tables = Tables(lambda: self.clock.wall_ms() + self.store_ahead_ms)
        self.ahead_ms = 0
        """of the directory's clock"""
        self.places = Places(lambda: self.clock.wall_ms() + self.ahead_ms)
        self.directories: list[Slow] = []
        self.stores: list[Faulty] = []
        self.worlds: list[World] = []

    async def start(
        self, clock: FakeClock | None = None, *, faults: Faults | None = None, **settings: object
    ) -> World:
        directory, store = Slow(self.places), Faulty(self.tables, faults)
        world = await World.start(
            store,
            clock=clock or self.clock,
            seed=len(self.worlds) + 1,
            shared=Shared(MemoryBus(self.topics), directory),
            **settings,
        )
        self.directories.append(directory)
        self.stores.append(store)
        self.worlds.append(world)
        return world

    async def two(self, **settings: object) -> tuple[World, World]:
        return await self.start(**settings), await self.start(**settings)


@pytest.fixture
async def nodes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    """Nodes for which waiting for others takes no time."""
    monkeypatch.setattr("tidings.server.cluster.KNOWN_S", 0.0)
    monkeypatch.setattr("tidings.server.cluster.EARLIER_S", 0.0)
    made = Nodes()
    yield made
    for world in made.worlds:
        await cluster(world).stop()


def cluster(world: World) -> Cluster:
    assert world.services.cluster is not None
    return world.services.cluster


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():
            await asyncio.sleep(0)


async def turns(count: int = 50) -> None:
    """Let whatever can happen happen."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- places ---------------------------------------------------------------------------------


async def test_what_is_left_of_a_closed_session_does_not_enter_again(nodes: Nodes) -> None:
    one, other = await nodes.two()
    account = await one.register("alice")
    before = await one.online(account)
    now = await other.online(account)
    assert await before.closing() == CloseCode.REPLACED
    # Its link takes a while to close, and just then everybody is to look again.
    cluster(one).bus._gap()
    one.services.connections.sweep(one.services.loop.time() + 100)
    before.session.lose(0.0)
    before.session.sweep(one.services.loop.time() + 100)
    await turns()
    assert now.link.closed is None
    assert [place.node for place in nodes.places.look_up(account.ids()[0])] == [cluster(other).node]


async def test_a_session_that_takes_long_to_enter_does_not_replace_a_later_one(nodes: Nodes) -> None:
    one, other = await nodes.two()
    account = await one.register("alice")
    slow = nodes.directories[0]
    slow.hold_enter = asyncio.Event()
    before = one.connect(account)
    before.hello()
    await slow.asked.wait()
    nodes.clock.advance(4.0)
    now = await other.online(account)
    slow.hold_enter.set()
    assert await before.closing() == CloseCode.UNAVAILABLE
    await turns()
    assert now.link.closed is None


async def test_a_session_that_ends_while_it_enters_leaves_no_place_and_replaces_nobody(nodes: Nodes) -> None:
    one, other = await nodes.two()
    account = await one.register("alice")
    slow = nodes.directories[0]
    slow.hold_enter = asyncio.Event()
    before = one.connect(account)
    before.hello()
    await slow.asked.wait()
    nodes.clock.advance(0.01)
    now = await other.online(account)
    before.session.close(CloseCode.FLOOD)
    slow.hold_enter.set()
    await turns(300)
    assert now.link.closed is None
    assert [place.node for place in nodes.places.look_up(account.ids()[0])] == [cluster(other).node]


async def test_a_session_whose_clock_is_behind_waits_for_the_greatest_number(nodes: Nodes) -> None:
    one, other = await nodes.two()
    account = await one.register("alice")
    before = await one.online(account)
    place = before.session.place
    assert place is not None
    # As of a node that is ahead by more than ids may be pulled at once.
    ahead = place.session + (2000 << 22)
    nodes.places.forget()
    nodes.places.enter(Place(place.user_id, place.device_id, ahead, 99))
    now = other.connect(account)
    now.hello()
    await now.expect(frames.Welcome)
    await turns()
    assert now.link.closed is None
    nodes.clock.advance(1.5)
    await now.expect(frames.Drained)
    assert [held.node for held in nodes.places.look_up(place.user_id)] == [cluster(other).node]


async def test_a_session_that_ends_while_places_are_refreshed_is_not_entered_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.server.places.AT_ONCE", 1)
    one, _ = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob_account = await one.register("bob")
    bob = await one.online(bob_account)

    def leave() -> None:
        if bob.link.closed is None:
            bob.drop()

    nodes.directories[0].entered = leave
    await cluster(one).places.refresh(0, 1)
    await turns()
    assert nodes.places.look_up(bob_account.ids()[0]) == []
    assert nodes.places.look_up(alice.account.ids()[0])


# --- presence -------------------------------------------------------------------------------


async def test_who_is_watched_anew_is_still_heard_of(nodes: Nodes) -> None:
    one, other = await nodes.two()
    bob_account = await one.register("bob")
    bob_id = bob_account.ids()[0]
    alice = await one.online(await one.register("alice"))
    await alice.open("bob")
    for _ in range(2):  # as when a list is scrolled
        await alice.ask(lambda n: frames.Watch(n, [bob_id]), frames.Presences)
        await turns()
    await other.online(bob_account)
    assert (await alice.expect(Presence)).online


async def test_who_is_watched_no_more_leaves_nothing_on_the_bus(nodes: Nodes) -> None:
    one, _ = await nodes.two()
    bob_id = (await one.register("bob")).ids()[0]
    alice = await one.online(await one.register("alice"))
    before = set(nodes.topics.receivers)
    await alice.ask(lambda n: frames.Watch(n, [bob_id]), frames.Presences)
    assert set(nodes.topics.receivers) != before
    await alice.ask(lambda n: frames.Watch(n, []), frames.Presences)
    await turns()
    assert set(nodes.topics.receivers) == before


# --- clock ------------------------------------------------------------------------------------


async def test_a_clock_that_a_late_write_shows_to_be_wrong_sends_the_devices_away(nodes: Nodes) -> None:
    one, _ = await nodes.two()
    alice = await one.online(await one.register("alice"))
    nodes.ahead_ms = 20_000  # this machine was paused
    assert await cluster(one).is_late(nodes.clock.wall_ms())
    await cluster(one)._look_at_clock()
    assert await alice.closing() == CloseCode.DRAIN


async def test_a_directory_that_hangs_makes_no_node_look_dead(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.server.cluster.BEAT_S", 0.001)
    one, _ = await nodes.two()
    slow = nodes.directories[0]
    slow.hold_time = asyncio.Event()
    node = cluster(one)
    node.start()
    beats = node.bus._beats
    async with asyncio.timeout(SOON_S):
        while node.bus._beats < beats + 5:
            await asyncio.sleep(0.001)
    slow.hold_time.set()


# --- upkeep ---------------------------------------------------------------------------------


async def test_of_two_rounds_that_come_at_once_neither_loses_the_upkeep_to_the_other(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nodes.two()
    node, store = cluster(one), nodes.stores[0]
    get = store.get

    async def slow(table: Table[R], key: Key) -> R | None:
        found = await get(table, key)
        await turns()
        return found

    monkeypatch.setattr(store, "get", slow)
    for _ in range(2):  # the lease is taken, then renewed
        assert await asyncio.gather(node.keeps_up(), node.keeps_up()) == [True, True]
    assert not await cluster(other).keeps_up()


# --- what was signed out --------------------------------------------------------------------


async def test_after_a_gap_side_sessions_and_suspended_users_are_out(nodes: Nodes) -> None:
    one, other = await nodes.two()
    alice, bob = await one.register("alice"), await one.register("bob")
    carol = await other.online(await one.register("carol"))
    side = await other.online(alice, receive=False)
    suspended = await other.online(bob)
    nodes.topics.receivers.clear()  # nothing arrives any more
    await one.services.account_rules.devices.revoke(*alice.ids())
    await one.services.accounts.suspend(bob.ids()[0], True)
    assert side.link.closed is None
    cluster(other)._may_have_lost()
    assert await side.closing() == CloseCode.NOT_ALLOWED
    assert await suspended.closing() == CloseCode.NOT_ALLOWED
    assert carol.link.closed is None


async def test_who_could_not_be_looked_up_after_a_gap_is_looked_up_later(nodes: Nodes) -> None:
    one, other = await nodes.two()
    alice = await one.register("alice")
    device = await other.online(alice)
    nodes.topics.receivers.clear()
    await one.services.account_rules.devices.revoke(*alice.ids())
    nodes.stores[1].failing = {DEVICES.name}
    cluster(other)._may_have_lost()
    await turns()
    assert device.link.closed is None
    nodes.stores[1].failing = set()
    cluster(other)._check_soon()  # with the next beat
    assert await device.closing() == CloseCode.NOT_ALLOWED


# --- relay ----------------------------------------------------------------------------------


async def test_what_comes_while_passing_on_fails_is_passed_on(nodes: Nodes) -> None:
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    await turns()
    slow = nodes.directories[0]
    slow.asked.clear()
    slow.hold_look_up, slow.bugs = asyncio.Event(), 1
    alice.send(chat, "lost")
    await alice.expect(Sent)
    await slow.asked.wait()
    alice.send(chat, "passed on")
    await alice.expect(Sent)
    slow.hold_look_up.set()
    assert await bob.texts(1) == ["passed on"]
    one.complaints.clear()


async def test_what_is_durable_when_a_node_stops_is_passed_on_first(nodes: Nodes) -> None:
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    await turns()
    slow = nodes.directories[0]
    slow.asked.clear()
    slow.hold_look_up = asyncio.Event()
    alice.send(chat, "the last one")
    await alice.expect(Sent)
    stopping = asyncio.ensure_future(cluster(one).stop())
    await turns()
    assert not stopping.done()
    slow.hold_look_up.set()
    await stopping
    assert await bob.texts(1) == ["the last one"]


async def test_what_a_node_accepted_that_was_cut_off_from_the_bus_and_then_died_is_looked_for(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nodes.two()
    alice = await other.online(await other.register("alice"))
    bob = await one.online(await one.register("bob"))
    chat = await alice.open("bob")
    here, there = cluster(one), cluster(other)
    await turns()
    monkeypatch.setattr(MemoryBus, "publish", lambda *_: None)
    heard_s = one.services.loop.time()
    monkeypatch.setattr(here.bus, "_now_s", lambda: heard_s + 2 * DEAD_S)
    here.bus.beat()
    assert list(here.bus.silent) == [there.node]
    await _look_again(one, bob)
    alice.send(chat, "into the void")
    await alice.expect(Sent)
    await here._look_at_silent()
    assert list(here.bus.silent) == [there.node]
    nodes.clock.advance(LEASE_MS / 1000 + LATE_S + 1.0)
    await here._look_at_silent()
    assert not here.bus.silent
    await _look_again(one, bob)
    assert await bob.texts(1) == ["into the void"]


async def test_a_node_that_had_to_take_another_number_is_looked_for_as_long_as_it_has_that(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nodes.two()
    here, there = cluster(one), cluster(other)
    nodes.clock.advance(LEASE_MS / 1000 + 1.0)
    await here._keep_number()
    await nodes.start()  # takes the number that the other one, which was stopped, has lost
    await there._keep_number()
    assert other.services.ids.node == 3
    there.bus.beat()
    await turns()
    monkeypatch.setattr(MemoryBus, "publish", lambda *_: None)
    heard_s = one.services.loop.time()
    monkeypatch.setattr(here.bus, "_now_s", lambda: heard_s + 2 * DEAD_S)
    here.bus.beat()
    await here._look_at_silent()
    assert there.node in here.bus.silent
    nodes.clock.advance(LEASE_MS / 1000 + LATE_S + 1.0)
    await here._look_at_silent()
    assert not here.bus.silent


async def test_a_node_keeps_its_number_while_the_store_does_not_say_whether_a_silent_one_lives(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    await other.register("bob")
    chat = await alice.open("bob")
    here, store = cluster(one), nodes.stores[0]
    here.bus.silent[cluster(other).node] = cluster(other).node
    get, asked = store.get, asyncio.Event()

    async def hangs(table: Table[R], key: Key) -> R | None:
        if table is LEASES:
            asked.set()
            await asyncio.Event().wait()
        return await get(table, key)

    monkeypatch.setattr(store, "get", hangs)
    monkeypatch.setattr("tidings.server.cluster.BEAT_S", 0.001)
    here.start()
    await asked.wait()
    renewed = store.compare_and_set
    is_renewed = asyncio.Event()

    async def renews(table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()) -> R | None:
        found = await renewed(table, expected, row, also)
        is_renewed.set()
        return found

    monkeypatch.setattr(store, "compare_and_set", renews)
    nodes.clock.advance(LEASE_MS / 2000)
    async with asyncio.timeout(SOON_S):
        await is_renewed.wait()
    nodes.clock.advance(LEASE_MS / 1500)
    alice.send(chat, "still here")
    await alice.expect(Sent)


async def _look_again(world: World, device: Device) -> None:
    device.session.sweep(world.services.loop.time() + 10.0)
    await turns()


async def test_who_is_on_a_node_that_only_is_not_heard_is_told_though_the_directory_is_away(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    here, there = cluster(one), cluster(other)
    await turns()
    heard_s = one.services.loop.time()
    monkeypatch.setattr(here.bus, "_now_s", lambda: heard_s + 2 * DEAD_S)
    here.bus.beat()
    assert here.bus.has_died(there.node)
    await nodes.directories[0].close()
    alice.send(chat, "do you hear me?")
    await alice.expect(Sent)
    assert await bob.texts(1) == ["do you hear me?"]


async def test_what_moved_while_a_device_synced_is_told_by_a_second_sync(nodes: Nodes) -> None:
    one, _ = await nodes.two()
    alice = await one.online(await one.register("alice"))
    began_s = alice.session.began_s
    for after_s, told in ((MARGIN_S - 0.1, 0), (MARGIN_S, 1), (2 * MARGIN_S, 0)):
        alice.session.sweep(began_s + after_s)
        await turns()
        assert len([frame for frame in await alice.settle() if isinstance(frame, frames.Stale)]) == told


async def test_a_read_that_was_noted_too_late_is_told_to_whoever_has_synced_meanwhile(nodes: Nodes) -> None:
    one, other = await nodes.two()
    phone, laptop = await one.online(await one.register("alice")), await one.login("alice")
    bob = await one.online(await one.register("bob"))
    chat = await bob.open("alice")
    bob.send(chat, "hello")
    newest = (await bob.expect(Sent)).message_id
    is_away, tries = True, 0

    def writing(batch: Batch) -> None:
        nonlocal tries
        if any(write.table is CHANGED for write in batch):
            tries += 1
            if is_away:
                raise StoreUnavailable("planned")

    nodes.stores[0].writing = writing
    await phone.ask(lambda n: frames.Read(n, chat, newest), Ok)
    await until(lambda: tries)
    beside = await other.online(laptop)
    assert not (await beside.ask(lambda n: frames.Sync(n, 0), frames.Synced)).receipts
    is_away = False
    told = await beside.expect(Receipt, lambda one: one.read_up_to == newest)
    assert told.user_id == phone.account.ids()[0]


async def test_a_read_is_noted_by_the_common_clock_while_this_one_stands(nodes: Nodes) -> None:
    """Whoever has synced elsewhere is told with the next sync, even if the node ends before that."""
    one, _ = await nodes.two()
    phone = await one.online(await one.register("alice"))
    bob = await one.online(await one.register("bob"))
    chat = await bob.open("alice")
    bob.send(chat, "hello")
    newest = (await bob.expect(Sent)).message_id
    nodes.ahead_ms = 20_000  # this machine was paused
    synced_ms = nodes.clock.wall_ms() + nodes.ahead_ms
    await phone.ask(lambda n: frames.Read(n, chat, newest), Ok)
    user = phone.account.ids()[0]
    async with asyncio.timeout(SOON_S):
        while not any(
            row.at_ms >= synced_ms for row in await nodes.stores[0].range(CHANGED, (user,), limit=9)
        ):
            await turns()


async def test_a_place_of_which_it_is_not_known_when_it_was_entered_is_looked_into(nodes: Nodes) -> None:
    one, other = await nodes.two()
    alice = await other.online(await one.register("alice"))
    bob = await one.online(await one.register("bob"))
    chat = await alice.open("bob")
    nodes.places.forget()
    alice.send(chat, "to nobody")
    await alice.expect(Sent)
    slow = nodes.directories[0]
    slow.loses_answers = True
    await cluster(one).places.refresh(0, 1)
    slow.loses_answers = False
    await cluster(one).places.refresh(0, 1)
    await _look_again(one, bob)
    assert await bob.texts(1) == ["to nobody"]


async def test_what_was_read_of_a_group_and_came_late_is_not_relied_upon(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nodes.two()
    alice = await other.online(await one.register("alice"))
    bob = await one.online(await one.register("bob"))
    members = [UserId(int(bob.account.user_id))]
    make = frames.CreateGroup(1, ids.ClientId(b"n" * 16), frames.ConversationKind.GROUP, users=members)
    alice.say(make)
    group = (await alice.expect(frames.Conversation)).conversation_id
    conversations = one.services.conversations
    read, held, released = conversations._read, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: object) -> object:
        found = await read(*arguments)  # type: ignore[arg-type]
        held.set()
        await released.wait()
        return found

    conversations._alive.clear()
    conversations._cached.clear()
    with monkeypatch.context() as patched:
        patched.setattr(conversations, "_read", slowly)
        bob.say(frames.Describe(9, group))
        await held.wait()
    alice.say(frames.ChangeGroup(2, group, frames.GroupAction.REMOVE, members))
    await alice.expect(Ok)
    nodes.clock.advance(TRUST_S)
    released.set()
    assert (await bob.expect(Error)).code == NO_SUCH_CONVERSATION.code


# --- repeats --------------------------------------------------------------------------------


async def test_an_attempt_that_waited_for_long_finds_what_another_node_took_meanwhile(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.domain.messages.WAITED_S", 0.05)
    one, other = await nodes.two()
    account = await one.register("alice")
    alice = await one.online(account)
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    nodes.clock.advance(TRUST_S)
    nodes.stores[0].hold_range = asyncio.Event()
    sent = alice.send(chat, "once")
    await nodes.stores[0].held.wait()
    again = await other.online(account)
    again.say(_repeated(sent, 2))
    await again.expect(Sent)
    await asyncio.sleep(0.06)  # it has waited for so long
    nodes.stores[0].hold_range.set()
    await turns(300)
    entries = await other.services.inboxes.read(
        bob.account.ids()[0], EntryId(0), now_ms=nodes.clock.wall_ms(), limit=10, limit_bytes=10_000
    )
    assert len(entries) == 1


@pytest.mark.parametrize("attempt", [1, 2])
async def test_an_attempt_that_waited_for_long_and_that_nobody_waits_for_any_more_is_not_taken(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    monkeypatch.setattr("tidings.domain.messages.WAITED_S", 0.05)
    one, other = await nodes.two()
    account = await one.register("alice")
    alice = await one.online(account)
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    nodes.clock.advance(TRUST_S)
    nodes.stores[0].hold_range = asyncio.Event()
    sent = alice.send(chat, "once", attempt=attempt)
    await nodes.stores[0].held.wait()
    again = await other.online(account)  # where a repeat may be on its way to the disk
    assert await alice.closing() == CloseCode.REPLACED
    await asyncio.sleep(0.06)  # it has waited for so long
    nodes.stores[0].hold_range.set()
    await turns(300)
    page = await bob.ask(lambda n: frames.History(n, chat), frames.Page)
    assert page.items == []
    again.say(_repeated(sent, attempt + 1))
    await again.expect(Sent)
    assert await bob.texts(1) == ["once"]


@pytest.mark.parametrize("relation", [Relation.NONE, Relation.REPLY, Relation.DELETE])
async def test_what_was_taken_too_late_and_elsewhere_under_a_smaller_id_stands_there_for_everybody(
    nodes: Nodes, relation: Relation
) -> None:
    one, other = await nodes.two()
    account = await one.register("alice")
    alice = await one.online(account)
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    named = await _naming(alice, chat, relation)
    again = await other.online(account)
    first = again.send(chat, "once", **named)
    elsewhere = (await again.expect(Sent)).message_id
    nodes.clock.advance(0.1)
    slow_writes = 1

    def writing(batch: Batch) -> None:
        nonlocal slow_writes
        if slow_writes and any(isinstance(write, Put) and write.table is INBOX for write in batch):
            slow_writes = 0
            nodes.clock.advance(LATE_S + 1.0)

    nodes.stores[0].writing = writing
    late = await _under_way(one, again)
    late.say(first)
    assert (await late.expect(Sent)).message_id == elsewhere
    assert not slow_writes
    came, anew = [frame for frame in await _delivered(bob) if frame.message.client_id == first.client_id]
    assert (came.stands, anew.stands) == (False, True)
    assert came.message == anew.message
    page = await bob.ask(lambda n: frames.History(n, chat, after=MessageId(0)), frames.Page)
    told = [item.message for item in page.items if item.message.client_id == first.client_id]
    assert [message.message_id for message in told] == [elsewhere]


@pytest.mark.parametrize("relation", [Relation.NONE, Relation.DELETE])
async def test_an_author_is_told_where_a_message_stands_whose_first_attempt_was_taken_after_the_repeat(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, relation: Relation
) -> None:
    monkeypatch.setattr("tidings.domain.twins.LOOK_S", 0.05)
    one, other = await nodes.two()
    account = await one.register("alice")
    alice = await one.online(account)
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    named = await _naming(alice, chat, relation)
    again = await other.online(account)
    nodes.clock.advance(TRUST_S)
    repeat = again.send(chat, "once", attempt=2, **named)
    repeated = (await again.expect(Sent)).message_id
    nodes.clock.advance(0.1)
    first = await _under_way(one, again)
    first.say(_repeated(repeat, 1))
    stands = (await first.expect(Sent)).message_id
    assert stands > repeated
    told = await again.expect(Deliver, lambda one: one.message.client_id == repeat.client_id)
    assert (told.stands, told.message.message_id) == (True, stands)
    places = [one.message.message_id for one in await _delivered(bob)]
    assert places[-2:] == [repeated, stands]


async def test_what_a_device_writes_sorts_after_what_its_inbox_had_when_it_came(nodes: Nodes) -> None:
    one, other = await nodes.two()
    account = await one.register("alice")
    bob = await other.online(await one.register("bob"))
    chat = await bob.open("alice")
    ahead = EntryId(ids.first_at(nodes.clock.wall_ms() + 900))
    other.services.ids.observe(ahead)
    bob.send(chat, "from a node whose clock is ahead")
    newest = (await bob.expect(Sent)).message_id
    assert newest > ahead > one.services.ids.last
    alice = one.connect(account)
    alice.hello()
    await alice.expect(frames.Welcome)
    assert one.services.ids.next() > newest


async def test_a_node_that_hears_of_an_id_far_ahead_gives_none_until_it_has_compared_its_clock(
    nodes: Nodes,
) -> None:
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await other.register("bob"))
    chat = await bob.open("alice")
    # Node one was paused together with its clocks, and has not asked the directory since.
    other.services.ids.observe(ids.first_at(nodes.clock.wall_ms() + 1000))
    nodes.clock.advance(-1.0)
    bob.send(chat, "of now")
    assert await alice.texts(1) == ["of now"]
    alice.send(chat, "of before")
    assert (await alice.expect(Error)).code == OVERLOADED.code
    await cluster(one)._look_at_clock()
    alice.send(chat, "of now, too")
    await alice.expect(Sent)


async def test_where_the_directory_is_away_the_store_tells_what_came_too_late(nodes: Nodes) -> None:
    one = await nodes.start()
    alice = await one.online(await one.register("alice"))
    bob = await one.online(await one.register("bob"))
    chat = await alice.open("bob")
    # It was paused together with its clocks, and cannot ask the directory.
    nodes.directories[0].loses_answers = True
    nodes.store_ahead_ms = 20_000
    alice.send(chat, "of before")
    assert (await alice.expect(Error)).code == OVERLOADED.code
    assert await _delivered(bob) == []
    nodes.store_ahead_ms = 0
    await cluster(one)._look_at_clock()
    alice.send(chat, "of now")
    await alice.expect(Sent)
    assert await bob.texts(1) == ["of now"]


async def test_who_is_let_in_answers_after_what_was_said_on_a_node_that_is_ahead(nodes: Nodes) -> None:
    one, other = await nodes.two(strangers="request")
    alice = await other.online(await other.register("alice"))
    bob = await one.online(await one.register("bob"))
    chat = await alice.open("bob")
    other.services.ids.observe(ids.first_at(nodes.clock.wall_ms() + 900))
    alice.send(chat, "hello?")
    asked = await alice.expect(Sent)
    await bob.ask(lambda n: AnswerRequest(n, chat, True), Ok)
    assert (await bob.expect(Deliver)).message.message_id == asked.message_id
    bob.send(chat, "yes?")
    assert (await bob.expect(Sent)).message_id > asked.message_id


async def test_what_a_device_writes_stands_after_what_it_says_it_has(nodes: Nodes) -> None:
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await one.register("bob"))
    chat = await bob.open("alice")
    nodes.clock.advance(TRUST_S)
    other.services.ids.observe(ids.first_at(nodes.clock.wall_ms() + 900))
    nodes.topics.receivers.clear()  # what the one node publishes, the other does not hear
    bob.send(chat, "from a node whose clock is ahead")
    newest = (await bob.expect(Sent)).message_id
    alice.send(chat, "an answer", after=newest)
    answer = (await alice.expect(Sent)).message_id
    assert answer > newest
    # What nobody wrote moves nothing.
    alice.send(chat, "of the future", after=ids.first_at(nodes.clock.wall_ms() + 10**9))
    assert (await alice.expect(Sent)).message_id - answer < 1000


async def test_what_a_device_wrote_that_was_signed_out_elsewhere_reaches_the_other_one(nodes: Nodes) -> None:
    one, other = await nodes.two()
    phone = await other.online(await one.register("alice"))
    laptop = await one.login("alice")
    await one.register("bob")
    chat = await phone.open("bob")
    nodes.topics.receivers.clear()  # nothing arrives any more
    await one.services.account_rules.devices.revoke(*phone.account.ids())
    nodes.clock.advance(TRUST_S + MARGIN_S)
    phone.send(chat, "my last words")
    await phone.expect(Sent)
    assert await (await one.online(laptop)).texts(1) == ["my last words"]


# --- settings -------------------------------------------------------------------------------


def _blocks(world: World, device: Device, peer: UserId) -> Awaitable[bytes | None]:
    return world.services.settings.get(device.account.ids()[0], SettingKind.BLOCK, str(peer))


async def test_what_a_session_asks_whose_device_has_come_back_elsewhere_is_not_done(nodes: Nodes) -> None:
    one, other = await nodes.two()
    account = await one.register("alice")
    before = await one.online(account)
    bob = (await one.register("bob")).ids()[0]
    place = nodes.places.look_up(account.ids()[0])[0]
    # Node one was stopped, and has not been told.
    nodes.places.enter(Place(place.user_id, place.device_id, place.session + 1, cluster(other).node))
    before.say(frames.Set(1, SettingKind.BLOCK, str(bob), b"1"))
    assert await before.closing() == CloseCode.REPLACED
    await turns()
    assert await _blocks(other, before, bob) is None


async def test_what_is_asked_over_a_session_that_has_just_ended_is_not_done(nodes: Nodes) -> None:
    one, other = await nodes.two()
    before = await one.online(await one.register("alice"))
    bob = (await one.register("bob")).ids()[0]
    # Both came while node one was stopped, and the end of the session is heeded first.
    before.say(frames.Set(1, SettingKind.BLOCK, str(bob), b"1"))
    before.session.replace()
    await turns()
    assert await _blocks(other, before, bob) is None


async def test_a_session_that_is_still_entering_is_not_ended_by_what_it_asks(nodes: Nodes) -> None:
    one, other = await nodes.two()
    account = await one.register("alice")
    bob = (await one.register("bob")).ids()[0]
    # The node that it had been on is ahead, so that its first number is too small.
    other.services.ids.observe(ids.first_at(nodes.clock.wall_ms() + 900))
    await other.online(account)
    slow = nodes.directories[0]
    slow.hold_enter = asyncio.Event()
    now = one.connect(account)
    now.hello()
    await slow.asked.wait()
    now.say(frames.Set(1, SettingKind.BLOCK, str(bob), b"1"))
    assert (await now.expect(Error)).code == OVERLOADED.code
    slow.hold_enter.set()
    nodes.clock.advance(1.0)
    await now.expect(frames.Drained)
    await now.ask(lambda n: frames.Set(n, SettingKind.BLOCK, str(bob), b"1"), Ok)
    assert now.link.closed is None


async def test_where_no_directory_knows_a_session_it_is_to_ask_again_and_then_is_known(nodes: Nodes) -> None:
    one, _ = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = (await one.register("bob")).ids()[0]
    block = frames.Set(1, SettingKind.BLOCK, str(bob), b"1")
    nodes.places.forget()
    alice.say(block)
    assert (await alice.expect(Error)).code == OVERLOADED.code
    alice.say(block)
    await alice.expect(Ok)
    assert await _blocks(one, alice, bob) == b"1"


@pytest.mark.parametrize("table", [None, SETTINGS], ids=["asking", "reading"])
async def test_what_was_changed_while_a_node_was_stopped_is_not_changed_back(
    nodes: Nodes, table: Table[SettingRow] | None
) -> None:
    one, other = await nodes.two()
    phone = await one.online(await one.register("alice"))
    laptop = await other.online(await other.login("alice"))
    bob = (await one.register("bob")).ids()[0]
    await laptop.ask(lambda n: frames.Set(n, SettingKind.BLOCK, str(bob), b"1"), Ok)
    slow, store = nodes.directories[0], nodes.stores[0]
    gate = asyncio.Event()
    if table is None:
        slow.hold_enter, held = gate, slow.asked
    else:
        store.hold_read_of, store.hold_read, held = table.name, gate, store.held
    phone.say(frames.Set(1, SettingKind.BLOCK, str(bob), b"1"))
    await held.wait()
    nodes.clock.advance(2.5)
    await laptop.ask(lambda n: frames.Set(n, SettingKind.BLOCK, str(bob), b""), Ok)
    gate.set()
    assert (await phone.expect(Error)).code == OVERLOADED.code
    assert await _blocks(one, phone, bob) is None


@pytest.mark.parametrize("is_followed", [False, True])
async def test_a_change_that_came_too_late_is_written_again_unless_another_has_followed(
    nodes: Nodes, *, is_followed: bool
) -> None:
    one, _ = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = (await one.register("bob")).ids()[0]
    written: list[SettingRow] = []
    following: list[asyncio.Future[None]] = []

    def writing(batch: Batch) -> None:
        for write in batch:
            if isinstance(write, Put) and write.table is SETTINGS and write.row.kind == SettingKind.BLOCK:
                written.append(write.row)
                if len(written) == 1:
                    nodes.clock.advance(LATE_S + 1.0)
                    if is_followed:
                        later = msgspec.structs.replace(write.row, at=write.row.at + 1, value=b"")
                        following.append(asyncio.ensure_future(_put(nodes, later)))

    nodes.stores[0].writing = writing
    await alice.ask(lambda n: frames.Set(n, SettingKind.BLOCK, str(bob), b"1"), Ok)
    assert len(written) == (1 if is_followed else 2)
    assert await _blocks(one, alice, bob) == (None if is_followed else b"1")


async def _put(nodes: Nodes, row: SettingRow) -> None:
    await MemoryStore(nodes.tables).write([Put(SETTINGS, row, row.at)])


# --- the inbox ------------------------------------------------------------------------------


async def test_what_is_left_of_a_closed_session_that_could_not_read_does_not_enter_again(
    nodes: Nodes,
) -> None:
    limits = Limits(receipt_delay_s=0.0, store_retry_s=0.0)
    one, other = await nodes.start(limits=limits), await nodes.start(limits=limits)
    account = await one.register("alice")
    before = await one.online(account)
    nodes.stores[0].failing = {INBOX.name}
    before.session.lose(0.0)
    before.session.sweep(one.services.loop.time())
    await turns()
    now = await other.online(account)
    assert await before.closing() == CloseCode.REPLACED
    nodes.stores[0].failing = set()
    await turns()
    assert now.link.closed is None
    assert [place.node for place in nodes.places.look_up(account.ids()[0])] == [cluster(other).node]


async def test_an_inbox_that_cannot_be_read_for_long_is_read_elsewhere(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.server.session.UNREAD_S", 0.0)
    one = await nodes.start(limits=Limits(receipt_delay_s=0.0, store_retry_s=0.0))
    alice = await one.online(await one.register("alice"))
    nodes.stores[0].failing = {INBOX.name}
    alice.session.lose(0.0)
    alice.session.sweep(one.services.loop.time())
    assert await alice.closing() == CloseCode.UNAVAILABLE


async def test_a_device_whose_inbox_cannot_be_read_for_a_while_keeps_its_connection(nodes: Nodes) -> None:
    one = await nodes.start(limits=Limits(receipt_delay_s=0.0, store_retry_s=0.0))
    alice = await one.online(await one.register("alice"))
    bob = await one.online(await one.register("bob"))
    chat = await alice.open("bob")
    nodes.stores[0].failing = {INBOX.name}
    bob.session.lose(0.0)
    bob.session.sweep(one.services.loop.time())
    await turns()
    assert bob.session.feed is not None
    assert bob.session.feed.is_stalled
    alice.send(chat, "meanwhile")
    await alice.expect(Sent)
    nodes.stores[0].failing = set()
    assert await bob.texts(1) == ["meanwhile"]
    assert bob.link.closed is None


async def test_a_device_that_acknowledges_while_the_store_is_away_keeps_its_connection(nodes: Nodes) -> None:
    one = await nodes.start(limits=Limits(receipt_delay_s=0.0, store_retry_s=0.0))
    alice = await one.online(await one.register("alice"))
    bob = await one.online(await one.register("bob"))
    chat = await alice.open("bob")
    alice.send(chat, "hello")
    await alice.expect(Sent)
    entry = await bob.expect(Deliver)
    nodes.clock.advance(TRUST_S + 1)  # what is known of the conversation is to be read again
    nodes.stores[0].failing = {MEMBERS.name}
    bob.ack()
    await turns()
    nodes.stores[0].failing = set()
    await alice.expect(frames.Receipt, lambda seen: seen.delivered_up_to >= entry.message.message_id)
    assert bob.link.closed is None


# --- strangers ------------------------------------------------------------------------------


async def test_a_message_to_who_was_just_let_in_elsewhere_is_whole_before_repeats_are_recognised(
    nodes: Nodes,
) -> None:
    one, other = await nodes.two(strangers="request")
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    alice.send(chat, "hello?")
    await alice.expect(Sent)
    await bob.ask(lambda n: AnswerRequest(n, chat, True), Ok)
    assert await bob.texts(1) == ["hello?"]
    # Node one still takes bob for somebody who has not let her in, and cannot look.
    nodes.stores[0].failing = {MEMBERS.name}
    sent = alice.send(chat, "are you there?")
    await alice.expect(Error)
    nodes.stores[0].failing = set()
    nodes.clock.advance(TRUST_S)
    alice.say(_repeated(sent, 2))
    await alice.expect(Sent)
    assert await bob.texts(1) == ["are you there?"]


async def test_what_is_let_in_too_late_for_readers_is_written_again(nodes: Nodes) -> None:
    one, other = await nodes.two(strangers="request")
    alice = await one.online(await one.register("alice"))
    bob_account = await one.register("bob")
    bob = await other.online(bob_account)
    chat = await alice.open("bob")
    alice.send(chat, "hello?")
    await alice.expect(Sent)
    slow_writes = 1

    def writing(batch: Batch) -> None:
        nonlocal slow_writes
        if slow_writes and any(isinstance(write, Put) and write.table is INBOX for write in batch):
            slow_writes = 0
            nodes.clock.advance(MARGIN_S + LATE_S)

    nodes.stores[1].writing = writing
    began_ms = nodes.clock.wall_ms()
    await bob.ask(lambda n: AnswerRequest(n, chat, True), Ok)
    assert not slow_writes
    entries = await other.services.inboxes.read(
        bob_account.ids()[0], EntryId(0), now_ms=nodes.clock.wall_ms(), limit=10, limit_bytes=10_000
    )
    assert len(entries) == 2
    assert nodes.clock.wall_ms() - began_ms > LATE_S * 1000
    newest = max(entries, key=lambda entry: entry.entry_id)
    assert _age_s(newest, nodes.clock) < LATE_S
    texts = {frame.message.content for frame in await _delivered(bob)}
    assert texts == {b"hello?"}


async def _naming(device: Device, chat: ConversationId, relation: Relation) -> dict[str, object]:
    """What a message says besides that has a relation to one of the device's, which is sent first."""
    if not relation:
        return {}
    about = device.send(chat, "before")
    target = (await device.expect(Sent)).message_id
    name = Reference(device.session.device_id, about.client_id)
    named: dict[str, object] = {"relation": relation, "relates_to": name, "target": target}
    return named | ({"content_type": "", "content": b""} if relation == Relation.DELETE else {})


async def _under_way(world: World, device: Device) -> Device:
    """An earlier connection of alice's device to another node, in which something still waits."""
    earlier = await world.online(await world.login("alice"), receive=False)
    earlier.session.device_id = device.session.device_id
    return earlier


def _repeated(send: frames.Send, attempt: int) -> frames.Send:
    send.attempt = attempt
    return send


def _age_s(entry: Entry, clock: FakeClock) -> float:
    return (clock.wall_ms() - ids.unix_ms(entry.entry_id)) / 1000


async def _delivered(device: Device) -> list[Deliver]:
    return [frame for frame in await device.settle() if isinstance(frame, Deliver)]


# --- the feed -------------------------------------------------------------------------------


async def test_a_read_that_began_with_a_wrong_clock_moves_no_cursor() -> None:
    bench = Bench()
    for _ in range(10):  # more than a window
        bench.write()
        bench.clock.advance(0.001)
    bench.clock_is_right = False
    await bench.sweep()
    # An entry becomes readable behind what was read, while the window is full.
    late = bench.write(ago_s=0.005)
    bench.clock.advance(60.0)
    bench.clock_is_right = True
    bench.acknowledge()
    await bench.sweep()
    bench.acknowledge()
    await bench.sweep()
    assert bench.cursor < late.entry_id
    await bench.settle()
    assert late.entry_id in bench.sent


async def test_a_gap_found_while_a_read_goes_on_is_looked_into() -> None:
    bench = Bench()
    await bench.settle()
    lost = bench.write(appears_in_s=1.0)
    bench.clock.advance(0.01)
    for _ in range(20):  # more than a window: it reads on where it was
        bench.feed.offer(bench.write())
        bench.clock.advance(0.001)
    bench.acknowledge()
    await bench.sweep()
    bench.acknowledge()
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(after: EntryId, limit: int, limit_bytes: int) -> list[Entry]:
        began.set()
        await go_on.wait()
        return await bench.read(after, limit, limit_bytes)

    reading = asyncio.ensure_future(bench.feed.drain(slowly))
    await began.wait()
    bench.clock.advance(1.0)
    bench.feed.lose(0.0)
    assert bench.feed.is_due(bench.clock.monotonic_s())
    go_on.set()
    await reading
    for _ in range(10):
        bench.acknowledge()
        bench.clock.advance(0.1)
        await bench.sweep()
    assert lost.entry_id in bench.sent
