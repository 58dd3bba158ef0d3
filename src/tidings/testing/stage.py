"""The stage: what all devices of a scene share, and the notes of what happened on it."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType

from tidings.client.errors import ClientClosed
from tidings.client.profile import Profile
from tidings.testing.nodes import Node
from tidings.testing.pace import PATIENCE_S, PacedClock

MOMENT_S = 0.2
"""between two looks at what tells nobody when it changes"""


class Stage:
    """See the module's text."""

    def __init__(self, nodes: Sequence[Node], folder: Path, clock: PacedClock) -> None:
        self.nodes = nodes
        self.clock = clock
        self.has_failed = False
        """whether something was waited for in vain"""
        self._folder = folder
        self._happened: list[str] = []
        self._pending: list[asyncio.Future[None]] = []
        self._homes = itertools.count()
        for node in nodes:
            node.happened = self.note

    def home(self) -> int:
        """The node of a new device: each gets the next."""
        return next(self._homes) % len(self.nodes)

    def profile(self, name: str) -> Profile:
        """A place for a device's data."""
        return Profile(self._folder / name)

    def note(self, happened: str) -> None:
        """Write down what happens, to be read should the test fail."""
        self._happened.append(happened)

    def patience(self, complaint: Callable[[], str]) -> "Patience":
        """Bounds a wait; says what was waited for, and all that had happened."""

        def failed() -> str:
            self.has_failed = True
            return "\n".join((complaint(), "what had happened:", *self._happened))

        return Patience(failed)

    async def moment(self) -> None:
        """Let others go on, before something is asked for again."""
        await self.clock.sleep(MOMENT_S)

    def later(self, doing: Awaitable[object]) -> None:
        """Begin something that may take until somebody is back."""
        self._pending.append(asyncio.ensure_future(_unless_closed(doing)))

    async def all_done(self) -> None:
        """Wait until all that was begun has come to its end. Raises what it raised."""
        async with self.patience(lambda: "what was written has not been sent"):
            await asyncio.gather(*self._pending)


class Patience:
    """An asynchronous context that ends with an AssertionError after `PATIENCE_S`."""

    def __init__(self, complaint: Callable[[], str]) -> None:
        self._complaint = complaint
        self._timeout = asyncio.timeout(PATIENCE_S)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise AssertionError(self._complaint()) from None


async def _unless_closed(doing: Awaitable[object]) -> None:
    """What was begun goes on when the program is started again, should it end meanwhile."""
    with contextlib.suppress(ClientClosed):
        await doing
