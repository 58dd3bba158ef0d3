"""The checks of a run with encryption on: what must be true at its end, by the model and by what was heard.

They know what docs/concepts/encryption.md promises, and nothing of how the SDK keeps it.
"""

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from tidings.bus.contract import BusError
from tidings.client import State
from tidings.client.errors import Refused
from tidings.client.events import WarningEvent
from tidings.client.sealing.own import CODES
from tidings.client.values import Fault, Message
from tidings.directory.contract import DirectoryError
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import Relation
from tidings.protocol.ids import direct_conversation_id
from tidings.store.contract import StoreError
from tidings.testing.simulation.groups.record import COMES, GOES
from tidings.testing.simulation.sealed import attack
from tidings.testing.simulation.sealed.device import Device
from tidings.testing.simulation.sealed.model import MARK, Kind, Written

if TYPE_CHECKING:
    from tidings.testing.simulation.sealed.run import Sealed

READS = "1 every entitled device reads everything"
NO_OTHER = "2 no other reads anything"
LOOPS = "3 nothing loops"
KEPT = "4 nothing acknowledged is lost"
STATE = "4 old state + events == fresh state"
WARNED = "nobody is warned of what nobody did"
COMPLAINTS = "no complaints"

QUIET_MAX = 6
"""requests of a kind that a device may make while all is quiet"""
ANSWER_S = 120.0
"""within which an author answers who asks for a key, or sends it to who was just added"""
EXPECTED = frozenset({"identity_changed"})
"""warnings that follow from what people do"""
OF_SEVERAL = frozenset({"identity_replaced", "list_forged"})
"""those that follow where a user had another identity more than once"""


def check(simulation: "Sealed") -> None:
    """Find all that is broken."""
    for one in (
        _there,
        _readable,
        _known,
        _changed,
        _closed,
        _unreadable_to_the_server,
        _no_loops,
        _agrees,
        _not_warned,
        _complaints,
    ):
        one(simulation)


def check_refusal(simulation: "Sealed", written: Written, refusal: Refused) -> None:
    """What people write may be refused for a reason: what it is about is gone, or its device is out."""
    model = simulation.model
    if written.about is not None and refusal.name == "no_such_message":
        return
    is_out = not model.stays_in(written, written.device.user, simulation.loop.now_s)
    if is_out and (refusal.name == "no_such_conversation" or "not in this group" in refusal.reason):
        return
    if refusal.name == "unsealable" and (
        model.memberships[written.device].removal_s is not None
        or "not linked" in refusal.reason
        or "not in the account's device list" in refusal.reason
        or "an identity that this device does not know" in refusal.reason
    ):
        return
    simulation.broken(KEPT, f"{written} was refused: {refusal.reason}")


def wanted(simulation: "Sealed") -> list[Device]:
    """The devices that are to be there in the end."""
    members = simulation.model.memberships
    return [one for one in simulation.devices if members[one].removal_s is None and members[one].linked_s]


def _there(simulation: "Sealed") -> None:
    """Whoever is to be there is, and waits for nothing."""
    for device in wanted(simulation):
        final = simulation.finals.get(device)
        if final is None or device.is_out or not device.is_online:
            simulation.broken("everybody is there", f"{device.name} is not")
        elif final.waiting:
            simulation.broken(KEPT, f"{device.name} has {final.waiting} messages in its outbox")
    for device, member in simulation.model.memberships.items():
        if member.removal_s is None and member.linked_s is None:
            simulation.broken("everybody is there", f"{device.name} was never linked")
        if member.removal_s is not None and member.removed_s is None:
            simulation.broken("everybody is there", f"{device.name} was never taken out")


