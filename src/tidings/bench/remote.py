"""Processes of a benchmark's own that carry load, where one process has too few descriptors for it.

Each is given a job and then orders, a line of JSON each, and answers each with a line. It ends when
there are no more.
"""

import asyncio
import resource
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import msgspec
import uvloop

J = TypeVar("J", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)

LINE_BYTES = 64 << 20
"""the longest line"""
ANSWER_S = 300.0
END_S = 30.0


class RemoteFailed(Exception):
    """The process ended before it answered; what it said is on stderr."""


class Remote:
    """Such a process, from the side of the benchmark."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, module: str, job: msgspec.Struct) -> Self:
        """Start it: `python -m MODULE`, a module that calls `serve`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        remote = cls(process)
        remote._say(job)
        return remote

    async def ask(self, order: msgspec.Struct, answer: type[R]) -> R:
        """Give an order; returns once it is done. Raises RemoteFailed, TimeoutError."""
        self._say(order)
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            line = await self._process.stdout.readline()
        if not line:
            raise RemoteFailed
        return msgspec.json.decode(line, type=answer)

    async def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _say(self, line: msgspec.Struct) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(line) + b"\n")


def serve(job: type[J], orders: Any, work: Callable[[J], Callable[[Any], Awaitable[msgspec.Struct]]]) -> None:
    """Be such a process: `work` takes the job within the event loop, what it returns takes each order."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_serve(job, orders, work))


async def _serve(
    job: type[J], orders: Any, work: Callable[[J], Callable[[Any], Awaitable[msgspec.Struct]]]
) -> None:
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    do = work(msgspec.json.decode(await reader.readline(), type=job))
    while line := await reader.readline():
        answer = await do(msgspec.json.decode(line, type=orders))
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()
