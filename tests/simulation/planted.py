"""Twelve bugs of servers like this one, planted from outside: the simulation must find each.

Each plant replaces a part of the rules with what is easily written instead. Nothing of it is in the
rules themselves.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from typing import Any, cast

import pytest

from tidings.bus.counted import DEAD_S, CountedBus
from tidings.directory.contract import Directory, DirectoryError, Place
from tidings.domain import leases
from tidings.domain.accepting import Accepting, Unsettled
from tidings.domain.commit import Done, GroupCommit
from tidings.domain.inboxes import Entry
from tidings.domain.leases import LEASE_MS, REQUEST_ID_BYTES, Lease, Random
from tidings.domain.messages import Messages
from tidings.domain.peers import LATE_S
from tidings.domain.sends import SendName, _split
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import Sent
from tidings.protocol.ids import EntryId, MessageId, UserId
from tidings.server import commands, passing, shared_feed
from tidings.server.clock_guard import ClockGuard
from tidings.server.cluster import Cluster
from tidings.server.connections import Receiver
from tidings.server.feed import Feed
from tidings.server.places import Places
from tidings.server.relay import Relay
from tidings.server.session import Session
from tidings.server.shared_feed import SharedFeed
from tidings.store.contract import OutcomeUnknown, Put, Store, Write
from tidings.store.schema import LEASES, SENDS, LeaseRow, MessageRow, SendRow

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledged_before_written(patch: pytest.MonkeyPatch) -> None:
    """Sent goes out when the message is handed to the store."""
    commit_message = Messages._commit_message

    def hasty(self: Messages, accepting: Accepting, name: SendName, unsettled: Unsettled) -> None:
        commit_message(self, accepting, name, unsettled)
        message_id = MessageId(self._ids.last)
        unsettled.settle(Sent(accepting.send.client_id, message_id, created_at=self._clock.wall_ms()))

    patch.setattr(Messages, "_commit_message", hasty)


def looked_up_before_committed(patch: pytest.MonkeyPatch) -> None:
    """Where the recipients are is looked up while the message is on its way to the disk."""
    commit_message = Messages._commit_message
    deliver = Relay.deliver
    under_way: dict[int, asyncio.Task[list[list[Place]]]] = {}

    def early(self: Messages, accepting: Accepting, name: SendName, unsettled: Unsettled) -> None:
        commit_message(self, accepting, name, unsettled)
        relay = self._router
        assert isinstance(relay, Relay)
        users = list(accepting.conversation.members)
        under_way[self._ids.last] = relay._loop.create_task(relay._directory.look_up(users))

    def late(self: Relay, entry: Entry, users: Iterable[UserId]) -> None:
        recipients = list(users)
        looked_up = under_way.pop(entry.entry_id, None)
        if looked_up is None or not recipients:
            deliver(self, entry, recipients)
            return
        self._connections.deliver(entry, recipients)
        self._loop.create_task(publish(self, entry, recipients, looked_up))

    async def publish(
        self: Relay, entry: Entry, users: list[UserId], looked_up: asyncio.Task[list[list[Place]]]
    ) -> None:
        try:
            places = await looked_up
        except DirectoryError:
            nodes = set(self._bus.peers)
        else:
            nodes = {place.node for some in places for place in some if place.user_id in users}
        for node in sorted(nodes - {self._bus.node}):
            self._bus.publish(node, [passing.encode(passing.delivered(entry, users))])

    patch.setattr(Messages, "_commit_message", early)
    patch.setattr(Relay, "deliver", late)


class _SendsFirst:
    """The group commit, with the row of `sends` in a batch of its own before the message's."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._commit, name)

    def add(self, rows: Iterable[Write], done: Done, *, size: int = 0) -> None:
        """Commit the rows of a message."""
        message, *others = rows
        assert isinstance(message, Put)
        row = cast(MessageRow, message.row)
        name = _split(row.client_id)
        sends = SendRow(row.sender_device, *name, row.message_id, row.created_at)

        def written(error: Any) -> None:
            if error is None:
                self._commit.add([message, *others], done, size=size)
            else:
                done(error)

        self._commit.add([Put(SENDS, sends, row.message_id)], written)


def sends_first(patch: pytest.MonkeyPatch) -> None:
    """The row by which a repeat is recognised is durable before the message is."""
    init = Messages.__init__

    def made(self: Messages, *arguments: Any) -> None:
        init(self, *arguments)
        self._commit = _SendsFirst(self._commit)  # type: ignore[assignment]

    patch.setattr(Messages, "__init__", made)


def word_of_the_client(patch: pytest.MonkeyPatch) -> None:
    """What a device says it has is where its inbox is read from."""
    patch.setattr(commands, "min", lambda _cursor, have: have, raising=False)


