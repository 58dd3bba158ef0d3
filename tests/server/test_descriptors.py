"""Out of file descriptors: nobody who is connected notices, and the server goes on once some are free."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.rig import BINARY, PATIENCE_S, Peer, frame, upgrade

HERE = Path(__file__).parent
FILES = 64


class Starved:
    """The other process."""

    def __init__(self, port: int, peers: contextlib.AsyncExitStack) -> None:
        self._port = port
        self._peers = peers

    async def dial(self) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self._port))
        return await self._peers.enter_async_context(peer)

    async def try_upgrade(self) -> tuple[Peer, bytes]:
        """A peer, and the head it is answered with; empty if the server hung up."""
        peer = await self.dial()
        peer.send(upgrade())
        try:
            return peer, await peer.head()
        except (asyncio.IncompleteReadError, ConnectionError):
            return peer, b""


@contextlib.asynccontextmanager
async def starved(reserved: int) -> AsyncIterator[Starved]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["src", "tests"])}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "starved.py"),
        str(FILES),
        str(reserved),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=HERE.parent.parent,
        env=environment,
    )
    assert process.stdout is not None
    async with contextlib.AsyncExitStack() as peers:
        port = int(await asyncio.wait_for(process.stdout.readline(), 20))
        yield Starved(port, peers)
        assert process.returncode is None
    process.kill()
    _, complaints = await process.communicate()
    assert complaints == b""


async def cpu_us(peer: Peer) -> int:
    peer.send(frame(BINARY, b"cpu"))
    return int((await peer.frame()).payload)


async def echoes(peer: Peer) -> None:
    peer.send(frame(BINARY, b"still there?"))
    assert await peer.frame() == (BINARY, b"still there?")


@pytest.mark.slow
async def test_the_reserve_is_kept_with_a_clear_answer() -> None:
    async with starved(reserved=44) as server:
        peers = [await server.try_upgrade() for _ in range(FILES - 44)]
        assert all(b" 101 " in head for _, head in peers)
        refused, head = await server.try_upgrade()
        assert b" 503 " in head
        assert b"retry-after: 5\r\n" in head
        for peer, _ in peers:
            await echoes(peer)
        refused = await server.dial()
        refused.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await refused.answer())[2] == b"GET /x 0"


@pytest.mark.slow
async def test_without_a_reserve_it_neither_spins_nor_dies() -> None:
    async with starved(reserved=0) as server:
        peers = [await server.try_upgrade() for _ in range(FILES + 10)]
        inside = [peer for peer, head in peers if b" 101 " in head]
        outside = [peer for peer, head in peers if not head]
        assert len(inside) + len(outside) == FILES + 10
        assert len(outside) >= 10
        for peer in inside:
            await echoes(peer)
        before = await cpu_us(inside[0])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inside[0].reader.read(1), 0.3)
        assert await cpu_us(inside[0]) - before < 100_000
        for peer in inside[10:20]:
            peer.writer.close()
            await peer.writer.wait_closed()
        async with asyncio.timeout(PATIENCE_S):
            while True:  # until the server has seen them go
                peer, head = await server.try_upgrade()
                if b" 101 " in head:
                    break
        await echoes(peer)
