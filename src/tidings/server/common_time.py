"""The time that all nodes go by: the directory's clock, and where that is away the store's.

A machine that was paused together with its clocks cannot tell by them what it missed. So somebody else is
asked; and while neither can be, no message can be acknowledged either, for that takes the store.
"""

from tidings.directory.contract import Directory, DirectoryError
from tidings.store.contract import Store


class CommonTime:
    """See the module's text."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory = directory
        self._store = store
        self.directory_answers = True
        """whether it did when it was asked last"""
        self.directory_failures = 0
        """for the metrics, too"""

    async def time_ms(self, *, fresh: bool = False) -> int:
        """Unix ms; see `Directory.time_ms`. Raises StoreError."""
        try:
            now_ms = await self._directory.time_ms(fresh=fresh)
        except DirectoryError:
            self.directory_answers = False
            self.directory_failures += 1
            return await self._store.time_ms()
        self.directory_answers = True
        return now_ms
