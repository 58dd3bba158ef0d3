"""A node's link to the hub: what becomes of requests when the hub dies, hangs, or comes back."""

import asyncio
import errno
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from conformance.stores import (
    ASCENDING,
    CONTESTED,
    GROWING,
    KEPT,
    LONE,
    TEST_TABLES,
    VERSIONS,
    ContestedRow,
    GrowingRow,
    IntRow,
    LoneRow,
    VersionRow,
)
from hub.rig import (
    HeldStore,
    RunningHub,
    pass_time,
    running_hub,
    silent_log,
    until,
    warped,
)
from tidings.bus.contract import BusUnavailable
from tidings.directory.contract import DirectoryUnavailable, Place
from tidings.hub.bus import HubBus
from tidings.hub.directory import HubDirectory
from tidings.hub.link import GIVE_UP_S, HubLink
from tidings.hub.store import HubStore
from tidings.protocol import ids
from tidings.protocol.ids import ConversationId, DeviceId, MessageId, UserId
from tidings.store.contract import OutcomeUnknown, Put, Raise, StoreFull, StoreUnavailable
from tidings.store.contract import Write as Change
from tidings.store.memory import Fault, MemoryStore, PlannedFaults
from tidings.store.rocks import RocksStore

HERE = ConversationId(b"c" * 16)
SOON_S = 0.05
ALICE = UserId(1)
PHONE = Place(ALICE, DeviceId(11), 1, 5)


@pytest.fixture
def inner() -> HeldStore:
    return HeldStore()


@pytest.fixture
async def hub(tmp_path: Path, inner: HeldStore) -> AsyncIterator[RunningHub]:
    async with running_hub(tmp_path, inner, tables=TEST_TABLES) as hub:
        yield hub


@pytest.fixture
async def store(hub: RunningHub) -> HubStore:
    return await store_on(hub)


async def store_on(hub: RunningHub, **options: object) -> HubStore:
    return HubStore(await hub.link(**options), TEST_TABLES)


def row(at: int, text: str = "") -> IntRow:
    return IntRow(UserId(7), 1, MessageId(at), text)


def owned(owner: int) -> ContestedRow:
    return ContestedRow("alice", owner, b"r%d" % owner)


def begun(*work: Awaitable[object]) -> list["asyncio.Future[object]"]:
    return [asyncio.ensure_future(one) for one in work]


# --- the hub dies ---------------------------------------------------------------------------


async def test_what_was_unanswered_is_written_again_in_order(
    hub: RunningHub, inner: HeldStore, store: HubStore
) -> None:
    await store.write([Put(ASCENDING, row(0, "before"), 1)])
    inner.answers.clear()
    batches: list[list[Change]] = [[Put(ASCENDING, row(0, str(number)), 2)] for number in range(5)]
    writing = begun(*(store.write(batch) for batch in batches))
    await until(lambda: len(inner.batches) == 6)
    await hub.die()
    await hub.revive()
    await until(lambda: len(inner.batches) == 11)
    inner.answers.set()
    await asyncio.gather(*writing)
    assert inner.batches[1:] == batches * 2
    assert await store.get(ASCENDING, (7, 1, 0)) == row(0, "4")


async def test_what_was_done_and_not_answered_counts_once(
    hub: RunningHub, inner: HeldStore, store: HubStore
) -> None:
    inner.answers.clear()
    writing = begun(
        store.write([Put(ASCENDING, row(1, "mine"), 5), Raise(GROWING, GrowingRow(HERE, ALICE, 4))])
    )
    await until(lambda: inner.batches)
    await hub.die()
    inner.answers.set()
    await inner.write([Put(ASCENDING, row(1, "another's"), 6), Raise(GROWING, GrowingRow(HERE, ALICE, 9))])
    await hub.revive()
    await asyncio.gather(*writing)
    assert len(inner.batches) == 3
    assert await store.get(ASCENDING, (7, 1, 1)) == row(1, "another's")
    assert await store.get(GROWING, (HERE, ALICE)) == GrowingRow(HERE, ALICE, 9)


