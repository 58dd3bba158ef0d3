"""The login secret: what the server is shown instead of the password.

Argon2id over the password (RFC 9106), then HKDF-SHA256 (RFC 5869). The costs come from the server,
which may lie: less than a floor is refused, and so is a server that asks for the password itself.

spec §7
"""

import asyncio
import base64
import binascii
import unicodedata
from collections.abc import Callable

from tidings.client.errors import ClientError, Refused
from tidings.client.stretching import stretched
from tidings.protocol.api import Kdf
from tidings.protocol.errors import BAD_PASSWORD

PASSWORD_CHARS_MIN = 8
SALT_BYTES = 16
SECRET_BYTES = 32
INFO = b"tidings login secret v1"
MEMORY_KIB_MIN, MEMORY_KIB_MAX = 16 * 1024, 1024 * 1024
PASSES_MIN, PASSES_MAX = 1, 64
LANES_MAX = 64


def new_kdf(entropy: Callable[[int], bytes]) -> Kdf:
    """How a new account's secret is made: a fresh salt, and today's costs (64 MiB, 3 passes)."""
    return Kdf(base64.b64encode(entropy(SALT_BYTES)).decode())


def check_password(password: str) -> None:
    """Refuse a new password that is too short, since no server sees it. Raises Refused (bad_password)."""
    if len(password) < PASSWORD_CHARS_MIN:
        reason = f"a password has at least {PASSWORD_CHARS_MIN} characters"
        raise Refused(BAD_PASSWORD.code, BAD_PASSWORD.name, reason)


async def derive(password: str, kdf: Kdf) -> str:
    """The secret, in base64; takes about 0.1 s on a thread. Raises ClientError for weak costs."""
    salt = _checked(kdf)
    return await asyncio.to_thread(_derive, password, salt, kdf)


async def secret_for(password: str, kdf: Kdf | None, *, plain_password: bool) -> str:
    """What to send to a server that says how an account's secret is made. Raises ClientError."""
    if kdf is not None:
        return await derive(password, kdf)
    if plain_password:
        return password
    raise ClientError(
        "cannot log in: the server wants to see the password itself",
        "an account that was made by a simple client, or by an old version, is so; if you trust the server,"
        " allow it with --plain-password (plain_password=True)",
    )


def _checked(kdf: Kdf) -> bytes:
    try:
        salt = base64.b64decode(kdf.salt, validate=True)
    except (binascii.Error, ValueError):
        salt = b""
    if not (
        len(salt) >= SALT_BYTES
        and MEMORY_KIB_MIN <= kdf.memory_kib <= MEMORY_KIB_MAX
        and PASSES_MIN <= kdf.passes <= PASSES_MAX
        and 1 <= kdf.lanes <= LANES_MAX
    ):
        raise ClientError(
            "cannot log in: the login secret that the server asks for is too easily (or costly) made",
            "do not trust this server",
        )
    return salt


def _derive(password: str, salt: bytes, kdf: Kdf) -> str:
    # Here and not above: only a new device, or another password, needs it.
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    plain = unicodedata.normalize("NFC", password).encode()
    hashed = stretched(plain, salt, passes=kdf.passes, memory_kib=kdf.memory_kib, lanes=kdf.lanes)
    return base64.b64encode(HKDF(SHA256(), SECRET_BYTES, None, INFO).derive(hashed)).decode()
