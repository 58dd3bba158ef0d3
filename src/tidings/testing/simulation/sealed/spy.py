"""The spy: hears all that devices say and are told, and keeps what the checks ask for."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tidings.client.sealing.lists import DEVICES_MAX
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import (
    UNSHOWN,
    Ack,
    ChangeGroup,
    Deliver,
    Describe,
    DeviceLists,
    DevicesChanged,
    Error,
    Heartbeat,
    Message,
    Page,
    Reference,
    Relation,
    Send,
    Sent,
)
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, UserId
from tidings.protocol.keys import decode_list
from tidings.testing.simulation.sealed.network import Tap

if TYPE_CHECKING:
    from tidings.testing.simulation.sealed.device import Device
    from tidings.testing.simulation.sealed.run import Sealed


class Spy:
    """See the module's text."""

    def __init__(self, simulation: "Sealed") -> None:
        self.simulation = simulation
        self.sends: dict[Reference, list[Send]] = defaultdict(list)
        """by name, as they were sent; a repeat only if it differs"""
        self.sent_s: dict[Reference, float] = {}
        """by name, when what was sent last was sent first"""
        self.accepted: dict[Reference, Sent] = {}
        self.accepted_s: dict[Reference, float] = {}
        self.described_s: dict[tuple[DeviceId, ConversationId], float] = {}
        """when a device asked last what a group is"""
        self.sealed_s: dict[bytes, float] = {}
        """of what a group is called: when the device that sealed it had asked last what it is"""
        self.delivered: dict[DeviceId, list[Deliver]] = defaultdict(list)
        self.paged: dict[DeviceId, list[Message]] = defaultdict(list)
        """what the history told"""
        self.identities: dict[UserId, dict[bytes, None]] = defaultdict(dict)
        """that a user ever had, as far as anybody was told"""
        self.quiet: Counter[tuple[str, str]] = Counter()
        """what was said while all should be quiet: by device and kind"""
        self.is_quiet = False

    def tap(self, device: "Device") -> Tap:
        """What hears a device."""
        return _Ear(self, device)

    def has_twins(self, conversation: ConversationId) -> bool:
        """Whether a message of a conversation was accepted twice, sealed anew for the second time.

        A store that lost a part of a write, and finds it again, may do so (spec §6.3).
        """
        contents: dict[Reference, set[bytes]] = defaultdict(set)
        for delivered in self.delivered.values():
            for message in (one.message for one in delivered):
                if message.conversation_id == conversation and message.content:
                    contents[Reference(message.sender_device, message.client_id)].add(message.content)
        return any(len(found) > 1 for found in contents.values())

    def of_keys(self) -> Counter[tuple[int, DeviceId, Reference, DeviceId]]:
        """ASK and KEYS: how many there were, by relation, who said it, about which message, for whom."""
        counts: Counter[tuple[int, DeviceId, Reference, DeviceId]] = Counter()
        for name in self.sends:
            send = self.sends[name][0]
            if send.relation == Relation.ASK and send.relates_to is not None:
                about = send.relates_to
                counts[send.relation, name.sender_device, about, about.sender_device] += 1
            elif send.relation == Relation.KEYS and send.relates_to is not None:
                devices = {device for one in self.sends[name] for device in one.envelopes}
                for device in sorted(devices):
                    counts[send.relation, name.sender_device, send.relates_to, device] += 1
        return counts


class _Ear(Tap):
    def __init__(self, spy: Spy, device: "Device") -> None:
        self._spy = spy
        self._device = device

    def said(self, data: bytes) -> None:
        frame = MSGPACK.decode_client(data)
        if self._spy.is_quiet and not isinstance(frame, Heartbeat | Ack):
            self._spy.quiet[self._device.name, type(frame).__name__] += 1
        if isinstance(frame, Describe):
            self._spy.described_s[self._device.device_id, frame.conversation_id] = self._device.loop.now_s
        if isinstance(frame, ChangeGroup) and frame.info:
            asked_s = self._spy.described_s[self._device.device_id, frame.conversation_id]
            self._spy.sealed_s.setdefault(frame.info, asked_s)
        if isinstance(frame, Send):
            name = Reference(self._device.device_id, frame.client_id)
            sent = self._spy.sends[name]
            self._device.note(
                "sends",
                frame.client_id.hex()[-6:],
                Relation(frame.relation).name,
                sorted(frame.envelopes),
                frame.relates_to and frame.relates_to.client_id.hex()[-6:],
            )
            if not sent or sent[-1].envelopes != frame.envelopes or sent[-1].content != frame.content:
                sent.append(frame)
                self._spy.sent_s[name] = self._device.loop.now_s
                if frame.relation in UNSHOWN:
                    self._spy.simulation.tally.count(f"keys: {Relation(frame.relation).name}")

    def told(self, data: bytes) -> None:
        frame = MSGPACK.decode_server(data)
        if isinstance(frame, Deliver):
            self._spy.delivered[self._device.device_id].append(frame)
            message = frame.message
            self._device.note(
                "gets",
                message.client_id.hex()[-6:],
                Relation(message.relation).name,
                "of",
                message.sender_device,
            )
        elif isinstance(frame, Page):
            told = [*(item.message for item in frame.items), *frame.relations]
            self._spy.paged[self._device.device_id] += told
        elif isinstance(frame, DeviceLists | DevicesChanged):
            for signed in frame.lists:
                self._spy.identities[signed.user_id][decode_list(signed.body, DEVICES_MAX).identity] = None
        elif isinstance(frame, Error):
            self._device.note("is answered", frame.code, frame.message, frame.client_id)
        elif isinstance(frame, Sent):
            name = Reference(self._device.device_id, ClientId(frame.client_id))
            self._spy.accepted[name] = frame
            self._spy.accepted_s.setdefault(name, self._device.loop.now_s)

    def asked(self, method: str, path: str) -> None:
        self._device.note("asks", method, path)
        if self._spy.is_quiet:
            self._spy.quiet[self._device.name, method] += 1
