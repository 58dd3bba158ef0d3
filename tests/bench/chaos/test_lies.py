"""Whatever a real server would do wrong, seen through a proxy that does it, is found and named."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import pytest
import uvloop

from bench.chaos.liar import lying
from bench.chaos.rig import broken, played, small
from client.rig import ServerProcess
from tidings.bench.chaos.book import Kind
from tidings.protocol.errors import INVALID
from tidings.protocol.frames import Deliver, Error, Frame, Message, Page, Receipt, Sent, Synced, Welcome
from tidings.protocol.ids import TIME_SHIFT, ClientId, MessageId

pytestmark = pytest.mark.slow

EACH = 7
"""of the messages such an one is lied about"""
EARLIER_MS = 2000
SOME = 5
"""messages come to a device before it hears no more"""


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def is_chosen(message: Message) -> bool:
    return message.sender_device != 0 and message.client_id[-1] % EACH == 3


class Truth:
    """Changes nothing."""

    def __call__(self, token: str, frame: Frame) -> Sequence[Frame]:
        if isinstance(frame, Deliver):
            return self.deliver(token, frame)
        if isinstance(frame, Page):
            return [
                msgspec.structs.replace(
                    frame, items=[item for item in frame.items if self.keeps(item.message)]
                )
            ]
        return self.other(token, frame)

    def deliver(self, token: str, frame: Deliver) -> Sequence[Frame]:
        return [frame]

    def keeps(self, message: Message) -> bool:
        return True

    def other(self, token: str, frame: Frame) -> Sequence[Frame]:
        return [frame]


class Loses(Truth):
    """Some messages come to nobody, and are in no history."""

    def deliver(self, token: str, frame: Deliver) -> Sequence[Frame]:
        return [] if is_chosen(frame.message) else [frame]

    def keeps(self, message: Message) -> bool:
        return not is_chosen(message)


class GoesSilent(Truth):
    """After a while nothing comes to a device any more, until it connects anew."""

    def __init__(self) -> None:
        self._came: Counter[str] = Counter()
        self._connections: Counter[str] = Counter()

    def deliver(self, token: str, frame: Deliver) -> Sequence[Frame]:
        self._came[token] += 1
        return [] if self._came[token] > SOME and self._connections[token] == 1 else [frame]

    def other(self, token: str, frame: Frame) -> Sequence[Frame]:
        self._connections[token] += isinstance(frame, Welcome)
        return [frame]


class Forgets(Truth):
    """Some messages are in no history."""

    def keeps(self, message: Message) -> bool:
        return not is_chosen(message)


class Doubles(Truth):
    """Some messages have a second name."""

    def deliver(self, token: str, frame: Deliver) -> Sequence[Frame]:
        if not is_chosen(frame.message):
            return [frame]
        other = msgspec.structs.replace(
            frame.message,
            client_id=ClientId(bytes(8) + frame.message.client_id[8:]),
            message_id=MessageId(frame.message.message_id - 1),
        )
        return [frame, msgspec.structs.replace(frame, message=other)]


class Misplaces(Truth):
    """Some messages stand earlier than they do elsewhere."""

    def deliver(self, token: str, frame: Deliver) -> Sequence[Frame]:
        message = frame.message
        if not is_chosen(message):
            return [frame]
        earlier = MessageId(message.message_id - (EARLIER_MS << TIME_SHIFT))
        return [msgspec.structs.replace(frame, message=msgspec.structs.replace(message, message_id=earlier))]


class Gossips(Truth):
    """What is told to one is told to the next one, too."""

    def __init__(self) -> None:
        self._last: Deliver | None = None

    def deliver(self, token: str, frame: Deliver) -> Sequence[Frame]:
        before, self._last = self._last, frame
        return [frame] if before is None or not is_chosen(before.message) else [frame, before]


class LowersMarks(Truth):
    """What was read once is not read any more when it is asked for."""

    def other(self, token: str, frame: Frame) -> Sequence[Frame]:
        if isinstance(frame, Synced):
            return [msgspec.structs.replace(frame, receipts=[lowered(one) for one in frame.receipts])]
        return [frame]


class ReadsAhead(Truth):
    """More is read than was delivered."""

    def other(self, token: str, frame: Frame) -> Sequence[Frame]:
        if isinstance(frame, Receipt):
            return [msgspec.structs.replace(frame, read_up_to=MessageId(frame.delivered_up_to + 1))]
        return [frame]


class Refuses(Truth):
    """Some messages are refused, and not to be tried again, though nothing is wrong with them."""

    def other(self, token: str, frame: Frame) -> Sequence[Frame]:
        if isinstance(frame, Sent) and frame.client_id[-1] % EACH == 3:
            return [Error(INVALID.code, "never", client_id=frame.client_id)]
        return [frame]


def lowered(receipt: Receipt) -> Receipt:
    return msgspec.structs.replace(receipt, delivered_up_to=MessageId(1), read_up_to=MessageId(1))


async def test_through_a_proxy_that_tells_the_truth_all_is_clean(shared_server: ServerProcess) -> None:
    async with lying(shared_server.port, Truth()) as ws:
        outcome = await played(shared_server.url, small(shared_server.url), [ws])
    assert broken(outcome) == set()
    assert outcome.is_clean


@pytest.mark.parametrize(
    ("lie", "kinds", "perhaps"),
    [
        (Loses, {Kind.LOST_LIVE, Kind.LOST, Kind.LOST_IN_HISTORY}, set()),
        (GoesSilent, {Kind.LOST_LIVE}, set()),
        (Forgets, {Kind.LOST_IN_HISTORY}, set()),
        (Doubles, {Kind.SHOWN_TWICE}, set()),
        # Who takes the newest for an older one reads no further.
        (Misplaces, {Kind.OUT_OF_ORDER}, {Kind.TALLY_BEHIND}),
        (Gossips, {Kind.FOREIGN}, set()),
        (LowersMarks, {Kind.WATERMARK_FELL}, set()),
        # What was never so is not so in the end.
        (ReadsAhead, {Kind.READ_NOT_DELIVERED}, {Kind.WATERMARK_FELL}),
        (Refuses, {Kind.REFUSED_FOR_GOOD}, set()),
    ],
)
async def test_a_lie_is_found(
    shared_server: ServerProcess, lie: Callable[[], Truth], kinds: set[Kind], perhaps: set[Kind]
) -> None:
    options = small(shared_server.url, people=3, devices=1, groups=(2,), settle_s=3.0)
    async with lying(shared_server.port, lie()) as ws:
        outcome = await played(shared_server.url, options, [ws])
    assert kinds <= broken(outcome) <= kinds | perhaps, outcome.page
    assert not outcome.is_clean
    told = outcome.result["findings"]
    assert isinstance(told, list)
    assert all(one.get("message_id") or one.get("client_id") for one in told), told
