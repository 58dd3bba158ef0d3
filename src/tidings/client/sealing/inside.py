"""What is inside a sealed message, and what outside of it the server cannot change.

To one person the content is sealed once with a key of its own; that goes to every device through a ratchet,
together with the hash of what it opens:

```
 1 | client_id, 16 | key, 32 | SHA-256(sealed content), 32
```

Whoever has the key could seal something else with it. The hash, which comes from the author alone, lets
nobody who is in league with the server show the author's other devices words that the author never wrote.

In a group it is encrypted by the sender key of the device that writes (Megolm), which went through the
ratchets before:

```
 1 | id of the sender key, 16 | index, 4, big-endian | Megolm( SHA-256(that, outside), 32 | padded inside )
```

Megolm authenticates nothing beside its message, hence the hash. It signs, so that no other member, who all
have the sender key, can write in its owner's name.

spec §6.16, §6.17
"""

import hmac
import struct
from hashlib import sha256
from typing import NamedTuple

import msgspec
import tidings_core as core

from tidings.protocol.frames import Reference, Scheme
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, UserId

FORMAT = 1
SEALED_TYPE = "sealed"
"""what the server sees as the content type"""
NO_LINK = bytes(32)
"""`Inside.previous` of the first message of a chain"""
KEY_BYTES = 32
CLIENT_ID_BYTES = 16
MESSAGE_KEY = 1
"""kind of what goes through a ratchet: a key, which opens the message that `client_id` names"""
IDENTITY = 2
"""the same: the user's identity, for a device of the user"""
SENDER_KEY = 3
"""the same: the sender key of a device for a group, from an index on"""
KEY_ID_BYTES = 16
HEAD_BYTES = 1 + KEY_ID_BYTES + 4
HASH_BYTES = 32


class Excuse(msgspec.Struct, array_like=True, frozen=True):
    """Why a message of this chain may be missing: it was given up (0), deleted (0), or has had its time."""

    counter: int
    since_ms: int


