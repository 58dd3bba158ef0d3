"""A message that is being accepted: what is held of it until it is durable, and what is written of it.

The leaves of `tidings.domain.messages`, which decides.

spec §6.3
"""

from collections.abc import Callable
from typing import NamedTuple

from tidings.domain.accounts import User
from tidings.domain.conversation import Conversation
from tidings.domain.erasing import expiry_of
from tidings.domain.inboxes import MESSAGE_ENTRY, Entry, inbox_row
from tidings.domain.log import row_of
from tidings.domain.relations import Related, related_row
from tidings.protocol.codec import encode_message
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import CHANGES, DevicesChanged, Message, Send, Sent
from tidings.protocol.ids import DeviceId, EntryId, MessageId, UserId
from tidings.store.contract import Put, PutEach, Raise, Write
from tidings.store.schema import HEADS, INBOX, MESSAGES, HeadRow

FEW = 5
"""copies that are encoded one by one as fast as they are put together from pieces"""

Outcome = Sent | DevicesChanged | ProtocolError
Answer = Callable[[Outcome], None]
"""Called once with what the sender of a message is told. Must not raise."""


class Accepting(NamedTuple):
    """What is being accepted."""

    user: User
    device: DeviceId
    conversation: Conversation
    send: Send
    related: Related | None
    is_in_turn: bool
    """whether its conversation's lock is held until it is settled"""
    meets: bool
    """whether something is still to be done once it is durable, before repeats are recognised"""


class Unsettled:
    """A message on its way to the disk, and who waits to hear of it."""

    __slots__ = ("_answers", "_outcome")

    def __init__(self, answer: Answer) -> None:
        self._answers = [answer]
        self._outcome: Outcome | None = None

    def repeated(self, answer: Answer) -> None:
        """The same Send came again: it gets the same answer."""
        if self._outcome is None:
            self._answers.append(answer)
        else:
            answer(self._outcome)

    def settle(self, outcome: Outcome) -> None:
        """It is decided: whoever waits is told."""
        self._outcome = outcome
        for answer in self._answers:
            answer(outcome)
        self._answers.clear()


def rows_of(
    accepting: Accepting,
    message: Message,
    entry: Entry,
    recipients: list[UserId],
    hidden_from: list[UserId],
    shares: dict[UserId, dict[DeviceId, bytes]],
) -> list[Write]:
    """All that is written of a message, in one batch. `shares`: the envelopes that are each member's."""
    _, _, conversation, send, related, *_ = accepting
    row = row_of(message, conversation.bucket, hidden_from)
    if conversation.pending:
        row.envelopes = send.envelopes  # no inbox keeps them for who may still let the sender in
    rows: list[Write] = [Put(MESSAGES, row, message.message_id)]
    if send.scheme > conversation.stored_scheme:
        rows.append(Raise(HEADS, HeadRow(conversation.conversation_id, scheme=send.scheme)))
    if conversation.group is not None and conversation.group.fanout.is_read:
        rows.append(Raise(HEADS, HeadRow(conversation.conversation_id, newest=message.message_id)))
    if shares or len(recipients) <= FEW:
        for member in recipients:
            row_of_member = inbox_row(member, entry, message.expires_at, shares.get(member))
            rows.append(Put(INBOX, row_of_member, entry.entry_id))
    else:
        row_of_each = inbox_row(recipients[0], entry, message.expires_at)
        rows.append(PutEach(INBOX, row_of_each, "user_id", recipients, entry.entry_id))
    if related is not None:
        if send.relation in CHANGES:
            rows.append(related_row(message, related.bucket, hidden_from))
        rows += related.erases
    if message.expires_at is not None:
        rows.append(expiry_of(message))
    return rows


def message_of(
    message_id: MessageId,
    created_at: int,
    user: User,
    device: DeviceId,
    conversation: Conversation,
    send: Send,
) -> Message:
    """A Send as it stands once it is accepted."""
    return Message(
        message_id,
        conversation.conversation_id,
        user.user_id,
        device,
        send.client_id,
        conversation.version,
        send.scheme,
        send.content_type,
        send.content,
        created_at,
        send.relates_to,
        send.expires_at,
        send.silent,
        send.relation,
        send.target,
    )


def entry_of(message: Message, envelopes: dict[DeviceId, bytes], kind: int = MESSAGE_ENTRY) -> Entry:
    """What recipients' inboxes get of it."""
    return Entry(
        EntryId(message.message_id),
        message.conversation_id,
        message.message_id,
        message.sender_id,
        message.sender_device,
        encode_message(message),
        envelopes,
        kind,
    )
