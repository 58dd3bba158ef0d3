"""Accounts and devices: who somebody is, proved by a password once and by a token afterwards.

Passwords are stored as argon2id hashes, tokens as SHA-256 of 24 random bytes; neither is ever
logged. Logging in makes a new device; a token names its user and device, so that checking it
is one read.

spec §7
"""

import base64
import hashlib
import hmac
import re
import struct
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit, refusal
from tidings.protocol.api import Credentials, LoggedIn
from tidings.protocol.errors import (
    BAD_HANDLE,
    BAD_PASSWORD,
    HANDLE_TAKEN,
    INVALID,
    NO_SUCH_USER,
    TOO_MANY_DEVICES,
    UNAUTHENTICATED,
    WRONG_CREDENTIALS,
    ProtocolError,
)
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import OutcomeUnknown, Put, Store, StoreError
from tidings.store.schema import DEVICES, HANDLES, USERS, DeviceRow, HandleRow, UserRow

PASSWORD_CHARS_MIN = 8
TOKEN_SECRET_BYTES = 24
REQUEST_ID_BYTES = 16

_HANDLE = re.compile(r"[a-z0-9][a-z0-9_.-]{1,31}")
_TOKEN_IDS = struct.Struct(">QQ")

Random = Callable[[int], bytes]
"""So many bytes that nobody can guess."""


