"""How an error leaves a process, and reaches the operator as if there were but one."""

from tidings.bus.contract import BusError
from tidings.directory.contract import DirectoryError
from tidings.domain.clock import ClockWentBack
from tidings.domain.leases import LeaseLost
from tidings.server.config import ConfigError
from tidings.server.workers.orders import Failed
from tidings.store.contract import (
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreInUse,
    StoreTooNew,
    StoreUnavailable,
)

KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        BusError,
        ClockWentBack,
        ConfigError,
        DirectoryError,
        LeaseLost,
        OSError,
        StoreDamaged,
        StoreError,
        StoreFull,
        StoreInUse,
        StoreTooNew,
        StoreUnavailable,
    )
}
"""Those whose message is for the operator; whatever else is raised is a bug."""

FOR_GOOD = (ConfigError, ClockWentBack, StoreInUse, StoreDamaged, StoreTooNew, StoreFull, OSError)
"""Those that another try does not mend."""


class NotStarted(Exception):
    """A process of the service does not start; the message says which, and the log why."""


def failed(error: Exception) -> Failed | None:
    """What to tell the supervisor; None: it is a bug."""
    for kind in type(error).__mro__:
        if kind.__name__ in KINDS:
            reason = error.strerror if isinstance(error, OSError) else None
            return Failed(kind.__name__, reason or str(error))
    return None


def error_of(failure: Failed) -> Exception:
    """The exception that it was."""
    kind = KINDS.get(failure.kind, NotStarted)
    return OSError(None, failure.message) if kind is OSError else kind(failure.message)
