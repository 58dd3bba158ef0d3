"""Accounts: who somebody is, proved by a secret once and by a token afterwards.

Login secrets are stored as argon2id hashes, tokens as SHA-256; neither is ever logged. What else
belongs to an account has a module of its own: `devices`, `factors`, `phones`, `invites`,
`departures`, `exports`.

spec §7
"""

from typing import Literal

import msgspec

from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.devices import Devices, Recognised
from tidings.domain.factors import Factors
from tidings.domain.handles import Handles, normalise
from tidings.domain.invites import Invites
from tidings.domain.notices import Notices
from tidings.domain.proofs import Passwords as Passwords
from tidings.domain.proofs import Proofs, check_kdf, check_secret
from tidings.domain.router import Router
from tidings.domain.tokens import Random as Random
from tidings.domain.tries import Tries
from tidings.domain.users import User as User
from tidings.domain.users import Users
from tidings.domain.wording import check_text
from tidings.protocol.api import (
    AccountInfo,
    Credentials,
    FactorBegun,
    Kdf,
    LoggedIn,
    NewAccount,
    NewSecret,
    Proof,
)
from tidings.protocol.errors import (
    HANDLE_TAKEN,
    NO_SUCH_USER,
    REGISTRATION_CLOSED,
    ProtocolError,
)
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Erase, Put, Store
from tidings.store.schema import DEVICES, PHONES, PROFILES, USERS, ProfileRow, UserRow

Registration = Literal["open", "invite", "closed"]


