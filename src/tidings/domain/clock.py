"""Time, and the ids that are made of it.

`Clock` is what the rest of the code is given instead of the machine's clocks. `IdClock` gives
the snowflakes of one node: strictly growing, never earlier than anything that this node gave
before, also over restarts (`ids_until`, kept by `tidings.domain.commit`).

spec §3
"""

import time
from typing import Protocol

from tidings.protocol import ids
from tidings.protocol.errors import OVERLOADED, ProtocolError

AHEAD_MS = 1000
"""How far ids may run ahead of the wall clock before the node refuses to give more."""


class Clock(Protocol):
    """The two clocks of a machine."""

    def wall_ms(self) -> int:
        """Unix milliseconds; may jump either way."""

    def monotonic_s(self) -> float:
        """Seconds that only grow; the zero means nothing."""


class SystemClock:
    """The clocks of this machine."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class IdClock:
    """Gives one node's ids. `floor` is the greatest id that may have been given before.

    Where the wall clock is behind the floor, ids go on from the floor until it has caught up;
    they never go back, so an answer always sorts after what it answers.
    """

    def __init__(self, clock: Clock, *, node: int = 0, floor: int = 0) -> None:
        self._clock = clock
        self._node = node
        self._floor_ms = self._ms = ids.unix_ms(floor)
        self._wall_ms = clock.wall_ms()
        # The floor's own millisecond may be used up: begin with the next.
        self._sequence = ids.SEQUENCE_MAX if floor else 0

    def next(self) -> int:
        """A new id, greater than all before. Raises ProtocolError (overloaded).

        Refuses when more than 1,024 a millisecond were asked for so long that ids would run
        a second ahead of the clock.
        """
        wall = self._look()
        if wall > self._ms:
            self._ms = wall
            self._sequence = 0
        elif self._sequence < ids.SEQUENCE_MAX:
            self._sequence += 1
        elif self._ms - max(wall, self._floor_ms) < AHEAD_MS:
            self._ms += 1
            self._sequence = 0
        else:
            raise ProtocolError(OVERLOADED, "ids are a second ahead of the clock")
        return ids.snowflake(self._ms, self._node, self._sequence)

    @property
    def last(self) -> int:
        """The id given last (or the floor)."""
        return ids.snowflake(self._ms, self._node, self._sequence)

    def now_ms(self) -> int:
        """Unix milliseconds that never go back, in step with the ids."""
        wall = self._look()
        if wall > self._ms:
            self._ms = wall
            self._sequence = 0
        return self._ms

    def _look(self) -> int:
        """The wall clock. Where it was set back, ids go on from here as they would after a restart."""
        wall = self._clock.wall_ms()
        if wall < self._wall_ms:
            self._floor_ms = self._ms
        self._wall_ms = wall
        return wall
