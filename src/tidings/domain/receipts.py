"""Receipts: how far each member has got, as watermarks that only move forward.

*Delivered* moves with the first of a user's devices that acknowledges, *read* with the user;
READ implies DELIVERED. A receipt is state: all that moved in one turn goes out as one frame
a member, and one that is lost is found again by `Sync`. Of two that come from different nodes one may
be behind the other: whoever is told takes the greater of each.

spec §6.6
"""

import asyncio
from typing import NamedTuple

import msgspec

from tidings.domain.clock import IdClock
from tidings.domain.commit import Done, GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.peers import MARGIN_S, Peers
from tidings.domain.privacy import Privacy
from tidings.domain.router import Router
from tidings.domain.settings import Settings
from tidings.domain.tallies import Tellers
from tidings.protocol import ids as snowflakes
from tidings.protocol.errors import NOT_YOURS, ProtocolError
from tidings.protocol.frames import ConversationKind, MemberInfo, MessageInfo, Receipt, Status, Synced
from tidings.protocol.ids import ConversationId, DeviceId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store, StoreError
from tidings.store.paging import rows_of
from tidings.store.schema import (
    CHANGED,
    DAY_S,
    FROZEN,
    MEMBERSHIPS,
    RECEIPT_LOG,
    WATERMARKS,
    ChangedRow,
    FrozenRow,
    MessageRow,
    ReceiptLogRow,
    WatermarkRow,
)

SYNC_BREATH = 32
"""conversations looked up in one turn of the loop"""
SYNC_SCAN = 1000
"""rows of `changed` read at once"""
LOG_BUCKET_S = 30 * DAY_S
UNTOLD_MS = 1
"""when a watermark moved whose owner does not show when"""
LOGGED_MEMBERS = 256
"""In a group of more it is not kept when each message was delivered to each member."""
LOG_SCAN = 64
"""rows of the receipt log read at once"""
LOG_SCANNED = 1024
"""rows of the receipt log looked at for one message"""


class _Moved(NamedTuple):
    """A watermark that moved in this turn."""

    conversation: Conversation
    device: DeviceId
    """whose acknowledgement or reading moved it"""
    was: WatermarkRow


class _Unnamed(NamedTuple):
    """What moved in a group and was not named to the commit yet."""

    conversation: Conversation
    marks: dict[UserId, WatermarkRow]


