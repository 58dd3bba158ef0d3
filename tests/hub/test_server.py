"""The hub towards its nodes: whom it serves, what it bears with, and what it forgets with a node."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.stores import ASCENDING, LONE, TEST_TABLES, IntRow, LoneRow
from hub.rig import (
    HeldStore,
    RawNode,
    RunningHub,
    listening_log,
    pass_time,
    running_hub,
    silent_log,
    until,
    warped,
)
from tidings.bus.contract import WAITING_BYTES
from tidings.directory.contract import Entered, Found, Place
from tidings.hub.bus import HubBus
from tidings.hub.connection import STALLED_S, Terms
from tidings.hub.directory import HubDirectory
from tidings.hub.framing import FRAME_BYTES, encode, framed, in_frames
from tidings.hub.link import HubLink
from tidings.hub.store import HubStore
from tidings.hub.wire import (
    VERSION,
    Checkpoint,
    Compare,
    Done,
    Echo,
    Enter,
    Entries,
    Expire,
    Failed,
    Fault,
    Get,
    Hello,
    Item,
    Pong,
    Publish,
    Published,
    Range,
    Refusal,
    Said,
    Scan,
    Subscribe,
    Values,
    Write,
)
from tidings.protocol.ids import DeviceId, MessageId, UserId
from tidings.store.contract import Put, StoreUnavailable
from tidings.store.encoded import Erases, Puts, Raises

NOTHING = Entered(Found.NOTHING)
ALICE, BOB = UserId(1), UserId(2)
NAMES = [table.name for table in TEST_TABLES]
SOON_S = 0.05
PATIENCE_S = 10.0


def place(user: UserId, session: int = 1, node: int = 5) -> Place:
    return Place(user, DeviceId(user * 10), session, node)


@pytest.fixture
def inner() -> HeldStore:
    return HeldStore()


@pytest.fixture
async def hub(tmp_path: Path, inner: HeldStore) -> AsyncIterator[RunningHub]:
    async with running_hub(tmp_path, inner, tables=TEST_TABLES) as hub:
        yield hub


async def is_well(hub: RunningHub) -> None:
    """The hub serves others."""
    link = await hub.link()
    store = HubStore(link, TEST_TABLES)
    await store.write([Put(LONE, LoneRow("well"), 1)])
    assert await store.get(LONE, ("well",)) == LoneRow("well")
    await link.close()


# --- who is served --------------------------------------------------------------------------


async def test_the_socket_is_for_its_user_alone(hub: RunningHub) -> None:
    mode = hub.path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_a_socket_that_a_dead_hub_left_is_replaced(hub: RunningHub) -> None:
    left = hub.path.stat().st_ino
    await hub.die()
    assert hub.path.exists()
    hub.path.with_name("hub.sock.new").touch()
    await hub.revive()
    assert hub.path.stat().st_ino != left
    await is_well(hub)


async def test_a_hub_that_stopped_leaves_no_socket(tmp_path: Path, inner: HeldStore) -> None:
    async with running_hub(tmp_path, inner, tables=TEST_TABLES) as hub:
        assert hub.path.exists()
    assert list(tmp_path.iterdir()) == []


async def test_another_user_is_refused(tmp_path: Path, inner: HeldStore) -> None:
    log, lines = listening_log()
    async with running_hub(tmp_path, inner, tables=TEST_TABLES, uid=os.geteuid() + 1, log=log) as hub:
        node = await RawNode.connect(hub)
        node.say(Hello(VERSION, b"raw node", NAMES))
        assert await node.first() == Refusal(f"user {os.geteuid()} may not connect")
        assert await node.ended()
        with pytest.raises(StoreUnavailable, match="may not connect"):
            await HubLink.open(hub.path, TEST_TABLES, silent_log(), give_up_s=SOON_S)
    assert lines[0].values == {"pid": os.getpid(), "reason": f"user {os.geteuid()} may not connect"}


@pytest.mark.parametrize(
    "hello",
    [
        Hello(VERSION + 1, b"raw node", NAMES),
        Hello(VERSION, b"raw node", NAMES[:-1]),
        Hello(VERSION, b"raw node", NAMES[::-1]),
    ],
    ids=["version", "fewer tables", "another order"],
)
async def test_who_speaks_otherwise_is_refused(hub: RunningHub, hello: Hello) -> None:
    node = await RawNode.connect(hub)
    node.say(hello)
    refusal = await node.first()
    assert isinstance(refusal, Refusal)
    assert "another version" in refusal.reason
    assert await node.ended()
    await is_well(hub)


async def test_more_than_so_many_connections_are_refused(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.hub.server.CONNECTIONS", 3)
    nodes = [await RawNode.greeted(hub, b"node%4d" % number) for number in range(3)]
    refused = await RawNode.connect(hub)
    assert await refused.first() == Refusal("too many connections")
    nodes[0].close()
    await until(lambda: len(hub.server.workers) == 2)
    await is_well(hub)


async def test_a_link_that_comes_again_ends_its_earlier_connection_first(
    hub: RunningHub, inner: HeldStore
) -> None:
    earlier = await RawNode.greeted(hub, b"the same")
    other = await RawNode.greeted(hub, b"another")
    inner.answers.clear()
    earlier.say([Enter(1, [place(ALICE)]), Write(2, [Puts(6, [b"a\0", bytes(8) + encode(LoneRow("a"))])])])
    await until(lambda: inner.batches)
    late = b"".join(framed(encode([Write(3, [Puts(6, [b"b\0", bytes(8) + encode(LoneRow("b"))])])])))
    earlier.send(late[:9])
    later = await RawNode.greeted(hub, b"the same")
    earlier.send(late[9:])
    assert await earlier.ended()
    inner.answers.set()
    later.say([Enter(1, [place(ALICE)]), Echo(2)])
    assert await later.items() == [Entries(1, [NOTHING]), Done([2])]
    other.say([Echo(1)])
    assert await other.items() == [Done([1])]
    assert len(inner.batches) == 1


# --- what no node should send ---------------------------------------------------------------


GOOD = st.sampled_from(
    [
        [Write(1, [Puts(0, [b"k", b"v"]), Raises(7, [b"k", b"v"]), Erases(0, [(1, b"x", "y")], [5])])],
        [Get(1, 0, [(1, 2, 3)]), Range(2, 0, (1, 2), None, (3,), 9, False), Scan(3, 6, ("a",), 9)],
        [Compare(1, 8, None, b"row"), Expire(2, 5), Checkpoint(3, "/nowhere/at/all")],
        [Subscribe(1, ["topic"]), Publish("topic", b"data"), Enter(2, [place(ALICE)]), Pong()],
    ]
).map(encode)
SPOILED = st.tuples(GOOD, st.integers(0, 1 << 16), st.integers(0, 255), st.booleans()).map(
    lambda of: spoiled(*of)
)
GARBAGE = st.one_of(
    st.binary(max_size=200),
    SPOILED,
    st.recursive(
        st.one_of(
            st.integers(-(1 << 63), (1 << 64) - 1), st.binary(max_size=9), st.text(max_size=9), st.none()
        ),
        lambda inside: st.lists(inside, max_size=6),
        max_leaves=30,
    ).map(msgspec.msgpack.encode),
    st.just(b"\x91" * 5000),
    st.just(msgspec.msgpack.encode([[1, 1, 0, [[b"\xff"]]]])),
)


def spoiled(frame: bytes, at: int, byte: int, is_cut: bool) -> bytes:
    at %= len(frame)
    return frame[:at] if is_cut else frame[:at] + bytes((byte,)) + frame[at + 1 :]


async def throw(hub: RunningHub, garbage: bytes, *, is_first: bool) -> None:
    """Send a hub garbage, before or after Hello, and see that it lives and nothing went wrong in it."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    witness = await RawNode.greeted(hub, b"witness")
    node = await RawNode.connect(hub) if is_first else await RawNode.greeted(hub)
    node.send(len(garbage).to_bytes(4, "big") + garbage)
    # Either it was understood, and this is answered, or it was not, and this is the end.
    node.say(Hello(VERSION, b"raw node", NAMES) if is_first else [Echo(99)])
    async with asyncio.timeout(PATIENCE_S):
        if is_first:
            await node.frame()
        while not is_first and (items := await node.items()) and not is_done(99, items):
            pass
        witness.say([Echo(1)])
        assert is_done(1, await witness.items())
    node.close()
    witness.close()
    assert faults == []


