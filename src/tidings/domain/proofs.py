"""Proofs: that somebody is whose account it is, by the login secret and the second factor.

How long a refusal takes and what it says are the same whether the account exists or not; that an
account has a second factor, or is suspended, is told only to who has the secret.

spec §7
"""

import base64
import binascii
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from tidings.domain.factors import Factors
from tidings.domain.server_secret import ServerSecret
from tidings.domain.users import Users
from tidings.protocol.api import Kdf, Proof
from tidings.protocol.errors import BAD_PASSWORD, INVALID, SUSPENDED, WRONG_CREDENTIALS, ProtocolError
from tidings.protocol.ids import UserId
from tidings.protocol.limits import Limits
from tidings.store.schema import UserRow

SECRET_CHARS_MIN = 8
SALT_BYTES = 16
MEMORY_KIB = range(1024, 1024 * 1024 + 1)
PASSES = range(1, 65)
LANES = range(1, 17)
"""what an account may ask of the clients that log in to it"""

_DECOY = b"tidings decoy salt v1"


class Passwords(Protocol):
    """Hashes login secrets, away from the event loop. Raises ProtocolError (overloaded)."""

    async def hash(self, password: str) -> str:
        """A salted hash in PHC format."""

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether a password is the one; None takes as long and is never right."""


class Proofs:
    """Checks secrets and codes."""

    def __init__(
        self, users: Users, passwords: Passwords, factors: Factors, secret: ServerSecret, limits: Limits
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._factors = factors
        self._secret = secret
        self._limits = limits

    @asynccontextmanager
    async def given(self, row: UserRow | None, proof: Proof) -> AsyncIterator[UserRow]:
        """Hold an account's lock, once it is certain that it is its user; yields it as it is then.

        Raises ProtocolError (wrong_credentials, suspended, code_needed, bad_code, rate_limited,
        overloaded).
        """
        check_secret(proof.secret, self._limits)
        right = await self._passwords.matches(row.password_hash if row else None, proof.secret)
        if row is None or not right:
            raise ProtocolError(WRONG_CREDENTIALS)
        async with self._users.lock(row.user_id):
            # The secret may have been changed while it was hashed: then it is no proof any more.
            now = await self._users.row(row.user_id)
            if now is None or now.password_hash != row.password_hash:
                raise ProtocolError(WRONG_CREDENTIALS)
            if now.suspended_at:
                raise ProtocolError(SUSPENDED)
            await self._factors.check(now.user_id, proof.code)
            yield now

    @asynccontextmanager
    async def of(self, user_id: UserId, proof: Proof) -> AsyncIterator[UserRow]:
        """The same for a user who is known by a token already."""
        async with self.given(await self._users.row(user_id), proof) as row:
            yield row

    async def hash(self, secret: str, kdf: Kdf | None) -> str:
        """What to store of a new secret. Raises ProtocolError (bad_password, invalid, overloaded)."""
        check_secret(secret, self._limits)
        check_kdf(kdf)
        return await self._passwords.hash(secret)

    async def decoy(self, handle: str) -> Kdf:
        """What an account of this handle could have said of its secret: always the same."""
        digest = hmac.digest(await self._secret.value(), _DECOY + handle.encode(), "sha256")
        return Kdf(base64.b64encode(digest[:SALT_BYTES]).decode())


def check_secret(secret: str, limits: Limits) -> None:
    """Refuse what cannot be a login secret, before any work. Raises ProtocolError (bad_password)."""
    if not SECRET_CHARS_MIN <= len(secret) <= limits.password_chars:
        raise ProtocolError(BAD_PASSWORD)
    try:
        secret.encode()
    except UnicodeEncodeError:
        raise ProtocolError(BAD_PASSWORD, "the secret is not text") from None


def check_kdf(kdf: Kdf | None) -> None:
    """Refuse costs that would lock the account's own clients out. Raises ProtocolError (invalid)."""
    if kdf is None:
        return
    try:
        salt = base64.b64decode(kdf.salt, validate=True) if len(kdf.salt) <= 2 * SALT_BYTES else b""
    except (ValueError, binascii.Error):
        salt = b""
    if len(salt) != SALT_BYTES:
        raise ProtocolError(INVALID, f"kdf.salt is {SALT_BYTES} bytes in base64")
    for name, value, allowed in (
        ("memory_kib", kdf.memory_kib, MEMORY_KIB),
        ("passes", kdf.passes, PASSES),
        ("lanes", kdf.lanes, LANES),
    ):
        if value not in allowed:
            raise ProtocolError(INVALID, f"kdf.{name} is from {allowed[0]} to {allowed[-1]}")