class Receipts:
    """Moves watermarks, tells who must know, and answers what moved since."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        ids: IdClock,
        router: Router,
        conversations: Conversations,
        settings: Settings,
        privacy: Privacy,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        peers: Peers,
        tellers: Tellers,
    ) -> None:
        self._store = store
        self._tellers = tellers
        self._peers = peers
        self._commit = commit
        self._ids = ids
        self._router = router
        self._conversations = conversations
        self._settings = settings
        self._privacy = privacy
        self._limits = limits
        self._loop = loop
        self._moved: dict[tuple[ConversationId, UserId], _Moved] = {}
        """of this turn"""
        self._unnamed: dict[ConversationId, _Unnamed] = {}
        """of this delay: an acknowledgement in a group is one of very many"""

    def delivered(self, conversation: Conversation, user: UserId, device: DeviceId, up_to: MessageId) -> None:
        """A device of the user has stored everything up to a message."""
        conversation.newest = max(conversation.newest, up_to)  # another node may have taken it
        mark = conversation.watermarks.get(user)
        if mark is None or up_to <= mark.delivered_up_to:
            return  # gone from the group, or nothing new
        if not conversation.counts(user):
            return  # the same; or of a channel, in which nobody is counted
        if conversation.group is None:
            self._move(conversation, mark, device, delivered=up_to, read=mark.read_up_to)
        else:
            self._deliver_in_group(conversation, mark, up_to)

    def read(
        self, conversation: Conversation, user: UserId, device: DeviceId, up_to: MessageId, done: Done
    ) -> None:
        """The user has seen everything up to a message; `done` when that is durable.

        Clamped to what was sent. One that moves nothing is still made durable before `done`: it may
        repeat one that is on its way to the disk. Where it was not told by this node it is told: of the
        batch that moved it only a part may have become durable.
        """
        mark = conversation.watermarks.get(user) or WatermarkRow(conversation.conversation_id, user)
        up_to = min(up_to, conversation.newest)
        if up_to > mark.read_up_to:
            self._move(conversation, mark, device, delivered=max(up_to, mark.delivered_up_to), read=up_to)
            mark = conversation.watermarks[user]
        elif up_to == mark.read_up_to and conversation.told_reads.get(user) != up_to:
            unread = WatermarkRow(conversation.conversation_id, user, mark.delivered_up_to)
            self._tell_soon(conversation, device, unread)
        self._commit.raise_soon(WATERMARKS, mark, done)

    async def changed_since(self, user: UserId, since_ms: int, request_id: int) -> Synced:
        """What moved since a moment: watermarks of direct conversations, and the user's settings."""
        at_ms = self._ids.now_ms()
        if self._peers.are_there:
            # What other nodes have noted may not be here yet.
            at_ms -= int(MARGIN_S * 1000)
        await self._commit.barrier()
        changed = await self._changed(user, since_ms)
        page = _page(changed, self._limits.sync_conversations)
        receipts: list[Receipt] = []
        for count, row in enumerate(page):
            if count % SYNC_BREATH == SYNC_BREATH - 1:
                await asyncio.sleep(0)  # others want their turn too
            receipts += [_receipt(mark) for mark in await self._shown(row.conversation_id, user)]
        more = len(page) < len(changed)
        next_ms = page[-1].at_ms + 1 if more else at_ms
        settings, until_ms = await self._settings.page_since(user, since_ms)
        if until_ms is not None:
            more, next_ms = True, min(next_ms, until_ms)
        return Synced(request_id, next_ms, receipts, more, settings)

    async def _shown(self, conversation_id: ConversationId, viewer: UserId) -> list[WatermarkRow]:
        """The watermarks of a direct conversation, as far as a member may see them; of a group, their own."""
        # Of other nodes' doing memory may be behind, and a client that has synced does not ask again.
        conversation = None if self._peers.are_there else self._conversations.cached(conversation_id)
        if conversation is not None and conversation.group is None:
            marks = [_seen_by(conversation, viewer, member) for member in conversation.members]
            return [mark for mark in marks if mark.at_ms]
        membership = await self._store.get(MEMBERSHIPS, (viewer, conversation_id))
        if membership is None or membership.kind != ConversationKind.DIRECT:
            own = await self._store.get(WATERMARKS, (conversation_id, viewer))
            return [] if own is None else [own]
        # Loading it would drive others out of memory, for the sake of a look.
        shown = []
        frozen = await self._store.range(FROZEN, (conversation_id,), limit=2)
        for mark in await self._store.range(WATERMARKS, (conversation_id,), limit=2):
            if mark.user_id != viewer and await self._privacy.is_blocked(mark.user_id, viewer):
                marks = [_thawed(row) for row in frozen if row.user_id == mark.user_id]
            else:
                marks = [mark]
            if not await self._privacy.may_see(viewer, mark.user_id, "receipts", even_if_blocked=True):
                marks = [_without_read(mark) for mark in marks]
            shown += [mark for mark in marks if mark.at_ms]
        return shown

    async def info(
        self, conversation: Conversation, viewer: UserId, row: MessageRow, request_id: int
    ) -> MessageInfo:
        """When a message was delivered and read. Raises ProtocolError (not_yours).

        Exact to `receipt_delay_s` while the log is kept; for older ones, when the member got anywhere
        last.
        """
        if row.sender_id != viewer:
            raise ProtocolError(NOT_YOURS, "only who wrote a message is told who read it")
        await self._commit.barrier()
        members = []
        if conversation.group is not None:
            await self._tellers.counted(conversation, row.version)
        for member in conversation.others(viewer):
            if not conversation.entitled(member, row.version):
                continue
            mark = _seen_by(conversation, viewer, member)
            if member in row.hidden_from:
                members.append(MemberInfo(member, 0, 0))
                continue
            delivered, read = await self._times(conversation.conversation_id, row.message_id, member)
            members.append(
                MemberInfo(
                    member,
                    self._time(delivered, mark.delivered_up_to, row.message_id, mark.at_ms),
                    self._time(read, mark.read_up_to, row.message_id, mark.at_ms),
                )
            )
        return MessageInfo(request_id, members)

    def _time(self, logged: int, up_to: MessageId, message_id: MessageId, at_ms: int) -> int:
        if message_id > up_to:
            return 0
        if at_ms <= UNTOLD_MS:
            return logged or self._ids.now_ms()
        return min(logged or at_ms, at_ms)  # the log may have a later move instead, not to be told

    async def _times(
        self, conversation_id: ConversationId, message_id: MessageId, member: UserId
    ) -> tuple[int, int]:
        """When a member's watermarks reached a message; 0 where the log does not say."""
        found = {Status.DELIVERED: 0, Status.READ: 0}
        bucket, looked_at = _log_bucket(message_id), 0
        after = (message_id - 1, snowflakes.SNOWFLAKE_MAX, 255)
        newest = _log_bucket(snowflakes.first_at(self._ids.now_ms()))
        while bucket <= newest and looked_at < LOG_SCANNED:
            rows = await self._store.range(
                RECEIPT_LOG, (conversation_id, bucket), after=after, limit=LOG_SCAN
            )
            looked_at += len(rows)
            for row in rows:
                if row.user_id == member and not found[Status(row.kind)]:
                    found[Status(row.kind)] = row.at_ms
            if all(found.values()):
                break
            if len(rows) < LOG_SCAN:
                bucket += LOG_BUCKET_S
            else:
                after = (rows[-1].up_to, rows[-1].user_id, rows[-1].kind)
        delivered, read = found[Status.DELIVERED], found[Status.READ]
        return (min(delivered, read) if delivered and read else delivered or read), read

    async def _changed(self, user: UserId, since_ms: int) -> list[ChangedRow]:
        rows = rows_of(self._store, CHANGED, (user,), at_once=SYNC_SCAN)
        return sorted([row async for row in rows if row.at_ms >= since_ms], key=lambda row: row.at_ms)

    def _move(
        self,
        conversation: Conversation,
        mark: WatermarkRow,
        device: DeviceId,
        *,
        delivered: MessageId,
        read: MessageId,
    ) -> None:
        at_ms = self._ids.now_ms()
        moved = WatermarkRow(conversation.conversation_id, mark.user_id, delivered, read, at_ms)
        conversation.watermarks[mark.user_id] = moved
        self._commit.raise_soon(WATERMARKS, moved)
        if delivered > mark.delivered_up_to:
            self._log(moved, Status.DELIVERED, delivered)
        if read > mark.read_up_to:
            self._log(moved, Status.READ, read)
        self._tell_soon(conversation, device, mark)

    def _deliver_in_group(self, conversation: Conversation, mark: WatermarkRow, up_to: MessageId) -> None:
        """Nobody is told of one member: a watermark moves, whatever the size of the group."""
        moved = WatermarkRow(mark.conversation_id, mark.user_id, up_to, mark.read_up_to, self._ids.now_ms())
        conversation.watermarks[mark.user_id] = moved
        unnamed = self._unnamed.get(mark.conversation_id)
        if unnamed is None:
            unnamed = self._first_unnamed(conversation)
        unnamed.marks[mark.user_id] = moved

    def _first_unnamed(self, conversation: Conversation) -> _Unnamed:
        if not self._unnamed:
            self._commit.name_soon(self._name_delivered)
        unnamed = self._unnamed[conversation.conversation_id] = _Unnamed(conversation, {})
        self._tellers.moved(conversation)
        return unnamed

    def _name_delivered(self) -> None:
        unnamed, self._unnamed = self._unnamed, {}
        for conversation, marks in unnamed.values():
            is_logged = len(conversation.members) <= LOGGED_MEMBERS
            for user, mark in marks.items():
                # As it is now: what was read meanwhile was named before, and so was its log.
                now = conversation.watermarks.get(user, mark)
                self._commit.raise_soon(WATERMARKS, now)
                if is_logged and now.delivered_up_to == mark.delivered_up_to:
                    self._log(mark, Status.DELIVERED, mark.delivered_up_to)
            # Those that moved after the last tally of this delay are to be told, too.
            self._tellers.moved(conversation)

    def _tell_soon(self, conversation: Conversation, device: DeviceId, was: WatermarkRow) -> None:
        """Tell at the end of this turn what moved a watermark from where it was."""
        if not self._moved:
            self._loop.call_soon(self._tell)
        key = (conversation.conversation_id, was.user_id)
        earlier = self._moved.get(key)
        if earlier is not None:
            # The first of a turn's moves says the least, but for a read that is told again.
            was = msgspec.structs.replace(earlier.was, read_up_to=min(earlier.was.read_up_to, was.read_up_to))
        self._moved[key] = _Moved(conversation, device, was)

    def _log(self, mark: WatermarkRow, kind: Status, up_to: MessageId) -> None:
        """Note when; of all that moved one watermark within the delay only the last is written."""
        row = ReceiptLogRow(mark.conversation_id, _log_bucket(up_to), up_to, mark.user_id, kind, mark.at_ms)
        self._commit.write_soon((mark.conversation_id, mark.user_id, kind), Put(RECEIPT_LOG, row, up_to))

    def _tell(self) -> None:
        moved, self._moved = self._moved, {}
        for (_, user), (conversation, device, was) in moved.items():
            mark = conversation.watermarks[user]
            if conversation.group is not None:
                self._tellers.moved(conversation)
            # The user's own other devices need what was read, not what was delivered.
            if mark.read_up_to > was.read_up_to:
                conversation.told_reads[user] = mark.read_up_to
                self._router.tell([user], _receipt(mark), skip=device)
                self._note(user, _receipt(mark))
            if conversation.group is None and user not in conversation.blockers:
                shown = mark
                if user in conversation.hides_reads:
                    shown = _without_read(mark)
                if shown.delivered_up_to > was.delivered_up_to or shown.read_up_to > was.read_up_to:
                    others = conversation.others(user)
                    self._router.tell(others, _receipt(shown))
                    for member in others:
                        self._note(member, _receipt(shown))

    def _note(self, member: UserId, receipt: Receipt, *, again: bool = False) -> None:
        """Have `Sync` tell a member of what moved.

        `again`: it was noted too late, or not at all. Whoever connected meanwhile has synced past it.
        """

        def noted(error: StoreError | None) -> None:
            if error is not None or self._commit.came_late:
                self._note(member, receipt, again=True)
            elif again:
                self._router.tell([member], receipt)

        at_ms = self._ids.now_ms()
        if again:
            # By a clock that stands it would come too late each time, and this node may be ended meanwhile.
            at_ms = max(at_ms, self._peers.seen_ms)
        row = ChangedRow(member, receipt.conversation_id, at_ms)
        self._commit.raise_soon(CHANGED, row, noted if self._peers.are_there else None)


