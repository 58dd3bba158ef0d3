"""When to try again: at once the first time, then at random within a span that doubles.

Full jitter: after a server's restart its clients come back spread over the whole span, not in
waves. A connection that held for a while makes the next loss a first one again.
"""

import random

FIRST_S = 0.2
LONGEST_S = 30.0
HELD_S = 2.0
"""a connection that ended sooner counts as a failed try"""


class Backoff:
    """The pause before each try."""

    def __init__(self, random: random.Random) -> None:
        self._random = random
        self._failures = 0

    def next_s(self) -> float:
        """The pause before the next try: 0, then at most 0.2 s, 0.4 s, … 30 s."""
        failures = self._failures
        self._failures += 1
        if failures == 0:
            return 0.0
        # The exponent is bounded, since a float is: a server may be away for a year.
        return self._random.uniform(0.0, min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 30)))

    def held(self, seconds: float) -> None:
        """A connection stood for so long before it was lost."""
        if seconds >= HELD_S:
            self._failures = 0
