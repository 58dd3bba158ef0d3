"""What a node counts of its own work: plain integers, read when somebody asks (see `metrics.py`).

Nothing here costs a message more than an addition, and nothing names a user.
"""

LAG_WINDOW_S = 60.0


class Counts:
    """Counted by sessions and the sweep."""

    __slots__ = ("_lag_before_s", "_lag_max_s", "_window_began_s", "accepted", "lag_s", "refused")

    def __init__(self) -> None:
        self.accepted = 0
        """messages that were answered with Sent"""
        self.refused: dict[int, int] = {}
        """frames and requests, by the code of their error"""
        self.lag_s = 0.0
        """how late the event loop was the last time it was looked at"""
        self._lag_max_s = self._lag_before_s = 0.0
        self._window_began_s = 0.0

    def refuse(self, code: int) -> None:
        """Something was refused with this code."""
        self.refused[code] = self.refused.get(code, 0) + 1

    def lagged(self, late_s: float, now_s: float) -> None:
        """A timer of the event loop was so late."""
        self.lag_s = max(0.0, late_s)
        if now_s - self._window_began_s >= LAG_WINDOW_S:
            self._window_began_s = now_s
            self._lag_before_s, self._lag_max_s = self._lag_max_s, 0.0
        self._lag_max_s = max(self._lag_max_s, self.lag_s)

    @property
    def worst_lag_s(self) -> float:
        """The greatest in the last one to two minutes."""
        return max(self._lag_max_s, self._lag_before_s)
