"""Pairs of people with two devices each, who encrypt: three devices get each message, and open it.

What is sent is sealed before it is measured: it is the server's work that is measured, and the load must
keep up. Of some pairs all is kept and opened afterwards, at each of the three devices.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import httpx

from tidings.bench.pairs import Pair, Two
from tidings.bench.process import ServerProcess
from tidings.bench.sealing import Keys, reached
from tidings.client.values import Fault
from tidings.protocol.api import LoggedIn
from tidings.protocol.frames import Deliver, Send
from tidings.protocol.ids import ClientId, ConversationId, DeviceId

CHECKED = 10
"""of every so many-th pair all is opened"""
ANSWER_S = 30.0
AT_ONCE = 16
"""pairs that get to know each other at once"""


class Four(NamedTuple):
    """The devices of a pair."""

    writer: Keys
    reader: Keys
    others: tuple[Keys, Keys]
    """the writer's and the reader's second ones"""

    @property
    def all(self) -> tuple[Keys, ...]:
        """In the order in which they write for the first time."""
        return (self.writer, self.reader, *self.others)


class SealedPair(Pair):
    """As `Pair`, of four devices: those that only receive must have got all, too."""

    def __init__(self, four: Four, conversation: ConversationId, *, is_checked: bool) -> None:
        """`is_checked`: all is kept, to be opened by `wrong`."""
        super().__init__(four.writer.device, four.reader.device, conversation)
        self._four = four
        self._is_checked = is_checked
        self._sealed: list[Send] = []
        self._contents: dict[ClientId, bytes] = {}
        self._kept: list[tuple[Keys, Deliver]] = []
        self._untaken: set[tuple[DeviceId, ClientId]] = set()
        """what the devices that only receive have not got yet"""
        self._make = self._next
        for keys in (four.reader, *four.others):
            keys.device.on_deliver = self._delivering(keys)

    def prepare(self, messages: int, content: bytes) -> None:
        for number in range(messages):
            numbered = number.to_bytes(4, "big") + content[4:]
            frame = self._four.writer.sealed(self.conversation, self._four.reader.me.user_id, numbered)
            assert isinstance(frame, Send)
            self._sealed.append(frame)
            if self._is_checked:
                self._contents[frame.client_id] = numbered
        self._sealed.reverse()  # the next one is the last

    def wrong(self) -> tuple[int, int]:
        """How many deliveries were opened since the last call, and how many do not say what was sent."""
        opened = [(self._contents[one.message.client_id], keys.open(one)) for keys, one in self._kept]
        self._kept.clear()
        wrong = sum(one.fault != Fault.NONE or one.message.content != content for content, one in opened)
        return len(opened), wrong + sum(keys.warned for keys in self._four.all)

    @property
    def _is_through(self) -> bool:
        return super()._is_through and not self._untaken

    def _next(self) -> Send:
        frame = self._sealed.pop()
        self._untaken.update((keys.me.device_id, frame.client_id) for keys in self._four.others)
        return frame

    def _delivering(self, keys: Keys) -> Callable[[Deliver], None]:
        device_id, is_reader = keys.me.device_id, keys is self._four.reader

        def delivered(received: Deliver) -> None:
            name = received.message.client_id
            is_new = name in self.sent_at if is_reader else (device_id, name) in self._untaken
            if self._is_checked and is_new:  # of several nodes it may come again
                self._kept.append((keys, received))
            if is_reader:
                self._deliver(received)
            elif is_new:
                self._untaken.remove((device_id, name))
                self._look()

        return delivered


async def sealed_pairs(
    server: ServerProcess,
    accounts: Sequence[LoggedIn],
    seconds: Sequence[Two],
    firsts: Sequence[Two],
    conversations: Sequence[ConversationId],
) -> list[SealedPair]:
    """Pairs that know each other; `accounts` are of the first devices, then of the second ones."""
    half = len(accounts) // 2
    limits = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(timeout=ANSWER_S) as client:
        reach = reached(server.url, client)

        async def known(number: int) -> SealedPair:
            one, other = firsts[number]
            second_one, second_other = seconds[number]
            places = (2 * number, 2 * number + 1, half + 2 * number, half + 2 * number + 1)
            devices = (one, other, second_one, second_other)
            writer, reader, *others = (
                Keys(accounts[place], device, reach) for place, device in zip(places, devices, strict=True)
            )
            four = Four(writer, reader, (others[0], others[1]))
            async with limits:
                await _enlist(four)
                await _get_to_know(four, conversations[number])
            return SealedPair(four, conversations[number], is_checked=number % CHECKED == 0)

        return await asyncio.gather(*(known(number) for number in range(len(conversations))))


async def _enlist(four: Four) -> None:
    """Publish all keys, and the lists of two devices each."""
    for first, second in ((four.writer, four.others[0]), (four.reader, four.others[1])):
        await first.publish()
        await second.publish()
        await first.let_in(second)
    for keys in four.all:
        await keys.meet(four.writer.me.user_id, four.reader.me.user_id)


async def _get_to_know(four: Four, conversation: ConversationId) -> None:
    """Each writes once, and the others open it: all sessions are answered."""
    arrived: asyncio.Queue[tuple[Keys, Deliver]] = asyncio.Queue()
    for keys in four.all:
        keys.device.on_deliver = _putting(arrived, keys)
    for keys in four.all:
        peer = four.reader if keys.me.user_id == four.writer.me.user_id else four.writer
        keys.device.say(await keys.seal(conversation, peer.me.user_id, b"hello"))
        for _ in range(len(four.all) - 1):
            receiver, received = await arrived.get()
            fault = receiver.open(received).fault
            assert fault == Fault.NONE, fault


def _putting(arrived: "asyncio.Queue[tuple[Keys, Deliver]]", keys: Keys) -> Callable[[Deliver], None]:
    return lambda received: arrived.put_nowait((keys, received))
