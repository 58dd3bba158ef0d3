"""Bugs of groups, planted from outside as those of `planted.py` are: the simulation must find each."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import pytest

from tidings.domain import announcements, group_changes
from tidings.domain.announcements import Announcements
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.crossings import Crossings
from tidings.domain.dormancy import Dormancy
from tidings.domain.fanout import Fanout
from tidings.domain.group_state import GroupState
from tidings.domain.groups import Groups
from tidings.domain.peers import MARGIN_S, Freshness
from tidings.domain.rosters import Roster, Rosters
from tidings.domain.tallies import Counted
from tidings.protocol.frames import MessageTally
from tidings.protocol.ids import (
    CLIENT_ID_BYTES,
    TIME_SHIFT,
    ClientId,
    ConversationId,
    DeviceId,
    EntryId,
    MessageId,
    UserId,
)
from tidings.server.pulls import Pull, Pulls
from tidings.store.schema import ROSTERS, RosterRow

Plant = Callable[[pytest.MonkeyPatch], None]


def both_skipped(patch: pytest.MonkeyPatch) -> None:
    """A group that crosses a threshold goes its new way at once, while nodes still trust what was before."""
    due_s = Crossings._due_s

    def at_once(self: Crossings, fanout: Fanout, count: int, since: int) -> float | None:
        return 0.0 if fanout in (Fanout.BOTH, Fanout.TO_WRITE) else due_s(self, fanout, count, since)

    patch.setattr(Crossings, "_due_s", at_once)


def lost_at_the_threshold(patch: pytest.MonkeyPatch) -> None:
    """On the way down logs are read up to a margin before all knew of it, where it should be after that."""
    tell = Crossings._tell

    async def early(self: Crossings, roster: Roster, until: int = 0) -> None:
        margin = int(MARGIN_S * 1000) << TIME_SHIFT
        await tell(self, roster, roster.head.fanout_at - margin if until else 0)

    patch.setattr(Crossings, "_tell", early)


def stale_cache(patch: pytest.MonkeyPatch) -> None:
    """What a node has read of a conversation it trusts for as long as it has it."""
    patch.setattr(Freshness, "holds", lambda *_: True)


def receipts_counted(patch: pytest.MonkeyPatch) -> None:
    """A tally counts receipts, and not members: who acknowledges twice is counted twice."""
    of = Counted.of
    heard: WeakKeyDictionary[Conversation, dict[MessageId, set[tuple[UserId, MessageId]]]]
    heard = WeakKeyDictionary()

    def counted(self: Counted, message_id: MessageId, sender: UserId, version: int) -> MessageTally:
        tally = of(self, message_id, sender, version)
        conversation = self._conversation
        receipts = heard.setdefault(conversation, defaultdict(set))[message_id]
        for member in conversation.members:
            mark = conversation.watermarks[member].delivered_up_to
            if member != sender and mark >= message_id and conversation.entitled(member, version):
                receipts.add((member, mark))
        delivered = max(tally.delivered, min(len(receipts), tally.of))
        return MessageTally(message_id, delivered, tally.read, tally.of)

    patch.setattr(Counted, "of", counted)


def pulled_without_rights(patch: pytest.MonkeyPatch) -> None:
    """Whoever reads a log of a group gets all that stands there."""

    def is_for(self: Pulls, pull: Pull, version: int, conversation: Conversation) -> bool:
        return True

    patch.setattr(Pulls, "_is_for", is_for)


def set_without_comparing(patch: pytest.MonkeyPatch) -> None:
    """Who changes a group writes what it shall be, whatever it has become meanwhile."""
    expected_of = Rosters.set

    async def written(
        self: Rosters, expected: RosterRow | None, row: RosterRow, also: Sequence[RosterRow]
    ) -> bool:
        known = await self._store.get(ROSTERS, ROSTERS.key_of(row))
        return await expected_of(self, known, row, also)

    patch.setattr(Rosters, "set", written)


def told_without_a_name(patch: pytest.MonkeyPatch) -> None:
    """Each time that a change is told the message has a name of its own."""
    told = iter(range(1, 1 << 62))

    def name_of(conversation_id: ConversationId, version: int) -> ClientId:
        return ClientId(next(told).to_bytes(CLIENT_ID_BYTES))

    patch.setattr(announcements, "name_of", name_of)


def filled_up_by_nobody(patch: pytest.MonkeyPatch) -> None:
    """Who was dormant and is back is not told that their inbox lacks something."""
    came_back = Dormancy.came_back

    async def in_silence(self: Dormancy, user: UserId, device: DeviceId, start: EntryId) -> None:
        await came_back(self, user, device, start)

    patch.setattr(Dormancy, "came_back", in_silence)


def told_to_the_first(patch: pytest.MonkeyPatch) -> None:
    """Of the devices of who was dormant only the one that wakes them is told."""
    came_back, wake = Dormancy.came_back, Dormancy._wake
    waking = False

    async def noted(self: Dormancy, user: UserId, slept: EntryId) -> EntryId:
        nonlocal waking
        waking = True
        return await wake(self, user, slept)

    async def told(self: Dormancy, user: UserId, device: DeviceId, start: EntryId) -> EntryId | None:
        nonlocal waking
        waking = False
        complete = await came_back(self, user, device, start)
        return complete if waking else None

    patch.setattr(Dormancy, "_wake", noted)
    patch.setattr(Dormancy, "came_back", told)


def dormant_get_copies(patch: pytest.MonkeyPatch) -> None:
    """Members who are dormant cost as much as others."""

    def all_of_them(self: GroupState, sender: UserId) -> list[UserId]:
        return [member for member in self.roles if member != sender] if self.fanout.writes_copies else []

    patch.setattr(GroupState, "recipients", all_of_them)


def owner_without_an_heir(patch: pytest.MonkeyPatch) -> None:
    """An owner's account ends, and nobody takes the group over."""
    patch.setattr(group_changes, "_heir", lambda *_: None)


def added_while_leaving(patch: pytest.MonkeyPatch) -> None:
    """Whoever adds somebody does not look whether they are still there: neither first nor once more."""

    async def nobody(self: Announcements, users: list[UserId]) -> list[UserId]:
        return []

    async def anybody(self: Groups, users: Sequence[UserId]) -> None:
        return

    patch.setattr(Announcements, "_gone", nobody)
    patch.setattr(Groups, "_check_there", anybody)


def reads_of_the_hidden(patch: pytest.MonkeyPatch) -> None:
    """A tally counts the reads of those who show none."""

    async def nobody(self: Conversations, conversation: Conversation) -> None:
        conversation.hides_reads = frozenset()

    patch.setattr(Conversations, "_learn_of_group", nobody)


PLANTS: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        both_skipped,
        lost_at_the_threshold,
        stale_cache,
        receipts_counted,
        pulled_without_rights,
        set_without_comparing,
        told_without_a_name,
        filled_up_by_nobody,
        told_to_the_first,
        dormant_get_copies,
        owner_without_an_heir,
        added_while_leaving,
        reads_of_the_hidden,
    )
}
