"""Receipts: how far each member has got, as watermarks that only move forward.

*Delivered* moves with the first of a user's devices that acknowledges, *read* with the user;
READ implies DELIVERED. A receipt is state: all that moved in one turn goes out as one frame
a member, and one that is lost is found again by `Sync`.

spec §6.6
"""

import asyncio

from tidings.domain.clock import IdClock
from tidings.domain.commit import Done, GroupCommit
from tidings.domain.conversations import Conversation
from tidings.domain.router import Router
from tidings.protocol.frames import Receipt, Status, Synced
from tidings.protocol.ids import ConversationId, DeviceId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Store
from tidings.store.schema import CHANGED, WATERMARKS, ChangedRow, WatermarkRow

SYNC_BREATH = 32
"""conversations looked up in one turn of the loop"""
SYNC_SCAN = 1000
"""rows of `changed` read at once"""


class Receipts:
    """Moves watermarks, tells who must know, and answers what moved since."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        ids: IdClock,
        router: Router,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._store = store
        self._commit = commit
        self._ids = ids
        self._router = router
        self._limits = limits
        self._loop = loop
        self._moved: dict[tuple[ConversationId, UserId], tuple[Conversation, bool, DeviceId]] = {}
        """of this turn: whose watermark, whether *read* moved, and by which device"""

    def delivered(self, conversation: Conversation, user: UserId, device: DeviceId, up_to: MessageId) -> None:
        """A device of the user has stored everything up to a message."""
        mark = conversation.watermarks[user]
        if up_to > mark.delivered_up_to:
            self._move(conversation, mark, device, delivered=up_to, read=mark.read_up_to)

    def read(
        self, conversation: Conversation, user: UserId, device: DeviceId, up_to: MessageId, done: Done
    ) -> None:
        """The user has seen everything up to a message; `done` when that is durable.

        Clamped to what was sent. One that moves nothing is still made durable before `done`:
        it may repeat one that is on its way to the disk.
        """
        mark = conversation.watermarks[user]
        up_to = min(up_to, conversation.newest)
        if up_to > mark.read_up_to:
            self._move(conversation, mark, device, delivered=max(up_to, mark.delivered_up_to), read=up_to)
            mark = conversation.watermarks[user]
        self._commit.raise_soon(WATERMARKS, mark, done)

    async def changed_since(self, user: UserId, since_ms: int, request_id: int) -> Synced:
        """The watermarks of the user's direct conversations that moved since a moment."""
        at_ms = self._ids.now_ms()
        await self._commit.barrier()
        changed = await self._changed(user, since_ms)
        page = _page(changed, self._limits.sync_conversations)
        receipts: list[Receipt] = []
        for count, row in enumerate(page):
            if count % SYNC_BREATH == SYNC_BREATH - 1:
                await asyncio.sleep(0)  # others want their turn too
            marks = await self._store.range(WATERMARKS, (row.conversation_id,), limit=2)
            receipts += [_receipt(mark) for mark in marks]
        more = len(page) < len(changed)
        return Synced(request_id, page[-1].at_ms + 1 if more else at_ms, receipts, more)

    async def _changed(self, user: UserId, since_ms: int) -> list[ChangedRow]:
        found: list[ChangedRow] = []
        after = None
        while True:
            rows = await self._store.range(CHANGED, (user,), after=after, limit=SYNC_SCAN)
            found += [row for row in rows if row.at_ms >= since_ms]
            if len(rows) < SYNC_SCAN:
                return sorted(found, key=lambda row: row.at_ms)
            after = (rows[-1].conversation_id,)

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
        if not self._moved:
            self._loop.call_soon(self._tell)
        key = (conversation.conversation_id, mark.user_id)
        earlier = self._moved.get(key)
        is_read = read > mark.read_up_to or (earlier is not None and earlier[1])
        self._moved[key] = (conversation, is_read, device)

    def _tell(self) -> None:
        moved, self._moved = self._moved, {}
        for (conversation_id, user), (conversation, is_read, device) in moved.items():
            mark = conversation.watermarks[user]
            # The user's own other devices need what was read, not what was delivered.
            concerned = conversation.members if is_read else conversation.others(user)
            for member in concerned:
                self._commit.raise_soon(CHANGED, ChangedRow(member, conversation_id, mark.at_ms))
            self._router.tell(concerned, _receipt(mark), skip=device)


def _page(changed: list[ChangedRow], limit: int) -> list[ChangedRow]:
    """The first rows, and all that share the last one's moment: the next page begins after it."""
    if len(changed) <= limit:
        return changed
    last_ms = changed[limit - 1].at_ms
    return changed[:limit] + [row for row in changed[limit:] if row.at_ms == last_ms]


def _receipt(mark: WatermarkRow) -> Receipt:
    return Receipt(mark.conversation_id, mark.user_id, mark.delivered_up_to, mark.read_up_to, mark.at_ms)


def status_of(conversation: Conversation, sender: UserId, viewer: UserId, message: MessageId) -> Status:
    """How far a message of a direct conversation has come.

    For the sender by the other's watermark; for the other by their own.
    """
    counted = viewer if viewer != sender else conversation.others(sender)[0]
    mark = conversation.watermarks[counted]
    if message <= mark.read_up_to:
        return Status.READ
    return Status.DELIVERED if message <= mark.delivered_up_to else Status.SENT
