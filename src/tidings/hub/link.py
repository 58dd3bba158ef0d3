"""A node's link to the hub: one connection, made again whenever it breaks.

All requests that one turn of the event loop makes go out in one write, in their order. Each is kept
until it is answered. When the connection breaks (the hub died, or was replaced), what is unanswered
is sent again over the next one, in the same order: the store writes a batch once however often it
comes, and the directory does too. What must not be done twice fails instead, as its `Manner` says,
if it may have been under way. What waits for longer than `GIVE_UP_S` fails.

Nothing of an earlier connection is done after the first request of a later one: the hub knows the
link by its id, and ends the earlier one first.

Pings are answered by the event loop itself: a node whose loop hangs, or that is stopped, is silent.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from structlog.typing import FilteringBoundLogger

from tidings.bus.contract import WAITING_BYTES
from tidings.hub.clocks import MACHINE, Clocks
from tidings.hub.faults import error_of
from tidings.hub.framing import encode, in_frames
from tidings.hub.trunk import HubRefused, Trunk
from tidings.hub.wire import (
    LINK_ID_BYTES,
    VERSION,
    Answer,
    Done,
    Echo,
    Failed,
    Greeting,
    Hello,
    ListWorkers,
    News,
    Ping,
    Pong,
    Publish,
    Published,
    Request,
    Said,
    Worker,
    Workers,
)
from tidings.store.contract import StoreUnavailable, Table

GIVE_UP_S = 4.0
"""How long a request waits for its answer, reconnecting included."""
BACKOFF_FIRST_S = 0.02
BACKOFF_MOST_S = 0.5
"""from one try to connect to the next"""
UNANSWERED = 65_536
"""requests that may wait for their answers"""
CURRENT_S = 1.0
"""How long what the hub said of its clock is gone by."""

A = TypeVar("A")


class Manner(NamedTuple):
    """How a request fails that the hub does not answer."""

    unavailable: type[Exception]
    """raised where it was not done, or a repeat does no harm"""
    under_way: type[Exception] | None = None
    """raised where it may be under way when the connection breaks or it waits for too long; None: it
    is sent again"""
    is_patient: bool = False
    """once it is sent, it may take as long as it takes"""


class _Asked(NamedTuple):
    request: Request
    manner: Manner
    answer: asyncio.Future[Any]
    due_s: float
    """when it is given up, by the loop's clock"""


