"""What is lost on the bus is noticed, and nothing else is taken for a loss."""

import asyncio
from collections.abc import Callable

import pytest

from tidings.bus.contract import Topic
from tidings.bus.counted import ALL, BEAT_S, DEAD_S, FRAME_BYTES, UNHEARD_NODES, CountedBus, topic_of
from tidings.bus.memory import MemoryBus, Topics


class Lossy(MemoryBus):
    """A bus that loses what it is told to, and can hold back a topic's publications."""

    def __init__(self, topics: Topics) -> None:
        super().__init__(topics)
        self.loses: Callable[[Topic], bool] = lambda _: False
        self.held: list[tuple[Topic, bytes]] | None = None
        self.lost: Callable[[], None] = lambda: None

    def publish(self, topic: Topic, data: bytes) -> None:
        if self.loses(topic):
            return
        if self.held is not None and topic != ALL:
            self.held.append((topic, data))
            return
        super().publish(topic, data)

    def on_loss(self, lost: Callable[[], None]) -> None:
        self.lost = lost

    def release(self) -> None:
        held, self.held = self.held or [], None
        for topic, data in held:
            super().publish(topic, data)


class End:
    """A node's end, and what it noticed."""

    def __init__(self, topics: Topics, node: int, clock: list[float]) -> None:
        self.bus = Lossy(topics)
        self.received: list[bytes] = []
        self.gaps = 0
        self.counted = CountedBus(self.bus, node, lambda: clock[0], self.received.append, self._gap)

    def _gap(self) -> None:
        self.gaps += 1