@pytest.mark.slow
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=GARBAGE, is_first=st.booleans())
async def test_whatever_comes_the_hub_lives_on(hub: RunningHub, garbage: bytes, is_first: bool) -> None:
    await throw(hub, garbage, is_first=is_first)


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_fault_in_the_hub_would_be_found(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    def faulty(decode: Callable[[memoryview], object], frame: memoryview) -> object:
        if bytes(frame) == b"\x91\x91":
            raise KeyError
        return decode(frame)

    monkeypatch.setattr("tidings.hub.connection.decoded", faulty)
    with pytest.raises(AssertionError, match="KeyError"):
        await throw(hub, b"\x91\x91", is_first=is_first)


def is_done(number: int, items: Sequence[Item]) -> bool:
    return any(isinstance(item, Done) and number in item.numbers for item in items)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\1\xc1",
        b"\0\0\0\0",
        (FRAME_BYTES + 1).to_bytes(4, "big"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\x13\x88" + b"\x91" * 5000,
        b"".join(framed(encode([Get(1, -1, [(1, 2, 3)])]))),
        b"".join(framed(encode([Write(1, [Raises(-1, [])])]))),
    ],
    ids=["no MessagePack", "empty", "too large", "HTTP", "deep", "no table", "to no table"],
)
async def test_what_is_no_frame_ends_its_connection_alone(
    tmp_path: Path, inner: HeldStore, data: bytes
) -> None:
    log, lines = listening_log()
    async with running_hub(tmp_path, inner, tables=TEST_TABLES, log=log) as hub:
        for node in (await RawNode.connect(hub), await RawNode.greeted(hub)):
            node.send(data)
            assert await node.ended()
            assert lines.pop().event == "a worker sent what is no frame"
        await is_well(hub)
        assert lines == []