def _readable(simulation: "Sealed") -> None:
    """Every entitled device shows every message, in the clear, once."""
    for device in wanted(simulation):
        final = simulation.finals.get(device)
        if final is None:
            continue
        shown = {one.reference: one for one in messages_of(final.fresh)}
        by_text = {one.text: one for one in shown.values() if not one.fault}
        for written in simulation.model.written:
            if written.kind is not Kind.MESSAGE or not simulation.model.is_there(written):
                continue
            if not simulation.model.is_owed(written, device):
                continue
            found = by_text.get(written.text) if written.name is None else shown.get(written.name)
            if written.name is not None and simulation.model.changes(Kind.DELETE, written.name):
                continue  # who was off while it was written and deleted never hears of it, or gets no key
            if found is None:
                simulation.broken(READS, f"{device.name} lacks {written}")
            elif found.fault and not is_excused(simulation, written, device, found.fault):
                simulation.broken(READS, f"{device.name} cannot read {written}: {found.fault!r}")


def is_excused(simulation: "Sealed", written: Written, device: Device, fault: Fault) -> bool:
    """Whether nobody can be asked for a key that did not come, or came before and was not kept.

    An author answers each device once. So a copy of a profile may lack a key that was sent to its device in
    its other life; who is taken out answers nobody, and an author's own copy may not have the key either.
    """
    author = written.device
    removal_s = simulation.model.memberships[author].removal_s
    if fault is Fault.UNKNOWN_DEVICE and (
        removal_s is not None or _changes(simulation)[author.user.user_id] > 1
    ):
        return True  # it came and went, or came under an identity that this one could not know, being away
    if any(restored_s > written.written_s for restored_s in author.restored_s):
        return True
    model = simulation.model
    if fault is Fault.NO_KEY and not model.stays_in(written, author.user, written.written_s + ANSWER_S):
        return True  # its key was to come after it, and who has left a group gives none
    if device.restored_s and not model.stays_in(written, device.user, written.written_s + ANSWER_S):
        return True  # the key came in its other life, and who has left a group asks nobody
    if any(restored_s > written.written_s for restored_s in device.restored_s):
        if written.is_grouped:
            # One answer brings the key of many messages: for whichever it was asked for in its other life.
            return True
        keys = simulation.spy.of_keys()
        name = written.name
        was_sent = name is None or keys[Relation.KEYS, author.device_id, name, device.device_id] > 0
        return was_sent or removal_s is not None
    return removal_s is not None and removal_s < written.written_s + ANSWER_S


def _known(simulation: "Sealed") -> None:
    """What is shown was written so, by that user, to that one; and nothing twice."""
    model = simulation.model
    for device, final in simulation.finals.items():
        texts: Counter[str] = Counter()
        for message in messages_of(final.fresh):
            if message.fault or message.deleted or message.change is not None:
                continue
            texts[message.text] += 1
            written = model.by_text.get(message.text)
            if written is None or written.device.user.handle != message.sender:
                simulation.broken(READS, f"{device.name} shows {message.text!r} of {message.sender}")
                continue
            ends, here = {written.device.user.handle, written.peer.handle}, {device.user.handle, message.peer}
            if message.peer != written.peer.handle if written.is_grouped else ends != here:
                simulation.broken(READS, f"{device.name} shows {written} with {message.peer}")
            if written.kind is Kind.EDIT and written.about != message.reference:
                simulation.broken(READS, f"{device.name} shows {written} as an edit of another message")
        for text, times in texts.items():
            if times > 1:
                simulation.broken(READS, f"{device.name} shows {text!r} {times} times")


def _changed(simulation: "Sealed") -> None:
    """Edits, reactions and deletes have come to where what they change is."""
    model = simulation.model
    named = {one.name: one for one in model.written if one.kind is Kind.MESSAGE and one.name is not None}
    for device in wanted(simulation):
        final = simulation.finals.get(device)
        for message in [] if final is None else messages_of(final.fresh):
            written = named.get(message.reference)
            if written is None or message.fault or not model.is_owed(written, device):
                continue
            deletes = model.changes(Kind.DELETE, message.reference)
            if message.deleted:
                if not deletes:
                    simulation.broken(READS, f"{device.name} shows {written} as deleted")
                continue
            if any(model.is_there(one) and _is_readable(simulation, one, device) for one in deletes):
                simulation.broken(READS, f"{device.name} shows {written}, which was deleted")
                continue
            if deletes:
                continue
            _check_newest(
                simulation, device, model.changes(Kind.EDIT, message.reference), message.text, written
            )
            for user in simulation.users:
                said = model.changes(Kind.REACTION, message.reference)
                mine = [one for one in said if one.device.user == user]
                text = message.reactions.get(user.handle, "")
                _check_newest(simulation, device, mine, text, written)


