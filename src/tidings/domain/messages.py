"""Messages: from an accepted Send to durable rows, and back as history.

A message goes to its conversation's log and to the inbox of every recipient in one batch.
Only when that is durable is the sender answered, the entry offered to whoever is connected,
and the row of `sends` written, by which a repeated Send is recognised: losing that one row
costs a twin, never a message.

spec §6.3, §6.5
"""

from collections.abc import AsyncIterator, Callable

from tidings.domain.accounts import User
from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit, refusal
from tidings.domain.conversations import Conversation, Conversations
from tidings.domain.inboxes import CHUNK_ROWS, MESSAGE_ENTRY, Entry, bucket_of
from tidings.domain.receipts import status_of
from tidings.domain.router import Router
from tidings.protocol import ids
from tidings.protocol.codec import encode_message
from tidings.protocol.errors import GROUP_CHANGED, INVALID, TOO_LARGE, ProtocolError
from tidings.protocol.frames import History, HistoryItem, Message, Page, Send, Sent
from tidings.protocol.ids import CLIENT_ID_PREFIX_BYTES as PREFIX
from tidings.protocol.ids import ClientId, DeviceId, EntryId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store, StoreError, Write
from tidings.store.schema import (
    BUCKETS,
    INBOX,
    MESSAGES,
    SENDS,
    BucketRow,
    InboxRow,
    MessageRow,
    SendRow,
)

Answer = Callable[[Sent | ProtocolError], None]
"""Called once with what the sender of a message is told. Must not raise."""

BUCKETS_SCANNED = 64
"""buckets that one page of history looks into"""


