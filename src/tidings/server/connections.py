"""Who is connected to this node: the rules' `Router`, and the sweep of silent connections.

One receiving session a device: a newer one replaces the older (4409). Side sessions receive
nothing; they are known here to be swept, and to be ended with their user or device. An idle
receiving session costs its places in two tables and nothing else.
"""

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Protocol, TypeVar

from tidings.directory.contract import Place
from tidings.domain.conversation import Conversation
from tidings.domain.inboxes import Entry
from tidings.protocol.close import CloseCode
from tidings.protocol.frames import Frame
from tidings.protocol.ids import DeviceId, UserId
from tidings.server.rate import Buckets, DeviceRates

S = TypeVar("S")

COME_BACK_PER_S = 400
"""Reconnects a second that a node takes in its stride (each costs 0.2 ms)."""
LOOK_AGAIN_PER_S = 1000
"""Inboxes read again a second, of all that may have lost something; but"""
LOOK_AGAIN_S = 10.0
"""all within so long."""


class Known(Protocol):
    """A session of which it is known whose it is."""

    buckets: Buckets
    """its device's; given when it joins"""

    @property
    def device_id(self) -> DeviceId:
        """The device that it belongs to."""

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End it."""


class Receiver(Known, Protocol):
    """A session of a device that receives, as the rest of the node sees it."""

    place: Place | None
    """in the directory, where there are other nodes"""

    def offer(self, entry: Entry) -> None:
        """An inbox entry of its user became durable."""

    def tell(self, frame: Frame) -> None:
        """A frame that no inbox holds."""

    def fail(self, bug: Exception) -> None:
        """It could not take an entry: end it, so that it comes back and reads its inbox."""

    def replace(self) -> None:
        """A newer session of the same device has come."""

    def lose(self, due_s: float) -> None:
        """Something meant for it may be lost: look again at this moment of the loop's clock."""

    def shutdown(self) -> None:
        """End it, and tell its device when to come back."""


class Swept(Protocol):
    """Anything that may fall silent."""

    def sweep(self, now_s: float) -> None:
        """Close if nothing was heard for too long."""


class Attendance(Protocol):
    """Who wants to know of people's coming and going."""

    def came(self, user: UserId) -> None:
        """A user's first receiving session has begun."""

    def went(self, user: UserId) -> None:
        """A user's last receiving session has ended."""

    def heard(self, user: UserId, device: DeviceId) -> None:
        """A device has just connected, or was connected until now."""

    def unwatch(self, session: object) -> None:
        """A connection is gone."""


class Unattended:
    """Implements `Attendance` where nobody wants to know."""

    def came(self, user: UserId) -> None:
        """Nothing."""

    def went(self, user: UserId) -> None:
        """Nothing."""

    def heard(self, user: UserId, device: DeviceId) -> None:
        """Nothing."""

    def unwatch(self, session: object) -> None:
        """Nothing."""


