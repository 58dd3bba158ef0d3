"""Conversations: who is in one, which bucket its messages go to, and its members' watermarks.

What a busy conversation needs for every message is kept in memory, bounded by
`conversations_cached`. In one process this node makes every change itself, so what is in
memory is what is true; a cluster's nodes will trust it for two seconds only.

spec §6.2
"""

import asyncio
from collections import OrderedDict

from tidings.domain.commit import GroupCommit
from tidings.protocol import ids
from tidings.protocol.errors import INVALID, NO_SUCH_CONVERSATION, ProtocolError
from tidings.protocol.frames import ConversationKind
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store
from tidings.store.schema import (
    BUCKETS,
    DAY_S,
    HEAD_MEMBER,
    HEADS,
    MEMBERS,
    MEMBERSHIPS,
    MESSAGES,
    WATERMARKS,
    BucketRow,
    HeadRow,
    MemberRow,
    MembershipRow,
    WatermarkRow,
)

DIRECT_BUCKET_S = 365 * DAY_S
BUCKET_EARLY_MS = 2000
"""How long before its end a bucket takes no more messages: ids may run a second ahead."""
MEMBERS_MAX = 1024


class Conversation:
    """A conversation as the rules see it. `watermarks` has a row for every member."""

    __slots__ = (
        "_bucket_ends_ms",
        "bucket",
        "conversation_id",
        "kind",
        "members",
        "newest",
        "removal_at",
        "version",
        "watermarks",
    )

    def __init__(
        self,
        head: MemberRow,
        members: tuple[UserId, ...],
        bucket: BucketRow | None,
        newest: MessageId,
        removal_at: int,
        watermarks: dict[UserId, WatermarkRow],
    ) -> None:
        self.conversation_id = head.conversation_id
        self.kind = ConversationKind(head.kind)
        self.version = head.version
        self.members = members
        self.newest = newest
        """the newest message that was accepted: no watermark passes it"""
        self.removal_at = removal_at
        self.watermarks = watermarks
        self.bucket = 0
        self._bucket_ends_ms = 0
        if bucket is not None:
            self.use_bucket(bucket)

    def use_bucket(self, row: BucketRow) -> None:
        """From here on messages go to this bucket."""
        self.bucket = row.bucket
        self._bucket_ends_ms = ids.EPOCH_MS + (row.bucket + row.length_s) * 1000

    def bucket_lasts(self, now_ms: int) -> bool:
        """Whether a message that gets its id now belongs to `bucket`."""
        return now_ms + BUCKET_EARLY_MS < self._bucket_ends_ms

    def others(self, user: UserId) -> list[UserId]:
        """Everyone else."""
        return [member for member in self.members if member != user]


def access_conversation(conversation: Conversation | None, user: UserId) -> Conversation:
    """Let members pass; to others a conversation does not exist. Raises ProtocolError."""
    if conversation is None or user not in conversation.members:
        raise ProtocolError(NO_SUCH_CONVERSATION)
    return conversation


class Conversations:
    """Opens and finds conversations."""

    def __init__(self, store: Store, commit: GroupCommit, limits: Limits) -> None:
        self._store = store
        self._commit = commit
        self._limits = limits
        self._cached: OrderedDict[ConversationId, Conversation] = OrderedDict()
        self._loading: dict[ConversationId, asyncio.Future[Conversation | None]] = {}

    def cached(self, conversation_id: ConversationId) -> Conversation | None:
        """The conversation, if it is in memory: the fast path of every message."""
        found = self._cached.get(conversation_id)
        if found is not None:
            self._cached.move_to_end(conversation_id)
        return found

    async def find(self, conversation_id: ConversationId) -> Conversation | None:
        """The conversation, or None if nobody ever opened it."""
        found = self.cached(conversation_id)
        if found is not None:
            return found
        loading = self._loading.get(conversation_id)
        if loading is None:
            # Two loads of one conversation would make two truths of its watermarks.
            loading = asyncio.ensure_future(self._load(conversation_id))
            self._loading[conversation_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(conversation_id))
        return await asyncio.shield(loading)

    async def open_direct(self, user: UserId, peer: UserId) -> Conversation:
        """The direct conversation of two users, made on first use. Raises ProtocolError.

        Opening it twice, at once or on two nodes, writes the same rows twice.
        """
        if user == peer:
            raise ProtocolError(INVALID, "a direct conversation needs two people")
        conversation_id = ids.direct_conversation_id(user, peer)
        found = await self.find(conversation_id)
        if found is not None:
            return found
        kind = ConversationKind.DIRECT
        cause = max(user, peer)  # of the younger account: the same on every attempt
        members = [MemberRow(conversation_id, member, kind) for member in (HEAD_MEMBER, user, peer)]
        derived = [MembershipRow(member, conversation_id, kind) for member in (user, peer)]
        await self._commit.write(
            [Put(MEMBERS, member, cause) for member in members]
            + [Put(MEMBERSHIPS, row, cause) for row in derived]
        )
        opened = await self.find(conversation_id)
        assert opened is not None
        return opened

    async def prepare_bucket(self, conversation: Conversation, now_ms: int) -> None:
        """Make the bucket of this moment durable, before any message goes into it.

        Raises ProtocolError (store_…).
        """
        second = (now_ms + BUCKET_EARLY_MS - ids.EPOCH_MS) // 1000
        row = BucketRow(conversation.conversation_id, second - second % DIRECT_BUCKET_S, DIRECT_BUCKET_S)
        await self._commit.write([Put(BUCKETS, row, ids.first_at(now_ms))])
        conversation.use_bucket(row)

    async def _load(self, conversation_id: ConversationId) -> Conversation | None:
        # What a raise still waiting in the group commit says must be in what is read here.
        await self._commit.barrier()
        rows = await self._store.range(MEMBERS, (conversation_id,), limit=1 + MEMBERS_MAX)
        if not rows or rows[0].user_id != HEAD_MEMBER:
            return None
        members = tuple(row.user_id for row in rows[1:] if row.left_version is None)
        buckets = await self._store.range(BUCKETS, (conversation_id,), limit=1)
        bucket = buckets[0] if buckets else None
        head = await self._store.get(HEADS, (conversation_id,)) or HeadRow(conversation_id)
        marks = {member: WatermarkRow(conversation_id, member) for member in members}
        for mark in await self._store.range(WATERMARKS, (conversation_id,), limit=MEMBERS_MAX):
            marks[mark.user_id] = mark
        newest = await self._newest(bucket)
        loaded = Conversation(rows[0], members, bucket, newest, head.removal_at, marks)
        self._keep(loaded)
        return loaded

    async def _newest(self, bucket: BucketRow | None) -> MessageId:
        if bucket is None:
            return MessageId(0)
        rows = await self._store.range(MESSAGES, (bucket.conversation_id, bucket.bucket), limit=1)
        # A bucket is durable before its first message: an empty one means that nothing came after it.
        return rows[0].message_id if rows else MessageId(ids.first_at(ids.EPOCH_MS + bucket.bucket * 1000))

    def _keep(self, conversation: Conversation) -> None:
        self._cached[conversation.conversation_id] = conversation
        if len(self._cached) > self._limits.conversations_cached:
            self._cached.popitem(last=False)
