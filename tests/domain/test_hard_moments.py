"""Two things at once, or one that fails half-way: the rules hold at the worst moment too.

The store is held (or fails) where it hurts, something else happens meanwhile, and what counts is
the state at the end.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import pytest

from tidings.domain import history
from tidings.domain.log import CHUNK_ROWS
from tidings.domain.requests import Knock
from tidings.protocol import errors, frames
from tidings.protocol.frames import (
    AnswerRequest,
    Conversations,
    Deliver,
    Error,
    History,
    InboxExpired,
    MessageInfo,
    Ok,
    Page,
    Reference,
    Relation,
    Send,
    Sent,
    Set,
    SettingKind,
    Status,
    Synced,
)
from tidings.protocol.ids import ConversationId, MessageId
from tidings.protocol.limits import Limits
from tidings.store.contract import Batch, Erase, Key, R, Row, StoreUnavailable, Table
from tidings.store.memory import Fault, MemoryStore, NoFaults, Tables
from tidings.store.schema import (
    EXPIRIES,
    INBOX,
    MEMBERS,
    MEMBERSHIPS,
    MESSAGES,
    RELATIONS,
    SETTINGS,
    SettingRow,
)
from tidings.testing.clock import FakeClock
from tidings.testing.world import Device, World

HELD = 900
"""The request that a test begins and does not wait for."""
DAY_S = 86_400.0
HOUR_MS = 3_600_000

Writes = Callable[[Batch], bool]
Reads = Callable[[Table[Row], Sequence[Key]], bool]


class Gate(MemoryStore):
    """Holds one write or read that a test chooses, or fails writes, and counts what is read."""

    def __init__(self, tables: Tables | None = None) -> None:
        super().__init__(tables)
        self.failing: Writes | None = None
        self.hold_write: Writes | None = None
        self.hold_read: Reads | None = None
        """what was read is held: it is old by the time it is released"""
        self.held = asyncio.Event()
        self.rows: Counter[str] = Counter()
        """by table: rows read in ranges"""
        self.ranges: Counter[str] = Counter()
        self._released = asyncio.Event()

    def release(self) -> None:
        self._released.set()

    async def write(self, batch: Batch) -> None:
        if self.failing is not None and self.failing(batch):
            raise StoreUnavailable("planned")
        if self.hold_write is not None and self.hold_write(batch):
            self.hold_write = None
            await self._hold()
        await super().write(batch)

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        found = await super().get_many(table, keys)
        await self._hold_if_chosen(table, keys)
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
        found = await super().range(
            table, partition, after=after, before=before, limit=limit, backwards=backwards
        )
        self.ranges[table.name] += 1
        self.rows[table.name] += len(found)
        await self._hold_if_chosen(table, [partition])
        return found

    async def _hold_if_chosen(self, table: Table[R], keys: Sequence[Key]) -> None:
        if self.hold_read is not None and self.hold_read(table, keys):  # type: ignore[arg-type]
            self.hold_read = None
            await self._hold()

    async def _hold(self) -> None:
        self.held.set()
        await self._released.wait()


class TornAfterTheLog(NoFaults):
    """A crash amid a change of a message: it got no further than the log."""

    def of_write(self, batch: Batch) -> Fault | None:
        return Fault.TORN if writes(RELATIONS)(batch) else None

    def survives(self, partition: tuple[str, Key]) -> bool:
        return partition[0] == MESSAGES.name


def writes(table: Table[R]) -> Writes:
    """Batches with a row of a table."""
    return lambda batch: any(not isinstance(write, Erase) and write.table is table for write in batch)


def announces(batch: Batch) -> bool:
    """Batches that tell somebody of a request."""
    rows = [write.row for write in batch if not isinstance(write, Erase)]
    return any(isinstance(row, SettingRow) and row.kind == SettingKind.REQUEST for row in rows)


def reads(table: Table[R], *columns: object) -> Reads:
    """Reads of a table where a key has these columns after its first."""
    return lambda read, keys: (
        read.name == table.name and (not columns or any(key[1 : 1 + len(columns)] == columns for key in keys))
    )


async def turns(count: int = 50) -> None:
    """Let everything go as far as it can."""
    for _ in range(count):
        await asyncio.sleep(0)


class Said(NamedTuple):
    """How to refer to a message, and where it stands."""

    reference: Reference
    place: MessageId


class Talk(NamedTuple):
    """Alice and bob, their conversation, and the store underneath."""

    world: World
    store: Gate
    alice: Device
    bob: Device
    conversation: ConversationId

    async def say(self, who: Device, text: str, **options: object) -> Said:
        frame = who.send(self.conversation, text, **options)
        sent = await who.expect(Sent, lambda sent: sent.client_id == frame.client_id)
        return Said(Reference(who.session.device_id, frame.client_id), sent.message_id)

    def about(self, who: Device, target: Said, relation: Relation, text: str = "") -> Send:
        """Say something about a message, without waiting."""
        return who.send(
            self.conversation, text, relation=relation, relates_to=target.reference, target=target.place
        )

    async def change(self, who: Device, target: Said, relation: Relation, text: str = "") -> None:
        frame = self.about(who, target, relation, text)
        await who.expect(Sent, lambda sent: sent.client_id == frame.client_id)

    async def page(self, who: Device, **query: object) -> Page:
        return await who.ask(lambda n: History(n, self.conversation, **query), Page)  # type: ignore[arg-type]

    async def accept(self, who: Device) -> None:
        await who.ask(lambda n: AnswerRequest(n, self.conversation, accept=True), Ok)

    def begin_to_accept(self, who: Device) -> None:
        who.say(AnswerRequest(HELD, self.conversation, accept=True))


async def talk(
    strangers: str = "deliver",
    *,
    limits: Limits | None = None,
    clock: FakeClock | None = None,
    tables: Tables | None = None,
) -> Talk:
    store = Gate(tables)
    world = await World.start(store, strangers=strangers, limits=limits, clock=clock)
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    return Talk(world, store, alice, bob, await alice.open("bob"))


async def strangers(limits: Limits | None = None, tables: Tables | None = None) -> Talk:
    """Bob has not let alice in."""
    return await talk("request", limits=limits, tables=tables)


async def set_about(who: Device, kind: SettingKind, whom: Device, value: bytes) -> None:
    await who.ask(lambda n: Set(n, kind, key_of(whom), value), Ok)


async def block(who: Device, whom: Device) -> None:
    await set_about(who, SettingKind.BLOCK, whom, b"1")


async def befriend(who: Device, whom: Device) -> None:
    await set_about(who, SettingKind.CONTACT, whom, b"-")


def key_of(device: Device) -> str:
    """The key of a setting about somebody."""
    user_id, _ = device.account.ids()
    return str(user_id)


async def knocks(device: Device) -> list[Knock]:
    """The requests that wait, as a device that has just come finds them."""
    synced = await device.ask(lambda n: frames.Sync(n, 0), Synced)
    return [
        msgspec.msgpack.decode(setting.value, type=Knock)
        for setting in synced.settings
        if setting.kind == SettingKind.REQUEST and setting.value
    ]


async def texts(device: Device) -> list[str]:
    """What came and was not expected yet."""
    found: list[str] = []
    await device.settle_into(found)
    return found


async def answered(device: Device) -> None:
    """What was begun is done."""
    await device.expect(Ok, lambda ok: ok.request_id == HELD)


async def outcome(device: Device, frame: Send) -> Sent | Error:
    """What a sender is told about a message."""
    told = await device.expect(
        frames.Frame, lambda told: isinstance(told, Sent | Error) and told.client_id == frame.client_id
    )
    assert isinstance(told, Sent | Error)
    return told


async def crowd_out(world: World) -> None:
    """Others talk: memory forgets what came before, where it holds one conversation."""
    carol = await world.online(await world.register("carol"))
    await world.register("dave")
    await carol.open("dave")


async def holds(store: MemoryStore, secret: bytes) -> bool:
    """Whether something stands anywhere that messages do."""
    rows: list[Row] = [
        *await store.scan(MESSAGES, limit=1000),
        *await store.scan(INBOX, limit=1000),
        *await store.scan(RELATIONS, limit=1000),
    ]
    assert rows
    return any(secret in msgspec.msgpack.encode(row) for row in rows)


SMALL_MEMORY = Limits(receipt_delay_s=0.0, conversations_cached=1)


# --- letting in -----------------------------------------------------------------------------


async def test_what_waited_stays_before_what_comes_while_it_is_copied() -> None:
    here = await strangers()
    carol = await here.world.online(await here.world.register("carol"))
    await befriend(here.bob, carol)
    elsewhere = await carol.open("bob")
    await here.say(here.alice, "waited")
    here.store.hold_write = writes(INBOX)
    here.begin_to_accept(here.bob)
    await here.store.held.wait()
    carol.send(elsewhere, "live")
    await turns()
    here.store.release()
    await answered(here.bob)
    await carol.expect(Sent)
    found = await texts(here.bob)
    # The cursor is past whatever has a lower id than the last one acknowledged.
    here.bob.ack()
    await here.bob.settle()
    here.bob.drop()
    again = await here.world.online(here.bob.account)
    assert found + await texts(again) == ["waited", "live"]


async def test_a_request_whose_removal_failed_goes_with_the_next_answer() -> None:
    here = await strangers()
    await here.say(here.alice, "hello")
    here.store.failing = announces
    here.begin_to_accept(here.bob)
    await here.bob.expect(Error)
    here.store.failing = None
    assert await knocks(here.bob) != []
    await here.accept(here.bob)
    assert await knocks(here.bob) == []


async def test_a_knock_at_the_moment_of_the_answer_leaves_no_request_behind() -> None:
    here = await strangers()
    await here.say(here.alice, "hello")
    here.store.hold_read = reads(SETTINGS, SettingKind.REQUEST)
    here.alice.send(here.conversation, "again")
    await here.store.held.wait()
    here.begin_to_accept(here.bob)
    await turns()
    here.store.release()
    await here.alice.expect(Sent)
    await answered(here.bob)
    assert await here.bob.texts(2) == ["hello", "again"]
    assert await knocks(here.bob) == []


async def test_a_knock_that_failed_is_not_counted() -> None:
    here = await strangers(Limits(receipt_delay_s=0.0, request_messages=2))
    here.store.failing = writes(MESSAGES)
    frame = here.alice.send(here.conversation, "hello")
    assert isinstance(await outcome(here.alice, frame), Error)
    for _ in range(3):
        frame.attempt += 1
        here.alice.say(frame)
        assert isinstance(await outcome(here.alice, frame), Error)
    here.store.failing = None
    frame.attempt += 1
    here.alice.say(frame)
    assert isinstance(await outcome(here.alice, frame), Sent)


async def test_a_repeat_while_the_first_attempt_knocks_makes_no_twin() -> None:
    here = await strangers()
    here.store.hold_write = announces
    frame = here.alice.send(here.conversation, "hello")
    await here.store.held.wait()
    here.alice.drop()
    again = await here.world.online(here.alice.account)
    frame.attempt = 2
    again.say(frame)
    await turns()
    here.store.release()
    await again.expect(Sent)
    await again.settle()
    assert len((await here.page(again)).items) == 1
    assert [knock.count for knock in await knocks(here.bob)] == [1]


async def test_what_is_deleted_while_one_is_let_in_does_not_come_back() -> None:
    here = await strangers()
    said = await here.say(here.alice, "a secret")
    here.store.hold_read = reads(MESSAGES)
    here.begin_to_accept(here.bob)
    await here.store.held.wait()
    here.about(here.alice, said, Relation.DELETE)
    await turns()
    here.store.release()
    await answered(here.bob)
    await here.alice.expect(Sent)
    for who in (here.alice, here.bob):
        assert [item.message.content for item in (await here.page(who)).items] == [b""]
    assert not await holds(here.store, b"a secret")


async def test_a_contact_made_while_the_conversation_is_opened_needs_not_to_knock() -> None:
    store = Gate()
    world = await World.start(store, strangers="request")
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    store.hold_read = reads(SETTINGS, SettingKind.CONTACT, key_of(alice))
    alice.say(frames.OpenDirect(HELD, "bob"))
    await store.held.wait()
    bob.say(Set(HELD, SettingKind.CONTACT, key_of(alice), b"-"))
    await turns()
    store.release()
    await answered(bob)
    opened = await alice.expect(frames.Conversation)
    alice.send(opened.conversation_id, "hello")
    assert await bob.texts(1) == ["hello"]


async def test_a_contact_whose_letting_in_failed_is_let_in_by_the_next_message() -> None:
    here = await strangers()
    await here.say(here.alice, "hello")
    here.store.failing = writes(INBOX)
    await befriend(here.bob, here.alice)
    await turns()
    here.store.failing = None
    assert await texts(here.bob) == []
    await here.say(here.alice, "again")
    assert await here.bob.texts(2) == ["hello", "again"]


async def test_letting_in_that_failed_at_its_end_delivers_once_all_the_same() -> None:
    here = await strangers()
    await here.say(here.alice, "hello")
    here.store.failing = writes(MEMBERS)
    here.begin_to_accept(here.bob)
    await here.bob.expect(Error)
    here.store.failing = None
    await here.accept(here.bob)
    here.bob.drop()
    again = await here.world.online(here.bob.account)
    assert await texts(again) == ["hello"]


async def test_letting_in_delivers_all_that_waited_also_beyond_a_lower_limit() -> None:
    tables = Tables()
    here = await strangers(tables=tables)
    for number in range(5):
        await here.say(here.alice, f"{number}")
    lower = Limits(receipt_delay_s=0.0, request_messages=2)
    again = await World.start(MemoryStore(tables), strangers="request", limits=lower, seed=2)
    bob = await again.online(here.bob.account)
    await here.accept(bob)
    assert await bob.texts(5) == ["0", "1", "2", "3", "4"]


async def test_a_stranger_who_may_knock_no_more_may_still_delete() -> None:
    here = await strangers(Limits(receipt_delay_s=0.0, request_messages=2))
    said = [await here.say(here.alice, f"{number}") for number in range(2)]
    refused = await outcome(here.alice, here.alice.send(here.conversation, "one more"))
    assert isinstance(refused, Error)
    assert refused.code == errors.REQUEST_PENDING.code
    assert isinstance(await outcome(here.alice, here.about(here.alice, said[0], Relation.DELETE)), Sent)


async def test_a_conversation_that_a_stranger_only_opened_is_not_listed() -> None:
    here = await strangers()
    assert (await here.bob.ask(Conversations, frames.ConversationList)).items == []
    assert len((await here.alice.ask(Conversations, frames.ConversationList)).items) == 1


# --- changes of messages --------------------------------------------------------------------


@pytest.mark.parametrize("first", [Relation.EDIT, Relation.DELETE])
async def test_an_edit_and_a_delete_at_once_leave_nothing_in_either_order(first: Relation) -> None:
    here = await talk()
    said = await here.say(here.alice, "a secret")
    second = Relation.DELETE if first == Relation.EDIT else Relation.EDIT
    here.store.hold_write = writes(RELATIONS)
    sent = []
    for relation in (first, second):
        text = "a secret, edited" if relation == Relation.EDIT else ""
        sent.append(here.about(here.alice, said, relation, text))
        await here.store.held.wait()
    await turns()
    here.store.release()
    told = [await outcome(here.alice, frame) for frame in sent]
    assert isinstance(told[0], Sent)
    assert isinstance(told[1], Sent) is (second == Relation.DELETE)
    assert not await holds(here.store, b"a secret")


async def test_a_delete_that_a_crash_tore_is_finished_by_its_repeat() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables, faults=TornAfterTheLog()))
    alice = await world.online(await world.register("alice"))
    account = await world.register("bob")
    conversation = await alice.open("bob")
    frame = alice.send(conversation, "a secret")
    place = (await alice.expect(Sent)).message_id
    reference = Reference(alice.session.device_id, frame.client_id)
    delete = alice.send(conversation, "", relation=Relation.DELETE, relates_to=reference, target=place)
    assert isinstance(await outcome(alice, delete), Error)

    store = MemoryStore(tables)
    assert await holds(store, b"a secret")  # in bob's inbox
    later = await World.start(store, seed=2)
    alice = await later.online(alice.account)
    delete.attempt = 2
    alice.say(delete)
    assert isinstance(await outcome(alice, delete), Sent)
    assert not await holds(store, b"a secret")
    bob = await later.online(account)
    assert [frame.message.relation for frame in await bob.settle() if isinstance(frame, Deliver)] == [
        Relation.DELETE
    ]


async def test_a_crowd_of_reactions_at_once_does_not_pass_the_limit() -> None:
    here = await talk(limits=Limits(receipt_delay_s=0.0, relations_per_message=2))
    said = await here.say(here.alice, "hello")
    here.store.hold_write = writes(RELATIONS)
    reactions = [here.about(here.bob, said, Relation.REACTION, f"{number}") for number in range(6)]
    await here.store.held.wait()
    await turns()
    here.store.release()
    told = [await outcome(here.bob, frame) for frame in reactions]
    assert sum(isinstance(answer, Sent) for answer in told) == 2
    assert {answer.code for answer in told if isinstance(answer, Error)} == {errors.TOO_LARGE.code}
    assert len((await here.page(here.alice)).relations) == 2


async def test_a_page_ends_though_one_message_has_more_changes_than_it_takes() -> None:
    here = await talk(limits=Limits(receipt_delay_s=0.0, page_relations=3))
    said = await here.say(here.alice, "hello")
    for number in range(6):
        await here.change(here.bob, said, Relation.REACTION, f"{number}")
    page = await here.page(here.bob)
    assert [item.message.content for item in page.items] == [b"hello"]
    assert [message.content for message in page.relations] == [b"0", b"1", b"2"]


# --- what memory forgets --------------------------------------------------------------------


async def test_who_is_let_in_while_memory_forgets_the_conversation_is_in() -> None:
    here = await strangers(SMALL_MEMORY)
    await here.say(here.alice, "waited")
    here.store.hold_read = reads(MESSAGES)
    here.begin_to_accept(here.bob)
    await here.store.held.wait()
    await crowd_out(here.world)
    assert len((await here.page(here.alice)).items) == 1  # with bob still pending
    here.store.release()
    await answered(here.bob)
    assert len((await here.page(here.bob)).items) == 1
    await here.say(here.alice, "after")
    assert await here.bob.texts(2) == ["waited", "after"]


async def test_a_block_reaches_what_is_being_checked_when_memory_forgets_the_conversation() -> None:
    here = await talk(limits=SMALL_MEMORY)
    said = await here.say(here.alice, "hello")
    here.store.hold_read = reads(RELATIONS)
    here.about(here.alice, said, Relation.EDIT, "an insult")
    await here.store.held.wait()
    await crowd_out(here.world)
    await block(here.bob, here.alice)
    here.store.release()
    await here.alice.expect(Sent)
    assert await texts(here.bob) == ["hello"]


# --- blocks and privacy ---------------------------------------------------------------------


async def test_what_was_asked_before_a_block_does_not_undo_it() -> None:
    here = await talk()
    here.store.hold_read = reads(SETTINGS, SettingKind.BLOCK, key_of(here.alice))
    here.alice.say(Set(HELD, SettingKind.PRIVACY, "receipts", b"everyone"))
    await here.store.held.wait()
    here.bob.say(Set(HELD, SettingKind.BLOCK, key_of(here.alice), b"1"))
    await turns()
    here.store.release()
    await answered(here.bob)
    await answered(here.alice)
    await here.say(here.alice, "an insult")
    assert await texts(here.bob) == []


async def test_what_a_blocked_one_says_about_a_shown_message_stays_hidden() -> None:
    here = await talk()
    said = await here.say(here.alice, "hello")
    await block(here.bob, here.alice)
    await here.change(here.alice, said, Relation.EDIT, "an insult in an edit")
    await here.change(here.alice, said, Relation.REACTION, "an insult")
    page = await here.page(here.bob)
    assert [item.message.content for item in page.items] == [b"hello"]
    assert page.relations == []
    assert len((await here.page(here.alice)).relations) == 2


async def test_what_is_said_about_a_hidden_message_does_not_show_between_others() -> None:
    here = await talk()
    await here.say(here.alice, "one")
    await block(here.bob, here.alice)
    hidden = await here.say(here.alice, "hidden")
    await here.change(here.alice, hidden, Relation.EDIT, "an insult")
    await set_about(here.bob, SettingKind.BLOCK, here.alice, b"")
    await here.change(here.alice, hidden, Relation.EDIT, "an insult by one no longer blocked")
    await here.say(here.bob, "three")
    page = await here.page(here.bob)
    assert [item.message.content for item in page.items] == [b"one", b"three"]
    assert page.relations == []


async def test_what_was_told_of_reading_before_a_block_stays_told() -> None:
    clock = FakeClock()
    here = await talk(clock=clock)
    said = await here.say(here.alice, "hello")
    await here.bob.ask(lambda n: frames.Read(n, here.conversation, said.place), Ok)
    clock.advance(1.0)
    await block(here.bob, here.alice)
    # It would be a way to see the block.
    assert (await here.page(here.alice)).items[0].status == Status.READ


async def test_a_list_does_not_tell_the_place_of_a_hidden_message() -> None:
    here = await talk()
    await block(here.bob, here.alice)
    await here.say(here.alice, "hidden")
    listed = await here.bob.ask(Conversations, frames.ConversationList)
    assert [(item.newest, item.unread) for item in listed.items] == [(0, 0)]


async def test_who_hides_reading_is_still_said_to_have_it_at_some_time() -> None:
    clock = FakeClock()
    here = await talk(clock=clock)
    said = await here.say(here.alice, "hello")
    sent_ms = clock.wall_ms()
    await here.bob.ask(lambda n: frames.Read(n, here.conversation, said.place), Ok)
    await here.bob.ask(lambda n: Set(n, SettingKind.PRIVACY, "receipts", b"nobody"), Ok)
    clock.advance(100 * DAY_S)
    await here.store.expire(clock.wall_ms())  # the log of when goes
    info = await here.alice.ask(lambda n: frames.Info(n, here.conversation, said.place), MessageInfo)
    assert info.members[0].delivered_at_ms >= sent_ms
    assert info.members[0].read_at_ms == 0


async def test_who_may_see_a_picture_concerns_no_conversation() -> None:
    here = await talk()
    before = here.store.ranges[MEMBERSHIPS.name]
    await here.bob.ask(lambda n: Set(n, SettingKind.PRIVACY, "picture", b"nobody"), Ok)
    assert here.store.ranges[MEMBERSHIPS.name] == before
    await here.bob.ask(lambda n: Set(n, SettingKind.PRIVACY, "receipts", b"nobody"), Ok)
    assert here.store.ranges[MEMBERSHIPS.name] == before + 1


# --- what is bounded ------------------------------------------------------------------------


async def say_often(here: Talk, count: int) -> None:
    last = [here.alice.send(here.conversation, f"{number}") for number in range(count)][-1]
    assert isinstance(await outcome(here.alice, last), Sent)


async def test_counting_the_unread_passes_over_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PASSED_OVER", 100)
    here = await talk()
    await say_often(here, 400)  # none of which is unread by herself
    before = here.store.rows[MESSAGES.name]
    listed = await here.alice.ask(Conversations, frames.ConversationList)
    assert listed.items[0].unread == 0
    assert here.store.rows[MESSAGES.name] - before <= 100 + CHUNK_ROWS


async def test_pages_over_many_hidden_messages_are_bounded_and_come_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "PASSED_OVER", 100)
    here = await talk()
    await here.say(here.alice, "before")
    await block(here.bob, here.alice)
    await say_often(here, 400)
    found: list[bytes] = []
    pages, place = 0, None
    while True:
        before = here.store.rows[MESSAGES.name]
        page = await here.page(here.bob, before=place)
        assert here.store.rows[MESSAGES.name] - before <= 100 + CHUNK_ROWS
        found += [item.message.content for item in page.items]
        pages += 1
        if not page.more:
            break
        assert place is None or page.next < place
        place = page.next
    assert found == [b"before"]
    assert pages > 1


# --- what expires ---------------------------------------------------------------------------


async def test_an_edit_vanishes_with_its_message_before_the_sweep_comes_by() -> None:
    clock = FakeClock()
    here = await talk(clock=clock)
    said = await here.say(here.alice, "a secret", expires_at=clock.wall_ms() + 1000)
    await here.change(here.alice, said, Relation.EDIT, "a secret, edited")
    clock.advance(2.0)
    page = await here.page(here.bob)
    assert [item.message.content for item in page.items] == [b""]
    assert page.relations == []


async def test_a_note_that_is_late_for_its_hour_is_swept_all_the_same() -> None:
    clock = FakeClock()
    here = await talk(clock=clock)
    sweep = here.world.services.eraser.sweep
    await sweep(clock.wall_ms())
    hour_ms = (clock.wall_ms() // HOUR_MS + 1) * HOUR_MS
    clock.advance((hour_ms - clock.wall_ms()) / 1000 - 1)
    here.store.hold_write = writes(EXPIRIES)
    here.alice.send(here.conversation, "a secret", expires_at=hour_ms - 1)
    await here.store.held.wait()
    clock.advance(2.0)
    assert await sweep(clock.wall_ms()) == 0
    here.store.release()
    await here.alice.expect(Sent)
    assert await sweep(clock.wall_ms()) == 1
    assert not await holds(here.store, b"a secret")


async def test_a_device_that_comes_often_and_hears_nothing_missed_nothing() -> None:
    clock = FakeClock()
    here = await talk(clock=clock)
    bob = here.bob
    for _ in range(10):
        bob.drop()
        clock.advance(5 * DAY_S)
        bob = await here.world.online(bob.account)
        assert not any(isinstance(frame, InboxExpired) for frame in bob.seen)