class Connections:
    """Finds the sessions of users."""

    def __init__(self, random: Random, rates: DeviceRates, now_s: Callable[[], float]) -> None:
        """`now_s` is the clock that the sessions' buckets go by."""
        self._random = random
        self._rates = rates
        self._now_s = now_s
        self._receivers: dict[UserId, tuple[Receiver, ...]] = {}
        self._aside: dict[UserId, tuple[Known, ...]] = {}
        self._swept: dict[Swept, None] = {}
        self.published: Callable[[Entry, Conversation, int], None] = lambda *_: None
        """called with what is read from logs; set once, when the node is wired"""
        self.attendance: Attendance = Unattended()
        """set once, when the node is wired: it needs us, too"""
        self.lost: Callable[[], None] = lambda: None
        """called when publications may be lost; likewise"""
        self.expulsions = 0
        """how often anybody was expelled, or may have been: who was recognised before the last time looks
        again"""
        self.deliveries = 0
        """entries offered to sessions, for the metrics"""

    # --- sessions ---------------------------------------------------------------------------

    def opened(self, session: Swept) -> None:
        """A connection has begun; it is not known yet whose."""
        self._swept[session] = None

    def closed(self, session: Swept) -> None:
        """A connection is gone."""
        self._swept.pop(session, None)
        self.attendance.unwatch(session)

    def register(self, user: UserId, receiver: Receiver) -> None:
        """A session receives from now on; another one of its device is closed."""
        others = self._receivers.get(user, ())
        receiver.buckets = self._buckets(user, receiver.device_id)
        kept = tuple(other for other in others if other.device_id != receiver.device_id)
        self._receivers[user] = (*kept, receiver)
        for other in others:
            if other.device_id == receiver.device_id:
                other.replace()
        self.attendance.heard(user, receiver.device_id)
        if not others:
            self.attendance.came(user)

    def unregister(self, user: UserId, receiver: Receiver) -> None:
        """A session receives no more."""
        if _remove(self._receivers, user, receiver):
            self.attendance.heard(user, receiver.device_id)
            self._left(user, receiver)
            self._went(user)

    def joined(self, user: UserId, session: Known) -> None:
        """A side session has begun."""
        session.buckets = self._buckets(user, session.device_id)
        self._aside[user] = (*self._aside.get(user, ()), session)
        self.attendance.heard(user, session.device_id)

    def left(self, user: UserId, session: Known) -> None:
        """A side session has ended."""
        if _remove(self._aside, user, session):
            self.attendance.heard(user, session.device_id)
            self._left(user, session)

    def sessions(self, user: UserId) -> tuple[Known, ...]:
        """Every session of a user, side sessions included."""
        return (*self._receivers.get(user, ()), *self._aside.get(user, ()))

    def come_back_in_s(self) -> float:
        """A client's own moment to reconnect after a drain: so many a second, in no order."""
        return self._random.uniform(0.0, 1.0 + len(self._swept) / COME_BACK_PER_S)

    def sweep(self, now_s: float) -> None:
        """Look at every connection once; called each second."""
        for session in tuple(self._swept):
            session.sweep(now_s)

    def rates_changed(self) -> None:
        """The limits of rates are others now: all buckets are made anew."""
        self._rates.forget_left()
        for user in (*self._receivers, *self._aside):
            for session in self.sessions(user):
                session.buckets[:] = [None] * len(session.buckets)

    def may_have_lost(self) -> None:
        """Something that was meant for anybody may be lost: all look again, so many a second."""
        self.lost()
        for receivers in self._receivers.values():
            for receiver in receivers:
                receiver.lose(self.look_again_s())

    def look_again_s(self) -> float:
        """A session's own moment, by the loop's clock, to look for what it may have lost."""
        spread_s = min(LOOK_AGAIN_S, len(self._swept) / LOOK_AGAIN_PER_S)
        return self._now_s() + self._random.uniform(0.0, spread_s)

    def doubt(self) -> None:
        """Somebody may have been signed out unnoticed: who is just being recognised is looked up again."""
        self.expulsions += 1

    def devices(self) -> list[tuple[UserId, DeviceId]]:
        """The devices of all sessions, side sessions included; some of them twice."""
        return [
            (user, session.device_id)
            for table in (self._receivers, self._aside)
            for user, sessions in table.items()
            for session in sessions
        ]

    def drain(self) -> None:
        """Have every device connect to another node."""
        for receivers in tuple(self._receivers.values()):
            for receiver in receivers:
                receiver.shutdown()

    # --- the rules' side (Router) -----------------------------------------------------------

    def deliver(self, entry: Entry, users: Iterable[UserId]) -> None:
        receivers_of = self._receivers.get
        deliveries = 0
        for user in users:
            for receiver in receivers_of(user, ()):
                deliveries += 1
                try:
                    receiver.offer(entry)
                except Exception as bug:
                    # Left live it would acknowledge what comes after, and never get this one.
                    receiver.fail(bug)
        self.deliveries += deliveries

    def publish(self, entry: Entry, conversation: Conversation, version: int) -> None:
        self.published(entry, conversation, version)

    def tell(self, users: Iterable[UserId], frame: Frame, *, skip: DeviceId | None = None) -> None:
        for user in users:
            for receiver in self._receivers.get(user, ()):
                if receiver.device_id != skip:
                    receiver.tell(frame)

    def expel(self, user: UserId, device: DeviceId | None = None) -> None:
        self.expulsions += 1
        for session in self.sessions(user):
            if device is None or session.device_id == device:
                # Removed here, so that nothing is written any more of a device that is no more.
                if _remove(self._receivers, user, session):
                    self._left(user, session)
                    self._went(user)
                elif _remove(self._aside, user, session):
                    self._left(user, session)
                session.close(CloseCode.NOT_ALLOWED, "signed out")

    # --- who is there -----------------------------------------------------------------------

    def is_online(self, user: UserId) -> bool:
        """Whether a session of the user receives."""
        return user in self._receivers

    def receivers(self, user: UserId) -> tuple[Receiver, ...]:
        """The receiving sessions of a user."""
        return self._receivers.get(user, ())

    def users(self) -> list[UserId]:
        """Who receives."""
        return list(self._receivers)

    async def follow(self, users: Iterable[UserId]) -> None:
        """Somebody watches these users: on a lone node nobody can be elsewhere."""

    def unfollow(self, user: UserId) -> None:
        """Nobody watches this user any more."""

    def shows_otherwise(self, user: UserId) -> None:
        """Whoever watches this user does so here."""

    def devices_online(self, share: int, shares: int) -> Iterator[tuple[UserId, DeviceId]]:
        """One of so many shares of the receiving devices; each is in one and the same share always."""
        for user, receivers in self._receivers.items():
            # The milliseconds of an id are spread evenly, its low bits are not.
            if (user >> 22) % shares == share:
                for receiver in receivers:
                    yield user, receiver.device_id

    @property
    def users_online(self) -> int:
        """How many users receive."""
        return len(self._receivers)

    @property
    def sessions_open(self) -> int:
        """How many sessions there are, those that have not said Hello yet included."""
        return len(self._swept)

    # --- inside -----------------------------------------------------------------------------

    def _buckets(self, user: UserId, device: DeviceId) -> Buckets:
        for session in self.sessions(user):
            if session.device_id == device:
                return session.buckets
        return self._rates.enter(device)

    def _left(self, user: UserId, session: Known) -> None:
        if all(other.device_id != session.device_id for other in self.sessions(user)):
            self._rates.leave(session.device_id, session.buckets, self._now_s())

    def _went(self, user: UserId) -> None:
        if user not in self._receivers:
            self.attendance.went(user)


def _remove(sessions: dict[UserId, tuple[S, ...]], user: UserId, session: object) -> bool:
    """Take a session out; false if it was not in."""
    before = sessions.get(user, ())
    kept = tuple(other for other in before if other is not session)
    if kept:
        sessions[user] = kept
    else:
        sessions.pop(user, None)
    return len(kept) < len(before)
