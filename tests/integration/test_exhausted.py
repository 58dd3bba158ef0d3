"""No descriptors left, no room on the disk: new work is refused clearly, and what stands goes on."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from durability.shim import Shim
from integration.people import Friends, Speaker, Talk, refusal_of, until
from integration.server import MakeServer, MiB, Server
from tidings.protocol import errors, frames
from tidings.protocol.frames import Deliver, Error, Sent
from tidings.protocol.ids import MessageId
from tidings.store.room import free_bytes

pytestmark = pytest.mark.slow

FILES = 300
RESERVED = 64
AGAIN_S = 0.05
"""between two tries of the same, so that they are no flood"""
QUIET_S = 0.4
QUIET_CPU_S = 0.1
FILLER_BYTES = 512 * MiB


# --- descriptors ----------------------------------------------------------------------------


async def try_websocket(server: Server, stack: contextlib.AsyncExitStack) -> tuple[Speaker, int]:
    """A request for a WebSocket, and the status that it is answered with."""
    speaker = await stack.enter_async_context(await Speaker.dial(server.port))
    speaker.ask_for_websocket()
    return speaker, await speaker.status()


async def test_without_descriptors_it_refuses_and_those_inside_go_on(make_server: MakeServer) -> None:
    server = make_server(
        files=FILES, limits={"reserved_files": RESERVED, "close_s": 0.5, "http_head_s": 60.0}
    )
    server.start()
    friends = await Friends.of(server)
    async with friends.talking() as talk:
        async with contextlib.AsyncExitStack() as stack:
            inside = [await try_websocket(server, stack) for _ in range(FILES - RESERVED - 2)]
            assert {status for _, status in inside} == {101}
            refused, status = await try_websocket(server, stack)
            assert status == 503
            assert b"retry-after: 5\r\n" in refused.answered
            await talk.exchange()
            assert server.health()["connections"] == FILES - RESERVED

            # Then the reserve itself: connections that say nothing, more than there are descriptors.
            for _ in range(FILES - RESERVED // 2):
                await stack.enter_async_context(await Speaker.dial(server.port))
            await until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) >= FILES - RESERVED // 2)
            for _ in range(5):
                await talk.exchange()
            before_s = server.usage.cpu_s
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(talk.alice.hear(), QUIET_S)
            assert server.usage.cpu_s - before_s < QUIET_CPU_S, "it spins"
            await talk.exchange()
        await until(lambda: server.health()["connections"] == 2)
        await talk.exchange()
    await friends.check()
    server.stop()


# --- the disk -------------------------------------------------------------------------------


class Crowd:
    """What must hold while the disk is full and afterwards, however it got full."""

    def __init__(self, server: Server, friends: Friends, talk: Talk) -> None:
        self.server = server
        self.friends = friends
        self.talk = talk
        self.acknowledged: list[bytes] = []

    async def say(self, content: bytes) -> Sent | Error:
        """Send a message; the answer."""
        talk = self.talk
        said = talk.alice.message(talk.conversation, content)
        talk.alice.say(said)
        while True:
            for place, one in enumerate(talk.alice.seen):
                if isinstance(one, Sent | Error) and one.client_id == said.client_id:
                    if isinstance(one, Sent):
                        self.acknowledged.append(content)
                    return talk.alice.seen.pop(place)  # type: ignore[return-value]
            assert await talk.alice.hear(), talk.alice.closed

    async def is_refused_everywhere(self) -> None:
        """Nothing is acknowledged; what only reads goes on."""
        talk, server = self.talk, self.server
        many = [talk.alice.message(talk.conversation, b"refused %d" % number) for number in range(20)]
        talk.alice.say(*many)
        for said in many:
            error = await refusal_of(talk.alice, said)
            assert (error.code, error.client_id) == (errors.STORE_FULL.code, said.client_id)
            assert error.retry_after
        last = (await self.page())[-1].message.message_id
        error = await talk.bob.ask(lambda n: frames.Read(n, talk.conversation, last), Error)
        assert (error.code, bool(error.retry_after)) == (errors.STORE_FULL.code, True)
        status, problem = server.http("/v1/accounts", {"handle": "newcomer", "secret": "a long secret"})
        assert (status, problem["name"]) == (507, "store_full")
        assert problem["retry_after"]
        assert server.health()["status"] == "store_full"
        # Who has an account still gets in, and reads.
        async with await Speaker.connect(server.port) as side:
            side.say(frames.Hello(self.friends.tokens[1], receive=False))
            await side.expect(frames.Welcome)
            assert await side.history(talk.conversation)
        assert not [one for one in talk.alice.seen if isinstance(one, Sent)]

    async def recovers(self) -> None:
        """Once there is room, by the clients' repeats alone."""
        async with asyncio.timeout(20):
            while isinstance(await self.say(b"there is room again"), Error):
                await asyncio.sleep(AGAIN_S)
        await self.talk.exchange()
        assert self.server.health()["status"] == "ok"
        assert self.server.register("newcomer")

    async def holds_what_was_acknowledged(self) -> None:
        """Nothing else was delivered, and nothing is missing."""
        contents = [item.message.content for item in await self.page()]
        assert [content for content in contents if content in self.acknowledged] == self.acknowledged
        await self.talk.bob.settled()
        delivered = [one.message.content for one in self.talk.bob.seen if isinstance(one, Deliver)]
        assert not any(content.startswith(b"refused") for content in contents + delivered)

    async def page(self) -> list[frames.HistoryItem]:
        """The whole conversation."""
        talk = self.talk
        found: list[frames.HistoryItem] = []
        more = True
        while more:
            after = found[-1].message.message_id if found else MessageId(0)
            page = await talk.bob.ask(
                lambda n, after=after: frames.History(n, talk.conversation, after=after, limit=256),
                frames.Page,
            )
            found += page.items
            more = page.more
        return found


