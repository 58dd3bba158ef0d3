"""`bench direct`: pairs that chat, every message durable, delivered and read with both receipts.

At full speed the CPU of the server a message; paced, how long a message takes from send to
receive beside what an fsync took in the same run.
"""

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from tidings.bench.figures import FsyncProbe, milliseconds, percentile
from tidings.bench.load import Device
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.seed import seed
from tidings.protocol.frames import Deliver, Receipt, Sent
from tidings.protocol.ids import ClientId, ConversationId, MessageId

STALL_S = 60.0


class DirectOptions(NamedTuple):
    """What `bench direct` does."""

    pairs: int = 50
    messages: int = 400
    """a pair, at full speed"""
    window: int = 8
    """messages of a pair that are not read yet"""
    content_bytes: int = 200
    rates: tuple[int, ...] = (500, 1000)
    """messages a second, paced"""
    paced_s: float = 10.0


class Pair:
    """Two devices; the first writes, the second reads, at most `window` ahead."""

    def __init__(self, one: Device, other: Device, conversation: ConversationId) -> None:
        self.one = one
        self.other = other
        self.conversation = conversation
        self.sent_at: dict[ClientId, float] = {}
        self.latencies_s: list[float] = []
        self.received = 0
        self.finished: asyncio.Future[None] = one.loop.create_future()
        self._to_send = 0
        self._to_read = 0
        self._unread: dict[MessageId, None] = {}
        self._content = b""
        one.on_sent, one.on_receipt, other.on_deliver = self._sent, self._receipt, self._deliver
        other.marks_read = True

    def run(self, messages: int, window: int, content: bytes) -> None:
        """Send so many messages, a window at a time; `finished` once all are read.

        With a window of 0 it is the caller who sends (`send_one`).
        """
        self._to_read, self._content = messages, content
        self._to_send = messages if window else 0
        self.finished = self.one.loop.create_future()
        for _ in range(min(window, messages)):
            self.send_one()

    def send_one(self) -> None:
        """Send one message now."""
        self._to_send -= 1
        frame = self.one.message(self.conversation, self._content)
        self.sent_at[frame.client_id] = time.perf_counter()
        self.one.say(frame)

    def _sent(self, sent: Sent) -> None:
        self._unread[sent.message_id] = None

    def _deliver(self, received: Deliver) -> None:
        self.received += 1
        self.latencies_s.append(time.perf_counter() - self.sent_at.pop(received.message.client_id))

    def _receipt(self, receipt: Receipt) -> None:
        assert receipt.delivered_up_to >= receipt.read_up_to >= 0
        for message_id in [one for one in self._unread if one <= receipt.read_up_to]:
            del self._unread[message_id]
            self._to_read -= 1
            if self._to_send > 0:
                self.send_one()
        if self._to_read == 0 and not self.finished.done():
            self.finished.set_result(None)


async def direct(folder: Path, options: DirectOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    people = 2 * options.pairs
    progress.say(f"registering {people} people")
    accounts, conversations = await seed(
        folder / "data", people, [(2 * n, 2 * n + 1) for n in range(options.pairs)]
    )
    server = ServerProcess(folder / "data")
    await server.start()
    try:
        devices = [await Device(account.token).connect(server.port) for account in accounts]
        await asyncio.gather(*(device.drained for device in devices))
        pairs = [Pair(devices[2 * n], devices[2 * n + 1], conversations[n]) for n in range(options.pairs)]
        content = bytes(options.content_bytes)
        await _full_speed(pairs, 20, options.window, content)  # connections and caches are warm
        before, begun = server.usage(), time.perf_counter()
        progress.say(f"{options.pairs * options.messages} messages at full speed")
        await _full_speed(pairs, options.messages, options.window, content)
        wall_s = time.perf_counter() - begun
        cpu_s = server.usage().cpu_s - before.cpu_s
        total = options.pairs * options.messages
        result: dict[str, object] = {
            "bench": "direct",
            "pairs": options.pairs,
            "messages": total,
            "window": options.window,
            "content_bytes": options.content_bytes,
            "server_cpu_us_per_message": round(cpu_s / total * 1e6, 1),
            "messages_per_s": round(total / wall_s),
            "paced": [
                await _paced(server, pairs, rate, options, content, progress) for rate in options.rates
            ],
            "rss_bytes": server.usage().rss_bytes,
        }
    finally:
        await server.stop()
    return result


async def _full_speed(pairs: list[Pair], messages: int, window: int, content: bytes) -> None:
    for pair in pairs:
        pair.run(messages, window, content)
    async with asyncio.timeout(STALL_S + messages * len(pairs) / 500):
        await asyncio.gather(*(pair.finished for pair in pairs))


async def _paced(
    server: ServerProcess,
    pairs: list[Pair],
    rate: int,
    options: DirectOptions,
    content: bytes,
    progress: Progress,
) -> dict[str, object]:
    """Messages at even distances, each pair in turn."""
    total = int(rate * options.paced_s)
    progress.say(f"{total} messages at {rate} a second")
    for number, pair in enumerate(pairs):
        pair.latencies_s.clear()
        pair.run(len(range(number, total, len(pairs))), 0, content)
    before, begun = server.usage(), time.perf_counter()
    async with FsyncProbe(server.data) as probe:
        for number in range(total):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            pairs[number % len(pairs)].send_one()
        async with asyncio.timeout(STALL_S):
            await asyncio.gather(*(pair.finished for pair in pairs))
    cpu_s = server.usage().cpu_s - before.cpu_s
    latencies = [latency for pair in pairs for latency in pair.latencies_s]
    assert len(latencies) == total, (len(latencies), total)
    return {
        "messages_per_s": rate,
        "server_cpu_us_per_message": round(cpu_s / total * 1e6, 1),
        "p50_ms": milliseconds(percentile(latencies, 0.5)),
        "p99_ms": milliseconds(percentile(latencies, 0.99)),
        "fsync_p50_ms": milliseconds(percentile(probe.seconds, 0.5)),
        "fsync_p99_ms": milliseconds(percentile(probe.seconds, 0.99)),
    }
