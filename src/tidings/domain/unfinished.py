"""The newest messages of a group that have not been read by all: their senders are told how far they are."""

from typing import NamedTuple

from tidings.protocol.ids import MessageId, UserId


class Unfinished(NamedTuple):
    """A message whose sender wants to know who has it."""

    message_id: MessageId
    sender: UserId
    version: int


class UnfinishedMessages:
    """Those of one group, in no order, at most so many: the oldest are given up."""

    __slots__ = ("_messages", "_most", "told")

    def __init__(self, most: int) -> None:
        self._messages: dict[MessageId, Unfinished] = {}
        self._most = most
        self.told: dict[MessageId, tuple[int, int, int]] = {}
        """what a sender was told last, also of some that are finished"""

    def add(self, message: Unfinished) -> None:
        """One more."""
        self._messages[message.message_id] = message
        if len(self._messages) > self._most:
            self.finish(min(self._messages))

    def finish(self, message_id: MessageId) -> None:
        """All have read it, or nobody will be told any more."""
        self._messages.pop(message_id, None)
        if len(self.told) > 2 * self._most:
            del self.told[min(self.told)]

    def all(self) -> list[Unfinished]:
        """All of them."""
        return list(self._messages.values())
