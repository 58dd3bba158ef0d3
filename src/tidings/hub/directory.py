"""The directory over the hub: see `tidings.directory.contract.Directory`.

The hub forgets the places of a node whose connection breaks, and a new hub knows none: so a loss is
told of whenever a hub was reached again. A place that is entered while there is no hub is entered
with the next one.
"""

from collections.abc import Callable, Sequence

from tidings.directory.contract import DirectoryUnavailable, Entered, Place
from tidings.hub.link import HubLink, Manner
from tidings.hub.wire import Enter, Entries, Leave, Located, LookUp
from tidings.protocol.ids import UserId

_MANNER = Manner(DirectoryUnavailable)


class HubDirectory:
    """A node's view of the hub's directory. The caller closes the link."""

    def __init__(self, link: HubLink) -> None:
        self._link = link
        self._closed = False
        self._lost: list[Callable[[], None]] = []
        link.on_return(self._returned)

    async def enter(self, places: Sequence[Place]) -> list[Entered]:
        self._require_open()
        return (await self._link.ask(Enter(0, list(places)), _MANNER, Entries)).entered

    async def leave(self, places: Sequence[Place]) -> None:
        self._require_open()
        await self._link.done(Leave(0, list(places)), _MANNER)

    async def look_up(self, users: Sequence[UserId]) -> list[list[Place]]:
        self._require_open()
        return (await self._link.ask(LookUp(0, list(users)), _MANNER, Located)).places

    async def time_ms(self, *, fresh: bool = False) -> int:
        """The hub's clock, mostly without asking it.

        Each frame of the hub says what its wall clock showed when the frame was made, and what the
        machine's clock did, which all processes read alike and nobody sets. What is returned is that wall
        clock and the time that has gone by since, by the machine's clock.

        A store operation that the caller saw end was answered by a frame that came before this call,
        over the same connection. It was made after its rows could be read, so the time in it is not
        before that moment; the newest frame's is not either, and whatever is added makes it later only.

        A worker that was stopped, or whose loop hung, finds frames that are as old as its pause. That
        does no harm: what is added then includes the pause. It may so take a write for late that was
        not, which costs a repeat; it never takes a late one for one in time.

        A hub that was stopped between writing and answering made the frame after its pause, and one
        that is stopped now says nothing: after `CURRENT_S` it is asked, and DirectoryUnavailable is
        raised if it does not answer.

        A hub's wall clock that was set is told with the next frame, a second later at most. Until then
        this is the time by the old setting, for which `fresh` is the remedy.
        """
        self._require_open()
        if fresh or not self._link.is_current:
            await self._link.hear_time(_MANNER)
        return self._link.wall_ms

    def on_loss(self, lost: Callable[[], None]) -> None:
        self._lost.append(lost)

    async def close(self) -> None:
        self._closed = True

    def _returned(self) -> None:
        if not self._closed:
            for lost in self._lost:
                lost()

    def _require_open(self) -> None:
        if self._closed:
            raise DirectoryUnavailable("the directory is closed")
