"""The worker of a simulated device's vault: what it is given is done on the loop, and takes virtual time."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from tidings.client.worker import Work

if TYPE_CHECKING:
    from tidings.testing.simulation.loop import Loop

TAKES_S = (0.0002, 0.005)


class LoopWorker:
    """Implements `client.worker.Worker`, as a part of the program that it works for."""

    def __init__(self, loop: "Loop", random: Random, writes: Callable[[], bool]) -> None:
        """`writes` is called before something is done; it is not done if that says so."""
        self._loop = loop
        self._random = random
        self._writes = writes
        self._pieces: list[Any] = []
        self._is_at_work = False

    def start(self, work: Work) -> None:
        self._work = work

    def give(self, piece: Any) -> None:
        self._pieces.append(piece)
        if not self._is_at_work:
            self._is_at_work = True
            self._begin()

    def join(self) -> None:
        """Nothing goes on beside."""

    def _begin(self) -> None:
        self._loop.call_later(self._random.uniform(*TAKES_S), self._do)

    def _do(self) -> None:
        pieces, self._pieces = self._pieces, []
        if not self._writes():
            return
        goes_on = self._work(pieces)
        if self._pieces and goes_on:
            self._begin()
        else:
            self._is_at_work = False
