"""The workloads of `bench direct`, `idle` and `offline` for any rival.

They are what the ones of this server are: as many clients, messages and bytes, as much in flight,
and CPU counted from the first message to the last receipt.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tidings.bench.direct import STALL_S
from tidings.bench.figures import milliseconds, percentile
from tidings.bench.idle import AT_ONCE, SETTLE_S
from tidings.bench.offline import TIMEOUT_S, WINDOW
from tidings.bench.peers.contract import Direct, Idle, Offline, Rival, RivalClient, Sizes, Used
from tidings.bench.progress import Progress

WARM_MESSAGES = 20
SETTLE_ROUNDS = 15
STEADY = 0.005
"""by so small a part memory may change in a settling round"""
AFTERMATH_S = 0.1
"""what a server does right after the last message was fetched is a part of fetching"""


def cpu_us(before: Used, after: Used, count: int) -> float:
    """CPU for each of so many."""
    return round((after.cpu_s - before.cpu_s) / count * 1e6, 1)


class Pair:
    """The first writes; the second answers each message with a receipt."""

    def __init__(self, number: int, one: RivalClient, other: RivalClient, content_bytes: int) -> None:
        self._number = number
        self._one = one
        self._content_bytes = content_bytes
        self._sent = 0
        self._to_send = 0
        self._open: dict[str, float] = {}
        """sent and not received: since when"""
        self._waited_for = 0
        """receipts and acknowledgements that are still to come"""
        self.latencies_s: list[float] = []
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        one.on_taken, one.on_receipt, other.on_message = self._taken, self._receipt, self._message

    def run(self, messages: int, window: int) -> None:
        """Send so many, a window at a time; with a window of 0 it is the caller who sends (`send_one`)."""
        self.latencies_s.clear()
        self._waited_for = 2 * messages
        self._to_send = messages if window else 0
        self.finished = asyncio.get_running_loop().create_future()
        for _ in range(min(window, messages)):
            self.send_one()

    def send_one(self) -> None:
        """Send one message now."""
        self._to_send -= 1
        self._sent += 1
        name = f"{self._number}.{self._sent}"
        self._open[name] = time.perf_counter()
        self._one.send(2 * self._number + 1, name, self._content_bytes)

    def _taken(self, _: str) -> None:
        self._settle()

    def _message(self, name: str) -> None:
        self.latencies_s.append(time.perf_counter() - self._open.pop(name))

    def _receipt(self, _: str) -> None:
        if self._to_send > 0:
            self.send_one()
        self._settle()

    def _settle(self) -> None:
        self._waited_for -= 1
        if self._waited_for == 0:
            self.finished.set_result(None)


async def direct(rival: Rival, folder: Path, sizes: Sizes, progress: Progress) -> Direct:
    """Pairs that chat, at full speed and paced."""
    await rival.start(folder, 2 * sizes.pairs)
    try:
        clients = await connect_all(rival, range(2 * sizes.pairs))
        pairs = [
            Pair(number, clients[2 * number], clients[2 * number + 1], sizes.content_bytes)
            for number in range(sizes.pairs)
        ]
        await _full_speed(pairs, WARM_MESSAGES, sizes.window)
        total = sizes.pairs * sizes.messages
        progress.say(f"{total} messages at full speed")
        before, begun = rival.used(), time.perf_counter()
        await _full_speed(pairs, sizes.messages, sizes.window)
        wall_s, after = time.perf_counter() - begun, rival.used()
        paced_us, latencies = await _paced(rival, pairs, sizes, progress)
        await close_all(clients)
    finally:
        await rival.stop()
    return Direct(
        cpu_us(before, after, total),
        round(total / wall_s),
        paced_us,
        milliseconds(percentile(latencies, 0.5)),
        milliseconds(percentile(latencies, 0.99)),
    )


async def _full_speed(pairs: Sequence[Pair], messages: int, window: int) -> None:
    for pair in pairs:
        pair.run(messages, window)
    async with asyncio.timeout(STALL_S + messages * len(pairs) / 200):
        await asyncio.gather(*(pair.finished for pair in pairs))


async def _paced(
    rival: Rival, pairs: Sequence[Pair], sizes: Sizes, progress: Progress
) -> tuple[float, list[float]]:
    total = int(sizes.rate * sizes.paced_s)
    progress.say(f"{total} messages at {sizes.rate} a second")
    for number, pair in enumerate(pairs):
        pair.run(len(range(number, total, len(pairs))), 0)
    before, begun = rival.used(), time.perf_counter()
    for number in range(total):
        due = begun + number / sizes.rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        pairs[number % len(pairs)].send_one()
    async with asyncio.timeout(STALL_S):
        await asyncio.gather(*(pair.finished for pair in pairs))
    latencies = [latency for pair in pairs for latency in pair.latencies_s]
    assert len(latencies) == total, (len(latencies), total)
    return cpu_us(before, rival.used(), total), latencies


async def idle(rival: Rival, folder: Path, sizes: Sizes, progress: Progress) -> Idle:
    """Connections that are logged in and kept alive by whatever the rival does for it."""
    await rival.start(folder, sizes.connections)
    try:
        # What the first connections load and allocate once is not a connection's cost.
        warm = await connect_all(rival, range(AT_ONCE))
        before = await _settled(rival)
        progress.say(f"{sizes.connections - AT_ONCE} connections")
        clients = await connect_all(rival, range(AT_ONCE, sizes.connections))
        connected = rival.used()
        progress.say(f"idle for {sizes.hold_s:.0f} s")
        await asyncio.sleep(sizes.hold_s + SETTLE_S)
        after = rival.used()
        alive = sum(not client.is_closed for client in clients)
        if alive < len(clients):
            raise RuntimeError(f"{rival.name} kept only {alive} of {len(clients)} connections")
        await close_all([*warm, *clients])
    finally:
        await rival.stop()
    return Idle(
        round((after.memory_bytes - before.memory_bytes) / len(clients)),
        cpu_us(before, connected, len(clients)),
    )


async def _settled(rival: Rival) -> Used:
    """What it has used once its start is over: a virtual machine gives memory back for seconds."""
    now = rival.used()
    for _ in range(SETTLE_ROUNDS):
        await asyncio.sleep(SETTLE_S)
        before, now = now, rival.used()
        if abs(now.memory_bytes - before.memory_bytes) <= STEADY * before.memory_bytes:
            break
    return now


async def offline(rival: Rival, folder: Path, sizes: Sizes, progress: Progress) -> Offline:
    """Messages that wait for people who then come, all at once."""
    await rival.start(folder, 2 * sizes.users)
    try:
        total = sizes.users * sizes.waiting
        progress.say(f"{total} messages to {sizes.users} people who are away")
        senders = await connect_all(rival, range(0, 2 * sizes.users, 2))
        before = rival.used()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(_send_all(sender, number, sizes) for number, sender in enumerate(senders)))
        sent = rival.used()
        progress.say("they come")
        begun = time.perf_counter()
        async with asyncio.timeout(TIMEOUT_S):
            readers = await asyncio.gather(
                *(_drain(rival, number, sizes.waiting) for number in range(sizes.users))
            )
        wall_s = time.perf_counter() - begun
        await asyncio.sleep(AFTERMATH_S)
        after = rival.used()
        await close_all([*senders, *readers])
    finally:
        await rival.stop()
    return Offline(cpu_us(sent, after, total), round(total / wall_s), cpu_us(before, sent, total))


async def _send_all(sender: RivalClient, number: int, sizes: Sizes) -> None:
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    sent = taken = 0

    def send_one() -> None:
        nonlocal sent
        sender.send(2 * number + 1, f"{number}.{sent}", sizes.content_bytes)
        sent += 1

    def on_taken(_: str) -> None:
        nonlocal taken
        taken += 1
        if sent < sizes.waiting:
            send_one()
        if taken == sizes.waiting:
            finished.set_result(None)

    sender.on_taken = on_taken
    for _ in range(min(WINDOW, sizes.waiting)):
        send_one()
    await finished


async def _drain(rival: Rival, number: int, waiting: int) -> RivalClient:
    names: list[str] = []
    client = await rival.drain(2 * number + 1, waiting, names.append)
    if names != [f"{number}.{position}" for position in range(waiting)]:
        raise RuntimeError(f"{rival.name} gave {len(names)} of {waiting} messages, or not in their order")
    return client


async def connect_all(rival: Rival, users: range) -> list[RivalClient]:
    """Clients for all of them, some at a time."""
    clients: list[RivalClient] = []
    for start in range(0, len(users), AT_ONCE):
        clients += await asyncio.gather(*(rival.connect(user) for user in users[start : start + AT_ONCE]))
    return clients


async def close_all(clients: Sequence[RivalClient]) -> None:
    """Goodbye, some at a time."""
    for start in range(0, len(clients), AT_ONCE):
        await asyncio.gather(*(client.close() for client in clients[start : start + AT_ONCE]))


class RivalContestant:
    """A rival on the common workloads; a fresh server for each."""

    def __init__(self, make: Callable[[], Rival]) -> None:
        self._make = make
        rival = make()
        self.name, self.promises, self.version = rival.name, rival.promises, rival.version

    async def direct(self, folder: Path, sizes: Sizes, progress: Progress) -> Direct:
        return await direct(self._make(), folder, sizes, progress)

    async def idle(self, folder: Path, sizes: Sizes, progress: Progress) -> Idle:
        return await idle(self._make(), folder, sizes, progress)

    async def offline(self, folder: Path, sizes: Sizes, progress: Progress) -> Offline:
        return await offline(self._make(), folder, sizes, progress)