class HubLink:
    """A node's connection to the hub. Make one with `open`, within the loop that uses it."""

    def __init__(
        self,
        path: Path,
        tables: Sequence[Table[Any]],
        log: FilteringBoundLogger,
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
        clocks: Clocks = MACHINE,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._path = path
        self.hello = Hello(VERSION, random_bytes(LINK_ID_BYTES), [table.name for table in tables])
        self._log = log
        self._clocks = clocks
        self._give_up_s = give_up_s
        self._loop = asyncio.get_running_loop()
        self._trunk: Trunk | None = None
        """the connection, once the hub has greeted"""
        self._asked: OrderedDict[int, _Asked] = OrderedDict()
        """what is unanswered, in the order in which it was asked"""
        self._last = 0
        """number of the last request"""
        self._sent = 0
        """number of the last one that was sent over this connection"""
        self._unsent: list[Said] = []
        self._publishing_bytes = 0
        """among what is unsent"""
        self._giving_up: asyncio.TimerHandle | None = None
        self._why = f"the hub at {path} does not greet"
        self._hear: Callable[[str, bytes], None] = _to_nobody
        self._returns: list[Callable[[], None]] = []
        self._offset_ns = self._heard_ns = 0
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.incarnation = b""
        """of the hub that was reached last"""

    @classmethod
    async def open(
        cls, path: Path, tables: Sequence[Table[Any]], log: FilteringBoundLogger, **options: Any
    ) -> "HubLink":
        """Connect to the hub at a path. Raises StoreUnavailable if none is there for `GIVE_UP_S`.

        `options` are those of `HubLink`.
        """
        link = cls(path, tables, log, **options)
        link.start()
        try:
            async with asyncio.timeout(link._give_up_s):
                await link._ready.wait()
        except TimeoutError:
            why = link._why
            await link.close()
            raise StoreUnavailable(why) from None
        return link

    def start(self) -> None:
        """Begin to connect, and to connect again."""
        self._task = self._loop.create_task(self._stay_connected())

    async def close(self) -> None:
        """Send what is unsent and end. What is unanswered fails."""
        if self._task is None:
            return
        self._flush()
        task, self._task = self._task, None
        trunk = self._trunk
        if trunk is not None:
            await trunk.close()
        task.cancel()
        await asyncio.wait([task])
        self._why = "the link to the hub is closed"
        for asked in list(self._asked.values()):
            self._fail(asked, is_sent=asked.request.number <= self._sent)
        if self._giving_up is not None:
            self._giving_up.cancel()

    # --- asking ---------------------------------------------------------------------------

    async def ask(self, request: Request, manner: Manner, kind: type[A]) -> A:
        """Have a request answered by an item of a kind. Raises what `manner` says and what the hub says."""
        answer = await self.asked(request, manner)
        assert type(answer) is kind, answer
        return answer

    def asked(self, request: Request, manner: Manner) -> asyncio.Future[Any]:
        """A request that is sent with this turn of the event loop, as its answer to come.

        The link gives it its number.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self._is_overfull():
            answer.set_exception(manner.unavailable(self._why))
            return answer
        self._last += 1
        request.number = self._last
        due_s = self._loop.time() + self._give_up_s
        self._asked[self._last] = _Asked(request, manner, answer, due_s)
        if self._giving_up is None:
            self._giving_up = self._loop.call_at(due_s, self._give_up)
        self._say(request)  # type: ignore[arg-type]  # all requests are among what may be said
        return answer

    async def done(self, request: Request, manner: Manner) -> None:
        """Have a request carried out that `Done` answers. Raises as `ask`."""
        answer = await self.asked(request, manner)
        assert answer is None, answer

    def publish(self, topic: str, data: bytes) -> None:
        """Send a publication with this turn, or lose it."""
        if self._trunk is not None:
            waiting = self._trunk.waiting_bytes + self._publishing_bytes
            if waiting + len(data) <= WAITING_BYTES:
                self._publishing_bytes += len(data)
                self._say(Publish(topic, data))

    def on_publication(self, hear: Callable[[str, bytes], None]) -> None:
        """Have publications given to `hear`, with their topics."""
        self._hear = hear

    def on_return(self, returned: Callable[[], None]) -> None:
        """Have `returned` called whenever a hub was reached again, after those that were set before."""
        self._returns.append(returned)

    async def settled(self) -> None:
        """Wait until all that was asked so far is answered, or has failed."""
        if self._asked:
            await asyncio.wait([asked.answer for asked in self._asked.values()])

    async def workers(self) -> list[Worker]:
        """Who is connected to the hub. Raises StoreUnavailable."""
        return (await self.ask(ListWorkers(0), Manner(StoreUnavailable), Workers)).workers

    @property
    def is_connected(self) -> bool:
        """Whether the hub is there, as far as is known."""
        return self._trunk is not None

    # --- the time -------------------------------------------------------------------------

    @property
    def is_current(self) -> bool:
        """Whether the hub was heard of within `CURRENT_S`."""
        return self._clocks.machine_ns() - self._heard_ns <= CURRENT_S * 1e9

    @property
    def wall_ms(self) -> int:
        """The hub's wall clock, as far as it is known: Unix ms."""
        return (self._clocks.machine_ns() + self._offset_ns) // 1_000_000

    async def hear_time(self, manner: Manner) -> None:
        """Ask the hub for its clock."""
        await self.done(Echo(0), manner)

    # --- sending --------------------------------------------------------------------------

    def _is_overfull(self) -> bool:
        if self._task is None:
            self._why = "the link to the hub is closed"
            return True
        if len(self._asked) >= UNANSWERED:
            self._why = "too many requests to the hub are unanswered"
            return True
        if self._trunk is not None and self._trunk.waiting_bytes > WAITING_BYTES:
            self._why = "the hub takes no requests"
            return True
        return False

    def _say(self, said: Said) -> None:
        if self._trunk is None:
            return
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(said)

    def _flush(self) -> None:
        unsent, self._unsent, self._publishing_bytes = self._unsent, [], 0
        if unsent and self._trunk is not None:
            self._sent = self._last
            for body in in_frames(unsent, encode, self._refuse):
                self._trunk.send(body)

    def _refuse(self, said: Said, error: Exception) -> None:
        """What cannot be sent fails for its caller alone."""
        if isinstance(said, Request):
            self._settle(said.number, error)
        else:
            self._log.error("a publication cannot be sent", exc_info=error)

    # --- what comes -----------------------------------------------------------------------

    def take(self, news: News) -> None:
        """What the hub says."""
        self._heard_ns = news.machine_ns
        # Before anybody hears of an answer, so that it is no older than what is answered.
        self._offset_ns = news.wall_ns - news.machine_ns
        for item in news.items:
            kind = type(item)
            if kind is Done:
                for number in item.numbers:  # type: ignore[union-attr]
                    self._settle(number, None)
            elif kind is Published:
                self._hear(item.topic, item.data)  # type: ignore[union-attr]
            elif kind is Ping:
                self._say(Pong())
            elif kind is Failed:
                self._settle(item.number, error_of(item))  # type: ignore[union-attr, arg-type]
            else:
                self._settle(item.number, item)  # type: ignore[union-attr, arg-type]

    def _settle(self, number: int, outcome: Answer | Exception | None) -> None:
        asked = self._asked.pop(number, None)
        if asked is None or asked.answer.done():
            return  # given up before
        if isinstance(outcome, Exception):
            asked.answer.set_exception(outcome)
        else:
            asked.answer.set_result(outcome)

    # --- failing --------------------------------------------------------------------------

    def _fail(self, asked: _Asked, *, is_sent: bool) -> None:
        kind = asked.manner.under_way if is_sent and asked.manner.under_way else asked.manner.unavailable
        self._settle(asked.request.number, kind(self._why))

    def _give_up(self) -> None:
        """Fail what has waited for too long. The hub may do it yet."""
        self._giving_up = None
        now_s = self._loop.time()
        for asked in list(self._asked.values()):
            is_sent = self._trunk is not None and asked.request.number <= self._sent
            if is_sent and asked.manner.is_patient:
                continue
            if asked.due_s > now_s:
                self._giving_up = self._loop.call_at(asked.due_s, self._give_up)
                break
            if self._trunk is not None:
                self._why = f"the hub does not answer within {self._give_up_s:g} s"
            self._fail(asked, is_sent=is_sent)

    # --- connecting -----------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            trunk = Trunk(self)
            try:
                await self._loop.create_unix_connection(lambda trunk=trunk: trunk, str(self._path))  # type: ignore[misc]
                await trunk.greeted
                backoff_s = BACKOFF_FIRST_S
                await trunk.lost
            except (OSError, HubRefused) as error:
                self._why = f"no hub at {self._path}: {error}"
            finally:
                trunk.abort()
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MOST_S)

    def connected(self, trunk: Trunk, greeting: Greeting) -> None:
        """The hub has greeted: what is unanswered goes to it."""
        self._trunk = trunk
        self.incarnation = greeting.incarnation
        self._sent = 0
        for asked in self._asked.values():
            self._say(asked.request)  # type: ignore[arg-type]
        if self._ready.is_set():
            self._log.info("connected to the hub again")
            for returned in self._returns:
                returned()
        self._ready.set()

    def disconnected(self, reason: str) -> None:
        """It is gone; what must not be sent again fails."""
        if self._trunk is None:
            return
        self._trunk = None
        self._unsent, self._publishing_bytes = [], 0
        self._why = f"the connection to the hub broke: {reason}"
        if self._task is None:
            return  # it was we who closed it
        self._log.warning("the connection to the hub broke", reason=reason)
        for asked in list(self._asked.values()):
            if asked.manner.under_way is not None and asked.request.number <= self._sent:
                self._fail(asked, is_sent=True)


def _to_nobody(_topic: str, _data: bytes) -> None:
    """Where publications go before there is a bus."""
