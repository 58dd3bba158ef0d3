"""Moments in which something was lost, told wrongly, or stuck for ever: a test for each that was found."""

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from client.at_rest import KEY
from client.fakes import FakeClock, FakeSocket, settle
from client.memory_world import PATIENCE_S, Screen, until
from client.test_inbox import BOB, BOBS, LAPTOP, ME, NOW_MS, POSTING, THERE, database, deliver, name
from client.test_settings import FakeConnection
from client.test_state import Cast, cast, newest, said, settled, texts
from tidings.client import (
    Client,
    ClientError,
    ExpiredEvent,
    Message,
    MessageEvent,
    Refused,
    SentEvent,
    Surroundings,
    inbox,
    transcript,
    vault,
)
from tidings.client import settings as stored
from tidings.client.connection import Answer, Connection
from tidings.client.conversations import Conversations
from tidings.client.errors import ClientClosed
from tidings.client.outbox import ClientIds, Draft
from tidings.client.parts import ELSEWHERE_S
from tidings.client.profile import FileLock
from tidings.client.server_time import ServerTime, surely_ms
from tidings.client.settings import Settings
from tidings.client.state import State, load
from tidings.client.surroundings import connect
from tidings.client.transcript import Origin, Self
from tidings.client.transmitter import Transmitter
from tidings.client.vault import Vault
from tidings.client.watching import Watching
from tidings.protocol import errors, frames
from tidings.protocol.frames import (
    Changed,
    Frame,
    Hello,
    Member,
    Ok,
    OpenDirect,
    Presences,
    Reference,
    Relation,
    Send,
    Sent,
    Set,
    Setting,
    SettingKind,
)
from tidings.protocol.ids import DeviceId, EntryId, MessageId, UserId, direct_conversation_id

__all__ = ["cast", "database"]

pytestmark = pytest.mark.slow

PIN = SettingKind.PIN
NO_TEXT = "\udcff"


# --- input ----------------------------------------------------------------------------------


async def test_no_input_ends_the_client_or_spoils_the_profile(cast: Cast) -> None:
    message = await said(cast)
    me = cast.phone.client
    named = replace(message, reference=Reference(DeviceId(1), name(1)[:3]))  # type: ignore[arg-type]
    for number, doing in enumerate(
        (
            me.send("bob", NO_TEXT),
            me.send(NO_TEXT, "x"),
            me.send("bob", "x", content_type=NO_TEXT),
            me.send("bob", "x", reply_to=named),
            me.send("bob", "x", expires_in_s=0),
            me.send("bob", "x", expires_in_s=float("nan")),
            me.send("bob", "x", expires_in_s=float("inf")),
            me.people.find(NO_TEXT),
            me.people.find("x" * 300_000),
            me.people.report("bob", NO_TEXT),
            me.people.add("bob", nickname=NO_TEXT),
            me.people.set_privacy("phone", NO_TEXT),
            me.chats.draft("bob", "x" * 300_000),
            me.chats.draft("bob", NO_TEXT),
            me.chats.mute("bob", for_s=float("inf")),
            me.chats.timer("bob", -1),
            me.chats.timer("bob", 10**30),
            me.chats.timer("bob", 0.5),  # type: ignore[arg-type]
            me.history("bob", before=MessageId(-1)),
            me.history("bob", after=MessageId(2**70)),
            me.mark_read("bob", up_to=MessageId(-1)),
            me.mark_read("bob", up_to=MessageId(2**62)),
            me.messages.recent("bob", limit=-1),
            me.messages.recent("bob", before=MessageId(2**70)),
            me.messages.info(replace(message, message_id=MessageId(-1))),
            me.messages.edit(message, NO_TEXT),
            me.messages.react(replace(message, conversation_id=b"x"), "a"),  # type: ignore[arg-type]
            me.state(messages=0),
        )
    ):
        assert isinstance(await outcome(doing), ClientError), f"call {number}"
    with pytest.raises(TypeError):
        await me.send("bob", 5)  # type: ignore[arg-type]
    await me.send("bob", "still there")
    await me.flushed()
    with pytest.raises(ClientError, match="not open"):
        _ = Client.open("nowhere").handle
    assert (await me.people.add("bob", nickname="-")).nickname == ""
    assert texts(await me.state(), "@@bob".lstrip("@"))[-1] == "still there"
    assert (await me.messages.recent("@@Bob"))[-1].text == "still there"


