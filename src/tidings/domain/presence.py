"""Presence: who is there, told to those who watch them and to nobody else.

A session watches a few users; a user's coming or going costs one frame to each watching session,
however many contacts the user has. What is told is always the state of that moment, as its owner
lets the watcher see it, so that frames may be late or joined, never wrong. A user who is back
within `FLAP_S` was never gone.

When a device was connected last is kept in table `seen`, to within `seen_s`. Typing is passed on
and forgotten. What there is in memory is bounded by the sessions that watch or type.

spec §6.15
"""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.router import Router
from tidings.protocol import frames
from tidings.protocol.errors import TOO_LARGE, ProtocolError
from tidings.protocol.frames import Typed
from tidings.protocol.ids import ConversationId, DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Store, StoreError
from tidings.store.schema import SEEN, SeenRow

FLAP_S = 2.0
"""who is away for less is not told to be"""
SEEN_SHARES = 30
"""the devices take turns within `seen_s`, or all would be written at once"""
TYPED_S = 10.0
"""after so long others have forgotten that somebody is typing (see frames.Typed)"""


class Watcher(Protocol):
    """A session that watches. Compared by identity."""

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""

    def send(self, frame: frames.Frame) -> None:
        """Send a frame; nothing happens once it is closed."""


class Attendees(Protocol):
    """Who is connected."""

    async def follow(self, users: Iterable[UserId]) -> None:
        """Know of these users, too, whether they are connected to another node."""

    def unfollow(self, user: UserId) -> None:
        """It need not be known of this user any more."""

    def shows_otherwise(self, user: UserId) -> None:
        """The user lets others see more or less: those who watch on other nodes are to be told, too."""

    def is_online(self, user: UserId) -> bool:
        """Whether a session of the user receives."""

    def devices_online(self, share: int, shares: int) -> Iterable[tuple[UserId, DeviceId]]:
        """One of so many shares of the connected devices."""


class MaySee(Protocol):
    """What is needed of privacy."""

    async def may_see(self, viewer: UserId, owner: UserId, what: str) -> bool:
        """Whether `owner` lets `viewer` see it. Never if the viewer is blocked."""