class Messages:
    """Accepts messages and serves them again."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        id_clock: IdClock,
        conversations: Conversations,
        router: Router,
        limits: Limits,
    ) -> None:
        self._store = store
        self._commit = commit
        self._clock = clock
        self._ids = id_clock
        self._conversations = conversations
        self._router = router
        self._limits = limits
        self._unsettled: dict[tuple[DeviceId, ClientId], _Unsettled] = {}
        """accepted, and not yet to be found in `sends`"""

    def is_ready(self, device: DeviceId, conversation: Conversation, send: Send) -> bool:
        """Whether `accept` may be called at once; else `prepare` comes first."""
        if send.attempt > 1:
            # On its way to the disk it is not in `sends` yet, and would be by the time of an answer.
            return (device, send.client_id) in self._unsettled
        return conversation.bucket_lasts(self._ids.now_ms())

    async def prepare(self, device: DeviceId, conversation: Conversation, send: Send) -> Sent | None:
        """Do what needs the store before a message can be accepted.

        Returns the answer if an earlier attempt was accepted. Raises ProtocolError (store_…).
        """
        if send.attempt > 1:
            earlier = await self._earlier(device, send.client_id)
            if earlier is not None:
                return earlier
        now_ms = self._ids.now_ms()
        if not conversation.bucket_lasts(now_ms):
            await self._conversations.prepare_bucket(conversation, now_ms)
        return None

    def accept(
        self, user: User, device: DeviceId, conversation: Conversation, send: Send, answer: Answer
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
        message_id = MessageId(self._ids.next())
        message = _message(message_id, self._clock.wall_ms(), user, device, conversation, send)
        recipients = conversation.others(user.user_id)
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

        rows = _rows(message, conversation.bucket, entry, recipients)
        self._commit.add(rows, settled, size=len(rows) * entry.size)

    async def history(self, conversation: Conversation, viewer: UserId, query: History) -> Page:
        """A page of a conversation, in ascending order. Raises ProtocolError (invalid)."""
        if query.before is not None and query.after is not None:
            raise ProtocolError(INVALID, "either before or after")
        limit = min(query.limit, self._limits.page_messages)
        rows, more = await self._page(conversation, query, limit)
        if query.after is None:
            rows.reverse()
        items = [
            HistoryItem(_of_row(row), status_of(conversation, row.sender_id, viewer, row.message_id))
            for row in rows
            if viewer not in row.hidden_from
        ]
        return Page(query.request_id, items, more)

    async def _page(
        self, conversation: Conversation, query: History, limit: int
    ) -> tuple[list[MessageRow], bool]:
        """Rows in the direction that was asked for, and whether there are more.

        Backwards from `before` or the end, onwards from `after`. Cut at `page_bytes`, but never to
        nothing, and read a few at a time, so that large messages do not come by the hundred.
        """
        found: list[MessageRow] = []
        size = 0
        async for row in self._walk(conversation, query):
            if len(found) == limit or (found and size + len(row.content) > self._limits.page_bytes):
                return found, True
            found.append(row)
            size += len(row.content)
        return found, False

    async def _walk(self, conversation: Conversation, query: History) -> AsyncIterator[MessageRow]:
        conversation_id = conversation.conversation_id
        onwards = query.after is not None
        buckets = await self._store.range(BUCKETS, (conversation_id,), limit=BUCKETS_SCANNED)
        if onwards:
            buckets = [bucket for bucket in buckets if _ends(bucket) > (query.after or 0)]
            buckets.reverse()
        for bucket in buckets:
            # The table's own order is newest first: what is older comes after.
            after = None if query.before is None else (query.before,)
            before = None if query.after is None else (query.after,)
            while True:
                rows = await self._store.range(
                    MESSAGES,
                    (conversation_id, bucket.bucket),
                    after=after,
                    before=before,
                    limit=CHUNK_ROWS,
                    backwards=onwards,
                )
                for row in rows:
                    yield row
                if len(rows) < CHUNK_ROWS:
                    break
                if onwards:
                    before = (rows[-1].message_id,)
                else:
                    after = (rows[-1].message_id,)

    async def _earlier(self, device: DeviceId, client_id: ClientId) -> Sent | None:
        row = await self._store.get(SENDS, (device, *_split(client_id)))
        return None if row is None else Sent(client_id, row.message_id, created_at=row.created_at)

    def _check(self, conversation: Conversation, send: Send) -> None:
        limits = self._limits
        if send.version < conversation.removal_at:
            raise ProtocolError(GROUP_CHANGED)
        if len(send.content) > limits.content_bytes:
            raise ProtocolError(TOO_LARGE, f"content is over {limits.content_bytes} bytes")
        if len(send.content_type) > limits.content_type_chars:
            raise ProtocolError(TOO_LARGE, f"content_type is over {limits.content_type_chars} characters")
        if send.envelopes:
            self._check_envelopes(send.envelopes)
        if send.expires_at is not None and send.expires_at <= self._clock.wall_ms():
            raise ProtocolError(INVALID, "expires_at is in the past")

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


def _rows(message: Message, bucket: int, entry: Entry, recipients: list[UserId]) -> list[Write]:
    """The message in its log, and one entry in each recipient's inbox."""
    rows: list[Write] = [Put(MESSAGES, _to_row(message, bucket), message.message_id)]
    inbox_bucket = bucket_of(entry.entry_id)
    for user in recipients:
        row = InboxRow(
            user,
            inbox_bucket,
            entry.entry_id,
            MESSAGE_ENTRY,
            entry.conversation_id,
            entry.message_id,
            entry.sender_id,
            entry.sender_device,
            entry.payload,
            entry.envelopes,
        )
        rows.append(Put(INBOX, row, entry.entry_id))
    return rows


def _to_row(message: Message, bucket: int) -> MessageRow:
    return MessageRow(
        message.conversation_id,
        bucket,
        message.message_id,
        message.sender_id,
        message.sender_device,
        message.client_id,
        message.version,
        message.scheme,
        message.content_type,
        message.content,
        message.created_at,
        message.relates_to,
        message.expires_at,
        message.silent,
    )


def _of_row(row: MessageRow) -> Message:
    return Message(
        row.message_id,
        row.conversation_id,
        row.sender_id,
        row.sender_device,
        row.client_id,
        row.version,
        row.scheme,
        row.content_type,
        row.content,
        row.created_at,
        row.relates_to,
        row.expires_at,
        row.silent,
    )


def _send_row(message: Message) -> SendRow:
    prefix, counter = _split(message.client_id)
    return SendRow(message.sender_device, prefix, counter, message.message_id, message.created_at)


def _split(client_id: ClientId) -> tuple[bytes, int]:
    """The random part of a client id and its counter: partition and place in `sends`."""
    return client_id[:PREFIX], int.from_bytes(client_id[PREFIX:], "big")


def _ends(bucket: BucketRow) -> int:
    """The first id that no longer belongs to a bucket."""
    return ids.first_at(ids.EPOCH_MS + (bucket.bucket + bucket.length_s) * 1000)
