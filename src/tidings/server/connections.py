"""Who is connected to this node: the rules' `Router`, and the sweep of silent connections.

One receiving session a device: a newer one replaces the older (4409). Side sessions receive
nothing and are known here only to be swept.
"""

from collections.abc import Iterable
from random import Random
from typing import Protocol

from tidings.domain.inboxes import Entry
from tidings.protocol.frames import Frame
from tidings.protocol.ids import DeviceId, UserId

COME_BACK_PER_S = 400
"""Reconnects a second that a node takes in its stride (each costs 0.2 ms)."""


class Receiver(Protocol):
    """A session of a device, as the rest of the node sees it."""

    @property
    def device_id(self) -> DeviceId:
        """The device that it belongs to."""

    def offer(self, entry: Entry) -> None:
        """An inbox entry of its user became durable."""

    def tell(self, frame: Frame) -> None:
        """A frame that no inbox holds."""

    def fail(self, bug: Exception) -> None:
        """It could not take an entry: end it, so that it comes back and reads its inbox."""

    def replace(self) -> None:
        """A newer session of the same device has come."""


class Swept(Protocol):
    """Anything that may fall silent."""

    def sweep(self, now_s: float) -> None:
        """Close if nothing was heard for too long."""


class Connections:
    """Finds the sessions of users."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._receivers: dict[UserId, tuple[Receiver, ...]] = {}
        self._swept: set[Swept] = set()

    def opened(self, session: Swept) -> None:
        """A connection has begun; it is not known yet whose."""
        self._swept.add(session)

    def closed(self, session: Swept) -> None:
        """A connection is gone."""
        self._swept.discard(session)

    def register(self, user: UserId, receiver: Receiver) -> None:
        """A session receives from now on; another one of its device is closed."""
        others = self._receivers.get(user, ())
        kept = tuple(other for other in others if other.device_id != receiver.device_id)
        self._receivers[user] = (*kept, receiver)
        for other in others:
            if other.device_id == receiver.device_id:
                other.replace()

    def unregister(self, user: UserId, receiver: Receiver) -> None:
        """A session receives no more."""
        kept = tuple(other for other in self._receivers.get(user, ()) if other is not receiver)
        if kept:
            self._receivers[user] = kept
        else:
            self._receivers.pop(user, None)

    def deliver(self, entry: Entry, users: Iterable[UserId]) -> None:
        for user in users:
            for receiver in self._receivers.get(user, ()):
                try:
                    receiver.offer(entry)
                except Exception as bug:
                    # Left live it would acknowledge what comes after, and never get this one.
                    receiver.fail(bug)

    def tell(self, users: Iterable[UserId], frame: Frame, *, skip: DeviceId | None = None) -> None:
        for user in users:
            for receiver in self._receivers.get(user, ()):
                if receiver.device_id != skip:
                    receiver.tell(frame)

    def come_back_in_s(self) -> float:
        """A client's own moment to reconnect after a drain: so many a second, in no order."""
        return self._random.uniform(0.0, 1.0 + len(self._swept) / COME_BACK_PER_S)

    def sweep(self, now_s: float) -> None:
        """Look at every connection once; called each second."""
        for session in tuple(self._swept):
            session.sweep(now_s)
