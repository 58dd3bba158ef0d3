"""A place for one process of the service, which is not left empty: who dies is followed by another.

```
 starting --ready--> serving --dies--> (waiting) --> starting
                        |
                     replace: the next one starts, and only once it serves is this one told to end
```
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from tidings.server.workers.backoff import MOST_S, VITAL_S, Backoff
from tidings.server.workers.child import Child
from tidings.server.workers.failures import FOR_GOOD, NotStarted

START_S = 60.0
"""within this a worker serves, or it is killed and another one tried"""
TRIES = 3
"""deaths before a place was ever filled that end the whole service"""


class Surroundings(NamedTuple):
    """What a place needs of the service."""

    start: Callable[[], Awaitable[Child]]
    """start a process for it. Raises OSError"""
    empty: Callable[[], None]
    """called when the place stays empty for a while"""
    died: Callable[[Child], None]
    """called with each process once it is no more"""
    over: Callable[[Exception], None]
    """the service cannot go on"""
    log: FilteringBoundLogger


class Slot:
    """See the module's text. `run` fills it until `stop`."""

    def __init__(
        self,
        name: str,
        around: Surroundings,
        *,
        start_s: float | None = START_S,
        stop_s: float | None,
        is_vital: bool = False,
    ) -> None:
        """`stop_s`: how long one may take to end by order. `is_vital`: no service without it."""
        self.name = name
        self.child: Child | None = None
        """who is there: starting, serving, or dead and not followed yet"""
        self.restarts = 0
        """how often one died and was followed by another"""
        self.filled = asyncio.Event()
        """it has been filled once"""
        self._around = around
        self._start_s = start_s
        self._stop_s = stop_s
        self._is_vital = is_vital
        self._backoff = Backoff(VITAL_S if is_vital else MOST_S)
        self._changing = asyncio.Lock()
        """held by whoever puts somebody in the place"""
        self._stopping = asyncio.Event()
        self._followed: dict[Child, asyncio.Task[int]] = {}
        self._replaced = asyncio.Event()
        """another one was put in the place since `run` looked"""

    @property
    def children(self) -> tuple[Child, ...]:
        """All who live here: who is there, and those who are about to come or to go."""
        return tuple(self._followed)

    async def run(self) -> None:
        """Fill the place until it is told to stop; returns when nobody is there any more."""
        while not self._stopping.is_set():
            async with self._changing:
                self._replaced.clear()
                child = self.child
                if child is None or child.has_ended:
                    child = self.child = await self._start()
            code = await self._end_of(child)
            if child is self.child and not self._stopping.is_set():
                await self._pause(child, code)
        async with self._changing:  # `replace` has noticed, too
            await asyncio.gather(*self._followed.values())

    async def replace(self) -> None:
        """Put another one in its place, without a moment in which nobody serves.

        Raises NotStarted, and what a start raises; then all is as it was.
        """
        async with self._changing:
            before, after = self.child, await self._start()
            if after is None:
                raise NotStarted(f"{self.name}: the system has no room for another process")
            try:
                await asyncio.shield(after.ready)
            except Exception:
                after.kill()
                raise
            self.child = after
            self._replaced.set()
        if before is not None and not before.has_ended:
            before.stop(self._stop_s)
            await before.ended()

    def stop(self) -> None:
        """Have everybody here end, and let nobody follow."""
        self._stopping.set()
        for child in self.children:
            if not child.stopping:
                child.stop(self._stop_s)

    # --- inside -----------------------------------------------------------------------------

    async def _start(self) -> Child | None:
        try:
            child = await self._around.start()
        except OSError as error:
            reason = error.strerror or str(error)
            self._around.log.error("a process cannot be started", process=self.name, reason=reason)
            return None
        self._followed[child] = asyncio.get_running_loop().create_task(self._follow(child))
        if self._stopping.is_set():
            child.stop(self._stop_s)
        return child

    async def _end_of(self, child: Child | None) -> int | None:
        """Wait for its end; returns earlier if another one was put in its place."""
        followed = None if child is None else self._followed.get(child)
        if followed is None:
            return None
        replaced = asyncio.ensure_future(self._replaced.wait())
        await asyncio.wait([followed, replaced], return_when=asyncio.FIRST_COMPLETED)
        replaced.cancel()
        return followed.result() if followed.done() else None

    async def _follow(self, child: Child) -> int:
        """One process, from its start to its end."""
        try:
            async with asyncio.timeout(self._start_s):
                await asyncio.shield(child.ready)
        except TimeoutError:
            if not child.has_ended:
                self._around.log.warning("it does not start: killed", process=child.name, pid=child.pid)
                child.kill()
        except Exception as error:
            self._refuse(error)
        else:
            self.filled.set()
        code = await child.ended()
        del self._followed[child]
        self._around.died(child)
        return code

    def _refuse(self, error: Exception) -> None:
        """A start failed: is it of any use to try again?"""
        if isinstance(error, FOR_GOOD) and (self._is_vital or not self.filled.is_set()):
            self._give_up(error)
        else:
            self._around.log.error("a process did not start", process=self.name, reason=str(error))

    def _give_up(self, error: Exception) -> None:
        self._stopping.set()
        self._around.over(error)

    async def _pause(self, child: Child | None, code: int | None) -> None:
        """Somebody died: wait, if that happens again and again."""
        self.restarts += 1
        if not self.filled.is_set() and self.restarts >= TRIES:
            self._give_up(NotStarted(f"{self.name} does not start: it ended with {code}"))
            return
        wait_s = self._backoff.wait_s(0.0 if child is None else child.served_s)
        pid = None if child is None else child.pid
        self._around.log.warning(
            "a process ended; another one follows", process=self.name, pid=pid, code=code, wait_s=wait_s
        )
        if wait_s:
            self._around.empty()
            try:
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
            except TimeoutError:
                pass
