"""A server to measure: started, watched through /proc, killed, started again."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

from tidings.bench.family import TICKS_PER_S as TICKS_PER_S
from tidings.bench.family import Family, Usages, family, is_same, stat, usages
from tidings.bench.family import Usage as Usage
from tidings.bench.family import usage as usage

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02
ANSWER_S = 5.0


class ServerProcess:
    """`tidings serve` on a free port of the loopback interface."""

    def __init__(
        self, data: Path, *, config: Path | None = None, port: int | None = None, workers: int = 1
    ) -> None:
        """With one worker it is a single process."""
        self.data = data
        self._config = config
        self.port = port or free_port()
        self.workers = workers
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it answers. Raises RuntimeError if it does not."""
        self._process = await asyncio.create_subprocess_exec(*self._command())
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.returncode is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}")
            if await _answers(self.port):
                return
            await asyncio.sleep(POLL_S)
        raise RuntimeError(f"the server did not start within {START_TIMEOUT_S:.0f} s")

    async def kill(self) -> None:
        """kill -9 of all its processes, as a crash of the machine does it."""
        assert self._process is not None
        # The first one goes first: it would let others follow.
        began = {pid: stat(pid).started_ticks for pid in self.family().pids}
        for pid in began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._process.wait()
        while any(is_same(pid, ticks) for pid, ticks in began.items()):  # they have the store and the port
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """SIGTERM, then wait for its end."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)

    def family(self) -> Family:
        """Its processes."""
        return family(self.pid)

    def usages(self) -> Usages:
        """What its processes have used so far, one by one and together."""
        return usages(self.family())

    def usage(self) -> Usage:
        """What they have used together."""
        return self.usages().all

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "tidings", "serve", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--strangers", "deliver", "--admin", "127.0.0.1:0"]
        command += ["--data", str(self.data), "--log", "warning"]
        if self.workers > 1:
            command += ["--workers", str(self.workers)]
        if self._config is not None:
            command += ["--config", str(self._config)]
        return command


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _answers(port: int) -> bool:
    """Whether somebody serves; that a supervisor listens says nothing yet."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(ANSWER_S):
            return (await reader.read(4)) == b"HTTP"
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
