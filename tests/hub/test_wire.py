"""What a node's link says over the wire, and what it makes of what it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import msgspec
import pytest

from conformance.stores import LONE, TEST_TABLES, LoneRow
from hub.rig import clocks_of, listening_log, silent_log, until
from tidings.directory.contract import DirectoryUnavailable
from tidings.hub.bus import HubBus
from tidings.hub.directory import HubDirectory
from tidings.hub.framing import Splitter, encode, framed
from tidings.hub.link import HubLink
from tidings.hub.store import HubStore
from tidings.hub.wire import Done, Get, Greeting, Hello, LookUp, News, Ping, Pong, Publish, Said, Write
from tidings.protocol.ids import UserId
from tidings.store.contract import Put
from tidings.testing.clock import FakeClock

SOON_S = 0.05
ALICE = UserId(1)


def begun(*work: Awaitable[object]) -> list["asyncio.Future[object]"]:
    return [asyncio.ensure_future(one) for one in work]


class ScriptedHub:
    """A hub that greets, keeps what it is told, and says what a test wants it to."""

    def __init__(self) -> None:
        self.hellos: list[Hello] = []
        self.frames: list[list[Said]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        splitter = Splitter()
        is_first = True
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for frame in splitter.feed(data):
                    if is_first:
                        self.hellos.append(msgspec.msgpack.decode(frame, type=Hello))
                        self.say(Greeting(b"scripted"))
                    else:
                        self.frames.append(msgspec.msgpack.decode(frame, type=list[Said]))
                    is_first = False

    def say(self, message: object) -> None:
        self.writers[-1].writelines(framed(encode(message)))


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[tuple[ScriptedHub, Path]]:
    hub = ScriptedHub()
    path = tmp_path / "hub.sock"
    server = await asyncio.start_unix_server(hub.serve, str(path))
    yield hub, path
    server.close()
    for writer in hub.writers:
        writer.close()


async def test_what_one_turn_asks_goes_out_together_and_in_order(scripted: tuple[ScriptedHub, Path]) -> None:
    hub, path = scripted
    link = await HubLink.open(path, TEST_TABLES, silent_log())
    store, bus, directory = HubStore(link, TEST_TABLES), HubBus(link), HubDirectory(link)
    asked = begun(
        store.write([Put(LONE, LoneRow("a"), 1)]), directory.look_up([ALICE]), store.get(LONE, ("a",))
    )
    bus.publish("topic", b"one")
    await until(lambda: hub.frames)
    assert [type(said) for said in hub.frames[0]] == [Publish, Write, LookUp, Get]
    assert [said.number for said in hub.frames[0] if not isinstance(said, Publish | Pong)] == [1, 2, 3]
    await link.close()
    await asyncio.gather(*asked, return_exceptions=True)


async def test_a_ping_is_answered(scripted: tuple[ScriptedHub, Path]) -> None:
    hub, path = scripted
    link = await HubLink.open(path, TEST_TABLES, silent_log())
    hub.say(News(0, 0, [Ping()]))
    await until(lambda: hub.frames)
    assert hub.frames == [[Pong()]]
    await link.close()


async def test_answers_to_what_nobody_asked_do_no_harm(scripted: tuple[ScriptedHub, Path]) -> None:
    hub, path = scripted
    link = await HubLink.open(path, TEST_TABLES, silent_log())
    (writing,) = begun(HubStore(link, TEST_TABLES).write([Put(LONE, LoneRow("a"), 1)]))
    await until(lambda: hub.frames)
    hub.say(News(0, 0, [Done([77]), Done([1, 1])]))
    await writing
    await link.close()


async def test_what_is_no_frame_ends_the_connection_and_the_next_one_is_made(
    scripted: tuple[ScriptedHub, Path],
) -> None:
    hub, path = scripted
    log, lines = listening_log()
    link = await HubLink.open(path, TEST_TABLES, log)
    (writing,) = begun(HubStore(link, TEST_TABLES).write([Put(LONE, LoneRow("a"), 1)]))
    await until(lambda: hub.frames)
    hub.say("what is this?")
    await until(lambda: len(hub.frames) == 2)
    assert hub.frames[0] == hub.frames[1]
    assert hub.hellos[0] == hub.hellos[1]
    hub.say(News(0, 0, [Done([1])]))
    await writing
    assert [line.event for line in lines] == ["the connection to the hub broke", "connected to the hub again"]
    assert "no frame" in lines[0].values["reason"]
    await link.close()


# --- the time -------------------------------------------------------------------------------


async def test_the_time_costs_no_question_while_the_hub_is_heard(
    scripted: tuple[ScriptedHub, Path],
) -> None:
    hub, path = scripted
    clock = FakeClock()
    link = await HubLink.open(path, TEST_TABLES, silent_log(), clocks=clocks_of(clock), give_up_s=SOON_S)
    store, directory = HubStore(link, TEST_TABLES), HubDirectory(link)
    (writing,) = begun(store.write([Put(LONE, LoneRow("a"), 1)]))
    await until(lambda: hub.frames)
    # The hub's wall clock may show anything.
    hub.say(News(5_000_000_000_000, clock.wall_ms() * 1_000_000, [Done([1])]))
    await writing
    assert await directory.time_ms() == 5_000_000
    clock.advance(0.9)
    assert await directory.time_ms() == 5_000_900
    clock.advance(0.2)
    (asking,) = begun(directory.time_ms())
    await until(lambda: len(hub.frames) == 2)
    hub.say(News(7_000_000_000_000, clock.wall_ms() * 1_000_000, [Done([2])]))
    assert await asking == 7_000_000
    with pytest.raises(DirectoryUnavailable):
        await directory.time_ms(fresh=True)
    await link.close()


async def test_a_frame_that_lay_unread_for_long_makes_the_time_no_earlier(
    scripted: tuple[ScriptedHub, Path],
) -> None:
    hub, path = scripted
    clock = FakeClock()
    link = await HubLink.open(path, TEST_TABLES, silent_log(), clocks=clocks_of(clock))
    (writing,) = begun(HubStore(link, TEST_TABLES).write([Put(LONE, LoneRow("a"), 1)]))
    await until(lambda: hub.frames)
    made_ms = clock.wall_ms()
    clock.advance(0.8)  # the node was stopped, say
    hub.say(News(made_ms * 1_000_000, made_ms * 1_000_000, [Done([1])]))
    await writing
    assert await HubDirectory(link).time_ms() == clock.wall_ms()
    await link.close()
