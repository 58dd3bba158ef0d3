"""The end of a run: wait until nothing is on its way any more, ask for what the server has, and judge.

First all devices stay connected, and everything has to come by itself. What has not come in time is noted,
all connect anew, and what their inboxes do not bring then is lost.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from tidings.bench.chaos.book import NOWHERE, UNPLACED, Book, Finding, Kind
from tidings.bench.chaos.cast import Direct, Group, Person
from tidings.bench.chaos.chatter import Chatter
from tidings.bench.chaos.judge import Room, Seen, judge, missing
from tidings.bench.chaos.membership import ALWAYS, allowed, broken_chain, once, spans_of
from tidings.bench.chaos.side import NOBODY, Marks, change_of, line_of
from tidings.bench.load import Refusal
from tidings.bench.transcript import Name, Transcript
from tidings.protocol.frames import (
    ConversationList,
    Conversations,
    Frame,
    GroupChange,
    History,
    Page,
    Receipt,
    Sync,
    Synced,
    Tallies,
    Tally,
)
from tidings.protocol.ids import ClientId, ConversationId, MessageId, UserId
from tidings.protocol.limits import Limits

PAGE = 256
AT_ONCE = 8
POLL_S = 0.25
TALLIED = 100
"""of a device's newest messages in each group it is asked who has them"""
TALLIES_S = 30.0
"""within so long all of them must be told to be read by all"""
FORGETS = Limits().fanout_write_again
"""a larger group may be one whose messages stand in no inbox: what was said before somebody left and came
back is not in the log for them any more"""

T = TypeVar("T")


class Log(NamedTuple):
    """A conversation's history, as somebody may see it."""

    shown: Transcript
    changes: list[GroupChange]