def _is_readable(simulation: "Sealed", change: Written, device: Device) -> bool:
    """Whether a device must have a change."""
    if not simulation.model.is_owed(change, device):
        return False
    return not is_excused(simulation, change, device, Fault.UNKNOWN_DEVICE)


def _check_newest(
    simulation: "Sealed", device: Device, changes: list[Written], text: str, written: Written
) -> None:
    """What is shown is the newest change that was acknowledged, or one that was not."""
    model = simulation.model
    owed = [one for one in changes if one.is_acked and _is_readable(simulation, one, device)]
    newest = max(owed, key=lambda one: one.message_id, default=None)
    if newest is None or text == newest.text:
        return
    other = model.by_text.get(text)
    if (
        other is not None
        and other in changes
        and (not other.is_acked or other.message_id > newest.message_id)
    ):
        return
    simulation.broken(READS, f"{device.name} shows {text!r} for {written}, and not {newest}")


def _closed(simulation: "Sealed") -> None:
    """Who was taken out, and who is somebody else, has nothing of what was written, nor a key to it."""
    model, spy = simulation.model, simulation.spy
    for device in simulation.devices:
        stored = repr(
            device.disk.database.execute("SELECT content FROM messages").fetchall()
            + [one.data for one in device.copies]
        )
        texts = set(_said_in(stored))
        for text in sorted(texts):
            written = model.by_text.get(text)
            is_own = written is not None and written.device is device
            if written is not None and not is_own and model.is_closed(written, device):
                simulation.broken(NO_OTHER, f"{device.name} has {written}")
        direct = _conversations(simulation, device)
        for delivered in spy.delivered[device.device_id]:
            if delivered.message.conversation_id not in (*direct, *model.records):
                simulation.broken(NO_OTHER, f"{device.name} was sent a message of others")
    for device, name in attack.used_twice(simulation):
        simulation.broken(NO_OTHER, f"{device.name} used a key of a ratchet twice, for {name}")
    for device, written in (*attack.opened(simulation), *attack.opened_in_group(simulation)):
        simulation.broken(NO_OTHER, f"{device.name} has a key to {written}")


def _said_in(text: str) -> list[str]:
    return [MARK + part[: _digits(part)] for part in text.split(MARK)[1:]]


def _digits(text: str) -> int:
    return len(text) - len(text.lstrip("0123456789"))


def _conversations(simulation: "Sealed", device: Device) -> set[bytes]:
    mine = device.user.user_id
    return {direct_conversation_id(mine, user.user_id) for user in simulation.users if user.user_id != mine}


def _unreadable_to_the_server(simulation: "Sealed") -> None:
    """The store has nothing in the clear."""
    for name, table in simulation.tables.written.items():
        if MARK in repr(simulation.scan(table)):
            simulation.broken(NO_OTHER, f"the server's table {name} has what was written")


def _no_loops(simulation: "Sealed") -> None:
    """Keys are asked for and answered once; and in the end all is quiet."""
    restores = {device.device_id: len(device.restored_s) for device in simulation.devices}
    names = {device.device_id: device.name for device in simulation.devices}
    for (relation, sender, about, device), times in simulation.spy.of_keys().items():
        if times > 1 + restores.get(sender, 0):
            simulation.broken(
                LOOPS,
                f"{names[sender]} said {Relation(relation).name} {times} times about {about} to {device}",
            )
    for (name, kind), times in simulation.spy.quiet.items():
        if times > QUIET_MAX or kind == "Send":
            simulation.broken(LOOPS, f"{name} said {kind} {times} times while all was quiet")


