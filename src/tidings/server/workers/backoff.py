"""When a process that died is started again: at once, unless it dies again and again."""

LIVED_S = 5.0
"""having served for so long counts as having lived"""
FIRST_S = 0.25
"""the wait after the second death in a row; it doubles with each"""
MOST_S = 10.0
"""the longest wait for one that others can stand in for"""
VITAL_S = 1.0
"""the longest for one without whom nobody is served: what waits for it must not give up meanwhile"""


class Backoff:
    """Knows how many died before."""

    def __init__(self, most_s: float = MOST_S) -> None:
        self._most_s = most_s
        self._wait_s = 0.0

    def wait_s(self, served_s: float) -> float:
        """How long to wait after the death of a process that had served for so long."""
        wait_s = 0.0 if served_s >= LIVED_S else self._wait_s
        self._wait_s = min(self._most_s, max(FIRST_S, 2 * wait_s))
        return wait_s
