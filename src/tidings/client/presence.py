"""Presence: who of those on the screen is there.

Nobody is told unless they ask, and only about those they name.

spec §6.15
"""

from collections.abc import AsyncGenerator, Sequence

from tidings.client.conversations import normal
from tidings.client.directory import Directory
from tidings.client.events import PresenceEvent
from tidings.client.values import Presence
from tidings.client.watching import Watching


class OwnPresence:
    """`me.presence`: watches others."""

    def __init__(self, directory: Directory, watching: Watching) -> None:
        self._directory = directory
        self._watching = watching

    async def watch(self, handles: Sequence[str]) -> list[Presence]:
        """Watch these users (at most 100) instead of those before; returns how they are right now.

        From then on their coming and going is told by `changes()`, and by `Client.events()`.
        An empty list ends it. Waits while offline. Raises Refused (no_such_user, too_large).

        ```python
        async with Client.open("profiles/alice") as me:
            (bob,) = await me.presence.watch(["@bob"])
            print("online" if bob.online else "away")
        ```
        """
        return await self._watching.watch(
            {await self._directory.user_id(handle): normal(handle) for handle in handles}
        )

    def changes(self) -> AsyncGenerator[PresenceEvent, None]:
        """Yield what changes about those who are watched, also with `receive=False`. One loop at a time.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.presence.watch(["@bob"])
            async for change in me.presence.changes():
                print(change.handle, "came" if change.online else "went")
        ```
        """
        return self._watching.changes()
