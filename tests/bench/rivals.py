"""Servers in memory that behave like a rival, or do not."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tidings.bench.peers.contract import Direct, Idle, Missing, Offline, RivalClient, Sizes, Used
from tidings.bench.peers.workloads import RivalContestant
from tidings.bench.progress import Progress

CPU_US = 50
"""what each message that is sent or fetched costs the rival, as it says"""
BYTES = 7000
"""what a connection costs it"""
SMALL = Sizes(
    pairs=2, messages=6, window=3, rate=1000, paced_s=0.02, connections=60, hold_s=0.0, users=2, waiting=5
)


class MemoryClient:
    """Its server calls it back in the next turn of the loop."""

    def __init__(self, server: "MemoryRival", user: int) -> None:
        self._server = server
        self.user = user
        self.on_taken: Callable[[str], None] = lambda _: None
        self.on_message: Callable[[str], None] = lambda _: None
        self.on_receipt: Callable[[str], None] = lambda _: None
        self.gives_receipts = True
        self.is_closed = False

    def send(self, to: int, name: str, content_bytes: int) -> None:
        self._server.take(self, to, name, content_bytes)

    async def close(self) -> None:
        self.is_closed = True


class MemoryRival:
    """Takes everything and delivers it, or loses every so manieth message."""

    name = "Memory"
    promises = "nothing lasts"

    def __init__(self, *, loses: int = 0, drops_connections: bool = False) -> None:
        self._loses = loses
        self._drops_connections = drops_connections
        self._clients: dict[int, MemoryClient] = {}
        self._waiting: dict[int, list[str]] = defaultdict(list)
        self._messages = 0
        self.sizes: set[int] = set()
        self.started = self.stopped = 0
        self.users = 0

    def version(self) -> str:
        return "1.0"

    async def start(self, folder: Path, users: int) -> None:
        assert folder.is_dir()
        self.started += 1
        self.users = users

    async def stop(self) -> None:
        self.stopped += 1

    def used(self) -> Used:
        return Used(self._messages * CPU_US / 1e6, len(self._clients) * BYTES)

    async def connect(self, user: int) -> RivalClient:
        assert user < self.users
        client = self._clients[user] = MemoryClient(self, user)
        client.is_closed = self._drops_connections
        return client

    async def drain(self, user: int, expected: int, on_message: Callable[[str], None]) -> RivalClient:
        for name in self._waiting[user][:expected]:
            self._messages += 1
            on_message(name)
        return await self.connect(user)

    def take(self, sender: MemoryClient, to: int, name: str, content_bytes: int) -> None:
        self._messages += 1
        self.sizes.add(content_bytes)
        loop = asyncio.get_running_loop()
        loop.call_soon(sender.on_taken, name)
        receiver = self._clients.get(to)
        if self._loses and self._messages % self._loses == 0:
            return
        if receiver is None:
            self._waiting[to].append(name)
        else:
            loop.call_soon(receiver.on_message, name)
            loop.call_soon(sender.on_receipt, name)


class Silent(Progress):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__("test")
        self.said: list[str] = []

    def say(self, step: str) -> None:
        self.said.append(step)


class Scripted:
    """A contestant whose figures are known, or who fails."""

    promises = "what it says"

    def __init__(self, name: str, times: float, failure: Exception | None = None, version: str = "1") -> None:
        self.name = name
        self._times = times
        self._failure = failure
        self._version = version
        self.sizes: list[Sizes] = []

    def version(self) -> str:
        if not self._version:
            raise Missing(f"{self.name} is not installed: run scripts/peers")
        return self._version

    async def direct(self, folder: Path, sizes: Sizes, progress: Progress) -> Direct:
        self.sizes.append(sizes)
        progress.say("measuring")
        if self._failure is not None:
            raise self._failure
        return Direct(*(self._times * figure for figure in (40.0, 10_000, 400.0, 0.5, 2.0)))

    async def idle(self, folder: Path, sizes: Sizes, progress: Progress) -> Idle:
        return Idle(self._times * 8000, self._times * 250)

    async def offline(self, folder: Path, sizes: Sizes, progress: Progress) -> Offline:
        return Offline(self._times * 4.0, 100_000, self._times * 30.0)


__all__ = ["CPU_US", "SMALL", "MemoryRival", "RivalContestant", "Scripted", "Silent"]
