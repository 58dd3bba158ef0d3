"""`tidings chaos`: people chat on a running server, whatever happens to it, and then everything is judged.

Nothing of the server is looked at but what it says over HTTP and WebSocket, so it may be of any shape and
anywhere. Who breaks things is somebody else: an operator, or a test.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple

from tidings.bench.chaos.book import Book
from tidings.bench.chaos.cast import Direct, Group, Person, make_group, open_direct
from tidings.bench.chaos.chatter import Chatter
from tidings.bench.chaos.ending import Ending
from tidings.bench.chaos.enrol import Account, Enrolment, reached
from tidings.bench.chaos.report import Facts, page_of, result_of, state_of
from tidings.bench.crowd import HEARTBEAT_S, ring
from tidings.bench.link import Link
from tidings.bench.progress import Progress
from tidings.client.backoff import Backoff
from tidings.client.http import Server

UP_S = 60.0
"""within so long all devices have to be connected at the beginning"""
BURST = 8
"""conversations that somebody writes into at once, at most"""
LOOKS_S = 2.0
"""each device looks at what came, and marks it as read, as often, about"""
STAYS_S = 45.0
"""each device goes away after so long, about"""
AWAY_S = (0.5, 8.0)
JUDGED_S = 600.0
"""all histories must have been read within that, or"""
JUDGED_AWAY_S = 30.0
"""within that, where not all devices are connected"""
FOUNDED_S = 600.0
PAUSE_S = 0.001
"""from one who writes to the next, where as many are written as are answered"""
STDIN = 0


class ChaosOptions(NamedTuple):
    """What `tidings chaos` does."""

    against: tuple[str, ...]
    people: int = 50
    devices: int = 2
    """of each, on nodes that follow upon one another"""
    conversations: int = 8
    """of each, with others; an even number"""
    groups: tuple[int, ...] = ()
    """how many people each has"""
    for_s: float = 300.0
    rate: float = 50.0
    """messages a second that are written, together; 0: as many as are answered"""
    seed: int = 1
    invite: str = ""
    settle_s: float = 60.0
    """after this nothing may be on its way any more"""
    keep: bool = False
    """the accounts are left there"""
    stay: bool = False
    """each device tries its own address only"""
    content_bytes: int = 200
    heartbeat_s: float = HEARTBEAT_S


class Outcome(NamedTuple):
    """What came of it."""

    result: dict[str, object]
    page: str
    is_clean: bool


async def chaos(
    options: ChaosOptions,
    progress: Progress,
    stop: asyncio.Event,
    *,
    marks: bool = False,
    tell: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Run it; ends early, and judges what there is, once `stop` is set.

    What came of it is told by `tell`, before the accounts are deleted, which may take its time. With `marks`
    each line on stdin is noted in the time line. Raises RuntimeError, ClientError. If it is cancelled, the
    accounts are left there.
    """
    async with reached(options.against) as servers:
        enrolment = Enrolment(servers, progress)
        await enrolment.check(options.invite)
        accounts = await enrolment.make(options.people, options.devices, options.invite)
        try:
            outcome = await Run(options, servers, accounts, progress).run(stop, marks=marks)
            tell(outcome)
            return outcome
        finally:
            task = asyncio.current_task()
            if not options.keep and not (task is not None and task.cancelling()):
                await enrolment.end(accounts)


