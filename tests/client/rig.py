"""A real server in a process of its own, people with profiles on it, and waiting for conditions."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

from tidings.client import Client, Event, MessageEvent, Surroundings

E = TypeVar("E", bound=Event)
TIDINGS = str(Path(sys.executable).parent / "tidings")
PATIENCE_S = 30.0
PASSWORD = "a long secret"


class ServerProcess:
    """`tidings serve` on a port and a folder that stay the same over restarts."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._data = folder / "data"
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = [
            TIDINGS,
            "serve",
            "--listen",
            f"127.0.0.1:{self.port}",
            "--admin",
            "127.0.0.1:0",
            "--strangers",
            "deliver",
        ]
        arguments += ["--data", str(self._data)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{self.url}/v1/health", timeout=5).close()
                return
            time.sleep(0.02)
        raise AssertionError(f"the server did not start: {self._log.read_text()}")

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None


class People:
    """Makes accounts whose handles nobody else has."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._suffix = secrets.token_hex(4)

    def handle(self, name: str) -> str:
        """The handle of a name in this test."""
        return f"{name}-{self._suffix}"

    async def register(self, name: str) -> Path:
        """A new account; returns its profile."""
        profile = self._folder / name
        await Client.register(self.server.url, handle=self.handle(name), password=PASSWORD, profile=profile)
        return profile

    async def login(self, name: str, device: str) -> Path:
        """A further device of an account, linked to its first; returns its profile."""
        profile = self._folder / device
        await Client.login(self.server.url, handle=self.handle(name), password=PASSWORD, profile=profile)
        await link(self._folder / name, profile)
        return profile


async def link(known: Path, new: Path) -> None:
    """Let a new device in, by one that is."""
    async with Client.open(new, receive=False) as it, Client.open(known, receive=False) as first:
        await first.devices.approve(await it.devices.link_code())
        await it.devices.linked()


class Watcher:
    """An open client, and all that its events have told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        self._task = asyncio.ensure_future(self._watch())

    @property
    def texts(self) -> list[str]:
        """The messages."""
        return [event.text for event in self.events if isinstance(event, MessageEvent)]

    def of(self, kind: type[E]) -> list[E]:
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[["Watcher"], object]) -> None:
        """Wait until the events meet a condition. Raises what `events()` raises."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(self):
                if self._task.done():
                    self._task.result()
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> None:
        """Watch no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            async for event in self.client.events():
                self.events.append(event)
                self._changed.set()
        finally:
            self._changed.set()


@contextlib.asynccontextmanager
async def watching(profile: Path, surroundings: Surroundings | None = None) -> AsyncIterator[Watcher]:
    """Open a profile and watch it."""
    async with Client.open(profile, surroundings=surroundings) as client:
        watcher = Watcher(client)
        try:
            yield watcher
        finally:
            await watcher.stop()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something outside has happened."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


def environment() -> dict[str, str]:
    """The environment of a command, without what a developer may have set."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
