"""The directory in memory: for the hub, and for tests.

`Places` are what is known; hand the same ones to each node's `MemoryDirectory`.
"""

from collections.abc import Callable, Sequence

import msgspec

from tidings.directory.contract import (
    KEEP_S,
    DirectoryUnavailable,
    Entered,
    Found,
    Place,
)
from tidings.protocol.ids import UserId

SWEEP_MS = 10_000
"""Within so long all places are looked at once, for those that are over."""

_KEEP_MS = KEEP_S * 1000
_NOTHING = Entered(Found.NOTHING)
_OWN = Entered(Found.OWN)


class _Held(msgspec.Struct, gc=False):
    """A place, and when it was heard of last."""

    place: Place
    heard_ms: int


class Places:
    """The places of all nodes, and when each was heard of last. `time_ms` is the directory's clock.

    There may be a place for each of a hundred thousand users, so that what is held of one counts: most
    users have one device here, and theirs is held without a list of one.
    """

    def __init__(self, time_ms: Callable[[], int]) -> None:
        self.time_ms = time_ms
        self._of: dict[UserId, _Held | tuple[_Held, ...]] = {}
        self._count = 0
        self._now_ms = 0
        self._round: list[UserId] = []
        """who is swept in this round"""
        self._round_ms = 0
        self._swept = 0
        """so many of them are done"""

    def __len__(self) -> int:
        """How many places are held; some of them are over, for 2 * `SWEEP_MS` at most while others enter."""
        return self._count

    def enter(self, place: Place) -> Entered:
        """See `Directory.enter`."""
        now_ms = self._now()
        self._sweep(now_ms)
        there = self._find(place)
        if there is not None and not _is_current(there, now_ms):
            self._drop(there)
            there = None
        if there is None:
            self._keep(_Held(place, now_ms))
            return _NOTHING
        held = there.place
        if held.session > place.session:
            return Entered(Found.NEWER, held.node, held.session)
        if held.session == place.session:
            there.heard_ms = now_ms
            return _OWN
        self._drop(there)
        self._keep(_Held(place, now_ms))
        return Entered(Found.OLDER, held.node, held.session)

    def leave(self, place: Place) -> None:
        """See `Directory.leave`."""
        there = self._find(place)
        if there is not None and there.place.session == place.session:
            self._drop(there)

    def look_up(self, user: UserId) -> list[Place]:
        """See `Directory.look_up`."""
        now_ms = self._now()
        return [held.place for held in self._all_of(user) if _is_current(held, now_ms)]

    def forget(self, users: Sequence[UserId] | None = None) -> None:
        """Lose the places of some users, or all: what a directory may do at any time."""
        for user in list(self._of) if users is None else users:
            for held in self._all_of(user):
                self._drop(held)

    # --- inside ---------------------------------------------------------------------------

    def _now(self) -> int:
        """The time; one object for all that is heard of in one millisecond, since each place holds it."""
        now_ms = self.time_ms()
        if now_ms != self._now_ms:
            self._now_ms = now_ms
        return self._now_ms

    def _all_of(self, user: UserId) -> tuple[_Held, ...]:
        found = self._of.get(user, ())
        return found if isinstance(found, tuple) else (found,)

    def _find(self, place: Place) -> _Held | None:
        for held in self._all_of(place.user_id):
            if held.place.device_id == place.device_id:
                return held
        return None

    def _keep(self, held: _Held) -> None:
        user = held.place.user_id
        others = self._all_of(user)
        self._of[user] = (*others, held) if others else held
        self._count += 1

    def _drop(self, held: _Held) -> None:
        user = held.place.user_id
        if self._of[user] is held:
            del self._of[user]
        else:
            others = tuple(other for other in self._all_of(user) if other is not held)
            self._of[user] = others if len(others) > 1 else others[0]
        self._count -= 1

    def _sweep(self, now_ms: int) -> None:
        """Drop what is over among as many users as the time that went by asks for.

        Places that nobody refreshes must not stay for ever. To hold them in the order in which they were
        heard of, so that none had to be searched for, would take a fifth more memory.
        """
        gone_ms = now_ms - self._round_ms
        due = len(self._round) * gone_ms // SWEEP_MS
        if due > self._swept:
            for user in self._round[self._swept : due]:
                self._drop_over(user, now_ms)
            self._swept = due
        if not 0 <= gone_ms < SWEEP_MS:
            self._round, self._round_ms, self._swept = list(self._of), now_ms, 0

    def _drop_over(self, user: UserId, now_ms: int) -> None:
        for held in self._all_of(user):
            if not _is_current(held, now_ms):
                self._drop(held)


def _is_current(held: _Held, now_ms: int) -> bool:
    return now_ms - held.heard_ms < _KEEP_MS


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
