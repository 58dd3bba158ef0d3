"""Counts of publications to topics that any number of nodes follow, so that what is lost is noticed.

A publication carries its publisher's count of that topic; whoever follows it sees a gap. The last one
before a silence is told of by beats, as of publications to nodes (`counted`): each names the topics that
were published to lately, with the counts. That costs a publication nothing but its number.

Whoever begins to follow does not know the counts: what it sees first, and is not the first of all, may be
a gap and is taken for one. It costs those who follow a look.
"""

from collections.abc import Callable

from tidings.bus.contract import Topic

TOLD_BEATS = 10
"""a beat tells of topics that were published to within so many beats"""
TOLD_TOPICS = 1024
"""Of those the last ones; that more were lost is noticed with the next publication, or by looking."""
COUNTED_TOPICS = 8192
"""Topics whose counts are remembered."""

Gap = Callable[[], None]


class _Followed:
    """What is known of a topic."""

    __slots__ = ("gap", "seen")

    def __init__(self, gap: Gap) -> None:
        self.gap = gap
        self.seen: dict[int, int] = {}
        """by publisher: the count of its last publication"""


class TopicCounts:
    """One node's; see the module's text."""

    def __init__(self) -> None:
        self._counts: dict[Topic, int] = {}
        """by when they were published to last"""
        self._recent: dict[Topic, int] = {}
        """topics that were published to within the last beats, and the number of that beat; likewise"""
        self._forgotten = 0
        """no count that is not remembered is greater"""
        self._beats = 0
        self._followed: dict[Topic, _Followed] = {}
        self._claims: dict[int, dict[Topic, int]] = {}
        """by publisher: what its last beat told of topics that are followed here"""

    # --- who publishes ----------------------------------------------------------------------

    def count(self, topic: Topic) -> int:
        """The number of the publication to a topic that is made now."""
        count = self._counts.pop(topic, self._forgotten) + 1
        self._counts[topic] = count
        self._recent.pop(topic, None)
        self._recent[topic] = self._beats
        if len(self._counts) > COUNTED_TOPICS:
            oldest = next(iter(self._counts))
            # Counted anew it would begin below what others have seen, and they would miss nothing.
            self._forgotten = max(self._forgotten, self._counts.pop(oldest))
            self._recent.pop(oldest, None)
        return count

    def told(self) -> dict[Topic, int]:
        """What the next beat tells."""
        self._beats += 1
        while self._recent:
            oldest = next(iter(self._recent))
            if len(self._recent) <= TOLD_TOPICS and self._beats - self._recent[oldest] <= TOLD_BEATS:
                break
            del self._recent[oldest]
        return {topic: self._counts[topic] for topic in self._recent}

    # --- who follows ------------------------------------------------------------------------

    def follow(self, topic: Topic, gap: Gap) -> None:
        """Have `gap` called when a publication to a topic may be lost."""
        self._followed[topic] = _Followed(gap)

    def leave(self, topic: Topic) -> None:
        """It is not followed any more."""
        self._followed.pop(topic, None)

    def came(self, topic: Topic, publisher: int, count: int) -> None:
        """A publication has come."""
        followed = self._followed.get(topic)
        if followed is not None:
            self._see(followed, publisher, count, missing_from=2)

    def claimed(self, publisher: int, counts: dict[Topic, int], *, is_last: bool = False) -> None:
        """A beat has come. It may overtake publications, but not for as long as until the next beat."""
        for topic, count in self._claims.pop(publisher, {}).items():
            if topic in self._followed:
                self._see(self._followed[topic], publisher, count, missing_from=1)
        claims = {topic: count for topic, count in counts.items() if topic in self._followed}
        if claims:
            self._claims[publisher] = claims
            if is_last:
                self.claimed(publisher, {})

    def forget(self, publisher: int) -> None:
        """A node is gone; whatever it published last is looked for by those who know that."""
        self._claims.pop(publisher, None)
        for followed in self._followed.values():
            followed.seen.pop(publisher, None)

    # --- inside -----------------------------------------------------------------------------

    def _see(self, followed: _Followed, publisher: int, count: int, *, missing_from: int) -> None:
        seen = followed.seen.get(publisher, 0)
        if count > seen:
            followed.seen[publisher] = count
            if count >= seen + missing_from:
                followed.gap()
