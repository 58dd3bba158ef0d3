"""Who is told when an account changes: the user's other devices, and the operator's audit log.

The rules of accounts know these two functions and nothing of what becomes of their calls.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from tidings.protocol.ids import UserId

Changed = Callable[[UserId, str], Awaitable[None]]
"""Called once a change is durable, with its key: `handle`, `devices` or `account`. Must not raise."""


class Audit(Protocol):
    """Takes note of what matters to security. Never blocks, never raises."""

    def __call__(self, event: str, **fields: str | int | bool | None) -> None:
        """`fields` are ids, handles and addresses; never secrets, codes, tokens or numbers."""


class Notices(NamedTuple):
    """Both of them, as they are handed around."""

    changed: Changed
    audit: Audit
