"""A server process to measure: started, watched through /proc, killed, started again."""

import asyncio
import os
import socket
import sys
import time
from pathlib import Path
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02


class Usage(NamedTuple):
    """What a process has used."""

    cpu_s: float
    """user and system time"""
    rss_bytes: int


class ServerProcess:
    """`tidings serve` on a free port of the loopback interface."""

    def __init__(self, data: Path, *, config: Path | None = None, port: int | None = None) -> None:
        self.data = data
        self._config = config
        self.port = port or free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it takes connections. Raises RuntimeError if it does not."""
        command = [sys.executable, "-m", "tidings", "serve", "--listen", f"127.0.0.1:{self.port}"]
        command += [
            "--strangers",
            "deliver",
            "--admin",
            "127.0.0.1:0",
            "--data",
            str(self.data),
            "--log",
            "warning",
        ]
        if self._config is not None:
            command += ["--config", str(self._config)]
        self._process = await asyncio.create_subprocess_exec(*command)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.returncode is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}")
            if await _accepts(self.port):
                return
            await asyncio.sleep(POLL_S)
        raise RuntimeError(f"the server did not start within {START_TIMEOUT_S:.0f} s")

    async def kill(self) -> None:
        """kill -9, as a crash does it."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, then wait for its end."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)

    def usage(self) -> Usage:
        """What it has used so far."""
        return usage(self.pid)


def usage(pid: int) -> Usage:
    """What a process has used so far, from /proc/PID/stat (proc(5): utime, stime, rss)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Usage((int(fields[11]) + int(fields[12])) / TICKS_PER_S, int(fields[21]) * PAGE_BYTES)


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
