"""Relations: replies, edits, deletes and reactions, and what each may do.

A message that relates to another names it for ever (`relates_to`) and says where it stands
(`target`). The server believes neither: the row that stands there must bear that name. Edits
and deletes are the author's, for a time; what is gone takes no more of either.

spec §6.3
"""

from collections.abc import Sequence
from typing import NamedTuple

from tidings.domain.clock import Clock
from tidings.domain.conversation import Conversation
from tidings.domain.erasing import Eraser, unrelated
from tidings.domain.group_state import GroupState
from tidings.domain.log import Log, has_expired, is_erased
from tidings.domain.sends import Sends
from tidings.protocol import ids
from tidings.protocol.codec import decode_message, encode_message
from tidings.protocol.errors import (
    GROUP_RIGHTS,
    INVALID,
    NO_SUCH_CONVERSATION,
    NO_SUCH_MESSAGE,
    NOT_YOURS,
    TOO_LARGE,
    TOO_LATE,
    ProtocolError,
)
from tidings.protocol.frames import CHANGE_TYPE, CHANGES, UNSHOWN, GroupRole, Message, Relation, Scheme, Send
from tidings.protocol.ids import MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store, Write
from tidings.store.schema import RELATIONS, MessageRow, RelationRow

NAMING = (Relation.REPLY, *CHANGES, Relation.ASK, Relation.KEYS)
"""Relations that name a message."""
UNRELATED = (Relation.NONE, Relation.FORWARD, Relation.SENDER_KEY)
"""Those that name none."""
ALWAYS = (Relation.REACTION, Relation.VOTE, Relation.DELETE, *UNSHOWN)
"""What members write also where only admins write messages."""


class Related(NamedTuple):
    """What was found out about a message's target before it is accepted."""

    bucket: int
    author: UserId
    erases: Sequence[Write] = ()
    expires_at: int | None = None
    """of the target: what is said about it vanishes with it"""
    version: int = 0
    """of the target"""


class Relations:
    """Checks relations and keeps them beside their targets."""

    def __init__(
        self, store: Store, clock: Clock, log: Log, sends: Sends, eraser: Eraser, limits: Limits
    ) -> None:
        self._store = store
        self._sends = sends
        self._clock = clock
        self._log = log
        self._eraser = eraser
        self._limits = limits

    async def check(self, conversation: Conversation, user: UserId, send: Send) -> Related:
        """Whether a user may say this about its target; under the conversation's lock. Raises ProtocolError.

        invalid, no_such_message, not_yours, too_late, too_large.
        """
        if send.relates_to is None or not send.target:
            raise ProtocolError(INVALID, "a relation needs relates_to and target")
        row = await self._log.find(conversation, send.target)
        if row is None or user in row.hidden_from or user in conversation.pending:
            raise ProtocolError(NO_SUCH_MESSAGE)
        if not conversation.entitled(user, row.version):
            raise ProtocolError(NO_SUCH_MESSAGE)
        if (row.sender_device, row.client_id) != (send.relates_to.sender_device, send.relates_to.client_id):
            raise ProtocolError(NO_SUCH_MESSAGE, "another message stands there")
        if send.relation in UNSHOWN:
            return self._aside(row, user, send)
        if row.relation in CHANGES:
            raise ProtocolError(INVALID, "what changes a message cannot be related to")
        if send.relation == Relation.REPLY:
            return Related(row.bucket, row.sender_id)
        if row.content_type == CHANGE_TYPE and not row.sender_device:
            raise ProtocolError(INVALID, "what the server wrote cannot be changed")
        await self._check_change(conversation, row, user, send)
        erases = await self._erased(conversation, row) if send.relation == Relation.DELETE else ()
        return Related(row.bucket, row.sender_id, erases, row.expires_at)

    async def give_way(self, conversation: Conversation, send: Send) -> None:
        """A change is durable: if another node deleted its target meanwhile, it is erased too.

        Raises ProtocolError (store_…).
        """
        row = await self._log.find(conversation, send.target)
        if row is not None and is_erased(row):
            await self._eraser.erase(conversation, row)

    async def of_page(
        self, items: Sequence[MessageRow], viewer: UserId, limit: int
    ) -> tuple[list[Message], bool]:
        """What was said about the messages of a page, in ascending order, and whether that is all.

        At most `limit`, the earliest of each bucket. Of a message that was deleted only that is told.
        """
        spans: dict[int, list[MessageRow]] = {}
        for item in items:
            spans.setdefault(item.bucket, []).append(item)
        now_ms, is_whole = self._clock.wall_ms(), True
        found: list[RelationRow] = []
        for bucket, rows in spans.items():
            on_page = {row.message_id for row in rows}
            read = await self._store.range(
                RELATIONS,
                (rows[0].conversation_id, bucket),
                after=(min(on_page), 0),
                before=(max(on_page) + 1, 0),
                limit=limit + 1,
            )
            is_whole = is_whole and len(read) <= limit
            found += [row for row in read[:limit] if row.target in on_page and viewer not in row.hidden_from]
        deleted = {row.target for row in found if row.relation == Relation.DELETE}
        told = [
            decode_message(row.payload)
            for row in found
            if row.payload
            and (row.relation == Relation.DELETE or row.target not in deleted)
            and not (row.expires_at is not None and row.expires_at <= now_ms)
        ]
        is_whole = is_whole and len(told) <= limit
        return sorted(told, key=lambda message: message.message_id)[:limit], is_whole

    async def version(self, conversation: Conversation, message_id: MessageId) -> int:
        """At which version of its conversation a message was accepted; 0 if it is not there."""
        row = await self._log.find(conversation, message_id)
        return 0 if row is None else row.version

    async def _erased(self, conversation: Conversation, row: MessageRow) -> list[Write]:
        """What erases a message, and its twin where that is what the sender was told of."""
        erases = await self._eraser.rows(conversation, row)
        sent = await self._sends.find((row.sender_device, row.client_id))
        if sent is not None and sent.message_id != row.message_id:
            twin = await self._log.find(conversation, sent.message_id)
            if twin is not None:
                erases += await self._eraser.rows(conversation, twin)
        return erases

    def _aside(self, row: MessageRow, user: UserId, send: Send) -> Related:
        """Changes are messages, too, and have keys that may be asked for."""
        if is_erased(row) or has_expired(row, self._clock.wall_ms()):
            raise ProtocolError(NO_SUCH_MESSAGE, "the message is gone")
        if send.relation == Relation.KEYS and row.sender_id != user:
            raise ProtocolError(NOT_YOURS)
        return Related(row.bucket, row.sender_id, (), row.expires_at, row.version)

    async def _check_change(
        self, conversation: Conversation, row: MessageRow, user: UserId, send: Send
    ) -> None:
        limits, now_ms = self._limits, self._clock.wall_ms()
        # A delete may be repeated: it may have got no further than the log.
        if has_expired(row, now_ms) or (is_erased(row) and send.relation != Relation.DELETE):
            raise ProtocolError(NO_SUCH_MESSAGE, "the message is gone")
        if send.relation in (Relation.REACTION, Relation.VOTE):
            if len(send.content) > limits.reaction_bytes:
                raise ProtocolError(TOO_LARGE, f"a reaction is over {limits.reaction_bytes} bytes")
        else:
            if row.sender_id != user and not _may_delete(conversation, user, send):
                raise ProtocolError(NOT_YOURS)
            within_s = limits.edit_s if send.relation == Relation.EDIT else limits.delete_s
            if now_ms - ids.unix_ms(row.message_id) > within_s * 1000:
                raise ProtocolError(TOO_LATE, f"only within {within_s // 3600} hours")
        if send.relation != Relation.DELETE:
            await self._check_room(conversation, row)

    async def _check_room(self, conversation: Conversation, row: MessageRow) -> None:
        most = self._limits.relations_per_message
        if conversation.group is not None:
            most = max(most, 4 * len(conversation.members))  # everybody may vote, and think better of it
        rows = await self._store.range(
            RELATIONS,
            (row.conversation_id, row.bucket),
            after=(row.message_id, 0),
            before=(row.message_id + 1, 0),
            limit=most,
        )
        if len(rows) >= most:
            raise ProtocolError(TOO_LARGE, f"a message takes {most} edits and reactions")


