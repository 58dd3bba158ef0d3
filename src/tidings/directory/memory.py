"""The directory in memory: for the hub, and for tests.

`Places` are what is known; hand the same ones to each node's `MemoryDirectory`.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from tidings.directory.contract import (
    KEEP_S,
    DirectoryUnavailable,
    Entered,
    Found,
    Place,
)
from tidings.protocol.ids import DeviceId, UserId


class Places:
    """The places of all nodes, and when each was heard of last. `time_ms` is the directory's clock."""

    def __init__(self, time_ms: Callable[[], int]) -> None:
        self.time_ms = time_ms
        self._of: dict[UserId, dict[DeviceId, Place]] = {}
        self._heard_ms: OrderedDict[Place, int] = OrderedDict()
        """the longest unheard first, so that what is over goes without a search"""

    def __len__(self) -> int:
        """How many places are held; of those that are over, some may be among them until the next `enter`."""
        return len(self._heard_ms)

    def enter(self, place: Place) -> Entered:
        """See `Directory.enter`."""
        now_ms = self.time_ms()
        self._drop_over(now_ms)
        there = self._of.get(place.user_id, {}).get(place.device_id)
        if there is not None and not self._is_current(there, now_ms):
            self._drop(there)
            there = None
        if there is None:
            self._keep(place, now_ms)
            return Entered(Found.NOTHING)
        if there.session > place.session:
            return Entered(Found.NEWER, there.node, there.session)
        if there.session == place.session:
            self._heard_ms[there] = now_ms
            self._heard_ms.move_to_end(there)
            return Entered(Found.OWN)
        self._drop(there)
        self._keep(place, now_ms)
        return Entered(Found.OLDER, there.node, there.session)

    def leave(self, place: Place) -> None:
        """See `Directory.leave`."""
        there = self._of.get(place.user_id, {}).get(place.device_id)
        if there is not None and there.session == place.session:
            self._drop(there)

    def look_up(self, user: UserId) -> list[Place]:
        """See `Directory.look_up`."""
        devices = self._of.get(user)
        if devices is None:
            return []
        now_ms = self.time_ms()
        return [place for place in devices.values() if self._is_current(place, now_ms)]

    def forget(self, users: Sequence[UserId] | None = None) -> None:
        """Lose the places of some users, or all: what a directory may do at any time."""
        for user in list(self._of) if users is None else users:
            for place in tuple(self._of.get(user, {}).values()):
                self._drop(place)

    # --- inside ---------------------------------------------------------------------------

    def _is_current(self, place: Place, now_ms: int) -> bool:
        return now_ms - self._heard_ms[place] < KEEP_S * 1000

    def _keep(self, place: Place, now_ms: int) -> None:
        self._of.setdefault(place.user_id, {})[place.device_id] = place
        self._heard_ms[place] = now_ms

    def _drop(self, place: Place) -> None:
        del self._heard_ms[place]
        devices = self._of[place.user_id]
        del devices[place.device_id]
        if not devices:
            del self._of[place.user_id]

    def _drop_over(self, now_ms: int) -> None:
        """Places that nobody refreshes must not stay for ever."""
        while self._heard_ms:
            longest_unheard = next(iter(self._heard_ms))
            if self._is_current(longest_unheard, now_ms):
                return
            self._drop(longest_unheard)


class MemoryDirectory:
    """A node's end. See `tidings.directory.contract.Directory`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._closed = False

    async def enter(self, places: Sequence[Place]) -> list[Entered]:
        self._require_open()
        return [self._places.enter(place) for place in places]

    async def leave(self, places: Sequence[Place]) -> None:
        self._require_open()
        for place in places:
            self._places.leave(place)

    async def look_up(self, users: Sequence[UserId]) -> list[list[Place]]:
        self._require_open()
        return [self._places.look_up(user) for user in users]

    async def time_ms(self, *, fresh: bool = False) -> int:  # noqa: ARG002 - it always is
        self._require_open()
        return self._places.time_ms()

    def on_loss(self, lost: Callable[[], None]) -> None:
        """Nothing is ever lost without `forget`, and that tells nobody."""

    async def close(self) -> None:
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise DirectoryUnavailable("the directory is closed")