async def outcome(doing: Awaitable[object]) -> object:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await doing
    except Exception as error:
        return error


# --- time -----------------------------------------------------------------------------------


async def test_what_came_vanishes_in_time_though_nothing_else_happens(cast: Cast) -> None:
    await said(cast)
    # Once at the beginning it is looked what other processes did.
    await asyncio.sleep(ELSEWHERE_S + 0.2)
    await cast.phone.client.send("bob", "gone soon", expires_in_s=0.3)
    for screen in cast.screens:
        await until(lambda screen=screen: [e for e in screen.events if isinstance(e, ExpiredEvent)])  # type: ignore[misc]
        assert [len(chat.newest.text) for chat in screen.state.chats if chat.newest] == [14]


async def test_what_a_side_client_erases_is_told_to_the_one_that_receives(cast: Cast) -> None:
    await said(cast)
    await cast.bob.client.send("alice", "gone soon", expires_in_s=1000)
    await cast.phone.until(lambda state: len(texts(state, "bob")) == 2)
    async with Client.open(cast.phone._profile, receive=False) as side:
        now_ms = cast.devices.world.clock.wall_ms() + 2_000_000
        await side._open.vault.write(lambda database: transcript.expire(database, now_ms))
    await cast.phone.until(lambda state: texts(state, "bob") == ["Supper at sevn"])


def test_all_that_vanishes_at_once_is_told_also_what_is_just_being_told(database: sqlite3.Connection) -> None:
    def arrive(numbers: range) -> None:
        for number in numbers:
            one = deliver(number, number)
            one.message.expires_at = 1000
            inbox.store(database, [one], ME, POSTING, NOW_MS)

    def told() -> list[inbox.Waiting]:
        return inbox.waiting(database, ME, 5000)[0]

    arrive(range(1, 1501))
    for one in told():
        inbox.consume(database, one)
    arrive(range(1501, 1503))
    early, late = told()
    transcript.expire(database, 1000)
    inbox.consume(database, early)
    gone = [one.event for one in told() if isinstance(one.event, ExpiredEvent)]
    assert len(gone) == 1501
    (unread,) = [one.event for one in told() if isinstance(one.event, MessageEvent)]
    assert (unread.expired, unread.content) == (True, b"")
    for one in told():
        inbox.consume(database, one)
    assert told() == []
    inbox.consume(database, late)
    assert [type(one.event) for one in told()] == [ExpiredEvent]


def test_what_vanishes_between_being_loaded_and_being_told(database: sqlite3.Connection) -> None:
    one = deliver(1, 1)
    one.message.expires_at = 1000
    inbox.store(database, [one], ME, POSTING, NOW_MS)
    state = load(database, ME, 10)
    transcript.expire(database, 1000)
    for row in inbox.waiting(database, ME, 10)[0]:
        assert row.event is not None
        state.apply(row.event)
    assert state == load(database, ME, 10)


async def test_a_clock_that_is_put_right_hurries_nothing() -> None:
    class Machine(FakeClock):
        ahead_ms = 0

        def wall_ms(self) -> int:
            return super().wall_ms() + self.ahead_ms

    clock = Machine()
    right_ms = clock.wall_ms()
    clock.ahead_ms = -3_600_000
    time = ServerTime(clock, 0)
    offset_ms = time.heard(right_ms)
    clock.ahead_ms = 0
    await clock.advance(1)
    assert time.now_ms() == time.surely_ms() == right_ms + 1000
    # The same for the next process, before it has heard of the server.
    assert surely_ms(clock.wall_ms(), offset_ms) == right_ms + 1000
    assert ServerTime(clock, offset_ms).surely_ms() == right_ms + 1000
    # One that was ahead and may still be.
    assert surely_ms(clock.wall_ms(), -5000) == right_ms - 4000


async def test_calls_at_once_go_out_in_their_order(cast: Cast) -> None:
    for _ in range(3):  # nothing waits, or a moment ago something did
        sends = [asyncio.ensure_future(cast.phone.client.send("bob", f"{number}")) for number in range(5)]
        sent = await asyncio.gather(*sends)
        assert [one.message_id for one in sent] == sorted(one.message_id for one in sent)


