"""Conversations: who is in one, which bucket its messages go to, and its members' watermarks.

What a busy conversation needs for every message is kept in memory, bounded by
`conversations_cached`. A lone node makes every change itself, so what is in memory is what is
true; where there are others it is read anew when it was not for `TRUST_S`.

spec §6.2
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from tidings.domain.clock import Clock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import BUCKET_EARLY_MS, Conversation, Stored
from tidings.domain.inboxes import Entry
from tidings.domain.peers import MARGIN_S, Freshness, Peers
from tidings.domain.privacy import Privacy
from tidings.domain.rosters import Roster, Rosters
from tidings.protocol import ids
from tidings.protocol.codec import decode_message
from tidings.protocol.errors import INVALID, ProtocolError
from tidings.protocol.frames import ConversationKind, MemberState, SettingKind
from tidings.protocol.ids import ConversationId, EntryId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Erase, Put, Store, StoreUnavailable
from tidings.store.paging import rows_of
from tidings.store.schema import (
    BUCKETS,
    DAY_S,
    FROZEN,
    HEAD_MEMBER,
    HEADS,
    MEMBERS,
    MEMBERSHIPS,
    MESSAGES,
    SETTINGS,
    USERS,
    WATERMARKS,
    BucketRow,
    FrozenRow,
    MemberRow,
    MembershipRow,
    WatermarkRow,
)

BUCKETS_S = {
    ConversationKind.DIRECT: 365 * DAY_S,
    ConversationKind.GROUP: 7 * DAY_S,
    ConversationKind.CHANNEL: DAY_S,
}
"""How long a bucket is: no partition of the log grows without end."""
KNOWN_BUCKET_MS = 3600 * 1000
"""how long before its end another node is asked for the next bucket: clocks differ by far less"""
LOADS = 3
"""how often it is read anew what is old by the time it comes"""
DIRECT_MEMBERS = 2
MARKS_READ = 512
"""watermarks read at once"""
SCAN_ROWS = 256
"""rows read at once where there may be many"""


class _Hidden(NamedTuple):
    """What the members of a direct conversation hide from each other."""

    gone: bool
    blocked_at: dict[UserId, EntryId]
    """who blocks the other one, and since when"""
    hides_reads: frozenset[UserId]


class Conversations:
    """Opens and finds conversations.

    `ask_first`: whether somebody unknown must be let in before what they write is delivered.
    """

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        privacy: Privacy,
        limits: Limits,
        peers: Peers,
        *,
        ask_first: bool,
    ) -> None:
        self._store = store
        self._rosters = Rosters(store)
        self._commit = commit
        self._clock = clock
        self._privacy = privacy
        self._limits = limits
        self._peers = peers
        self._ask_first = ask_first
        self._cached: OrderedDict[ConversationId, Conversation] = OrderedDict()
        self._weights: dict[ConversationId, int] = {}
        """of those in the cache: how many members each has, and one"""
        self._weight = 0
        self._alive: WeakValueDictionary[ConversationId, Conversation] = WeakValueDictionary()
        """those that somebody holds, in the cache or not: there is one object for each"""
        self._loading: dict[ConversationId, asyncio.Future[Conversation | None]] = {}
        self._opening: dict[ConversationId, asyncio.Future[Conversation]] = {}

    def cached(self, conversation_id: ConversationId) -> Conversation | None:
        """The conversation, if it is in memory and may be trusted: the fast path of every message."""
        found = self._cached.get(conversation_id)
        if found is not None:
            self._cached.move_to_end(conversation_id)
        else:
            found = self._alive.get(conversation_id)
            if found is None:
                return None
            self._keep(found)
        return found if found.is_fresh(self._clock.monotonic_s()) else None

    def saw(self, entry: Entry) -> None:
        """A message that another node accepted came by."""
        known = self._alive.get(entry.conversation_id)
        if known is not None:
            known.newest = max(known.newest, entry.message_id)
            if known.group is not None and not known.group.follows(entry.message_id):
                known.group.follow(decode_message(entry.payload))

    def held(self) -> list[Conversation]:
        """Those in memory."""
        return list(self._cached.values())

    async def anew(self, conversation_id: ConversationId) -> Conversation | None:
        """As `find`, read now: for whoever knows of what is not known here."""
        if not self._peers.are_there:
            return await self.find(conversation_id)
        loading = self._loading.get(conversation_id)
        if loading is not None:
            await asyncio.wait([loading])  # it began before, and may not know either
        found = await _once(self._loading, conversation_id, lambda: self._load(conversation_id))
        if found is not None:
            await self.look_for_newest(found)
        return found

    async def look_for_newest(self, conversation: Conversation) -> None:
        """Know of every message that was accepted before the call, on whichever node. Raises StoreError."""
        if self._peers.are_there and conversation.group is None:
            conversation.newest = max(conversation.newest, await self._newest(conversation.bucket_row))

    async def find(self, conversation_id: ConversationId) -> Conversation | None:
        """The conversation, or None if nobody ever opened it."""
        found = self.cached(conversation_id)
        if found is not None:
            return found
        # Two loads of one conversation would make two truths of its watermarks.
        return await _once(self._loading, conversation_id, lambda: self._load(conversation_id))

    async def open_direct(self, user: UserId, peer: UserId) -> Conversation:
        """The direct conversation of two users, made on first use. Raises ProtocolError.

        Opening it twice, also on two nodes, writes the same rows twice.
        """
        if user == peer:
            raise ProtocolError(INVALID, "a direct conversation needs two people")
        conversation_id = ids.direct_conversation_id(user, peer)
        found = await self.find(conversation_id)
        if found is not None:
            return found
        return await _once(self._opening, conversation_id, lambda: self._open(conversation_id, user, peer))

    async def prepare_bucket(self, conversation: Conversation, now_ms: int) -> None:
        """Make the bucket of this moment durable, before any message goes into it.

        Raises ProtocolError (store_…).
        """
        second = (now_ms + BUCKET_EARLY_MS - ids.EPOCH_MS) // 1000
        length_s = BUCKETS_S[conversation.kind]
        row = BucketRow(conversation.conversation_id, second - second % length_s, length_s)
        await self._commit.write([Put(BUCKETS, row, ids.first_at(now_ms))])
        conversation.use_bucket(row)

    async def changed(self, roster: Roster) -> Conversation:
        """This node has changed a group: know it from here on. Raises StoreError."""
        conversation_id = roster.row.conversation_id
        loading = self._loading.get(conversation_id)
        if loading is not None:
            await asyncio.wait([loading])
        known = self._alive.get(conversation_id)
        if known is None or known.group is None:
            known = await self.anew(conversation_id)
            assert known is not None
        assert known.group is not None
        is_known = known.group.roster_id == roster.row.request_id
        if not is_known and known.group.head.cause <= roster.head.cause:
            members = known.members
            known.renew_roster(roster)
            if known.members != members:
                await self._learn_of_group(known)
        return known

    async def settled(self, user: UserId, peer: UserId) -> None:
        """A right to see of `user` changed, towards `peer`: know it from here on."""
        await self._settled(ids.direct_conversation_id(user, peer))

    async def blocked(self, user: UserId, peer: UserId) -> None:
        """A block of `user` was set or lifted, towards `peer`: know it from here on.

        What the other one may still see of the user's watermark is durable when it returns.
        """
        conversation_id = ids.direct_conversation_id(user, peer)
        # In memory or not: what is not frozen now would have moved by the time of the next look.
        await self.find(conversation_id)
        await self._settled(conversation_id)
        await self._commit.barrier()

    async def settled_for_all(self, user: UserId) -> None:
        """A right to see of `user` changed, towards everybody."""
        seen = 0
        async for row in rows_of(self._store, MEMBERSHIPS, (user,), at_once=SCAN_ROWS):
            await self._settled(row.conversation_id)
            seen += 1
            if seen % SCAN_ROWS == 0:
                await asyncio.sleep(0)

    async def departed(self, user: UserId) -> None:
        """The account of `user` is gone, and with it the list of their conversations."""
        if self._loading:
            await asyncio.wait(list(self._loading.values()))
        for conversation in list(self._alive.values()):
            if conversation.has_member(user):
                await self._learn(conversation)

    async def _settled(self, conversation_id: ConversationId) -> None:
        loading = self._loading.get(conversation_id)
        if loading is not None:
            await asyncio.wait([loading])
        conversation = self._alive.get(conversation_id)
        if conversation is not None:
            await self._learn(conversation)

    async def _open(self, conversation_id: ConversationId, user: UserId, peer: UserId) -> Conversation:
        kind = ConversationKind.DIRECT
        cause = max(user, peer)  # of the younger account: the same on every attempt
        asks = self._ask_first and not await self._privacy.is_contact(peer, user)
        members = [MemberRow(conversation_id, member, kind) for member in (HEAD_MEMBER, user)]
        state = MemberState.PENDING if asks else MemberState.ACCEPTED
        members.append(MemberRow(conversation_id, peer, kind, state=state))
        derived = [MembershipRow(member, conversation_id, kind) for member in (user, peer)]
        # What is derived goes first: a batch may be torn, and who finds the members looks no further.
        await self._commit.write([Put(MEMBERSHIPS, row, cause) for row in derived])
        await self._commit.write([Put(MEMBERS, member, cause) for member in members])
        loading = self._loading.get(conversation_id)
        if loading is not None:
            await asyncio.wait([loading])  # it began before, and found nothing
        opened = await self.find(conversation_id)
        assert opened is not None
        return opened

    async def _load(self, conversation_id: ConversationId) -> Conversation | None:
        """Read a conversation, or read it anew: there is one object of it while anybody holds it."""
        known = self._alive.get(conversation_id)
        if known is None:
            # What a raise still waiting in the group commit says must be in what is read here.
            await self._commit.barrier()
        for _ in range(LOADS):
            began_s = self._clock.monotonic_s()
            if known is None or not await self._looked_at_again(known):
                known = await self._looked_at(conversation_id, known)
                if known is None:
                    return None
            if self._peers.are_there:
                known.freshness = known.freshness or Freshness(began_s)
                known.freshness.renew(began_s)
            if known.is_fresh(self._clock.monotonic_s()):
                self._keep(known)
                return known
        raise StoreUnavailable("what is read of a conversation is old by the time it comes")

    async def _looked_at(
        self, conversation_id: ConversationId, known: Conversation | None
    ) -> Conversation | None:
        """Read all of a conversation, in steps: what a blocked one may see still before who blocks."""
        changes = 0 if known is None else known.changes
        stored = await self._read(conversation_id, known)
        if stored is None:
            return None
        if known is None:
            known = Conversation(stored)
        else:
            known.renew(stored, with_members=known.changes == changes and not known.is_changing)
        await self._learn(known, loaded=True)
        return known

    async def _looked_at_again(self, known: Conversation) -> bool:
        """Read a direct conversation anew, in one step; whether that will do.

        It will not where anybody blocks the other one. `newest` stays: who knows of more asks `anew`.
        """
        if not _is_pair(known) or known.frozen or known.gone:
            return False
        known.learned += 1
        generation, changes = known.learned, known.changes
        stored, found = await asyncio.gather(
            self._read_members(known.conversation_id, known), self._hidden(known.members)
        )
        if stored is None or found.gone or found.blocked_at or generation != known.learned:
            return False
        known.renew(stored, with_members=known.changes == changes and not known.is_changing)
        known.blockers, known.hides_reads = frozenset(), found.hides_reads
        return True

    async def _read(self, conversation_id: ConversationId, known: Conversation | None) -> Stored | None:
        if known is None or known.group is None:
            stored = await self._read_direct(conversation_id, known)
            if stored is not None or known is not None:
                return stored
        return await self._read_group(conversation_id, known)

    async def _read_direct(
        self, conversation_id: ConversationId, known: Conversation | None
    ) -> Stored | None:
        # At once: each of them may be a way to another process.
        stored, frozen = await asyncio.gather(
            self._read_members(conversation_id, known),
            self._store.range(FROZEN, (conversation_id,), limit=DIRECT_MEMBERS),
        )
        if stored is None:
            return None
        return stored._replace(frozen=frozen, newest=await self._newest(stored.bucket))

    async def _read_members(
        self, conversation_id: ConversationId, known: Conversation | None
    ) -> Stored | None:
        """A direct conversation but for what is frozen, and its newest message."""
        partition = (conversation_id,)
        rows, bucket, head, watermarks = await asyncio.gather(
            self._store.range(MEMBERS, partition, limit=1 + DIRECT_MEMBERS),
            self._bucket(conversation_id, known),
            self._store.get(HEADS, partition),
            self._store.range(WATERMARKS, partition, limit=DIRECT_MEMBERS),
        )
        if not rows or rows[0].user_id != HEAD_MEMBER:
            return None
        return Stored(
            conversation_id,
            rows[0].kind,
            rows[0].version,
            [row for row in rows[1:] if row.left_version is None],
            bucket,
            MessageId(0),
            0 if head is None else head.removal_at,
            0 if head is None else head.scheme,
            watermarks,
            [],
        )

    async def _read_group(self, conversation_id: ConversationId, known: Conversation | None) -> Stored | None:
        partition = (conversation_id,)
        row, bucket, head = await asyncio.gather(
            self._rosters.head(conversation_id),
            self._bucket(conversation_id, known),
            self._store.get(HEADS, partition),
        )
        if row is None or row.head is None:
            return None
        roster = None
        if known is None or known.group is None or known.group.roster_id != row.request_id:
            roster = await self._rosters.read(conversation_id)
            assert roster is not None  # a group never goes
            row = roster.row
        assert row.head is not None
        return Stored(
            conversation_id,
            row.head.kind,
            row.head.version,
            [],
            bucket,
            await self._newest(bucket),
            row.head.removal_at,
            max(row.head.scheme, 0 if head is None else head.scheme),
            # Of other nodes' doing: read again by who tells of them.
            await self.marks(conversation_id) if known is None else [],
            [],
            row,
            roster,
            0 if head is None else head.told,
        )

    async def marks(self, conversation_id: ConversationId) -> list[WatermarkRow]:
        """All watermarks of a group, as they are stored. Raises StoreError."""
        rows = rows_of(self._store, WATERMARKS, (conversation_id,), at_once=MARKS_READ)
        return [row async for row in rows]

    async def _learn(self, conversation: Conversation, *, loaded: bool = False) -> None:
        """Ask what the members hide from each other.

        `loaded`: because the conversation was read, not because they just changed it.
        """
        if conversation.group is not None and not conversation.is_channel:
            await self._learn_of_group(conversation)
        if not _is_pair(conversation):
            return
        while True:
            conversation.learned += 1
            generation = conversation.learned
            found = await self._hidden(conversation.members)
            # Who was asked later may have been answered earlier: what is older must not win.
            if generation == conversation.learned:
                break
        conversation.gone, conversation.hides_reads = found.gone, found.hides_reads
        conversation.blockers = frozenset(found.blocked_at)
        self._freeze(conversation, found.blocked_at, loaded=loaded)

    async def _learn_of_group(self, conversation: Conversation) -> None:
        """Who shows a group no reads."""
        while True:
            conversation.learned += 1
            generation, those = conversation.learned, conversation.everybody
            names = [(user, SettingKind.PRIVACY, "receipts") for user in those]
            rows = await self._store.get_many(SETTINGS, names)
            if generation == conversation.learned:
                break
        conversation.hides_reads = frozenset(
            row.user_id for row in rows if row is not None and row.value not in (b"", b"everyone")
        )

    def _freeze(self, conversation: Conversation, blocked_at: dict[UserId, EntryId], *, loaded: bool) -> None:
        """Keep what the blocked one was told so far; forget it once the block is lifted.

        A block that is set again freezes nothing anew. `loaded`: what is in memory comes from the store.
        """
        for row in [row for row in conversation.frozen.values() if row.user_id not in blocked_at]:
            if not conversation.gone:  # with the account the block went, but nobody lifted it
                del conversation.frozen[row.user_id]
                key = FROZEN.key_of(row)
                self._commit.write_soon(key, Erase(FROZEN, key, row.blocked_at))
        for member, at in blocked_at.items():
            if member not in conversation.frozen:
                if loaded and self._is_being_frozen(at):
                    continue
                mark = conversation.watermarks[member]
                if loaded and mark.at_ms > ids.unix_ms(at):
                    # The node died between block and freezing, and it moved since. Rather too little.
                    mark = WatermarkRow(conversation.conversation_id, member)
                row = _frozen(mark, at)
                conversation.frozen[member] = row
                self._commit.write_soon(FROZEN.key_of(row), Put(FROZEN, row, at))

    def _is_being_frozen(self, blocked_at: EntryId) -> bool:
        """Whether the node that took a block may still be at it, and knows better than this one."""
        age_ms = self._clock.wall_ms() - ids.unix_ms(blocked_at)
        return self._peers.are_there and age_ms < MARGIN_S * 1000

    async def _hidden(self, pair: tuple[UserId, ...]) -> "_Hidden":
        one, other = pair
        users, of_one, of_other = await asyncio.gather(
            self._store.get_many(USERS, [(one,), (other,)]),
            self._privacy.towards(one, other),
            self._privacy.towards(other, one),
        )
        hides = {one: of_one, other: of_other}
        return _Hidden(
            None in users,
            {user: of.blocked_at for user, of in hides.items() if of.blocked_at is not None},
            frozenset(user for user, of in hides.items() if not of.shows_receipts),
        )

    async def _bucket(self, conversation_id: ConversationId, known: Conversation | None) -> BucketRow | None:
        """The newest bucket: the known one, as long as no node can have begun another."""
        if known is not None and known.bucket_lasts(self._clock.wall_ms() + KNOWN_BUCKET_MS):
            return known.bucket_row
        buckets = await self._store.range(BUCKETS, (conversation_id,), limit=1)
        return buckets[0] if buckets else None

    async def _newest(self, bucket: BucketRow | None) -> MessageId:
        if bucket is None:
            return MessageId(0)
        rows = await self._store.range(MESSAGES, (bucket.conversation_id, bucket.bucket), limit=1)
        # A bucket is durable before its first message: an empty one means that nothing came after it.
        return rows[0].message_id if rows else MessageId(ids.first_at(ids.EPOCH_MS + bucket.bucket * 1000))

    def _keep(self, conversation: Conversation) -> None:
        conversation_id, weight = conversation.conversation_id, 1 + len(conversation.members)
        self._alive[conversation_id] = conversation
        self._cached[conversation_id] = conversation
        self._weight += weight - self._weights.get(conversation_id, 0)
        self._weights[conversation_id] = weight
        limits = self._limits
        while len(self._cached) > limits.conversations_cached or self._weight > limits.members_cached:
            if len(self._cached) == 1:
                return
            dropped, _ = self._cached.popitem(last=False)
            self._weight -= self._weights.pop(dropped)


def _is_pair(conversation: Conversation) -> bool:
    """Whether there are two who may hide something from each other."""
    return conversation.kind == ConversationKind.DIRECT and len(conversation.members) == DIRECT_MEMBERS


def _frozen(mark: WatermarkRow, at: EntryId) -> FrozenRow:
    return FrozenRow(
        mark.conversation_id, mark.user_id, mark.delivered_up_to, mark.read_up_to, mark.at_ms, at
    )


T = TypeVar("T")


async def _once(
    running: "dict[ConversationId, asyncio.Future[T]]",
    name: ConversationId,
    work: Callable[[], Coroutine[Any, Any, T]],
) -> T:
    """Do something for a conversation, or wait for whoever is doing it."""
    future = running.get(name)
    if future is None:
        future = running[name] = asyncio.ensure_future(work())
        future.add_done_callback(lambda _: running.pop(name))
    return await asyncio.shield(future)
