"""The service: a hub, its workers, and the watch over them.

Starting: the hub (it opens the store), then all workers at once. Stopping: all workers at once
(they answer what was accepted, and tell clients when to come back), then the hub, which closes the store.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from tidings import __version__
from tidings.protocol.limits import Limits
from tidings.server.config import Config
from tidings.server.workers.child import PROGRAM, Child
from tidings.server.workers.doors import Door
from tidings.server.workers.orders import Renew, Start, Tune
from tidings.server.workers.slot import Slot, Surroundings
from tidings.server.workers.watch import Watch

HUB = "hub"
HUB_ROLE = "tidings.server.workers.hub"
WORKER_ROLE = "tidings.server.workers.worker"
STOP_S = 6.0
"""how much longer than `drain_s` a worker may take to end"""


class Service:
    """See the module's text. `start`, then `over` says how it ends, then `stop`."""

    def __init__(
        self,
        config: Config,
        doors: Sequence[Door],
        hub: str,
        now_s: Callable[[], float],
        log: FilteringBoundLogger,
        *,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """`hub` is the path of its socket. Call this within the event loop."""
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = loop.create_future()
        """done when it is to stop; fails with the error that ends it"""
        self.died: Callable[[Child], None] = lambda _: None
        """called with each process that is no more; set it before `start`"""
        self.is_stopping = False
        self._config = config
        self._hub_path = hub
        self._now_s = now_s
        self._log = log
        self._program = program
        self._doors = doors
        self.hub = Slot(HUB, self._around(HUB_ROLE, HUB, None), start_s=None, stop_s=None, is_vital=True)
        stop_s = config.limits.drain_s + STOP_S
        self.workers = [
            Slot(name, self._around(WORKER_ROLE, name, door), stop_s=stop_s)
            for name, door in ((f"worker{number}", door) for number, door in enumerate(doors, 1))
        ]
        self._watch = Watch(self.children, now_s, log)
        self._tasks: list[asyncio.Task[None]] = []
        self._filling: dict[Slot, asyncio.Task[None]] = {}
        self._restarting: asyncio.Task[None] | None = None

    @property
    def slots(self) -> list[Slot]:
        """The hub's place and the workers'."""
        return [self.hub, *self.workers]

    def children(self) -> list[Child]:
        """Every process there is."""
        return [child for slot in self.slots for child in slot.children]

    async def start(self) -> None:
        """Returns once all serve. Raises what one of them failed with, or NotStarted.

        Also returns when `finish` was called meanwhile.
        """
        self._run(self._watch.run())
        for slots in ([self.hub], self.workers):
            for slot in slots:
                self._filling[slot] = self._run(slot.run())
            filled = self._run(_all_filled(slots))
            await asyncio.wait([filled, self.over], return_when=asyncio.FIRST_COMPLETED)
            if not filled.done():
                filled.cancel()
                self.over.result()
                return

    def finish(self) -> None:
        """Have it stop, as SIGTERM does."""
        if not self.over.done():
            self.over.set_result(None)

    async def stop(self) -> None:
        """End everybody in order; returns when nobody is left. Never raises."""
        self.is_stopping = True
        for door in self._doors:
            door.close()
        for slots in (self.workers, [self.hub]):
            for slot in slots:
                slot.stop()
            filling = [self._filling[slot] for slot in slots if slot in self._filling]
            await asyncio.gather(*filling, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def renew(self) -> None:
        """Have the workers read the certificate again."""
        for slot in self.workers:
            for child in slot.children:
                child.tell(Renew())

    def tune(self, name: str, value: Any, *, but: Child) -> None:
        """A limit was changed in one worker: change it in the others, and in those to come."""
        changed = getattr(msgspec.convert({name: value}, Limits), name)
        limits = msgspec.structs.replace(self._config.limits, **{name: changed})
        self._config = msgspec.structs.replace(self._config, limits=limits)
        for child in self.children():
            if child is not but:
                child.tell(Tune(name, value))

    def restart_workers(self) -> bool:
        """Replace the workers, one after another; False: that is going on already, or it stops."""
        if self.is_stopping or (self._restarting is not None and not self._restarting.done()):
            return False
        self._restarting = self._run(self._replace_all())
        return True

    # --- inside -----------------------------------------------------------------------------

    async def _replace_all(self) -> None:
        self._log.info("replacing the workers", workers=len(self.workers))
        for slot in self.workers:
            if self.is_stopping:
                return
            try:
                await slot.replace()
            except Exception as error:
                if self.is_stopping:
                    return
                # Whatever it is, the next one would meet it too, and the old ones serve still.
                self._log.error(
                    "a worker was not replaced, nor the next", process=slot.name, reason=str(error)
                )
                return
            self._log.info("replaced", process=slot.name)
        self._log.info("all workers were replaced")

    def _around(self, role: str, name: str, door: Door | None) -> Surroundings:
        return Surroundings(
            start=partial(self._start_child, role, name, door),
            empty=(lambda: None) if door is None else door.close,
            died=self._died,
            over=self._fail,
            log=self._log,
        )

    async def _start_child(self, role: str, name: str, door: Door | None) -> Child:
        order = Start(name, __version__, self._config, self._hub_path)
        sock = None if door is None else door.open()
        return await Child.start(role, order, sock, self._now_s, self._log, program=self._program)

    def _died(self, child: Child) -> None:
        self.died(child)

    def _fail(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_exception(error)

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ran)
        self._tasks.append(task)
        return task

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._tasks.remove(task)
        if not task.cancelled() and isinstance(bug := task.exception(), Exception):
            self._fail(bug)


async def _all_filled(slots: Sequence[Slot]) -> None:
    await asyncio.gather(*(slot.filled.wait() for slot in slots))
