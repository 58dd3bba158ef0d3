"""Invite codes: who has one may make an account where registration is by invite.

A code is known by its hash alone. It is used before the account is made, and given back if that
fails; a crash in between costs a use.
"""

import base64
import hashlib
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from tidings.domain.clock import Clock
from tidings.domain.commit import refusal
from tidings.domain.tokens import Random
from tidings.protocol.errors import BAD_INVITE, INVALID, OVERLOADED, ProtocolError
from tidings.store.contract import Key, OutcomeUnknown, Store, StoreError
from tidings.store.schema import INVITES, InviteRow

CODE_BYTES = 10
HASH_BYTES = 32
CODE_CHARS = 64
"""longest text that is looked at as a code"""
USES_MAX = 10_000
NOTE_CHARS = 200
KEPT_S_MAX = 10 * 365 * 86_400
REQUEST_ID_BYTES = 16
LISTED = 10_000
PAGE_ROWS = 256
ATTEMPTS = 16
"""of a change while others change the same invite"""


class Invites:
    """Makes, uses and withdraws codes."""

    def __init__(self, store: Store, clock: Clock, random: Random) -> None:
        self._store = store
        self._clock = clock
        self._random = random

    async def make(self, uses: int = 1, keep_s: int = 7 * 86_400, note: str = "") -> str:
        """A new code, shown this once. Raises ProtocolError (invalid, store_…)."""
        if not (1 <= uses <= USES_MAX and 1 <= keep_s <= KEPT_S_MAX and len(note) <= NOTE_CHARS):
            raise ProtocolError(
                INVALID, f"an invite has 1 to {USES_MAX} uses, at most ten years and {NOTE_CHARS} characters"
            )
        text = base64.b32encode(self._random(CODE_BYTES)).decode().lower()
        code = "-".join(text[at : at + 4] for at in range(0, len(text), 4))
        now_ms = self._clock.wall_ms()
        row = InviteRow(_hash(code), now_ms, now_ms + keep_s * 1000, uses, note, self._request_id())
        await self._replace(None, row)
        return code

    async def check(self, code: str) -> None:
        """Whether a code may be used now. Raises ProtocolError (bad_invite)."""
        self._usable(await self._find(_hash(code)))

    async def use(self, code: str) -> None:
        """Use a code once. Raises ProtocolError (bad_invite, overloaded, store_…)."""
        await self._change(_hash(code), lambda row: self._usable(row).uses_left - 1)

    async def give_back(self, code: str) -> None:
        """It was used for nothing. Raises ProtocolError (overloaded, store_…)."""
        await self._change(_hash(code), lambda row: 0 if row is None else row.uses_left + 1)

    async def revoke(self, code_hash: bytes) -> None:
        """Let an invite be used no more. Raises ProtocolError (bad_invite, overloaded, store_…)."""
        if len(code_hash) != HASH_BYTES or await self._find(code_hash) is None:
            raise ProtocolError(BAD_INVITE)
        await self._change(code_hash, lambda _: 0)

    async def list(self) -> Sequence[InviteRow]:
        """The invites that can still be used, at most `LISTED` of them."""
        found: deque[InviteRow] = deque(maxlen=LISTED)
        now_ms = self._clock.wall_ms()
        after: Key | None = None
        while True:
            rows = await self._store.scan(INVITES, after=after, limit=PAGE_ROWS)
            found += [row for row in rows if row.uses_left > 0 and row.expires_at > now_ms]
            if len(rows) < PAGE_ROWS:
                return tuple(sorted(found, key=lambda row: row.created_at))
            after = (rows[-1].code_hash,)

    async def _find(self, code_hash: bytes) -> InviteRow | None:
        return await self._store.get(INVITES, (code_hash,))

    def _usable(self, row: InviteRow | None) -> InviteRow:
        if row is None or row.uses_left <= 0 or row.expires_at <= self._clock.wall_ms():
            raise ProtocolError(BAD_INVITE)
        return row

    async def _change(self, code_hash: bytes, uses_left: Callable[[InviteRow | None], int]) -> None:
        for _ in range(ATTEMPTS):
            found = await self._find(code_hash)
            left = uses_left(found)
            if found is None:
                return
            row = msgspec.structs.replace(found, uses_left=left, request_id=self._request_id())
            if await self._replace(found, row):
                return
        raise ProtocolError(OVERLOADED, "too many use this invite at once")

    async def _replace(self, expected: InviteRow | None, row: InviteRow) -> bool:
        try:
            return await self._store.compare_and_set(INVITES, expected, row) is None
        except OutcomeUnknown:
            held = await self._find(row.code_hash)
            return held is not None and held.request_id == row.request_id
        except StoreError as error:
            raise refusal(error) from error

    def _request_id(self) -> bytes:
        return self._random(REQUEST_ID_BYTES)


def _hash(code: str) -> bytes:
    if len(code) > CODE_CHARS:
        raise ProtocolError(BAD_INVITE)
    plain = code.strip().lower().replace("-", "").encode("utf-8", "replace")
    return hashlib.sha256(plain).digest()
