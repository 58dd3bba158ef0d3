"""Messages: from an accepted Send to durable rows.

A message goes to its conversation's log and to the inbox of every recipient in one batch.
Only when that is durable is the sender answered, the entry offered to whoever is connected,
and the row of `sends` written, by which a repeated Send is recognised: losing that one row
costs a twin, never a message.

What became durable too late for readers (`tidings.domain.peers`) is taken again under a fresh id, with
the rights of then, and its old rows are voided, before the sender is answered.

spec §6.3
"""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import NamedTuple

from tidings.domain.accepting import (
    Accepting,
    Answer,
    Outcome,
    Unsettled,
    entry_of,
    message_of,
    rows_of,
)
from tidings.domain.accounts import User
from tidings.domain.asides import Asides
from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit, refusal
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.fanout import Fanout
from tidings.domain.latecomers import Latecomer, Latecomers
from tidings.domain.peers import Peers
from tidings.domain.relations import (
    NAMING,
    Related,
    Relations,
    check_shape,
    check_writer,
)
from tidings.domain.requests import Requests
from tidings.domain.router import Router
from tidings.domain.sealing import Sealing, check_scheme
from tidings.domain.sends import SendName, Sends
from tidings.domain.twins import Twins
from tidings.domain.users import Users
from tidings.protocol.errors import (
    DRAINING,
    GROUP_CHANGED,
    INTERNAL,
    INVALID,
    NO_SUCH_USER,
    OVERLOADED,
    TOO_LARGE,
    ProtocolError,
)
from tidings.protocol.frames import CHANGES, UNSHOWN, DevicesChanged, Relation, Send, Sent
from tidings.protocol.ids import DeviceId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import StoreError

WAITED_S = 1.0
"""An attempt that waited longer for its turn looks whether another node has taken a repeat of it: none
does sooner (see `server/cluster.py`)."""


PREPARED_S = 0.2
"""for how long at least what is known of a conversation is to hold when more is looked up for a message"""


class Turn(NamedTuple):
    """What there is to be known of an attempt that has to wait."""

    since_s: float
    """since when it may have been waiting here, by the loop's clock"""
    is_over: Callable[[], bool]
    """whether nobody hears the answer any more: the device has gone, and repeats it"""


