"""The directory: slow, away, or forgetful.

What is asked is done at a moment between the call and the answer. Its clock is the true time.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from random import Random
from typing import TypeVar, cast

from tidings.directory.contract import DirectoryUnavailable, Entered, Place
from tidings.directory.memory import Places
from tidings.protocol.ids import UserId
from tidings.testing.simulation.loop import Loop
from tidings.testing.simulation.machines import EPOCH_MS, Process
from tidings.testing.simulation.tally import Tally

T = TypeVar("T")

ANSWER_S = (0.0003, 0.012)
SLOW_S = (0.3, 6.0)


class DirectoryFault(StrEnum):
    """What may go wrong."""

    FORGETS_SOME = "directory: forgets some users"
    FORGETS_ALL = "directory: forgets all, in silence"
    FAILS_OVER = "directory: forgets all, and says so"
    SLOW = "directory: slow"
    AWAY = "directory: unavailable"


class Registry:
    """What all nodes' ends share."""

    def __init__(self, loop: Loop) -> None:
        self.places = Places(lambda: EPOCH_MS + int(loop.now_s * 1000))
        self.ends: dict[NodeDirectory, None] = {}

    def fail_over(self) -> None:
        """Forget everything, and say so."""
        self.places.forget()
        for end in self.ends:
            end.tell_lost()


class NodeDirectory:
    """Implements `contract.Directory` for one run of a node; see the module's text."""

    def __init__(
        self, loop: Loop, registry: Registry, process: Process, random: Random, tally: Tally
    ) -> None:
        self._loop = loop
        self._registry = registry
        self._process = process
        self._random = random
        self._tally = tally
        self._lost: Callable[[], None] = _ignore
        self._slow_until_s = 0.0
        self._away_until_s = 0.0
        self._closed = False
        registry.ends[self] = None

    # --- the simulation's side ----------------------------------------------------------------

    def be_slow(self, until_s: float) -> None:
        """Answers take seconds until then."""
        self._slow_until_s = until_s

    def go_away(self, until_s: float) -> None:
        """There is no answer until then, though some of what is asked is done."""
        self._away_until_s = until_s

    def tell_lost(self) -> None:
        """Everything may have been forgotten."""
        self._loop.post(self._process, self._lost)

    def died(self) -> None:
        """Its node was killed."""
        self._closed = True
        self._registry.ends.pop(self, None)

    # --- the contract -------------------------------------------------------------------------

    async def enter(self, places: Sequence[Place]) -> list[Entered]:
        return await self._ask(lambda: [self._registry.places.enter(place) for place in places])

    async def leave(self, places: Sequence[Place]) -> None:
        def leave() -> None:
            for place in places:
                self._registry.places.leave(place)

        await self._ask(leave)

    async def look_up(self, users: Sequence[UserId]) -> list[list[Place]]:
        return await self._ask(lambda: [self._registry.places.look_up(user) for user in users])

    async def time_ms(self, *, fresh: bool = False) -> int:  # noqa: ARG002 - it is always asked
        return await self._ask(self._registry.places.time_ms)

    def on_loss(self, lost: Callable[[], None]) -> None:
        self._lost = lost

    async def close(self) -> None:
        self.died()

    # --- inside -----------------------------------------------------------------------------

    async def _ask(self, work: Callable[[], T]) -> T:
        loop, random = self._loop, self._random
        away = loop.now_s < self._away_until_s
        slow = loop.now_s < self._slow_until_s
        if away or slow:
            self._tally.count(DirectoryFault.AWAY if away else DirectoryFault.SLOW)
        takes_s = random.uniform(*(SLOW_S if away or slow else ANSWER_S))
        early = random.random() < 0.5
        answer = work() if early and not self._closed else None
        await loop.wait(takes_s)
        if self._closed or (away and random.random() < 0.5):
            raise DirectoryUnavailable("no answer")
        if not early:
            answer = work()
        if away:
            raise DirectoryUnavailable("no answer")
        return cast(T, answer)


def _ignore() -> None:
    """Nobody wants to know."""
