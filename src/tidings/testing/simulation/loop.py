"""The loop: asyncio in virtual time, for the processes of several machines in one thread.

Nothing waits: when no callback is due, time moves to the next timer. Callbacks run in the order in
which they became due, each on behalf of its process (`machines.Process`), which may be stopped, paused
or dead. `time()` is the monotonic clock of whose turn it is. There are no sockets, threads or signals: what
is to run on another thread runs at once.

What the simulation itself does (networks, disks, devices) runs as the process `world`, whose clock is
the true time.
"""

import asyncio
import gc
import heapq
import sys
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, NamedTuple, TypeVar

from tidings.testing.simulation.machines import PROCESS, Machine, Process

T = TypeVar("T")


class Report(NamedTuple):
    """Something that nobody caught."""

    at_s: float
    process: str
    message: str
    error: BaseException | None


class Handle(asyncio.TimerHandle):
    """A callback; of a timer also when it is due, by its machine's monotonic clock."""

    __slots__ = ("arguments", "callback", "context", "lag_s", "process", "when_s")

    callback: Callable[..., object] | None
    """None: cancelled"""
    when_s: float
    lag_s: float
    """of the machine, when the timer was set: it changes by a pause"""

    def __init__(  # the fields of what it extends stay empty: nothing reads them
        self,
        process: Process,
        context: Context,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
    ) -> None:
        self.process = process
        self.context = context
        self.callback = callback
        self.arguments = arguments

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.when_s


class _Future(asyncio.Future[Any]):
    """A future that stands in sets where it was made, not where it lies in memory."""

    def __init__(self, loop: "Loop") -> None:
        super().__init__(loop=loop)
        self._place = loop.next_place()

    def __hash__(self) -> int:
        return self._place