def cursor_is_acknowledged(patch: pytest.MonkeyPatch) -> None:
    """The cursor moves to the greatest entry that was acknowledged, and is read from, as on a lone node."""
    acknowledge = SharedFeed.acknowledge
    cursors: dict[SharedFeed, EntryId] = {}

    def noted(self: SharedFeed, up_to: int) -> list[Entry]:
        stored = acknowledge(self, up_to)
        greatest = max((entry.entry_id for entry in stored), default=EntryId(0))
        cursors[self] = max(cursors.get(self, EntryId(0)), greatest)
        return stored

    def settled(self: SharedFeed) -> EntryId | None:
        cursor = cursors.get(self, EntryId(0))
        if cursor <= self._stored:
            return None
        self._stored = cursor
        return cursor

    patch.setattr(shared_feed, "margin_before", lambda entry_id: entry_id)
    patch.setattr(SharedFeed, "acknowledge", noted)
    patch.setattr(SharedFeed, "_settled", settled)


def the_dead_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A node that falls silent is no longer counted, and nobody asks what it said last."""

    def silent(self: CountedBus) -> None:
        now_s = self._now_s()
        for node, peer in list(self._peers.items()):
            if now_s - peer.heard_s > DEAD_S:
                self._bury(node)
        beat(self)

    beat = CountedBus.beat
    patch.setattr(CountedBus, "beat", silent)


def late_message_kept(patch: pytest.MonkeyPatch) -> None:
    """A message that became durable long after it got its id keeps it."""

    async def never(self: Cluster, since_ms: int) -> bool:
        return False

    patch.setattr(Cluster, "is_late", never)


def number_given_twice(patch: pytest.MonkeyPatch) -> None:
    """Whoever wants the number of a node gets it, also while another one has it."""

    epochs = count(1)  # an incarnation of a node has one of its own all the same

    async def taken(store: Store, random: Random, name: str, found: LeaseRow | None, now_ms: int) -> Lease:
        row = LeaseRow(name, next(epochs), now_ms + LEASE_MS, random(REQUEST_ID_BYTES))
        with suppress(OutcomeUnknown):
            await store.compare_and_set(LEASES, found, row)
        return Lease(store, random, row)

    async def write(self: Lease, until_ms: int) -> None:
        row = self._row
        self._row = LeaseRow(row.name, row.epoch, until_ms, row.request_id)

    patch.setattr(leases, "_take", taken)
    patch.setattr(Lease, "_write", write)


def clock_ahead(patch: pytest.MonkeyPatch) -> None:
    """A clock is right whatever it shows."""

    async def compare(self: ClockGuard, directory: Directory) -> None:
        self.agreed = True

    patch.setattr(ClockGuard, "is_right", lambda _: True)
    patch.setattr(ClockGuard, "compare", compare)


def subscribed_after_pulling(patch: pytest.MonkeyPatch) -> None:
    """A session is found by other nodes only once it has read its inbox to the end."""
    drain, enter = Session._drain, Places.enter

    async def pulled_first(self: Session, feed: Feed) -> None:
        await drain(self, feed)
        cluster, user = self.services.cluster, self.user
        if cluster is not None and user is not None and self.place is None and not feed.is_stalled:
            try:
                await enter(cluster.places, self, user.user_id)
            except ProtocolError as error:
                self.close(CloseCode.UNAVAILABLE, error.kind.name)

    async def not_yet(self: Places, session: Receiver, user: UserId) -> None:
        """Later."""

    patch.setattr(Session, "_drain", pulled_first)
    patch.setattr(Places, "enter", not_yet)


def compared_with_the_newest(patch: pytest.MonkeyPatch) -> None:
    """What may have been lost is looked for after the newest entry that was sent."""
    is_due = SharedFeed.is_due

    def due(self: SharedFeed, now_s: float) -> bool:
        newest = max(self._remembered or (), default=self._greatest)
        is_so = is_due(self, now_s)
        if is_so:
            self._position = max(self._position, newest)
        return is_so

    patch.setattr(SharedFeed, "is_due", due)


def own_clocks_only(patch: pytest.MonkeyPatch) -> None:
    """What came too late is told by the node's own clocks, which pause with it."""

    async def is_late(self: Cluster, since_ms: int) -> bool:
        return self._guard._clock.wall_ms() - since_ms > LATE_S * 1000

    patch.setattr(Cluster, "is_late", is_late)
    patch.setattr(ClockGuard, "is_behind", lambda *_: False)


PLANTS: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        acknowledged_before_written,
        looked_up_before_committed,
        sends_first,
        word_of_the_client,
        cursor_is_acknowledged,
        the_dead_forgotten,
        late_message_kept,
        number_given_twice,
        clock_ahead,
        subscribed_after_pulling,
        compared_with_the_newest,
        own_clocks_only,
    )
}