async def test_a_request_that_makes_no_sense_fails_alone(tmp_path: Path, inner: HeldStore) -> None:
    log, lines = listening_log()
    async with running_hub(tmp_path, inner, tables=TEST_TABLES, log=log) as hub:
        node = await RawNode.greeted(hub)
        senseless: list[Said] = [
            Write(1, [Puts(77, [])]),
            Write(2, [Puts(0, [b"key", b"\0" * 8 + b"no row"])]),
            Get(3, 0, [(1,)]),
            Get(4, 77, [(1,)]),
            Range(5, 77, ("a", "b"), None, None, 5, False),
            Scan(6, 77, None, 5),
            Compare(7, 0, None, bytes(8) + encode(IntRow(ALICE, 1, MessageId(1)))),
            Write(8, [Erases(0, [(1, 2)], [])]),
        ]
        node.say([*senseless, Echo(9)])
        answers: list[Item] = []
        while len(answers) < 9:
            answers += await node.items()
        failed = {answer.number: answer.fault for answer in answers if isinstance(answer, Failed)}
        assert failed == dict.fromkeys(range(1, 9), Fault.BUG)
        assert Done([9]) in answers
        assert {line.event for line in lines} <= {"a request to the hub failed"}
        await is_well(hub)


# --- silence and slowness -------------------------------------------------------------------