class Rig:
    def __init__(self) -> None:
        self.topics = Topics()
        self.clock = [0.0]
        self.one, self.other = End(self.topics, 1, self.clock), End(self.topics, 2, self.clock)

    async def pass_on(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def beat(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock[0] += BEAT_S
            self.one.counted.beat()
            self.other.counted.beat()
            await self.pass_on()


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.one.counted.open()
    await rig.other.counted.open()
    await rig.beat()
    return rig


async def test_frames_arrive_in_order_and_without_a_gap(rig: Rig) -> None:
    for number in range(5):
        rig.one.counted.publish(2, [b"%d" % number, b"-"])
    await rig.pass_on()
    await rig.beat(20)
    assert rig.other.received == [b"0", b"-", b"1", b"-", b"2", b"-", b"3", b"-", b"4", b"-"]
    assert rig.other.gaps == 0
    assert rig.one.counted.peers == [2]


async def test_the_next_publication_shows_that_one_was_lost(rig: Rig) -> None:
    rig.one.bus.loses = lambda topic: topic == topic_of(2)
    rig.one.counted.publish(2, [b"lost"])
    rig.one.bus.loses = lambda _: False
    rig.one.counted.publish(2, [b"there"])
    await rig.pass_on()
    assert rig.other.received == [b"there"]
    assert rig.other.gaps == 1


async def test_beats_show_that_the_last_one_was_lost(rig: Rig) -> None:
    rig.one.bus.loses = lambda topic: topic == topic_of(2)
    rig.one.counted.publish(2, [b"lost"])
    rig.one.bus.loses = lambda _: False
    await rig.beat(2)
    assert rig.other.gaps == 1
    await rig.beat(20)
    assert rig.other.gaps == 1


async def test_a_publication_that_a_beat_overtakes_is_no_gap_and_arrives(rig: Rig) -> None:
    rig.one.bus.held = []
    rig.one.counted.publish(2, [b"slow"])
    await rig.beat()
    rig.one.bus.release()
    await rig.pass_on()
    await rig.beat(3)
    assert rig.other.received == [b"slow"]
    assert rig.other.gaps == 0


async def test_what_was_published_to_all_and_lost_is_a_gap(rig: Rig) -> None:
    rig.one.counted.publish_all([b"for all"])
    await rig.pass_on()
    assert rig.other.received == [b"for all"]
    rig.one.bus.loses = lambda topic: topic == ALL
    rig.one.counted.publish_all([b"lost"])
    rig.one.bus.loses = lambda _: False
    await rig.beat()
    assert rig.other.gaps == 1


async def test_what_was_left_out_is_a_gap_to_all(rig: Rig) -> None:
    rig.one.counted.skip()
    await rig.beat()
    assert rig.other.gaps == 1


async def test_a_node_that_dies_is_a_gap_whatever_it_had_counted(rig: Rig) -> None:
    rig.one.bus.loses = lambda _: True
    rig.one.counted.publish(2, [b"its last words"])
    await rig.beat(int(DEAD_S / BEAT_S) + 1)
    assert rig.other.gaps == 1
    assert rig.other.counted.has_died(1)
    assert rig.other.counted.peers == []


async def test_a_node_that_is_not_heard_may_live_and_misses_what_is_lost_on_the_way_to_it(rig: Rig) -> None:
    rig.other.bus.loses = lambda _: True
    await rig.beat(int(DEAD_S / BEAT_S) + 1)
    one = rig.one.counted
    assert one.peers == []
    one.silent.clear()  # the lease of its first number is over; it may have another
    assert one.may_live == [2]
    rig.one.bus.loses = lambda topic: topic == topic_of(2)
    for node in one.may_live:
        one.publish(node, [b"lost"])
    rig.one.bus.loses = lambda _: False
    await rig.beat(2)
    assert rig.other.gaps == 1


async def test_who_does_not_hear_its_own_beats_is_cut_off(rig: Rig) -> None:
    rig.one.bus.loses = lambda _: True
    await rig.beat()
    assert not rig.one.counted.is_cut_off
    await rig.beat()
    assert rig.one.counted.is_cut_off
    assert not rig.other.counted.is_cut_off
    rig.one.bus.loses = lambda _: False
    await rig.beat()
    assert not rig.one.counted.is_cut_off


async def test_a_node_that_has_left_does_not_live(rig: Rig) -> None:
    await rig.other.counted.close()
    await rig.pass_on()
    assert rig.one.counted.has_died(2)
    assert rig.one.counted.may_live == []


async def test_of_those_that_fell_silent_the_last_ones_may_live(rig: Rig) -> None:
    crashed = [End(rig.topics, 3 + number, rig.clock) for number in range(UNHEARD_NODES + 1)]
    for end in crashed:
        await end.counted.open()
    await rig.pass_on()
    await rig.beat(int(DEAD_S / BEAT_S) + 1)
    assert rig.one.counted.may_live == [2, *(end.counted.node for end in crashed[1:])]


async def test_a_node_that_only_seemed_dead_goes_on_and_nothing_is_taken_for_old(rig: Rig) -> None:
    for _ in range(3):
        rig.other.counted.publish(1, [b"before"])
    await rig.pass_on()
    rig.one.bus.loses = lambda _: True
    await rig.beat(int(DEAD_S / BEAT_S) + 1)
    rig.one.bus.loses = lambda _: False
    await rig.beat()
    rig.other.counted.publish(1, [b"after"])
    await rig.pass_on()
    assert rig.one.received == [b"before"] * 3 + [b"after"]
    assert not rig.other.counted.has_died(1)


async def test_what_was_published_while_the_way_was_broken_is_a_gap_when_it_is_heard_again(rig: Rig) -> None:
    for node in (rig.one, rig.other):
        node.bus.loses = lambda _: True
    rig.one.counted.publish(2, [b"into the void"])
    await rig.beat(int(DEAD_S / BEAT_S) - 1)
    # A beat that was long under way: to the other one it has not died.
    rig.one.bus.loses = lambda _: False
    rig.other.counted._peer(1).heard_s = rig.clock[0]
    await rig.beat(3)
    assert rig.other.gaps == 1
    rig.one.bus.loses = lambda _: True
    await rig.beat(int(DEAD_S / BEAT_S) + 1)
    assert rig.other.gaps == 2
    rig.one.counted.publish(2, [b"into the void"])
    await rig.beat(60)
    rig.one.bus.loses = lambda _: False
    await rig.beat()
    assert rig.other.gaps == 3


async def test_a_node_that_leaves_is_no_gap(rig: Rig) -> None:
    rig.one.counted.publish(2, [b"last"])
    await rig.pass_on()
    await rig.one.counted.close()
    await rig.pass_on()
    for _ in range(10):
        rig.clock[0] += BEAT_S
        rig.other.counted.beat()
    assert rig.other.gaps == 0
    assert rig.other.counted.has_died(1)


async def test_a_lost_connection_is_a_gap(rig: Rig) -> None:
    rig.other.bus.lost()
    assert rig.other.gaps == 1


async def test_frames_that_do_not_fit_into_one_publication_go_in_several(rig: Rig) -> None:
    frames = [bytes([number]) * (FRAME_BYTES // 2) for number in range(4)]
    rig.one.counted.publish(2, frames)
    await rig.pass_on()
    assert rig.other.received == frames
    assert rig.other.gaps == 0


async def test_whoever_comes_later_has_missed_nothing(rig: Rig) -> None:
    for _ in range(5):
        rig.one.counted.publish_all([b"early"])
    await rig.pass_on()
    third = End(rig.topics, 3, rig.clock)
    await third.counted.open()
    await rig.beat(3)
    rig.one.counted.publish(3, [b"first"])
    await rig.pass_on()
    await rig.beat(3)
    assert third.received == [b"first"]
    assert third.gaps == 0
