"""What docs/guides/any-client.md shows, run as it stands there."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.server import PATIENCE_S, Server

GUIDE = Path(__file__).parents[2] / "docs/guides/any-client.md"
LINES_MAX = 30
"""what the guide promises of each client"""
READY = "ready"


def block(language: str) -> str:
    """The one code block of a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) == 1, f"{len(found)} blocks of {language} in {GUIDE}"
    return str(found[0])


class Chat:
    """The Python client in a process of its own, at whose terminal the test sits."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def type(self, line: str) -> None:
        """Type a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def shows(self, start: str) -> str:
        """The next line on the screen, which must start so; returns the rest of it.

        What has waited may come before the client is `ready`, so that line counts only where it is awaited.
        """
        line = await self._line()
        if line == READY != start:
            line = await self._line()
        if not line.startswith(start):
            rest = b""
            if line.startswith("Traceback"):
                rest, _ = await asyncio.wait_for(self._process.communicate(), PATIENCE_S)
            pytest.fail(f"{start!r} was expected, not {line!r}\n{rest.decode()}")
        return line.removeprefix(start)

    async def _line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return (await self._process.stdout.readline()).decode().removesuffix("\n")

    async def exit_code(self) -> int:
        """Wait until it ends by itself."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()


@contextlib.asynccontextmanager
async def chat(
    server: Server, folder: Path, me: str, peer: str, *, ready: bool = True
) -> AsyncIterator[Chat]:
    """`python3 chat.py SERVER ME PEER`, started in a folder, where it keeps what it must remember."""
    script = folder / "chat.py"
    script.write_text(block("python"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-W", "error", script.name, server.url, me, peer),
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    chatting = Chat(process)
    try:
        if ready:
            await chatting.shows(READY)
        yield chatting
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


async def introduce(server: Server, folder: Path, me: str, peer: str) -> None:
    """Register somebody whose peer is not there yet; the client says so and ends."""
    async with chat(server, folder, me, peer, ready=False) as first:
        await first.shows("refused: ")
        assert await first.exit_code() == 1