async def test_who_answers_no_ping_is_silent(tmp_path: Path, inner: HeldStore) -> None:
    terms = Terms(ping_every_s=0.02)
    async with running_hub(tmp_path, inner, tables=TEST_TABLES, terms=terms) as hub:
        node = await RawNode.greeted(hub)
        (worker,) = hub.server.workers
        assert worker.pid == os.getpid()
        await until(lambda: hub.server.workers[0].silent_s > 0.1)
        node.say([Echo(1)])
        assert await node.items() == [Done([1])]
        assert node.pings > 4
        await until(lambda: hub.server.workers[0].silent_s < 0.1)
        # A link answers by itself, and any node may ask who is silent.
        link = await hub.link()
        for _ in range(20):
            silences = sorted(worker.silent_s for worker in await link.workers())
            assert silences[0] <= 0.04
            await asyncio.sleep(0.01)
        assert silences[1] > 0.1


def test_a_node_that_takes_nothing_for_five_seconds_is_cut_off(tmp_path: Path) -> None:
    async def test() -> None:
        log, lines = listening_log()
        async with running_hub(tmp_path, HeldStore(), tables=TEST_TABLES, log=log) as hub:
            stuck, link = await RawNode.greeted(hub, b"stuck"), await hub.link()
            stuck.say([Subscribe(1, ["topic"])])
            assert await stuck.items() == [Done([1])]
            for _ in range(5):
                HubBus(link).publish("topic", bytes(1 << 20))
            await link.workers()
            assert STALLED_S == 5
            await pass_time(4.9)
            assert lines == []
            await pass_time(0.2)
            assert [line.event for line in lines] == ["a worker takes nothing that it is sent: cut off"]
            assert await stuck.ended()
            await is_well(hub)

    warped(test())


def test_a_node_that_takes_little_by_little_is_not(tmp_path: Path) -> None:
    async def test() -> None:
        inner = HeldStore()
        rows = [IntRow(ALICE, 1, MessageId(at), "", bytes(1 << 20)) for at in range(5)]
        await inner.write([Put(ASCENDING, row, 1) for row in rows])
        async with running_hub(tmp_path, inner, tables=TEST_TABLES) as hub:
            slow = await RawNode.greeted(hub)
            slow.say([Range(1, 0, (1, 1), None, None, 99, False)])
            # What the kernel's buffers hold counts as taken: less than they hold would not be noticed.
            for _ in range(5):
                await slow.reader.readexactly(1 << 20)
                await pass_time(STALLED_S * 0.7)
            assert len(hub.server.workers) == 1

    warped(test())


async def test_what_is_read_waits_until_it_is_taken(tmp_path: Path, inner: HeldStore) -> None:
    await inner.write([Put(ASCENDING, IntRow(ALICE, 1, MessageId(1), "", bytes(1 << 20)), 1)])
    reads = 0

    class Counting(HeldStore):
        async def get_many(self, table, keys):  # type: ignore[no-untyped-def]
            nonlocal reads
            reads += 1
            return await inner.get_many(table, keys)

    async with running_hub(tmp_path, Counting(), tables=TEST_TABLES) as hub:
        node, other = await RawNode.greeted(hub), await RawNode.greeted(hub, b"other")
        node.say([Get(number, 0, [(1, 1, 1)]) for number in range(1, 101)])
        await until(lambda: reads)
        for number in range(20):
            other.say([Echo(number)])
            assert await other.items() == [Done([number])]
        assert reads < 10
        numbers: list[int] = []
        while len(numbers) < 100:
            numbers += [item.number for item in await node.items() if isinstance(item, Values)]
        assert numbers == list(range(1, 101))


