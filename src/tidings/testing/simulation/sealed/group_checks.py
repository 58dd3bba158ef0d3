"""The checks of encrypted groups: what must be true of who came and went, by the groups' records and the log.

Who reads what is checked with everything else (`checks.py`), who could, by `attack.py`; here is what else
follows from it: what was told to whom, in which order it stands, whose keys were renewed, what it is called.
"""

from collections import defaultdict
from typing import TYPE_CHECKING

from tidings.client import contents
from tidings.client.sealing import infos
from tidings.client.sealing.inside import head_of
from tidings.protocol.frames import Message, Reference, Relation
from tidings.protocol.ids import ConversationId, DeviceId
from tidings.testing.simulation.groups.record import GOES, Record
from tidings.testing.simulation.sealed import attack
from tidings.testing.simulation.sealed.checks import KEPT, NO_OTHER, messages_of, wanted
from tidings.testing.simulation.sealed.model import Kind

if TYPE_CHECKING:
    from tidings.testing.simulation.sealed.run import Sealed

ORDER = "5 one order"
RENEWED = "5 sender keys are renewed when somebody goes"
CHANGED = "5 what was answered is so"
NAMED = "5 members know what their group is called"


def check(simulation: "Sealed") -> None:
    """Find all that is broken."""
    for problem in simulation.model.problems:
        simulation.broken(CHANGED, problem)
    for one in (_kept, _in_one_order, _changed, _told, _sealed_for, _renewed, _named, _names_closed):
        one(simulation)


def _kept(simulation: "Sealed") -> None:
    """What was acknowledged is in the log, of a version at which its author was a member."""
    model = simulation.model
    for written in model.written:
        if not (written.is_grouped and written.is_acked and written.name is not None):
            continue
        rows = model.rows.get(written.name, [])
        if written.message_id not in [row.message_id for row in rows]:
            simulation.broken(KEPT, f"{written} is not in the log")
        record = model.records[written.group]
        for row in rows:
            if not record.is_entitled(written.device.user.user_id, row.version):
                simulation.broken(NO_OTHER, f"{written} was taken of a stranger, in version {row.version}")


def _in_one_order(simulation: "Sealed") -> None:
    """Every device shows what was written in a group where the log has it."""
    rows = simulation.model.rows
    for device, final in simulation.finals.items():
        for message in messages_of(final.fresh):
            there = rows.get(message.reference)
            if message.change is not None or there is None:
                continue
            if message.message_id not in [row.message_id for row in there]:
                simulation.broken(ORDER, f"{device.name} shows {message.text!r} at {message.message_id}")


def _changed(simulation: "Sealed") -> None:
    """A change that was answered was so; and what is written after it was accepted after it."""
    model = simulation.model
    known: dict[ConversationId, list[tuple[float, int]]] = defaultdict(list)
    for wish in model.wishes:
        states = model.records[wish.group].during(wish.asked_s, wish.answered_s)
        versions = [state.head.version for state in states if wish.holds(state)]
        if not versions:
            simulation.broken(CHANGED, f"a change of {wish.asked_s:.3f} was answered and never so")
        known[wish.group].append((wish.answered_s, min(versions, default=0)))
    for written in model.written:
        if not written.is_grouped:
            continue
        least = max((one for at_s, one in known[written.group] if at_s < written.written_s), default=0)
        for version in model.versions(written):
            if version < least:
                text = f"{written} was accepted in version {version}, and {least} was known"
                simulation.broken(CHANGED, text)


def _told(simulation: "Sealed") -> None:
    """Nobody gets anything of a version at which they were no member, but that they came or went."""
    spy = simulation.spy
    for device in simulation.devices:
        delivered = [frame.message for frame in spy.delivered[device.device_id]]
        for message in (*delivered, *spy.paged[device.device_id]):
            record = simulation.model.records.get(message.conversation_id)
            if record is not None and not _may_be_told(record, message, device.user.user_id):
                text = (
                    f"{device.name} was sent {Relation(message.relation).name} of version {message.version}"
                )
                simulation.broken(NO_OTHER, f"{text}, by {message.sender_device}")


def _may_be_told(record: Record, message: Message, user: int) -> bool:
    change = contents.change_of(message)
    return record.is_entitled(user, message.version) or (  # type: ignore[arg-type]
        change is not None and user in record.concerned(change.version)
    )


