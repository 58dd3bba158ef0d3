"""The supervisor, from the side of a process that it started: its orders, and what it is told.

The channel is this process's standard input. When it ends, the supervisor is dead, which is an
order to finish: nobody else would ever give one.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self

from tidings import __version__
from tidings.server.config import ConfigError
from tidings.server.workers.channel import Channel
from tidings.server.workers.orders import (
    BEAT_S,
    DOWN,
    Answer,
    Ask,
    Beat,
    Down,
    Failed,
    Last,
    Ready,
    Renew,
    Start,
    Stop,
    Tune,
)

STDIN = 0
INTERNAL_ERROR = 500
"""of HTTP"""


class Duties(NamedTuple):
    """How a process that serves obeys."""

    answer: Callable[[Ask], Awaitable[Answer]]
    metrics: Callable[[], bytes]
    tune: Callable[[Tune], None] = lambda _: None
    renew: Callable[[], None] = lambda: None


class Parent:
    """Make it with `open`, `begin`, set `duties`, say `ready`, and `close` in the end."""

    def __init__(self, channel: Channel[Down]) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        """set once this process is to finish"""
        self.is_dead = False
        """nobody gives orders any more"""
        self.duties: Duties | None = None
        """how it obeys; set before it is ready"""
        self._is_ready = False
        self._early: list[Tune | Renew] = []
        """came before it was ready"""
        self._answering: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls) -> Self:
        """The process that has the other end of our standard input."""
        return cls(await Channel[Down].open(socket.socket(fileno=STDIN), DOWN))

    async def begin(self) -> Start | None:
        """The first order, and heed the others from now on; None: the supervisor has died meanwhile.

        Raises ConfigError if the supervisor is of another version than we are.
        """
        order = await self._channel.receive()
        if not isinstance(order, Start):
            return None
        if order.version != __version__:
            raise ConfigError(
                f"{__version__} is installed, and the service that runs is {order.version}: stop it, start it"
            )
        self._listening = self._loop.create_task(self._listen())
        return order

    def ready(self) -> None:
        """It serves: say so, obey from now on, and tell that the event loop turns."""
        self._is_ready = True
        for order in self._early:
            self._obey(order)
        self._early.clear()
        self._channel.send(Ready())
        self._beat()

    def fail(self, failure: Failed) -> None:
        """Say why it ends."""
        self._channel.send(failure)

    async def close(self) -> None:
        """Tell the last metrics, and hang up: nothing more is answered."""
        for task in (*self._answering, *([] if self._listening is None else [self._listening])):
            task.cancel()
        if self._is_ready and self.duties is not None:
            self._channel.send(Last(self.duties.metrics()))
        await self._channel.close()

    # --- inside -----------------------------------------------------------------------------

    async def _listen(self) -> None:
        while (order := await self._channel.receive()) is not None:
            if isinstance(order, Stop):
                self.stopped.set()
            elif isinstance(order, Ask):
                task = self._loop.create_task(self._answer(order))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            elif isinstance(order, Tune | Renew):
                if self._is_ready:
                    self._obey(order)
                else:
                    self._early.append(order)
        self.is_dead = True
        self.stopped.set()

    def _obey(self, order: Tune | Renew) -> None:
        assert self.duties is not None
        if isinstance(order, Tune):
            self.duties.tune(order)
        else:
            self.duties.renew()

    async def _answer(self, ask: Ask) -> None:
        assert self.duties is not None, "asked before it was ready"
        try:
            answer = await self.duties.answer(ask)
        except Exception:
            # Whoever asked waits for something.
            self._channel.send(
                Answer(ask.number, INTERNAL_ERROR, "text/plain", b"a bug of ours; it is in the log")
            )
            raise
        self._channel.send(answer)

    def _beat(self) -> None:
        self._channel.beat(Beat())
        self._loop.call_later(BEAT_S, self._beat)
