"""What a process of the server asks of its system and its interpreter when it starts."""

import gc
import resource


def raise_file_limit() -> None:
    """Each connection is an open file; the soft limit is a default of long ago."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def settle_collector() -> None:
    """Spare the hot path most of the cycle collector: messages make no cycles.

    What exists by now lives as long as the process. Without this a tenth of a message's CPU
    goes into looking for garbage that reference counts have freed already.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
