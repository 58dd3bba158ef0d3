"""Publishing: what others need to write to this device, kept in supply on the server.

The first device of an account makes the user's identity and signs the first list; a further one has
keys, and waits to be linked (see `linking.py`). Signed prekeys are renewed each week, one-time ones when
fewer than `LOW` are left.

spec §6.16, §7
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
import tidings_core as core

from tidings.client.errors import Refused
from tidings.client.sealing import lists, own
from tidings.client.sealing.own import Own
from tidings.client.sealing.sealer import Self
from tidings.client.sealing.supplies import Ask, Storage, Supplies
from tidings.protocol.api import (
    DeviceKeys,
    Done,
    KeysLeft,
    KeysState,
    NewDevices,
    OneTimeKey,
    OneTimeKeys,
    SignedKey,
)
from tidings.protocol.errors import LIST_CHANGED
from tidings.protocol.frames import SignedDevices
from tidings.protocol.ids import EntryId
from tidings.protocol.keys import DEVICE_LIST, DeviceListBody, ListedDevice, encode_list

LOW = 20
"""one-time keys left on the server, below which there are more made"""
FULL = 60
"""to so many; each is 1.7 kB there"""
UPLOAD = 40
"""one-time keys in one request"""
READY_S = 20.0
"""how long what needs this device's keys waits for them to be published, after a start"""

T = TypeVar("T")


class Http(Protocol):
    """One request to the server, as this device. Raises Refused, Unreachable."""

    async def __call__(
        self, method: str, path: str, answer: type[T], body: msgspec.Struct | None = None
    ) -> T: ...


class Publishing:
    """See the module's text."""

    def __init__(
        self, vault: Storage, me: Self, http: Http, supplies: Supplies, now_ms: Callable[[], int]
    ) -> None:
        self._vault = vault
        self._me = me
        self._http = http
        self._supplies = supplies
        self._now_ms = now_ms
        self._busy = asyncio.Lock()
        self._is_done = asyncio.Event()

    async def published(self) -> None:
        """Return once the keys are published, or it was tried, or after `READY_S`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                await self._is_done.wait()

    def tried(self) -> None:
        """Who waits in `published` goes on."""
        self._is_done.set()

    async def publish(self, ask: Ask | None = None) -> KeysState:
        """See to it that others can write to this device; what the server has of its keys.

        `ask` asks over a connection for the account's list; without it the account is known to be new.
        Raises Refused, Unreachable, and what `ask` raises.
        """
        async with self._busy:
            mine = await self._vault.write(_load)
            state = await self._http("GET", "/v1/keys", KeysState)
            newest = max(state.newest_one_time_id, state.prekey_id, state.kem_id)
            # Of an older copy of the profile: what the server has since, nothing here opens.
            is_behind = await self._vault.write(lambda database: own.raise_ids(database, newest))
            prekey, last_resort = await self._vault.write(
                lambda database: own.renewed(database, mine.keys, self._now_ms(), anew=is_behind)
            )
            if (state.prekey_id, state.kem_id) != (prekey.id, last_resort.id):
                body = public_keys(mine, prekey, last_resort)
                state = await self._http("PUT", "/v1/keys", KeysState, body)
            if is_behind or state.left < LOW:
                await self._refill(mine, 0 if is_behind else state.left, replace=is_behind)
            await self._list_first(mine, ask)
            return state

    async def _refill(self, mine: Own, left: int, *, replace: bool) -> None:
        while left < FULL:
            count = min(UPLOAD, FULL - left)
            made = await self._vault.write(self._making(mine, count))
            body = OneTimeKeys(made, replace)
            answer = await self._http("POST", "/v1/keys/one-time", KeysLeft, body)
            replace = False
            if answer.left <= left:
                return
            left = answer.left

    def _making(self, mine: Own, count: int) -> Callable[[sqlite3.Connection], list[OneTimeKey]]:
        return lambda database: own.one_time(database, mine.keys, count, self._now_ms())

    async def _list_first(self, mine: Own, ask: Ask | None) -> None:
        """Become the account's first device, if it has none that is listed."""
        if ask is not None:
            await self._supplies.lists([self._me.user_id], ask)
        if await self._vault.read(lambda database: lists.known(database, self._me.user_id)) is not None:
            return
        # Before it is published: what nobody can sign again must not be lost.
        identity = await self._vault.write(_first_identity)
        signed = sign(identity, self._me, 1, [listed(mine, self._me)])
        try:
            await self._http("PUT", "/v1/keys/devices", Done, NewDevices(signed.body, signed.signature))
        except Refused as refusal:
            if refusal.code != LIST_CHANGED.code:
                raise
            return  # another device was the first
        await self._vault.write(lambda database: lists.store(database, signed, EntryId(self._me.device_id)))


def public_keys(mine: Own, prekey: SignedKey, last_resort: SignedKey, link: bytes = b"") -> DeviceKeys:
    """What this device publishes of itself."""
    keys = mine.keys
    return DeviceKeys(keys.signing, keys.agreement, keys.agreement_signature, prekey, last_resort, link)


def listed(mine: Own, me: Self) -> ListedDevice:
    """This device, as it stands in a list."""
    return ListedDevice(me.device_id, mine.keys.signing, mine.keys.agreement)


def sign(
    identity: core.SigningKey,
    me: Self,
    version: int,
    devices: list[ListedDevice],
    previous: core.SigningKey | None = None,
) -> SignedDevices:
    """A device list, signed; by the identity before this one, too, if there was one."""
    body = encode_list(
        DeviceListBody(
            user_id=me.user_id,
            version=version,
            identity=identity.public,
            previous=b"" if previous is None else previous.public,
            devices=sorted(devices, key=lambda one: one.device_id),
        )
    )
    return SignedDevices(
        me.user_id,
        body,
        identity.sign(DEVICE_LIST, body),
        b"" if previous is None else previous.sign(DEVICE_LIST, body),
    )


def _load(database: sqlite3.Connection) -> Own:
    own.create(database)
    mine = own.load(database)
    assert mine is not None
    return mine


def _first_identity(database: sqlite3.Connection) -> core.SigningKey:
    """The identity of an account that has no list: another process may be about to publish it, too."""
    mine = _load(database)
    if mine.identity is not None:
        return mine.identity
    identity = core.SigningKey.generate()
    own.adopt(database, identity)
    return identity
