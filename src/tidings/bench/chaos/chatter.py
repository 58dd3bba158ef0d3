"""A device of somebody who chats: writes, hears, reads, goes away, and comes back whatever happens.

It does what a real client does. One message of a conversation is on its way at a time and is repeated until
it is answered; what comes is acknowledged and shown once, of twins the greater; reads that were not answered
are said again; after each connection it asks which watermarks moved.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random

from tidings.bench.chaos.book import NOWHERE, UNPLACED, Book, Finding, Kind, Said
from tidings.bench.chaos.side import NOBODY, Marks, Side, change_of, line_of
from tidings.bench.link import ClosedForGood, Link
from tidings.bench.load import Device, Refusal
from tidings.bench.transcript import NUMBER_BYTES, Line, Name
from tidings.protocol import ids
from tidings.protocol.errors import GROUP_CHANGED
from tidings.protocol.frames import (
    Conversation,
    Deliver,
    Describe,
    Error,
    Frame,
    GroupAction,
    GroupChange,
    InboxExpired,
    MessageTally,
    Ok,
    Read,
    Receipt,
    Scheme,
    Send,
    Sent,
    Stale,
    Sync,
    Synced,
    Tallies,
)
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId, UserId

ANSWER_S = 15.0
"""what was not answered within that is asked again"""
PAUSE_S = 0.1


class Chatter:
    """See the module's text."""

    def __init__(self, who: str, user: UserId, device: DeviceId, link: Link, book: Book, size: int) -> None:
        """`size` is how many bytes a message has."""
        self.who = who
        self.user = user
        self.device_id = device
        self.link = link
        self.sides: dict[ConversationId, Side] = {}
        self.marks: dict[tuple[ConversationId, UserId], Marks] = {}
        self.may_be_refused: Callable[[ConversationId, float], bool] = lambda *_: False
        """whether the user may not have been a member at some moment since then (seconds of the book)"""
        self.on_change: Callable[[bool], None] = lambda _: None
        """told whether the device is connected now"""
        self.is_up = asyncio.Event()
        self.is_gone = False
        """closed for good"""
        self.takes_new = False
        """whether it may be told of conversations that it did not `join`"""
        self._book = book
        self._padding = bytes(max(0, size - NUMBER_BYTES))
        self._prefix: bytes | None = None
        self._waiting: dict[bytes, tuple[Side, Said]] = {}
        self._connection: Device | None = None
        self._complete_to = EntryId(0)
        self._newest = EntryId(0)
        self._synced_ms = 0
        self._present_s: float | None = None
        """since when it wants to be connected; None: it is away"""
        self._lost_s: float | None = None
        """since when it is not, though it wants to"""
        self._tasks: set[asyncio.Task[None]] = set()
        link.on_device, link.on_try, link.on_trouble = self._dress, self._try, self._trouble
        link.on_up, link.on_down, link.have = self._up, self._down, self._have

    def join(self, conversation: ConversationId, version: int = 1) -> Side:
        """Take part in a conversation."""
        side = self.sides.setdefault(conversation, Side(conversation, version))
        side.version = max(side.version, version)
        return side

    async def run(self, *urls: str) -> None:
        """Stay connected, as `Link.run` does, until cancelled or sent away for good."""
        try:
            await self.link.run(*urls)
        except ClosedForGood as closed:
            self.is_gone = True
            self._book.find(Finding(Kind.CLOSED_FOR_GOOD, self.who, str(closed)))
        finally:
            for task in self._tasks:
                task.cancel()

    # --- what it is told to do --------------------------------------------------------------

    def write(self, random: Random, most: int) -> None:
        """Write into some conversations in which nothing is on its way."""
        free = [side for side in self.sides.values() if side.send is None and side.is_in]
        for side in random.sample(free, min(len(free), random.randint(1, most))):
            self._write(side, random)

    def read_all(self) -> None:
        """Look at all that came."""
        for side in self.sides.values():
            if side.is_in and side.to_read > side.reading:
                side.reading = side.to_read
                self._say_read(side)

    def leave(self, for_s: float) -> None:
        """Go away for a while, if it is connected."""
        if self.link.device is not None:
            self._present_s = None
            self.link.leave(for_s)

    async def ask(self, make: Callable[[int], Frame]) -> object:
        """Ask, over as many connections as it takes. Raises Refusal for what is refused for good."""
        while True:
            await self.is_up.wait()
            device = self.link.device
            if device is None:
                continue  # it was lost again before this task went on
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await device.ask(make)
            except Refusal as refusal:
                self._book.refused(refusal.error)
                if refusal.error.retry_after is None:
                    raise
                await asyncio.sleep(refusal.error.retry_after)
            except (ConnectionError, TimeoutError):
                await asyncio.sleep(PAUSE_S)

    @property
    def waited_s(self) -> float:
        """How long it has been waiting for a connection."""
        return 0.0 if self._lost_s is None else self._book.now() - self._lost_s

    @property
    def is_idle(self) -> bool:
        """Whether it is connected, and all that it said was answered."""
        if self.is_gone:
            return True
        return self.is_up.is_set() and all(
            side.send is None and (side.read >= side.reading or not side.is_in)
            for side in self.sides.values()
        )

    # --- the connection ---------------------------------------------------------------------

    def _try(self) -> None:
        if self._present_s is None:
            self._present_s = self._book.now()
        if self._lost_s is None:
            self._lost_s = self._book.now()

    def _dress(self, device: Device) -> None:
        self._complete()
        self._connection = device
        device.on_sent, device.on_deliver, device.on_error = self._sent, self._deliver, self._refuse
        device.on_receipt, device.on_tallies = self._receipt, self._tallied
        device.on_passing, device.on_expired = self._passing, self._expired
        if self._prefix is None:
            self._prefix = device.prefix

    def _complete(self) -> None:
        if self._connection is not None:
            self._complete_to = max(self._complete_to, self._connection.complete_to)

    def _have(self) -> EntryId | None:
        self._complete()
        # A lone node does not tell how far the inbox is complete: what it sent came in order.
        return self._complete_to or self._newest or None

    def _up(self, device: Device) -> None:  # noqa: ARG002
        self._book.waited(self.who, self.waited_s)
        self._lost_s = None
        self.is_up.set()
        self.on_change(True)
        for side in self.sides.values():
            self._say(side)
            if side.reading > side.read:
                self._say_read(side)
        self._sync()

    def _down(self) -> None:
        if self.is_up.is_set():
            self.is_up.clear()
            self.on_change(False)
        if not self.link.is_away:
            self._lost_s = self._book.now()

    def _trouble(self, why: str) -> None:
        self._book.trouble(why, lost=self.is_up.is_set())

    def _passing(self, frame: Frame) -> None:
        if isinstance(frame, Stale):
            self._sync()

    def _expired(self, frame: InboxExpired) -> None:
        self._find(Kind.INBOX_EXPIRED, f"told that its inbox has expired: {frame}")

    def _find(
        self,
        kind: Kind,
        what: str,
        conversation: ConversationId = NOWHERE,
        name: Name | None = None,
        place: MessageId = UNPLACED,
    ) -> None:
        self._book.find(Finding(kind, self.who, what, conversation, name, place))

    def _later(self, work: Callable[[], object], seconds: float) -> None:
        device = self.link.device

        def again() -> None:
            if device is not None and device is self.link.device:  # the next connection says it by itself
                work()

        asyncio.get_running_loop().call_later(seconds, again)

    # --- writing ----------------------------------------------------------------------------

    def _write(self, side: Side, random: Random) -> None:
        if self._prefix is None:
            return  # it was never connected
        number = side.written
        side.written += 1
        total = sum(one.written for one in self.sides.values())
        name = ids.client_id(self._prefix, total)
        content = number.to_bytes(NUMBER_BYTES, "big") + random.randbytes(len(self._padding))
        said = self._book.wrote((self.device_id, name), side.conversation)
        side.send = Send(
            name,
            0,  # it was not tried yet
            side.conversation,
            side.version,
            EntryId(0),
            Scheme.PLAIN,
            "text",
            content,
            after=side.newest,
        )
        self._waiting[name] = (side, said)
        self._say(side)

    def _say(self, side: Side) -> None:
        device = self.link.device
        if device is None or side.send is None:
            return
        _, said = self._waiting[side.send.client_id]
        if said.first_s is None:
            said.first_s = self._book.now()
        side.send.attempt += 1
        side.send.version = side.version
        device.say(side.send)

    def _sent(self, sent: Sent) -> None:
        waiting = self._waiting.pop(sent.client_id, None)
        if waiting is None:
            return  # answered already: it was repeated meanwhile
        side, said = waiting
        assert side.send is not None
        number = int.from_bytes(side.send.content[:NUMBER_BYTES], "big")
        if sent.message_id <= side.send.after:
            what = f"stands before {side.send.after}, which its writer had"
            self._find(Kind.BEFORE_ITS_CAUSE, what, side.conversation, said.name, sent.message_id)
        side.shown.add(said.name, Line(sent.message_id, number))
        side.newest = max(side.newest, sent.message_id)
        side.send = None
        self._book.answered(self.who, said, sent.message_id)

    def _refuse(self, error: Error) -> None:
        name = self._book.refused(error)
        waiting = None if error.client_id is None else self._waiting.get(error.client_id)
        if error.retry_after is not None:
            if waiting is not None:
                self._later(partial(self._say, waiting[0]), error.retry_after)
            elif error.client_id is None:
                assert self._connection is not None
                self._later(self._connection.acknowledge, error.retry_after)  # it has no answer of its own
        elif waiting is not None and error.code == GROUP_CHANGED.code:
            self._start(self._reload(waiting[0]))
        elif waiting is not None:
            self._drop(*waiting, f"{name}: {error.message}")
        elif error.client_id is None:
            self._find(Kind.REFUSED_FOR_GOOD, f"{name}: {error.message}")

    def _drop(self, side: Side, said: Said, why: str) -> None:
        if not self.may_be_refused(side.conversation, said.wanted_s):
            self._find(Kind.REFUSED_FOR_GOOD, why, side.conversation, said.name)
        self._book.given_up(said)
        del self._waiting[said.name[1]]
        side.send = None

    async def _reload(self, side: Side) -> None:
        """Somebody was removed since: whoever is a member knows it then, and writes again."""
        try:
            told = await self.ask(lambda request: Describe(request, side.conversation))
            assert isinstance(told, Conversation)
        except Refusal as refusal:
            if side.send is not None:
                self._drop(*self._waiting[side.send.client_id], str(refusal))
            return
        side.version = max(side.version, told.version)
        self._say(side)

    # --- hearing ----------------------------------------------------------------------------

    def _deliver(self, received: Deliver) -> None:
        message = received.message
        self._newest = max(self._newest, received.entry_id)
        name, line = self._book.shared((message.sender_device, message.client_id), line_of(message))
        side = self.sides.get(message.conversation_id)
        if side is None and self.takes_new:
            side = self.join(message.conversation_id)
        if side is None:
            what = "came from a conversation in which they never were"
            self._find(Kind.FOREIGN, what, message.conversation_id, name, message.message_id)
            return
        self._book.versioned(self.who, side.conversation, message.message_id, message.version)
        is_new = name not in side.shown.lines
        side.shown.add(name, line, stands=received.stands)
        side.newest = max(side.newest, message.message_id)
        if message.sender_id != self.user:
            side.to_read = max(side.to_read, message.message_id)
        if not is_new:
            self._book.again += 1
        elif message.sender_device == NOBODY:
            self._changed(side, change_of(message))
        else:
            self._book.came(name, self._present_s)

    def _changed(self, side: Side, change: GroupChange | None) -> None:
        if change is None or change.version <= side.version:
            return
        side.version = change.version
        if self.user in change.users:
            side.is_in = change.action not in (GroupAction.REMOVE, GroupAction.LEAVE)

    # --- reading and receipts ---------------------------------------------------------------

    def _say_read(self, side: Side) -> None:
        device, up_to = self.link.device, side.reading
        if device is None:
            return

        def answered(asked: "asyncio.Future[object]") -> None:
            error = asked.exception()
            if error is None:
                assert isinstance(asked.result(), Ok)
                side.read = max(side.read, up_to)
            elif isinstance(error, Refusal):
                name = self._book.refused(error.error)
                if error.error.retry_after is not None:
                    self._later(partial(self._say_read, side), error.error.retry_after)
                elif not self.may_be_refused(side.conversation, began_s):
                    self._find(Kind.REFUSED_FOR_GOOD, f"{name}: Read", side.conversation, place=up_to)
                else:
                    side.reading = side.read

        began_s = self._book.now()
        device.asking(lambda request: Read(request, side.conversation, up_to)).add_done_callback(answered)

    def _sync(self) -> None:
        self._start(self._ask_sync())

    async def _ask_sync(self) -> None:
        more = True
        while more:
            told = await self.ask(lambda request: Sync(request, self._synced_ms))
            assert isinstance(told, Synced)
            for receipt in told.receipts:
                self._receipt(receipt)
            self._synced_ms, more = told.at_ms, told.more

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._find(Kind.REFUSED_FOR_GOOD, str(error))

    def _receipt(self, receipt: Receipt) -> None:
        delivered, read = receipt.delivered_up_to, receipt.read_up_to
        if read > delivered:
            what = f"{receipt.user_id} has read up to {read}, and been delivered up to {delivered}"
            self._find(Kind.READ_NOT_DELIVERED, what, receipt.conversation_id, place=read)
        marks = self.marks.setdefault((receipt.conversation_id, receipt.user_id), Marks())
        # Also after a power cut: a client takes the greatest that it was told. spec §6.6
        marks.delivered, marks.read = max(marks.delivered, delivered), max(marks.read, read)

    def _tallied(self, tallies: Tallies) -> None:
        side = self.sides.get(tallies.conversation_id)
        if side is None:
            return
        for tally in tallies.items:
            if not tally.read <= tally.delivered <= tally.of:
                what = f"its writer is told {tally.read} read, {tally.delivered} delivered, of {tally.of}"
                self._find(Kind.READ_NOT_DELIVERED, what, side.conversation, place=tally.message_id)
            known = side.tallies.get(tally.message_id, tally)
            side.tallies[tally.message_id] = MessageTally(
                tally.message_id,
                max(known.delivered, tally.delivered),
                max(known.read, tally.read),
                tally.of,
            )
