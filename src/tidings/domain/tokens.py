"""Tokens: what a device proves with whose it is.

A token names its user and device, so that checking it is one read; the rest of it is 24 random
bytes, of which the server keeps the SHA-256 alone.

spec §7
"""

import base64
import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import NamedTuple

from tidings.protocol.errors import UNAUTHENTICATED, ProtocolError
from tidings.protocol.ids import SNOWFLAKE_MAX, DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.store.schema import DeviceRow

SECRET_BYTES = 24

_IDS = struct.Struct(">QQ")
_RENEWAL = b"tidings renewed token v1"

Random = Callable[[int], bytes]
"""So many bytes that nobody can guess."""


class Token(NamedTuple):
    """A token, taken apart."""

    user_id: UserId
    device_id: DeviceId
    secret: bytes

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(_IDS.pack(self.user_id, self.device_id) + self.secret).decode()

    def hash(self) -> bytes:
        """What of it is stored."""
        return hashlib.sha256(self.secret).digest()

    def successor(self, server_secret: bytes) -> "Token":
        """The token that replaces this one: the same one, however often it is asked for.

        Several sessions of a device may be given it at once, and all must be given the same. Who
        has the store alone cannot make it: that takes this token's own secret.
        """
        renewed = hmac.digest(server_secret, _RENEWAL + self.secret, "sha256")[:SECRET_BYTES]
        return self._replace(secret=renewed)


def parse(token: str, limits: Limits) -> Token:
    """Take a token apart; says nothing of whether it holds. Raises ProtocolError (unauthenticated)."""
    try:
        if len(token) > limits.token_chars:
            raise ValueError
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        user_id, device_id = _IDS.unpack_from(raw)
        if max(user_id, device_id) > SNOWFLAKE_MAX:
            raise ValueError
    except (ValueError, struct.error):
        raise ProtocolError(UNAUTHENTICATED, "this is not a token") from None
    return Token(UserId(user_id), DeviceId(device_id), raw[_IDS.size :])


def opens(token: Token, device: DeviceRow | None) -> bool:
    """Whether a token is a device's, or the one that is to replace it."""
    presented = token.hash()
    # Both are compared whatever the first one says, and something is compared where there is no device.
    present = hmac.compare_digest(b"" if device is None else device.token_hash, presented)
    next_one = hmac.compare_digest(b"" if device is None else device.next_hash, presented)
    return present or next_one