async def test_what_is_asked_while_there_is_no_hub_waits_for_the_next(
    hub: RunningHub, inner: HeldStore, store: HubStore
) -> None:
    await store.write([Put(LONE, LoneRow("a"), 1)])
    await hub.die()
    asked = begun(
        store.write([Put(ASCENDING, row(1), 1)]),
        store.get(LONE, ("a",)),
        store.range(ASCENDING, (7, 1), limit=9),
        store.scan(LONE, limit=9),
        store.get_many(LONE, [("a",), ("b",)]),
        store.compare_and_set(CONTESTED, None, owned(1)),
        store.expire(0),
    )
    await asyncio.sleep(0)
    assert not any(one.done() for one in asked)
    await hub.revive()
    answers = await asyncio.gather(*asked)
    assert answers == [None, LoneRow("a"), [row(1)], [LoneRow("a")], [LoneRow("a"), None], None, 0]
    assert inner.compared == 1


async def test_reads_that_were_under_way_are_asked_again(hub: RunningHub, store: HubStore) -> None:
    await store.write([Put(LONE, LoneRow("a"), 1)])
    asked = begun(*(store.get(LONE, ("a",)) for _ in range(100)))
    await asyncio.sleep(0)
    await hub.die()
    await hub.revive()
    assert await asyncio.gather(*asked) == [LoneRow("a")] * 100


async def test_a_compare_and_set_that_was_under_way_is_unknown_and_never_repeated(
    hub: RunningHub, inner: HeldStore, store: HubStore
) -> None:
    inner.answers.clear()
    (setting,) = begun(store.compare_and_set(CONTESTED, None, owned(1)))
    await until(lambda: inner.compared)
    await hub.die()
    with pytest.raises(OutcomeUnknown):
        await setting
    inner.answers.set()
    await hub.revive()
    assert await store.get(CONTESTED, ("alice",)) == owned(1)
    assert await store.compare_and_set(CONTESTED, owned(1), owned(2)) is None
    assert inner.compared == 2


async def test_rows_that_were_being_set_together_are_all_there_or_none_and_never_set_again(
    hub: RunningHub, inner: HeldStore, store: HubStore
) -> None:
    rows = [VersionRow("alice", number, 1) for number in range(3)]
    inner.answers.clear()
    (setting,) = begun(store.compare_and_set(VERSIONS, None, rows[0], rows[1:]))
    await until(lambda: inner.compared)
    await hub.die()
    with pytest.raises(OutcomeUnknown):
        await setting
    inner.answers.set()
    # Another one's, before the next hub: a repeat would replace it.
    later = VersionRow("alice", 2, 2)
    assert await inner.compare_and_set(VERSIONS, rows[2], later) is None
    await hub.revive()
    assert await store.range(VERSIONS, ("alice",), limit=9) == [*rows[:2], later]
    assert inner.compared == 2


async def test_a_copy_that_was_under_way_is_given_up(
    hub: RunningHub, inner: HeldStore, store: HubStore, tmp_path: Path
) -> None:
    inner.answers.clear()
    (copying,) = begun(store.checkpoint(tmp_path / "copy"))
    await until(lambda: inner.copies)
    await hub.die()
    with pytest.raises(StoreUnavailable):
        await copying
    await hub.revive()
    await store.get(LONE, ("a",))
    assert inner.copies == [tmp_path / "copy"]


async def test_hubs_that_die_one_after_the_other(hub: RunningHub, store: HubStore) -> None:
    for number in range(5):
        (writing,) = begun(store.write([Put(ASCENDING, row(number), 1)]))
        await asyncio.sleep(0)
        await hub.die()
        await hub.revive()
        await writing
    assert await store.range(ASCENDING, (7, 1), limit=9) == [row(number) for number in range(5)]


async def test_a_hub_that_stops_in_good_order_answers_first(
    hub: RunningHub, inner: HeldStore, store: HubStore
) -> None:
    inner.answers.clear()
    (setting,) = begun(store.compare_and_set(CONTESTED, None, owned(1)))
    writing = begun(*(store.write([Put(ASCENDING, row(at), 1)]) for at in range(9)))
    await until(lambda: len(inner.batches) == 9 and inner.compared)
    (stopping,) = begun(hub.server.stop())
    late = begun(store.write([Put(ASCENDING, row(9), 1)]), store.get(LONE, ("a",)))
    await asyncio.sleep(0)
    inner.answers.set()
    await stopping
    assert await setting is None
    assert await asyncio.gather(*writing) == [None] * 9
    assert len(inner.batches) == 9
    await hub.revive()
    assert await asyncio.gather(*late) == [None, None]
    assert len(inner.batches) == 10


