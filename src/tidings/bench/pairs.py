"""Pairs of people who chat, on the same process of a server or on two, as it falls or as it is wanted."""

import asyncio
import time
from collections.abc import Callable, Sequence
from enum import StrEnum

from msgspec.structs import replace

from tidings.bench.load import Device, Refusal
from tidings.bench.process import ServerProcess
from tidings.bench.spread import owners
from tidings.protocol.api import LoggedIn
from tidings.protocol.frames import Deliver, Error, Receipt, Send, Sent
from tidings.protocol.ids import ClientId, ConversationId, MessageId

Two = tuple[Device, Device]
TRIES = 60
"""so often one of a pair connects anew until both are where they are wanted"""


class Spread(StrEnum):
    """Over which workers a pair is spread."""

    ANY = "any"
    """as the kernel has it: with N workers N - 1 of N pairs are on two"""
    APART = "apart"
    TOGETHER = "together"


class Pair:
    """Two devices; the first writes, the second reads, at most `window` ahead."""

    def __init__(self, one: Device, other: Device, conversation: ConversationId) -> None:
        self.one = one
        self.other = other
        self.conversation = conversation
        self.sent_at: dict[ClientId, float] = {}
        self.latencies_s: list[float] = []
        self.received = 0
        self.refused = 0
        """how often `say_again` was needed"""
        self.finished: asyncio.Future[None] = one.loop.create_future()
        self._to_send = 0
        self._to_read = 0
        self._unread: dict[MessageId, None] = {}
        self._read_up_to = MessageId(0)
        self._make: Callable[[], Send] = lambda: one.message(conversation, b"")
        one.on_sent, one.on_receipt, other.on_deliver = self._sent, self._receipt, self._deliver
        other.marks_read = True

    def prepare(self, messages: int, content: bytes) -> None:  # noqa: ARG002
        """What `run` sends next; to be called before the time counts."""
        self._make = lambda: self.one.message(self.conversation, content)

    def run(self, messages: int, window: int) -> None:
        """Send so many messages, a window at a time; `finished` once all are read.

        With a window of 0 it is the caller who sends (`send_one`).
        """
        self._to_read = messages
        self._to_send = messages if window else 0
        self.finished = self.one.loop.create_future()
        for _ in range(min(window, messages)):
            self.send_one()

    def send_one(self) -> None:
        """Send one message now."""
        self._to_send -= 1
        frame = self._make()
        self.sent_at[frame.client_id] = time.perf_counter()
        self.one.say(frame)

    def say_again(self, error: Error) -> None:
        """Repeat what was refused for now, as clients do. Raises Refusal for what is refused for good.

        For `one.on_error`, where the server may have too much to do.
        """
        if error.client_id is None or error.retry_after is None:
            raise Refusal(error)
        self.refused += 1
        frame = replace(self._make(), client_id=error.client_id, attempt=2)
        self.one.loop.call_later(error.retry_after, self.one.say, frame)

    def _sent(self, sent: Sent) -> None:
        self._unread[sent.message_id] = None
        if sent.message_id <= self._read_up_to:
            self._count_read()  # of several nodes the receipt may come before the answer

    def _deliver(self, received: Deliver) -> None:
        sent_at = self.sent_at.pop(received.message.client_id, None)
        if sent_at is not None:  # else it came again: of several nodes it may
            self.received += 1
            self.latencies_s.append(time.perf_counter() - sent_at)

    def _receipt(self, receipt: Receipt) -> None:
        assert receipt.delivered_up_to >= receipt.read_up_to >= 0
        self._read_up_to = max(self._read_up_to, receipt.read_up_to)
        self._count_read()

    def _count_read(self) -> None:
        for message_id in [one for one in self._unread if one <= self._read_up_to]:
            del self._unread[message_id]
            self._to_read -= 1
            if self._to_send > 0:
                self.send_one()
        self._look()

    @property
    def _is_through(self) -> bool:
        """Whether all is where it is to be."""
        return self._to_read == 0

    def _look(self) -> None:
        if self._is_through and not self.finished.done():
            self.finished.set_result(None)


async def connected(
    server: ServerProcess,
    accounts: Sequence[LoggedIn],
    conversations: Sequence[ConversationId],
    spread: Spread,
) -> list[Two]:
    """Their devices, two for each conversation, once their inboxes were sent."""
    devices = [await Device(account.token).connect(server.port) for account in accounts]
    await asyncio.gather(*(device.drained for device in devices))
    pairs = [(devices[2 * n], devices[2 * n + 1]) for n in range(len(conversations))]
    if spread is Spread.APART:
        await arrange(server, accounts, pairs, lambda one, other: (False, one == other))
    elif spread is Spread.TOGETHER:
        await arrange(server, accounts, pairs, lambda one, other: (False, one != other))
    return pairs


async def arrange(
    server: ServerProcess,
    accounts: Sequence[LoggedIn],
    pairs: list[Two],
    must_go: Callable[[int, int], tuple[bool, bool]],
) -> None:
    """Connect anew whoever must go from where the two of a pair are (two processes), until nobody must."""
    for _ in range(TRIES):
        moved = []
        for n, (one, other) in enumerate(where(server, pairs)):
            for which, is_wrong in enumerate(must_go(one, other)):
                if is_wrong:
                    pairs[n] = await _moved(server, accounts[2 * n + which], pairs[n], which)
                    moved.append(pairs[n][which].drained)
        if not moved:
            return
        await asyncio.gather(*moved)
    raise RuntimeError("the pairs cannot be had on the processes where they are wanted")


def where(server: ServerProcess, pairs: Sequence[Two]) -> list[tuple[int, int]]:
    """The processes on which the two of each pair are."""
    family = server.family()
    pids = owners(server.port, family.workers or (family.first,))
    return [(pids[one.address], pids[other.address]) for one, other in pairs]


async def _moved(server: ServerProcess, account: LoggedIn, pair: Two, which: int) -> Two:
    pair[which].disconnect()
    await pair[which].closed
    device = await Device(account.token).connect(server.port)
    return (device, pair[1]) if which == 0 else (pair[0], device)