class Run:
    """One run, with accounts that are there."""

    def __init__(
        self,
        options: ChaosOptions,
        servers: Sequence[Server],
        accounts: Sequence[Account],
        progress: Progress,
    ) -> None:
        self._options = options
        self._progress = progress
        self._random = Random(options.seed)
        self._book = Book()
        self._urls: dict[Chatter, list[str]] = {}
        self._up = 0
        nodes = [server.ws for server in servers]
        self._people = [self._person(number, account, nodes) for number, account in enumerate(accounts)]
        self._chatters = list(self._urls)
        self._groups: list[Group] = []
        self._directs: list[Direct] = []

    async def run(self, stop: asyncio.Event, *, marks: bool) -> Outcome:
        """See `chaos`."""
        tasks = [asyncio.create_task(chatter.run(*urls)) for chatter, urls in self._urls.items()]
        try:
            if marks:
                _read_marks(self._book, asyncio.get_running_loop())
            await self._connected()
            try:
                async with asyncio.timeout(FOUNDED_S):
                    await self._found()
            except TimeoutError:
                raise RuntimeError(
                    "the conversations could not be made: the server does not answer"
                ) from None
            return await self._play(stop)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- before it begins -------------------------------------------------------------------

    def _person(self, number: int, account: Account, nodes: Sequence[str]) -> Person:
        chatters = []
        for place, (device, token) in enumerate(account.tokens):
            first = (number + place) % len(nodes)
            link = Link(token, Backoff(Random(self._random.random())), heartbeat_s=self._options.heartbeat_s)
            who = f"{account.name}/{place + 1}"
            size = self._options.content_bytes
            chatter = Chatter(who, account.user_id, device, link, self._book, size)
            chatter.takes_new = True
            chatter.on_change = self._changed
            self._urls[chatter] = [nodes[first]] if self._options.stay else [*nodes[first:], *nodes[:first]]
            chatters.append(chatter)
        return Person(account, chatters)

    async def _connected(self) -> None:
        try:
            async with asyncio.timeout(UP_S):
                for chatter in self._chatters:
                    await chatter.is_up.wait()
        except TimeoutError:
            why = ", ".join(self._book.troubles) or "it takes too long"
            raise RuntimeError(f"not all devices can connect within {UP_S:.0f} s: {why}") from None

    async def _found(self) -> None:
        options, random = self._options, self._random
        links = ring(options.people, options.conversations) if options.conversations else []
        self._progress.say(f"making {len(links)} direct conversations and {len(options.groups)} groups")
        self._directs = await open_direct(self._people, links)
        for size in options.groups:
            self._groups.append(await make_group(random.sample(self._people, size), self._book))
        for person in self._people:
            for chatter in person.chatters:
                chatter.takes_new = False
                chatter.may_be_refused = self._refusable(person)

    def _refusable(self, person: Person) -> Callable[[bytes, float], bool]:
        groups = {group.conversation: group for group in self._groups}

        def may_be_refused(conversation: bytes, since_s: float) -> bool:
            group = groups.get(conversation)  # type: ignore[call-overload]
            return group is not None and group.may_be_out(person.user, since_s)

        return may_be_refused

    def _changed(self, is_up: bool) -> None:
        self._up += 1 if is_up else -1
        self._book.connected(1 if is_up else -1)

    # --- while it runs ----------------------------------------------------------------------

    async def _play(self, stop: asyncio.Event) -> Outcome:
        options, book = self._options, self._book
        book.begin()
        book.connected(self._up)
        self._progress.say(f"chatting for {options.for_s:.0f} s; Ctrl-C ends it and judges what there is")
        telling = asyncio.create_task(self._tell())
        over = asyncio.Event()
        churning = [asyncio.create_task(group.churn(self._random, over)) for group in self._groups]
        busy = [asyncio.create_task(work) for work in (self._write(), self._look(), self._wander())]
        try:
            await _first([stop.wait(), asyncio.sleep(options.for_s)], busy)
            chatted_s = book.now()
            for task in busy:
                task.cancel()
            over.set()
            self._progress.say("nobody writes any more; waiting until all is where it belongs")
            if churning:
                await asyncio.wait(churning, timeout=options.settle_s)
            ending = Ending(book, self._people, self._directs, self._groups)
            settled_s = await ending.settle(options.settle_s, self._progress.say)
            self._progress.say(f"settled after {settled_s:.1f} s; judging")
            await ending.judge(JUDGED_S if ending.is_settled else JUDGED_AWAY_S)
        finally:
            for task in (*busy, *churning, telling):
                task.cancel()
            await asyncio.gather(*busy, *churning, telling, return_exceptions=True)
        facts = Facts(
            options.against,
            options.people,
            options.devices,
            options.conversations,
            options.groups,
            options.seed,
            chatted_s,
            settled_s,
        )
        return Outcome(result_of(book, facts), page_of(book, facts), not book.found)

    async def _write(self) -> None:
        """Somebody writes, some messages at once, as often as is wanted."""
        random, rate = self._random, self._options.rate
        while True:
            await asyncio.sleep(random.expovariate(rate / _mean(BURST)) if rate else PAUSE_S)
            chatter = random.choice(self._chatters)
            if not chatter.link.is_away:
                chatter.write(random, BURST)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(len(self._chatters) / LOOKS_S))
            self._random.choice(self._chatters).read_all()

    async def _wander(self) -> None:
        """Somebody goes away for a while."""
        while True:
            await asyncio.sleep(self._random.expovariate(len(self._chatters) / STAYS_S))
            self._random.choice(self._chatters).leave(self._random.uniform(*AWAY_S))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._book.second()
            self._progress.update(state_of(self._book))


def _mean(most: int) -> float:
    return (most + 1) / 2


async def _first(ends: Sequence[Awaitable[object]], works: Sequence["asyncio.Task[None]"]) -> None:
    """Return once one of `ends` is done. Raises what one of `works` ends with."""
    waiting = [asyncio.ensure_future(one) for one in ends]
    try:
        done, _ = await asyncio.wait([*waiting, *works], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for one in waiting:
            one.cancel()


def _read_marks(book: Book, loop: asyncio.AbstractEventLoop) -> None:
    """Note each line on stdin, from a thread: it may be a file, a pipe or a terminal."""

    def read() -> None:
        # Not by sys.stdin, whose lock would be held when the program ends.
        rest = b""
        while chunk := os.read(STDIN, 4096):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                loop.call_soon_threadsafe(book.mark, line.decode(errors="replace").strip())

    threading.Thread(target=read, name="marks", daemon=True).start()
