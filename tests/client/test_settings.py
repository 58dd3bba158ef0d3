"""Settings in the profile: the last change holds, the server's order counts, a refusal is undone."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.at_rest import KEY
from client.fakes import FakeClock
from tidings.client import keys, receipts, settings
from tidings.client.connection import Answer
from tidings.client.errors import ClientClosed, ConnectionLost, Refused
from tidings.client.events import RequestEvent, SettingEvent
from tidings.client.profile import FileLock
from tidings.client.settings import Settings
from tidings.client.surroundings import Clock, connect
from tidings.client.tables import SCHEMA, SYNCED_AT
from tidings.client.vault import Vault, create
from tidings.protocol.frames import Frame, Ok, Set, Setting, SettingKind, Synced
from tidings.protocol.ids import EntryId, UserId

PIN = SettingKind.PIN


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    made = make()
    yield made
    made.close()


def make() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(SCHEMA)
    return database


def server(value: bytes, at: int, key: str = "k") -> Setting:
    return Setting(PIN, key, value, EntryId(at))


def test_of_two_that_the_server_tells_the_later_counts_whatever_came_first(
    database: sqlite3.Connection,
) -> None:
    settings.apply(database, [server(b"late", 2)])
    settings.apply(database, [server(b"early", 1)])
    assert settings.value_of(database, PIN, "k") == b"late"
    settings.apply(database, [server(b"", 3)])
    assert settings.values_of(database, PIN) == {}


def test_a_change_of_this_device_holds_until_the_server_has_it(database: sqlite3.Connection) -> None:
    settings.change(database, PIN, "k", b"mine")
    settings.apply(database, [server(b"theirs", 5)])
    assert settings.value_of(database, PIN, "k") == b"mine"
    (one,) = settings.pending(database)
    settings.confirm(database, one)
    assert settings.pending(database) == []
    assert settings.value_of(database, PIN, "k") == b"mine"
    settings.apply(database, [server(b"theirs again", 6)])
    assert settings.value_of(database, PIN, "k") == b"theirs again"


def test_what_is_refused_is_as_the_server_last_said(database: sqlite3.Connection) -> None:
    settings.apply(database, [server(b"before", 1)])
    settings.change(database, PIN, "k", b"mine")
    (one,) = settings.pending(database)
    settings.apply(database, [server(b"meanwhile", 2)])
    settings.undo(database, one, Refused(7, "too_large", "too many"), 0)
    assert settings.value_of(database, PIN, "k") == b"meanwhile"


def test_an_answer_to_an_earlier_change_leaves_the_later_one_waiting(database: sqlite3.Connection) -> None:
    settings.change(database, PIN, "k", b"one")
    (one,) = settings.pending(database)
    settings.change(database, PIN, "k", b"two")
    refusal = Refused(7, "too_large", "too many")
    for answered in (settings.confirm, lambda database, one: settings.undo(database, one, refusal, 0)):
        answered(database, one)
        assert [left.value for left in settings.pending(database)] == [b"two"]


@given(st.permutations([(b"a", 1), (b"b", 2), (b"", 3), (b"c", 4)]), st.integers(0, 3))
def test_any_order_and_repetition_ends_the_same(order: list[tuple[bytes, int]], again: int) -> None:
    database = make()
    for value, at in [*order, order[again]]:
        settings.apply(database, [server(value, at)])
    assert settings.value_of(database, PIN, "k") == b"c"
    database.close()


def test_a_change_is_told_once_and_one_that_was_taken_back_as_it_was(database: sqlite3.Connection) -> None:
    def told() -> list[object]:
        found = settings.untold(database)
        for one in found:
            settings.tell(database, one)
        return [one.event for one in found]

    settings.change(database, PIN, "k", b"1")
    assert told() == [SettingEvent(PIN, "k", b"1")]
    assert told() == []
    settings.change(database, PIN, "k", b"2")
    # A state that was loaded in between has the other value.
    settings.change(database, PIN, "k", b"1")
    assert told() == [SettingEvent(PIN, "k", b"1")]
    assert told() == []
    settings.change(database, PIN, "k", b"")
    assert told() == [SettingEvent(PIN, "k", b"")]


def test_a_request_is_told_with_its_count_and_when_it_is_gone(database: sqlite3.Connection) -> None:
    key = "ab" * 16
    knock = msgspec.msgpack.encode([7, "mallory", 2, 1000])
    for value, at, count in ((knock, 1, 2), (b"", 2, 0)):
        settings.apply(database, [Setting(SettingKind.REQUEST, key, value, EntryId(at))])
        (one,) = settings.untold(database)
        assert isinstance(one.event, RequestEvent)
        assert (one.event.peer, one.event.user_id, one.event.count) == ("mallory", 7, count)
        settings.tell(database, one)


def test_what_a_newer_server_or_client_wrote_does_no_harm(database: sqlite3.Connection) -> None:
    settings.apply(database, [Setting(99, "new", b"?", EntryId(1))])
    settings.apply(database, [Setting(SettingKind.REQUEST, "no id", b"\xc1", EntryId(1))])
    assert [one.event for one in settings.untold(database)] == [None]
    assert (SettingKind.REQUEST, "no id") in settings.everything(database)
    assert keys.message_named("nonsense") is None
    assert keys.message_named("aa:x:bb") is None
    assert keys.number(b"-1") == keys.number("²".encode()) == keys.number(b"9" * 99) == 0


class FakeConnection:
    """Answers `Set` as the test says."""

    def __init__(self) -> None:
        self.seen: list[Set] = []
        self.answers: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def ask_patiently(self, make: Callable[[int], Frame], clock: Clock) -> Answer:
        frame = make(1)
        assert isinstance(frame, Set)
        self.seen.append(frame)
        answer = await self.answers.get()
        if answer is not None:
            raise answer
        return Ok(1)

    async def absorbed(self) -> None:
        """Nothing comes unasked."""


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    create(tmp_path / "profile.db", KEY)
    opened = await Vault.open(tmp_path / "profile.db", KEY, connect, now_ms=0)
    yield opened
    await opened.close()


async def test_a_wait_ends_whichever_process_took_the_change_to_the_server(
    vault: Vault, tmp_path: Path
) -> None:
    here, there = (
        Settings(vault, FakeClock(), lambda: None, FileLock(tmp_path / "settings.lock"), is_sealed=False)
        for _ in range(2)
    )
    waiting = asyncio.ensure_future(here.set(PIN, "k", b"1"))
    while not await vault.read(settings.pending):
        await asyncio.sleep(0)
    connection = FakeConnection()
    connection.answers.put_nowait(None)
    run = asyncio.ensure_future(there.run(connection))  # type: ignore[arg-type]
    while await vault.read(settings.pending):
        await asyncio.sleep(0)
    run.cancel()
    idle = FakeConnection()
    run = asyncio.ensure_future(here.run(idle))  # type: ignore[arg-type]
    await waiting
    assert idle.seen == []
    run.cancel()


async def test_a_refusal_reaches_who_waits_and_a_lost_connection_does_not(
    vault: Vault, tmp_path: Path
) -> None:
    own = Settings(vault, FakeClock(), lambda: None, FileLock(tmp_path / "settings.lock"), is_sealed=False)
    waiting = asyncio.ensure_future(own.set(PIN, "k", b"1"))
    lost = FakeConnection()
    lost.answers.put_nowait(ConnectionLost(1006, ""))
    with pytest.raises(ConnectionLost):
        await own.run(lost)  # type: ignore[arg-type]
    assert not waiting.done()
    refusing = FakeConnection()
    refusing.answers.put_nowait(Refused(7, "too_large", "too many"))
    run = asyncio.ensure_future(own.run(refusing))  # type: ignore[arg-type]
    with pytest.raises(Refused):
        await waiting
    while await vault.read(settings.pending):
        await asyncio.sleep(0)
    assert await own.get(PIN, "k") == b""
    run.cancel()
    late = asyncio.ensure_future(own.set(PIN, "k", b"2"))
    while not await vault.read(settings.pending):
        await asyncio.sleep(0)
    own.fail(ClientClosed("closed"))
    with pytest.raises(ClientClosed):
        await late
    assert len(await vault.read(settings.pending)) == 1


def test_what_is_on_its_way_is_told_again_too_when_the_key_is_another_one(
    database: sqlite3.Connection,
) -> None:
    settings.change(database, SettingKind.DRAFT, "k", b"sealed with the old one")
    before = settings.pending(database)
    settings.tell_again(database)
    (again,) = settings.pending(database)
    assert again.rev > before[0].rev


def test_a_page_that_was_on_its_way_does_not_undo_that_all_is_asked_for_again(
    database: sqlite3.Connection,
) -> None:
    receipts.apply_synced(database, Synced(1, 9, []), UserId(1), 0)
    settings.ask_again(database)
    receipts.apply_synced(database, Synced(2, 12, []), UserId(1), 9)
    assert receipts.mark(database, SYNCED_AT) is None
    receipts.apply_synced(database, Synced(3, 12, []), UserId(1), 0)
    assert receipts.mark(database, SYNCED_AT) == 12