class Presence:
    """Watches, coming and going, typing; see the module's text. Implements `connections.Attendance`."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        ids: IdClock,
        attendees: Attendees,
        router: Router,
        privacy: MaySee,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._store = store
        self._commit = commit
        self._clock = clock
        self._ids = ids
        self._attendees = attendees
        self._router = router
        self._privacy = privacy
        self._limits = limits
        self._loop = loop
        self._watched: dict[object, tuple[UserId, tuple[UserId, ...]]] = {}
        """by session: who is asking, about whom"""
        self._watchers: dict[UserId, dict[Watcher, bool]] = {}
        """whether what each was told last is how the user really is: to who may not see it, nothing
        is told of comings and goings, not even by a frame that says nothing"""
        self._going: dict[UserId, float] = {}
        """who went and may be back at once, since when; in that order; of the watched only"""
        self._changed: dict[UserId, None] = {}
        """whose watchers are to be told, in that order"""
        self._teller: asyncio.Task[None] | None = None
        self._asking: dict[Watcher, set[UserId]] = {}
        """for each session whose list is being looked up: who shows otherwise since that began"""
        self._typing: dict[tuple[Watcher, ConversationId], float] = {}
        """when Typing was passed on last, in that order"""
        self._shares_done = self._share_due(clock.monotonic_s())

    # --- watching ---------------------------------------------------------------------------

    async def watch(
        self, session: Watcher, viewer: UserId, user_ids: Sequence[UserId]
    ) -> list[frames.Presence]:
        """Tell a session of these users from now on, instead of those before; returns how they are.

        Send what it returns before anything else can happen. A user who does not exist looks like
        one who hides. Raises ProtocolError (too_large), and then nothing has changed.
        """
        if len(user_ids) > self._limits.watched:
            raise ProtocolError(TOO_LARGE, f"at most {self._limits.watched} users may be watched")
        users = tuple(dict.fromkeys(user_ids))
        self.unwatch(session)
        if session.is_closed:  # while this waited for its turn: nobody would end the watch
            return []
        if users:
            self._watched[session] = viewer, users
        for user in users:
            self._watchers.setdefault(user, {})[session] = False
        doubtful = self._asking[session] = set()
        try:
            await self._attendees.follow(users)
            shown = [await self._privacy.may_see(viewer, user, "last_seen") for user in users]
            seen = [
                await self._last_seen(user) if may and not self._is_there(user) else None
                for user, may in zip(users, shown, strict=True)
            ]
        finally:
            self._asking.pop(session, None)
        # From here on nothing waits: whoever came or went meanwhile is told as they are now. Whose rights
        # were changed meanwhile is hidden, until it is known what holds.
        mays = [may and user not in doubtful for user, may in zip(users, shown, strict=True)]
        for user, may in zip(users, mays, strict=True):
            if session in self._watchers.get(user, ()):  # else it ended meanwhile
                self._watchers[user][session] = may
                if user in doubtful:
                    self.reconsider(user)
        return [
            self._state(user, at_ms) if may else _hidden(user)
            for user, may, at_ms in zip(users, mays, seen, strict=True)
        ]

    def unwatch(self, session: object) -> None:
        """A session watches nobody any more."""
        _, users = self._watched.pop(session, (None, ()))
        for user in users:
            watchers = self._watchers[user]
            del watchers[session]  # type: ignore[arg-type]  # it is one: it was in _watched
            if not watchers:
                del self._watchers[user]
                self._going.pop(user, None)
                self._attendees.unfollow(user)

    # --- coming and going (Attendance) ------------------------------------------------------

    def came(self, user: UserId) -> None:
        """A user's first receiving session has begun."""
        if user in self._watchers and self._going.pop(user, None) is None:
            self.reconsider(user)

    def went(self, user: UserId) -> None:
        """A user's last receiving session has ended."""
        if user in self._watchers:
            self._going[user] = self._clock.monotonic_s()

    def heard(self, user: UserId, device: DeviceId) -> None:
        """A device has just connected, or was connected until now."""
        self._commit.raise_soon(SEEN, SeenRow(user, device, self._ids.now_ms()))

    def reconsider(self, user: UserId) -> None:
        """Tell the user's watchers how the user is: something changed, or what they may see did."""
        if user in self._watchers:
            self._changed[user] = None
            if self._teller is None:
                self._teller = self._loop.create_task(self._tell_changes())

    async def heed(self, user: UserId, setting: frames.Setting) -> None:  # noqa: ARG002 - a listener's shape
        """A block, a contact or a right to see has changed (see `Settings.on`)."""
        self.shows_otherwise(user)
        self._attendees.shows_otherwise(user)

    def shows_otherwise(self, user: UserId) -> None:
        """Whom a user shows what has changed, here or on another node."""
        for doubtful in self._asking.values():
            doubtful.add(user)
        self.reconsider(user)

    def sweep(self) -> None:
        """Called each second: who stayed away is gone, who stayed is noted as seen."""
        now_s = self._clock.monotonic_s()
        for user in _since(self._going, now_s - FLAP_S):
            del self._going[user]
            self.reconsider(user)
        for key in _since(self._typing, now_s - TYPED_S):
            del self._typing[key]
        if self._changed and self._teller is None:  # the store had failed
            self._teller = self._loop.create_task(self._tell_changes())
        self._note_seen(self._share_due(now_s))

    # --- typing -----------------------------------------------------------------------------

    def typing(self, session: Watcher, user: UserId, conversation: Conversation, *, active: bool) -> None:
        """Pass on that a member is writing, or has stopped; too often is passed over in silence.

        The caller has checked that the user is a member. Where one of two blocks the other, or has
        not let them in yet, nothing is told either way; in a large group nobody is told.
        """
        key = session, conversation.conversation_id
        now_s = self._clock.monotonic_s()
        before_s = self._typing.get(key)
        if active and before_s is not None and now_s - before_s < self._limits.typing_s:
            return
        if not active and before_s is None:
            return
        self._typing.pop(key, None)
        if active:
            self._typing[key] = now_s
        if conversation.fanout.writes_copies and not conversation.blockers and not conversation.pending:
            self._router.tell(conversation.others(user), Typed(conversation.conversation_id, user, active))

    # --- inside -----------------------------------------------------------------------------

    async def _tell_changes(self) -> None:
        """One user after the other, so that a thousand changes cost the memory of one."""
        try:
            while self._changed:
                user = next(iter(self._changed))
                try:
                    await self._tell(user)
                except StoreError:
                    self._changed[user] = None  # the next sweep tries again
                    return
        finally:
            self._teller = None

    async def _tell(self, user: UserId) -> None:
        del self._changed[user]  # a change from here on is another one
        viewers = {self._watched[session][0] for session in self._watchers.get(user, ())}
        shown = {viewer: await self._privacy.may_see(viewer, user, "last_seen") for viewer in viewers}
        at_ms = None if self._is_there(user) or not any(shown.values()) else await self._last_seen(user)
        # Nothing waits from here on, so that what is told is how it is.
        state, hidden = self._state(user, at_ms), _hidden(user)
        watchers = self._watchers.get(user, {})
        for session, saw in list(watchers.items()):
            may = shown.get(self._watched[session][0])
            if may is None:
                continue  # it began to watch meanwhile, and gets its own answer
            watchers[session] = may
            if may or saw:
                session.send(state if may else hidden)

    def _is_there(self, user: UserId) -> bool:
        return user in self._going or self._attendees.is_online(user)

    def _state(self, user: UserId, at_ms: int | None) -> frames.Presence:
        if self._is_there(user):
            return frames.Presence(user, True, self._ids.now_ms())
        return frames.Presence(user, False, at_ms)

    async def _last_seen(self, user: UserId) -> int | None:
        # The newest devices first, should rows of former ones be left.
        rows = await self._store.range(SEEN, (user,), limit=self._limits.devices_per_user, backwards=True)
        return max((row.at_ms for row in rows), default=None)

    def _share_due(self, now_s: float) -> int:
        return int(now_s * SEEN_SHARES / self._limits.seen_s)

    def _note_seen(self, due: int) -> None:
        for turn in range(max(self._shares_done + 1, due - SEEN_SHARES + 1), due + 1):
            for user, device in self._attendees.devices_online(turn % SEEN_SHARES, SEEN_SHARES):
                self.heard(user, device)
        self._shares_done = due


def _since(times: dict[Any, float], until_s: float) -> list[Any]:
    """The keys, from the oldest on, whose time is not after `until_s`."""
    return [key for key, _ in itertools.takewhile(lambda item: item[1] <= until_s, times.items())]


def _hidden(user: UserId) -> frames.Presence:
    return frames.Presence(user, False, None)
