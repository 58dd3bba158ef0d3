"""The model: what was written by whom, and when which device came in and was taken out.

It knows nothing of how the SDK encrypts. It notes what people did and what their programs answered, with the
true time of each; from that alone follows who must be able to read what, and who must not.

A device is *owed* a message that was written after its link was known to have finished. One that was
written meanwhile it may have or not. What was written after its removal was known to be done is *closed*
to it.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from tidings.client.group_values import is_group
from tidings.protocol.frames import Reference
from tidings.protocol.ids import ClientId, MessageId

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
        """Whether it was written in the group, in which all users are."""
        return is_group(self.peer.handle)

    def is_for(self, user: "User") -> bool:
        """Whether a user is one of those who talk there."""
        return self.is_grouped or user in (self.device.user, self.peer)

    @property
    def may_be(self) -> bool:
        """Whether it may have reached anybody."""
        return not self.is_refused


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

    def acked(self, written: Written, sent: "SentMessage") -> None:
        """The SDK says that the server has it."""
        written.is_acked = True
        written.name, written.message_id = sent.reference, sent.message_id

    def left_behind(self, device: "Device", outbox: list[tuple[bytes, bytes]]) -> None:
        """A program ended, and this waits in its profile."""
        for name, content in outbox:
            written = self.by_text.get(content.decode(errors="replace"))
            if written is not None and written.device is device:
                written.is_stored = True
                written.name = Reference(device.device_id, ClientId(name))

    def is_owed(self, written: Written, device: "Device") -> bool:
        """Whether a device must be able to read something in the end."""
        member = self.memberships[device]
        if not written.is_for(device.user) or member.removal_s is not None:
            return False
        if device is written.device:
            # A copy of a profile knows nothing of what was written since, and that was sealed for others.
            return not any(restored_s > written.written_s for restored_s in device.restored_s)
        return member.linked_s is not None and member.linked_s <= written.written_s

    def is_closed(self, written: Written, device: "Device") -> bool:
        """Whether a device must not be able to read something, whatever it gets hold of."""
        if not written.is_for(device.user):
            return True
        removed_s = self.memberships[device].removed_s
        return removed_s is not None and removed_s < written.written_s

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
