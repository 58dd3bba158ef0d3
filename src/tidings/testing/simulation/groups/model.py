"""The model of groups: their records, what was answered, and who acknowledged and read what."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tidings.protocol.frames import MessageTally
from tidings.protocol.ids import ConversationId, DeviceId, MessageId, UserId
from tidings.store.schema import RosterRow
from tidings.testing.simulation.groups.accounts import RECEIPTS, Privacy
from tidings.testing.simulation.groups.record import Record, State
from tidings.testing.simulation.model import Model, Said, Verdict

Holds = Callable[[State], bool]


NOTED_S = 10.0
"""until whoever is added to a group is told, if no store is slow for long; in a channel they are one of
its members from then on, not before"""


HEEDED_S = 60.0
"""until what was told of those who show no receipts any more is on nobody's way any more"""


class Wished(NamedTuple):
    """A change of a group that was answered with Ok."""

    text: str
    conversation: ConversationId
    holds: Holds
    """what must have been so at some time between asking and answer"""
    asked_s: float
    answered_s: float


class Marks(NamedTuple):
    """Up to where a user has a group's messages, and has read them."""

    delivered: MessageId
    read: MessageId


class GroupModel(Model):
    """See the module's text. `members`: who is in each group now."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        super().__init__()
        self._now_s = now_s
        self.privacy = Privacy()
        self.departed: set[UserId] = set()
        """whose account ends"""
        self.records: dict[ConversationId, Record] = {}
        self.problems: list[str] = []
        """what was wrong with what was stored"""
        self.wished: list[Wished] = []
        self.acked_up_to: dict[tuple[ConversationId, UserId], dict[DeviceId, MessageId]] = {}
        """the newest message of others that each device of a user said to have stored"""
        self.counted_up_to: dict[tuple[ConversationId, UserId, int], dict[DeviceId, MessageId]] = {}
        """the same, of messages of a stay, said during that stay; by the version in which it began"""
        self.read_up_to: dict[tuple[ConversationId, UserId], MessageId] = {}
        """up to where somebody was answered to have read"""
        self.gone: set[DeviceId] = set()
        """devices that were signed out: what they said last may have reached nobody"""
        self.versions: dict[MessageId, int] = {}
        """of messages, as they were delivered"""

    # --- what happens -------------------------------------------------------------------------

    def stored(self, row: RosterRow, also: Sequence[RosterRow], now_s: float) -> None:
        """A group was changed."""
        conversation = row.conversation_id
        record = self.records.setdefault(conversation, Record(conversation))
        self.problems += record.add(row, also, now_s)
        if record.states:
            self.members[conversation] = tuple(record.now.roles)

    def acks(self, device: DeviceId, conversation: ConversationId, up_to: MessageId) -> None:
        """A device says that it has stored a message of somebody else."""
        user = self.user_of[device]
        acked = self.acked_up_to.setdefault((conversation, user), {})
        acked[device] = max(acked.get(device, MessageId(0)), up_to)
        stay = self.records[conversation].stay_of(user)
        if stay is not None and stay.covers(self.versions[up_to]):
            counted = self.counted_up_to.setdefault((conversation, user, stay.first), {})
            counted[device] = max(counted.get(device, MessageId(0)), up_to)

    def read_answered(
        self, user: UserId, conversation: ConversationId, up_to: MessageId, now_s: float
    ) -> None:
        """What was read is durable."""
        super().read_answered(user, conversation, up_to, now_s)
        key = conversation, user
        self.read_up_to[key] = max(self.read_up_to.get(key, MessageId(0)), up_to)

    # --- what follows from it -------------------------------------------------------------------

    def is_shut(self, said: Said) -> bool:  # noqa: ARG002
        """Nobody waits to be let in before they are written to."""
        return False

    def verdict(self, said: Said) -> Verdict:  # noqa: ARG002
        """Blocks change nothing in groups."""
        return Verdict.SHOWN

    def titles(self, users: Mapping[Any, str]) -> dict[ConversationId, str]:  # noqa: ARG002
        """What groups are called."""
        return {
            name: f"{'channel' if record.is_channel else 'group'} {number}"
            for number, (name, record) in enumerate(self.records.items(), 1)
        }

    def was_member(self, conversation: ConversationId, user: UserId, since_s: float, until_s: float) -> bool:
        """Whether a user was in a group all the time."""
        record = self.records.get(conversation)
        states = [] if record is None else list(record.during(since_s, until_s))
        return bool(states) and all(user in state.roles for state in states)

    def came_by(self, conversation: ConversationId, user: UserId, at_s: float) -> bool:
        """Whether somebody was answered by then that a member had come."""
        record = self.records[conversation]
        stay = record.stay_of(user)
        if stay is None:
            return False
        came, before = record.states[stay.first - 1], record.states[: stay.first - 1]
        return any(
            wished.conversation == conversation
            and came.at_s <= wished.answered_s <= at_s
            and wished.holds(came)
            and not (before and wished.holds(before[-1]))
            for wished in self.wished
        )

    def marks(self, conversation: ConversationId, user: UserId, *, most: bool) -> Marks:
        """Up to where a user has a group's messages: at least, or at most."""
        key = conversation, user
        if most:
            acked = self.acked_up_to.get(key, {})
            read = self.read_asked.get((user, conversation), MessageId(0))
            return Marks(max((*acked.values(), read)), read)
        read = self.read_up_to.get(key, MessageId(0))
        stay = self.records[conversation].stay_of(user)
        acked = {} if stay is None else self.counted_up_to.get((conversation, user, stay.first), {})
        return Marks(
            max((read, *(up_to for device, up_to in acked.items() if device not in self.gone))), read
        )

    def tally(
        self, conversation: ConversationId, message: MessageId, sender: UserId, *, most: bool
    ) -> MessageTally | None:
        """How many have a message, and how many could have; None if nobody knows its version.

        At most, with all who left and have it; at least, of those who left with all who had read it by then.
        """
        record, version = self.records[conversation], self.versions.get(message)
        if version is None:
            return None
        now_s = self._now_s()
        delivered = read = of = 0
        for stay in record.stays:
            if stay.user == sender or not stay.covers(version):
                continue
            if stay.end is not None and not most:
                marks = self._read_before(conversation, stay.user, record.states[stay.end - 1].at_s)
            else:
                marks = self.marks(conversation, stay.user, most=most)
            has_it = marks.delivered >= message
            delivered += has_it
            hides = self.privacy.hides(stay.user, RECEIPTS, now_s - HEEDED_S, now_s)
            if stay.user in self.departed:
                hides = {True, False}  # what they wished went with the account
            read += marks.read >= message and (False in hides if most else hides == {False})
            of += has_it or stay.end is None
        return MessageTally(message, delivered, read, of)

    def _read_before(self, conversation: ConversationId, user: UserId, at_s: float) -> Marks:
        """Up to where a user was answered to have read, before a moment."""
        read = [
            one.up_to
            for one in self.readings
            if (one.user, one.conversation) == (user, conversation) and one.answered_s < at_s
        ]
        up_to = max(read, default=MessageId(0))
        return Marks(up_to, up_to)
