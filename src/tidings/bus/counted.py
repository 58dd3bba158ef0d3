"""Publications that are counted, so that what is lost is noticed.

A node publishes to other nodes under its own name, with a counter for each of them. Whoever
receives sees a gap in it; and since the last one before a silence may be what is lost, each node
says once a second, to all, how far it has counted. A node from which nothing is heard any more has
died: whatever it published last may be lost too, so that is a gap like any other. What goes to topics of
other names is counted likewise, topic by topic (`topic_counts`); its counts ride on the same beats.

```
 one node --(topic of another: publisher, count, frames)--> another
     \\-----(topic of all: publisher, counts of the last seconds)--> all
```

A *node* here is the incarnation of one: a number that is never used twice.
"""

from collections.abc import Callable, Iterable

import msgspec

from tidings.bus.contract import PUBLICATION_BYTES, Bus, Topic
from tidings.bus.topic_counts import TopicCounts

BEAT_S = 1.0
"""From one beat to the next."""
COUNTED_BEATS = 10
"""a beat tells the counts of those published to within so many beats"""
DEAD_S = 5.0
"""A node that was not heard of for so long has died."""
FRAME_BYTES = PUBLICATION_BYTES - 1024
"""Largest frame that can be published."""
COUNTED_NODES = 8192
"""Nodes whose counts are remembered, the dead ones included."""
UNHEARD_NODES = 64
"""Of those that fell silent: so many, the last ones, are taken for nodes that may live."""
CUT_OFF_BEATS = 2
"""A node that has not heard so many of its own last beats is cut off from the bus."""
ALL: Topic = "nodes"


class _Publication(msgspec.Struct, array_like=True):
    publisher: int
    count: int
    frames: list[bytes]


class _Beat(msgspec.Struct, array_like=True):
    publisher: int
    counts: dict[int, int]
    """by node: of the last publication to it"""
    count: int
    """of the last publication to all"""
    frames: list[bytes] = []
    """publications to all carry frames"""
    leaving: bool = False
    topics: dict[Topic, int] = {}
    """of the last publications to topics"""
    lease: int = 0
    """the incarnation whose lease the publisher has; 0: an older version does not say"""


_publication = msgspec.msgpack.Decoder(_Publication).decode
_beat = msgspec.msgpack.Decoder(_Beat).decode
_encode = msgspec.msgpack.Encoder().encode


class _Peer:
    """What is known of another node."""

    __slots__ = ("claimed", "heard_s", "lease", "seen", "seen_all")

    def __init__(self, node: int, now_s: float) -> None:
        self.heard_s = now_s
        self.lease = node
        """the incarnation whose lease it has"""
        self.seen = 0
        """count of its last publication to us"""
        self.claimed = 0
        """what it has counted, as its last beat said: by the next beat that must have come"""
        self.seen_all: int | None = None
        """count of its last publication to all; None: not known yet"""