async def test_a_timer_holds_for_what_is_forwarded_and_for_a_first_message(cast: Cast) -> None:
    await cast.laptop.client.chats.timer("bob", 1000)
    await cast.phone.until(lambda state: len(state.settings) == 2)
    await cast.phone.client.send("bob", "first")
    await cast.phone.until(lambda state: texts(state, "bob") == ["first"])
    await cast.phone.client.messages.forward(newest(cast.phone.state, "bob"), "bob")
    await cast.bob.until(lambda state: len(texts(state, "alice")) == 2)
    assert all(one.expires_at is not None for one in cast.bob.state.messages("alice"))


async def test_what_has_vanished_takes_no_room_from_what_is_there(cast: Cast) -> None:
    await said(cast)
    me = cast.phone.client
    for number in range(12):
        await me.send("bob", str(number), expires_in_s=1000)
    now_ms = cast.devices.world.clock.wall_ms() + 2_000_000
    await me._open.vault.write(lambda database: transcript.expire(database, now_ms))
    assert [one.text for one in await me.messages.recent("bob", limit=5)] == ["Supper at sevn"]


def test_what_is_said_about_what_is_gone_stays_on_no_disk(database: sqlite3.Connection) -> None:
    def arrive(number: int, relation: Relation, about: int, **changes: object) -> None:
        one = deliver(number, number)
        one.message.relation = relation
        one.message.relates_to = Reference(BOBS, name(about)) if about else None
        for field, value in changes.items():
            setattr(one.message, field, value)
        inbox.store(database, [one], ME, POSTING, NOW_MS)

    def contents() -> list[bytes]:
        return [row[0] for row in database.execute("SELECT content FROM messages WHERE content <> x''")]

    # The target is not here (yet).
    arrive(2, Relation.EDIT, 1)
    arrive(3, Relation.EDIT, 1, sender_id=UserId(66))
    arrive(4, Relation.DELETE, 1, content=b"", content_type="")
    assert contents() == [b"m3"]
    arrive(1, Relation.NONE, 0)
    assert contents() == []
    # The target has had its time.
    arrive(5, Relation.NONE, 0, expires_at=10)
    transcript.expire(database, 10)
    arrive(6, Relation.EDIT, 5)
    arrive(7, Relation.REACTION, 5)
    assert contents() == []


# --- settings -------------------------------------------------------------------------------


@pytest.fixture
async def profile(tmp_path: Path) -> AsyncIterator[Vault]:
    vault.create(tmp_path / "profile.db", KEY)
    opened = await Vault.open(tmp_path / "profile.db", KEY, connect, now_ms=0)
    yield opened
    await opened.close()


def settings_of(profile: Vault, folder: Path) -> Settings:
    return Settings(profile, FakeClock(), lambda: None, FileLock(folder / "settings.lock"), is_sealed=False)


def test_an_answer_is_not_taken_for_a_later_changes(database: sqlite3.Connection) -> None:
    """Two processes have both sent the first one; the second one is written between their answers."""
    stored.change(database, PIN, "k", b"one")
    (sent,) = stored.pending(database)
    stored.confirm(database, sent)
    stored.change(database, PIN, "k", b"two")
    stored.confirm(database, sent)
    assert [one.value for one in stored.pending(database)] == [b"two"]
    refusal = Refused(7, "too_large", "too many")
    stored.undo(database, sent, refusal, 0)
    assert [one.value for one in stored.pending(database)] == [b"two"]


async def test_one_process_at_a_time_sends_settings(profile: Vault, tmp_path: Path) -> None:
    here, there = settings_of(profile, tmp_path), settings_of(profile, tmp_path)
    waiting = asyncio.ensure_future(here.set(PIN, "k", b"1"))
    connections = [FakeConnection(), FakeConnection()]
    runs = [
        asyncio.ensure_future(one.run(connection))  # type: ignore[arg-type]
        for one, connection in zip((here, there), connections, strict=True)
    ]
    while not connections[0].seen:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert connections[1].seen == []
    connections[0].answers.put_nowait(None)
    await waiting
    for run in runs:
        run.cancel()


