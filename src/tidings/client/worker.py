"""The worker: does what a vault is given to do, in its order, apart from what waits for it.

A program's works on a thread of its own. Another one may be passed in (see `surroundings.py`): what it
must keep is told by `Worker`.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

Work = Callable[[list[Any]], bool]
"""Does some pieces that were given one after the other; false once there is nothing more to be done."""


class Worker(Protocol):
    """Works for one vault, until `Work` says that it is over."""

    def start(self, work: Work) -> None:
        """Have `work` called with all that was given since its last call, one call at a time."""

    def give(self, piece: Any) -> None:
        """Have a piece done, after all that was given before."""

    def join(self) -> None:
        """Return once `work`, which has done its last piece, has returned."""


class Thread:
    """A worker that is a thread."""

    def __init__(self) -> None:
        self._pieces: SimpleQueue[Any] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, work: Work) -> None:
        self._thread = threading.Thread(target=self._run, args=(work,), name="vault", daemon=True)
        self._thread.start()

    def give(self, piece: Any) -> None:
        self._pieces.put(piece)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _run(self, work: Work) -> None:
        pieces = self._pieces
        while True:
            group = [pieces.get()]
            while not pieces.empty():
                group.append(pieces.get())
            if not work(group):
                return
