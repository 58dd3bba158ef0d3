"""Invite links: how the code of a group's invitation is written, so that it can be sent on as text.

`tidings:join/` and the code in base64url; behind a dot, what is needed to read the name of an encrypted
group, which the server is not told.

spec §6.17
"""

import base64
import hashlib
from typing import NamedTuple

from tidings.client.errors import ClientError

BEGINNING = "tidings:join/"
CODE_BYTES = 16
CODE_BYTES_MAX = 64


class Invite(NamedTuple):
    """What a link says."""

    code: bytes
    secret: bytes = b""

    @property
    def hash(self) -> bytes:
        """What the server knows the link by."""
        return hashlib.sha256(self.code).digest()

    def __str__(self) -> str:
        parts = [self.code, self.secret] if self.secret else [self.code]
        return BEGINNING + ".".join(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in parts)


def invite(link: str) -> Invite:
    """A link as people copied it. Raises ClientError."""
    code, _, secret = link.strip().removeprefix(BEGINNING).partition(".")
    try:
        found = Invite(_decoded(code), _decoded(secret))
    except ValueError:
        found = Invite(b"")
    if not CODE_BYTES <= len(found.code) <= CODE_BYTES_MAX:
        raise ClientError(f"this is no invite link; one begins with {BEGINNING}", "copy the whole of it")
    return found


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
