"""People: how one user finds another, and what they say of themselves.

Somebody is found by their whole handle or phone number, never by a part of it. What is unknown,
gone, suspended or not shown to the asker gets one and the same answer, after the same reads;
and who asks for many that do not exist is slowed down, so that trying numbers out leads nowhere.

spec §6.12
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakValueDictionary

import msgspec

from tidings.domain.accounts import Accounts
from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.phones import normalise
from tidings.domain.privacy import Privacy
from tidings.domain.settings import Settings
from tidings.domain.wording import check_text
from tidings.protocol.errors import (
    INVALID,
    NO_SUCH_USER,
    RATE_LIMITED,
    TOO_LARGE,
    ProtocolError,
)
from tidings.protocol.frames import Person, SettingKind
from tidings.protocol.ids import EntryId, UserId, direct_conversation_id
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store
from tidings.store.schema import (
    MEMBERS,
    PHONES,
    PICTURES,
    PROFILES,
    USERS,
    PictureRow,
    ProfileRow,
    UserRow,
)

NOBODY = UserId(0)
"""Whose rows are read where there is nobody, so that it takes as long."""
ASKERS_TRACKED = 10_000
"""users whose look-ups are counted"""


class People:
    """Finds users, and keeps their profiles."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        ids: IdClock,
        accounts: Accounts,
        privacy: Privacy,
        settings: Settings,
        limits: Limits,
    ) -> None:
        self._store = store
        self._commit = commit
        self._ids = ids
        self._accounts = accounts
        self._privacy = privacy
        self._settings = settings
        self._limits = limits
        self._guesses = Guesses(clock, limits)
        self._locks: WeakValueDictionary[UserId, asyncio.Lock] = WeakValueDictionary()
        """of users whose profile is being written"""

    # --- finding --------------------------------------------------------------------------

    async def lookup(self, asker: UserId, handle: str, phone: str) -> Person:
        """Who has this handle, or this phone number and shows it to the asker; one of both.

        Raises ProtocolError: no_such_user, bad_handle, bad_phone, invalid, rate_limited.
        """
        if bool(handle) == bool(phone):
            raise ProtocolError(INVALID, "look up either a handle or a phone number")
        self._guesses.check(asker)
        found = await self._by_phone(asker, phone) if phone else await self._by_handle(handle)
        person = await self._person(asker, found or NOBODY)
        if person is None:
            self._guesses.missed(asker)
            raise ProtocolError(NO_SUCH_USER, "nobody has this number" if phone else "nobody has this handle")
        return person

    async def addressed(self, asker: UserId, handle: str) -> UserId:
        """Whom a user wants to write to. Costs a look-up only where there is nobody.

        Raises ProtocolError (no_such_user, bad_handle, rate_limited).
        """
        self._guesses.check_debt(asker)
        found = await self._by_handle(handle)
        if found is None:
            self._guesses.missed(asker)
            raise ProtocolError(NO_SUCH_USER)
        return found

    async def profiles(self, asker: UserId, user_ids: list[UserId]) -> list[Person]:
        """How users show themselves to the asker, without those that do not exist (any more).

        Raises ProtocolError (too_large, rate_limited).
        """
        if len(user_ids) > self._limits.people:
            raise ProtocolError(TOO_LARGE, f"at most {self._limits.people} profiles are asked for at once")
        self._guesses.check_debt(asker)
        people = []
        for user_id in dict.fromkeys(user_ids):
            user = await self._store.get(USERS, (user_id,))
            if user is None:
                await self._count_guess(asker, user_id)
            elif _is_there(user):
                people.append(await self._shown(asker, user))
        return people

    async def present(self, asker: UserId, user_ids: Sequence[UserId]) -> list[UserId]:
        """Those of these users whom `profiles` would tell of. Raises ProtocolError (rate_limited)."""
        self._guesses.check_debt(asker)
        asked, found = list(dict.fromkeys(user_ids)), []
        users = await self._store.get_many(USERS, [(user_id,) for user_id in asked])
        for user_id, user in zip(asked, users, strict=True):
            if user is None:
                await self._count_guess(asker, user_id)
            elif _is_there(user):
                found.append(user_id)
        return found

    async def check_known(self, asker: UserId, user_ids: Sequence[UserId]) -> None:
        """A user names others by id, to see or say something of them: count what is guessed.

        Raises ProtocolError (rate_limited).
        """
        self._guesses.check_debt(asker)
        for user_id in dict.fromkeys(user_ids):
            if await self._store.get(USERS, (user_id,)) is None:
                await self._count_guess(asker, user_id)

    async def person(self, asker: UserId, user_id: UserId) -> Person:
        """How a user shows themselves to the asker. Raises ProtocolError (no_such_user)."""
        person = await self._person(asker, user_id)
        if person is None:
            raise ProtocolError(NO_SUCH_USER, "there is no such user")
        return person

    async def _count_guess(self, asker: UserId, user_id: UserId) -> None:
        """Nobody has this id. Ids come from the server: who names others is guessing.

        But for those of accounts that are gone, which stay members of their conversations.
        """
        shared = direct_conversation_id(asker, user_id)
        if await self._store.get(MEMBERS, (shared, user_id)) is None:
            self._guesses.missed(asker)

    async def _by_handle(self, handle: str) -> UserId | None:
        try:
            return (await self._accounts.by_handle(handle)).user_id
        except ProtocolError as error:
            if error.kind is NO_SUCH_USER:
                return None
            raise

    async def _by_phone(self, asker: UserId, phone: str) -> UserId | None:
        phone = normalise(phone)
        row = await self._store.get(PHONES, (phone,))
        owner = NOBODY if row is None else row.user_id
        user = await self._store.get(USERS, (owner,))
        shown = await self._privacy.may_see(asker, owner, "phone")
        # It is theirs where both rows say so: a number may have moved on from an account.
        return owner if shown and user is not None and user.phone == phone else None

    async def _person(self, asker: UserId, user_id: UserId) -> Person | None:
        user = await self._store.get(USERS, (user_id,))
        shown = await self._shown(asker, user or UserRow(user_id, "", "", 0))
        return shown if user is not None and _is_there(user) else None

    async def _shown(self, asker: UserId, user: UserRow) -> Person:
        profile = await self._profile(user.user_id)
        shows = await self._privacy.may_see(asker, user.user_id, "picture")
        blocked = await self._privacy.is_blocked(user.user_id, asker)
        return Person(
            user.user_id,
            user.handle,
            profile.name,
            "" if blocked else profile.about,
            profile.picture if shows else EntryId(0),
        )

    # --- what they say of themselves ------------------------------------------------------

    async def set_profile(self, user: UserId, name: str, about: str) -> None:
        """Change a user's name and the text about them; durable when it returns.

        Raises ProtocolError (invalid, too_large, store_…).
        """
        name = check_text("name", name, self._limits.name_chars)
        about = check_text("about", about, self._limits.about_chars, lines=True)
        async with self._lock(user):
            profile = await self._profile(user)
            profile.name, profile.about = name, about
            await self._write(profile, self._ids.next())
        await self._tell(user)

    async def set_picture(self, user: UserId, media_type: str | None, data: bytes) -> EntryId:
        """Change a user's picture, or take it away (no type, no data); returns its version.

        Durable when it returns. The type may be left out. Raises ProtocolError
        (invalid, too_large, store_…).
        """
        if media_type is None and not data:
            return await self._remove_picture(user)
        if len(data) > self._limits.picture_bytes:
            raise ProtocolError(TOO_LARGE, f"a picture is at most {self._limits.picture_bytes} bytes")
        found = media_type_of(data)
        if found is None:
            raise ProtocolError(INVALID, "a picture is a PNG, a JPEG or a WebP")
        if media_type is not None and media_type != found:
            raise ProtocolError(INVALID, f"the picture is {found}, not what its type says")
        async with self._lock(user):
            version = EntryId(self._ids.next())
            # The picture before the profile that names it: in between, the old version is asked for.
            await self._commit.write([Put(PICTURES, PictureRow(user, found, data, version), version)])
            profile = await self._profile(user)
            profile.picture = version
            await self._write(profile, version)
        await self._tell(user)
        return version

    async def picture(self, viewer: UserId, owner: UserId) -> tuple[str, bytes, EntryId] | None:
        """Media type, bytes and version of a picture; None if there is none, or it is not shown."""
        if not (await self._profile(owner)).picture:
            return None
        if not await self._privacy.may_see(viewer, owner, "picture"):
            return None
        row = await self._store.get(PICTURES, (owner,))
        return (row.media_type, row.data, row.version) if row is not None and row.data else None

    async def _remove_picture(self, user: UserId) -> EntryId:
        async with self._lock(user):
            profile = await self._profile(user)
            cause = EntryId(self._ids.next())
            profile.picture = EntryId(0)
            # From here on it is shown to nobody; what is left of it goes too.
            await self._write(profile, cause)
            await self._commit.write([Put(PICTURES, PictureRow(user, "", b"", cause), cause)])
        await self._tell(user)
        return EntryId(0)

    async def _profile(self, user: UserId) -> ProfileRow:
        return await self._store.get(PROFILES, (user,)) or ProfileRow(user)

    async def _write(self, profile: ProfileRow, cause: int) -> None:
        await self._commit.write([Put(PROFILES, profile, cause)])

    async def _tell(self, user: UserId) -> None:
        """The user's devices ask again."""
        version = str(self._ids.next()).encode()
        await self._settings.write(user, SettingKind.ACCOUNT, "profile", version)

    def _lock(self, user: UserId) -> asyncio.Lock:
        return self._locks.setdefault(user, asyncio.Lock())


