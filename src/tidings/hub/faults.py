"""Errors on their way from the hub to a node: by their kind and their text."""

import traceback

from structlog.typing import FilteringBoundLogger

from tidings.hub.wire import Failed, Fault
from tidings.store.contract import OutcomeUnknown, StoreDamaged, StoreFull, StoreUnavailable

_KINDS: dict[type[Exception], Fault] = {
    StoreFull: Fault.FULL,
    StoreUnavailable: Fault.UNAVAILABLE,
    OutcomeUnknown: Fault.UNKNOWN,
    StoreDamaged: Fault.DAMAGED,
    AssertionError: Fault.BUG,
}
_TYPES = {fault: kind for kind, fault in _KINDS.items()}


def failed(number: int, error: Exception, log: FilteringBoundLogger) -> Failed:
    """What a node is told of an error. One that no contract names is a bug of ours, and logged here."""
    if isinstance(error, OSError):
        return Failed(number, Fault.OS, error.strerror or str(error), error.errno or 0)
    fault = _KINDS.get(type(error))
    if fault is not None:
        return Failed(number, fault, str(error))
    log.error("a request to the hub failed", exc_info=error)
    return Failed(number, Fault.BUG, "".join(traceback.format_exception_only(error)).strip())


def error_of(answer: Failed) -> Exception:
    """The error that a node was told of."""
    if answer.fault is Fault.OS:
        return OSError(answer.errno, answer.text)
    return _TYPES[answer.fault](answer.text)
