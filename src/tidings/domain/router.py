"""Where people are connected: what the rules need to know of it.

The rules hand over what concerns a user; whoever implements this finds their sessions. A
user who is nowhere is not an error: the inbox has what they miss.
"""

from collections.abc import Iterable
from typing import Protocol

from tidings.domain.conversation import Conversation
from tidings.domain.inboxes import Entry
from tidings.protocol.frames import Frame
from tidings.protocol.ids import DeviceId, UserId


class Router(Protocol):
    """Reaches the connected devices of users. No method blocks, none raises."""

    def deliver(self, entry: Entry, users: Iterable[UserId]) -> None:
        """Offer a durable inbox entry to every receiving session of these users."""

    def publish(self, entry: Entry, conversation: Conversation, version: int) -> None:
        """Offer a durable message of a group that is read from its log to every session that follows it."""

    def expel(self, user: UserId, device: DeviceId | None = None) -> None:
        """End every session of a device (None: of all the user's devices), side sessions included."""

    def tell(self, users: Iterable[UserId], frame: Frame, *, skip: DeviceId | None = None) -> None:
        """Send a frame that no inbox holds (state, not events) to these users' receiving sessions."""
