"""Limits that an operator changes while the server runs.

This is the one place where a `Limits` changes: everybody else holds it as a frozen value and
reads it when they need it. A change lasts until the server stops; what is to stay goes into the
config.
"""

import math
from typing import Any, NamedTuple

import msgspec

from tidings.protocol.errors import INVALID, ProtocolError
from tidings.protocol.limits import Limits, Rate
from tidings.server.connections import Connections

NOW = "now"
NEW_CONNECTIONS = "new connections"
RESTART = "restart"

_COUNTS_FROM = {
    # Told to a client in Welcome, or set on its socket.
    "content_bytes": NEW_CONNECTIONS,
    "frame_bytes": NEW_CONNECTIONS,
    "heartbeat_answer_s": NEW_CONNECTIONS,
    "heartbeat_s": NEW_CONNECTIONS,
    "window_entries": NEW_CONNECTIONS,
    "write_buffer_bytes": NEW_CONNECTIONS,
    # Taken when the parts are made.
    "addresses_tracked": RESTART,
    "drain_s": RESTART,
    "http_body_bytes": RESTART,
    "password_hashes": RESTART,
    "picture_bytes": RESTART,
    "relations_per_message": RESTART,
    "store_free_bytes": RESTART,
}
"""From when on a change counts, where it is not at once."""

_MAY_BE_ZERO = frozenset(
    {
        "connections",
        "receipt_delay_s",
        "request_messages",
        "request_messages_ever",
        "requests_per_day",
        "reserved_files",
        "store_free_bytes",
        "typing_s",
    }
)


class Limit(NamedTuple):
    """A limit as it is now."""

    name: str
    value: Any
    default: Any
    counts_from: str
    """`now`, `new connections`, or `restart` (then this only tells what is in force)"""


class Tuning:
    """Reads and changes the limits of a running node."""

    def __init__(self, limits: Limits, connections: Connections) -> None:
        self._limits = limits
        self._connections = connections

    def all(self) -> list[Limit]:
        """Every limit, in the order of the reference."""
        return [self._limit(name) for name in Limits.__struct_fields__]

    def set(self, name: str, value: object) -> Limit:
        """Change one. Raises ProtocolError (invalid), and then nothing has changed."""
        if name not in Limits.__struct_fields__:
            raise ProtocolError(INVALID, f"there is no limit named {name!r}")
        if _COUNTS_FROM.get(name) == RESTART:
            raise ProtocolError(INVALID, f"{name} cannot change while the server runs: set it in the config")
        try:
            changed = getattr(msgspec.convert({name: value}, Limits, strict=True), name)
        except msgspec.ValidationError as error:
            raise ProtocolError(INVALID, f"{name}: {str(error).partition(' - at ')[0]}") from None
        _check(name, changed)
        msgspec.structs.force_setattr(self._limits, name, changed)
        if isinstance(changed, Rate):
            self._connections.rates_changed()
        return self._limit(name)

    def _limit(self, name: str) -> Limit:
        return Limit(name, getattr(self._limits, name), getattr(_DEFAULTS, name), _COUNTS_FROM.get(name, NOW))


_DEFAULTS = Limits()


def _check(name: str, value: object) -> None:
    """Refuse what would stop the server rather than bound it."""
    if isinstance(value, Rate):
        if not (0 < value.per_s < math.inf and value.burst >= 1):
            raise ProtocolError(INVALID, f"{name}: a rate has per_s above 0 and a burst of at least 1")
        return
    assert isinstance(value, int | float)
    if not 0 <= value < math.inf or (value == 0 and name not in _MAY_BE_ZERO):
        raise ProtocolError(INVALID, f"{name}: expected a number above 0")