class Guesses:
    """How many look-ups a user has left: `lookup_rate`, where one that finds nobody counts twice.

    Who is not among the `ASKERS_TRACKED` seen last starts anew.
    """

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._left: OrderedDict[UserId, _Left] = OrderedDict()

    def check(self, asker: UserId) -> None:
        """Count one look-up. Raises ProtocolError (rate_limited)."""
        left = self._refilled(asker)
        if left.tokens < 1:
            raise self._limited(1 - left.tokens)
        left.tokens -= 1

    def check_debt(self, asker: UserId) -> None:
        """Count nothing, but refuse who has missed too often. Raises ProtocolError (rate_limited)."""
        left = self._refilled(asker)
        if left.tokens < 0:
            raise self._limited(-left.tokens)

    def missed(self, asker: UserId) -> None:
        """What was looked up is not there."""
        self._refilled(asker).tokens -= 1

    def _refilled(self, asker: UserId) -> "_Left":
        now_s, rate = self._clock.monotonic_s(), self._limits.lookup_rate
        left = self._left.get(asker)
        if left is None:
            left = self._left[asker] = _Left(rate.burst, now_s)
            if len(self._left) > ASKERS_TRACKED:
                self._left.popitem(last=False)
        self._left.move_to_end(asker)
        left.tokens = min(rate.burst, left.tokens + (now_s - left.at_s) * rate.per_s)
        left.at_s = now_s
        return left

    def _limited(self, missing: float) -> ProtocolError:
        wait_s = missing / self._limits.lookup_rate.per_s
        # Rounded up, so that waiting so long is enough.
        return ProtocolError(RATE_LIMITED, "too many look-ups", retry_after_s=round(wait_s + 0.1, 1))


class _Left(msgspec.Struct):
    tokens: float
    at_s: float


def media_type_of(data: bytes) -> str | None:
    """What kind of picture this is, by its first bytes; None if it is none."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _is_there(user: UserRow) -> bool:
    return bool(user.handle) and not user.suspended_at