class CountedBus:
    """One node's end of the bus; see the module's text."""

    def __init__(
        self,
        bus: Bus,
        node: int,
        now_s: Callable[[], float],
        receive: Callable[[bytes], None],
        gap: Callable[[], None],
    ) -> None:
        """`receive` is given each frame; `gap` is called when any may have been lost."""
        self._bus = bus
        self.node = node
        self.lease = node
        """The incarnation whose lease this node has: another one, once its number was taken. Its name stays,
        since places and counts elsewhere go by it."""
        self._now_s = now_s
        self._receive = receive
        self._gap = gap
        self._counts: dict[int, int] = {}
        self._recent: dict[int, int] = {}
        """nodes that were published to within the last beats, and the number of that beat"""
        self._beats = 0
        self._unheard = 0
        """own beats since the last one that came back"""
        self._count_all = 0
        self._peers: dict[int, _Peer] = {}
        self._dead: dict[int, bool] = {}
        """whether it said that it leaves"""
        self.silent: dict[int, int] = {}
        """those of the dead that did not say that they leave, and whose lease each has: maybe only their way
        to the bus is broken"""
        self.topics = TopicCounts()
        self.gaps = 0
        """for the metrics"""

    async def open(self) -> None:
        """Take part. Raises BusUnavailable."""
        self._bus.on_loss(self._lost)
        await self._bus.subscribe(topic_of(self.node), self._take)
        await self._bus.subscribe(ALL, self._take_beat)
        self.beat()

    async def close(self) -> None:
        """Say that nothing comes any more."""
        self._say_all([], topics=self.topics.told(), leaving=True)
        await self._bus.unsubscribe(topic_of(self.node))
        await self._bus.unsubscribe(ALL)

    def publish(self, node: int, frames: Iterable[bytes]) -> None:
        """Send frames to a node, each at most `FRAME_BYTES`, joined as far as that goes."""
        joined: list[bytes] = []
        size = 0
        for frame in frames:
            if joined and size + len(frame) > FRAME_BYTES:
                self._send(node, joined)
                joined, size = [], 0
            joined.append(frame)
            size += len(frame) + 5
        if joined:
            self._send(node, joined)

    def publish_all(self, frames: list[bytes]) -> None:
        """Send a few small frames to every node."""
        self._count_all += 1
        self._say_all(frames)

    def skip(self) -> None:
        """Something that was meant for any of them was not sent: let all see a gap."""
        self._count_all += 1

    @property
    def is_cut_off(self) -> bool:
        """Whether not even this node's own beats come back: what others publish does not come, either."""
        return self._unheard >= CUT_OFF_BEATS

    @property
    def peers(self) -> list[int]:
        """The other nodes that live, as far as is known."""
        return list(self._peers)

    @property
    def may_live(self) -> list[int]:
        """The peers, and those that fell silent: maybe only we do not hear them, while they hear us.

        What was not published to them they would not miss: only what was counted shows as a gap.
        """
        silent = [node for node, has_left in self._dead.items() if not has_left]
        return [*self._peers, *silent[-UNHEARD_NODES:]]

    def has_died(self, node: int) -> bool:
        """Whether nothing has been heard of a node for `DEAD_S`, or it said that it leaves."""
        return node in self._dead

    def beat(self) -> None:
        """Called each `BEAT_S`: say how far we have counted, and see who has died."""
        self._beats += 1
        self._unheard += 1
        for node, beats in list(self._recent.items()):
            if self._beats - beats > COUNTED_BEATS:
                del self._recent[node]
        self._say_all([], topics=self.topics.told())
        now_s = self._now_s()
        dead = [node for node, peer in self._peers.items() if now_s - peer.heard_s > DEAD_S]
        for node in dead:
            self.silent[node] = self._peers[node].lease
            self._bury(node)
        if dead:
            self._note_gap()

    def _bury(self, node: int, *, has_left: bool = False) -> None:
        # Our own count for it stays, and is told: it may live, and only the way between be broken.
        del self._peers[node]
        self.topics.forget(node)
        self._dead[node] = has_left
        if len(self._dead) > COUNTED_NODES:
            forgotten = next(iter(self._dead))
            del self._dead[forgotten]
            self.silent.pop(forgotten, None)

    def _send(self, node: int, frames: list[bytes]) -> None:
        # The last ones last: of those that are forgotten none is published to any more.
        count = self._counts[node] = self._counts.pop(node, 0) + 1
        if len(self._counts) > COUNTED_NODES:
            del self._counts[next(iter(self._counts))]
        self._recent[node] = self._beats
        self._bus.publish(topic_of(node), _encode(_Publication(self.node, count, frames)))

    def _say_all(
        self, frames: list[bytes], *, topics: dict[Topic, int] | None = None, leaving: bool = False
    ) -> None:
        counts = {node: self._counts[node] for node in self._recent}
        beat = _Beat(self.node, counts, self._count_all, frames, leaving, topics or {}, self.lease)
        self._bus.publish(ALL, _encode(beat))

    def _take(self, data: bytes) -> None:
        publication = _publication(data)
        peer = self._peer(publication.publisher)
        # Our topic is as old as we are: the first publication to it has the count 1.
        missed = publication.count > peer.seen + 1
        peer.seen = max(peer.seen, publication.count)
        for frame in publication.frames:
            self._receive(frame)
        if missed:
            self._note_gap()

    def _take_beat(self, data: bytes) -> None:
        beat = _beat(data)
        if beat.publisher == self.node:
            self._unheard = 0
            return
        peer = self._peer(beat.publisher)
        peer.lease = beat.lease or beat.publisher
        missed = False
        if not beat.frames:
            # Beats overtake publications, which come by another topic; but not for a whole second.
            missed = peer.claimed > peer.seen
            peer.seen = max(peer.seen, peer.claimed)
            peer.claimed = beat.counts.get(self.node, 0)
            self.topics.claimed(beat.publisher, beat.topics, is_last=beat.leaving)
        if peer.seen_all is not None and peer.seen_all != beat.count - bool(beat.frames):
            missed = True
        peer.seen_all = beat.count
        for frame in beat.frames:
            self._receive(frame)
        if beat.leaving:
            missed = missed or peer.claimed > peer.seen
            self._bury(beat.publisher, has_left=True)
        if missed:
            self._note_gap()

    def _peer(self, node: int) -> _Peer:
        peer = self._peers.get(node)
        if peer is None:
            peer = self._peers[node] = _Peer(node, self._now_s())
            if node in self._dead:
                # It lived, and whatever it published meanwhile may be lost.
                del self._dead[node]
                self.silent.pop(node, None)
                self._note_gap()
        peer.heard_s = self._now_s()
        return peer

    def _lost(self) -> None:
        """Anything may have been lost, from anybody."""
        for peer in self._peers.values():
            peer.seen_all = None
        self._note_gap()

    def _note_gap(self) -> None:
        self.gaps += 1
        self._gap()


def topic_of(node: int) -> Topic:
    """Where a node is published to."""
    return f"node:{node:x}"
