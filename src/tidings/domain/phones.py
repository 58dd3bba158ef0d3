"""Phone numbers: verified by a code that is sent there, and then one account's at a time.

A number is a user's where the account's row and the number's row say so, both; the number's row,
changed by compare-and-set, says that it is nobody else's. No answer tells whether a number is
anybody's: a code is sent either way, and who confirms it has the number from then on. Numbers and
codes are in no log.

spec §7
"""

import hmac
import re
from typing import Protocol

import msgspec
import phonenumbers

from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit, refusal
from tidings.domain.handles import NOBODY
from tidings.domain.notices import Notices
from tidings.domain.server_secret import ServerSecret
from tidings.domain.tokens import Random
from tidings.domain.tries import Tries
from tidings.domain.users import Users
from tidings.protocol.errors import BAD_CODE, BAD_PHONE, NOT_AVAILABLE, ProtocolError
from tidings.protocol.ids import UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Erase, OutcomeUnknown, Put, Store, StoreError, Write
from tidings.store.schema import PHONE_CODES, PHONES, PhoneCodeRow, PhoneRow

PHONE_CHARS = 32
"""longest text that is looked at as a number: E.164 has 16 characters, people write spaces"""
CODE_DIGITS = 6
REQUEST_ID_BYTES = 16

_CODE = b"tidings phone code v1"
_WRITTEN = re.compile(r" *\+[0-9 ()./-]+")
"""the parser takes much more: letters, extensions, URIs"""


class PhoneHook(Protocol):
    """Brings codes to phones."""

    async def send(self, phone: str, code: str) -> None:
        """Hand a code over to be sent to a number (E.164). Raises ProtocolError (overloaded)."""