class _Task(asyncio.Task[Any]):
    """The same for a task."""

    def __init__(
        self, work: Coroutine[Any, Any, Any], loop: "Loop", name: str, context: Context | None
    ) -> None:
        self._place = loop.next_place()
        super().__init__(work, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._place


class Loop(asyncio.AbstractEventLoop):
    """See the module's text."""

    def __init__(self) -> None:
        self.now_s = 0.0
        """the true time, from the start of the run"""
        self.reports: list[Report] = []
        """what nobody caught"""
        self.callbacks = 0
        """how many were run"""
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._sequence = 0
        self._places = 0
        self._is_closed = False
        self.processes: list[Process] = []
        """all that there ever were"""
        self.world = Process("world", Machine("world"), self)
        self._current = self.world

    # --- the simulation's side ----------------------------------------------------------------

    def at(self, at_s: float, callback: Callable[..., object], *arguments: Any) -> Handle:
        """Have the world do something at a moment of the true time."""
        world = self.world
        handle = Handle(world, world.context, callback, arguments)
        handle.when_s, handle.lag_s = at_s, 0.0
        self._sequence += 1
        heapq.heappush(self._timers, (at_s, self._sequence, handle))
        return handle

    def after(self, delay_s: float, callback: Callable[..., object], *arguments: Any) -> Handle:
        """Have the world do something in a while."""
        return self.at(self.now_s + delay_s, callback, *arguments)

    def post(self, process: Process, callback: Callable[..., object], *arguments: Any) -> None:
        """Have a process do something as soon as it runs."""
        self._ready.append(Handle(process, process.context, callback, arguments))

    def post_after(
        self, delay_s: float, process: Process, callback: Callable[..., object], *arguments: Any
    ) -> None:
        """Have a process do something in a while of the true time."""
        self.at(self.now_s + delay_s, self.post, process, callback, *arguments)

    async def wait(self, seconds: float) -> None:
        """Wait so long by the true time, whoever asks: for what happens outside of its machine."""
        over = self.create_future()
        self.at(self.now_s + seconds, _settle, over)
        await over

    def spawn(self, process: Process, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin a task of a process; it goes on as long as that runs."""
        return process.context.copy().run(self.create_task, work)

    def wake(self, handles: Iterable[Handle]) -> None:
        """Run callbacks that had to wait."""
        self._ready.extend(handles)

    def pause(self, machine: Machine) -> None:
        """A machine stands still, its clocks too."""
        assert machine.paused_at_s is None
        machine.paused_at_s = self.now_s
        for process in machine.processes:
            process.runs = False

    def unpause(self, machine: Machine) -> None:
        """It goes on where it was; its wall clock is behind now."""
        assert machine.paused_at_s is not None
        length_s = self.now_s - machine.paused_at_s
        machine.paused_at_s = None
        machine.lag_s += length_s
        machine.wall_off_s -= length_s
        frozen, machine.frozen = machine.frozen, []
        for handle in frozen:
            self._set(handle)
        for process in machine.processes:
            process.go_on()

    # --- asyncio's side ---------------------------------------------------------------------

    def time(self) -> float:
        return self.now_s - self._current.machine.lag_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        if context is None:
            process = self._current
            context = process.context
        else:
            process = context[PROCESS]
        handle = Handle(process, context, callback, args)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        process = self._current if context is None else context[PROCESS]
        handle = Handle(process, context or process.context, callback, args)
        handle.when_s = when
        self._set(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self,
        executor: object,  # noqa: ARG002 - there is but one
        func: Callable[..., T],
        *args: Any,
    ) -> "asyncio.Future[T]":
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def next_place(self) -> int:
        """A number for a future; the next one is greater."""
        self._places += 1
        return self._places

    def create_future(self) -> "asyncio.Future[Any]":
        return _Future(self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: object = None, context: Context | None = None
    ) -> "asyncio.Task[T]":
        if self._is_closed:
            coro.close()
            raise RuntimeError("the run is over")
        task = _Task(coro, self, "" if name is None else str(name), context)
        (self._current if context is None else context[PROCESS]).keep(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._is_closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_closed:
            message, error = str(context.get("message")), context.get("exception")
            self.reports.append(Report(self.now_s, self._current.name, message, error))

    def run_until_complete(self, future: Any) -> Any:
        """Run until a coroutine of the world has ended; its result."""
        with self._running():
            task = self.spawn(self.world, future)
            while not task.done():
                self._run_ready()
                if not task.done():
                    self._move_on()
            return task.result()

    def close(self) -> None:
        """Let go of everything. What is unfinished ends in silence."""
        self._is_closed = True
        with quiet_finalizers():
            for process in self.processes:
                for task in process.tasks:
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                process.buried.clear()
                process.parked.clear()
                process.tasks.clear()
            self._ready.clear()
            self._timers.clear()

    # --- inside -----------------------------------------------------------------------------

    def _set(self, handle: Handle) -> None:
        handle.lag_s = lag_s = handle.process.machine.lag_s
        self._sequence += 1
        heapq.heappush(self._timers, (handle.when_s + lag_s, self._sequence, handle))

    def _run_ready(self) -> None:
        ready = self._ready
        while ready:
            handle = ready.popleft()
            callback, process = handle.callback, handle.process
            if callback is None:
                continue
            if not process.runs:
                process.park(handle)
                continue
            self._current = process
            self.callbacks += 1
            try:
                handle.context.run(callback, *handle.arguments)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler({"message": f"in {callback}", "exception": error})
        self._current = self.world

    def _move_on(self) -> None:
        """Let time pass until the next timer is due."""
        timers = self._timers
        while True:
            if not timers:
                raise RuntimeError("nothing will ever happen again")
            due_s, _, handle = heapq.heappop(timers)
            if handle.callback is None:
                continue
            machine = handle.process.machine
            if handle.lag_s != machine.lag_s:
                self._set(handle)  # it was paused since, and the timer with it
            elif machine.paused_at_s is not None:
                machine.frozen.append(handle)
            else:
                break
        self.now_s = max(self.now_s, due_s)
        self._ready.append(handle)

    @contextmanager
    def _running(self) -> Iterator[None]:
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(before)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


@contextmanager
def collected_after() -> Iterator[None]:
    """No garbage is looked for before the end: what dies with it may be seen, and must not be by chance."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        with quiet_finalizers():
            gc.collect()
        if was_enabled:
            gc.enable()


@contextmanager
def quiet_finalizers() -> Iterator[None]:
    """What is cut off in the middle has nothing of interest to say."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            # Of what had not begun either.
            warnings.filterwarnings("ignore", message=".*was never awaited", category=RuntimeWarning)
            yield
    finally:
        sys.unraisablehook = before
