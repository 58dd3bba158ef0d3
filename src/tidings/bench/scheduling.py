"""How the kernel schedules what is measured, and what measures it."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def scheduled_in_batches() -> Iterator[None]:
    """Nothing that this process starts meanwhile, nor itself, interrupts another when it wakes up.

    On other systems than Linux, and where it is not allowed, all is as it was. See sched(7), SCHED_BATCH.
    """
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getscheduler(0)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, before, os.sched_param(0))