def _agrees(simulation: "Sealed") -> None:
    """What a program shows that lives on events is what the profile has."""
    for device, final in simulation.finals.items():
        difference = _difference(final.lived, final.fresh) if final.lived != final.fresh else ""
        if difference:
            simulation.broken(STATE, f"{device.name}: {difference}")


def _difference(one: State, other: State) -> str:
    """Where they differ; but no event tells that a message has got another place (spec §6.3, twins)."""
    here = {message.reference: message for message in messages_of(one)}
    there = {message.reference: message for message in messages_of(other)}
    found = []
    for name in {**here, **there}:
        mine, its = here.get(name), there.get(name)
        message = mine or its
        if message is None or message.deleted:
            continue  # who was off meanwhile never heard of it
        if mine is None or its is None:
            found.append(f"{mine or its} is only {'with events' if its is None else 'fresh'}")
        elif mine != its and mine.message_id == its.message_id:
            fields = [field.name for field in dataclasses.fields(Message)]
            pairs = [(field, _without_place(mine, field), _without_place(its, field)) for field in fields]
            differing = [pair for pair in pairs if pair[1] != pair[2]]
            found += [f"{its.text}: {differing}"] if differing else []
    if one.groups != other.groups:
        found.append(f"{one.groups} | {other.groups}")
    if one.settings != other.settings:
        found.append(f"{one.settings} | {other.settings}")
    return "; ".join(found[:3])


def _without_place(message: Message, field: str) -> object:
    """What a message says, apart from where that stands."""
    if field in ("edit", "delete"):
        return bool(getattr(message, field))
    return message.reactions if field == "reacted" else getattr(message, field)


def _changes(simulation: "Sealed") -> Counter[int]:
    """How often each user had another identity."""
    members = simulation.model.memberships
    return Counter(one.user.user_id for one, member in members.items() if member.is_stolen)


def _not_warned(simulation: "Sealed") -> None:
    """Nobody lies here: there is nothing to warn of but other identities and devices that are gone."""
    members = simulation.model.memberships
    gone = {str(one.device_id) for one, member in members.items() if member.removal_s is not None}
    changes = _changes(simulation)
    for device in simulation.devices:
        for warning in device.warnings:
            expected = warning.kind in EXPECTED
            if warning.kind in OF_SEVERAL and changes[warning.user_id] > 1:
                expected = True  # whoever missed the one between cannot know that it was signed
            if warning.kind == "list_forged" and "code" in warning.detail and device.codes > CODES:
                expected = True  # the answer is to one that was shown long before
            if warning.kind == "repeated" and simulation.spy.has_twins(warning.conversation_id):
                expected = True  # what its sender does not know: that another seal of it was accepted, too
            if warning.kind == "device_unknown" and warning.detail in gone:
                expected = True  # it came and went while this one was away
            if warning.kind == "member_unsaid" and _has_moved(simulation, warning):
                expected = True  # it wrote while it was catching up, and had not come to that
            if not expected:
                simulation.broken(f"{WARNED} ({warning.kind})", f"{device.name}: {warning}")


def _has_moved(simulation: "Sealed", warning: WarningEvent) -> bool:
    """Whether somebody of whom nobody said that they came, or went, did so."""
    states = simulation.model.records[warning.conversation_id].states
    moves = COMES if "added" in warning.detail else GOES
    return any(state.change.action in moves and warning.user_id in state.change.users for state in states)


def _complaints(simulation: "Sealed") -> None:
    """No node has logged an error but for what was done to its store, bus or directory."""
    for node in simulation.nodes:
        for complaint in node.complaints:
            error = complaint.event.get("exc_info")
            if not isinstance(error, StoreError | DirectoryError | BusError | ProtocolError):
                simulation.broken(COMPLAINTS, f"{complaint.at_s:.3f} {complaint.node}: {complaint.event}")
    for report in simulation.loop.reports:
        text = f"{report.at_s:.3f} {report.process}: {report.message}: {report.error!r}"
        simulation.broken(COMPLAINTS, text)


def messages_of(state: State) -> list[Message]:
    """All that a program shows."""
    return [one for chat in state.chats for one in state.messages(chat.peer)]
