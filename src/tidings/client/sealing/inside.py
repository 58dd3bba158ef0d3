"""What is inside a sealed message, and what outside of it the server cannot change.

The content is sealed once with a key of its own; the key goes to every device through a ratchet.

spec §6.16
"""

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

    def bytes(self) -> bytes:
        """As the associated data of the seal."""
        about = (
            None if self.relates_to is None else (self.relates_to.sender_device, self.relates_to.client_id)
        )
        return _encode(
            (
                "tidings message",
                int(Scheme.DIRECT),
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

    def bytes(self) -> bytes:
        return bytes([MESSAGE_KEY]) + self.client_id + self.key


def unwrapped(data: bytes) -> Wrapped:
    """The inverse of `Wrapped.bytes`. Raises ValueError."""
    if len(data) != 1 + CLIENT_ID_BYTES + KEY_BYTES or data[0] != MESSAGE_KEY:
        raise ValueError("no wrapped key")
    return Wrapped(ClientId(data[1 : 1 + CLIENT_ID_BYTES]), data[1 + CLIENT_ID_BYTES :])


def wrapped_identity(secret: bytes, former: bytes = b"") -> bytes:
    """The user's identity, and the one before it if there was one, as they go through a ratchet."""
    return bytes([IDENTITY]) + secret + former


def unwrapped_identity(data: bytes) -> tuple[bytes, bytes]:
    """The inverse of `wrapped_identity`. Raises ValueError."""
    if len(data) not in (1 + KEY_BYTES, 1 + 2 * KEY_BYTES) or data[0] != IDENTITY:
        raise ValueError("no identity")
    return data[1 : 1 + KEY_BYTES], data[1 + KEY_BYTES :]


def seal(inside: Inside, outside: Outside) -> tuple[bytes, bytes]:
    """A fresh key, and the content sealed with it."""
    return core.seal(core.pad(_encode(inside)), outside.bytes())


def unseal(key: bytes, sealed: bytes, outside: Outside) -> Inside:
    """The inverse of `seal`. Raises ValueError if the key, or anything outside, is another one."""
    try:
        inside = _decode(core.unpad(core.open_sealed(key, sealed, outside.bytes())))
    except (core.CryptoError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not what was sealed: {error}") from None
    if inside.format != FORMAT:
        raise ValueError(f"sealed in the unknown format {inside.format}")
    return inside


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Inside).decode
