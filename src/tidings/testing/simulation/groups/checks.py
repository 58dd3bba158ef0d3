"""The checks of groups: what must be true at the end of a run, by the model, the log, and what all were told.

Who is entitled to a message follows from the group's record and the version at which it was accepted, which
stands in the log; and that version must have been the group's when it was accepted, or nearly.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tidings.domain.inboxes import MESSAGE_ENTRY
from tidings.protocol.frames import CHANGES, GroupAction
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.schema import INBOX, MESSAGES, MessageRow
from tidings.testing.simulation.checks import TORN_S, Checks, complaints, delivered, prompt, rows, settled
from tidings.testing.simulation.device import Device
from tidings.testing.simulation.groups import counts, rosters
from tidings.testing.simulation.groups.accounts import GROUPS
from tidings.testing.simulation.groups.device import GroupDevice
from tidings.testing.simulation.model import Said
from tidings.testing.simulation.profile import Ref

if TYPE_CHECKING:
    from tidings.testing.simulation.groups.run import GroupSimulation


HEEDED_S = 5.0
"""until all nodes know that a member is awake"""
TRUSTED_S = 3.0
"""until no node takes a member for awake who is dormant"""
CHECKED_S = 30.0
"""from when it was looked whether somebody may be added until they are, at most"""


class GroupChecks(Checks):
    """What the checks have looked up once."""

    def __init__(self, simulation: "GroupSimulation") -> None:
        super().__init__(simulation)
        self.groups = simulation
        self.records = simulation.model.records
        self.log: dict[MessageId, MessageRow] = {}
        """what was written and stands"""
        self.copies: dict[Ref, list[MessageRow]] = defaultdict(list)
        """of each message: one row, of a twin two"""
        for row in simulation.scan(MESSAGES):
            if not row.hidden_from:  # else it came too late, and was taken again
                self.log[row.message_id] = row
                self.copies[Ref(row.sender_device, row.client_id)].append(row)
                simulation.model.versions[row.message_id] = row.version

    def readers(self, said: Said) -> list[Device]:
        """The devices that must have a message in the end, its own included."""
        record = self.records[said.conversation]
        # (What is taken again, since a profile was set back, may be for others.)
        versions = [self.log[one].version for one in said.message_ids[:1] if one in self.log]
        conversation = said.conversation
        assert said.sent_s is not None
        return [
            device
            for device in self.groups.devices
            if device.born_s < said.sent_s
            and any(record.is_entitled(device.user.user_id, version) for version in versions)
            and not self.is_excused(device, conversation, max(versions), said.sent_s, said.sender)
            and not self.was_missed(device.user.user_id, said, versions)
        ]

    def is_excused(
        self,
        device: GroupDevice,
        conversation: ConversationId,
        version: int,
        at_s: float,
        sender: UserId | None = None,
    ) -> bool:
        """Whether a profile was set back to before something that is told to nobody again.

        `at_s`: from when on it may have been told.
        What stood in no inbox (what was read from the log; what was written where there was no other device)
        is read back from the history, and who has left does not see that any more.
        """
        record = self.records[conversation]
        user = device.user.user_id
        if record.was_read and record.has_come_back(user, version):
            return True  # and is entitled from then on
        if all(restored_s < at_s for restored_s in device.restored_s):
            return False
        if not record.was_read and user != sender:
            return False
        return not self.reads(user, conversation, version)

    def has_lesser_twin(self, device: GroupDevice, said: Said, place: MessageId) -> bool:
        """Whether a device rightly knows the other one of two only: it is not told of this place."""
        version = self.log[place].version
        assert said.sent_s is not None
        return self.is_excused(
            device, said.conversation, version, said.sent_s, said.sender
        ) or self.was_missed(device.user.user_id, said, [version])

    def was_missed(self, user: UserId, said: Said, versions: Sequence[int]) -> bool:
        """Whether it was said while a user was dormant who may not read the history of that time any more."""
        assert said.sent_s is not None
        begin_s, end_s = said.sent_s, said.acked_s or 0.0
        return any(
            sleep.user == user and sleep.begin_s <= end_s and begin_s <= sleep.end_s + HEEDED_S
            for sleep in self.records[said.conversation].sleeps
        ) and not any(self.reads(user, said.conversation, version) for version in versions)

    def reads(self, user: UserId, conversation: ConversationId, version: int) -> bool:
        """Whether the history has a version for a user."""
        stays = self.records[conversation].stays
        return any(stay.user == user and stay.end is None and stay.covers(version) for stay in stays)

    def place(self, user: UserId, conversation: ConversationId, ref: Ref) -> MessageId | None:
        """Where a message stands for a user; of twins the greater that is theirs."""
        record = self.records[conversation]
        theirs = [row for row in self.copies[ref] if record.is_entitled(user, row.version)]
        return max((row.message_id for row in theirs), default=None)


def check(simulation: "GroupSimulation") -> None:
    """Find all that is broken."""
    checks = GroupChecks(simulation)
    for one in (
        settled,
        delivered,
        prompt,
        _in_one_order,
        _kept,
        _as_history_says,
        _versions,
        rosters.check,
        counts.check,
        _dormant_cost_nothing,
        _gone_are_gone,
        rows,
        complaints,
    ):
        one(checks)


def told_unasked(simulation: "GroupSimulation") -> None:
    """What was told of calm messages, before anybody connects anew and asks."""
    counts.told_unasked(GroupChecks(simulation))


def _in_one_order(checks: GroupChecks) -> None:
    """Everybody has every message at one place, of its own, after what its device had before."""
    for device in checks.groups.devices:
        user = device.user.user_id
        places: dict[tuple[ConversationId, MessageId], Ref] = {}
        for one in device.profile.messages.values():
            other = places.setdefault((one.conversation, one.message_id), one.ref)
            if other != one.ref:
                checks.broken("2 once", f"{device.name}: two messages at {one.message_id}", other, one.ref)
            said = checks.model.said.get(one.ref)
            if said is None or said.acked_s is None or checks.may_be_gone(said):
                continue
            if said.sent_s is None or device.born_s >= said.sent_s:
                continue  # of what was before a device it may see a part
            place = checks.place(user, one.conversation, one.ref)
            if place is None:
                is_torn = said.attempts > 1 or said.acked_s - said.sent_s > TORN_S
                if not is_torn:
                    checks.broken("1 kept", f"{device.name} has what the log lacks", one.ref)
            elif place != one.message_id and not checks.has_lesser_twin(device, said, place):
                text = f"{device.name} has at {one.message_id} what the log has at {place}"
                checks.broken("2 one order", text, one.ref)
    for said in checks.model.said.values():
        if said.message_ids and min(said.message_ids) <= said.after:
            text = f"{said.content!r} stands at {said.message_ids}, its device had {said.after}"
            checks.broken("2 causal order", text, said.ref)


def _kept(checks: GroupChecks) -> None:
    """What was acknowledged is in the log."""
    for said in checks.model.said.values():
        for message_id in said.message_ids:
            row = checks.log.get(message_id)
            if row is None or (row.sender_device, row.client_id) != said.ref:
                checks.broken("1 kept", f"{said.content!r} is not at {message_id}", said.ref)


def _as_history_says(checks: GroupChecks) -> None:
    """Members read all that is theirs, and nothing else."""
    for user, past in checks.simulation.pasts.items():
        for ref, messages in past.onwards.items():
            for message in messages:
                if not checks.reads(user, message.conversation_id, message.version):
                    checks.broken("4 rights", f"the history tells {user} of {message.version}", ref)
        for said in checks.model.said.values():
            if said.acked_s is None or checks.may_be_gone(said):
                continue
            versions = [checks.log[one].version for one in said.message_ids if one in checks.log]
            if not any(checks.reads(user, said.conversation, version) for version in versions):
                continue
            is_there = said.ref in past.onwards and (said.relation in CHANGES or said.ref in past.told)
            if not is_there:
                checks.broken("1 kept", f"{said.content!r} is missing in a history", said.ref)


def _versions(checks: GroupChecks) -> None:
    """A message has a version of its time, and its sender was a member then."""
    known: dict[ConversationId, list[tuple[float, int]]] = defaultdict(list)
    for wished in checks.groups.model.wished:
        states = checks.records[wished.conversation].during(wished.asked_s, wished.answered_s)
        versions = [state.head.version for state in states if wished.holds(state)]
        if not versions:
            checks.broken("5 changed", f"{wished.text} was answered and never so")
        known[wished.conversation].append((wished.answered_s, min(versions, default=0)))
    for said in checks.model.said.values():
        record = checks.records[said.conversation]
        for message_id in said.message_ids:
            row = checks.log.get(message_id)
            if row is None or said.acked_s is None or said.sent_s is None:
                continue
            if not record.is_entitled(said.sender, row.version):
                checks.broken("4 rights", f"{said.content!r} is of a stranger in {row.version}", said.ref)
            answered = [version for at_s, version in known[said.conversation] if at_s < said.sent_s]
            least = max(answered, default=0)
            most = record.version_at(said.acked_s) if len(said.message_ids) == 1 else row.version
            if not least <= row.version <= most:
                text = f"{said.content!r} has version {row.version}, and {least} was known"
                checks.broken("4 rights", text, said.ref)


def _dormant_cost_nothing(checks: GroupChecks) -> None:
    """While a member is dormant no message is written to their inbox."""
    written = {
        (row.user_id, row.message_id) for row in checks.groups.scan(INBOX) if row.kind == MESSAGE_ENTRY
    }
    for said in checks.model.said.values():
        if said.acked_s is None or said.sent_s is None:
            continue
        for sleep in checks.records[said.conversation].sleeps:
            begin_s = sleep.begin_s + TRUSTED_S
            if said.sent_s < begin_s or said.acked_s > sleep.end_s:
                continue
            if checks.groups.was_paused(begin_s, said.acked_s):
                continue  # the clock by which a node trusts what it has read stood still with it
            checks.groups.tally.count("people: messages that cost a sleeper nothing")
            if any((sleep.user, message_id) in written for message_id in said.message_ids):
                checks.broken("5 cost", f"{said.content!r} was written for {sleep}", said.ref)


def _gone_are_gone(checks: GroupChecks) -> None:
    """Whose account has ended is in no group; nobody is added who lets nobody add them."""
    for user in checks.groups.departed:
        if user.user_id not in checks.groups.departed_s:
            checks.broken("settled", f"the account of {user.handle} has not ended")
        for record in checks.records.values():
            if user.user_id in record.now.roles:
                checks.broken("5 gone", f"{user.handle} is in {record.now.head}, and is gone")
    hides = checks.groups.model.privacy.hides
    for record in checks.records.values():
        waiting: Sequence[UserId] = ()
        for state in record.states:
            if state.change.action in (GroupAction.CREATE, GroupAction.ADD):
                for one in state.change.users:
                    is_shut = hides(one, GROUPS, state.at_s - CHECKED_S, state.at_s) == {True}
                    if is_shut and one not in waiting:
                        checks.broken("4 privacy", f"{one} was added by {state.head}")
            waiting = state.head.waiting
