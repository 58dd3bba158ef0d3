"""Who sends too much, and who reads too little: bounded, told so, and nobody else waits for them."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from integration.people import Closed, Friends, Speaker, Talk, until
from integration.server import MiB, Server, running
from server.rig import PING, frame
from tidings.protocol import errors, frames, ids
from tidings.protocol.close import CloseCode
from tidings.protocol.frames import Deliver, Drained, Error, Hello, Sent
from tidings.protocol.ids import MessageId

pytestmark = pytest.mark.slow

FLOOD = 20_000
"""frames, as fast as they go: within about a second"""
LATENCY_MAX_S = 1.0
"""for others, while server and tests share two cores"""
IDLE_S = 2.0
LARGE = bytes(60_000)
MEDIUM = bytes(20_000)
"""few of them fill a window, many of them do not fill RocksDB's memory"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {"idle_s": IDLE_S, "close_s": 0.5}
    with running(tmp_path_factory.mktemp("server"), limits=limits) as server:
        yield server


@pytest.fixture(scope="module")
def strangers(server: Server) -> Friends:
    """Those who misbehave."""
    return asyncio.run(Friends.of(server, "mallory", "trudy"))


@pytest.fixture(autouse=True)
async def nobody_noticed(friends: Friends) -> AsyncIterator[None]:
    yield
    await friends.check()
    await until(lambda: friends.server.connections == 0)


# --- too much -------------------------------------------------------------------------------


def heartbeats(_: Talk) -> list[frames.Frame]:
    return [frames.Heartbeat()] * FLOOD


def sends(talk: Talk) -> list[frames.Frame]:
    return [talk.alice.message(talk.conversation, b"spam") for _ in range(FLOOD)]


def syncs(_: Talk) -> list[frames.Frame]:
    return [frames.Sync(number, 0) for number in range(FLOOD)]


@pytest.mark.parametrize("what", [heartbeats, sends, syncs])
async def test_a_flood_is_told_when_to_come_back_then_closed(
    friends: Friends, strangers: Friends, what: Callable[[Talk], list[frames.Frame]]
) -> None:
    async with friends.talking() as talk, strangers.talking() as loud:
        said = what(loud)
        async with talk.meanwhile() as latencies:
            loud.alice.say(*said)
            closed = await loud.alice.closing()
        assert closed == Closed(CloseCode.FLOOD, "too many refused frames")
        refused = [one for one in loud.alice.seen if isinstance(one, Error)]
        assert refused
        assert all(
            error.code == errors.RATE_LIMITED.code and error.retry_after is not None for error in refused
        )
        print(f"{len(latencies)} messages, median {statistics.median(latencies) * 1000:.1f} ms")
        assert max(latencies) < LATENCY_MAX_S
        # What was answered with Sent in the midst of the flood is as good as any other.
        answered = [one.message_id for one in loud.alice.seen if isinstance(one, Sent)]
        for message_id in answered[-1:]:
            await loud.bob.expect(Deliver)
            page = await loud.bob.ask(
                lambda n, before=message_id: frames.History(
                    n, loud.conversation, after=MessageId(before - 1), limit=1
                ),
                frames.Page,
            )
            assert [item.message.message_id for item in page.items] == [message_id]


async def test_a_flood_of_pings_is_closed(friends: Friends, strangers: Friends) -> None:
    async with friends.talking() as talk, await Speaker.online(friends.server, strangers.tokens[0]) as loud:
        async with talk.meanwhile() as latencies:
            loud.send(frame(PING, b"") * FLOOD)
            async with asyncio.timeout(10):
                while (await loud.frame()).opcode != 0x8:
                    pass
        assert max(latencies) < LATENCY_MAX_S


@pytest.fixture
def eager(server: Server) -> Friends:
    """Those whose devices have spent nothing yet: what one has spent outlives its connection."""
    return asyncio.run(Friends.of(server, "eager", "patient"))


