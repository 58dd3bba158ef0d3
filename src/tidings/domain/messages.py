"""Messages: from an accepted Send to durable rows.

A message goes to its conversation's log and to the inbox of every recipient in one batch.
Only when that is durable is the sender answered, the entry offered to whoever is connected,
and the row of `sends` written, by which a repeated Send is recognised: losing that one row
costs a twin, never a message.

spec §6.3
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tidings.domain.accounts import User
from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit, refusal
from tidings.domain.conversations import Conversation, Conversations
from tidings.domain.erasing import expiry_of
from tidings.domain.inboxes import Entry, inbox_row
from tidings.domain.log import row_of
from tidings.domain.relations import NAMING, Related, Relations, check_shape, related_row
from tidings.domain.requests import Requests
from tidings.domain.router import Router
from tidings.protocol.codec import encode_message
from tidings.protocol.errors import GROUP_CHANGED, INVALID, NO_SUCH_USER, TOO_LARGE, ProtocolError
from tidings.protocol.frames import CHANGES, Message, Relation, Send, Sent
from tidings.protocol.ids import CLIENT_ID_PREFIX_BYTES as PREFIX
from tidings.protocol.ids import ClientId, DeviceId, EntryId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store, StoreError, Write
from tidings.store.schema import INBOX, MESSAGES, SENDS, SendRow

Answer = Callable[[Sent | ProtocolError], None]
"""Called once with what the sender of a message is told. Must not raise."""


class Messages:
    """Accepts messages."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        id_clock: IdClock,
        conversations: Conversations,
        relations: Relations,
        requests: Requests,
        router: Router,
        limits: Limits,
    ) -> None:
        self._store = store
        self._commit = commit
        self._clock = clock
        self._ids = id_clock
        self._conversations = conversations
        self._relations = relations
        self._requests = requests
        self._router = router
        self._limits = limits
        self._unsettled: dict[tuple[DeviceId, ClientId], _Unsettled] = {}
        """accepted, and not yet to be found in `sends`"""
        self._preparing: dict[tuple[DeviceId, ClientId], asyncio.Future[None]] = {}
        """not accepted yet: something is looked up first"""

    def is_ready(self, device: DeviceId, conversation: Conversation, send: Send) -> bool:
        """Whether `accept` may be called at once; else `accept_slowly`."""
        if send.attempt > 1:
            # On its way to the disk it is not in `sends` yet, and would be by the time of an answer.
            return (device, send.client_id) in self._unsettled
        return (
            not send.relation and not conversation.pending and conversation.bucket_lasts(self._ids.now_ms())
        )

    async def accept_slowly(
        self, user: User, device: DeviceId, conversation: Conversation, send: Send, answer: Answer
    ) -> None:
        """As `accept`, for what needs the store first. Raises ProtocolError.

        (store_…, and what `Relations.check` and `Requests.announce` raise)
        """
        name = (device, send.client_id)
        while (earlier := self._preparing.get(name)) is not None:
            await asyncio.wait([earlier])  # the same, from a connection that is gone
        mine = self._preparing[name] = asyncio.get_running_loop().create_future()
        try:
            if name in self._unsettled:
                self.accept(user, device, conversation, send, answer)
                return
            sent = await self._earlier(device, send)
            if sent is not None:
                answer(sent)
                return
            self._check(conversation, send)
            now_ms = self._ids.now_ms()
            if not conversation.bucket_lasts(now_ms):
                await self._conversations.prepare_bucket(conversation, now_ms)
            if send.relation in NAMING or conversation.pending:
                await self._accept_in_turn(user, device, conversation, send, answer)
            else:
                self.accept(user, device, conversation, send, answer)
        finally:
            del self._preparing[name]
            mine.set_result(None)

    async def _accept_in_turn(
        self, user: User, device: DeviceId, conversation: Conversation, send: Send, answer: Answer
    ) -> None:
        """What depends on what is there waits until that is durable, and others wait for it."""
        settled = asyncio.Event()

        def answered(outcome: Sent | ProtocolError) -> None:
            settled.set()
            answer(outcome)

        async with conversation.lock:
            related = None
            if send.relation in NAMING:
                related = await self._relations.check(conversation, user.user_id, send)
            if user.user_id in conversation.pending:
                # By writing oneself one lets in.
                await self._requests.answer_held(conversation, user.user_id, accept=True)
            elif conversation.pending and send.relation not in CHANGES:
                await self._requests.announce(conversation, user)
            self.accept(user, device, conversation, send, answered, related)
            await settled.wait()
            if conversation.pending and send.relation == Relation.DELETE:
                # It is deleted whatever becomes of this; the next change of the request puts it right.
                with suppress(ProtocolError, StoreError):
                    await self._requests.withdrawn(conversation)

    def accept(
        self,
        user: User,
        device: DeviceId,
        conversation: Conversation,
        send: Send,
        answer: Answer,
        related: Related | None = None,
    ) -> None:
        """Take a message; `answer` gets Sent once it is durable. Raises ProtocolError.

        The caller has checked that the sender is a member. A repeat of what is on its way
        to the disk waits for the same outcome.
        """
        name = (device, send.client_id)
        earlier = self._unsettled.get(name)
        if earlier is not None:
            earlier.repeated(answer)
            return
        self._check(conversation, send)
        self._commit.admit()
        if user.messages_per_day:
            user.count_message(self._ids.now_ms())
        message_id = MessageId(self._ids.next())
        message = _message(message_id, self._clock.wall_ms(), user, device, conversation, send)
        if related is not None and related.expires_at is not None:
            message.expires_at = min(message.expires_at or related.expires_at, related.expires_at)
        recipients = conversation.others(user.user_id)
        hidden_from: list[UserId] = []
        if conversation.blockers or conversation.pending:
            hidden_from = [member for member in recipients if member in conversation.blockers]
            shut = conversation.blockers | conversation.pending
            recipients = [member for member in recipients if member not in shut]
        if len(user.devices) > 1:
            recipients.append(user.user_id)
        entry = _entry(message, send)
        conversation.newest = message_id
        unsettled = self._unsettled[name] = _Unsettled(answer)

        def settled(error: StoreError | None) -> None:
            if error is not None:
                del self._unsettled[name]
                unsettled.settle(refusal(error))
                return
            self._commit.add_soon(Put(SENDS, _send_row(message), message_id), lambda _: self._forget(name))
            try:
                unsettled.settle(Sent(send.client_id, message_id, created_at=message.created_at))
            finally:
                self._router.deliver(entry, recipients)

        rows: list[Write] = [Put(MESSAGES, row_of(message, conversation.bucket, hidden_from), message_id)]
        for member in recipients:
            rows.append(Put(INBOX, inbox_row(member, entry, message.expires_at), entry.entry_id))
        if related is not None:
            if send.relation in CHANGES:
                rows.append(related_row(message, related.bucket, hidden_from))
            rows += related.erases
        if message.expires_at is not None:
            rows.append(expiry_of(message))
        self._commit.add(rows, settled, size=len(rows) * entry.size)

    async def _earlier(self, device: DeviceId, send: Send) -> Sent | None:
        """The answer to an earlier attempt, if there was one that is settled."""
        if send.attempt == 1:
            return None
        row = await self._store.get(SENDS, (device, *_split(send.client_id)))
        return None if row is None else Sent(send.client_id, row.message_id, created_at=row.created_at)

    def _check(self, conversation: Conversation, send: Send) -> None:
        limits = self._limits
        if send.version < conversation.removal_at:
            raise ProtocolError(GROUP_CHANGED)
        if conversation.gone:
            raise ProtocolError(NO_SUCH_USER, "this account was deleted")
        if len(send.content) > limits.content_bytes:
            raise ProtocolError(TOO_LARGE, f"content is over {limits.content_bytes} bytes")
        if len(send.content_type) > limits.content_type_chars:
            raise ProtocolError(TOO_LARGE, f"content_type is over {limits.content_type_chars} characters")
        if not send.content_type.isprintable():
            raise ProtocolError(INVALID, "content_type has a character that cannot be shown")
        if send.relation or send.relates_to is not None or send.target or not send.content_type:
            check_shape(send)
        if send.envelopes:
            self._check_envelopes(send.envelopes)
        if send.expires_at is not None:
            left_ms = send.expires_at - self._clock.wall_ms()
            if left_ms <= 0:
                raise ProtocolError(INVALID, "expires_at is in the past")
            if left_ms > limits.expires_s * 1000:
                raise ProtocolError(INVALID, "expires_at is too far away: is the clock right?")

    def _check_envelopes(self, envelopes: dict[DeviceId, bytes]) -> None:
        limits = self._limits
        if len(envelopes) > limits.envelopes:
            raise ProtocolError(TOO_LARGE, f"more than {limits.envelopes} envelopes")
        if any(len(envelope) > limits.envelope_bytes for envelope in envelopes.values()):
            raise ProtocolError(TOO_LARGE, f"an envelope is over {limits.envelope_bytes} bytes")

    def _forget(self, name: tuple[DeviceId, ClientId]) -> None:
        del self._unsettled[name]


