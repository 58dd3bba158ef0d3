"""Who may go on, and when: one after another at a partition, and nobody once the store is closed."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

from tidings.store.cassandra.columns import Values
from tidings.store.contract import StoreUnavailable

Place = tuple[str, Values]
"""a table and the key of a partition in it"""


class Door:
    """Entered for as long as something is being done. A context manager."""

    def __init__(self) -> None:
        self._inside = 0
        self.is_closed = False
        self._empty: asyncio.Future[None] | None = None

    def __enter__(self) -> None:
        if self.is_closed:
            raise StoreUnavailable("the store is closed")
        self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside -= 1
        if not self._inside and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    async def close(self) -> None:
        """Let nobody in any more, and wait until all are out."""
        self.is_closed = True
        if self._inside:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty


class Turns:
    """Who does something with a partition waits for those who came before."""

    def __init__(self) -> None:
        self._locks: dict[Place, asyncio.Lock] = {}
        self._waiting: defaultdict[Place, int] = defaultdict(int)

    @asynccontextmanager
    async def of(self, place: Place) -> AsyncIterator[None]:
        """In the order of the calls."""
        lock = self._locks.setdefault(place, asyncio.Lock())
        self._waiting[place] += 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place], self._locks[place]
