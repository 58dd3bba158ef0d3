"""What devices sign: a user's device list, and the public keys of one device.

Client and server check the same bytes: a list is signed as it was encoded, and passed on so. This
module knows how the bytes are put together; who checks signatures has the means for that. It does no
IO and reads no clock.

spec §6.16
"""

import itertools
import struct
from typing import Annotated

import msgspec
from msgspec import Meta

from tidings.protocol.frames import ADeviceId, AUserId, Counter, Frame

PUBLIC_KEY_BYTES = 32
"""of Ed25519 and X25519"""
SIGNATURE_BYTES = 64
"""of Ed25519"""
KEM_KEY_BYTES = 1568
"""of ML-KEM-1024 (FIPS 203)"""
LIST_FORMAT = 1

DEVICE_LIST = "device-list"
"""Tag of what `identity` signs, and `previous` where it is not empty: an encoded DeviceListBody."""
AGREEMENT = "agreement"
"""Tag of what a device signs: its agreement key."""
PREKEY = "prekey"
"""Tag of what a device signs: `named_key` of an X25519 prekey."""
KEM_PREKEY = "kem-prekey"
"""Tag of what a device signs: `named_key` of an ML-KEM prekey."""

_CONTEXT = b"tidings/1 "

APublicKey = Annotated[bytes, Meta(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES)]
APreviousKey = Annotated[bytes, Meta(max_length=PUBLIC_KEY_BYTES)]


class ListedDevice(Frame):
    """A device of a user, and the public keys that are its own for as long as it lives."""

    device_id: ADeviceId
    signing: APublicKey
    """Ed25519"""
    agreement: APublicKey
    """X25519"""


class DeviceListBody(Frame, kw_only=True):
    """Which devices a user has: what the user's identity key signs, in MessagePack."""

    format: int = LIST_FORMAT
    user_id: AUserId
    version: Counter
    """1, then one more each time"""
    identity: APublicKey
    """the user's identity key, Ed25519"""
    previous: APreviousKey
    """the identity before it, where this list is the first of another one; else empty"""
    devices: list[ListedDevice]
    """in ascending order of `device_id`"""


def signed_bytes(tag: str, message: bytes) -> bytes:
    """What is signed of a message: its kind stands before it, so that none passes for another."""
    return _CONTEXT + tag.encode() + b"\0" + message


def named_key(key_id: int, public: bytes) -> bytes:
    """A prekey under its id, as a device signs it."""
    return struct.pack(">Q", key_id) + public


def encode_list(body: DeviceListBody) -> bytes:
    """A device list as it is signed, stored and sent."""
    return _encode(body)


def decode_list(data: bytes, devices_max: int) -> DeviceListBody:
    """The inverse of `encode_list`. Raises ValueError for whatever that would not have written.

    Of another format, not in the shortest encoding, fields too many, devices out of order or named
    twice, keys of a wrong length, version 0, more than `devices_max` devices.
    """
    try:
        body = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no device list: {error}") from None
    if body.format != LIST_FORMAT:
        raise ValueError(f"a device list of the unknown format {body.format}")
    if encode_list(body) != data:
        raise ValueError("a device list that is not in its shortest encoding")
    if body.version < 1:
        raise ValueError("the version of a device list starts at 1")
    if len(body.previous) not in (0, PUBLIC_KEY_BYTES):
        raise ValueError(f"`previous` is empty or has {PUBLIC_KEY_BYTES} bytes")
    if body.previous == body.identity:
        raise ValueError("`previous` is the identity before this one")
    if len(body.devices) > devices_max:
        raise ValueError(f"more than {devices_max} devices")
    ids = [device.device_id for device in body.devices]
    if any(one >= other for one, other in itertools.pairwise(ids)):
        raise ValueError("devices stand in ascending order, each once")
    return body


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DeviceListBody).decode