class _Unsettled:
    """A message on its way to the disk, and who waits to hear of it."""

    __slots__ = ("_answers", "_outcome")

    def __init__(self, answer: Answer) -> None:
        self._answers = [answer]
        self._outcome: Sent | ProtocolError | None = None

    def repeated(self, answer: Answer) -> None:
        """The same Send came again: it gets the same answer."""
        if self._outcome is None:
            self._answers.append(answer)
        else:
            answer(self._outcome)

    def settle(self, outcome: Sent | ProtocolError) -> None:
        self._outcome = outcome
        for answer in self._answers:
            answer(outcome)
        self._answers.clear()


def _message(
    message_id: MessageId,
    created_at: int,
    user: User,
    device: DeviceId,
    conversation: Conversation,
    send: Send,
) -> Message:
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


def _entry(message: Message, send: Send) -> Entry:
    return Entry(
        EntryId(message.message_id),
        message.conversation_id,
        message.message_id,
        message.sender_id,
        message.sender_device,
        encode_message(message),
        send.envelopes,
    )


def _send_row(message: Message) -> SendRow:
    prefix, counter = _split(message.client_id)
    return SendRow(message.sender_device, prefix, counter, message.message_id, message.created_at)


def _split(client_id: ClientId) -> tuple[bytes, int]:
    """The random part of a client id and its counter: partition and place in `sends`."""
    return client_id[:PREFIX], int.from_bytes(client_id[PREFIX:], "big")