async def test_an_answer_that_fits_into_no_frame_fails_alone(
    hub: RunningHub, inner: HeldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.hub.connection.in_frames", partial(in_frames, limit=1 << 20))
    rows = [IntRow(ALICE, 1, MessageId(at), "", bytes(300 << 10)) for at in range(4)]
    await inner.write([Put(ASCENDING, row, 1) for row in rows])
    store = HubStore(await hub.link(), TEST_TABLES)
    every, some, one = await asyncio.gather(
        store.range(ASCENDING, (ALICE, 1), limit=4),
        store.range(ASCENDING, (ALICE, 1), limit=3),
        store.get(ASCENDING, (ALICE, 1, 3)),
        return_exceptions=True,
    )
    assert isinstance(every, StoreUnavailable)
    assert "ask for less at once" in str(every)
    assert (some, one) == (rows[:3], rows[3])


async def test_while_too_much_is_unanswered_nothing_more_is_read(
    hub: RunningHub, inner: HeldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.hub.connection.IN_FLIGHT", 10)
    link = await hub.link()
    store = HubStore(link, TEST_TABLES)
    inner.answers.clear()
    writing = []
    for at in range(30):
        writing.append(asyncio.ensure_future(store.write([Put(LONE, LoneRow(str(at)), 1)])))
        await asyncio.sleep(0.002)
    assert 10 < len(inner.batches) < 30
    inner.answers.set()
    await asyncio.gather(*writing)
    assert [batch[0] for batch in inner.batches] == [Put(LONE, LoneRow(str(at)), 1) for at in range(30)]


@pytest.mark.slow
async def test_publications_beyond_what_may_wait_are_lost_and_nothing_else(hub: RunningHub) -> None:
    node, others = await RawNode.greeted(hub), [HubBus(await hub.link()) for _ in range(2)]
    node.say([Subscribe(1, ["topic"])])
    assert await node.items() == [Done([1])]
    for bus in others:
        for _ in range(WAITING_BYTES >> 20):
            bus.publish("topic", bytes(1 << 20))
    for bus in others:
        await bus.close()
    node.say([Echo(2)])
    items = []
    while Done([2]) not in items:
        items += await node.items()
    heard = sum(isinstance(item, Published) for item in items)
    assert WAITING_BYTES >> 20 <= heard < 2 * (WAITING_BYTES >> 20)


# --- what goes with a node ------------------------------------------------------------------


async def test_the_places_of_a_node_go_with_its_connection(hub: RunningHub) -> None:
    link = await hub.link()
    here, there = HubDirectory(link), HubDirectory(await hub.link())
    await here.enter([place(ALICE), place(BOB)])
    await there.enter([place(UserId(3), node=6), place(BOB, session=2, node=6)])
    await here.leave([place(BOB)])
    await link.close()
    users = [ALICE, BOB, UserId(3)]
    wanted = [[], [place(BOB, session=2, node=6)], [place(UserId(3), node=6)]]
    while await there.look_up(users) != wanted:
        await asyncio.sleep(0.001)
    assert len(hub.server.places) == 2


async def test_what_a_node_entered_is_remembered_only_while_it_is_there(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.hub.desk.SPARE_PLACES", 10)
    link = await hub.link()
    here = HubDirectory(link)
    for user in range(1, 200):
        await here.enter([place(UserId(user))])
        hub.server.places.forget()
    await here.enter([place(ALICE)])
    await link.close()
    await until(lambda: not len(hub.server.places))


async def test_the_subscriptions_of_a_node_go_with_its_connection(hub: RunningHub) -> None:
    for _ in range(3):
        node = await RawNode.greeted(hub)
        node.say([Subscribe(1, ["topic"])])
        assert await node.items() == [Done([1])]
        node.close()
    await until(lambda: not hub.server.workers)
    bus = HubBus(await hub.link())
    heard: list[bytes] = []
    await bus.subscribe("topic", heard.append)
    bus.publish("topic", b"once")
    await until(lambda: heard)
    assert heard == [b"once"]


async def test_nodes_hear_each_other_in_order(hub: RunningHub) -> None:
    buses = [HubBus(await hub.link()) for _ in range(2)]
    heard: list[list[bytes]] = [[], []]
    for bus, into in zip(buses, heard, strict=True):
        await bus.subscribe("both", into.append)
    for number in range(300):
        for name, bus in zip("ab", buses, strict=True):
            bus.publish("both", f"{name} {number}".encode())
        if number % 10 == 0:
            await asyncio.sleep(0)
    await until(lambda: all(len(into) == 600 for into in heard))
    for into in heard:
        for name in ("a", "b"):
            said = [data.decode() for data in into if data.decode().startswith(name)]
            assert said == [f"{name} {number}" for number in range(300)]