class Phones:
    """Verifies, moves and removes numbers. `hook` None: this server does not."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        ids: IdClock,
        users: Users,
        secret: ServerSecret,
        hook: PhoneHook | None,
        random: Random,
        notices: Notices,
        limits: Limits,
    ) -> None:
        self._store = store
        self._commit = commit
        self._clock = clock
        self._ids = ids
        self._users = users
        self._secret = secret
        self._hook = hook
        self._random = random
        self._notices = notices
        self._limits = limits
        self._sent_by: Tries[UserId] = Tries(clock, limits.addresses_tracked)
        self._sent_to: Tries[str] = Tries(clock, limits.addresses_tracked)
        self._wrong: Tries[UserId] = Tries(clock, limits.addresses_tracked)

    async def holder(self, phone: str) -> UserId | None:
        """Whose a number is, if anybody's. Raises ProtocolError (bad_phone)."""
        phone = normalise(phone)
        found = await self._store.get(PHONES, (phone,))
        row = await self._users.row(NOBODY if found is None else found.user_id)
        return None if row is None or row.phone != phone else row.user_id

    async def begin(self, user_id: UserId, phone: str) -> None:
        """Have a code sent to a number. Of several the last one counts.

        Raises ProtocolError (not_available, bad_phone, rate_limited, overloaded, store_…).
        """
        if self._hook is None:
            raise ProtocolError(NOT_AVAILABLE, "this server does not verify phone numbers")
        phone = normalise(phone)
        self._sent_by.check(user_id)
        self._sent_to.check(phone)
        self._sent_by.note(user_id)
        self._sent_to.note(phone)
        code = self._code()
        async with self._users.lock(user_id):
            await self._users.existing(user_id)
            hashed = await self._hash(user_id, phone, code)
            row = PhoneCodeRow(user_id, phone, hashed, self._clock.wall_ms())
            await self._commit.write([Put(PHONE_CODES, row, self._ids.next())])
        self._notices.audit("phone_code_sent", user_id=user_id)
        await self._hook.send(phone, code)

    async def confirm(self, user_id: UserId, code: str) -> None:
        """Make the number to which the code was sent this user's.

        Raises ProtocolError (bad_code, rate_limited, store_…).
        """
        self._wrong.check(user_id)
        async with self._users.lock(user_id):
            phone = await self._proven(user_id, code)
            user = await self._users.existing(user_id)
            before = await self._claim(phone, user_id)
            erased = Erase(PHONE_CODES, (user_id,), self._ids.next())
            await self._users.write(msgspec.structs.replace(user, phone=phone), erased)
            if user.phone != phone:
                await self._release(user.phone, user_id)
        self._wrong.forget(user_id)
        self._sent_by.forget(user_id)
        self._notices.audit("phone_added", user_id=user_id)
        await self._notices.changed(user_id, "account")
        if before not in (NOBODY, user_id):
            await self._lost(before, phone)

    async def remove(self, user_id: UserId) -> None:
        """Give the number up, if there is one. Raises ProtocolError (store_…)."""
        async with self._users.lock(user_id):
            user = await self._users.existing(user_id)
            if not user.phone:
                return
            await self._users.write(msgspec.structs.replace(user, phone=""))
            await self._release(user.phone, user_id)
        self._notices.audit("phone_removed", user_id=user_id)
        await self._notices.changed(user_id, "account")

    async def forget(self, user_id: UserId, phone: str) -> None:
        """Release all numbers of an account that ends, under its lock; the account's row stays as it is.

        Raises ProtocolError (store_…).
        """
        code = await self._store.get(PHONE_CODES, (user_id,))
        if code is not None:
            # One that died between claiming a number and saying so has it in this row alone.
            await self._release(code.phone, user_id)
        await self._release(phone, user_id)
        await self._commit.write([self._erasure(user_id)])

    def _erasure(self, user_id: UserId) -> Write:
        return Erase(PHONE_CODES, (user_id,), self._ids.next())

    async def _proven(self, user_id: UserId, code: str) -> str:
        """The number that a code proves. Raises ProtocolError (bad_code)."""
        row = await self._store.get(PHONE_CODES, (user_id,))
        if row is None or row.tries >= self._limits.phone_tries:
            raise ProtocolError(BAD_CODE, "have a new code sent")
        # A clock that was set back must not make a code hold longer.
        if not 0 <= self._clock.wall_ms() - row.sent_at < self._limits.phone_code_s * 1000:
            raise ProtocolError(BAD_CODE, "the code is too old: have a new one sent")
        presented = await self._hash(user_id, row.phone, code.strip())
        if not hmac.compare_digest(row.code_hash, presented):
            self._wrong.note(user_id)
            self._notices.audit("code_wrong", user_id=user_id)
            tried = msgspec.structs.replace(row, tries=row.tries + 1)
            await self._commit.write([Put(PHONE_CODES, tried, self._ids.next())])
            raise ProtocolError(BAD_CODE)
        return row.phone

    async def _lost(self, user_id: UserId, phone: str) -> None:
        """A number is somebody else's now: its former owner's account says so."""
        async with self._users.lock(user_id):
            user = await self._users.row(user_id)
            if user is None or user.phone != phone:
                return
            await self._users.write(msgspec.structs.replace(user, phone=""))
        self._notices.audit("phone_lost", user_id=user_id)
        await self._notices.changed(user_id, "account")

    async def _claim(self, phone: str, user_id: UserId) -> UserId:
        """Make a number a user's; whose it was."""
        while True:
            found = await self._store.get(PHONES, (phone,))
            if found is not None and found.user_id == user_id:
                return user_id
            if await self._replace(found, self._row(phone, user_id)):
                return NOBODY if found is None else found.user_id

    async def _release(self, phone: str, user_id: UserId) -> None:
        found = await self._store.get(PHONES, (phone,)) if phone else None
        if found is not None and found.user_id == user_id:
            # Where this loses a race, the number is somebody else's, as it should be.
            await self._replace(found, self._row(phone, NOBODY))

    async def _replace(self, expected: PhoneRow | None, row: PhoneRow) -> bool:
        try:
            return await self._store.compare_and_set(PHONES, expected, row) is None
        except OutcomeUnknown:
            held = await self._store.get(PHONES, (row.phone,))
            return held is not None and held.request_id == row.request_id
        except StoreError as error:
            raise refusal(error) from error

    def _row(self, phone: str, user_id: UserId) -> PhoneRow:
        return PhoneRow(phone, user_id, self._random(REQUEST_ID_BYTES))

    def _code(self) -> str:
        return f"{int.from_bytes(self._random(8), 'big') % 10**CODE_DIGITS:0{CODE_DIGITS}}"

    async def _hash(self, user_id: UserId, phone: str, code: str) -> bytes:
        # Six digits: a plain hash of them could be reversed by whoever sees it.
        text = f"{user_id} {phone} {code[:PHONE_CHARS]}".encode("utf-8", "replace")
        return hmac.digest(await self._secret.value(), _CODE + text, "sha256")


def normalise(phone: str) -> str:
    """A number as E.164. Raises ProtocolError (bad_phone)."""
    if len(phone) > PHONE_CHARS or not _WRITTEN.fullmatch(phone):
        raise ProtocolError(BAD_PHONE)
    try:
        parsed = phonenumbers.parse(phone, None)
    except phonenumbers.NumberParseException:
        raise ProtocolError(BAD_PHONE) from None
    if not phonenumbers.is_possible_number(parsed):
        raise ProtocolError(BAD_PHONE)
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
