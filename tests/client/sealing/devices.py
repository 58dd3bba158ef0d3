"""Devices that seal and open, without a server between: what it would keep is in `Office`."""

import itertools
import sqlite3

import tidings_core as core

from tidings.client.sealing import asking, lists, own, sessions
from tidings.client.sealing.inside import Wrapped
from tidings.client.sealing.opener import Opened, open_key, open_message
from tidings.client.sealing.publishing import listed, sign
from tidings.client.sealing.sealer import Lacking, Sealed, Self, Writing, seal_key, seal_message
from tidings.client.sealing.sessions import End
from tidings.client.sealing.warnings import Warning, untold
from tidings.client.tables import SCHEMA
from tidings.protocol.frames import Bundle, Message, Reference, Relation, Scheme, SignedDevices
from tidings.protocol.ids import (
    ClientId,
    ConversationId,
    DeviceId,
    EntryId,
    MessageId,
    UserId,
    direct_conversation_id,
)
from tidings.protocol.keys import ListedDevice

NOW_MS = 1_800_000_000_000


class Office:
    """What a server keeps of keys, and gives to who asks. It may be told to lie."""

    def __init__(self) -> None:
        self.lists: dict[UserId, SignedDevices] = {}
        self.devices: dict[DeviceId, Device] = {}
        self.clock = itertools.count(1000)

    def now(self) -> EntryId:
        return EntryId(next(self.clock))

    def bundle(self, user: UserId, device: DeviceId) -> Bundle:
        """One with a fresh one-time pair."""
        return self.devices[device].bundle(user)


