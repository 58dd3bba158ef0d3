"""Password hashes: argon2id in a few threads, so that logins neither stop the loop nor eat memory.

RFC 9106, with argon2-cffi's low-memory profile (64 MiB, 3 passes).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tidings.protocol.errors import OVERLOADED, ProtocolError
from tidings.protocol.limits import Limits

T = TypeVar("T")


class Argon2Passwords:
    """Implements `accounts.Passwords`; at most `password_hashes` at once."""

    def __init__(self, limits: Limits, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.password_hashes, "passwords")
        self._waiting = 0
        self._decoy = self._hasher.hash("nobody's password")

    async def hash(self, password: str) -> str:
        return await self._run(self._hasher.hash, password)

    async def matches(self, password_hash: str | None, password: str) -> bool:
        right = await self._run(self._verify, password_hash or self._decoy, password)
        return right and password_hash is not None

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= self._limits.password_waiting:
            raise ProtocolError(OVERLOADED, "too many logins at once", retry_after_s=2.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1
