"""Networks that are slow, silent or broken: a Toxiproxy of one's own, and the proxies in it.

Toxiproxy carries TCP between a port of this machine and somebody who listens, and harms it as it is told to.
It is a process beside the test, set up by `scripts/toxiproxy`.

```
async with toxiproxy() as proxies:
    redis = await proxies.before(6379)          # use redis.port instead
    await redis.delay(0.2)
    await redis.silence(Way.BACK)               # who asks is heard, and hears nothing
    await redis.heal()
```

Harm holds for connections that stand and for those to come, until `heal`. All times are in seconds.
"""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable
from enum import StrEnum
from pathlib import Path

import httpx

FOLDER = Path(__file__).parents[3] / "build" / "toxiproxy" / "bin"
PROGRAM = "toxiproxy-server"
HOST = "127.0.0.1"
START_S = 20.0
POLL_S = 0.02


class Way(StrEnum):
    """Which way bytes go, seen from who connects."""

    THERE = "upstream"
    BACK = "downstream"


class Proxy:
    """A port, and somebody behind it."""

    def __init__(self, http: httpx.AsyncClient, name: str, port: int) -> None:
        self.port = port
        """where to connect to"""
        self._http = http
        self._path = f"/proxies/{name}"

    async def delay(self, seconds: float, *, jitter_s: float = 0.0, way: Way = Way.BACK) -> None:
        """What goes that way comes so much later, give or take the jitter; its order stays."""
        await self._harm("latency", way, latency=_ms(seconds), jitter=_ms(jitter_s))

    async def slow(self, kilobytes_per_s: int, *, way: Way = Way.BACK) -> None:
        """Each connection carries no more than that."""
        await self._harm("bandwidth", way, rate=kilobytes_per_s)

    async def silence(self, *ways: Way) -> None:
        """Nothing comes through any more (half-open), or (cut) nothing that way; new ones are still accepted.

        Connections that lost something are closed by `heal`.
        """
        for way in ways or Way:
            await self._harm("timeout", way, timeout=0)

    async def reset(self, after_s: float = 0.0) -> None:
        """Each connection that begins now is reset (TCP RST) so long after it carries something.

        One that stands already is closed then.
        """
        for way in Way:
            await self._harm("reset_peer", way, timeout=_ms(after_s))

    async def close_slowly(self, seconds: float) -> None:
        """Who closes a connection is believed only so much later."""
        for way in Way:
            await self._harm("slow_close", way, delay=_ms(seconds))

    async def close(self) -> None:
        """All connections are closed, and new ones are refused."""
        await _done(self._http.post(self._path, json={"enabled": False}))

    async def heal(self) -> None:
        """As if nothing had been; connections that still stand go on."""
        answer = await _done(self._http.get(self._path))
        for toxic in answer.json()["toxics"]:
            await _done(self._http.delete(f"{self._path}/toxics/{toxic['name']}"))
        await _done(self._http.post(self._path, json={"enabled": True}))

    async def _harm(self, kind: str, way: Way, **attributes: int) -> None:
        body = {"type": kind, "stream": way.value, "attributes": attributes}
        await _done(self._http.post(f"{self._path}/toxics", json=body))


class Toxiproxy:
    """The process; `toxiproxy` starts it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._made = 0

    async def before(self, port: int, host: str = HOST, *, listen: str = f"{HOST}:0") -> Proxy:
        """A proxy to who listens there, or will; at a port of its own, or where it is to `listen`."""
        self._made += 1
        name = f"proxy{self._made}"
        body = {"name": name, "listen": listen, "upstream": f"{host}:{port}"}
        answer = await _done(self._http.post("/proxies", json=body))
        return Proxy(self._http, name, int(answer.json()["listen"].rpartition(":")[2]))


def is_there() -> bool:
    """Whether it was set up."""
    return _program() is not None


@contextlib.asynccontextmanager
async def toxiproxy() -> AsyncIterator[Toxiproxy]:
    """Runs one. Raises FileNotFoundError if it was not set up, RuntimeError if it does not start."""
    program = _program()
    if program is None:
        raise FileNotFoundError(f"no {PROGRAM}: run scripts/toxiproxy")
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        program,
        "-host",
        HOST,
        "-port",
        str(port),
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "LOG_LEVEL": "error"},
    )
    try:
        # Not over a proxy of the machine's: this one is on it.
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}", trust_env=False) as http:
            await _answers(http, process)
            yield Toxiproxy(http)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _answers(http: httpx.AsyncClient, process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                with contextlib.suppress(httpx.TransportError):
                    await _done(http.get("/version"))
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise RuntimeError(f"{PROGRAM} does not answer") from None
    raise RuntimeError(f"{PROGRAM} ended with {process.returncode}")


async def _done(asked: Awaitable[httpx.Response]) -> httpx.Response:
    answer = await asked
    if answer.is_error:
        raise RuntimeError(f"{PROGRAM}: {answer.text}")
    return answer


def _program() -> str | None:
    return shutil.which(PROGRAM, path=f"{FOLDER}{os.pathsep}{os.environ.get('PATH', '')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
