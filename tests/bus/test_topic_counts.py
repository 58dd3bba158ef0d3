"""What is lost of publications to topics is noticed by those who follow them, and by nobody else."""

import pytest

from tidings.bus import topic_counts
from tidings.bus.topic_counts import TOLD_BEATS, TopicCounts

TOPIC, OTHER_TOPIC = "conversation:1", "conversation:2"
PUBLISHER = 7


class Ends:
    """A node that publishes, and one that follows a topic of two."""

    def __init__(self) -> None:
        self.publisher, self.follower = TopicCounts(), TopicCounts()
        self.gaps = 0
        self.follower.follow(TOPIC, self._gap)

    def _gap(self) -> None:
        self.gaps += 1

    def publish(self, topic: str = TOPIC, *, is_lost: bool = False) -> int:
        count = self.publisher.count(topic)
        if not is_lost:
            self.follower.came(topic, PUBLISHER, count)
        return count

    def beat(self, times: int = 1) -> None:
        for _ in range(times):
            self.follower.claimed(PUBLISHER, self.publisher.told())


def test_where_nothing_is_lost_there_is_no_gap() -> None:
    ends = Ends()
    for _ in range(3):
        for topic in (TOPIC, OTHER_TOPIC, TOPIC):
            ends.publish(topic)
        ends.beat(2)
    ends.beat(2 * TOLD_BEATS)
    assert ends.gaps == 0


def test_the_next_publication_shows_a_gap() -> None:
    ends = Ends()
    ends.publish()
    ends.publish(is_lost=True)
    assert ends.gaps == 0
    ends.publish()
    assert ends.gaps == 1
    ends.beat(TOLD_BEATS)
    assert ends.gaps == 1


@pytest.mark.parametrize("before", [0, 1])
def test_beats_show_that_the_last_one_was_lost(before: int) -> None:
    ends = Ends()
    for _ in range(before):
        ends.publish()
    ends.publish(is_lost=True)
    ends.beat()
    assert ends.gaps == 0  # it may be on its way
    ends.beat()
    assert ends.gaps == 1
    ends.beat(TOLD_BEATS)
    assert ends.gaps == 1


def test_a_beat_that_overtakes_a_publication_is_no_gap() -> None:
    ends = Ends()
    count = ends.publish(is_lost=True)
    ends.beat()
    ends.follower.came(TOPIC, PUBLISHER, count)
    ends.beat(2)
    assert ends.gaps == 0


def test_the_last_beat_of_a_node_is_taken_at_its_word() -> None:
    ends = Ends()
    ends.publish(is_lost=True)
    ends.follower.claimed(PUBLISHER, ends.publisher.told(), is_last=True)
    assert ends.gaps == 1


def test_what_is_lost_of_a_topic_that_is_not_followed_concerns_nobody() -> None:
    ends = Ends()
    ends.publish(OTHER_TOPIC, is_lost=True)
    ends.publish(OTHER_TOPIC)
    ends.beat(3)
    ends.follower.leave(TOPIC)
    ends.publish(is_lost=True)
    ends.publish()
    ends.beat(3)
    assert ends.gaps == 0


def test_who_follows_a_topic_that_was_published_to_before_looks_once() -> None:
    ends = Ends()
    for _ in range(3):
        ends.publisher.count(TOPIC)
    ends.publish()
    assert ends.gaps == 1
    ends.publish()
    ends.beat(3)
    assert ends.gaps == 1


def test_a_node_that_is_gone_is_forgotten() -> None:
    ends = Ends()
    ends.publish(is_lost=True)
    ends.beat()
    ends.follower.forget(PUBLISHER)
    ends.follower.claimed(PUBLISHER, {})
    assert ends.gaps == 0


def test_topics_that_nobody_publishes_to_any_more_are_not_told_of() -> None:
    counts = TopicCounts()
    counts.count(TOPIC)
    assert [counts.told() for _ in range(TOLD_BEATS)] == TOLD_BEATS * [{TOPIC: 1}]
    counts.count(OTHER_TOPIC)
    assert counts.told() == {OTHER_TOPIC: 1}


def test_of_too_many_topics_the_last_ones_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_counts, "TOLD_TOPICS", 2)
    counts = TopicCounts()
    for topic in ("one", "two", "three", "one"):
        counts.count(topic)
    assert counts.told() == {"three": 1, "one": 2}


def test_a_topic_whose_count_was_forgotten_goes_on_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_counts, "COUNTED_TOPICS", 1)
    ends = Ends()
    for _ in range(3):
        ends.publish()
    ends.publish(OTHER_TOPIC)
    ends.publish(is_lost=True)
    ends.beat(2)
    assert ends.gaps == 1
