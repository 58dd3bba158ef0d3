"""Handles: a name belongs to one account at a time, and for a while to who gave it up.

An account's row says what it is called; the handle's row, changed by compare-and-set, says that
nobody else is. Where they disagree (something died half-way) the account's row is right, and the
handle is let go when somebody else wants it.

spec §7
"""

import re

import msgspec

from tidings.domain.clock import Clock
from tidings.domain.commit import refusal
from tidings.domain.tokens import Random
from tidings.domain.users import Users
from tidings.protocol.errors import BAD_HANDLE, ProtocolError
from tidings.protocol.ids import UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import OutcomeUnknown, Store, StoreError
from tidings.store.schema import HANDLES, HandleRow, UserRow

REQUEST_ID_BYTES = 16
NOBODY = UserId(0)

_HANDLE = re.compile(r"[a-z0-9][a-z0-9_.-]{1,31}")


class Handles:
    """Claims, releases and looks up."""

    def __init__(self, store: Store, users: Users, clock: Clock, random: Random, limits: Limits) -> None:
        self._store = store
        self._users = users
        self._clock = clock
        self._random = random
        self._limits = limits

    async def holder(self, handle: str) -> UserRow | None:
        """The account that is called so. As many reads whether there is one or not."""
        found = await self._store.get(HANDLES, (handle,))
        row = await self._users.row(NOBODY if found is None else found.user_id)
        return row if row is not None and row.handle == handle else None

    async def is_free(self, handle: str, user_id: UserId = NOBODY) -> bool:
        """Whether a user (by default a new one) may claim a handle now. Holds no lock when called."""
        found = await self._store.get(HANDLES, (handle,))
        if found is not None and not found.released_at and await self._is_stale(found):
            found = await self._heal(found)
        return self._may_claim(found, user_id)

    async def claim(self, handle: str, user_id: UserId) -> bool:
        """Make a handle a user's; False if it is somebody else's. Raises ProtocolError (store_…)."""
        found = await self._store.get(HANDLES, (handle,))
        if not self._may_claim(found, user_id):
            return False
        if found is not None and found.user_id == user_id and not found.released_at:
            return True
        return await self._replace(found, HandleRow(handle, user_id, self._random(REQUEST_ID_BYTES)))

    async def release(self, handle: str, user_id: UserId) -> None:
        """Give a handle up; for `handle_kept_s` only the same user may have it again."""
        found = await self._store.get(HANDLES, (handle,))
        if found is not None and found.user_id == user_id and not found.released_at:
            await self._replace(found, self._released(found))

    def _may_claim(self, found: HandleRow | None, user_id: UserId) -> bool:
        if found is None or found.user_id == user_id:
            return True
        kept_ms = self._limits.handle_kept_s * 1000
        return bool(found.released_at) and self._clock.wall_ms() - found.released_at >= kept_ms

    async def _is_stale(self, found: HandleRow) -> bool:
        row = await self._users.row(found.user_id)
        return row is None or row.handle != found.handle

    async def _heal(self, found: HandleRow) -> HandleRow | None:
        """Finish what died between an account's row and its old handle's."""
        # Whoever is just claiming it holds this lock until their account's row says so, too.
        async with self._users.lock(found.user_id):
            if await self._is_stale(found):
                await self._replace(found, self._released(found))
        return await self._store.get(HANDLES, (found.handle,))

    def _released(self, found: HandleRow) -> HandleRow:
        return msgspec.structs.replace(
            found, released_at=self._clock.wall_ms(), request_id=self._random(REQUEST_ID_BYTES)
        )

    async def _replace(self, expected: HandleRow | None, row: HandleRow) -> bool:
        try:
            return await self._store.compare_and_set(HANDLES, expected, row) is None
        except OutcomeUnknown:
            held = await self._store.get(HANDLES, (row.handle,))
            return held is not None and held.request_id == row.request_id
        except StoreError as error:
            raise refusal(error) from error


def normalise(handle: str) -> str:
    """A handle as it is stored: lower case, without a leading @. Raises ProtocolError (bad_handle)."""
    lowered = handle.removeprefix("@").lower()
    if not _HANDLE.fullmatch(lowered):
        raise ProtocolError(BAD_HANDLE)
    return lowered