class Passwords(Protocol):
    """Hashes passwords, away from the event loop. Raises ProtocolError (overloaded)."""

    async def hash(self, password: str) -> str:
        """A salted hash in PHC format."""

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether a password is the one; None takes as long and is never right."""


class User:
    """A user that is being talked to: one object while anybody holds it."""

    __slots__ = ("__weakref__", "devices", "handle", "sessions", "user_id")

    def __init__(self, user_id: UserId, handle: str, devices: list[DeviceId]) -> None:
        self.user_id = user_id
        self.handle = handle
        self.devices = devices
        self.sessions = 0
        """of this node"""


class Accounts:
    """Registers, logs in and recognises."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        ids: IdClock,
        passwords: Passwords,
        random: Random,
        limits: Limits,
    ) -> None:
        self._store = store
        self._commit = commit
        self._clock = clock
        self._ids = ids
        self._passwords = passwords
        self._random = random
        self._limits = limits
        self._users: WeakValueDictionary[UserId, User] = WeakValueDictionary()

    async def register(self, credentials: Credentials) -> LoggedIn:
        """Make an account and its first device. Raises ProtocolError."""
        handle = normalise(credentials.handle)
        _check(credentials, self._limits)
        if await self._store.get(HANDLES, (handle,)) is not None:
            raise ProtocolError(HANDLE_TAKEN)
        password_hash = await self._passwords.hash(credentials.password)
        user_id = UserId(self._ids.next())
        row = UserRow(user_id, handle, password_hash, self._clock.wall_ms())
        device, token = self._device(user_id, credentials.device_name)
        # The account is whole before its handle points to it; one that loses the race for the
        # handle can be reached by nobody.
        await self._commit.write([Put(USERS, row, user_id), Put(DEVICES, device, device.device_id)])
        if not await self._claim(handle, user_id):
            raise ProtocolError(HANDLE_TAKEN)
        return _logged_in(row, device, token)

    async def login(self, credentials: Credentials) -> LoggedIn:
        """Make a new device for who knows the password. Raises ProtocolError."""
        handle = normalise(credentials.handle)
        _check(credentials, self._limits)
        found = await self._store.get(HANDLES, (handle,))
        row = None if found is None else await self._store.get(USERS, (found.user_id,))
        # Hash either way: how long it takes must not tell whether the handle exists.
        right = await self._passwords.matches(row.password_hash if row else None, credentials.password)
        if row is None or not right:
            raise ProtocolError(WRONG_CREDENTIALS)
        user = await self.user(row.user_id)
        if len(user.devices) >= self._limits.devices_per_user:
            raise ProtocolError(TOO_MANY_DEVICES)
        device, token = self._device(row.user_id, credentials.device_name)
        user.devices.append(device.device_id)
        try:
            await self._commit.write([Put(DEVICES, device, device.device_id)])
        except ProtocolError:
            user.devices.remove(device.device_id)
            raise
        return _logged_in(row, device, token)

    async def authenticate(self, token: str) -> tuple[User, DeviceId]:
        """Whose token this is. Raises ProtocolError (unauthenticated)."""
        user_id, device_id, secret = _parse(token, self._limits)
        device = await self._store.get(DEVICES, (user_id, device_id))
        if device is None or not hmac.compare_digest(device.token_hash, _hash(secret)):
            raise ProtocolError(UNAUTHENTICATED, "unknown token: log in again")
        return await self.user(user_id), device_id

    async def user(self, user_id: UserId) -> User:
        """A user that exists. Raises ProtocolError (no_such_user)."""
        known = self._users.get(user_id)
        if known is not None:
            return known
        row = await self._store.get(USERS, (user_id,))
        if row is None:
            raise ProtocolError(NO_SUCH_USER)
        devices = await self._store.range(DEVICES, (user_id,), limit=self._limits.devices_per_user)
        loaded = User(user_id, row.handle, [device.device_id for device in devices])
        return self._users.setdefault(user_id, loaded)

    async def by_handle(self, handle: str) -> User:
        """The user of a handle. Raises ProtocolError (no_such_user, bad_handle)."""
        found = await self._store.get(HANDLES, (normalise(handle),))
        if found is None:
            raise ProtocolError(NO_SUCH_USER)
        return await self.user(found.user_id)

    async def _claim(self, handle: str, user_id: UserId) -> bool:
        row = HandleRow(handle, user_id, self._random(REQUEST_ID_BYTES))
        try:
            return await self._store.compare_and_set(HANDLES, None, row) is None
        except OutcomeUnknown:
            held = await self._store.get(HANDLES, (handle,))
            return held is not None and held.request_id == row.request_id
        except StoreError as error:
            raise refusal(error) from error

    def _device(self, user_id: UserId, name: str) -> tuple[DeviceRow, str]:
        device_id = DeviceId(self._ids.next())
        secret = self._random(TOKEN_SECRET_BYTES)
        token = base64.urlsafe_b64encode(_TOKEN_IDS.pack(user_id, device_id) + secret).decode()
        now_ms = self._clock.wall_ms()
        return DeviceRow(user_id, device_id, _hash(secret), name, now_ms), token


def normalise(handle: str) -> str:
    """A handle as it is stored: lower case, without a leading @. Raises ProtocolError (bad_handle)."""
    lowered = handle.removeprefix("@").lower()
    if not _HANDLE.fullmatch(lowered):
        raise ProtocolError(BAD_HANDLE)
    return lowered


def _check(credentials: Credentials, limits: Limits) -> None:
    if not PASSWORD_CHARS_MIN <= len(credentials.password) <= limits.password_chars:
        raise ProtocolError(BAD_PASSWORD)
    if len(credentials.device_name) > limits.device_name_chars:
        raise ProtocolError(INVALID, f"device_name is over {limits.device_name_chars} characters")


def _parse(token: str, limits: Limits) -> tuple[UserId, DeviceId, bytes]:
    try:
        if len(token) > limits.token_chars:
            raise ValueError
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        user_id, device_id = _TOKEN_IDS.unpack_from(raw)
    except (ValueError, struct.error):
        raise ProtocolError(UNAUTHENTICATED, "this is not a token") from None
    return UserId(user_id), DeviceId(device_id), raw[_TOKEN_IDS.size :]


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _logged_in(user: UserRow, device: DeviceRow, token: str) -> LoggedIn:
    return LoggedIn(str(user.user_id), str(device.device_id), user.handle, token)