async def test_a_stop_does_not_wait_for_what_takes_long(
    hub: RunningHub, inner: HeldStore, store: HubStore, tmp_path: Path
) -> None:
    inner.answers.clear()
    (copying,) = begun(store.checkpoint(tmp_path / "copy"))
    await until(lambda: inner.copies)
    await hub.restart()
    with pytest.raises(StoreUnavailable, match="the hub is stopping"):
        await copying


# --- the hub hangs, or does not come back ---------------------------------------------------


def calls(link: HubLink) -> list[tuple[Callable[[], Awaitable[object]], type[Exception]]]:
    store, bus, directory = HubStore(link, TEST_TABLES), HubBus(link), HubDirectory(link)
    return [
        (lambda: store.write([Put(LONE, LoneRow("a"), 1)]), StoreUnavailable),
        (lambda: store.get(LONE, ("a",)), StoreUnavailable),
        (lambda: store.compare_and_set(CONTESTED, None, owned(1)), StoreUnavailable),
        (lambda: store.expire(0), StoreUnavailable),
        (lambda: store.checkpoint(Path("copy")), StoreUnavailable),
        (lambda: bus.subscribe("topic", lambda _: None), BusUnavailable),
        (lambda: directory.enter([PHONE]), DirectoryUnavailable),
        (lambda: directory.leave([PHONE]), DirectoryUnavailable),
        (lambda: directory.look_up([ALICE]), DirectoryUnavailable),
        (lambda: directory.time_ms(fresh=True), DirectoryUnavailable),
    ]


async def test_what_waits_for_a_hub_for_too_long_fails(hub: RunningHub, inner: HeldStore) -> None:
    link = await hub.link(give_up_s=SOON_S)
    await hub.die()
    wanted = calls(link)
    began_s = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(*(call() for call, _ in wanted), return_exceptions=True)
    assert asyncio.get_running_loop().time() - began_s >= SOON_S * 0.9
    assert [type(outcome) for outcome in outcomes] == [kind for _, kind in wanted]
    await hub.revive()
    await until(lambda: link.is_connected)
    await link.workers()
    assert (inner.batches, inner.compared, inner.copies) == ([], 0, [])


async def test_what_a_hub_does_not_answer_for_too_long_fails(hub: RunningHub, inner: HeldStore) -> None:
    store = await store_on(hub, give_up_s=SOON_S)
    inner.answers.clear()
    writing, setting = begun(
        store.write([Put(LONE, LoneRow("a"), 1)]), store.compare_and_set(CONTESTED, None, owned(1))
    )
    with pytest.raises(StoreUnavailable):
        await writing
    with pytest.raises(OutcomeUnknown):
        await setting
    inner.answers.set()
    assert await store.get(LONE, ("a",)) == LoneRow("a")
    assert await store.get(CONTESTED, ("alice",)) == owned(1)


def test_each_request_waits_for_four_seconds_of_its_own(tmp_path: Path) -> None:
    async def test() -> None:
        inner = HeldStore()
        async with running_hub(tmp_path, inner, tables=TEST_TABLES) as hub:
            store = await store_on(hub)
            inner.answers.clear()
            writing: list[asyncio.Future[object]] = []
            for number in range(3):
                writing += begun(store.write([Put(LONE, LoneRow(str(number)), 1)]))
                await until(lambda number=number: len(inner.batches) == number + 1)  # type: ignore[misc]
                await pass_time(1)
            assert GIVE_UP_S == 4
            for number in range(3):
                assert not any(one.done() for one in writing[number:])
                await pass_time(1)
                with pytest.raises(StoreUnavailable, match="does not answer within 4 s"):
                    await writing[number]

    warped(test())


async def test_what_takes_long_is_waited_for(hub: RunningHub, inner: HeldStore, tmp_path: Path) -> None:
    store = await store_on(hub, give_up_s=SOON_S)
    inner.answers.clear()
    (copying,) = begun(store.checkpoint(tmp_path / "copy"))
    await asyncio.sleep(3 * SOON_S)
    assert not copying.done()
    inner.answers.set()
    await copying