class Device:
    """A device with its profile's tables."""

    def __init__(self, office: Office, user_id: int, device_id: int) -> None:
        self.office = office
        self.me = Self(UserId(user_id), DeviceId(device_id))
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.executescript(SCHEMA)
        self._names = itertools.count(1)
        self.now_ms = NOW_MS
        own.create(self.database)
        office.devices[self.me.device_id] = self

    @property
    def own(self) -> own.Own:
        found = own.load(self.database)
        assert found is not None
        return found

    def found(self) -> None:
        """Be the first device of the account."""
        identity = core.SigningKey.generate()
        own.adopt(self.database, identity)
        self.sign([self])

    def sign(self, devices: "list[Device]", identity: core.SigningKey | None = None) -> None:
        """Publish the next list; the others of it learn the identity."""
        before = self.office.lists.get(self.me.user_id)
        version = 1 if before is None else lists.checked(before).version + 1
        mine = self.own.identity
        assert mine is not None
        signed = sign(
            identity or mine,
            self.me,
            version,
            [listed(device.own, device.me) for device in devices],
            mine if identity is not None else None,
        )
        self.office.lists[self.me.user_id] = signed
        for device in devices:
            own.adopt(device.database, identity or mine)
            device.learn(self.me.user_id)

    def learn(self, user_id: UserId) -> bool:
        """Take a user's list as the server tells it."""
        return lists.store(self.database, self.office.lists[user_id], self.office.now())

    def bundle(self, user_id: UserId) -> Bundle:
        """What the server would hand out."""
        keys = self.own.keys
        prekey, _ = own.renewed(self.database, keys, self.now_ms)
        (pair,) = own.one_time(self.database, keys, 1, self.now_ms)
        return Bundle(
            user_id,
            self.me.device_id,
            keys.signing,
            keys.agreement,
            keys.agreement_signature,
            prekey.id,
            prekey.key,
            prekey.signature,
            pair.id,
            pair.kem,
            pair.kem_signature,
            pair.id,
            pair.key,
        )

    def writing(self, peer: UserId, text: str, **options: object) -> Writing:
        """A message as it is written."""
        fields: dict[str, object] = {
            "conversation_id": direct_conversation_id(self.me.user_id, peer),
            "peer_id": peer,
            "client_id": ClientId(
                self.me.device_id.to_bytes(8, "big") + next(self._names).to_bytes(8, "big")
            ),
            "content_type": "text/plain",
            "content": text.encode(),
            "relation": Relation.NONE,
            "relates_to": None,
            "silent": False,
            "expires_at": None,
        }
        return Writing(**{**fields, **options})  # type: ignore[arg-type]

    def seal(self, writing: Writing) -> Sealed:
        """Seal, with what the office has."""
        while True:
            made = seal_message(self.database, self.me, writing, self.now_ms)
            if isinstance(made, Sealed):
                return made
            self._supply(made)

    def seal_key(self, peer: UserId, name: Reference, device: DeviceId) -> Sealed:
        """Seal the key of a message once more."""
        answer = asking.answer(self.database, name, [device])
        assert answer is not None
        wrapped = Wrapped(name.client_id, answer.wrapped.key)
        while True:
            made = seal_key(self.database, self.me, peer, wrapped, answer.devices, answer.sealed_ms)
            if isinstance(made, Sealed):
                return made
            self._supply(made)

    def send(self, peer: UserId, text: str, **options: object) -> "Post":
        """Seal a message, and keep its key as the outbox does."""
        writing = self.writing(peer, text, **options)
        sealed = self.seal(writing)
        name = Reference(self.me.device_id, writing.client_id)
        asking.keep_key(self.database, name, sealed, self.now_ms)
        return Post(self, writing, sealed, MessageId(self.office.now()), self.now_ms)

    def open(self, post: "Post", **changes: object) -> Opened:
        """Open what was sent, as it is delivered; `changes` are what the server made of it."""
        message = post.message(**changes)
        if lists.device(self.database, message.sender_id, message.sender_device) is None:
            self.learn(message.sender_id)
        return open_message(
            self.database, self.me, message, post.sealed.envelopes.get(self.me.device_id), self.now_ms
        )

    def open_key(self, post: "Post", sealed: Sealed) -> bytes | None:
        """Open a KEYS."""
        message = post.message(
            relation=Relation.KEYS, relates_to=post.name, content=b"", content_type="", client_id=b"k" * 16
        )
        return open_key(self.database, self.me, message, sealed.envelopes.get(self.me.device_id), self.now_ms)

    def warned(self) -> list[Warning]:
        """What the user is to be told."""
        return untold(self.database)

    def _supply(self, lacking: Lacking) -> None:
        for user_id in lacking.lists_of:
            self.learn(user_id)
        for user_id, device in lacking.devices:
            self.begin(device, self.office.bundle(user_id, device.device_id))

    def begin(self, device: ListedDevice, bundle: Bundle) -> None:
        """Make a session."""
        mine = lists.known(self.database, self.me.user_id)
        assert mine is not None
        end = End(self.me.user_id, self.me.device_id, mine.identity)
        sessions.begin(self.database, self.own, end, device, bundle, self.now_ms)


class Post:
    """A message on its way."""

    def __init__(
        self, sender: Device, writing: Writing, sealed: Sealed, message_id: MessageId, created_at: int
    ) -> None:
        self.sender, self.writing, self.sealed = sender.me, writing, sealed
        self.message_id, self.created_at = message_id, created_at
        self.name = Reference(sender.me.device_id, writing.client_id)

    def message(self, **changes: object) -> Message:
        """As the server delivers it, or makes of it."""
        writing = self.writing
        fields: dict[str, object] = {
            "message_id": self.message_id,
            "conversation_id": ConversationId(writing.conversation_id),
            "sender_id": self.sender.user_id,
            "sender_device": self.sender.device_id,
            "client_id": writing.client_id,
            "version": 1,
            "scheme": Scheme.DIRECT,
            "content_type": self.sealed.content_type,
            "content": self.sealed.content,
            "created_at": self.created_at,
            "relates_to": writing.relates_to,
            "expires_at": writing.expires_at,
            "silent": writing.silent,
            "relation": writing.relation,
        }
        return Message(**{**fields, **changes})  # type: ignore[arg-type]