async def test_a_refusal_that_another_process_got_is_no_success(profile: Vault, tmp_path: Path) -> None:
    here, there = settings_of(profile, tmp_path), settings_of(profile, tmp_path)
    waiting = asyncio.ensure_future(here.set(PIN, "k", b"1"))
    while not await profile.read(stored.pending):
        await asyncio.sleep(0)
    refusing = FakeConnection()
    refusing.answers.put_nowait(Refused(errors.TOO_LARGE.code, "too_large", "too many"))
    run = asyncio.ensure_future(there.run(refusing))  # type: ignore[arg-type]
    while await profile.read(stored.pending):
        await asyncio.sleep(0)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    run = asyncio.ensure_future(here.run(FakeConnection()))  # type: ignore[arg-type]
    with pytest.raises(Refused, match="too many"):
        await waiting
    run.cancel()


async def test_a_refusal_is_that_of_the_change_it_is_for(profile: Vault, tmp_path: Path) -> None:
    own = settings_of(profile, tmp_path)
    connection = FakeConnection()
    run = asyncio.ensure_future(own.run(connection))  # type: ignore[arg-type]
    first = asyncio.ensure_future(own.set(PIN, "k", b"too much"))
    while not connection.seen:
        await asyncio.sleep(0)
    second = asyncio.ensure_future(own.set(PIN, "k", b"fine"))
    while [one.value for one in await profile.read(stored.pending)] != [b"fine"]:
        await asyncio.sleep(0)
    connection.answers.put_nowait(Refused(7, "too_large", "too many"))
    with pytest.raises(Refused):
        await first
    connection.answers.put_nowait(None)
    await second
    assert await own.get(PIN, "k") == b"fine"
    run.cancel()


async def test_of_two_changes_at_once_all_devices_end_with_the_same(profile: Vault, tmp_path: Path) -> None:
    socket, clock = FakeSocket(), FakeClock()
    connection = await Connection.open(socket, Hello("t", receive=True), clock)
    own = settings_of(profile, tmp_path)
    works = [asyncio.ensure_future(work) for work in (connection.run(), own.run(connection))]
    waiting = asyncio.ensure_future(own.set(PIN, "k", b"mine"))
    while not any(isinstance(frame, Set) for frame in socket.sent):
        await asyncio.sleep(0.001)
    (sent,) = [frame for frame in socket.sent if isinstance(frame, Set)]
    socket.answer(Changed([Setting(PIN, "k", b"theirs", EntryId(5))]))
    socket.answer(Ok(sent.request_id))
    # Whoever receives is busy, and stores what came a little later.
    await settle()
    await asyncio.sleep(0.02)
    arrived = await connection.arrivals()
    await profile.write(lambda database: inbox.store(database, arrived, ME, POSTING, NOW_MS))
    connection.stored(len(arrived))
    # It is not known whose came first: it is made to be this one's.
    await until(lambda: len([frame for frame in socket.sent if isinstance(frame, Set)]) == 2)
    socket.answer(Ok(sent.request_id + 1))
    await waiting
    while await profile.read(stored.pending):
        await asyncio.sleep(0)
    assert await own.get(PIN, "k") == b"mine"
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)


def test_what_is_as_it_was_is_told_to_a_state_that_was_loaded_meanwhile(
    database: sqlite3.Connection,
) -> None:
    at = itertools.count(1)

    def server_says(value: bytes) -> None:
        stored.apply(database, [Setting(PIN, "k", value, EntryId(next(at)))])

    def tell(state: State) -> None:
        for one in stored.untold(database):
            assert one.event is not None
            state.apply(one.event)
            stored.tell(database, one)

    for before, value in ((b"", b"1"), (b"1", b"2"), (b"1", b"")):
        server_says(before)
        tell(load(database, ME, 10))
        server_says(value)
        meanwhile = load(database, ME, 10)
        server_says(before)
        assert meanwhile != load(database, ME, 10)
        tell(meanwhile)
        assert meanwhile == load(database, ME, 10)


