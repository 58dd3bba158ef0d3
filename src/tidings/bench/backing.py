"""What nodes share, for measuring: a real Cassandra and a real Redis, and what they use by /proc.

A Cassandra that is named (TIDINGS_CASSANDRA, HOST:PORT) is used as it is; otherwise scripts/cassandra of a
checkout starts one. Redis is always one of our own, so that nobody else's commands count.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tidings.bench.family import usage
from tidings.bench.process import free_port
from tidings.bench.spread import listener

SCRIPTS = Path(__file__).parents[3] / "scripts"
CASSANDRA_START_S = 300.0
REDIS_START_S = 20.0
POLL_S = 0.02


class CassandraProcess:
    """One Cassandra node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        named = os.environ.get("TIDINGS_CASSANDRA", "")
        self.is_ours = not named
        """whether it goes, with all that is in it, when it is stopped"""
        host, _, port = named.rpartition(":")
        self.host = host or "127.0.0.1"
        self.port = int(port) if named else free_port()
        self._pid: int | None = None

    async def start(self) -> None:
        """Return once it takes requests. Raises RuntimeError."""
        if self.is_ours:
            await self._script("start")
        self._pid = listener(self.port)

    async def stop(self) -> None:
        """End it, if it was started here."""
        if self.is_ours:
            await self._script("stop")

    @property
    def cpu_s(self) -> float | None:
        """What it has used so far; None where it runs on another machine."""
        return None if self._pid is None else usage(self._pid).cpu_s

    async def _script(self, verb: str) -> None:
        script = SCRIPTS / "cassandra"
        if not script.exists():
            raise RuntimeError("there is no Cassandra: set TIDINGS_CASSANDRA=HOST:PORT")
        ports = {"PORT": str(self.port), "STORAGE_PORT": str(free_port())}
        process = await asyncio.create_subprocess_exec(
            script, verb, self._folder, env={**os.environ, **ports}, stdout=asyncio.subprocess.DEVNULL
        )
        if await asyncio.wait_for(process.wait(), CASSANDRA_START_S):
            raise RuntimeError(f"scripts/cassandra {verb} failed")


class RedisProcess:
    """One Redis that keeps nothing on disk, as nodes need it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return once it answers. Raises RuntimeError."""
        program = shutil.which(os.environ.get("TIDINGS_REDIS", "redis-server"))
        if program is None:
            raise RuntimeError("there is no redis-server: TIDINGS_REDIS names one, scripts/redis brings one")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = await asyncio.create_subprocess_exec(
            program, *options, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(REDIS_START_S):
            while not await self._answers():
                await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    @property
    def cpu_s(self) -> float:
        """What it has used so far."""
        assert self._process is not None
        return usage(self._process.pid).cpu_s

    async def calls(self) -> dict[str, int]:
        """How often each command was called so far (INFO commandstats)."""
        found = {}
        for line in (await self._info()).splitlines():
            name, _, rest = line.partition(":")
            if name.startswith("cmdstat_"):
                found[name.removeprefix("cmdstat_")] = int(rest.partition(",")[0].removeprefix("calls="))
        return found

    async def _answers(self) -> bool:
        try:
            return bool(await self._info())
        except OSError:
            return False

    async def _info(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"INFO commandstats\r\n")
            length = int((await reader.readline())[1:])
            return (await reader.readexactly(length)).decode()
        finally:
            writer.close()


@asynccontextmanager
async def backing(folder: Path) -> AsyncIterator[tuple[CassandraProcess, RedisProcess]]:
    """Both, begun in a folder; they are ended whatever fails. Raises RuntimeError."""
    cassandra, redis = CassandraProcess(folder / "cassandra"), RedisProcess(folder)
    async with AsyncExitStack() as stack:
        for process in (cassandra, redis):
            stack.push_async_callback(process.stop)
            await process.start()
        yield cassandra, redis
