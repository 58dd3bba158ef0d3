"""Asides: what devices say to each other about keys: ASK, KEYS and SENDER_KEY.

They are accepted once, as messages are, and stand in inboxes, but nowhere else: in no log, under no target,
and no watermark passes them. They go to whom they concern and nobody else: an ASK to the author of the
message that it is about, KEYS and SENDER_KEY to those whose devices they have envelopes for.

spec §6.16
"""

from functools import partial
from typing import NamedTuple

from tidings.domain.accepting import entry_of, message_of
from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.inboxes import KEYS_ENTRY, Entry, inbox_row
from tidings.domain.relations import Related
from tidings.domain.router import Router
from tidings.domain.sealing import Sealing
from tidings.domain.users import User
from tidings.protocol.errors import INVALID, TOO_LARGE, ProtocolError
from tidings.protocol.frames import Relation, Send, Sent
from tidings.protocol.ids import DeviceId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Write
from tidings.store.schema import INBOX


class _Given(NamedTuple):
    entry: Entry
    sent: Sent
    expires_at: int | None


class Asides:
    """Gives them to whom they concern."""

    def __init__(
        self,
        commit: GroupCommit,
        clock: Clock,
        ids: IdClock,
        sealing: Sealing,
        router: Router,
        limits: Limits,
    ) -> None:
        self._commit = commit
        self._clock = clock
        self._ids = ids
        self._sealing = sealing
        self._router = router
        self._limits = limits

    async def recipients(
        self, conversation: Conversation, user: UserId, send: Send, related: Related | None
    ) -> tuple[list[UserId], dict[DeviceId, bytes]]:
        """Whom an aside concerns, and the envelopes that it has for them.

        Raises ProtocolError (invalid, too_large), StoreError.
        """
        most = self._limits.key_request_bytes
        if len(send.content) > most:
            raise ProtocolError(TOO_LARGE, f"the content of ASK and KEYS has at most {most} bytes")
        if send.relation == Relation.ASK:
            assert related is not None
            if send.envelopes:
                raise ProtocolError(INVALID, "an ASK has no envelopes")
            # To an author who has left the group does not exist any more; nor could they answer.
            concerned = [related.author] if conversation.has_member(related.author) else []
            envelopes = {}
        else:
            if not send.envelopes:
                raise ProtocolError(INVALID, "KEYS and SENDER_KEY have envelopes")
            owners = await self._sealing.owners(conversation, send.envelopes)
            if related is not None:
                # Who was no member when it was written has no right to its key.
                owners = {
                    device: owner
                    for device, owner in owners.items()
                    if conversation.entitled(owner, related.version)
                }
            concerned = list(dict.fromkeys(owners.values()))
            envelopes = {device: send.envelopes[device] for device in owners}
        # As with messages, who is shut out is not told.
        shut = (conversation.blockers | conversation.pending) - {user}
        return [member for member in concerned if member not in shut], envelopes

    async def give(
        self,
        user: User,
        device: DeviceId,
        conversation: Conversation,
        send: Send,
        related: Related | None,
        recipients: list[UserId],
        envelopes: dict[DeviceId, bytes],
    ) -> Sent:
        """Write an aside to inboxes; durable on return, and told. Raises ProtocolError (overloaded, …)."""
        self._commit.admit()
        self._ids.observe(send.target)
        if user.messages_per_day:
            user.count_message(self._ids.now_ms())
        while True:
            given = self._given(user, device, conversation, send, related, envelopes)
            rows: list[Write] = [
                Put(INBOX, inbox_row(member, given.entry, given.expires_at), given.entry.entry_id)
                for member in recipients
            ]
            # What came too late for readers is written once more; devices drop what they have.
            if await self._commit.write(rows, partial(self._router.deliver, given.entry, recipients)):
                return given.sent

    def _given(
        self,
        user: User,
        device: DeviceId,
        conversation: Conversation,
        send: Send,
        related: Related | None,
        envelopes: dict[DeviceId, bytes],
    ) -> _Given:
        message_id = MessageId(self._ids.next())
        message = message_of(message_id, self._clock.wall_ms(), user, device, conversation, send)
        message.expires_at = min(
            (at for at in (send.expires_at, related and related.expires_at) if at is not None), default=None
        )
        message.silent = True
        entry = entry_of(message, envelopes, KEYS_ENTRY)
        return _Given(entry, Sent(send.client_id, message_id, [], message.created_at), message.expires_at)