async def test_a_full_disk(make_server: MakeServer, library: Path, tmp_path: Path) -> None:
    """Writes fail in the middle of RocksDB's."""
    shim = Shim(library, tmp_path / "server0" / "data", tmp_path)
    server = make_server(environment=shim.environment)
    server.start()
    friends = await Friends.of(server)
    async with friends.talking() as talk:
        crowd = Crowd(server, friends, talk)
        for number in range(10):
            assert isinstance(await crowd.say(b"before %d" % number), Sent)
        shim.full.touch()
        # What is on its way may still be written; from the first refusal on all is refused.
        while isinstance(await crowd.say(b"on the edge"), Sent):
            await asyncio.sleep(AGAIN_S)
        await crowd.is_refused_everywhere()
        shim.full.unlink()
        await crowd.recovers()
        await crowd.holds_what_was_acknowledged()
    await friends.check()
    server.stop()
    server.start()
    async with friends.talking() as talk:
        again = Crowd(server, friends, talk)
        again.acknowledged = crowd.acknowledged
        await again.holds_what_was_acknowledged()
    server.stop()


async def test_it_ends_cleanly_on_a_full_disk(make_server: MakeServer, library: Path, tmp_path: Path) -> None:
    shim = Shim(library, tmp_path / "server0" / "data", tmp_path)
    server = make_server(environment=shim.environment)
    server.start()
    friends = await Friends.of(server)
    async with friends.talking() as talk:
        crowd = Crowd(server, friends, talk)
        for number in range(10):
            assert isinstance(await crowd.say(b"before %d" % number), Sent)
        shim.full.touch()
        while isinstance(await crowd.say(b"on the edge"), Sent):
            await asyncio.sleep(AGAIN_S)
    server.stop()
    shim.full.unlink()
    server.start()
    async with friends.talking() as talk:
        again = Crowd(server, friends, talk)
        again.acknowledged = crowd.acknowledged
        await again.holds_what_was_acknowledged()
    server.stop()


@pytest.fixture
def filler(tmp_path: Path) -> Iterator[Path]:
    """A file that takes FILLER_BYTES of the disk, which must have them to spare; it is not there yet."""
    if free_bytes(tmp_path) < 4 * FILLER_BYTES:
        pytest.skip("too little room to play with")
    file = tmp_path / "filler"
    yield file
    file.unlink(missing_ok=True)


async def test_the_reserve_is_kept(make_server: MakeServer, filler: Path) -> None:
    """The store refuses before the disk does."""
    reserve = free_bytes(filler.parent) - FILLER_BYTES // 2
    server = make_server(limits={"store_free_bytes": reserve})
    server.start()
    friends = await Friends.of(server)
    async with friends.talking() as talk:
        crowd = Crowd(server, friends, talk)
        for number in range(10):
            assert isinstance(await crowd.say(b"before %d" % number), Sent)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, FILLER_BYTES)
        # The store asks for the free space once a second.
        async with asyncio.timeout(5):
            while isinstance(await crowd.say(b"on the edge"), Sent):
                await asyncio.sleep(AGAIN_S)
        crowd.acknowledged = [one for one in crowd.acknowledged if one != b"on the edge"]
        await crowd.is_refused_everywhere()
        filler.unlink()
        await crowd.recovers()
        await crowd.holds_what_was_acknowledged()
    await friends.check()
    server.stop()