def _sealed_for(simulation: "Sealed") -> None:
    """No key that is accepted is for a device that was out before it was sent, or whose user was."""
    model, spy = simulation.model, simulation.spy
    devices = {device.device_id: device for device in simulation.devices}
    gone_s = _gone_s(simulation)
    for name in spy.accepted:
        if name not in spy.sends:
            continue
        send, sent_s = spy.sends[name][-1], spy.sent_s[name]
        for one in send.envelopes:
            device = devices[DeviceId(one)]
            removed_s = model.memberships[device].removed_s
            if removed_s is not None and removed_s < sent_s:
                simulation.broken(NO_OTHER, f"{name} is sealed for {device.name}, which was out")
            for out_s, in_s in gone_s.get((send.conversation_id, device.user.user_id), ()):
                if out_s < sent_s and simulation.spy.accepted_s[name] < in_s:
                    simulation.broken(NO_OTHER, f"{name} is sealed for {device.name}, which is no member's")


def _gone_s(simulation: "Sealed") -> dict[tuple[ConversationId, int], list[tuple[float, float]]]:
    """From when to when who was in a group was not, as it was answered that they are out."""
    found: dict[tuple[ConversationId, int], list[tuple[float, float]]] = defaultdict(list)
    for wish in simulation.model.wishes:
        record = simulation.model.records[wish.group]
        for state in record.during(wish.asked_s, wish.answered_s):
            if not (wish.holds(state) and state.change.action in GOES and state.at_s >= wish.asked_s):
                continue
            for user in state.change.users:
                again_s = [
                    later.at_s for later in record.states if later.at_s > state.at_s and user in later.roles
                ]
                found[wish.group, user].append((wish.answered_s, min(again_s, default=float("inf"))))
    return found


def _renewed(simulation: "Sealed") -> None:
    """Between two messages of one sender key nobody was removed, whether they had it or not."""
    model, spy = simulation.model, simulation.spy
    written = {one.name: one for one in model.written if one.is_grouped and one.name is not None}
    versions: dict[bytes, list[tuple[int, Reference]]] = defaultdict(list)
    for name, rows in model.rows.items():
        for row in rows:
            if name in written and name in spy.sends and written[name].kind is not Kind.DELETE:
                head = head_of(row.content or spy.sends[name][-1].content)
                versions[head.key_id].append((row.version, name))
    for used in versions.values():
        first, last = min(version for version, _ in used), max(version for version, _ in used)
        record = model.records[written[used[0][1]].group]
        between = record.states[first:last]  # those after version `first`, up to `last`
        if any(state.change.action in GOES for state in between):
            author = written[used[0][1]].device.name
            simulation.broken(RENEWED, f"one of {author} was used in versions {first} to {last}")


def _named(simulation: "Sealed") -> None:
    """Every member's devices show what the group is called, as it was sealed last.

    Who was told by nobody since, as far as was answered, may not know it yet.
    """
    model = simulation.model
    for group, record in model.records.items():
        head = record.now.head
        shown = {
            device: next((one.name for one in final.fresh.groups if one.conversation_id == group), "")
            for device, final in simulation.finals.items()
            if device.user.user_id in record.now.roles and device in wanted(simulation)
        }
        found = {infos.peek(device.disk.database, group, head.info) for device in shown} - {None}
        if len(found) > 1:
            simulation.broken(NAMED, f"{found} can be read of version {head.version}")
        name = next(iter(found), None)
        knows = {device for device, text in shown.items() if name and text and text.encode() in name}
        named_s = max(state.at_s for state in record.states if state.change.info)
        for device in shown.keys() - knows:
            came_s = [state.at_s for state in record.states if device.user.user_id in state.change.users]
            since_s = max([named_s, model.memberships[device].linked_s or 0.0, *came_s])
            said = [one for one in model.written if one.is_acked and one.is_grouped and one.group == group]
            if any(one.written_s > since_s and one.device in knows for one in said):
                simulation.broken(NAMED, f"{device.name} shows {shown[device]!r} in version {head.version}")
            else:
                simulation.tally.count("groups: a name that nobody has told yet")


def _names_closed(simulation: "Sealed") -> None:
    """Who was out when a group was called something has no key to that."""
    for group, record in simulation.model.records.items():
        known: dict[int, float] = {}
        for wish in simulation.model.wishes:
            if wish.group == group:
                for state in record.during(wish.asked_s, wish.answered_s):
                    known[state.head.version] = min(
                        wish.answered_s, known.get(state.head.version, float("inf"))
                    )
        for device in simulation.devices:
            user = device.user.user_id
            if user in record.now.roles:
                continue
            out = max((stay.end or 0 for stay in record.stays if stay.user == user), default=0)
            out_s = known.get(out, float("inf"))
            asked_s = simulation.spy.sealed_s.get(record.now.head.info, 0.0)
            if record.now.head.version > out and asked_s > out_s:
                for key in attack.stolen(simulation, device, group).info_keys:
                    if infos.preview(group, key, record.now.head.info) is not None:
                        simulation.broken(
                            NO_OTHER, f"{device.name} has the key of what a group is called now"
                        )