async def test_who_stays_below_the_limit_of_refusals_is_only_slowed(eager: Friends) -> None:
    async with eager.talking() as talk:
        talk.alice.say(*sends(talk)[:2200])
        error = await talk.alice.expect(Error)
        assert error.code == errors.RATE_LIMITED.code
        assert error.retry_after is not None
        assert 0 <= error.retry_after <= 1
        await talk.alice.settled()

        async def accepted() -> bool:
            said = talk.alice.message(talk.conversation, b"later")
            talk.alice.say(said)
            while True:
                for one in talk.alice.seen:
                    if isinstance(one, Sent | Error) and one.client_id == said.client_id:
                        return isinstance(one, Sent)
                assert await talk.alice.hear()

        async with asyncio.timeout(10):
            while not await accepted():
                pass


# --- too little -----------------------------------------------------------------------------


async def test_who_asks_for_pages_and_does_not_read_them_is_cut_off(
    friends: Friends, strangers: Friends
) -> None:
    server = friends.server
    async with friends.talking() as talk, strangers.talking() as slow:
        for _ in range(8):
            slow.alice.say(slow.alice.message(slow.conversation, LARGE))
            await slow.alice.expect(Sent)
        async with await Speaker.connect(server.port, receive_bytes=4096) as deaf:
            deaf.say(Hello(strangers.tokens[1], receive=False))
            await deaf.expect(frames.Welcome)
            before = server.connections
            async with talk.meanwhile() as latencies:
                deaf.say(*(frames.History(number, slow.conversation) for number in range(150)))
                await until(lambda: server.connections < before)
            server.check_memory()
            assert max(latencies) < LATENCY_MAX_S
        assert len(await slow.bob.history(slow.conversation)) >= 4


async def test_who_does_not_read_what_arrives_costs_little_and_gets_it_later(
    friends: Friends, strangers: Friends
) -> None:
    """More than a window: it is not even sent."""
    server, count = friends.server, 300
    before = server.usage.rss_bytes
    async with (
        friends.talking() as talk,
        await Speaker.online(server, strangers.tokens[0]) as alice,
        await Speaker.connect(server.port, receive_bytes=4096) as deaf,
    ):
        deaf.say(Hello(strangers.tokens[1]))
        await deaf.expect(Drained)
        latencies: list[float] = []
        sent: list[MessageId] = []
        for number in range(count):
            alice.say(alice.message(strangers.conversation, number.to_bytes(4, "big") + MEDIUM))
            sent.append((await alice.expect(Sent)).message_id)
            if number % 30 == 0:
                latencies.append(await talk.exchange())
        assert server.usage.rss_bytes - before < 32 * MiB
        assert max(latencies) < LATENCY_MAX_S
        # It says nothing either, and so it is swept.
        await until(lambda: server.connections < 4)
    assert await drained(server, strangers.tokens[1], sent[0]) == sent


async def drained(server: Server, token: str, since: MessageId) -> list[MessageId]:
    """What a device finds in its inbox, acknowledged a window at a time."""
    async with await Speaker.connect(server.port) as device:
        device.say(Hello(token, have=ids.EntryId(since - 1)))
        found = [one.message.message_id for one in await device.drain()]
        await device.settled()
    return [message for message in found if message >= since]


async def test_receipts_for_who_does_not_read_are_bounded_too(friends: Friends, strangers: Friends) -> None:
    """They are no entries of the inbox, so that no window holds them back."""
    server = friends.server
    async with (
        await Speaker.connect(server.port, receive_bytes=4096) as deaf,
        await Speaker.online(server, strangers.tokens[1]) as bob,
    ):
        deaf.say(Hello(strangers.tokens[0]))
        await deaf.expect(frames.Welcome)
        page = await bob.ask(lambda n: frames.History(n, strangers.conversation, limit=256), frames.Page)
        assert page.items
        for item in page.items:
            bob.say(frames.Read(1, strangers.conversation, item.message.message_id))
        await bob.settled()
        server.check_memory()
