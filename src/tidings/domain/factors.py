"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for its loss.

Each time step's code and each recovery code works once. Wrong ones are counted for the user, so that
no code can be guessed; what was used is durable before anybody is let in.

spec §7
"""

import base64
import hashlib
import hmac

import msgspec
import pyotp

from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.notices import Notices
from tidings.domain.tokens import Random
from tidings.domain.tries import Tries
from tidings.domain.users import Users
from tidings.protocol.api import FactorBegun
from tidings.protocol.errors import BAD_CODE, CODE_NEEDED, INVALID, ProtocolError
from tidings.protocol.ids import UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Erase, Put, Store, Write
from tidings.store.schema import FACTORS, FactorRow, UserRow

ISSUER = "Tidings"
STEP_MS = 30_000
DRIFT_STEPS = 1
"""how far the clocks of app and server may be apart"""
SECRET_BYTES = 20
RECOVERY_CODES = 10
RECOVERY_BYTES = 10
CODE_CHARS = 64
"""longest text that is looked at as a code"""


class Factors:
    """Begins, confirms, asks for and removes second factors."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        ids: IdClock,
        users: Users,
        random: Random,
        notices: Notices,
        limits: Limits,
    ) -> None:
        self._store = store
        self._commit = commit
        self._clock = clock
        self._ids = ids
        self._users = users
        self._random = random
        self._notices = notices
        self._wrong: Tries[UserId] = Tries(clock, limits.addresses_tracked)

    async def is_on(self, user_id: UserId) -> bool:
        """Whether a user is asked for a code."""
        row = await self._store.get(FACTORS, (user_id,))
        return row is not None and row.confirmed_at > 0

    async def check(self, user_id: UserId, code: str) -> None:
        """Use a code up, under the user's lock; nothing to do for who has no second factor.

        Raises ProtocolError (code_needed, bad_code, rate_limited).
        """
        row = await self._store.get(FACTORS, (user_id,))
        if row is None or not row.confirmed_at:
            return
        if not code:
            raise ProtocolError(CODE_NEEDED)
        used = self._used(row, code) or self._recovered(row, code)
        await self._write(self._right(user_id, used))

    async def begin(self, user: UserRow) -> FactorBegun:
        """Make a new secret, under the user's lock; it is asked for once it was confirmed.

        Raises ProtocolError (invalid).
        """
        row = await self._store.get(FACTORS, (user.user_id,))
        if row is not None and row.confirmed_at:
            raise ProtocolError(INVALID, "the account has a second factor: remove it first")
        secret = self._random(SECRET_BYTES)
        await self._write(FactorRow(user.user_id, secret))
        shown = base64.b32encode(secret).decode()
        uri = pyotp.TOTP(shown).provisioning_uri(name=user.handle, issuer_name=ISSUER)
        return FactorBegun(shown, uri)

    async def confirm(self, user_id: UserId, code: str) -> list[str]:
        """Put the second factor in force, with the app's first code; returns the recovery codes.

        Raises ProtocolError (invalid, bad_code, rate_limited).
        """
        async with self._users.lock(user_id):
            row = await self._store.get(FACTORS, (user_id,))
            if row is None or row.confirmed_at:
                raise ProtocolError(INVALID, "no second factor was begun")
            confirmed = self._right(user_id, self._used(row, code))
            codes = [_readable(self._random(RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]
            confirmed.confirmed_at = self._clock.wall_ms()
            confirmed.recovery = [_hash(_plain(code)) for code in codes]
            await self._write(confirmed)
        self._notices.audit("factor_added", user_id=user_id)
        await self._notices.changed(user_id, "account")
        return codes

    async def remove(self, user_id: UserId) -> None:
        """Ask for no code any more; under the user's lock. Of one that is not there, too."""
        await self._commit.write([self.erasure(user_id)])
        self._notices.audit("factor_removed", user_id=user_id)

    def erasure(self, user_id: UserId) -> Write:
        """What removes all that is kept of a user's second factor."""
        return Erase(FACTORS, (user_id,), self._ids.next())

    def _right(self, user_id: UserId, used: FactorRow | None) -> FactorRow:
        """The row after a code was used, if it was right and may be tried at all. Raises ProtocolError."""
        # Asked also of a right one: else the answer would tell when it was.
        self._wrong.check(user_id)
        if used is None:
            self._wrong.note(user_id)
            self._notices.audit("code_wrong", user_id=user_id)
            raise ProtocolError(BAD_CODE)
        self._wrong.forget(user_id)
        return used

    def _used(self, row: FactorRow, code: str) -> FactorRow | None:
        """The row once a TOTP code was used; None if it is none, or was used before."""
        presented = _plain(code)
        totp = pyotp.TOTP(base64.b32encode(row.secret).decode())
        now = self._clock.wall_ms() // STEP_MS
        # A step far ahead was used before somebody set the clock back: it is no bound for ever.
        used = row.used_step if row.used_step <= now + DRIFT_STEPS else 0
        right: int | None = None
        for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
            if hmac.compare_digest(totp.generate_otp(step).encode(), presented) and step > used:
                right = step
        return None if right is None else msgspec.structs.replace(row, used_step=right)

    def _recovered(self, row: FactorRow, code: str) -> FactorRow | None:
        """The row once a recovery code was used; None if it is none of those left."""
        presented = _hash(_plain(code))
        left = [kept for kept in row.recovery if not hmac.compare_digest(kept, presented)]
        return None if len(left) == len(row.recovery) else msgspec.structs.replace(row, recovery=left)

    async def _write(self, row: FactorRow) -> None:
        await self._commit.write([Put(FACTORS, row, self._ids.next())])


def _plain(code: str) -> bytes:
    """A code as it is compared: people type spaces, dashes and either case."""
    if len(code) > CODE_CHARS:
        raise ProtocolError(BAD_CODE)
    kept = "".join(char for char in code.lower() if char not in " -\t\r\n")
    # What is no text (a lone surrogate, from JSON) is no code either.
    return kept.encode("utf-8", "replace")


def _readable(secret: bytes) -> str:
    text = base64.b32encode(secret).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def _hash(code: bytes) -> bytes:
    # 80 random bits: nobody finds them by trying, so a plain hash does.
    return hashlib.sha256(code).digest()