class Accounts:
    """Registers, logs in and recognises; changes handle and secret."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        ids: IdClock,
        users: Users,
        handles: Handles,
        devices: Devices,
        factors: Factors,
        invites: Invites,
        proofs: Proofs,
        router: Router,
        notices: Notices,
        limits: Limits,
        registration: Registration,
    ) -> None:
        self._store = store
        self._commit = commit
        self._clock = clock
        self._ids = ids
        self._users = users
        self._handles = handles
        self._devices = devices
        self._factors = factors
        self._invites = invites
        self._proofs = proofs
        self._router = router
        self._notices = notices
        self._limits = limits
        self._registration = registration
        self._renamed: Tries[UserId] = Tries(clock, limits.addresses_tracked)

    # --- coming in --------------------------------------------------------------------------

    async def register(self, wanted: NewAccount, *, address: str | None = None) -> LoggedIn:
        """Make an account and its first device.

        Raises ProtocolError (registration_closed, bad_invite, handle_taken, bad_…, overloaded, store_…).
        """
        if self._registration == "closed":
            raise ProtocolError(REGISTRATION_CLOSED)
        handle = normalise(wanted.handle)
        check_secret(wanted.secret, self._limits)
        check_kdf(wanted.kdf)
        name = check_text("device_name", wanted.device_name, self._limits.device_name_chars)
        invited = self._registration == "invite"
        if invited:
            # First, so that who has no invite learns nothing of handles.
            await self._invites.check(wanted.invite)
        if not await self._handles.is_free(handle):
            raise ProtocolError(HANDLE_TAKEN)
        password_hash = await self._proofs.hash(wanted.secret, wanted.kdf)
        if invited:
            await self._invites.use(wanted.invite)
        try:
            logged_in = await self._make(handle, password_hash, wanted.kdf, name)
        except ProtocolError:
            if invited:
                await self._invites.give_back(wanted.invite)
            raise
        self._notices.audit("registered", user_id=int(logged_in.user_id), handle=handle, address=address)
        return logged_in

    async def login(self, credentials: Credentials, *, address: str | None = None) -> LoggedIn:
        """Make a new device for who has the secret, and the code where one is asked for.

        Raises ProtocolError (wrong_credentials, code_needed, bad_code, suspended, rate_limited,
        too_many_devices, overloaded, store_…).
        """
        handle = normalise(credentials.handle)
        check_secret(credentials.secret, self._limits)
        name = check_text("device_name", credentials.device_name, self._limits.device_name_chars)
        # It goes on where there is no such account: how long it takes must not tell.
        found = await self._handles.holder(handle)
        proof = Proof(credentials.secret, credentials.code)
        try:
            async with self._proofs.given(found, proof) as row:
                logged_in = await self._devices.add(row, name)
        except ProtocolError as error:
            reason = error.kind.name
            self._notices.audit("login_failed", handle=handle, reason=reason, address=address)
            raise
        user_id, device_id = logged_in.ids()
        self._notices.audit("login", user_id=user_id, device_id=device_id, handle=handle, address=address)
        await self._notices.changed(user_id, "devices")
        return logged_in

    async def kdf(self, handle: str) -> Kdf | None:
        """How the account of a handle makes its secret; of nobody's handle, how it could have.

        None for an account whose secret is sent as it was typed. Raises ProtocolError (bad_handle).
        """
        handle = normalise(handle)
        decoy = await self._proofs.decoy(handle)
        row = await self._handles.holder(handle)
        return decoy if row is None else row.kdf

    async def authenticate(self, token: str) -> Recognised:
        """Whose token this is, for a session. See `Devices.authenticate`."""
        return await self._devices.authenticate(token)

    # --- being found ------------------------------------------------------------------------

    async def user(self, user_id: UserId) -> User:
        """Who has this id. One who was deleted (or never was) has an empty handle and no devices."""
        return await self._users.user(user_id)

    async def by_handle(self, handle: str) -> User:
        """The user of a handle. Raises ProtocolError (no_such_user, bad_handle)."""
        found = await self._handles.holder(normalise(handle))
        if found is None:
            raise ProtocolError(NO_SUCH_USER)
        return await self._users.user(found.user_id)

    async def info(self, user_id: UserId) -> AccountInfo:
        """An account, as its own user sees it. Raises ProtocolError (no_such_user)."""
        row = await self._users.existing(user_id)
        profile = await self._store.get(PROFILES, (user_id,)) or ProfileRow(user_id)
        phone = await self._store.get(PHONES, (row.phone,)) if row.phone else None
        return AccountInfo(
            str(user_id),
            row.handle,
            row.created_at,
            "" if phone is None or phone.user_id != user_id else row.phone,
            await self._factors.is_on(user_id),
            profile.name,
            profile.about,
            str(profile.picture),
        )

    # --- changing ---------------------------------------------------------------------------

    async def rename(self, user_id: UserId, wanted: str) -> None:
        """Take another handle; the present one is kept for the user for `handle_kept_s`.

        Raises ProtocolError (bad_handle, handle_taken, rate_limited, store_…).
        """
        handle = normalise(wanted)
        # Every handle given up is one that nobody can have for a while.
        self._renamed.check(user_id)
        if not await self._handles.is_free(handle, user_id):
            raise ProtocolError(HANDLE_TAKEN)
        async with self._users.lock(user_id):
            row = await self._users.existing(user_id)
            if row.handle == handle:
                return
            if not await self._handles.claim(handle, user_id):
                raise ProtocolError(HANDLE_TAKEN)
            self._renamed.note(user_id)
            await self._users.write(msgspec.structs.replace(row, handle=handle))
            await self._handles.release(row.handle, user_id)
        self._notices.audit("handle_changed", user_id=user_id, handle=handle, old=row.handle)
        await self._notices.changed(user_id, "handle")

    async def change_secret(self, user_id: UserId, device_id: DeviceId, wanted: NewSecret) -> None:
        """Have another login secret; by default all devices but the asking one are logged out.

        Raises ProtocolError (wrong_credentials, code_needed, bad_code, bad_password, store_…).
        """
        check_secret(wanted.new_secret, self._limits)
        check_kdf(wanted.kdf)
        async with self._proofs.of(user_id, Proof(wanted.secret, wanted.code)) as row:
            password_hash = await self._proofs.hash(wanted.new_secret, wanted.kdf)
            changed = msgspec.structs.replace(row, password_hash=password_hash, kdf=wanted.kdf)
            await self._users.write(changed)
            self._notices.audit("secret_changed", user_id=user_id, device_id=device_id)
            if wanted.sign_out_others:
                others = [other for other in await self._devices.of(user_id) if other != device_id]
                await self._devices.revoke_held(user_id, others)
        await self._notices.changed(user_id, "devices")

    async def begin_factor(self, user_id: UserId, proof: Proof) -> FactorBegun:
        """Make a second factor, to be confirmed. Raises ProtocolError (wrong_credentials, invalid, …)."""
        async with self._proofs.of(user_id, proof) as row:
            return await self._factors.begin(row)

    async def remove_factor(self, user_id: UserId, proof: Proof) -> None:
        """Be asked for no code any more. Raises ProtocolError (wrong_credentials, code_needed, …)."""
        async with self._proofs.of(user_id, proof):
            await self._factors.remove(user_id)
        await self._notices.changed(user_id, "account")

    # --- the operator's ---------------------------------------------------------------------

    async def suspend(self, user_id: UserId, suspended: bool) -> None:
        """Keep a user out until this is taken back; a suspended one is out at once.

        Raises ProtocolError (no_such_user, store_…).
        """
        await self._users.revise(user_id, suspended_at=self._clock.wall_ms() if suspended else 0)
        if suspended:
            self._router.expel(user_id)

    async def quota(self, user_id: UserId, messages_per_day: int, devices_max: int) -> None:
        """Set a user's quotas; 0 is the server's own. Raises ProtocolError (no_such_user, store_…)."""
        await self._users.revise(user_id, messages_per_day=messages_per_day, devices_max=devices_max)

    async def sign_out(self, user_id: UserId) -> None:
        """Log every device of a user out. Raises ProtocolError (store_…)."""
        await self._devices.revoke_all(user_id)

    async def _make(self, handle: str, password_hash: str, kdf: Kdf | None, name: str) -> LoggedIn:
        user_id = UserId(self._ids.next())
        row = UserRow(user_id, handle, password_hash, self._clock.wall_ms(), kdf)
        device, token = self._devices.made(user_id, name)
        # The account is whole before its handle points to it; one that loses the race for the
        # handle, or dies here, can be reached by nobody.
        await self._commit.write([Put(USERS, row, user_id), Put(DEVICES, device, device.device_id)])
        if not await self._handles.claim(handle, user_id):
            gone = Erase(USERS, (user_id,), user_id), Erase(DEVICES, (user_id,), device.device_id)
            await self._commit.write(gone)
            raise ProtocolError(HANDLE_TAKEN)
        return LoggedIn(str(user_id), str(device.device_id), handle, str(token))