async def test_no_hub_at_all(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no hub at"):
        await HubLink.open(tmp_path / "hub.sock", TEST_TABLES, silent_log(), give_up_s=SOON_S)


async def test_more_requests_than_may_wait_are_refused_at_once(
    hub: RunningHub, store: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.hub.link.UNANSWERED", 10)
    outcomes = await asyncio.gather(*(store.get(LONE, ("a",)) for _ in range(15)), return_exceptions=True)
    assert outcomes[:10] == [None] * 10
    assert [type(outcome) for outcome in outcomes[10:]] == [StoreUnavailable] * 5
    assert await store.get(LONE, ("a",)) is None


async def test_a_link_that_is_closed_fails_what_waits_and_what_comes(
    hub: RunningHub, inner: HeldStore
) -> None:
    link = await hub.link()
    store = HubStore(link, TEST_TABLES)
    inner.answers.clear()
    waiting = begun(
        store.write([Put(LONE, LoneRow("a"), 1)]), store.compare_and_set(CONTESTED, None, owned(1))
    )
    await until(lambda: inner.compared)
    await link.close()
    await link.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, OutcomeUnknown]
    for call, kind in calls(link):
        with pytest.raises(kind):
            await call()


async def test_what_cannot_be_sent_fails_for_its_caller_alone(store: HubStore) -> None:
    outcomes = await asyncio.gather(
        store.get(LONE, ("a",)),
        store.get(LONE, (object(),)),  # type: ignore[arg-type]
        store.range(ASCENDING, (1 << 64, 1), limit=9),
        store.write([Put(LONE, LoneRow(object()), 1)]),  # type: ignore[arg-type]
        store.write([Put(LONE, LoneRow("a"), 1)]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes[1:4]] == [TypeError, OverflowError, TypeError]
    assert (outcomes[0], outcomes[4]) == (None, None)


async def test_errors_of_the_store_come_as_what_they_are(tmp_path: Path) -> None:
    faults = PlannedFaults(random.Random(1))
    async with running_hub(tmp_path, MemoryStore(faults=faults), tables=TEST_TABLES) as hub:
        store = await store_on(hub)
        faults.writes += [Fault.FULL, Fault.UNAVAILABLE, None]
        faults.compare_and_sets += [Fault.FULL, Fault.DONE_UNKNOWN, Fault.UNAVAILABLE]
        with pytest.raises(StoreFull, match="the disk is full"):
            await store.write([Put(LONE, LoneRow("a"), 1)])
        with pytest.raises(StoreUnavailable, match="the store crashed"):
            await store.write([Put(LONE, LoneRow("a"), 1)])
        await store.write([Put(LONE, LoneRow("a"), 1)])
        for kind in (StoreFull, OutcomeUnknown, StoreUnavailable):
            with pytest.raises(kind):
                await store.compare_and_set(CONTESTED, None, owned(1))
        with pytest.raises(StoreUnavailable, match="cannot be copied"):
            await store.checkpoint(tmp_path / "copy")


@pytest.mark.slow
async def test_errors_of_the_system_keep_their_number(tmp_path: Path) -> None:
    rocks = RocksStore.open(tmp_path / "store", tables=TEST_TABLES, min_free_bytes=0)
    async with running_hub(tmp_path, rocks, tables=TEST_TABLES) as hub:
        store = await store_on(hub)
        with pytest.raises(OSError, match="the folder is not empty") as raised:
            await store.checkpoint(tmp_path)
        assert raised.value.errno == errno.ENOTEMPTY
        await store.write([Put(LONE, LoneRow("a"), 1)])
        await store.checkpoint(tmp_path / "copy")
    await rocks.close()
    copy = RocksStore.open(tmp_path / "copy", tables=TEST_TABLES, min_free_bytes=0)
    assert await copy.get(LONE, ("a",)) == LoneRow("a")
    await copy.close()


async def test_all_nodes_expiries_at_once_are_done_once(hub: RunningHub, inner: HeldStore) -> None:
    stores = [await store_on(hub) for _ in range(3)]
    await inner.write([Put(KEPT, row(at), 1) for at in range(10)])
    assert await asyncio.gather(*(store.expire(ids.EPOCH_MS + 99_000_000) for store in stores)) == [10] * 3
    assert await stores[0].expire(ids.EPOCH_MS + 99_000_000) == 0


# --- losses ---------------------------------------------------------------------------------


async def test_subscriptions_hold_again_when_a_loss_is_told_of(hub: RunningHub) -> None:
    here, there = HubBus(await hub.link()), HubBus(await hub.link())
    heard: list[bytes] = []
    told = asyncio.Event()

    def lost() -> None:
        there.publish("topic", b"after the loss")
        told.set()

    await here.subscribe("topic", heard.append)
    await here.subscribe("other", heard.append)
    await here.unsubscribe("other")
    here.on_loss(lost)
    there.publish("topic", b"before")
    await until(lambda: heard)
    await hub.die()
    there.publish("topic", b"to nobody")
    await hub.revive()
    await told.wait()
    await until(lambda: len(heard) == 2)
    assert heard == [b"before", b"after the loss"]


async def test_a_loss_is_told_of_once_for_each_new_hub(hub: RunningHub) -> None:
    link = await hub.link()
    bus, directory = HubBus(link), HubDirectory(link)
    losses: list[str] = []
    bus.on_loss(lambda: losses.append("bus"))
    directory.on_loss(lambda: losses.append("directory"))
    await directory.enter([PHONE])
    assert losses == []
    incarnations = {link.incarnation}
    for count in range(1, 4):
        await hub.restart()
        await until(lambda count=count: len(losses) == 2 * count)  # type: ignore[misc]
        incarnations.add(link.incarnation)
    assert sorted(losses) == ["bus"] * 3 + ["directory"] * 3
    assert len(incarnations) == 4


async def test_places_can_be_entered_again_when_their_loss_is_told_of(hub: RunningHub) -> None:
    here, there = HubDirectory(await hub.link()), HubDirectory(await hub.link())
    entering: list[asyncio.Future[object]] = []
    here.on_loss(lambda: entering.append(asyncio.ensure_future(here.enter([PHONE]))))
    await here.enter([PHONE])
    await hub.restart()
    await until(lambda: entering)
    await entering[0]
    assert await there.look_up([ALICE]) == [[PHONE]]


async def test_who_closed_is_told_of_nothing(hub: RunningHub) -> None:
    link = await hub.link()
    bus, directory = HubBus(link), HubDirectory(link)
    losses: list[str] = []
    bus.on_loss(lambda: losses.append("bus"))
    directory.on_loss(lambda: losses.append("directory"))
    await bus.close()
    await directory.close()
    await hub.restart()
    await link.workers()
    assert losses == []


async def test_a_subscription_that_was_under_way_holds_with_the_next_hub(hub: RunningHub) -> None:
    here, there = HubBus(await hub.link()), HubBus(await hub.link())
    heard: list[bytes] = []
    (subscribing,) = begun(here.subscribe("topic", heard.append))
    await asyncio.sleep(0)
    await hub.die()
    await hub.revive()
    await subscribing
    await there.subscribe("ready", lambda _: None)
    there.publish("topic", b"heard")
    await until(lambda: heard)


# --- on the loop that runs in production ----------------------------------------------------


@pytest.mark.slow
def test_on_uvloop(tmp_path: Path) -> None:
    async def run() -> list[object]:
        async with running_hub(tmp_path, HeldStore(), tables=TEST_TABLES) as hub:
            link = await hub.link()
            store, bus, directory = HubStore(link, TEST_TABLES), HubBus(link), HubDirectory(link)
            heard: list[bytes] = []
            await bus.subscribe("topic", heard.append)
            await directory.enter([PHONE])
            large = [IntRow(UserId(7), 1, MessageId(at), "", bytes(3 << 20)) for at in range(4)]
            await store.write([Put(ASCENDING, row, 1) for row in large])
            await hub.die()
            writing = begun(store.write([Put(LONE, LoneRow("a"), 1)]))
            await hub.revive()
            await asyncio.gather(*writing)
            await hub.restart()
            assert await store.range(ASCENDING, (7, 1), limit=9) == large
            await until(lambda: link.incarnation == hub.server.incarnation)
            await bus.subscribe("topic", heard.append)
            bus.publish("topic", b"heard")
            await until(lambda: heard)
            assert [worker.pid for worker in await link.workers()] == [os.getpid()]
            return [await store.get(LONE, ("a",)), heard]

    assert uvloop.run(run()) == [LoneRow("a"), [b"heard"]]
