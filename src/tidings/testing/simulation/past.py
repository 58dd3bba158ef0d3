"""The past: what the server's history tells a user, read back to the beginning and onwards from there."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tidings.protocol.errors import REGISTRY
from tidings.protocol.frames import CHANGES, Error, Frame, History, Message, Page
from tidings.protocol.ids import ConversationId, MessageId
from tidings.testing.simulation.profile import Ref, ref_of

if TYPE_CHECKING:
    from tidings.testing.simulation.connection import Connection
    from tidings.testing.simulation.device import Device

PAGE = 40


class Told(NamedTuple):
    """A message of a page, and how far it has come."""

    message: Message
    status: int


class Past:
    """One user's history, fetched over a connection of a device."""

    def __init__(self, device: "Device", conversations: list[ConversationId]) -> None:
        self._device = device
        self._left = list(conversations)
        self.is_whole = False
        self._asked_on: Connection | None = None
        self._asking: tuple[Callable[[int], Frame], Callable[[Page], None]]
        self.told: dict[Ref, list[Told]] = {}
        """messages, from pages that go back; of twins both, the greater one first"""
        self.relations: dict[Ref, Message] = {}
        """what changes messages, from the same pages"""
        self.onwards: dict[Ref, list[Message]] = {}
        """everything, from pages that go on"""

    def fetch(self) -> None:
        """Begin; `is_whole` is set in the end."""
        if self._left:
            self._back(self._left.pop(), None)
        else:
            self.is_whole = True

    def goes_on(self) -> bool:
        """Ask again what a connection that has ended was asked; whether there is nothing more to ask."""
        connection = self._device.connection
        is_new = connection is not None and connection is not self._asked_on and connection.is_up
        if is_new and not self.is_whole:
            self._ask(*self._asking)
        return self.is_whole

    def place(self, ref: Ref) -> MessageId | None:
        """Where a message stands; of twins the greater."""
        told = self.told.get(ref)
        if told:
            return max(one.message.message_id for one in told)
        twins = self.onwards.get(ref)
        return max(one.message_id for one in twins) if twins else None

    def _back(self, conversation: ConversationId, before: MessageId | None) -> None:
        def answered(page: Page) -> None:
            for item in reversed(page.items):
                assert item.message.relation not in CHANGES
                self.told.setdefault(ref_of(item.message), []).append(Told(item.message, item.status))
            for change in page.relations:
                self.relations[ref_of(change)] = change
            if page.more:
                self._back(conversation, page.next)
            else:
                self._on(conversation, MessageId(0))

        self._ask(lambda request_id: History(request_id, conversation, before, None, PAGE), answered)

    def _on(self, conversation: ConversationId, after: MessageId) -> None:
        def answered(page: Page) -> None:
            for item in page.items:
                self.onwards.setdefault(ref_of(item.message), []).append(item.message)
            if page.more:
                self._on(conversation, page.next)
            else:
                self.fetch()

        self._ask(lambda request_id: History(request_id, conversation, None, after, PAGE), answered)

    def _ask(self, make: Callable[[int], Frame], answered: Callable[[Page], None]) -> None:
        connection = self._device.connection
        assert connection is not None
        self._asked_on, self._asking = connection, (make, answered)
        connection.ask(make, answered, self._refused)

    def _refused(self, error: Error) -> None:
        """One's own history is never refused: the others may be there."""
        name = REGISTRY[error.code].name
        self._device.simulation.broken("a history was refused", f"{self._device.name}: {name}")
        self.fetch()
