"""Rosters: who is in a group, changed by compare-and-set together with the group itself.

The row of HEAD_MEMBER holds what belongs to the group; of two changes that are made at once one finds that
it has moved, and is judged anew by what the other has left. Whoever left keeps a row: what was sent before
is still theirs.

spec §6.17
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from tidings.protocol.frames import GroupRole
from tidings.protocol.ids import ConversationId, UserId
from tidings.store.contract import OutcomeUnknown, Store
from tidings.store.schema import HEAD_MEMBER, ROSTERS, GroupHead, RosterRow, Stay, WatermarkRow

PAGE_ROWS = 512
"""rows read at once"""
STAYS_KEPT = 8
"""of somebody who comes and goes, the last ones"""


class Roster(NamedTuple):
    """A group as it is stored."""

    row: RosterRow
    """of HEAD_MEMBER"""
    head: GroupHead
    members: dict[UserId, RosterRow]
    """everybody who ever was in it, by id; of a channel nobody"""

    def role(self, user: UserId) -> GroupRole | None:
        """What a user is in the group; None: not in it. Of a channel only its staff is known here."""
        if user in self.head.staff:
            return GroupRole(self.head.staff[user])
        row = self.members.get(user)
        return None if row is None or row.left_version is not None else GroupRole(row.role)

    def has_left(self, user: UserId) -> bool:
        """Whether a user was in the group and is not any more."""
        row = self.members.get(user)
        return row is not None and row.left_version is not None

    @property
    def present(self) -> list[RosterRow]:
        """Who is in it, by id."""
        return [row for row in self.members.values() if row.left_version is None]


def revised(
    roster: Roster, head: GroupHead, rows: Sequence[RosterRow], cause: int, request_id: bytes
) -> Roster:
    """A group as a change makes it. Its `cause` is an id; it grows whatever the clocks say."""
    head = msgspec.structs.replace(head, cause=max(cause, roster.head.cause + 1))
    row = msgspec.structs.replace(roster.row, request_id=request_id, head=head)
    return Roster(row, head, {**roster.members, **{member.user_id: member for member in rows}})


def stays_of(row: RosterRow, mark: WatermarkRow | None) -> list[Stay]:
    """The stays of somebody who has left, the last one as far as their watermark says."""
    assert row.left_version is not None
    mark = mark or WatermarkRow(row.conversation_id, row.user_id)
    last = Stay(row.joined_version, row.left_version, mark.delivered_up_to, mark.read_up_to)
    return [*row.stays, last][-STAYS_KEPT:]


class Rosters:
    """Reads rosters, and writes them for those who know the rules."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def head(self, conversation_id: ConversationId) -> RosterRow | None:
        """What belongs to a group itself; None where there is no such group. Raises StoreError."""
        return await self._store.get(ROSTERS, (conversation_id, HEAD_MEMBER))

    async def read(self, conversation_id: ConversationId) -> Roster | None:
        """A group and everybody in it, of one moment. Raises StoreError."""
        while True:
            rows = await self._page(conversation_id, None)
            if not rows or rows[0].head is None:
                return None
            row, head = rows[0], rows[0].head
            members = {member.user_id: member for member in rows[1:]}
            if len(rows) < PAGE_ROWS:
                return Roster(row, head, members)
            while len(rows) == PAGE_ROWS:
                rows = await self._page(conversation_id, rows[-1].user_id)
                members.update((member.user_id, member) for member in rows)
            if await self.head(conversation_id) == row:
                return Roster(row, head, members)

    async def member(self, conversation_id: ConversationId, user: UserId) -> RosterRow | None:
        """One member's row. Raises StoreError."""
        return await self._store.get(ROSTERS, (conversation_id, user))

    async def set(self, expected: RosterRow | None, row: RosterRow, also: Sequence[RosterRow]) -> bool:
        """Write a group's own row, and members' with it, unless it is not what was expected.

        Whether it was written: all of it, or nothing. Raises StoreError: then it is not known, and
        whoever asks again with the same `request_id` gets True if it was.
        """
        try:
            found = await self._store.compare_and_set(ROSTERS, expected, row, also)
        except OutcomeUnknown:
            found = await self.head(row.conversation_id)
            return found is not None and found.request_id == row.request_id
        return found is None or found.request_id == row.request_id

    async def _page(self, conversation_id: ConversationId, after: UserId | None) -> list[RosterRow]:
        key = None if after is None else (after,)
        return await self._store.range(ROSTERS, (conversation_id,), after=key, limit=PAGE_ROWS)
