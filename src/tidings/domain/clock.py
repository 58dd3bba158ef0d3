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

AHEAD_MS = 1500
"""How far ids may run ahead of the wall clock before the node refuses to give more."""
PULLED_MS = 1100
"""How far ahead of it an id of another node may pull them: so much, and a little, two right clocks
may differ (see `server/clock_guard.py`). The rest is for this node's own."""


class ClockWentBack(Exception):
    """The wall clock is more than a day behind the ids given before."""


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


class Permit(Protocol):
    """The right of a node, among others, to give ids under its number."""

    node: int
    """the number"""

    @property
    def clock_is_right(self) -> bool:
        """Whether the wall clock can be relied upon."""

    def check(self, at_ms: int) -> None:
        """Raise ProtocolError (overloaded) if no id of this moment may be given."""


class LonePermit:
    """Implements `Permit` for a node that is the only one."""

    node = 0
    clock_is_right = True

    def check(self, at_ms: int) -> None:
        """Nobody else gives any."""


class IdClock:
    """Gives one node's ids. `floor` is the greatest id that may have been given before.

    Where the wall clock is behind the floor, ids go on from the floor until it has caught up;
    they never go back, so an answer always sorts after what it answers, also one of another node.
    """

    def __init__(self, clock: Clock, *, permit: Permit | None = None, floor: int = 0) -> None:
        self._clock = clock
        self._permit = permit or LonePermit()
        self._floor_ms = self._ms = ids.unix_ms(floor)
        self._wall_ms = clock.wall_ms()
        self._unobserved = 0
        """the greatest id that was seen while the clock could not be relied upon"""
        # The floor's own millisecond may be used up: begin with the next.
        self._sequence = ids.SEQUENCE_MAX if floor else 0

    def next(self) -> int:
        """A new id, greater than all before. Raises ProtocolError (overloaded).

        Refuses when more than 1,024 a millisecond were asked for so long that ids would run
        too far ahead of the clock, and when this node may give none.
        """
        wall = self._look()
        if self._unobserved and self._permit.clock_is_right:
            seen, self._unobserved = self._unobserved, 0
            self.observe(seen)
        ms, sequence = self._ms, self._sequence + 1
        if wall > ms:
            ms, sequence = wall, 0
        elif sequence > ids.SEQUENCE_MAX:
            if ms - max(wall, self._floor_ms) >= AHEAD_MS:
                raise ProtocolError(OVERLOADED, "ids are too far ahead of the clock")
            ms, sequence = ms + 1, 0
        self._permit.check(ms)
        self._ms, self._sequence = ms, sequence
        return ids.snowflake(ms, self._permit.node, sequence)

    @property
    def node(self) -> int:
        """The number under which ids are given."""
        return self._permit.node

    @property
    def last(self) -> int:
        """The id given last (or the floor)."""
        return ids.snowflake(self._ms, self._permit.node, self._sequence)

    def horizon(self, ahead_ms: int) -> int:
        """What the ids of the next `ahead_ms` are below, if the clock is not set meanwhile."""
        # Where ids are ahead of the clock already, they hardly move until it has caught up.
        wall = self._look() if self._permit.clock_is_right else 0
        return ids.first_at(max(wall + ahead_ms, self._ms + AHEAD_MS))

    def observe(self, seen: int) -> None:
        """Move past an id of another node; one that is far ahead of the clock pulls no farther than that."""
        if seen <= self.last:
            return
        if not self._permit.clock_is_right:
            self._unobserved = max(self._unobserved, seen)
            return
        ms = min(ids.unix_ms(seen), self._look() + PULLED_MS)
        if ms >= self._ms:
            # Whatever this millisecond's sequence numbers are there: begin with the next.
            self._ms = ms
            self._sequence = ids.SEQUENCE_MAX

    def is_far_ahead(self, seen: int) -> bool:
        """Whether an id of another node is farther ahead than two right clocks may differ."""
        return seen > self.last and ids.unix_ms(seen) - self._look() > PULLED_MS

    def renumbered(self) -> None:
        """The node's number is another: begin with the next moment, so that ids still grow."""
        self._sequence = ids.SEQUENCE_MAX

    def now_ms(self) -> int:
        """Unix milliseconds that never go back, in step with the ids; while the clock is wrong they stand."""
        wall = self._look()
        if wall > self._ms and self._permit.clock_is_right:
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
