"""`bench crash`: the server is killed with -9 in the middle of `direct`, over and over.

Clients do what real ones do: they reconnect, repeat what was not answered, acknowledge what they
stored and show no message twice. At the end everything that was ever acknowledged must be at its
receiver, once, in the order in which it was sent.
"""

import asyncio
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import picows

from tidings.bench.load import Device
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.seed import seed
from tidings.protocol.frames import Deliver, Error, Send, Sent
from tidings.protocol.ids import ClientId, ConversationId, EntryId, MessageId

CONNECT_ERRORS = (OSError, TimeoutError, picows.WSError)
RECONNECT_S = 0.1
SETTLE_S = 60.0


class CrashOptions(NamedTuple):
    """What `bench crash` does."""

    pairs: int = 50
    kills: int = 20
    window: int = 8
    content_bytes: int = 200
    seed: int = 1
    """of the moments of the kills"""


class Writer:
    """Sends numbered messages and does not rest until each is answered."""

    def __init__(self, token: str, conversation: ConversationId, window: int, padding: bytes) -> None:
        self._token = token
        self._conversation = conversation
        self._window = window
        self._padding = padding
        self._waiting: dict[ClientId, Send] = {}
        self.acked: dict[int, MessageId] = {}
        self.is_writing = True
        self.idle = asyncio.Event()
        self._written = 0
        self._device: Device | None = None

    async def run(self, port: int) -> None:
        """Connect, and again whenever the connection breaks."""
        while True:
            device = Device(self._token)
            device.on_sent, device.on_error = self._sent, self._refused
            try:
                await device.connect(port)
            except CONNECT_ERRORS:
                await asyncio.sleep(RECONNECT_S)
                continue
            await device.drained
            if not device.closed.done():
                self._device = device
                for send in self._waiting.values():
                    send.attempt += 1
                    device.say(send)
                self._fill()
                await device.closed
                self._device = None
            await asyncio.sleep(RECONNECT_S)

    def stop(self) -> None:
        """Write nothing new; `idle` once everything is answered."""
        self.is_writing = False
        self._fill()

    def _fill(self) -> None:
        device = self._device
        while device is not None and self.is_writing and len(self._waiting) < self._window:
            content = self._written.to_bytes(8, "big") + self._padding
            self._written += 1
            send = device.message(self._conversation, content)
            self._waiting[send.client_id] = send
            device.say(send)
        if not self._waiting and not self.is_writing:
            self.idle.set()

    def _sent(self, sent: Sent) -> None:
        send = self._waiting.pop(sent.client_id, None)
        if send is not None:
            self.acked[int.from_bytes(send.content[:8], "big")] = sent.message_id
        self._fill()

    def _refused(self, error: Error) -> None:
        """Whatever it was, the next connection repeats it."""
        assert error.retry_after is not None, error
        if self._device is not None:
            self._device.disconnect()


class Reader:
    """Keeps what it was sent, by its name: of twins the greater is shown."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.shown: dict[ClientId, tuple[MessageId, int]] = {}
        self.repeats = 0
        """re-sent after a reconnect, and not shown again"""
        self.doubled = 0
        """sent twice on one connection: never right"""
        self._have: EntryId | None = None
        self._on_this_connection: set[MessageId] = set()

    async def run(self, port: int) -> None:
        """Connect, and again whenever the connection breaks."""
        while True:
            device = Device(self._token, have=self._have)
            device.on_deliver = self._deliver
            device.marks_read = True
            self._on_this_connection.clear()
            try:
                await device.connect(port)
                await device.closed
            except CONNECT_ERRORS:
                pass
            await asyncio.sleep(RECONNECT_S)

    def _deliver(self, received: Deliver) -> None:
        message = received.message
        self._have = received.entry_id
        self.doubled += message.message_id in self._on_this_connection
        self._on_this_connection.add(message.message_id)
        earlier = self.shown.get(message.client_id)
        if earlier is not None:
            self.repeats += 1
            if earlier[0] >= message.message_id:
                return
        number = int.from_bytes(message.content[:8], "big")
        self.shown[message.client_id] = (message.message_id, number)


async def crash(folder: Path, options: CrashOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    accounts, conversations = await seed(
        folder / "data", 2 * options.pairs, [(2 * n, 2 * n + 1) for n in range(options.pairs)]
    )
    server = ServerProcess(folder / "data")
    await server.start()
    padding = bytes(options.content_bytes - 8)
    writers = [
        Writer(accounts[2 * n].token, conversations[n], options.window, padding) for n in range(options.pairs)
    ]
    readers = [Reader(accounts[2 * n + 1].token) for n in range(options.pairs)]
    tasks = [asyncio.create_task(writer.run(server.port)) for writer in writers]
    tasks += [asyncio.create_task(reader.run(server.port)) for reader in readers]
    random = Random(options.seed)
    try:
        for kill in range(options.kills):
            moment_s = random.uniform(0.5, 2.0)
            progress.say(f"kill {kill + 1} of {options.kills} after {moment_s:.2f} s")
            await asyncio.sleep(moment_s)
            await server.kill()
            await server.start()
        await asyncio.sleep(1.0)
        for writer in writers:
            writer.stop()
        progress.say("settling")
        async with asyncio.timeout(SETTLE_S):
            await asyncio.gather(*(writer.idle.wait() for writer in writers))
            while not all(map(_has_all, writers, readers)):
                await asyncio.sleep(RECONNECT_S)
    except TimeoutError:
        progress.say("it does not settle")
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()
    for end in ended:
        if isinstance(end, Exception):
            raise end
    return _verdict(options, writers, readers)


def _has_all(writer: Writer, reader: Reader) -> bool:
    shown = {number for _, number in reader.shown.values()}
    return writer.acked.keys() <= shown


def _verdict(options: CrashOptions, writers: list[Writer], readers: list[Reader]) -> dict[str, object]:
    """What is missing, doubled or misplaced, over all pairs."""
    lost = duplicates = out_of_order = repeats = twins = 0
    for writer, reader in zip(writers, readers, strict=True):
        in_order = [number for _, number in sorted(reader.shown.values())]
        lost += len(writer.acked.keys() - set(in_order))
        duplicates += len(in_order) - len(set(in_order)) + reader.doubled
        out_of_order += sum(later < earlier for earlier, later in pairwise(in_order))
        repeats += reader.repeats
        twins += sum(writer.acked.get(number) != message for message, number in reader.shown.values())
    return {
        "bench": "crash",
        "kills": options.kills,
        "seed": options.seed,
        "acked": sum(len(writer.acked) for writer in writers),
        "lost": lost,
        "duplicates": duplicates,
        "out_of_order": out_of_order,
        "re_sent": repeats,
        "twins": twins,
    }
