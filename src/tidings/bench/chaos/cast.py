"""Who chats with whom: people with their devices, direct conversations in a ring, and groups.

In each group its maker removes somebody now and then and adds them again: who may see what depends on that.
"""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from tidings.bench.chaos.book import Book, Finding, Kind
from tidings.bench.chaos.chatter import Chatter
from tidings.bench.chaos.enrol import Account
from tidings.bench.chaos.membership import Asked
from tidings.bench.load import Refusal
from tidings.bench.rooms import made
from tidings.protocol.frames import (
    ChangeGroup,
    Conversation,
    Describe,
    Frame,
    GroupAction,
    OpenDirect,
    Set,
    SettingKind,
)
from tidings.protocol.ids import ConversationId, UserId

AT_ONCE = 8
CHANGE_S = (3.0, 9.0)
"""from one change of a group to the next"""
OUT_MOST = 3
"""of a group's members at the same time"""


class Person(NamedTuple):
    """Somebody with their devices."""

    account: Account
    chatters: list[Chatter]

    @property
    def user(self) -> UserId:
        """Their id."""
        return self.account.user_id

    @property
    def first(self) -> Chatter:
        """The device that asks for what the user needs."""
        return self.chatters[0]


class Direct(NamedTuple):
    """A conversation of two."""

    conversation: ConversationId
    people: tuple[Person, Person]


class Group:
    """A group; the first of its people made it, and is never removed."""

    def __init__(self, conversation: ConversationId, people: Sequence[Person], book: Book) -> None:
        self.conversation = conversation
        self.people = people
        self.asked: list[Asked] = []
        self.is_over = False
        """nothing changes any more, and all are in"""
        self._book = book
        self._out: list[Person] = []

    async def churn(self, random: Random, stop: asyncio.Event) -> None:
        """Remove people and add them again, until `stop` is set; then all are in."""
        while not await _is_set_within(stop, random.uniform(*CHANGE_S)):
            inside = [person for person in self.people[1:] if person not in self._out]
            if self._out and (len(self._out) >= OUT_MOST or not inside or random.random() < 0.5):
                await self._change(GroupAction.ADD, self._out.pop(0))
            elif len(inside) > 1:
                person = random.choice(inside)
                self._out.append(person)
                await self._change(GroupAction.REMOVE, person)
        while self._out:
            await self._change(GroupAction.ADD, self._out.pop(0))
        self.is_over = True

    def may_be_out(self, user: UserId, since_s: float) -> bool:
        """Whether somebody may not have been a member at some moment since then."""
        mine = [one for one in self.asked if one.user == user]
        if not mine:
            return False
        newest = mine[-1]
        return newest.action is GroupAction.REMOVE or newest.done_s is None or newest.done_s >= since_s

    async def _change(self, action: GroupAction, person: Person) -> None:
        asked = Asked(action, person.user, self._book.now())
        self.asked.append(asked)
        try:
            await self.people[0].first.ask(
                lambda request: ChangeGroup(request, self.conversation, action, [person.user])
            )
        except Refusal as refusal:
            what = f"{action.name} of {person.account.name}: {refusal}"
            finding = Finding(Kind.REFUSED_FOR_GOOD, self.people[0].first.who, what, self.conversation)
            self._book.find(finding)
            return
        asked.done_s = self._book.now()


async def open_direct(people: Sequence[Person], links: Sequence[tuple[int, int]]) -> list[Direct]:
    """Conversations between pairs of them (by position), who have each other as contacts."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(link: tuple[int, int]) -> Direct:
        pair = people[link[0]], people[link[1]]
        async with gate:
            for me, other in (pair, pair[::-1]):
                await me.first.ask(_contact(other.user))
            answer = await pair[0].first.ask(_opening(pair[1].account.handle))
        assert isinstance(answer, Conversation)
        for person in pair:
            for chatter in person.chatters:
                chatter.join(answer.conversation_id)
        return Direct(answer.conversation_id, pair)

    return list(await asyncio.gather(*(one(link) for link in links)))


async def make_group(people: Sequence[Person], book: Book) -> Group:
    """A group of these people, made by the first."""
    maker = people[0].first
    conversation = await made(maker, [person.user for person in people[1:]])
    told = await maker.ask(lambda request: Describe(request, conversation))
    assert isinstance(told, Conversation)
    group = Group(conversation, people, book)
    for person in people:
        for chatter in person.chatters:
            chatter.join(conversation, told.version)
    return group


def _contact(user: UserId) -> Callable[[int], Frame]:
    return lambda request: Set(request, SettingKind.CONTACT, str(user), b"-")


def _opening(handle: str) -> Callable[[int], Frame]:
    return lambda request: OpenDirect(request, handle)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
