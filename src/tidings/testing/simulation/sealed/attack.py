"""The attack: what somebody could open who has a device's profiles, and all that the server has.

Every envelope that was accepted, whomever it is for, is tried with everything that could open it: each
session with its sender, and each prekey with the device's own keys, under every identity that was ever
seen. It does without the SDK's rules on who may be believed.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import tidings_core as core

from tidings.client.sealing import own
from tidings.client.sealing.infos import KEY_BYTES
from tidings.client.sealing.inside import Head, head_of, unwrapped_share
from tidings.protocol.frames import UNSHOWN, Reference, Relation
from tidings.protocol.ids import ConversationId, DeviceId
from tidings.testing.simulation.sealed.disk import opened as open_copy
from tidings.testing.simulation.sealed.model import Kind, Written

if TYPE_CHECKING:
    from tidings.testing.simulation.sealed.device import Device
    from tidings.testing.simulation.sealed.run import Sealed

COPIES = 3
"""of a profile that are tried, the newest"""
STRANGERS_TRY = 7
"""of what strangers have no business with, each so many-th message is tried"""


class Envelope(NamedTuple):
    """A key on its way."""

    written: Written
    """what it opens"""
    sender: "Device"
    device: DeviceId
    """whom it is for"""
    data: bytes


class Place(NamedTuple):
    """Which key of a ratchet an envelope was sealed with."""

    ratchet_key: bytes
    number: int


def envelopes(simulation: "Sealed") -> Iterator[Envelope]:
    """All that the server accepted, of which it is known what they open."""
    spy = simulation.spy
    devices = {device.device_id: device for device in simulation.devices}
    named = {one.name: one for one in simulation.model.written if one.name is not None}
    for name, sends in spy.sends.items():
        send = sends[-1]
        about = send.relates_to if send.relation in UNSHOWN else name
        written = named.get(about) if about is not None else None
        if written is None or (name not in spy.accepted and send.relation not in UNSHOWN):
            continue
        if written.is_grouped:
            continue  # see `opened_in_group`
        for device, data in send.envelopes.items():
            yield Envelope(written, devices[name.sender_device], device, data)


def opened(simulation: "Sealed") -> Iterator[tuple["Device", Written]]:
    """What devices have a key to that is closed to them."""
    model = simulation.model
    found = list(envelopes(simulation))
    for device in simulation.devices:
        is_out = model.memberships[device].removed_s is not None
        wanted = [one for one in found if model.is_closed(one.written, device)]
        if not is_out:
            wanted = wanted[::STRANGERS_TRY]
        for envelope in wanted:
            if envelope.device == device.device_id:
                yield device, envelope.written
        copies = [device.disk.copied(), *(copy.data for copy in device.copies[:-COPIES:-1])]
        for copy in copies if is_out else copies[:1]:
            thief = _Thief(device, copy, simulation)
            yield from ((device, one.written) for one in wanted if thief.opens(one))


def opened_in_group(simulation: "Sealed") -> Iterator[tuple["Device", Written]]:
    """What devices have a sender key to that is closed to them: who came later, or was out by then."""
    model = simulation.model
    for group in model.records:
        said = list(_said_in(simulation, group))
        for device in simulation.devices:
            wanted = [one for one in said if model.is_closed(one.written, device)]
            if wanted:
                loot = stolen(simulation, device, group)
                yield from ((device, one.written) for one in wanted if loot.opens(one.head))


def stolen(simulation: "Sealed", device: "Device", group: ConversationId) -> "Loot":
    """All keys of a group that a device's profile has or had, or can open on their way."""
    if (device, group) not in simulation.loot:
        loot = simulation.loot[device, group] = Loot({}, set())
        copies = [device.disk.copied(), *(copy.data for copy in device.copies[:-COPIES:-1])]
        for copy in (*copies, *device.seized[:-COPIES:-1]):
            _Thief(device, copy, simulation).takes(group, loot)
    return simulation.loot[device, group]


class Loot(NamedTuple):
    """What somebody has got hold of."""

    sender_keys: dict[bytes, int]
    """from where on"""
    info_keys: set[bytes]

    def opens(self, head: Head) -> bool:
        """Whether a sender key that is here opens a message."""
        return self.sender_keys.get(head.key_id, head.position + 1) <= head.position

    def take(self, key_id: bytes, since: int) -> None:
        """Another sender key."""
        self.sender_keys[key_id] = min(since, self.sender_keys.get(key_id, since))


class _Said(NamedTuple):
    written: Written
    head: Head


