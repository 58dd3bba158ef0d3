"""Keys: what each device publishes of its own, and who asks to be linked.

A device's signing and agreement key never change: another pair is another device. Its prekeys are renewed,
each under a new id. Every signature is checked before anything is stored.

spec §6.16
"""

import asyncio

import msgspec

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.notices import Notices
from tidings.domain.prekeys import Prekeys
from tidings.domain.signatures import check_length, check_signature
from tidings.domain.users import Users
from tidings.protocol.api import DeviceKeys, KeysState, OneTimeKey, OneTimeKeys, SignedKey
from tidings.protocol.errors import (
    INVALID,
    KEYS_FIXED,
    NO_SUCH_DEVICE,
    TOO_LARGE,
    UNAUTHENTICATED,
    ProtocolError,
)
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.keys import (
    AGREEMENT,
    KEM_KEY_BYTES,
    KEM_PREKEY,
    PREKEY,
    PUBLIC_KEY_BYTES,
    named_key,
)
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store
from tidings.store.schema import DEVICE_KEYS, DEVICES, DeviceKeysRow


class Keys:
    """Publishes, and hands to the user's other devices."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        ids: IdClock,
        users: Users,
        prekeys: Prekeys,
        notices: Notices,
        limits: Limits,
    ) -> None:
        self._store = store
        self._commit = commit
        self._ids = ids
        self._users = users
        self._prekeys = prekeys
        self._notices = notices
        self._limits = limits

    async def publish(self, user_id: UserId, device_id: DeviceId, wanted: DeviceKeys) -> KeysState:
        """Publish a device's keys, or renew its prekeys; durable on return.

        Raises ProtocolError (invalid, too_large, keys_fixed, unauthenticated, store_…).
        """
        self._check(wanted)
        async with self._users.lock(user_id):
            await self._check_device(user_id, device_id)
            before = await self._row(user_id, device_id)
            row = _row_of(user_id, device_id, wanted)
            if before is not None:
                _check_renewal(before, row)
                if before.link == row.link:
                    row.link_reply = before.link_reply
            if row != before:
                await self._commit.write([Put(DEVICE_KEYS, row, self._ids.next())])
            await self._prekeys.open(device_id)
        if before is None or before.link != row.link:
            await self._notices.changed(user_id, "devices")
        return await self.state(user_id, device_id)

    async def state(self, user_id: UserId, device_id: DeviceId) -> KeysState:
        """What is here of a device."""
        row = await self._row(user_id, device_id)
        left, newest = await self._prekeys.state(device_id)
        if row is None:
            return KeysState(False, 0, 0, 0, newest, b"")
        return KeysState(True, left, row.prekey.id, row.kem.id, newest, row.link_reply)

    async def bring(self, user_id: UserId, device_id: DeviceId, brought: OneTimeKeys) -> int:
        """Take one-time prekeys of a device; how many are left to be given. Durable on return.

        Raises ProtocolError (invalid, too_large, unauthenticated, store_…).
        """
        most = self._limits.one_time_keys_upload
        if len(brought.keys) > most:
            raise ProtocolError(TOO_LARGE, f"at most {most} one-time prekeys at once")
        async with self._users.lock(user_id):
            await self._check_device(user_id, device_id)
            row = await self._row(user_id, device_id)
            if row is None:
                raise ProtocolError(INVALID, "publish the device's keys first")
            for key in brought.keys:
                _check_one_time(row.signing, key)
                await asyncio.sleep(0)  # it takes its time
            return await self._prekeys.add(device_id, brought)

    async def of_device(self, user_id: UserId, device_id: DeviceId) -> DeviceKeys:
        """What one of a user's devices has published. Raises ProtocolError (no_such_device)."""
        row = await self._existing(user_id, device_id)
        return DeviceKeys(row.signing, row.agreement, row.agreement_signature, row.prekey, row.kem, row.link)

    async def answer_link(self, user_id: UserId, device_id: DeviceId, reply: bytes) -> None:
        """Leave an answer for a device that asks to be linked; durable on return.

        Raises ProtocolError (no_such_device, too_large, store_…).
        """
        if len(reply) > self._limits.link_reply_bytes:
            raise ProtocolError(TOO_LARGE, f"an answer has at most {self._limits.link_reply_bytes} bytes")
        async with self._users.lock(user_id):
            row = await self._existing(user_id, device_id)
            answered = msgspec.structs.replace(row, link_reply=reply)
            await self._commit.write([Put(DEVICE_KEYS, answered, self._ids.next())])
        await self._notices.changed(user_id, "devices")

    def _check(self, wanted: DeviceKeys) -> None:
        if len(wanted.link) > self._limits.link_bytes:
            raise ProtocolError(TOO_LARGE, f"link has at most {self._limits.link_bytes} bytes")
        signing = wanted.signing
        check_length("signing", signing, PUBLIC_KEY_BYTES)
        check_length("agreement", wanted.agreement, PUBLIC_KEY_BYTES)
        check_signature("agreement", signing, AGREEMENT, wanted.agreement, wanted.agreement_signature)
        for what, tag, length, key in (
            ("prekey", PREKEY, PUBLIC_KEY_BYTES, wanted.prekey),
            ("kem", KEM_PREKEY, KEM_KEY_BYTES, wanted.kem),
        ):
            check_length(what, key.key, length)
            check_signature(what, signing, tag, named_key(key.id, key.key), key.signature)

    async def _check_device(self, user_id: UserId, device_id: DeviceId) -> None:
        """It may have been logged out since it was recognised: what it brings would stay for ever."""
        if await self._store.get(DEVICES, (user_id, device_id)) is None:
            raise ProtocolError(UNAUTHENTICATED)

    async def _row(self, user_id: UserId, device_id: DeviceId) -> DeviceKeysRow | None:
        return await self._store.get(DEVICE_KEYS, (user_id, device_id))

    async def _existing(self, user_id: UserId, device_id: DeviceId) -> DeviceKeysRow:
        row = await self._row(user_id, device_id)
        if row is None:
            raise ProtocolError(NO_SUCH_DEVICE, "no such device of yours has published keys")
        return row


def _row_of(user_id: UserId, device_id: DeviceId, wanted: DeviceKeys) -> DeviceKeysRow:
    return DeviceKeysRow(
        user_id,
        device_id,
        wanted.signing,
        wanted.agreement,
        wanted.agreement_signature,
        wanted.prekey,
        wanted.kem,
        wanted.link,
    )


def _check_renewal(before: DeviceKeysRow, row: DeviceKeysRow) -> None:
    """What a device may change of what it has published."""
    if (before.signing, before.agreement) != (row.signing, row.agreement):
        raise ProtocolError(KEYS_FIXED)
    pairs: tuple[tuple[SignedKey, SignedKey], ...] = ((before.prekey, row.prekey), (before.kem, row.kem))
    for old, new in pairs:
        # Whoever holds an older bundle names its keys by their ids alone.
        if old.id == new.id and old.key != new.key:
            raise ProtocolError(INVALID, "another prekey needs another id")


def _check_one_time(signing: bytes, key: OneTimeKey) -> None:
    check_length("key", key.key, PUBLIC_KEY_BYTES)
    check_length("kem", key.kem, KEM_KEY_BYTES)
    check_signature(f"pair {key.id}", signing, KEM_PREKEY, named_key(key.id, key.kem), key.kem_signature)
