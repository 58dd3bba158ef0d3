"""Checks of receipts in groups: watermarks, and what senders are told of how far their messages have come."""

from typing import TYPE_CHECKING

from tidings.protocol.frames import CHANGES, MessageTally
from tidings.protocol.ids import MessageId
from tidings.store.schema import WATERMARKS
from tidings.testing.simulation.groups.model import Marks
from tidings.testing.simulation.profile import NO_MARK
from tidings.testing.simulation.run import END

if TYPE_CHECKING:
    from tidings.testing.simulation.groups.checks import GroupChecks

NONE = MessageTally(MessageId(0), 0, 0, 0)


def check(checks: "GroupChecks") -> None:
    """Find all that is broken."""
    _watermarks(checks)
    _own_reads(checks)
    _asked(checks)


def told_unasked(checks: "GroupChecks") -> None:
    """Whoever was connected all the while was told how far each message has come, some seconds after."""
    model = checks.groups.model
    begin_s = next(phase.begin_s for phase in checks.groups.plan.phases if phase.name == END)
    begin_s += checks.groups.began_s
    for said in model.said.values():
        record = checks.records[said.conversation]
        if said.acked_s is None or said.written_s < begin_s or said.relation in CHANGES or record.is_channel:
            continue
        message_id = max(said.message_ids)
        stay = record.stay_of(said.sender)
        # Who was out meanwhile is told nothing of that time, and asks when they connect next.
        if stay is None or not stay.covers(model.versions[message_id]) or checks.may_be_gone(said):
            continue
        exact = model.tally(said.conversation, message_id, said.sender, most=False)
        assert exact is not None
        for device in checks.groups.devices:
            is_there = device.live_s is not None and device.live_s < said.written_s
            if device.user.user_id != said.sender or not is_there:
                continue
            told = device.tallies.get(message_id, NONE)
            if told.delivered < exact.delivered or told.read < exact.read:
                text = f"{device.name} was told {told} of {said.content!r}, it is {exact}"
                checks.broken("3 tallies in time", text, said.ref)


def _watermarks(checks: "GroupChecks") -> None:
    """They say what was acknowledged and read, and never more."""
    model = checks.groups.model
    rows = {(row.conversation_id, row.user_id): row for row in checks.groups.scan(WATERMARKS)}
    for (conversation, user), row in rows.items():
        most = model.marks(conversation, user, most=True)
        if row.delivered_up_to > most.delivered or row.read_up_to > most.read:
            checks.broken("3 watermarks", f"{row}, at most it is {most}")
    for record in checks.records.values():
        for user in record.now.roles:
            least = model.marks(record.conversation, user, most=False)
            stored = rows.get((record.conversation, user))
            mark = Marks(MessageId(0), MessageId(0))
            if stored is not None:
                mark = Marks(stored.delivered_up_to, stored.read_up_to)
            if mark.delivered < least.delivered and not record.is_channel:
                checks.broken("3 watermarks", f"{stored}, at least it is {least}, of {user}")


def _own_reads(checks: "GroupChecks") -> None:
    """A user's devices know what the user has read on another one."""
    model = checks.groups.model
    for reading in model.readings:
        record = checks.records[reading.conversation]
        if reading.user not in record.now.roles:
            continue
        for device in checks.groups.devices:
            if device.user.user_id == reading.user:
                mark = device.profile.marks.get((reading.conversation, reading.user), NO_MARK)
                if mark.read < reading.up_to:
                    checks.broken("3 read", f"{device.name} was not told what its user has read")
                    break


def _asked(checks: "GroupChecks") -> None:
    """Asked in the end, it is told exactly."""
    model = checks.groups.model
    for said in model.said.values():
        record = checks.records[said.conversation]
        views = checks.groups.views.get(said.sender)
        if views is None or record.is_channel or said.sender not in record.now.roles:
            continue
        for message_id in said.message_ids:
            least = model.tally(said.conversation, message_id, said.sender, most=False)
            most = model.tally(said.conversation, message_id, said.sender, most=True)
            told = views.tallies.get(message_id, NONE)
            if least is None or most is None:
                continue
            if not _between(least, told, most) or not least.of <= told.of <= most.of:
                text = f"{said.content!r}: its sender is told {told}, it is {least} to {most}"
                checks.broken("3 tallies", text, said.ref)


def _between(least: MessageTally, told: MessageTally, most: MessageTally) -> bool:
    return least.delivered <= told.delivered <= most.delivered and least.read <= told.read <= most.read