class Ending:
    """See the module's text."""

    def __init__(
        self, book: Book, people: Sequence[Person], directs: Sequence[Direct], groups: Sequence[Group]
    ) -> None:
        self._book = book
        self._people = people
        self._directs = directs
        self._groups = groups
        self._chatters = [chatter for person in people for chatter in person.chatters]
        self._changes: dict[ConversationId, list[GroupChange]] = {}
        self.is_settled = True
        """whether all was answered and came, in the end"""

    async def settle(self, at_most_s: float, say: Callable[[str], None]) -> float:
        """Wait until all is where it belongs; returns how long that took. What does not come is a finding."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        if await self._until_settled(began_s + at_most_s):
            return loop.time() - began_s
        late = self._missing()
        for finding in late:
            self._book.find(finding)
        say(f"after {at_most_s:.0f} s {len(late)} copies are missing: all connect anew")
        for chatter in self._chatters:
            chatter.leave(0.0)
        if not await self._until_settled(loop.time() + at_most_s):
            self._note_stuck()
            self.is_settled = False
        return loop.time() - began_s

    async def judge(self, at_most_s: float) -> None:
        """Look at everything; what is wrong stands in the book then.

        What the server does not answer in time is a finding, and what devices have is judged without it.
        """
        until_s = asyncio.get_running_loop().time() + at_most_s
        for room, people in self._shared():
            logs: list[Log] = []
            async with self._asking("a history", until_s):
                logs = await _at_once([partial(self._log, person, room.conversation) for person in people])
            self._judge_room(room, people, logs)
        async with self._asking("watermarks", until_s):
            await _at_once([partial(self._watermarks, person) for person in self._people])
            for group in self._groups:
                await _at_once([partial(self._tallies, group, person) for person in group.people])

    @contextlib.asynccontextmanager
    async def _asking(self, what: str, until_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(until_s):
                yield
        except TimeoutError:
            self._find(Kind.NEVER_BACK, "the server", f"did not answer when it was asked for {what}")

    # --- waiting ----------------------------------------------------------------------------

    async def _until_settled(self, until_s: float) -> bool:
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            for chatter in self._chatters:
                chatter.read_all()
            is_idle = all(chatter.is_idle for chatter in self._chatters)
            is_idle = is_idle and all(group.is_over for group in self._groups)
            if is_idle and await self._know_changes(until_s) and not self._missing():
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def _know_changes(self, until_s: float) -> bool:
        """Read the changes of all groups; they are over by now."""
        try:
            async with asyncio.timeout_at(until_s):
                for group in self._groups:
                    if group.conversation not in self._changes:
                        log = await self._log(group.people[0], group.conversation)
                        self._changes[group.conversation] = log.changes
        except TimeoutError:
            return False
        return True

    def _missing(self) -> list[Finding]:
        """What has not come to a device yet."""
        return [finding for room, seen in self._rooms() for finding in missing(room, seen)]

    def _note_stuck(self) -> None:
        writers = {chatter.device_id: chatter.who for chatter in self._chatters}
        for said in self._book.unanswered:
            what = f"has waited for {self._book.now() - said.wanted_s:.1f} s"
            self._find(Kind.NEVER_ANSWERED, writers[said.name[0]], what, said.conversation, said.name)
        self._book.end()
        for chatter in self._chatters:
            if not chatter.is_up.is_set() and not chatter.is_gone:
                self._book.waited(chatter.who, chatter.waited_s)
                self._find(Kind.NEVER_BACK, chatter.who, "is not connected")

    # --- conversations ----------------------------------------------------------------------

    def _rooms(self) -> Iterable[tuple[Room, list[Seen]]]:
        for room, people in self._shared():
            yield room, [seen for person in people for seen in _devices(person, room.conversation)]

    def _shared(self) -> Iterable[tuple[Room, Sequence[Person]]]:
        acked: dict[ConversationId, dict[Name, MessageId]] = {}
        for name, said in self._book.said.items():
            if said.acked_s is not None:
                acked.setdefault(said.conversation, {})[name] = said.place
        for direct in self._directs:
            spans = {person.user: ALWAYS for person in direct.people}
            mine = acked.get(direct.conversation, {})
            yield Room(direct.conversation, spans, self._book.versions, mine), direct.people
        for group in self._groups:
            changes = self._changes.get(group.conversation)
            mine = acked.get(group.conversation, {})
            members = None if changes is None else spans_of(group.people[0].user, changes)
            forgets = len(group.people) > FORGETS
            yield Room(group.conversation, members, self._book.versions, mine, forgets), group.people

    async def _log(self, person: Person, conversation: ConversationId) -> Log:
        shown, changes = Transcript(), list[tuple[ClientId, GroupChange]]()
        after, more = MessageId(0), True
        while more:
            try:
                page = await person.first.ask(_page_after(conversation, after))
            except Refusal:
                break  # to who is no member it does not exist: what they should see there is missing
            assert isinstance(page, Page)
            for item in page.items:
                message = item.message
                name = (message.sender_device, message.client_id)
                shown.add(*self._book.shared(name, line_of(message)))
                self._book.versioned(
                    f"history of {person.account.name}", conversation, message.message_id, message.version
                )
                if message.sender_device == NOBODY and (change := change_of(message)) is not None:
                    changes.append((message.client_id, change))
            more = page.more
            after = page.next or (page.items[-1].message.message_id if page.items else after)
        return Log(shown, once(changes))

    def _judge_room(self, room: Room, people: Sequence[Person], logs: Sequence[Log]) -> None:
        seen = [one for person in people for one in _devices(person, room.conversation)]
        seen += [
            Seen(f"history of {person.account.name}", person.user, log.shown, is_history=True)
            for person, log in zip(people, logs, strict=bool(logs))
        ]
        for finding in judge(room, seen):
            self._book.find(finding)
        for group in self._groups:
            if logs and group.conversation == room.conversation:
                self._judge_changes(group, logs[0].changes)

    def _judge_changes(self, group: Group, changes: Sequence[GroupChange]) -> None:
        for what in broken_chain(changes, group.asked):
            self._find(Kind.MEMBERSHIP, "the group", what, group.conversation)
        for name, said in self._book.said.items():
            version = self._book.versions.get(said.place)
            if said.conversation != group.conversation or said.acked_s is None or version is None:
                continue
            assert said.first_s is not None
            least, greatest = allowed(changes, group.asked, said.first_s, said.acked_s)
            if not least <= version <= greatest:
                what = f"is of version {version}, and was sent while that was {least} to {greatest}"
                self._find(Kind.MEMBERSHIP, "the group", what, group.conversation, name, said.place)

    # --- watermarks -------------------------------------------------------------------------

    async def _watermarks(self, person: Person) -> None:
        """No device was told more than the server knows in the end."""
        final = await _receipts(person.first)
        for chatter in person.chatters:
            for (conversation, user), told in chatter.marks.items():
                known = final.get((conversation, user), Marks())
                if user != person.user and (known.delivered < told.delivered or known.read < told.read):
                    what = f"{user} is at {known.delivered}, {known.read}, and was at {told}"
                    self._find(Kind.WATERMARK_FELL, chatter.who, what, conversation, place=told.delivered)
        read = await _read_up_to(person.first)
        for chatter in person.chatters:
            for side in chatter.sides.values():
                up_to = read.get(side.conversation, MessageId(0))
                if up_to < side.read:
                    what = f"has read up to {up_to}, and up to {side.read} was answered"
                    self._find(Kind.WATERMARK_FELL, chatter.who, what, side.conversation, place=side.read)

    async def _tallies(self, group: Group, person: Person) -> None:
        """Who wrote a message is told that all have it and have read it, once they have."""
        loop = asyncio.get_running_loop()
        if group.conversation not in self._changes:
            return  # it could not be asked for
        newest = self._changes[group.conversation][-1].version
        for chatter in person.chatters:
            mine = [
                said.place
                for name, said in self._book.said.items()
                if name[0] == chatter.device_id
                and said.conversation == group.conversation
                and said.acked_s is not None
                and self._book.versions.get(said.place) == newest
            ][-TALLIED:]
            until_s = loop.time() + TALLIES_S
            while mine:
                told = await person.first.ask(_tally_of(group.conversation, mine))
                assert isinstance(told, Tallies)
                behind = [one for one in told.items if not one.read == one.delivered == one.of]
                if loop.time() >= until_s or not behind:
                    break
                await asyncio.sleep(POLL_S)
            else:
                continue
            for one in behind:
                what = (
                    f"told {one.read} read, {one.delivered} delivered, of {one.of}, though all have read it"
                )
                self._find(Kind.TALLY_BEHIND, chatter.who, what, group.conversation, place=one.message_id)
            for one in told.items:
                known = chatter.sides[group.conversation].tallies.get(one.message_id)
                if known is not None and (one.read < known.read or one.delivered < known.delivered):
                    what = f"told {one.read} read, {one.delivered} delivered, and was told {known} before"
                    self._find(
                        Kind.WATERMARK_FELL, chatter.who, what, group.conversation, place=one.message_id
                    )

    def _find(
        self,
        kind: Kind,
        who: str,
        what: str,
        conversation: ConversationId = NOWHERE,
        name: Name | None = None,
        place: MessageId = UNPLACED,
    ) -> None:
        self._book.find(Finding(kind, who, what, conversation, name, place))


def _devices(person: Person, conversation: ConversationId) -> list[Seen]:
    return [
        Seen(chatter.who, person.user, chatter.sides[conversation].shown)
        for chatter in person.chatters
        if not chatter.is_gone
    ]


async def _receipts(chatter: Chatter) -> dict[tuple[ConversationId, UserId], Marks]:
    """All watermarks that the server knows of a user's direct conversations."""
    found: dict[tuple[ConversationId, UserId], Marks] = {}
    since, more = 0, True
    while more:
        told = await chatter.ask(_sync_since(since))
        assert isinstance(told, Synced)
        for receipt in told.receipts:
            _merge(found.setdefault((receipt.conversation_id, receipt.user_id), Marks()), receipt)
        since, more = told.at_ms, told.more
    return found


