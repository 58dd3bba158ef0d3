"""Heirs: who may take a group over from an owner whose account ends.

Whose account ends, too, may not: two of them would hand the group to each other for ever, and whoever began
to end theirs and never came back to it would keep it. Here it is read who that is; `group_changes` decides.
"""

from tidings.domain import group_changes
from tidings.domain.rosters import Roster
from tidings.domain.users import ending
from tidings.protocol.frames import GroupRole
from tidings.protocol.ids import ConversationId, UserId
from tidings.store.contract import Store
from tidings.store.schema import SHARES, SUBSCRIBERS

AT_ONCE = 16
"""who are looked at at once"""


async def passed_over(store: Store, roster: Roster, user: UserId) -> set[UserId]:
    """Those who would take over from an owner, but for the end of their accounts. Raises StoreError."""
    found: set[UserId] = set()
    if roster.role(user) != GroupRole.OWNER:
        return found
    heirs = group_changes.heirs(roster, user)
    for first in range(0, len(heirs), AT_ONCE):
        some = heirs[first : first + AT_ONCE]
        gone = await ending(store, some)
        found.update(gone)
        if len(gone) < len(some):
            break
    return found


async def listeners(store: Store, conversation_id: ConversationId, after: UserId, limit: int) -> list[UserId]:
    """Who is in a channel, by id. Raises StoreError."""
    found: list[UserId] = []
    for share in range(SHARES):
        rows = await store.range(SUBSCRIBERS, (conversation_id, share), after=(after,), limit=limit)
        found += [row.user_id for row in rows if row.left_version is None]
    return sorted(found)[:limit]


async def some_listeners(store: Store, conversation_id: ConversationId) -> list[UserId]:
    """So many of a channel, by id, that the account of one of them does not end. Raises StoreError."""
    found: list[UserId] = []
    while True:
        some = await listeners(store, conversation_id, found[-1] if found else UserId(0), AT_ONCE)
        found += some
        if len(some) < AT_ONCE or len(await ending(store, some)) < len(some):
            return found