class Messages:
    """Accepts messages."""

    def __init__(
        self,
        commit: GroupCommit,
        clock: Clock,
        id_clock: IdClock,
        conversations: Conversations,
        sends: Sends,
        latecomers: Latecomers,
        twins: Twins,
        relations: Relations,
        requests: Requests,
        users: Users,
        sealing: Sealing,
        asides: Asides,
        router: Router,
        limits: Limits,
        peers: Peers,
    ) -> None:
        self._users = users
        self._sealing = sealing
        self._asides = asides
        self._peers = peers
        self._commit = commit
        self._clock = clock
        self._ids = id_clock
        self._conversations = conversations
        self._relations = relations
        self._requests = requests
        self._router = router
        self._limits = limits
        self._sends = sends
        self._latecomers = latecomers
        self._twins = twins
        self._unsettled: dict[SendName, Unsettled] = {}
        """accepted, and not yet to be found in `sends`"""
        self._again: set[asyncio.Task[None]] = set()
        """messages that came too late, and are being taken again"""
        self._preparing: dict[SendName, asyncio.Future[None]] = {}
        """not accepted yet: something is looked up first"""

    def is_ready(self, user: User, device: DeviceId, conversation: Conversation, send: Send) -> bool:
        """Whether `accept` may be called at once; else `accept_slowly`."""
        if send.attempt > 1:
            # On its way to the disk it is not in `sends` yet, and would be by the time of an answer.
            name = (device, send.client_id)
            return name in self._unsettled and name not in self._preparing
        return (
            not send.relation
            and not conversation.pending
            and (send.after <= conversation.newest or not self._peers.are_there)
            and (send.version <= conversation.version or not self._peers.are_there)
            and conversation.bucket_lasts(self._ids.now_ms())
            and self._users.is_fresh(user)
            and not self._peers.was_held_up
            and (not send.scheme or self._sealing.is_ready(conversation, send))
        )

    async def accept_slowly(
        self,
        user: User,
        device: DeviceId,
        conversation: Conversation,
        send: Send,
        answer: Answer,
        turn: Turn,
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
            if send.attempt > 1 or self._peers.was_held_up:
                self._check_heard(turn)
                turn = turn._replace(since_s=asyncio.get_running_loop().time())
                sent = await self._sends.earlier(name, send.attempt)
                if sent is not None:
                    answer(await self._once_more(conversation, device, send, sent))
                    return
            self._check(conversation, send)
            if send.after > conversation.newest or send.version > conversation.version:
                await self._conversations.anew(conversation.conversation_id)  # another node accepted it
            await self._users.user(user.user_id)  # so that what we hold of them is fresh
            await self._prepare(conversation)
            if send.relation in UNSHOWN:
                await self._accept_aside(user, device, conversation, send, answer, turn)
            elif send.relation in NAMING or conversation.pending:
                await self._accept_in_turn(user, device, conversation, send, answer, turn)
            elif (outcome := await self._instead(conversation, name, send, turn)) is not None:
                answer(outcome)
            else:
                self._check_prepared(conversation)
                self.accept(user, device, conversation, send, answer)
        finally:
            del self._preparing[name]
            mine.set_result(None)

    async def _accept_in_turn(
        self,
        user: User,
        device: DeviceId,
        conversation: Conversation,
        send: Send,
        answer: Answer,
        turn: Turn,
    ) -> None:
        """What depends on what is there waits until that is durable, and others wait for it."""
        settled: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        meets = self._peers.are_there

        def answered(outcome: Outcome) -> None:
            settled.set_result(outcome)
            if not meets:
                answer(outcome)

        name = (device, send.client_id)
        async with conversation.lock:
            await self._prepare(conversation)  # the lock may have taken long
            related = None
            if send.scheme:
                # First, so that what is refused is announced to nobody.
                changed = await self._sealing.learn(conversation, send)
                if changed is not None:
                    answer(changed)
                    return
                self._sealing.check(conversation, device, send)
            if send.relation in NAMING:
                related = await self._relations.check(conversation, user.user_id, send)
            if user.user_id in conversation.pending:
                # By writing oneself one lets in.
                await self._requests.answer_held(conversation, user.user_id, accept=True)
            elif conversation.pending and send.relation not in CHANGES:
                await self._requests.announce(conversation, user)
            instead = await self._instead(conversation, name, send, turn)
            if instead is not None:
                answer(instead)
                return
            if name in self._unsettled:
                # An earlier attempt is on its way, which is nobody's turn and may need the lock.
                self.accept(user, device, conversation, send, answer)
                return
            self._check_prepared(conversation)
            self.accept(user, device, conversation, send, answered, related, is_in_turn=True, meets=meets)
            outcome = await settled
            if meets:
                if isinstance(outcome, Sent):
                    await self._meet_others(conversation, name, send, outcome)
                answer(outcome)
            if conversation.pending and send.relation == Relation.DELETE:
                # It is deleted whatever becomes of this; the next change of the request puts it right.
                with suppress(ProtocolError, StoreError):
                    await self._requests.withdrawn(conversation)

    async def _accept_aside(
        self,
        user: User,
        device: DeviceId,
        conversation: Conversation,
        send: Send,
        answer: Answer,
        turn: Turn,
    ) -> None:
        """What devices say about the key of a message; repeats are recognised as those of messages are."""
        name = (device, send.client_id)
        async with conversation.lock:  # so that the message is not erased meanwhile
            related = None
            if send.relation in NAMING:
                related = await self._relations.check(conversation, user.user_id, send)
            recipients, envelopes = await self._asides.recipients(conversation, user.user_id, send, related)
            sent = await self._meanwhile(name, send, turn)
            if sent is None:
                self._unsettled[name] = Unsettled(answer)
                try:
                    sent = await self._asides.give(
                        user, device, conversation, send, related, recipients, envelopes
                    )
                except BaseException as error:
                    unsettled = self._unsettled.pop(name)
                    if not isinstance(error, ProtocolError):
                        raise
                    unsettled.settle(error)
                    return
                self._note(name, send.attempt, sent)
                self._unsettled[name].settle(sent)
            else:
                answer(sent)

    async def _meet_others(self, conversation: Conversation, name: SendName, send: Send, sent: Sent) -> None:
        """What another node did at the same time, with no lock between: see to it that both hold.

        Raises ProtocolError, StoreError. Then it is not noted that the message was accepted: the sender
        repeats it, it becomes a twin, and this is done again.
        """
        try:
            if conversation.pending:
                await self._requests.let_in_elsewhere(conversation)
            if send.relation in CHANGES:
                await self._relations.give_way(conversation, send)
        except BaseException:
            self._forget(name)
            raise
        if name in self._unsettled:  # else another node has accepted it, and noted that
            self._noted(conversation, name, send.attempt, sent)

    def accept(
        self,
        user: User,
        device: DeviceId,
        conversation: Conversation,
        send: Send,
        answer: Answer,
        related: Related | None = None,
        *,
        is_in_turn: bool = False,
        meets: bool = False,
    ) -> None:
        """Take a message; `answer` gets Sent once it is durable. Raises ProtocolError.

        The caller has checked that the sender is a member. A repeat of what is on its way
        to the disk waits for the same outcome. `is_in_turn`: the caller holds the conversation's lock
        until the answer. `meets`: the caller sees to it that repeats are recognised, since the message
        is not whole when it is durable.
        """
        name = (device, send.client_id)
        earlier = self._unsettled.get(name)
        if earlier is not None:
            earlier.repeated(answer)
            return
        if conversation.group is not None:
            check_writer(conversation, conversation.group, user.user_id, send)
        self._check(conversation, send)
        if send.scheme:
            self._sealing.check(conversation, device, send)
        self._commit.admit()
        # They may be of a node whose clock is ahead. What nobody accepted moves nothing.
        self._ids.observe(max(send.target, min(send.after, conversation.newest)))
        if user.messages_per_day:
            user.count_message(self._ids.now_ms())
        unsettled = self._unsettled[name] = Unsettled(answer)
        try:
            accepting = Accepting(user, device, conversation, send, related, is_in_turn, meets)
            self._commit_message(accepting, name, unsettled)
        except BaseException:
            del self._unsettled[name]
            raise

    def _commit_message(self, accepting: Accepting, name: SendName, unsettled: Unsettled) -> None:
        """Write a message under a fresh id, and settle it once that is durable."""
        user, device, conversation, send, related, _, meets = accepting
        message_id = MessageId(self._ids.next())
        message = message_of(message_id, self._clock.wall_ms(), user, device, conversation, send)
        if related is not None and related.expires_at is not None:
            message.expires_at = min(message.expires_at or related.expires_at, related.expires_at)
        recipients = conversation.recipients(user.user_id)
        hidden_from: list[UserId] = []
        if conversation.blockers or conversation.pending:
            hidden_from = [member for member in recipients if member in conversation.blockers]
            shut = conversation.blockers | conversation.pending
            recipients = [member for member in recipients if member not in shut]
        group = conversation.group
        # (The sender's own device is not always among them: it may have been signed out on another node.)
        if any(other != device for other in user.devices) and (group is None or group.fanout.writes_copies):
            recipients.append(user.user_id)
        entry = entry_of(message, send.envelopes)
        conversation.newest = max(conversation.newest, message_id)
        bucket = conversation.bucket
        missing: list[DeviceId] = []
        shares: dict[UserId, dict[DeviceId, bytes]] = {}
        # As it is now: where its rows go is decided here, too.
        is_published = group is not None and group.fanout == Fanout.READ
        if group is not None:
            group.follow(message)
        if send.scheme:
            shares = self._sealing.shares(conversation, send.envelopes)
            missing = self._sealing.missing(conversation, device, send)
            conversation.scheme = max(conversation.scheme, send.scheme)

        def settled(error: StoreError | None) -> None:
            if error is not None:
                del self._unsettled[name]
                unsettled.settle(refusal(error))
                return
            if self._commit.came_late:
                target_bucket = related.bucket if related is not None and send.relation in CHANGES else None
                late = Latecomer(message, bucket, entry, recipients, conversation.everybody, target_bucket)
                self._accept_again(accepting, late, name, unsettled)
                return
            if send.scheme:
                conversation.stored_scheme = max(conversation.stored_scheme, send.scheme)
            sent = Sent(send.client_id, message_id, missing, message.created_at)
            if not meets:
                self._noted(conversation, name, send.attempt, sent)
            try:
                unsettled.settle(sent)
            finally:
                self._router.deliver(entry, recipients)
                if is_published:
                    self._router.publish(entry, conversation, message.version)

        rows = rows_of(accepting, message, entry, recipients, hidden_from, shares)
        self._commit.add(rows, settled, size=entry.size)

    def _accept_again(
        self,
        accepting: Accepting,
        late: Latecomer,
        name: SendName,
        unsettled: Unsettled,
    ) -> None:
        """A message became durable too late: readers have passed it."""

        async def again() -> None:
            try:
                await self._latecomers.void(late)
                conversation = await self._conversations.find(late.message.conversation_id)
                user = await self._users.user(late.message.sender_id)
                assert conversation is not None
                elsewhere = await self._sends.find(name)
                if elsewhere is not None:
                    if elsewhere.message_id < late.message.message_id:
                        # In turn its lock is held already, by who waits for this.
                        async with nullcontext() if accepting.is_in_turn else conversation.lock:
                            await self._latecomers.give_anew(conversation, late, elsewhere.message_id)
                    del self._unsettled[name]
                    unsettled.settle(elsewhere)
                    return
                if conversation.group is not None:
                    check_writer(conversation, conversation.group, user.user_id, accepting.send)
                self._check(conversation, accepting.send)
                if accepting.send.scheme:
                    changed = await self._sealing.learn(conversation, accepting.send)
                    if changed is not None:
                        del self._unsettled[name]
                        unsettled.settle(changed)
                        return
                    self._sealing.check(conversation, accepting.device, accepting.send)
                await self._prepare(conversation)
                renewed = accepting._replace(user=user, conversation=conversation)
                self._commit_message(renewed, name, unsettled)
            except Exception as error:
                self._forget(name)
                unsettled.settle(_told(error))
                await self._latecomers.void_some_time(late)
                if not isinstance(error, (ProtocolError, StoreError)):
                    raise  # a bug of ours, for the loop to report

        task = asyncio.get_running_loop().create_task(again())
        self._again.add(task)
        task.add_done_callback(self._again.discard)

    async def _prepare(self, conversation: Conversation) -> None:
        """See to it that what is known of a conversation holds while something is looked up for a message."""
        if not conversation.is_fresh(self._clock.monotonic_s() + PREPARED_S):
            await self._conversations.anew(conversation.conversation_id)
        now_ms = self._ids.now_ms()
        if not conversation.bucket_lasts(now_ms):
            await self._conversations.prepare_bucket(conversation, now_ms)

    def _check_prepared(self, conversation: Conversation) -> None:
        """See that it still does. Raises ProtocolError (overloaded): the store took too long."""
        is_fresh = conversation.is_fresh(self._clock.monotonic_s())
        if not is_fresh or not conversation.bucket_lasts(self._ids.now_ms()):
            raise ProtocolError(OVERLOADED, "what the server knew of the conversation is old by now")

    async def _instead(
        self, conversation: Conversation, name: SendName, send: Send, turn: Turn
    ) -> Sent | DevicesChanged | None:
        """What an attempt is answered that must not be accepted (again); None: call `accept` now."""
        sent = await self._meanwhile(name, send, turn)
        if sent is not None:
            return await self._once_more(conversation, name[0], send, sent)
        return await self._sealing.learn(conversation, send) if send.scheme else None

    async def _once_more(self, conversation: Conversation, device: DeviceId, send: Send, sent: Sent) -> Sent:
        """The answer to what was accepted before: which devices lack its key is found out anew.

        Of those whom it is for: who has joined the group since has no right to its key.
        """
        if not send.scheme or send.relation in UNSHOWN:
            return sent
        await self._sealing.learn(conversation, send)
        version = await self._relations.version(conversation, sent.message_id)
        missing = self._sealing.missing(conversation, device, send, version)
        return Sent(sent.client_id, sent.message_id, missing, sent.created_at)

    async def _meanwhile(self, name: SendName, send: Send, turn: Turn) -> Sent | None:
        """The answer to a repeat that another node was sent, where this attempt has waited for so long."""
        while self._has_waited(turn):
            self._check_heard(turn)
            turn = turn._replace(since_s=asyncio.get_running_loop().time())
            sent = await self._sends.earlier(name, send.attempt)
            if sent is not None:
                return sent
        return None

    def _has_waited(self, turn: Turn) -> bool:
        """Whether another node may have been sent a repeat meanwhile."""
        return self._peers.are_there and asyncio.get_running_loop().time() - turn.since_s > WAITED_S

    def _check_heard(self, turn: Turn) -> None:
        """See that somebody hears the answer to what has waited for long. Raises ProtocolError (draining).

        Else a repeat may be on its way to the disk elsewhere just now, under an id less than ours would be.
        """
        if self._has_waited(turn) and turn.is_over():
            raise ProtocolError(DRAINING, "its device has gone, and repeats it elsewhere")

    def _check(self, conversation: Conversation, send: Send) -> None:
        limits = self._limits
        if send.version < conversation.removal_at and not conversation.is_channel:
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
            self._check_envelopes(send)
        if not send.scheme and (conversation.scheme or send.envelopes) and send.relation not in UNSHOWN:
            check_scheme(conversation, send)
        if send.expires_at is not None:
            left_ms = send.expires_at - self._clock.wall_ms()
            if left_ms <= 0:
                raise ProtocolError(INVALID, "expires_at is in the past")
            if left_ms > limits.expires_s * 1000:
                raise ProtocolError(INVALID, "expires_at is too far away: is the clock right?")

    def _check_envelopes(self, send: Send) -> None:
        limits = self._limits
        is_shared = send.relation == Relation.SENDER_KEY
        most = limits.sender_key_envelopes if is_shared else limits.envelopes
        if len(send.envelopes) > most:
            raise ProtocolError(TOO_LARGE, f"more than {most} envelopes")
        if any(len(envelope) > limits.envelope_bytes for envelope in send.envelopes.values()):
            raise ProtocolError(TOO_LARGE, f"an envelope is over {limits.envelope_bytes} bytes")

    def stop(self) -> None:
        """The node ends: nothing is looked after any more."""
        self._twins.stop()

    def _noted(self, conversation: Conversation, name: SendName, attempt: int, sent: Sent) -> None:
        """As `_note`, of what stands in a conversation."""
        if attempt > 1 and self._peers.are_there:
            self._twins.watch(name, sent, conversation.conversation_id)
        self._note(name, attempt, sent)

    def _note(self, name: SendName, attempt: int, sent: Sent) -> None:
        """Have repeats recognised, now that all of a message is durable."""
        self._sends.note(name, attempt, sent, lambda _: self._forget(name))

    def _forget(self, name: SendName) -> None:
        self._unsettled.pop(name, None)


def _told(error: Exception) -> ProtocolError:
    """What the sender is told of what went wrong."""
    if isinstance(error, ProtocolError):
        return error
    return refusal(error) if isinstance(error, StoreError) else ProtocolError(INTERNAL)
