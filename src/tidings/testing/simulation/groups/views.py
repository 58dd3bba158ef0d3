"""Views: what one user is told of groups in the end: of their own all, of others that there are none."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tidings.protocol import errors, frames
from tidings.protocol.errors import REGISTRY
from tidings.protocol.frames import Conversations, Describe, Error, Frame, Tallies, Tally
from tidings.protocol.ids import ConversationId, MessageId

if TYPE_CHECKING:
    from tidings.testing.simulation.groups.connection import GroupConnection
    from tidings.testing.simulation.groups.device import GroupDevice

LISTED = 100
TALLIED = 64
Question = tuple[Callable[[int], Frame], Callable[[Any], None], Callable[[Error], None]]


class Views:
    """Fetched over a connection of a device, one question after the other."""

    def __init__(self, device: "GroupDevice", conversations: list[ConversationId]) -> None:
        self._device = device
        self._conversations = conversations
        self._questions: list[Question] = []
        self._asked_on: GroupConnection | None = None
        self.listed: list[frames.ConversationSummary] = []
        self.described: dict[ConversationId, frames.Conversation | None] = {}
        """None: the user is told that there is no such group"""
        self.tallies: dict[MessageId, frames.MessageTally] = {}
        """of the user's messages in the groups that they are in"""

    def fetch(self) -> None:
        """Begin."""
        self._questions.append(
            (lambda request_id: Conversations(request_id, None, LISTED), self._list, self._refused)
        )
        self._questions += [self._describing(conversation) for conversation in self._conversations]
        user, model = self._device.user.user_id, self._device.simulation.model
        for conversation in self._conversations:
            own = [
                message_id
                for said in model.said.values()
                if said.conversation == conversation and said.sender == user
                for message_id in said.message_ids
            ]
            if user in model.records[conversation].now.roles:
                self._questions += [
                    self._counting(conversation, own[first : first + TALLIED])
                    for first in range(0, len(own), TALLIED)
                ]

    def goes_on(self) -> bool:
        """Ask again what a connection that has ended was asked; whether there is nothing more to ask."""
        connection = self._device.connection
        if (
            self._questions
            and connection is not None
            and connection is not self._asked_on
            and connection.is_up
        ):
            self._ask(connection)
        return not self._questions

    # --- inside -----------------------------------------------------------------------------

    def _ask(self, connection: "GroupConnection") -> None:
        self._asked_on = connection
        make, answered, refused = self._questions[0]

        def then(work: Callable[[Any], None], frame: Any) -> None:
            work(frame)
            self._questions.pop(0)
            if self._questions:
                self._ask(connection)

        connection.ask(make, lambda frame: then(answered, frame), lambda frame: then(refused, frame))

    def _list(self, found: frames.ConversationList) -> None:
        self.listed += found.items

    def _describing(self, conversation: ConversationId) -> Question:
        def answered(found: frames.Conversation) -> None:
            self.described[conversation] = found

        def refused(error: Error) -> None:
            self.described[conversation] = None
            if error.code != errors.NO_SUCH_CONVERSATION.code:
                self._refused(error)

        return lambda request_id: Describe(request_id, conversation), answered, refused

    def _counting(self, conversation: ConversationId, own: list[MessageId]) -> Question:
        def answered(found: Tallies) -> None:
            self.tallies.update((item.message_id, item) for item in found.items)

        return lambda request_id: Tally(request_id, conversation, own), answered, self._refused

    def _refused(self, error: Error) -> None:
        device = self._device
        device.simulation.broken("a request was refused", f"{device.name}: {REGISTRY[error.code].name}")
