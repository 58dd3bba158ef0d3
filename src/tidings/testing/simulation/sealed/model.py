"""The model: what was written by whom, and when which device came in and was taken out.

It knows nothing of how the SDK encrypts. It notes what people did and what their programs answered, with the
true time of each; from that alone follows who must be able to read what, and who must not.

A device is *owed* a message that was written after its link was known to have finished. One that was
written meanwhile it may have or not. What was written after its removal was known to be done is *closed*
to it, and so is what was answered before it asked to be let in.

In a group all of that holds for members alone: who was one follows from the group's record, which is kept as
it is stored, and the version at which a message was accepted, which stands in the log.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from tidings.client.group_values import is_group
from tidings.protocol.frames import Reference
from tidings.protocol.ids import ClientId, ConversationId, MessageId
from tidings.store.schema import MessageRow, RosterRow
from tidings.testing.simulation.groups.record import Record, State

if TYPE_CHECKING:
    from tidings.client.values import Message, SentMessage
    from tidings.testing.simulation.device import User
    from tidings.testing.simulation.sealed.device import Device

MARK = "said-"
"""that what people write begins with: nothing else looks so"""


class Kind(StrEnum):
    """What is written."""

    MESSAGE = "message"
    EDIT = "edit"
    REACTION = "reaction"
    DELETE = "delete"


class Written:
    """What somebody wrote, from the moment at which the SDK was given it."""

    def __init__(
        self, kind: Kind, text: str, device: "Device", peer: "User", about: Reference | None, written_s: float
    ) -> None:
        self.kind = kind
        self.text = text
        self.device = device
        self.peer = peer
        """whom it is for; a group stands as a user here"""
        self.about = about
        self.written_s = written_s
        self.acked_s = float("inf")
        self.name: Reference | None = None
        """once that is known"""
        self.message_id = MessageId(0)
        self.is_acked = False
        """the SDK said that the server has it"""
        self.is_stored = False
        """it was in the outbox when its program was killed"""
        self.is_refused = False

    def __repr__(self) -> str:
        return f"{self.kind} {self.text!r} of {self.device.name}"

    @property
    def is_grouped(self) -> bool:
        """Whether it was written in a group."""
        return is_group(self.peer.handle)

    @property
    def group(self) -> ConversationId:
        """The group that it was written in."""
        return group_of(self.peer.handle)

    @property
    def may_be(self) -> bool:
        """Whether it may have reached anybody."""
        return not self.is_refused


def group_of(peer: str) -> ConversationId:
    """The group that a peer is."""
    return ConversationId(bytes.fromhex(peer[1:]))


class Wish(NamedTuple):
    """A change of a group that was answered with Ok."""

    group: ConversationId
    holds: Callable[[State], bool]
    """what must have been so at some time between asking and answer"""
    asked_s: float
    answered_s: float


class Membership:
    """How a device came in, and out."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        """when it asked to be let in"""
        self.linked_s: float | None = None
        """when it was known to be in"""
        self.removal_s: float | None = None
        """when somebody began to take it out"""
        self.removed_s: float | None = None
        """when that was known to be done"""
        self.is_stolen = False


class Model:
    """See the module's text."""

    def __init__(self) -> None:
        self.written: list[Written] = []
        self.by_text: dict[str, Written] = {}
        self.memberships: dict[Device, Membership] = {}
        self.records: dict[ConversationId, Record] = {}
        """of the groups"""
        self.problems: list[str] = []
        """what was wrong with what was stored of them"""
        self.wishes: list[Wish] = []
        self.names: dict[str, ConversationId] = {}
        """that groups were given, or were to be given"""
        self.rows: dict[Reference, list[MessageRow]] = {}
        """what is in the log of groups in the end; of a twin there are two"""

    def stored(self, row: RosterRow, also: Sequence[RosterRow], now_s: float) -> None:
        """A group was changed."""
        record = self.records.setdefault(row.conversation_id, Record(row.conversation_id))
        self.problems += record.add(row, also, now_s)

    def logged(self, rows: Iterable[MessageRow]) -> None:
        """The run is over, and this is in the log."""
        for row in rows:
            if row.conversation_id in self.records:
                self.rows.setdefault(Reference(row.sender_device, row.client_id), []).append(row)

    def write(
        self,
        kind: Kind,
        device: "Device",
        peer: "User",
        about: "Message | SentMessage | None",
        now_s: float,
    ) -> Written:
        """Somebody writes something."""
        text = f"{MARK}{len(self.written) + 1}"
        name = None if about is None else about.reference
        written = Written(kind, text, device, peer, name, now_s)
        self.written.append(written)
        self.by_text[text] = written
        return written

    def acked(self, written: Written, sent: "SentMessage", now_s: float) -> None:
        """The SDK says that the server has it."""
        written.is_acked, written.acked_s = True, now_s
        written.name, written.message_id = sent.reference, sent.message_id

    def left_behind(self, device: "Device", outbox: list[tuple[bytes, bytes]]) -> None:
        """A program ended, and this waits in its profile."""
        for name, content in outbox:
            written = self.by_text.get(content.decode(errors="replace"))
            if written is not None and written.device is device:
                written.is_stored = True
                written.name = Reference(device.device_id, ClientId(name))

    def versions(self, written: Written) -> list[int]:
        """At which versions of its group something was accepted."""
        return [] if written.name is None else [row.version for row in self.rows.get(written.name, ())]

    def is_for(self, written: Written, user: "User") -> bool:
        """Whether something is for a user: of those who talk there, or members when it was accepted."""
        if not written.is_grouped:
            return user in (written.device.user, written.peer)
        record, versions = self.records[written.group], self.versions(written)
        return bool(versions) and all(record.is_entitled(user.user_id, one) for one in versions)

    def is_for_others(self, written: Written, user: "User") -> bool:
        """Whether something was never for a user."""
        if not written.is_grouped:
            return user not in (written.device.user, written.peer)
        record, versions = self.records[written.group], self.versions(written)
        return bool(versions) and not any(record.is_entitled(user.user_id, one) for one in versions)

    def stays_in(self, written: Written, user: "User", until_s: float = float("inf")) -> bool:
        """Whether a user was where something was written from then on, without a break."""
        if not written.is_grouped:
            return True
        states = self.records[written.group].during(written.written_s, until_s)
        return all(user.user_id in state.roles for state in states)

    def is_owed(self, written: Written, device: "Device") -> bool:
        """Whether a device must be able to read something in the end."""
        member = self.memberships[device]
        if not self.is_for(written, device.user) or member.removal_s is not None:
            return False
        if device is written.device:
            # A copy of a profile knows nothing of what was written since, and that was sealed for others.
            return not any(restored_s > written.written_s for restored_s in device.restored_s)
        return member.linked_s is not None and member.linked_s <= written.written_s

    def is_closed(self, written: Written, device: "Device") -> bool:
        """Whether a device must not be able to read something, whatever it gets hold of."""
        if self.is_for_others(written, device.user):
            return True
        member = self.memberships[device]
        return written.acked_s < member.began_s or (
            member.removed_s is not None and member.removed_s < written.written_s
        )

    def is_there(self, written: Written) -> bool:
        """Whether something must be on the server in the end."""
        if written.is_acked:
            return True
        device = written.device
        return (
            written.is_stored
            and not written.is_refused
            and self.memberships[device].removal_s is None
            and not any(restored_s > written.written_s for restored_s in device.restored_s)
            and self.stays_in(written, device.user)
        )

    def changes(self, kind: Kind, name: Reference) -> list[Written]:
        """What was written about a message."""
        return [one for one in self.written if one.kind is kind and one.about == name and one.may_be]

    def linked(self, user: "User") -> list["Device"]:
        """The devices of a user that are in, as far as is known, and are to stay."""
        return [
            device
            for device, member in self.memberships.items()
            if device.user == user and member.linked_s is not None and member.removal_s is None
        ]
