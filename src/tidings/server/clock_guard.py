"""The clock guard: whether a machine's wall clock may be relied upon.

It is compared with the one that all nodes go by (`common_time`), and between two comparisons with
the machine's own clock that nobody sets.
"""

from typing import Protocol

from tidings.directory.contract import DirectoryError
from tidings.domain.clock import Clock
from tidings.store.contract import StoreError

SKEW_MS = 500
"""How far the wall clock may be from the directory's."""
LEFT_MS = 530
"""How far it must be away to be found wrong that was right: at the limit it would be both by turns, and
each time all devices would be sent away. Two right clocks differ by less than `domain.clock.PULLED_MS`."""
STEP_MS = 500
"""How far it may go from where the machine's other clock expects it, from one comparison to the next."""
ASKING_S = 2.0
"""An answer that took longer says nothing about the clock."""


class Time(Protocol):
    """A clock that all nodes go by."""

    async def time_ms(self, *, fresh: bool = False) -> int:
        """Unix ms; see `Directory.time_ms`. Raises DirectoryError, StoreError."""


class ClockGuard:
    """Whether the wall clock is as the directory's is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.agreed = False
        """when they were compared last"""
        self.ahead_ms = 0.0
        """how far the wall clock was ahead of the directory's then"""
        self._offset_ms: float | None = None
        """wall clock less the clock that only grows, when they were compared last"""
        self._doubts = 0

    def is_right(self) -> bool:
        """Whether it agreed at the last comparison and was not set since."""
        return self.agreed and not self._has_stepped()

    def is_behind(self, theirs_ms: int) -> bool:
        """Whether the directory's clock, as it was just now or before, is too far ahead; then it is wrong."""
        if theirs_ms - self._clock.wall_ms() <= self._limit_ms:
            return False
        self.doubt()
        return True

    def doubt(self) -> None:
        """Another node is far ahead: until they are compared again the clock is not to be relied upon.

        It was paused, maybe, and the directory is away, or has not been asked yet.
        """
        self.agreed = False
        self._doubts += 1

    async def compare(self, time: Time) -> None:
        """Compare them. Where nobody can be asked, what was found last holds."""
        if not await self._compared(time):
            await self._compared(time)

    async def _compared(self, time: Time) -> bool:
        """Compare them; false if that says nothing, since the clock was doubted meanwhile.

        The answer may have waited while this machine was paused together with its clocks.
        """
        doubts = self._doubts
        asked_s = self._clock.monotonic_s()
        before_ms = self._clock.wall_ms()
        try:
            theirs_ms = await time.time_ms(fresh=True)
        except (StoreError, DirectoryError):
            if self._has_stepped():
                self.agreed = False
            return True
        if self._doubts != doubts:
            return False
        took_s = self._clock.monotonic_s() - asked_s
        if took_s > ASKING_S:
            return True
        ours_ms = (before_ms + self._clock.wall_ms()) / 2
        self.ahead_ms = ours_ms - theirs_ms
        self.agreed = abs(self.ahead_ms) <= self._limit_ms + took_s * 500
        self._offset_ms = self._offset()
        return True

    @property
    def _limit_ms(self) -> int:
        return LEFT_MS if self.agreed else SKEW_MS

    def _has_stepped(self) -> bool:
        return self._offset_ms is not None and abs(self._offset() - self._offset_ms) > STEP_MS

    def _offset(self) -> float:
        return self._clock.wall_ms() - self._clock.monotonic_s() * 1000
