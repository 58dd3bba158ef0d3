"""Calm: when nothing was wrong, which is when everything must be prompt."""

from bisect import bisect_right
from collections.abc import Sequence


class Calm:
    """Spans of time in which something was wrong, or may still be felt."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self._joined: list[tuple[float, float]] | None = None

    def disturbed(self, begin_s: float, end_s: float) -> None:
        """Something is wrong from one moment to another."""
        self._spans.append((begin_s, end_s))
        self._joined = None

    def holds(self, begin_s: float, end_s: float) -> bool:
        """Whether nothing was wrong in a span."""
        joined = self._join()
        place = bisect_right(joined, (end_s, float("inf")))
        return place == 0 or joined[place - 1][1] < begin_s

    def first_span(self, after_s: float, length_s: float) -> float:
        """The earliest moment, not before `after_s`, from which nothing is wrong for so long."""
        at_s = after_s
        for begin_s, end_s in self._join():
            if end_s < at_s:
                continue
            if begin_s > at_s + length_s:
                break
            at_s = end_s
        return at_s

    def _join(self) -> list[tuple[float, float]]:
        if self._joined is None:
            self._joined = []
            for begin_s, end_s in sorted(self._spans):
                if self._joined and begin_s <= self._joined[-1][1]:
                    last = self._joined[-1]
                    self._joined[-1] = last[0], max(last[1], end_s)
                else:
                    self._joined.append((begin_s, end_s))
        return self._joined


def first_calm(calms: Sequence[Calm], after_s: float, length_s: float) -> float:
    """As `Calm.first_span`, of several at once."""
    at_s = after_s
    while True:
        before_s = at_s
        for calm in calms:
            at_s = calm.first_span(at_s, length_s)
        if at_s == before_s:
            return at_s
