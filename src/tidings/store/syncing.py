"""The one thread that waits for the disk, so that the event loop does not."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

Work = Callable[[], None]
Done = Callable[[Exception | None], None]


class SyncThread:
    """Runs one piece of work after another. Half the cost of an executor, once a commit."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[tuple[Work, Done, asyncio.AbstractEventLoop] | None] = SimpleQueue()
        # A daemon, since whoever forgot to close the store has lost nothing by it.
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Work, done: Done) -> None:
        """Do `work` there, then call `done` on the running event loop with what it raised."""
        self._work.put((work, done, asyncio.get_running_loop()))

    def stop(self) -> None:
        """End the thread once all its work is done."""
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, done, loop = item
            error: Exception | None = None
            try:
                work()
            except Exception as raised:  # whatever it is, `done` must learn of it
                error = raised
            with suppress(RuntimeError):  # the loop was closed under us: nobody waits any more
                loop.call_soon_threadsafe(done, error)
            del item, work, done, loop, error
