"""SIGTERM in the middle of everything: whoever was told Sent was told the truth."""

import asyncio
import contextlib
import socket
import subprocess
from pathlib import Path

import pytest

from integration.pairs import Reader, Writer
from integration.people import Friends, Speaker
from integration.server import STOP_S, TIDINGS, MakeServer
from tidings.bench.seed import seed
from tidings.protocol.close import CloseCode

pytestmark = pytest.mark.slow

PAIRS = 4
WINDOW = 8
IDLE = 10
ACKED_BEFORE = 300


async def test_sigterm_under_load_loses_nothing(make_server: MakeServer) -> None:
    server = make_server()
    accounts, conversations = await seed(
        server.data, 2 * PAIRS + IDLE, [(2 * pair, 2 * pair + 1) for pair in range(PAIRS)]
    )
    server.start()
    writers = [Writer(accounts[2 * n].token, conversations[n], WINDOW, bytes(100)) for n in range(PAIRS)]
    readers = [Reader(accounts[2 * n + 1].token) for n in range(PAIRS)]
    async with contextlib.AsyncExitStack() as stack:
        idle = [
            await stack.enter_async_context(await Speaker.online(server, account.token))
            for account in accounts[2 * PAIRS :]
        ]
        tasks = [asyncio.create_task(one.run(server.port)) for one in [*writers, *readers]]
        try:
            async with asyncio.timeout(20):
                while sum(len(writer.acked) for writer in writers) < ACKED_BEFORE:
                    await asyncio.sleep(0.01)
                took_s, *closed = await asyncio.gather(
                    asyncio.to_thread(server.stop), *(speaker.closing() for speaker in idle)
                )
                acked = [dict(writer.acked) for writer in writers]
                assert took_s < STOP_S
                assert {one.code for one in closed} == {CloseCode.DRAIN}
                assert all(0 <= float(one.reason) <= 60 for one in closed)
                assert len({one.reason for one in closed}) > 1, "each client its own moment"
                await asyncio.to_thread(server.start)
                for writer in writers:
                    writer.stop()
                await asyncio.gather(*(writer.idle.wait() for writer in writers))
                while any(
                    writer.acked.keys() - {number for _, number in reader.shown.values()}
                    for writer, reader in zip(writers, readers, strict=True)
                ):
                    await asyncio.sleep(0.01)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    for before, writer, reader in zip(acked, writers, readers, strict=True):
        shown = {number: message_id for message_id, number in reader.shown.values()}
        assert {number: shown.get(number) for number in before} == before
        assert len(shown) == len(reader.shown), "a twin"
        assert reader.doubled == 0
        assert sorted(shown, key=shown.__getitem__) == sorted(shown)
        assert writer.acked.keys() == shown.keys()
    await asyncio.to_thread(server.stop)  # its clients answer meanwhile


async def test_sigterm_waits_for_nobody_who_does_not_hang_up(make_server: MakeServer) -> None:
    """Half a request, half a handshake, a deaf WebSocket."""
    server = make_server()
    server.start()
    friends = await Friends.of(server)
    async with (
        await Speaker.dial(server.port) as silent,
        await Speaker.dial(server.port) as half,
        await Speaker.connect(server.port, receive_bytes=4096) as deaf,
        await Speaker.online(server, friends.tokens[0]) as alice,
    ):
        half.send(b"POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        took_s, closed, _ = await asyncio.gather(
            asyncio.to_thread(server.stop), alice.closing(), silent.rest()
        )
        assert closed.code == CloseCode.DRAIN
        assert took_s < STOP_S
        assert deaf.closed is None  # it has not looked


def test_sigterm_ends_a_server_whose_terminal_is_gone(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [TIDINGS, "serve", "--listen", address, "--admin", "", "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "listening" in process.stderr.readline()
            process.stderr.close()
            process.terminate()
            assert process.wait(STOP_S) == 0
        finally:
            process.kill()
