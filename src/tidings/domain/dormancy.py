"""Dormancy: members whose devices were all not seen for long cost a group nothing a message.

Nothing is put into the inbox of a dormant member. When one of their devices comes back, the group is told
before anything else, each node heeds it, and then the device learns that its inbox was not complete: what it
lacks is in the history.

spec §6.4, §6.17
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from tidings.domain.clock import IdClock
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.peers import Peers
from tidings.domain.rosters import Rosters, revised
from tidings.protocol.frames import ConversationKind
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, UserId, unix_ms
from tidings.protocol.limits import Limits
from tidings.store.contract import Store
from tidings.store.paging import rows_of
from tidings.store.schema import MEMBERSHIPS, ROSTERS, SEEN

LOOK_MS = 86_400_000
"""how often a group's members are looked at"""
EARLY_MS = 2 * 86_400_000
"""A cursor moves once a day at least while its device is connected: one that is so much younger than a
dormant one is nobody's who is dormant."""
READ_AT_ONCE = 256
"""rows read at once"""


class Dormancy:
    """See the module's text."""

    def __init__(
        self,
        store: Store,
        ids: IdClock,
        conversations: Conversations,
        limits: Limits,
        peers: Peers,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._rosters = Rosters(store)
        self._ids = ids
        self._conversations = conversations
        self._limits = limits
        self._peers = peers
        self._random_bytes = random_bytes

    async def sweep(self) -> int:
        """Look at the groups in memory, each once a day: how many members fell asleep. Raises StoreError."""
        count, now_ms = 0, self._ids.now_ms()
        for conversation in self._conversations.held():
            group = conversation.group
            if group is None or conversation.kind != ConversationKind.GROUP:
                continue
            if group.fanout.writes_copies and now_ms - group.looked_at > LOOK_MS:
                group.looked_at = now_ms
                count += await self._look(conversation)
                await asyncio.sleep(0)
        return count

    async def came_back(self, user: UserId, device: DeviceId, cursor: EntryId) -> EntryId | None:
        """A device has connected: from where on its inbox is complete, if its user was dormant.

        Raises StoreError.
        """
        asleep_ms = self._limits.dormant_s * 1000
        is_new = int(cursor) == int(device)
        if not is_new and self._ids.now_ms() - unix_ms(cursor) < asleep_ms - min(EARLY_MS, asleep_ms // 2):
            return None
        groups = await self._groups(user)
        was_dormant = False
        for first in range(0, len(groups), READ_AT_ONCE):
            some = groups[first : first + READ_AT_ONCE]
            rows = await self._store.get_many(ROSTERS, [(group, user) for group in some])
            for row in rows:
                if row is not None and row.dormant and row.left_version is None:
                    await self._set(row.conversation_id, [user], dormant=False)
                    was_dormant = True
        if not was_dormant:
            return None
        # Until then other nodes leave the user out.
        await self._peers.know()
        return EntryId(self._ids.next())

    # --- inside -----------------------------------------------------------------------------

    async def _look(self, conversation: Conversation) -> int:
        """Have those members of a group sleep who were not seen for long."""
        group, since_ms = conversation.group, self._ids.now_ms() - self._limits.dormant_s * 1000
        assert group is not None
        asleep: list[UserId] = []
        for member in conversation.members:
            if not group.is_dormant(member) and await self._seen_ms(member) < since_ms:
                asleep.append(member)
        if asleep:
            await self._set(conversation.conversation_id, asleep, dormant=True)
        return len(asleep)

    async def _seen_ms(self, user: UserId) -> int:
        """When a device of a user was seen last."""
        rows = await self._store.range(SEEN, (user,), limit=READ_AT_ONCE)
        return max((row.at_ms for row in rows), default=unix_ms(user))

    async def _groups(self, user: UserId) -> list[ConversationId]:
        rows = rows_of(self._store, MEMBERSHIPS, (user,), at_once=READ_AT_ONCE)
        return [row.conversation_id async for row in rows if row.kind == ConversationKind.GROUP]

    async def _set(self, conversation_id: ConversationId, users: Sequence[UserId], *, dormant: bool) -> None:
        while True:
            roster = await self._rosters.read(conversation_id)
            if roster is None:
                return
            rows = [
                msgspec.structs.replace(row, dormant=dormant)
                for row in roster.present
                if row.user_id in users and row.dormant != dormant
            ]
            if not rows:
                return
            after = revised(roster, roster.head, rows, self._ids.next(), self._random_bytes(16))
            if await self._rosters.set(roster.row, after.row, rows):
                await self._conversations.changed(after)
                return
