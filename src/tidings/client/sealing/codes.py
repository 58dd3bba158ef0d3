"""Codes: what a person carries from a new device to one that is in, and what is made of it.

A code has 50 bits. The server sees what it authenticates, and may try codes against that: so each try
costs an Argon2id (RFC 9106) of 64 MiB, some 0.1 s.

spec §6.16
"""

import hmac
import secrets
from hashlib import sha256

from tidings.client import stretching
from tidings.client.errors import ClientError
from tidings.client.stretching import Stretch
from tidings.protocol.ids import DeviceId, UserId

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letter that is mistaken for another"""
CHARS = 10
HALF = 5
MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4
_READ_AS = str.maketrans("ILO", "110")


def new_code() -> str:
    """A code to be shown on the new device."""
    code = "".join(secrets.choice(ALPHABET) for _ in range(CHARS))
    return f"{code[:HALF]}-{code[HALF:]}"


def stretched(
    code: str, user_id: UserId, device_id: DeviceId, stretch: Stretch = stretching.stretched
) -> bytes:
    """The key of a code; takes about 0.1 s. Raises ClientError if it cannot be one."""
    salt = b"tidings link" + user_id.to_bytes(8, "big") + device_id.to_bytes(8, "big")
    return stretch(_normal(code).encode(), salt, passes=PASSES, memory_kib=MEMORY_KIB, lanes=LANES)


def mark_of_keys(key: bytes, signing: bytes, agreement: bytes) -> bytes:
    """What the new device publishes beside its keys: they are of who made the code."""
    return _mac(key, b"device", signing, agreement)


def mark_of_answer(key: bytes, identity: bytes, envelope: bytes) -> bytes:
    """What the answer carries: it is of who was told the code."""
    return _mac(key, b"identity", identity, envelope)


def is_same(one: bytes, other: bytes) -> bool:
    """Compare two marks in constant time."""
    return hmac.compare_digest(one, other)


def _mac(key: bytes, *parts: bytes) -> bytes:
    mac = hmac.new(key, digestmod=sha256)
    for part in parts:
        mac.update(len(part).to_bytes(4, "big") + part)
    return mac.digest()


def _normal(code: str) -> str:
    plain = code.upper().replace("-", "").replace(" ", "").translate(_READ_AS)
    if len(plain) != CHARS or any(letter not in ALPHABET for letter in plain):
        raise ClientError(
            f"this is no code: {code!r}", f"the new device shows {CHARS} letters and digits, like 7K3QX-M0TB4"
        )
    return plain
