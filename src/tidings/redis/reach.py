"""The masters of whichever kind of Redis the config names."""

from structlog.typing import FilteringBoundLogger

from tidings.redis.dial import Dialer
from tidings.redis.link import Random
from tidings.redis.masters import Keeper, Masters
from tidings.redis.one import OneMaster
from tidings.redis.slots import Slots


def reach(dialer: Dialer, user: Keeper, jitter: Random, log: FilteringBoundLogger) -> Masters:
    """The masters, not connected yet (`Masters.open`)."""
    kind = Slots if dialer.config.mode == "cluster" else OneMaster
    return kind(dialer, user, jitter, log)