class Inside(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What is sealed, in MessagePack, padded."""

    format: int = FORMAT
    epoch: int
    """of the chain: the generation of the sender's profile when it began"""
    counter: int
    """1, 2, … of this device in this conversation and epoch"""
    previous: bytes
    """SHA-256 of the sealed content of the message before it"""
    sent_at: int
    """by the server's clock as the sender knows it, Unix ms"""
    content_type: str
    content: bytes
    expires_at: int | None = None
    excused: list[Excuse] = []


class Outside(NamedTuple):
    """What stands in the clear and is bound to what is inside."""

    conversation_id: ConversationId
    sender_id: UserId
    sender_device: DeviceId
    client_id: ClientId
    relation: int
    relates_to: Reference | None
    silent: bool
    scheme: int = Scheme.DIRECT

    def bytes(self) -> bytes:
        """As the associated data of the seal."""
        about = (
            None if self.relates_to is None else (self.relates_to.sender_device, self.relates_to.client_id)
        )
        return _encode(
            (
                "tidings message",
                int(self.scheme),
                self.conversation_id,
                self.sender_id,
                self.sender_device,
                self.client_id,
                int(self.relation),
                about,
                self.silent,
            )
        )


class Wrapped(NamedTuple):
    """What goes through a ratchet: a key, and the message that it opens."""

    client_id: ClientId
    key: bytes
    """with the hash of what it opens; without, of messages of versions that had none"""

    def bytes(self) -> bytes:
        return bytes([MESSAGE_KEY]) + self.client_id + self.key


def unwrapped(data: bytes) -> Wrapped:
    """The inverse of `Wrapped.bytes`. Raises ValueError."""
    client_id, key = data[1 : 1 + CLIENT_ID_BYTES], data[1 + CLIENT_ID_BYTES :]
    if len(key) not in (KEY_BYTES, KEY_BYTES + HASH_BYTES) or data[0] != MESSAGE_KEY:
        raise ValueError("no wrapped key")
    return Wrapped(ClientId(client_id), key)


def wrapped_identity(secret: bytes, former: bytes = b"") -> bytes:
    """The user's identity, and the one before it if there was one, as they go through a ratchet."""
    return bytes([IDENTITY]) + secret + former


def unwrapped_identity(data: bytes) -> tuple[bytes, bytes]:
    """The inverse of `wrapped_identity`. Raises ValueError."""
    if len(data) not in (1 + KEY_BYTES, 1 + 2 * KEY_BYTES) or data[0] != IDENTITY:
        raise ValueError("no identity")
    return data[1 : 1 + KEY_BYTES], data[1 + KEY_BYTES :]


class Shared(msgspec.Struct, array_like=True, frozen=True):
    """A sender key from an index on, for the members of a group, and what opens the group's info."""

    conversation_id: ConversationId
    key_id: bytes
    share: bytes
    """as the core makes it"""
    info_keys: bytes = b""
    """of the group's info: none, one, or two while it is being changed"""

    def bytes(self) -> bytes:
        """As it goes through a ratchet."""
        return bytes([SENDER_KEY]) + _encode(self)


def unwrapped_share(data: bytes) -> Shared:
    """The inverse of `Shared.bytes`. Raises ValueError."""
    if not data or data[0] != SENDER_KEY:
        raise ValueError("no sender key")
    try:
        shared = _decode_shared(data[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"no sender key: {error}") from None
    if len(shared.key_id) != KEY_ID_BYTES or len(shared.info_keys) not in (0, KEY_BYTES, 2 * KEY_BYTES):
        raise ValueError("a sender key of another length")
    return shared


class Head(NamedTuple):
    """What stands before a content that a sender key encrypted."""

    key_id: bytes
    position: int
    """among the messages of the key, from 0; Megolm's index"""

    def bytes(self) -> bytes:
        return bytes([FORMAT]) + self.key_id + struct.pack(">I", self.position)


def head_of(sealed: bytes) -> Head:
    """Which sender key encrypted a content, and at which position, as it says. Raises ValueError."""
    if len(sealed) <= HEAD_BYTES or sealed[0] != FORMAT:
        raise ValueError("not encrypted by a sender key, or in an unknown format")
    (position,) = struct.unpack_from(">I", sealed, 1 + KEY_ID_BYTES)
    return Head(sealed[1 : 1 + KEY_ID_BYTES], position)


def seal_under(key: core.SenderKey, key_id: bytes, inside: Inside, outside: Outside) -> bytes:
    """The content, encrypted by a sender key. That has stepped: save it before the content leaves."""
    head = Head(key_id, key.index).bytes()
    return head + key.encrypt(_bound(head, outside) + core.pad(_encode(inside)))


def unseal_under(key: core.ReceivedSenderKey, sealed: bytes, outside: Outside) -> Inside:
    """The inverse of `seal_under`. Raises ValueError if the key, or anything outside, is another one."""
    head = head_of(sealed)
    try:
        plaintext, index = key.decrypt(sealed[HEAD_BYTES:])
        bound, padded = plaintext[:HASH_BYTES], plaintext[HASH_BYTES:]
        if index != head.position or not hmac.compare_digest(bound, _bound(head.bytes(), outside)):
            raise ValueError("what stands outside is not what was sealed")
        return _checked(_decode(core.unpad(padded)))
    except (core.CryptoError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not what was sealed: {error}") from None


def _bound(head: bytes, outside: Outside) -> bytes:
    return sha256(head + outside.bytes()).digest()


def seal(inside: Inside, outside: Outside) -> tuple[bytes, bytes]:
    """A fresh key with the hash of what it opens, and the content sealed with it."""
    key, sealed = core.seal(core.pad(_encode(inside)), outside.bytes())
    return key + sha256(sealed).digest(), sealed


def unseal(key: bytes, sealed: bytes, outside: Outside) -> Inside:
    """The inverse of `seal`. Raises ValueError if the key, or anything outside, is another one."""
    key, told = key[:KEY_BYTES], key[KEY_BYTES:]
    if told and not hmac.compare_digest(told, sha256(sealed).digest()):
        raise ValueError("not what the key was sent for")
    try:
        inside = _decode(core.unpad(core.open_sealed(key, sealed, outside.bytes())))
    except (core.CryptoError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not what was sealed: {error}") from None
    return _checked(inside)


def _checked(inside: Inside) -> Inside:
    if inside.format != FORMAT:
        raise ValueError(f"sealed in the unknown format {inside.format}")
    return inside


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Inside).decode
_decode_shared = msgspec.msgpack.Decoder(Shared).decode
