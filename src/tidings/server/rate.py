"""Rate limits: token buckets that cost two floats each and read no clock of their own.

spec §10
"""

import math
from collections import OrderedDict

from tidings.protocol.errors import RATE_LIMITED, ProtocolError
from tidings.protocol.limits import Rate


class TokenBucket:
    """`rate.burst` at once, `rate.per_s` a second."""

    __slots__ = ("_at_s", "_rate", "_tokens")

    def __init__(self, rate: Rate, now_s: float) -> None:
        self._rate = rate
        self._tokens = float(rate.burst)
        self._at_s = now_s

    def take(self, now_s: float) -> float:
        """Take one token: 0.0 if there was one, else the seconds until there will be."""
        rate = self._rate
        tokens = self._tokens + (now_s - self._at_s) * rate.per_s
        self._at_s = now_s
        if tokens >= 1.0:
            self._tokens = min(tokens, rate.burst) - 1.0
            return 0.0
        self._tokens = tokens
        return (1.0 - tokens) / rate.per_s


def limited(wait_s: float) -> ProtocolError:
    """What a client is told that has to wait: rounded up, so that waiting so long is enough."""
    return ProtocolError(RATE_LIMITED, retry_after_s=math.ceil(wait_s * 100) / 100)


class AddressRates:
    """A bucket for each of the addresses seen last, at most `tracked` of them."""

    def __init__(self, rate: Rate, tracked: int) -> None:
        self._rate = rate
        self._tracked = tracked
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def check(self, address: str, now_s: float) -> None:
        """Count one request of an address. Raises ProtocolError (rate_limited)."""
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = TokenBucket(self._rate, now_s)
            if len(self._buckets) > self._tracked:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(address)
        wait_s = bucket.take(now_s)
        if wait_s:
            raise limited(wait_s)
