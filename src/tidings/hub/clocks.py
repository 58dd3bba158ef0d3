"""The clocks of a machine, which all its processes share."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Clocks(NamedTuple):
    """How a process reads them."""

    wall_ns: Callable[[], int]
    """Unix nanoseconds; may be set at any time"""
    machine_ns: Callable[[], int]
    """nanoseconds that only grow, from a zero that all processes of the machine have in common"""


def _since_boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


MACHINE = Clocks(time.time_ns, _since_boot_ns)
"""The real ones. The second one goes on while the machine sleeps, as the first does."""