def _said_in(simulation: "Sealed", group: ConversationId) -> Iterator[_Said]:
    """The ciphertexts of a group that the server has, and those that it had until they were deleted."""
    model, sends = simulation.model, simulation.spy.sends
    for written in model.written:
        if not written.is_grouped or written.group != group or written.kind is Kind.DELETE:
            continue
        if written.name is not None and written.name in model.rows:
            for row in model.rows[written.name]:
                yield _Said(written, head_of(row.content or sends[written.name][-1].content))


class _Thief:
    """Who has a copy of a profile."""

    def __init__(self, device: "Device", copy: bytes, simulation: "Sealed") -> None:
        self._database = open_copy(copy)
        self._device = device
        self._mine = own.load(self._database)
        self._simulation = simulation
        self._identities = simulation.spy.identities
        self._sessions: dict[int, list[bytes]] = defaultdict(list)
        for peer, state in self._database.execute("SELECT device_id, state FROM sessions"):
            self._sessions[peer].append(state)

    def opens(self, envelope: Envelope) -> bool:
        """Whether anything that is here opens an envelope."""
        return self._read(envelope.sender, envelope.data) is not None

    def takes(self, group: ConversationId, loot: Loot) -> None:
        """The keys of a group that are here, or in any envelope that can be opened."""
        rows = self._database.execute(
            "SELECT key_id, since FROM heard_keys WHERE conversation_id = ?", (group,)
        ).fetchall()
        for key_id, since in rows:
            loot.take(key_id, since)
        keys = self._database.execute("SELECT key FROM info_keys WHERE conversation_id = ?", (group,))
        loot.info_keys.update(row[0] for row in keys.fetchall())
        devices = {device.device_id: device for device in self._simulation.devices}
        for name, sends in self._simulation.spy.sends.items():
            for send in sends:
                if send.conversation_id == group and send.relation in (Relation.SENDER_KEY, Relation.KEYS):
                    for data in send.envelopes.values():
                        self._take_share(devices[name.sender_device], data, loot)

    def _take_share(self, sender: "Device", data: bytes, loot: Loot) -> None:
        plaintext = self._read(sender, data)
        if plaintext is None:
            return
        shared = unwrapped_share(plaintext)
        loot.take(shared.key_id, core.ReceivedSenderKey(shared.share).first_index)
        keys = shared.info_keys
        loot.info_keys.update(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES))

    def _read(self, sender: "Device", data: bytes) -> bytes | None:
        for state in self._sessions[sender.device_id]:
            try:
                return core.Session.load(state).decrypt(data)
            except core.CryptoError:
                continue
        return self._begin(sender, data)

    def _begin(self, sender: "Device", data: bytes) -> bytes | None:
        handshake = core.handshake_of(data)
        if handshake is None or self._mine is None:
            return None
        secrets = own.secrets(self._database, handshake.prekey_id, handshake.kem_id, handshake.one_time_id)
        if secrets is None:
            return None
        mine = self._device
        for theirs, ours in product(
            self._identities[sender.user.user_id], self._identities[mine.user.user_id]
        ):
            context = msgspec.msgpack.encode(
                (
                    "tidings session",
                    (sender.user.user_id, sender.device_id, theirs),
                    (mine.user.user_id, mine.device_id, ours),
                )
            )
            try:
                _, plaintext = core.Session.inbound(
                    self._mine.keys, data, secrets.prekey, secrets.kem, secrets.one_time, context
                )
            except core.CryptoError:
                continue
            return plaintext
        return None


def used_twice(simulation: "Sealed") -> Iterator[tuple["Device", Reference]]:
    """Messages that were sealed with a key of a ratchet that had sealed something else before."""
    devices = {device.device_id: device for device in simulation.devices}
    used: dict[Place, bytes] = {}
    for name, sends in simulation.spy.sends.items():
        for send in sends:
            for data in send.envelopes.values():
                before = used.setdefault(place_of(data), data)
                if before != data:
                    yield devices[name.sender_device], name


def place_of(envelope: bytes) -> Place:
    """The key that an envelope was sealed with: what it says of it in the clear."""
    rest = envelope[2:]
    if envelope[1]:  # a handshake, with its length before it
        rest = rest[4 + int.from_bytes(rest[:4], "big") :]
    # The ratchet's message, as vodozemac writes it: a version, the ratchet key, the index (tags 0x0A, 0x10).
    assert rest[1:3] == b"\x0a\x20", rest[:4]
    assert rest[35] == 0x10
    number, shift, at = 0, 0, 36
    while True:
        number |= (rest[at] & 0x7F) << shift
        if rest[at] < 0x80:
            return Place(rest[3:35], number)
        shift, at = shift + 7, at + 1
