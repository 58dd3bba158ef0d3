"""Machines and the processes on them: whose turn a callback is, and what time it is there.

A machine has a monotonic clock and a wall clock. A *paused* machine (a virtual one that its host keeps
from running) does nothing, and its clocks stand still; afterwards its wall clock is behind until somebody
sets it right. A *stopped* process (SIGSTOP) does nothing while the clocks go on. A *killed* one does
nothing any more; what it had begun is kept, unfinished, until the run is over.
"""

from collections import deque
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Task

    from tidings.testing.simulation.loop import Handle, Loop

EPOCH_MS = 1_800_000_000_000
"""The true time at the start of every run, Unix ms."""
PRUNE_TASKS = 64
"""tasks of a process that are kept before those that are done are looked for"""


class Machine:
    """A machine's clocks, in terms of the true time (see `Loop.now_s`)."""

    def __init__(self, name: str, *, booted_s: float = 0.0, skew_s: float = 0.0) -> None:
        """`booted_s`: what its monotonic clock shows at first; `skew_s`: how far its wall clock is off."""
        self.name = name
        self.lag_s = -booted_s
        """the true time less the monotonic clock"""
        self.skew_s = skew_s
        """where time keeping leads the wall clock, once it has its way"""
        self.wall_off_s = skew_s
        """the wall clock less the true time"""
        self.paused_at_s: float | None = None
        self.processes: list[Process] = []
        self.frozen: list[Handle] = []
        """timers that came due while it was paused"""


class Process:
    """One run of a program on a machine. Every callback of the loop belongs to one."""

    def __init__(self, name: str, machine: Machine, loop: "Loop") -> None:
        self.name = name
        self.machine = machine
        self.runs = True
        """false while it is stopped or its machine paused, and once it is dead"""
        self.is_stopped = False
        self.is_dead = False
        self.parked: deque[Handle] = deque()
        """callbacks that wait for it to go on"""
        self.buried: list[Handle] = []
        """callbacks that will never run: nothing of a dead process may be collected half-way"""
        self.tasks: list[Task[Any]] = []
        self._prune_at = PRUNE_TASKS
        self._loop = loop
        self.context = Context()
        self.context.run(PROCESS.set, self)
        machine.processes.append(self)
        loop.processes.append(self)

    def stop(self) -> None:
        """SIGSTOP."""
        self.is_stopped = True
        self.runs = False

    def resume(self) -> None:
        """SIGCONT."""
        self.is_stopped = False
        self.go_on()

    def kill(self) -> None:
        """SIGKILL."""
        self.is_dead = True
        self.runs = False
        self.machine.processes.remove(self)
        self.buried.extend(self.parked)
        self.parked.clear()

    def go_on(self) -> None:
        """Run what waits, unless something else still stands in the way."""
        if self.is_dead or self.is_stopped or self.machine.paused_at_s is not None:
            return
        self.runs = True
        self._loop.wake(self.parked)
        self.parked.clear()

    def park(self, handle: "Handle") -> None:
        """Take a callback whose turn has come while nothing runs."""
        if self.is_dead:
            self.buried.append(handle)
        else:
            self.parked.append(handle)

    def keep(self, task: "Task[Any]") -> None:
        """Hold a task, so that it is not collected while it waits."""
        self.tasks.append(task)
        if len(self.tasks) > self._prune_at:
            self.tasks = [task for task in self.tasks if not task.done()]
            self._prune_at = 2 * len(self.tasks) + PRUNE_TASKS


PROCESS: ContextVar[Process] = ContextVar("process")
"""Whose callback is running: asyncio hands contexts on to tasks, timers and callbacks."""


class MachineClock:
    """Implements `domain.clock.Clock` with a machine's clocks."""

    def __init__(self, loop: "Loop", machine: Machine) -> None:
        self._loop = loop
        self._machine = machine

    def wall_ms(self) -> int:
        return EPOCH_MS + int((self._loop.now_s + self._machine.wall_off_s) * 1000)

    def monotonic_s(self) -> float:
        return self._loop.now_s - self._machine.lag_s