async def test_what_a_side_client_read_offline_is_told_by_the_one_that_receives(cast: Cast) -> None:
    await said(cast)
    side = Screen(cast.devices.world, cast.bob._profile, cast.devices._requests)
    side.is_offline = True
    surroundings = replace(cast.bob.client._surroundings, dial=side._dial)
    async with Client.open(cast.bob._profile, receive=False, surroundings=surroundings) as other:
        await other.mark_read("alice")
    await cast.phone.until(lambda state: newest(state, "bob").status.name == "READ")


# --- sending --------------------------------------------------------------------------------


class Forgetful:
    """A server that was restored from a backup and knows neither the conversation nor the user."""

    welcome = frames.Welcome(UserId(100), LAPTOP, "alice", 0, 30.0, 10.0, 256, 65_536)

    def __init__(self) -> None:
        self.opened = 0

    async def ask(self, make: Callable[[int], Frame]) -> Answer:
        assert isinstance(make(1), OpenDirect)
        self.opened += 1
        if self.opened > 1:
            raise Refused(errors.NO_SUCH_USER.code, "no_such_user", "nobody has this handle")
        there = direct_conversation_id(UserId(100), BOB)
        return frames.Conversation(1, there, 1, 1, [Member(UserId(100), "alice"), Member(BOB, "bob")])

    async def transmit(self, send: Send) -> Sent:
        raise Refused(errors.NO_SUCH_CONVERSATION.code, "no_such_conversation", "unknown")


def transmitter_of(profile: Vault, folder: Path) -> Transmitter:
    clock = FakeClock()
    return Transmitter(
        profile,
        Conversations(profile, UserId(100)),
        FileLock(folder / "outbox.lock"),
        Self(UserId(100), LAPTOP, "alice"),
        ClientIds(b"p" * 8),
        b"w" * 16,
        clock,
        ServerTime(clock, 0),
        None,
        lambda _: None,
    )


async def test_a_message_to_who_is_gone_since_is_refused_and_ends_nothing(
    profile: Vault, tmp_path: Path
) -> None:
    own = transmitter_of(profile, tmp_path)
    run = asyncio.ensure_future(own.run(Forgetful()))  # type: ignore[arg-type]
    with pytest.raises(Refused, match="nobody has this handle"):
        async with asyncio.timeout(PATIENCE_S):
            await own.send(Draft("bob", "text/plain", b"x"))
    assert not run.done()
    run.cancel()


async def test_an_answer_that_was_recorded_as_the_connection_broke_reaches_who_waits(
    profile: Vault, tmp_path: Path
) -> None:
    """It does so though the outbox is never empty from then on."""
    own = transmitter_of(profile, tmp_path)
    waiting = asyncio.ensure_future(own.send(Draft("bob", "text/plain", b"x")))
    while not (rows := await profile.read(lambda database: list(database.execute("SELECT * FROM outbox")))):
        await asyncio.sleep(0)
    await profile.write(
        lambda database: database.execute("INSERT INTO conversations VALUES (?, 1, ?, 'bob')", (THERE, BOB))
    )
    message = replace_message(rows[0][1])
    await profile.write(lambda database: database.execute("DELETE FROM outbox"))
    await profile.write(lambda database: transcript.add(database, message, ME, Origin.HERE))
    run = asyncio.ensure_future(own.run(Forgetful()))  # type: ignore[arg-type]
    assert (await waiting).message_id == 50
    run.cancel()


def replace_message(client_id: bytes) -> frames.Message:
    message = deliver(1, 50).message
    message.sender_id, message.sender_device = UserId(100), LAPTOP
    message.client_id = client_id  # type: ignore[assignment]
    return message


def test_a_history_that_is_quicker_than_the_answer_takes_no_event(database: sqlite3.Connection) -> None:
    message = replace_message(name(1))
    transcript.add(database, message, ME, Origin.HISTORY)
    (past,) = inbox.waiting(database, ME, 10)[0]
    inbox.consume(database, past)
    transcript.add(database, message, ME, Origin.HERE)
    (one,) = inbox.waiting(database, ME, 10)[0]
    assert isinstance(one.event, SentEvent)


# --- what is shown --------------------------------------------------------------------------


async def test_what_is_hidden_has_no_star_and_what_is_deleted_is_not_forwarded(cast: Cast) -> None:
    message = await said(cast)
    me = cast.phone.client
    await me.messages.star(message)
    await me.messages.hide(message)
    assert await me.messages.starred() == []
    await me.messages.delete(message)
    with pytest.raises(ClientError, match="gone"):
        await me.messages.forward(message, "bob")
    await settled(cast)


