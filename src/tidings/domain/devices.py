"""Devices: what a user has logged in, each with a token of its own.

A device that is revoked is out at once: its row, and with it its token, is durably gone before its
sessions are ended, so that none of them can come back.

spec §7
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.device_lists import DeviceLists
from tidings.domain.notices import Notices
from tidings.domain.peers import Peers
from tidings.domain.prekeys import Prekeys
from tidings.domain.router import Router
from tidings.domain.server_secret import ServerSecret
from tidings.domain.tokens import SECRET_BYTES, Random, Token, opens, parse
from tidings.domain.users import User, Users
from tidings.domain.wording import check_text
from tidings.protocol.api import DeviceInfo, LoggedIn
from tidings.protocol.errors import (
    NO_SUCH_DEVICE,
    SUSPENDED,
    TOO_MANY_DEVICES,
    UNAUTHENTICATED,
    ProtocolError,
)
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Erase, Key, Put, Store, Write
from tidings.store.schema import CURSORS, DEVICE_KEYS, DEVICES, GENERATIONS, SEEN, DeviceRow, SeenRow, UserRow

SCAN_ROWS = 256
LOOKS_APART_S = 86_400.0
UNKNOWN_TOKEN = "unknown token: log in again"  # noqa: S105 - what is said of one


class Recognised(NamedTuple):
    """Whose token it was."""

    user: User
    device_id: DeviceId
    new_token: str | None = None
    """to be used from now on"""


class Devices:
    """Adds, recognises, lists, names and revokes."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        ids: IdClock,
        users: Users,
        secret: ServerSecret,
        lists: DeviceLists,
        prekeys: Prekeys,
        router: Router,
        random: Random,
        notices: Notices,
        limits: Limits,
        peers: Peers,
    ) -> None:
        self._store = store
        self._commit = commit
        self._clock = clock
        self._ids = ids
        self._users = users
        self._secret = secret
        self._lists = lists
        self._prekeys = prekeys
        self._router = router
        self._random = random
        self._notices = notices
        self._limits = limits
        self._peers = peers
        self._unused: dict[tuple[UserId, DeviceId], float] = {}
        """devices that nobody uses, and when that was found first"""

    def made(self, user_id: UserId, name: str) -> tuple[DeviceRow, Token]:
        """A device that nobody knows yet, and its token."""
        token = Token(user_id, DeviceId(self._ids.next()), self._random(SECRET_BYTES))
        return DeviceRow(user_id, token.device_id, token.hash(), name, self._clock.wall_ms()), token

    async def add(self, row: UserRow, name: str) -> LoggedIn:
        """Log a further device in, under the user's lock.

        When it returns every node knows that the user's messages go to this device too. Raises
        ProtocolError (too_many_devices, store_…).
        """
        user = await self._users.user(row.user_id)
        if len(user.devices) >= (row.devices_max or self._limits.devices_per_user):
            raise ProtocolError(TOO_MANY_DEVICES)
        device, token = self.made(row.user_id, name)
        user.devices.append(device.device_id)
        try:
            await self._commit.write([Put(DEVICES, device, device.device_id)])
        except ProtocolError:
            # Where there are other nodes it may have been read anew, and be out already.
            user.devices[:] = [known for known in user.devices if known != device.device_id]
            raise
        finally:
            self._users.changed()
        await self._peers.know()
        return LoggedIn(str(row.user_id), str(device.device_id), row.handle, str(token))

    async def recognise(self, text: str) -> Recognised:
        """Whose token this is. Raises ProtocolError (unauthenticated, suspended)."""
        return await self._admit((await self._opened(text))[0])

    async def authenticate(self, text: str) -> Recognised:
        """Whose token this is; where it is time for another one, that comes with the answer.

        The new one is durable before it is told, and the old one holds until the new one was used.
        Raises ProtocolError (unauthenticated, suspended, store_…).
        """
        token, device = await self._opened(text)
        recognised = await self._admit(token)
        if not device.renew and not device.next_hash:
            return recognised
        new_token = await self._renewed(token)
        return recognised._replace(new_token=new_token)

    async def listed(self, user_id: UserId, current: DeviceId) -> list[DeviceInfo]:
        """A user's devices, the oldest first."""
        user = await self._users.user(user_id)
        keys = [(user_id, device_id) for device_id in sorted(user.devices)]
        rows = await self._store.get_many(DEVICES, keys)
        seen = await self._store.get_many(SEEN, keys)
        return [_info(row, at, current) for row, at in zip(rows, seen, strict=True) if row is not None]

    async def rename(self, user_id: UserId, device_id: DeviceId, name: str, current: DeviceId) -> DeviceInfo:
        """Call a device something else; how it is listed then.

        Raises ProtocolError (no_such_device, invalid, too_large, store_…).
        """
        name = check_text("name", name, self._limits.device_name_chars)
        async with self._users.lock(user_id):
            row = await self._existing(user_id, device_id)
            renamed = msgspec.structs.replace(row, name=name)
            await self._commit.write([Put(DEVICES, renamed, self._ids.next())])
            seen = await self._store.get(SEEN, (user_id, device_id))
        await self._notices.changed(user_id, "devices")
        return _info(renamed, seen, current)

    async def revoke(self, user_id: UserId, device_id: DeviceId) -> None:
        """Log a device out. Raises ProtocolError (no_such_device, store_…)."""
        async with self._users.lock(user_id):
            await self._existing(user_id, device_id)
            await self.revoke_held(user_id, [device_id])
        await self._notices.changed(user_id, "devices")

    async def revoke_all(self, user_id: UserId) -> None:
        """Log every device of a user out. Raises ProtocolError (store_…)."""
        async with self._users.lock(user_id):
            await self.revoke_held(user_id, await self.of(user_id))

    async def unlink_unseen(self, now_ms: int) -> int:
        """Log out the devices that were not seen for `unlink_s`, as two looks a day apart find; how many.

        Two, so that a clock that was set to a wrong year, and back, logs nobody out.
        """
        before_ms = now_ms - self._limits.unlink_s * 1000
        now_s = self._clock.monotonic_s()
        unused: dict[tuple[UserId, DeviceId], float] = {}
        after: Key | None = None
        while True:
            rows = await self._store.scan(DEVICES, after=after, limit=SCAN_ROWS)
            keys = [(row.user_id, row.device_id) for row in rows if row.created_at < before_ms]
            seen = await self._store.get_many(SEEN, keys)
            for key, at in zip(keys, seen, strict=True):
                if at is None or at.at_ms < before_ms:
                    unused[key] = self._unused.get(key, now_s)
            if len(rows) < SCAN_ROWS:
                break
            after = (rows[-1].user_id, rows[-1].device_id)
        gone = [key for key, since_s in unused.items() if now_s - since_s >= LOOKS_APART_S]
        self._unused = unused
        for user_id, device_id in gone:
            await self._unlink(user_id, device_id, before_ms)
        return len(gone)

    async def of(self, user_id: UserId) -> list[DeviceId]:
        """The devices that a user has logged in."""
        return list((await self._users.user(user_id)).devices)

    async def revoke_held(self, user_id: UserId, devices: Iterable[DeviceId]) -> None:
        """Log devices out, under the user's lock. Raises ProtocolError (store_…).

        When it raises, their tokens may or may not be dead; repeating it settles that.
        """
        gone = list(devices)
        if not gone:
            return
        user = await self._users.user(user_id)
        has_keys = await self._lists.concern(user_id, gone)
        if has_keys:
            await self._lists.mark_removal(user_id)
        await self._commit.write(await self._erasures(user_id, gone))
        user.devices[:] = [device_id for device_id in user.devices if device_id not in gone]
        self._users.changed()
        self._lists.removed(user_id)
        for device_id in gone:
            self._router.expel(user_id, device_id)
            self._notices.audit("device_revoked", user_id=user_id, device_id=device_id)
        # What their sessions left to be written soon is written, and goes with the rest.
        await self._commit.barrier()
        cause = self._ids.next()
        await self._commit.write(
            [Erase(table, (device_id,), cause) for device_id in gone for table in (CURSORS, GENERATIONS)]
            + [Erase(SEEN, (user_id, device_id), cause) for device_id in gone]
        )
        if has_keys:
            await self._peers.know()
            await self._lists.mark_removal(user_id)
            for device_id in gone:
                await self._prekeys.close(device_id)

    async def _erasures(self, user_id: UserId, gone: list[DeviceId]) -> list[Write]:
        """What erases devices, and the keys that they had published."""
        cause = self._ids.next()
        erased: list[Write] = [Erase(DEVICES, (user_id, device_id), cause) for device_id in gone]
        for device_id in gone:
            erased.append(Erase(DEVICE_KEYS, (user_id, device_id), cause))
            erased += await self._prekeys.erasures(device_id, cause)
        return erased

    async def _unlink(self, user_id: UserId, device_id: DeviceId, before_ms: int) -> None:
        async with self._users.lock(user_id):
            seen = await self._store.get(SEEN, (user_id, device_id))
            if seen is not None and seen.at_ms >= before_ms:
                return
            await self.revoke_held(user_id, [device_id])
        await self._notices.changed(user_id, "devices")

    async def _opened(self, text: str) -> tuple[Token, DeviceRow]:
        token = parse(text, self._limits)
        device = await self._store.get(DEVICES, (token.user_id, token.device_id))
        if not opens(token, device):
            raise ProtocolError(UNAUTHENTICATED, UNKNOWN_TOKEN)
        assert device is not None
        return token, device

    async def _admit(self, token: Token) -> Recognised:
        user = await self._users.user(token.user_id)
        if token.device_id not in user.devices or user.is_suspended:
            user = await self._users.anew(token.user_id)
        # It may have been revoked since its row was read; the user's object is never behind what
        # this node did.
        if token.device_id not in user.devices:
            raise ProtocolError(UNAUTHENTICATED, UNKNOWN_TOKEN)
        if user.is_suspended:
            raise ProtocolError(SUSPENDED)
        return Recognised(user, token.device_id)

    async def _renewed(self, token: Token) -> str | None:
        """Give a device its next token, or make the next one the present one that it has come with."""
        new = token.successor(await self._secret.value())
        async with self._users.lock(token.user_id):
            row = await self._store.get(DEVICES, (token.user_id, token.device_id))
            if row is None or not opens(token, row):
                raise ProtocolError(UNAUTHENTICATED, UNKNOWN_TOKEN)
            if token.hash() != row.token_hash:
                used = msgspec.structs.replace(row, token_hash=token.hash(), next_hash=b"", renew=False)
                await self._commit.write([Put(DEVICES, used, self._ids.next())])
                self._notices.audit("token_renewed", user_id=row.user_id, device_id=row.device_id)
                return None
            if not row.renew:
                return None
            if row.next_hash != new.hash():
                offered = msgspec.structs.replace(row, next_hash=new.hash())
                await self._commit.write([Put(DEVICES, offered, self._ids.next())])
            return str(new)

    async def _existing(self, user_id: UserId, device_id: DeviceId) -> DeviceRow:
        row = await self._store.get(DEVICES, (user_id, device_id))
        if row is None:
            raise ProtocolError(NO_SUCH_DEVICE)
        return row


def _info(row: DeviceRow, seen: SeenRow | None, current: DeviceId) -> DeviceInfo:
    return DeviceInfo(
        str(row.device_id),
        row.name,
        row.created_at,
        row.created_at if seen is None else seen.at_ms,
        row.device_id == current,
    )
