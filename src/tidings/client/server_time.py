"""The server's time, as far as this device can tell: its own clock may be an hour off.

What vanishes at a moment must not vanish before it because a clock is wrong, or is put right. From a
`Welcome` on time is counted from what it said; the difference is kept in the profile for the time
between a start and the first `Welcome`.
"""

import sqlite3

from tidings.client.surroundings import Clock

OFFSET = "clock_offset_ms"


class ServerTime:
    """See the module's text."""

    def __init__(self, clock: Clock, offset_ms: int) -> None:
        self._clock = clock
        self._offset_ms = offset_ms
        self._heard: tuple[int, float] | None = None
        """what the server said last, and when that was by a clock that nobody sets"""

    def now_ms(self) -> int:
        """The server's wall clock, Unix milliseconds."""
        if self._heard is None:
            return self._clock.wall_ms() + self._offset_ms
        told_ms, at_s = self._heard
        return told_ms + int((self._clock.monotonic_s() - at_s) * 1000)

    def surely_ms(self) -> int:
        """A time that has come on the server, whatever was done to the clock here since it last told."""
        return surely_ms(self._clock.wall_ms(), self._offset_ms) if self._heard is None else self.now_ms()

    def heard(self, now_ms: int) -> int:
        """The server has told its time; returns the difference, to be kept."""
        self._offset_ms = now_ms - self._clock.wall_ms()
        self._heard = now_ms, self._clock.monotonic_s()
        return self._offset_ms


def surely_ms(wall_ms: int, offset_ms: int) -> int:
    """The same from an earlier difference: the clock here may have been put right since."""
    return wall_ms + min(offset_ms, 0)


def offset_of(database: sqlite3.Connection) -> int:
    """The difference that was kept; 0 if none was."""
    row = database.execute("SELECT value FROM marks WHERE name = ?", (OFFSET,)).fetchone()
    return 0 if row is None else int(row[0])


def keep_offset(database: sqlite3.Connection, offset_ms: int) -> None:
    """Keep the difference. Unlike other marks it may fall."""
    database.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (OFFSET, offset_ms))
