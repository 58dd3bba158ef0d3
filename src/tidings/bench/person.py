"""People who write to each other without pause, and rest only when they are told to.

Each has one device and several conversations; as with the SDK, one message of a conversation is
on its way at a time, in both directions, and is repeated until it is answered.
"""

import asyncio
from collections import Counter

from tidings.bench.link import Link
from tidings.bench.load import Device
from tidings.bench.transcript import NUMBER_BYTES, Line, Transcript
from tidings.protocol.api import LoggedIn
from tidings.protocol.errors import REGISTRY
from tidings.protocol.frames import Deliver, Error, History, Page, Send, Sent
from tidings.protocol.ids import ClientId, ConversationId, EntryId, MessageId

PAGE_MESSAGES = 256
ANSWER_S = 10.0
"""a page that did not come is asked for again"""


class Side:
    """One person's side of a conversation."""

    def __init__(self, conversation: ConversationId) -> None:
        self.conversation = conversation
        self.shown = Transcript()
        self.waiting: Send | None = None
        """not answered yet"""
        self.acked: set[ClientId] = set()
        self.written = 0
        """as many messages; the next one has this number"""
        self.acked_up_to = -1
        """the newest own message that was answered, by its number"""
        self.heard_up_to = -1
        """the newest one of the other"""


class Person:
    """See the module's text."""

    def __init__(self, account: LoggedIn, link: Link, content_bytes: int) -> None:
        self.sides: dict[ConversationId, Side] = {}
        self.link = link
        self.refused: Counter[str] = Counter()
        """by the error's name: asked to repeat it later"""
        self.refused_for_good: list[Error] = []
        """never right here"""
        _, self.device_id = account.ids()
        self._padding = bytes(max(0, content_bytes - NUMBER_BYTES))
        self._is_writing = False
        self._on_their_way: dict[ClientId, Side] = {}
        self._asked: dict[int, asyncio.Future[Page | Error]] = {}
        self._newest = EntryId(0)
        self._device: Device | None = None
        self._complete_to = EntryId(0)
        link.on_device, link.on_up, link.on_down, link.have = self._dress, self._up, self._down, self._have

    def join(self, conversation: ConversationId) -> Side:
        """Take part in a conversation."""
        side = self.sides[conversation] = Side(conversation)
        return side

    def write(self) -> None:
        """Begin to write, everywhere."""
        self._is_writing = True
        self._say_all()

    def rest(self) -> None:
        """Write nothing new; what is not answered yet is still repeated."""
        self._is_writing = False

    async def history(self, conversation: ConversationId, after: MessageId) -> Transcript:
        """What the server's history has after a place."""
        found = Transcript()
        more = True
        while more:
            page = await self._page(conversation, after)
            for item in page.items:
                found.take(item.message)
            more = page.more
            after = page.next or (page.items[-1].message.message_id if page.items else after)
        return found

    # --- the connection ---------------------------------------------------------------------

    def _dress(self, device: Device) -> None:
        self._device = device
        device.marks_read = True
        device.on_sent, device.on_deliver = self._sent, self._deliver
        device.on_error, device.on_page = self._refuse, self._answer

    def _have(self) -> EntryId | None:
        if self._device is not None:
            self._complete_to = max(self._complete_to, self._device.complete_to)
        # A lone node does not tell how far the inbox is complete: what it sent came in order.
        return self._complete_to or self._newest or None

    def _up(self, device: Device) -> None:  # noqa: ARG002
        for side in self.sides.values():
            if side.waiting is not None:
                self._repeat(side)
        self._say_all()

    def _down(self) -> None:
        for asked in self._asked.values():
            if not asked.done():
                asked.cancel()

    # --- writing ----------------------------------------------------------------------------

    def _say_all(self) -> None:
        for side in self.sides.values():
            self._say_next(side)

    def _say_next(self, side: Side) -> None:
        device = self.link.device
        if device is None or side.waiting is not None or not self._is_writing:
            return
        content = side.written.to_bytes(NUMBER_BYTES, "big") + self._padding
        side.written += 1
        send = side.waiting = device.message(side.conversation, content)
        self._on_their_way[send.client_id] = side
        device.say(send)

    def _repeat(self, side: Side) -> None:
        device = self.link.device
        if device is not None and side.waiting is not None:
            side.waiting.attempt += 1
            device.say(side.waiting)

    def _sent(self, sent: Sent) -> None:
        side = self._on_their_way.pop(sent.client_id, None)
        if side is None:
            return  # answered already: it was repeated meanwhile
        assert side.waiting is not None
        side.acked_up_to = int.from_bytes(side.waiting.content[:NUMBER_BYTES], "big")
        side.acked.add(sent.client_id)
        side.shown.add((self.device_id, sent.client_id), Line(sent.message_id, side.acked_up_to))
        side.waiting = None
        self._say_next(side)

    # --- hearing ----------------------------------------------------------------------------

    def _deliver(self, received: Deliver) -> None:
        message = received.message
        self._newest = max(self._newest, received.entry_id)
        side = self.sides[message.conversation_id]
        side.shown.take(message, stands=received.stands)
        if message.sender_device != self.device_id:
            number = int.from_bytes(message.content[:NUMBER_BYTES], "big")
            side.heard_up_to = max(side.heard_up_to, number)

    def _refuse(self, error: Error) -> None:
        self.refused[REGISTRY[error.code].name] += 1
        if error.retry_after is None:
            self.refused_for_good.append(error)
            return
        if error.request_id is not None:
            self._answer(error)
            return
        device, loop = self.link.device, asyncio.get_running_loop()
        if device is None:
            return  # refused while its inbox was being sent: said again once that is done
        side = None if error.client_id is None else self._on_their_way.get(error.client_id)
        loop.call_later(error.retry_after, self._say_again, device, side)

    def _say_again(self, device: Device, side: Side | None) -> None:
        if device is not self.link.device:
            return  # the next connection has said it
        if side is None:
            device.acknowledge()  # it has no answer but its refusal
        else:
            self._repeat(side)

    # --- asking -----------------------------------------------------------------------------

    async def _page(self, conversation: ConversationId, after: MessageId) -> Page:
        while True:
            device = self.link.device
            if device is None:
                await asyncio.sleep(0.1)
                continue
            request_id = device.next_request()
            asked = self._asked[request_id] = asyncio.get_running_loop().create_future()
            device.say(History(request_id, conversation, after=after, limit=PAGE_MESSAGES))
            await asyncio.wait([asked], timeout=ANSWER_S)
            del self._asked[request_id]
            if asked.done() and not asked.cancelled():
                answer = asked.result()
                if isinstance(answer, Page):
                    return answer
                await asyncio.sleep(answer.retry_after or 0.0)

    def _answer(self, answer: Page | Error) -> None:
        assert answer.request_id is not None
        asked = self._asked.get(answer.request_id)
        if asked is not None and not asked.done():
            asked.set_result(answer)
