"""A process of the service, from its supervisor's side: started, heard, asked, stopped, killed.

It dies with the supervisor: its standard input is a socket to it, and the end of that is an order
to finish. It is in a session of its own, so that Ctrl-C reaches the supervisor alone, which then
stops everybody in order.
"""

import asyncio
import itertools
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Self

from structlog.typing import FilteringBoundLogger

from tidings.server.workers.channel import Channel
from tidings.server.workers.failures import NotStarted, error_of
from tidings.server.workers.orders import UP, Answer, Ask, Failed, Last, Order, Ready, Start, Stop, Up

PROGRAM = (sys.executable, "-m")
"""what a role is given to: roles are modules of this package"""
ENDING_S = 5.0
"""how long a process may take to end after it hung up"""


class ChildGone(Exception):
    """The process ended before it answered: what was asked for may or may not have been done."""


class Child:
    """A running process; make one with `start`."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        channel: Channel[Up],
        now_s: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.pid = process.pid
        self.heard_s = now_s()
        """when it last said anything; counted once it is ready"""
        self.ready_s: float | None = None
        """since when it serves"""
        self.failure: Failed | None = None
        """why it ended, if it said so"""
        self.last: bytes | None = None
        """its last metrics, if it ended by order"""
        self.stopping = False
        """it was told to end"""
        self.ready: asyncio.Future[None] = loop.create_future()
        """done once it serves; fails with what it failed with, or NotStarted"""
        self.ready.add_done_callback(_seen)
        self._process = process
        self._channel = channel
        self._now_s = now_s
        self._log = log
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._killer: asyncio.TimerHandle | None = None
        self._living = loop.create_task(self._live())

    @classmethod
    async def start(
        cls,
        role: str,
        order: Start,
        listener: socket.socket | None,
        now_s: Callable[[], float],
        log: FilteringBoundLogger,
        *,
        program: Sequence[str] = PROGRAM,
    ) -> Self:
        """Start a process of a role. Raises OSError if the system has no room for one."""
        ours, theirs = socket.socketpair()
        files = () if listener is None else (listener.fileno(),)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *program,
                    role,
                    *map(str, files),
                    stdin=theirs.fileno(),
                    pass_fds=files,
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        child = cls(order.name, process, await Channel[Up].open(ours, UP), now_s, log)
        child.tell(order)
        return child

    @property
    def is_ready(self) -> bool:
        """Whether it serves: it is neither starting, nor stopping, nor dead."""
        return self.ready_s is not None and not self.stopping and not self._living.done()

    @property
    def has_ended(self) -> bool:
        """Whether it is no more."""
        return self._living.done()

    @property
    def served_s(self) -> float:
        """How long it has served."""
        return 0.0 if self.ready_s is None else self._now_s() - self.ready_s

    def tell(self, order: Order) -> None:
        """Give an order."""
        self._channel.send(order)

    async def ask(self, method: str, path: str, query: bytes = b"", body: bytes = b"") -> Answer:
        """What it answers to a request of the operator. Raises ChildGone."""
        if self._living.done():
            raise ChildGone(self.name)
        number = next(self._numbers)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = answered
        try:
            self.tell(Ask(number, method, path, query, body))
            return await answered
        finally:
            del self._asked[number]

    def stop(self, patience_s: float | None) -> None:
        """Have it finish and end; it is killed after so long. None: it may take as long as it lives."""
        self.stopping = True
        self.tell(Stop())
        if patience_s is not None:
            self._kill_later(patience_s)

    def kill(self) -> None:
        """kill -9. Harmless when it is dead already."""
        if self._process.returncode is None:
            self._process.kill()

    async def ended(self) -> int:
        """Wait for its end; the exit code, or less than 0: the signal that killed it."""
        return await asyncio.shield(self._living)

    # --- inside -----------------------------------------------------------------------------

    async def _live(self) -> int:
        while (said := await self._channel.receive()) is not None:
            self.heard_s = self._now_s()
            self._hear(said)
        # Whoever hung up has nothing more to do; without this a bug there would leave it for ever.
        self._kill_later(ENDING_S)
        code = await self._process.wait()
        if self._killer is not None:
            self._killer.cancel()
        await self._channel.close()
        self._settle(code)
        return code

    def _hear(self, said: Up) -> None:
        if isinstance(said, Ready):
            self.ready_s = self._now_s()
            if not self.ready.done():
                self.ready.set_result(None)
        elif isinstance(said, Failed):
            self.failure = said
        elif isinstance(said, Last):
            self.last = said.metrics
        elif isinstance(said, Answer):
            asked = self._asked.get(said.number)
            if asked is not None and not asked.done():
                asked.set_result(said)

    def _settle(self, code: int) -> None:
        """Tell everybody who waits that it is no more."""
        if not self.ready.done():
            why = NotStarted(f"{self.name} ended with {code} before it was ready")
            self.ready.set_exception(why if self.failure is None else error_of(self.failure))
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ChildGone(self.name))

    def _kill_later(self, after_s: float) -> None:
        if self._killer is not None:
            self._killer.cancel()
        self._killer = asyncio.get_running_loop().call_later(after_s, self._kill_late)

    def _kill_late(self) -> None:
        if self._process.returncode is None:
            self._log.warning("it does not end: killed", process=self.name, pid=self.pid)
            self._process.kill()


def _seen(ready: "asyncio.Future[None]") -> None:
    """An error that nobody waits for is in the log already."""
    if not ready.cancelled():
        ready.exception()
