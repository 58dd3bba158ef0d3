"""People who stay connected, and have conversations with their neighbours in a ring."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

from tidings.bench.link import Link
from tidings.bench.load import local
from tidings.bench.person import Person, Side
from tidings.client.backoff import Backoff
from tidings.protocol.api import LoggedIn
from tidings.protocol.ids import ConversationId

HEARTBEAT_S = 10.0


class Dialogue(NamedTuple):
    """A conversation and its two members."""

    one: tuple[Person, Side]
    other: tuple[Person, Side]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is on its way: all was answered, and came to the other."""
        (_, mine), (_, theirs) = self
        if mine.waiting is not None or theirs.waiting is not None:
            return False
        # Not by their number: one each way may be under way.
        return mine.shown.lines.keys() == theirs.shown.lines.keys()


def ring(people: int, conversations: int) -> list[tuple[int, int]]:
    """Pairs of people (by position) such that each has so many conversations, an even number."""
    assert people > conversations >= 2, (people, conversations)
    return [
        (one, (one + step) % people) for step in range(1, conversations // 2 + 1) for one in range(people)
    ]


class Crowd:
    """People and their conversations; `connected` lets them in."""

    def __init__(
        self,
        accounts: Sequence[LoggedIn],
        links: Sequence[tuple[int, int]],
        conversations: Sequence[ConversationId],
        content_bytes: int,
        random: Random,
    ) -> None:
        self.people = [
            Person(
                account,
                Link(account.token, Backoff(Random(random.random())), heartbeat_s=HEARTBEAT_S),
                content_bytes,
            )
            for account in accounts
        ]
        self.dialogues = [
            Dialogue(*((self.people[who], self.people[who].join(conversation)) for who in link))
            for link, conversation in zip(links, conversations, strict=True)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    @contextmanager
    def connected(self, port: int) -> Iterator[None]:
        """They are connected, or try to be."""
        self._tasks = [asyncio.create_task(person.link.run(local(port))) for person in self.people]
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()

    def check(self) -> None:
        """Raises what somebody's link ended with."""
        for task in self._tasks:
            if task.done():
                task.result()

    def write(self) -> None:
        """Everybody writes, everywhere, without pause."""
        for person in self.people:
            person.write()

    def rest(self) -> None:
        """Nobody writes anything new."""
        for person in self.people:
            person.rest()

    @property
    def breaks(self) -> int:
        """How many connections were lost so far."""
        return sum(person.link.breaks for person in self.people)
