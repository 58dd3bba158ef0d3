"""The checks: what must be true at the end of a run, by the model and by what everybody was told.

They know the published invariants (ARCHITECTURE.md) and nothing of how the rules keep them.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

from tidings.bus.contract import BusError
from tidings.directory.contract import DirectoryError
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import CHANGES, Relation, Status
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.contract import StoreError
from tidings.store.schema import WATERMARKS
from tidings.testing.simulation.calm import first_calm
from tidings.testing.simulation.device import Device
from tidings.testing.simulation.model import Said, Verdict
from tidings.testing.simulation.past import Past
from tidings.testing.simulation.profile import NO_MARK, Ref

if TYPE_CHECKING:
    from tidings.testing.simulation.run import Simulation

PROMPT_S = 3.0
"""from when nothing is wrong any more: until everything is there. To block somebody takes 2.5 s, and where
the window is small what comes meanwhile waits."""
TORN_S = 4.0
"""what was under way for longer may have been taken again"""


class Checks:
    """What the checks have looked up once."""

    def __init__(self, simulation: "Simulation") -> None:
        self.simulation = simulation
        self.model = simulation.model
        self.broken = simulation.broken
        self.devices = simulation.devices
        self.deletes = self.model.deletes()
        self.verdicts = {ref: self.model.verdict(said) for ref, said in self.model.said.items()}
        self.of_user: dict[UserId, list[Device]] = defaultdict(list)
        for device in self.devices:
            self.of_user[device.user.user_id].append(device)

    def past(self, user: UserId) -> Past:
        """What the history tells a user."""
        return self.simulation.pasts[user]

    def may_be_gone(self, said: Said) -> bool:
        """Whether a message was, or may have been, erased everywhere."""
        return (
            said.expires_ms is not None
            or said.ref in self.deletes
            or (said.relation in (Relation.EDIT, Relation.REACTION) and said.about in self.deletes)
        )

    def is_torn(self, said: Said) -> bool:
        """Whether one attempt may have been shown to some and another one hidden.

        Of an attempt that was not answered, or came too late and was taken again, a part may have been
        seen by who had not blocked its sender yet, while the one that was answered is hidden from them.
        """
        if self.verdicts[said.ref] is not Verdict.EITHER or said.sent_s is None or said.acked_s is None:
            return False
        was_slow = said.acked_s - said.sent_s > TORN_S
        return said.attempts > 1 or was_slow or not self.simulation.calm.holds(said.sent_s, said.acked_s)

    def readers(self, said: Said) -> list[Device]:
        """The devices that must have a message in the end, its own included."""
        users = [said.sender]
        if self.verdicts[said.ref] is Verdict.SHOWN:
            users.append(self.model.other(said))
        assert said.sent_s is not None
        return [device for user in users for device in self.of_user[user] if device.born_s < said.sent_s]


def check(simulation: "Simulation") -> None:
    """Find all that is broken."""
    checks = Checks(simulation)
    for one in (
        settled,
        delivered,
        prompt,
        _in_one_order,
        _as_history_says,
        _hidden,
        _watermarks,
        _statuses,
        rows,
        complaints,
    ):
        one(checks)


def settled(checks: Checks) -> None:
    """Nobody waits for an answer."""
    for device in checks.devices:
        profile = device.profile
        if device.live_s is None:
            checks.broken("settled", f"{device.name} does not receive")
        waiting = [Ref(device.device_id, name) for name in profile.outbox]
        if waiting:
            checks.broken("settled", f"{device.name} waits for Sent", *waiting)
        if profile.reads or profile.sets:
            checks.broken("settled", f"{device.name} waits for Ok: {profile.reads} {profile.sets}")


def delivered(checks: Checks) -> None:
    """What was acknowledged is on every device entitled to it."""
    for said in checks.model.said.values():
        if said.acked_s is None or checks.may_be_gone(said):
            continue
        for device in checks.readers(said):
            if said.ref not in device.profile.messages:
                checks.broken("1 delivered", f"{device.name} lacks {said.content!r}", said.ref)


def prompt(checks: Checks) -> None:
    """Where nothing is wrong, or has been shortly before, a message is there at once."""
    calm = checks.simulation.calm
    for said in checks.model.said.values():
        if said.acked_s is None or checks.may_be_gone(said) or checks.model.is_shut(said):
            continue
        for device in checks.readers(said):
            if device.device_id == said.ref.device:
                continue
            seen_s = device.first_seen_s.get(said.ref, float("inf"))
            if seen_s <= said.acked_s + PROMPT_S:
                continue
            for begin_s, end_s, node in device.spans():
                calms = (calm, node.calm, device.calm)
                calm_s = first_calm(calms, max(said.acked_s, begin_s), PROMPT_S)
                if calm_s + PROMPT_S < min(seen_s, end_s):
                    text = (
                        f"{device.name} had {said.content!r} only {seen_s - calm_s:.1f} s after {calm_s:.1f}"
                    )
                    checks.broken("prompt", text, said.ref)


def _in_one_order(checks: Checks) -> None:
    """Everybody has every message at one place, of its own, after what its device had before."""
    for device in checks.devices:
        past = checks.past(device.user.user_id)
        places: dict[MessageId, Ref] = {}
        for one in device.profile.messages.values():
            other = places.setdefault(one.message_id, one.ref)
            if other != one.ref:
                checks.broken("2 once", f"{device.name}: two messages at {one.message_id}", other, one.ref)
            place = past.place(one.ref)
            said = checks.model.said[one.ref]
            if place is None:
                if said.acked_s is not None and not checks.is_torn(said):
                    checks.broken("1 kept", f"{device.name} has what the history lacks", one.ref)
            elif place != one.message_id and said.acked_s is not None and not checks.may_be_gone(said):
                # (Of twins only the greater is erased with what it said; the other may still come. What was
                # never acknowledged, and is not repeated since its device was restored, may stay torn.)
                text = f"{device.name} has at {one.message_id} what the history has at {place}"
                checks.broken("2 one order", text, one.ref)
    for said in checks.model.said.values():
        if said.message_ids and min(said.message_ids) <= said.after:
            text = f"{said.content!r} stands at {said.message_ids}, its device had {said.after}"
            checks.broken("2 causal order", text, said.ref)


def _as_history_says(checks: Checks) -> None:
    """Nothing that was acknowledged is missing in the history, and what was deleted is."""
    for said in checks.model.said.values():
        if said.acked_s is None:
            continue
        for user in checks.model.members[said.conversation]:
            if user != said.sender and checks.verdicts[said.ref] is not Verdict.SHOWN:
                continue
            past = checks.past(user)
            is_there = said.ref in past.onwards and (said.relation in CHANGES or said.ref in past.told)
            if not is_there and not checks.may_be_gone(said):
                checks.broken("1 kept", f"{said.content!r} is missing in a history", said.ref)
            deleted = checks.deletes.get(said.ref)
            if deleted is not None and deleted.acked_s is not None and said.acked_s < deleted.written_s:
                # Of twins the greater is shown, and it is the greater that is deleted. (Where it was lost
                # that the message was accepted, a greater one may come after. Devices do not show it either.)
                until = min(deleted.message_ids, default=0)
                twins = [one for one in past.onwards.get(said.ref, ()) if one.message_id < until]
                shown = max(twins, key=lambda one: one.message_id, default=None)
                if shown is not None and shown.content:
                    checks.broken("deleted", f"{said.content!r} is still told", said.ref, deleted.ref)


def _hidden(checks: Checks) -> None:
    """Nobody gets what was sent after their block was answered; what is hidden is so everywhere."""
    for said in checks.model.said.values():
        other, verdict = checks.model.other(said), checks.verdicts[said.ref]
        if verdict is Verdict.SHOWN:
            continue
        past = checks.past(other)
        is_told = said.ref in past.onwards
        if verdict is Verdict.HIDDEN and is_told:
            checks.broken("4 blocked", f"{said.content!r} is told by the history", said.ref)
        for device in checks.of_user[other]:
            has = said.ref in device.first_seen_s
            if verdict is Verdict.HIDDEN and has:
                checks.broken("4 blocked", f"{device.name} got {said.content!r}", said.ref)
            if (
                verdict is Verdict.EITHER
                and said.acked_s is not None
                and said.sent_s is not None
                and device.born_s < said.sent_s
                and not checks.may_be_gone(said)
                and not checks.is_torn(said)
                and has != is_told
            ):
                text = f"{device.name} {'got' if has else 'lacks'} {said.content!r}, the history differs"
                checks.broken("4 blocked for all alike", text, said.ref)


def _watermarks(checks: Checks) -> None:
    """What is told of reading and delivery is what happened."""
    model = checks.model
    read: dict[tuple[UserId, ConversationId], MessageId] = defaultdict(lambda: MessageId(0))
    for reading in model.readings:
        key = reading.user, reading.conversation
        read[key] = max(read[key], reading.up_to)
    for conversation, members in model.members.items():
        for reader, sender in (members, members[::-1]):
            most = model.read_asked.get((reader, conversation), MessageId(0))
            for device in checks.of_user[reader]:
                mark = device.profile.marks.get((conversation, reader), NO_MARK)
                if mark.read < read[reader, conversation]:
                    checks.broken("3 read", f"{device.name} was not told what its user has read")
            for device in checks.of_user[sender]:
                mark = device.profile.marks.get((conversation, reader), NO_MARK)
                if mark.read > most:
                    checks.broken("3 read", f"{device.name} was told of more than was read")
                if mark.read > mark.delivered:
                    checks.broken("3 read", f"{device.name}: {mark}")
                if not model.ever_blocked(reader, sender) and mark.read < read[reader, conversation]:
                    checks.broken("3 read", f"{device.name} was not told of all that was read: {mark}")


def _statuses(checks: Checks) -> None:
    """DELIVERED is told of what was delivered, and in the end of all that was."""
    model = checks.model
    for said in model.said.values():
        if said.acked_s is None or checks.verdicts[said.ref] is not Verdict.SHOWN:
            continue
        if checks.may_be_gone(said):
            continue
        reader, past = model.other(said), checks.past(said.sender)
        place = past.place(said.ref)
        if place is None:
            continue
        has = any(said.ref in device.first_seen_s for device in checks.of_user[reader])
        ever_blocked = model.ever_blocked(reader, said.sender)
        for device in checks.of_user[said.sender]:
            mark = device.profile.marks.get((said.conversation, reader), NO_MARK)
            if mark.delivered >= place and not has:
                text = f"{device.name} was told {said.content!r} is delivered, and nobody has it"
                checks.broken("3 delivered", text, said.ref)
            if has and mark.delivered < place and not ever_blocked:
                text = f"{device.name} was never told that {said.content!r} is delivered"
                checks.broken("3 delivered", text, said.ref)
        most = model.read_asked.get((reader, said.conversation), MessageId(0))
        for told in past.told.get(said.ref, ()):
            if told.status == Status.READ and told.message.message_id > most:
                checks.broken("3 read", f"the history calls {said.content!r} read", said.ref)
            if told.status < Status.DELIVERED and has and not ever_blocked:
                checks.broken(
                    "3 delivered", f"the history does not call {said.content!r} delivered", said.ref
                )


def rows(checks: Checks) -> None:
    """What stands in the store agrees with itself."""
    for row in checks.simulation.scan(WATERMARKS):
        if row.delivered_up_to < row.read_up_to:
            checks.broken("3 read implies delivered", f"{row}")


def complaints(checks: Checks) -> None:
    """No node has logged an error but for what was done to its store, bus or directory."""
    for node in checks.simulation.nodes:
        for complaint in node.complaints:
            error = complaint.event.get("exc_info")
            if not isinstance(error, StoreError | DirectoryError | BusError | ProtocolError):
                checks.broken("no complaints", f"{complaint.at_s:.3f} {complaint.node}: {complaint.event}")
    for report in checks.simulation.loop.reports:
        text = f"{report.at_s:.3f} {report.process}: {report.message}: {report.error!r}"
        checks.broken("no complaints", text)
