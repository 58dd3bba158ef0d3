"""Whether lists of conversations follow from rosters and subscribers, and anew where they do not.

A group's members may be told of a change a little later: rows that a change is about to write are not missed.
"""

from collections.abc import AsyncIterator

from tidings.protocol.frames import ConversationKind
from tidings.store.backup import pages
from tidings.store.contract import Erase, Put, Write
from tidings.store.rocks import RocksStore
from tidings.store.schema import (
    HEAD_MEMBER,
    MEMBERSHIPS,
    ROSTERS,
    SUBSCRIBERS,
    USERS,
    GroupHead,
    MembershipRow,
    share_of,
)

TOP = (1 << 63) - 1


async def lacking(store: RocksStore) -> AsyncIterator[tuple[str, list[Write]]]:
    """Members of groups and channels whose list lacks the conversation: where, and what mends it."""
    head: GroupHead | None = None
    async for rows in pages(store, ROSTERS):
        for row in rows:
            if row.user_id == HEAD_MEMBER:
                head = row.head
            elif head is not None and head.kind == ConversationKind.GROUP and row.left_version is None:
                derived = MembershipRow(
                    row.user_id, row.conversation_id, head.kind, row.joined_version, pulled_from=_pulled(head)
                )
                async for found in _lacks(store, derived, head.cause):
                    yield found
    async for subscribers in pages(store, SUBSCRIBERS):
        for one in subscribers:
            if one.left_version is None:
                derived = MembershipRow(
                    one.user_id,
                    one.conversation_id,
                    ConversationKind.CHANNEL,
                    one.joined_version,
                    pulled_from=1,
                )
                async for found in _lacks(store, derived, one.user_id):
                    yield found


async def is_right(store: RocksStore, row: MembershipRow) -> bool:
    """Whether somebody whose list has a group or a channel is, or was, in it."""
    if row.kind == ConversationKind.CHANNEL:
        key = (row.conversation_id, share_of(row.user_id), row.user_id)
        subscriber = await store.get(SUBSCRIBERS, key)
        return subscriber is not None and bool(row.left_version or subscriber.left_version is None)
    member = await store.get(ROSTERS, (row.conversation_id, row.user_id))
    return member is not None and bool(row.left_version or member.left_version is None)


async def _lacks(
    store: RocksStore, derived: MembershipRow, cause: int
) -> AsyncIterator[tuple[str, list[Write]]]:
    key = MEMBERSHIPS.key_of(derived)
    row = await store.get(MEMBERSHIPS, key)
    is_there = row is not None and (row.kind, row.joined_version, row.left_version) == (
        derived.kind,
        derived.joined_version,
        None,
    )
    if not is_there and await store.get(USERS, (derived.user_id,)) is not None:
        where = f"user {derived.user_id} in {derived.conversation_id.hex()}"
        yield where, [Erase(MEMBERSHIPS, key, TOP), Put(MEMBERSHIPS, derived, cause)]


def _pulled(head: GroupHead) -> int:
    """From where on its messages may stand in no inbox."""
    return head.fanout_at if head.fanout else 0