def check_writer(conversation: Conversation, group: GroupState, user: UserId, send: Send) -> None:
    """Refuse what a group does not let a user write. Raises ProtocolError.

    no_such_conversation, group_rights.
    """
    role = group.roles.get(user)
    if role is None:
        if conversation.is_channel:
            raise ProtocolError(GROUP_RIGHTS, "in a channel only its staff writes")
        raise ProtocolError(NO_SUCH_CONVERSATION)
    if role < group.head.rules.write and send.relation not in ALWAYS:
        raise ProtocolError(GROUP_RIGHTS, "only admins write in this group")


def _may_delete(conversation: Conversation, user: UserId, send: Send) -> bool:
    """Admins delete what others wrote, too."""
    is_admin = (conversation.role(user) or GroupRole.MEMBER) >= GroupRole.ADMIN
    return send.relation == Relation.DELETE and is_admin


def check_shape(send: Send) -> None:
    """Refuse a message that names a target without saying why. Raises ProtocolError (invalid)."""
    if send.relation in UNRELATED and (send.relates_to or send.target):
        raise ProtocolError(INVALID, "relates_to and target belong to a relation")
    if send.relation == Relation.DELETE and send.content and send.scheme == Scheme.PLAIN:
        raise ProtocolError(INVALID, "a delete has no content; one that is sealed has what proves it")
    if not send.content_type and send.relation not in (Relation.DELETE, *UNSHOWN):
        raise ProtocolError(INVALID, "content_type is empty")


def voided_row(message: Message, bucket: int, cause: int) -> Put:
    """A change that is taken again under another id, as it stands under this one."""
    return unrelated(_relation(message, bucket, []), cause)


def related_row(message: Message, bucket: int, hidden_from: list[UserId]) -> Put:
    """A change of a message, beside it."""
    return Put(RELATIONS, _relation(message, bucket, hidden_from), message.message_id)


def _relation(message: Message, bucket: int, hidden_from: list[UserId]) -> RelationRow:
    return RelationRow(
        message.conversation_id,
        bucket,
        message.target,
        message.message_id,
        message.sender_id,
        message.relation,
        encode_message(message),
        message.expires_at,
        hidden_from,
    )
