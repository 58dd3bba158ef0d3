"""Tries: a few are free, then each row of them costs a wait that doubles.

For what must not be guessed (codes of six digits) or not be repeated at will (messages to a phone).
Kept in memory, for the names seen last; a restart forgives, which nobody can cause from outside.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from tidings.domain.clock import Clock
from tidings.protocol.errors import RATE_LIMITED, ProtocolError

K = TypeVar("K", bound=Hashable)

FREE = 5
"""tries before each wait"""
FIRST_WAIT_S = 60.0
LONGEST_WAIT_S = 86_400.0


class _Count:
    __slots__ = ("count", "noted_s", "shut_until_s")

    def __init__(self) -> None:
        self.count = 0
        self.noted_s = 0.0
        self.shut_until_s = 0.0


class Tries(Generic[K]):
    """Counts tries by name, of at most `tracked` names."""

    def __init__(self, clock: Clock, tracked: int) -> None:
        self._clock = clock
        self._tracked = tracked
        self._counts: OrderedDict[K, _Count] = OrderedDict()

    def check(self, name: K) -> None:
        """Whether one more is free now. Raises ProtocolError (rate_limited)."""
        found = self._counts.get(name)
        wait_s = 0.0 if found is None else found.shut_until_s - self._clock.monotonic_s()
        if wait_s > 0:
            raise ProtocolError(RATE_LIMITED, "too many tries", retry_after_s=round(wait_s + 0.05, 1))

    def note(self, name: K) -> None:
        """Count a try. A day without any forgets those before."""
        now_s = self._clock.monotonic_s()
        found = self._counts.get(name)
        if found is None or now_s - found.noted_s > LONGEST_WAIT_S + FIRST_WAIT_S:
            found = self._counts[name] = _Count()
        self._counts.move_to_end(name)
        if len(self._counts) > self._tracked:
            self._counts.popitem(last=False)
        found.count += 1
        found.noted_s = now_s
        rows, left = divmod(found.count, FREE)
        if not left:
            found.shut_until_s = now_s + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(rows - 1, 16))

    def forget(self, name: K) -> None:
        """It went well: count anew."""
        self._counts.pop(name, None)
