"""Departures: the end of an account, with all that is kept of its user.

What goes: the devices, their cursors and keys, the list of them, what was seen of them, settings (contacts,
blocks, drafts), profile and picture, second factor, phone number and code, the list of conversations, the
inbox, the account. The handle is released: nobody has it for `handle_kept_s`, then anybody may.

What stays: the messages that the user wrote, with those whom they wrote to, as a letter does; the
user's place as a member of these conversations, under an id that leads nowhere and shows an empty
handle; reports, which the operator needs. Rows that say that a message was accepted, and watermarks'
history, expire by themselves.

The account's row goes last: until then who began may log in and do it again, whatever died half-way,
and each step may be done twice.
"""

from collections.abc import Awaitable, Callable

import msgspec

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.device_lists import DeviceLists
from tidings.domain.devices import Devices
from tidings.domain.factors import Factors
from tidings.domain.handles import Handles
from tidings.domain.inboxes import bucket_of
from tidings.domain.notices import Notices
from tidings.domain.phones import Phones
from tidings.domain.proofs import Proofs
from tidings.domain.router import Router
from tidings.domain.users import Users
from tidings.protocol import ids as snowflakes
from tidings.protocol.api import Proof
from tidings.protocol.ids import UserId
from tidings.store.contract import Erase, Put, Write
from tidings.store.schema import (
    CHANGED,
    DEVICE_KEYS,
    INBOX,
    INBOX_BUCKET_S,
    INBOX_KEEP_S,
    KEY_MARKS,
    MEMBERSHIPS,
    PICTURES,
    PROFILES,
    SEEN,
    SETTINGS,
    SLEEPS,
    USERS,
    UserRow,
)

OF_A_USER = (SETTINGS, PROFILES, PICTURES, SEEN, SLEEPS, CHANGED, MEMBERSHIPS, DEVICE_KEYS, KEY_MARKS)
"""tables of which a user has a partition"""


class Departures:
    """Ends accounts."""

    def __init__(
        self,
        commit: GroupCommit,
        ids: IdClock,
        users: Users,
        handles: Handles,
        devices: Devices,
        factors: Factors,
        phones: Phones,
        proofs: Proofs,
        lists: DeviceLists,
        router: Router,
        notices: Notices,
    ) -> None:
        self._lists = lists
        self._commit = commit
        self._ids = ids
        self._users = users
        self._handles = handles
        self._devices = devices
        self._factors = factors
        self._phones = phones
        self._proofs = proofs
        self._router = router
        self._notices = notices
        self.departed: Callable[[UserId], Awaitable[None]] = _nobody_cares
        """called with who is gone; set once, when the node is wired"""
        self.departing: Callable[[UserId], Awaitable[None]] = _nobody_cares
        """called with who goes, while the list of their conversations is still there; likewise"""

    async def depart(self, user_id: UserId, proof: Proof) -> None:
        """End an account at its user's wish. Durable when it returns.

        Raises ProtocolError (wrong_credentials, suspended, code_needed, bad_code, store_…). When it
        raises `store_…` some of it may be done: log in, and do it again.
        """
        async with self._proofs.of(user_id, proof) as row:
            await self._end(row)
        self._notices.audit("account_deleted", user_id=user_id, handle=row.handle)

    async def _end(self, row: UserRow) -> None:
        user_id = row.user_id
        user = await self._users.user(user_id)
        # From here on who makes a member of the user takes them out again (see `announcements`).
        leaving = msgspec.structs.replace(row, leaving=True)
        await self._commit.write([Put(USERS, leaving, self._ids.next())])
        await self._devices.revoke_held(user_id, list(user.devices))
        self._router.expel(user_id)
        await self._commit.barrier()
        await self.departing(user_id)
        await self._lists.erase(user_id)
        await self._commit.write(self._belongings(user_id))
        await self._phones.forget(user_id, row.phone)
        # Its factor stays as long as the account does: else dying here would let in who lacks it.
        await self._handles.release(row.handle, user_id)
        await self._commit.write([self._factors.erasure(user_id), Erase(USERS, (user_id,), self._ids.next())])
        user.handle = ""
        self._users.changed()
        await self.departed(user_id)

    def _belongings(self, user_id: UserId) -> list[Write]:
        cause = self._ids.next()
        now_ms = self._ids.now_ms()
        erased: list[Write] = [Erase(table, (user_id,), cause) for table in OF_A_USER]
        oldest_ms = now_ms - (INBOX_KEEP_S + INBOX_BUCKET_S) * 1000
        first = bucket_of(max(user_id, snowflakes.first_at(oldest_ms)))
        # One more than the present one: ids may run ahead of the clock.
        last = bucket_of(cause) + INBOX_BUCKET_S
        erased += [
            Erase(INBOX, (user_id, bucket), cause) for bucket in range(first, last + 1, INBOX_BUCKET_S)
        ]
        return erased


async def _nobody_cares(_: UserId) -> None:
    """Nothing is kept in memory of who is gone."""
