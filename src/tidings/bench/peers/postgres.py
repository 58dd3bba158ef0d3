"""A PostgreSQL of one's own, with the durability of its defaults: a commit waits for the fsync."""

import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tidings.bench.peers.contract import Missing
from tidings.bench.peers.daemons import POLL_S, START_TIMEOUT_S, Daemon, make_own, run, version_of
from tidings.bench.process import free_port

USER = "postgres"
SHARED_BUFFERS = "512MB"
MAX_CONNECTIONS = 50


def binaries() -> Path:
    """Where Debian keeps the newest one's programs. Raises Missing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name))
    if not found:
        raise Missing("PostgreSQL is not installed: run scripts/peers")
    return found[-1]


def version() -> str:
    """Of the programs. Raises Missing."""
    return version_of(str(binaries() / "postgres"), "--version")


class Postgres:
    """A cluster in a folder; `start` it once, and `stop` it in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "postgres"
        self.port = free_port()
        self._daemon: Daemon | None = None

    @property
    def pid(self) -> int:
        """Of its first process, the parent of all others."""
        assert self._daemon is not None
        return self._daemon.pid

    async def start(self) -> None:
        """Make the cluster and start it. Raises RuntimeError."""
        make_own(self._folder, USER)
        data = self._folder / "data"
        initdb = [str(binaries() / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8"]
        await run([*initdb, "--locale=C", "--no-sync"], self._folder, USER)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": MAX_CONNECTIONS,
            "shared_buffers": SHARED_BUFFERS,
            "log_min_messages": "warning",
        }
        command = [str(binaries() / "postgres"), "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        # SIGINT is its fast shutdown: it does not wait for clients.
        self._daemon = Daemon(
            "postgres", command, self._folder, port=self.port, user=USER, stop_signal=signal.SIGINT
        )
        await self._daemon.start()
        await self._ready()

    async def _ready(self) -> None:
        # It listens before it takes anybody.
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                await self.query("-c", "SELECT 1")
                return
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End it."""
        if self._daemon is not None:
            await self._daemon.stop()

    async def query(self, *words: str, database: str = USER) -> str:
        """Run psql with these arguments (`-c STATEMENT`, `-f FILE`). Raises RuntimeError."""
        command: Sequence[str] = [
            *(str(binaries() / "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"),
            *("-p", str(self.port), "-U", USER, "-d", database, *words),
        ]
        return await run(command, self._folder, USER)