def _merge(marks: Marks, receipt: Receipt) -> None:
    marks.delivered = max(marks.delivered, receipt.delivered_up_to)
    marks.read = max(marks.read, receipt.read_up_to)


async def _read_up_to(chatter: Chatter) -> dict[ConversationId, MessageId]:
    """How far a user has read, in each conversation."""
    found: dict[ConversationId, MessageId] = {}
    after: ConversationId | None = None
    while True:
        told = await chatter.ask(_listing(after))
        assert isinstance(told, ConversationList)
        found |= {item.conversation_id: item.read_up_to for item in told.items}
        if not told.more:
            return found
        after = told.items[-1].conversation_id


async def _at_once(works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(work: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await work()

    return list(await asyncio.gather(*(one(work) for work in works)))


def _page_after(conversation: ConversationId, after: MessageId) -> Callable[[int], Frame]:
    return lambda request: History(request, conversation, after=after, limit=PAGE)


def _sync_since(since: int) -> Callable[[int], Frame]:
    return lambda request: Sync(request, since)


def _listing(after: ConversationId | None) -> Callable[[int], Frame]:
    return lambda request: Conversations(request, after)


def _tally_of(conversation: ConversationId, mine: list[MessageId]) -> Callable[[int], Frame]:
    return lambda request: Tally(request, conversation, mine)