async def test_two_lists_to_be_watched_at_once(tmp_path: Path) -> None:
    asked: list[asyncio.Future[Answer]] = []

    async def ask(make: Callable[[int], Frame]) -> Answer:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    watching = Watching(ask, FakeClock(), lambda _: None)
    both = [asyncio.ensure_future(watching.watch({UserId(n): f"user{n}"})) for n in (1, 2)]
    for _ in both:
        await settle()
        asked[-1].set_result(Presences(1, []))
    assert [[one.handle for one in found] for found in await asyncio.gather(*both)] == [["user1"], ["user2"]]


# --- all of it at once ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_any_actions_with_restarts_side_clients_and_jumps_of_the_clock(cast: Cast, seed: int) -> None:
    await play(cast, Random(seed))


async def play(cast: Cast, random: Random) -> None:
    """Random actions; programs end and begin again, others work beside them, hours pass."""
    doings: list[asyncio.Future[object]] = []
    restarts = 0
    for _ in range(50):
        screen = random.choice(cast.screens)
        peer = "alice" if screen is cast.bob else "bob"
        match random.randrange(12):
            case 0:
                restarts += 1
                await screen.__aexit__(None, None, None)
                await screen.__aenter__()
            case 1:
                screen.tear()
            case 2:
                cast.devices.world.clock.advance(random.choice([1, 600, 4000]))
                for one in cast.screens:
                    one.tear()  # the server's time is told at each connect
            case 3:
                side = Client.open(
                    screen._profile, receive=False, surroundings=Surroundings(dial=screen._dial)
                )
                doings.append(asyncio.ensure_future(beside(side, peer, screen.state.messages(peer), random)))
            case _:
                doing = action(screen.client, peer, screen.state.messages(peer), random)
                doings.append(asyncio.ensure_future(doing))
        if random.random() < 0.3:
            await asyncio.sleep(0.003)
    async with asyncio.timeout(PATIENCE_S):
        outcomes = await asyncio.gather(*doings, return_exceptions=True)
    unexpected = [one for one in outcomes if isinstance(one, BaseException) and not is_fair(one)]
    assert unexpected == []
    cast.devices.world.clock.advance(5000)
    for screen in cast.screens:
        screen.tear()
    await asyncio.gather(*(screen.client.flushed() for screen in cast.screens))
    await settled(cast)
    for screen in cast.screens:
        news = [e.reference for e in screen.events if isinstance(e, MessageEvent)]
        # What a program was at as it ended it is told again, and nothing else.
        assert len(news) - len(set(news)) <= restarts


async def beside(side: Client, peer: str, messages: list[Message], random: Random) -> object:
    async with side:
        return await action(side, peer, messages, random)


def action(me: Client, peer: str, messages: list[Message], random: Random) -> Awaitable[object]:
    message = random.choice(messages) if messages else None
    number = random.randrange(16)
    if message is not None:
        match number:
            case 0:
                return me.send(peer, "indeed", reply_to=message)
            case 1 | 2:
                return me.messages.edit(message, f"edited {random.random()}")
            case 3 | 4:
                return me.messages.react(message, random.choice(["a", "b", ""]))
            case 5:
                return me.messages.delete(message)
            case 6:
                return me.messages.star(message, starred=random.random() < 0.6)
            case 7:
                return me.messages.hide(message)
            case 8:
                return me.messages.forward(message, peer)
    match number:
        case 9:
            return me.mark_read(peer)
        case 10:
            return me.chats.draft(peer, f"{random.random()}" if random.random() < 0.7 else "")
        case 11:
            return me.chats.timer(peer, random.choice([0, 0, 1000]))
        case 12:
            return me.send(peer, f"{random.random()}", expires_in_s=random.choice([500, 3000]))
        case _:
            return me.send(peer, f"{random.random()}")


def is_fair(error: BaseException) -> bool:
    """What may well come of it: somebody was quicker, the program ended, the time was over."""
    return isinstance(error, ClientClosed) or any(
        word in str(error)
        for word in ("not_yours", "no_such_message", "too_late", "gone", "expires_at is in the past")
    )
