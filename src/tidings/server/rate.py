"""Rate limits: token buckets that cost two floats each and read no clock of their own.

A device's buckets are a list that all its sessions hold, so that taking a token costs no look-up.

spec §10
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from enum import IntEnum
from typing import Generic, TypeVar

from tidings.protocol.errors import RATE_LIMITED, ProtocolError
from tidings.protocol.ids import DeviceId
from tidings.protocol.limits import Limits, Rate

K = TypeVar("K", bound=Hashable)


class TokenBucket:
    """`rate.burst` at once, `rate.per_s` a second."""

    __slots__ = ("_at_s", "_tokens", "rate")

    def __init__(self, rate: Rate, now_s: float) -> None:
        self.rate = rate
        self._tokens = float(rate.burst)
        self._at_s = now_s

    def take(self, now_s: float) -> float:
        """Take one token: 0.0 if there was one, else the seconds until there will be."""
        rate = self.rate
        tokens = self._tokens + (now_s - self._at_s) * rate.per_s
        self._at_s = now_s
        if tokens >= 1.0:
            burst = rate.burst
            self._tokens = (tokens if tokens < burst else burst) - 1.0
            return 0.0
        self._tokens = tokens
        return (1.0 - tokens) / rate.per_s

    def is_full(self, now_s: float) -> bool:
        """Whether it is as good as a new one: at most a token is missing."""
        return self._tokens + (now_s - self._at_s) * self.rate.per_s >= self.rate.burst - 1.0


class RateClass(IntEnum):
    """Frames that share a token bucket."""

    SEND = 0
    LIGHT = 1
    QUERY = 2
    TYPING = 3
    SETTING = 4
    GROUP = 5


Buckets = list[TokenBucket | None]
"""A device's buckets by rate class, each made when it is needed first."""


def limited(wait_s: float) -> ProtocolError:
    """What a client is told that has to wait: rounded up, so that waiting so long is enough."""
    return ProtocolError(RATE_LIMITED, retry_after_s=math.ceil(wait_s * 100) / 100)


class KeyedRates(Generic[K]):
    """A bucket for each of the keys (users, say) seen last, at most `tracked` of them.

    `rate` may be a function: then a change of what it returns counts at once.
    """

    def __init__(self, rate: Rate | Callable[[], Rate], tracked: int) -> None:
        self._rate = rate
        self._tracked = tracked
        self._buckets: OrderedDict[K, TokenBucket] = OrderedDict()

    def bucket(self, key: K, now_s: float) -> TokenBucket:
        """The bucket of a key."""
        rate = self._rate if isinstance(self._rate, Rate) else self._rate()
        bucket = self._buckets.get(key)
        if bucket is None or bucket.rate is not rate:
            bucket = self._buckets[key] = TokenBucket(rate, now_s)
            if len(self._buckets) > self._tracked:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket

    def check(self, key: K, now_s: float) -> None:
        """Count one request of a key. Raises ProtocolError (rate_limited)."""
        wait_s = self.bucket(key, now_s).take(now_s)
        if wait_s:
            raise limited(wait_s)


class DeviceRates:
    """The buckets of devices: all connections of one share them.

    A device that comes back finds what it had spent, if it had not refilled when it left.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left: OrderedDict[DeviceId, Buckets] = OrderedDict()

    def enter(self, device: DeviceId) -> Buckets:
        """The buckets of a device that had no connection."""
        return self._left.pop(device, None) or [None] * len(RateClass)

    def leave(self, device: DeviceId, buckets: Buckets, now_s: float) -> None:
        """A device's last connection has ended."""
        if any(bucket is not None and not bucket.is_full(now_s) for bucket in buckets):
            self._left[device] = buckets
            if len(self._left) > self._limits.addresses_tracked:
                self._left.popitem(last=False)

    def bucket(self, rate: RateClass, now_s: float) -> TokenBucket:
        """The bucket for what a device does for the first time."""
        limits = self._limits
        rates = (
            limits.send_rate,
            limits.light_rate,
            limits.query_rate,
            limits.typing_rate,
            limits.setting_rate,
            limits.groups_rate,
        )
        return TokenBucket(rates[rate], now_s)

    def forget_left(self) -> None:
        """The limits have changed: who comes back starts anew."""
        self._left.clear()


class AddressRates(KeyedRates[str]):
    """Rates by address, in the terms of `network`."""

    def check(self, key: str, now_s: float) -> None:
        """Count one request of an address. Raises ProtocolError (rate_limited)."""
        super().check(network(key), now_s)


def network(address: str) -> str:
    """What stands for one peer: an IPv4 address, or the /64 of an IPv6 one, which one host has whole."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