def _page(changed: list[ChangedRow], limit: int) -> list[ChangedRow]:
    """The first rows, and all that share the last one's moment: the next page begins after it."""
    if len(changed) <= limit:
        return changed
    last_ms = changed[limit - 1].at_ms
    return changed[:limit] + [row for row in changed[limit:] if row.at_ms == last_ms]


def _receipt(mark: WatermarkRow) -> Receipt:
    return Receipt(mark.conversation_id, mark.user_id, mark.delivered_up_to, mark.read_up_to, mark.at_ms)


def status_of(conversation: Conversation, row: MessageRow, viewer: UserId) -> Status:
    """How far a message of a direct conversation has come.

    For the sender by the other's watermark, as far as it is shown; for the other by their own.
    """
    if conversation.group is not None:
        return _status(conversation.watermarks.get(viewer), row.message_id)
    counted = viewer if viewer != row.sender_id else conversation.others(row.sender_id)[0]
    if counted in row.hidden_from:
        return Status.SENT
    return _status(_seen_by(conversation, viewer, counted), row.message_id)


def _status(mark: WatermarkRow | None, message_id: MessageId) -> Status:
    if mark is None or message_id > mark.delivered_up_to:
        return Status.SENT
    return Status.READ if message_id <= mark.read_up_to else Status.DELIVERED


def _seen_by(conversation: Conversation, viewer: UserId, member: UserId) -> WatermarkRow:
    """A member's watermark, as far as a viewer may see it."""
    mark = conversation.watermarks[member]
    if member == viewer:
        return mark
    if member in conversation.frozen:
        mark = _thawed(conversation.frozen[member])
    return _without_read(mark) if member in conversation.hides_reads else mark


def _thawed(row: FrozenRow) -> WatermarkRow:
    return WatermarkRow(row.conversation_id, row.user_id, row.delivered_up_to, row.read_up_to, row.at_ms)


def _without_read(mark: WatermarkRow) -> WatermarkRow:
    # Nor when it moved: that would be when they read.
    return WatermarkRow(mark.conversation_id, mark.user_id, mark.delivered_up_to, MessageId(0), UNTOLD_MS)


def _log_bucket(up_to: int) -> int:
    seconds = (up_to >> snowflakes.TIME_SHIFT) // 1000
    return seconds - seconds % LOG_BUCKET_S
