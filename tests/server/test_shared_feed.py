"""The feed among other nodes: whatever is lost, late or out of order on the way, nothing is missed."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidings.domain.inboxes import Entry
from tidings.domain.peers import LATE_S, MARGIN_S
from tidings.protocol import ids
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.server import shared_feed
from tidings.server.shared_feed import FIRST_REREAD_S, REMEMBERED, REREAD_ACKS, REREAD_S, Present, SharedFeed
from tidings.testing.clock import FakeClock

OWN, OTHER = DeviceId(1), DeviceId(2)
WINDOW = 8


class Bench:
    """A feed, an inbox whose rows become readable when they do, and a device that acknowledges."""

    def __init__(self, start: EntryId | None = None, *, keeps: bool = False) -> None:
        self.clock = FakeClock()
        self.inbox: list[tuple[float, Entry]] = []
        """from when on each can be read"""
        self.sent: list[int] = []
        self.acked = 0
        self.drained = 0
        self.clock_is_right = True
        self.begin = self.id_at(0.0) if start is None else start
        self.cursor = self.begin
        present = Present(self.clock.wall_ms, self.clock.monotonic_s, lambda: self.clock_is_right)
        limits = Limits(window_entries=WINDOW)
        self.feed = SharedFeed(OWN, self.begin, self, limits, present, keeps=keeps)

    def id_at(self, ago_s: float, sequence: int = 0) -> EntryId:
        return EntryId(ids.snowflake(self.clock.wall_ms() - int(ago_s * 1000), 1, sequence))

    def entry(self, entry_id: EntryId, sender: DeviceId = OTHER) -> Entry:
        here = ConversationId(b"c" * 16)
        return Entry(entry_id, here, MessageId(entry_id), UserId(9), sender, b"x" * 50, {})

    def write(self, ago_s: float = 0.0, *, appears_in_s: float = 0.0, sender: DeviceId = OTHER) -> Entry:
        """An entry whose id is so old, readable only after a while."""
        one = self.entry(self.id_at(ago_s, len(self.inbox) % 1000), sender)
        self.inbox.append((self.clock.monotonic_s() + appears_in_s, one))
        return one

    def send_entry(self, one: Entry) -> None:
        self.sent.append(one.entry_id)

    async def read(self, after: EntryId, limit: int, _: int) -> list[Entry]:
        now_s = self.clock.monotonic_s()
        found = [one for from_s, one in self.inbox if from_s <= now_s and one.entry_id > after]
        return sorted(found, key=lambda one: one.entry_id)[:limit]

    async def sweep(self) -> None:
        if self.feed.is_due(self.clock.monotonic_s()) or self.feed.is_stalled:
            self.drained += await self.feed.drain(self.read)
        if not self.feed.is_stalled:
            self._move(self.feed.passed_over(EntryId(0), first=False))

    def acknowledge(self, count: int = 10_000) -> None:
        up_to = min(len(self.sent), self.acked + count)
        stored = self.feed.acknowledge(up_to)
        self.acked = up_to
        if stored:
            self._move(self.feed.cursor(stored))

    def _move(self, cursor: EntryId | None) -> None:
        if cursor is None:
            return
        assert cursor >= self.cursor
        self.cursor = cursor
        # Invariant 1: whatever is behind the cursor, readable yet or not, is stored on the device.
        acknowledged = set(self.sent[: self.acked])
        missing = [
            one.entry_id
            for _, one in self.inbox
            if self.begin < one.entry_id <= cursor
            and one.entry_id not in acknowledged
            and one.sender_device != OWN
        ]
        assert not missing, f"the cursor passed {missing}"

    async def settle(self) -> None:
        for _ in range(100):
            self.clock.advance(REREAD_S / 10)
            await self.sweep()
            self.acknowledge()


async def test_a_live_entry_is_sent_once_and_moves_no_cursor() -> None:
    bench = Bench()
    await bench.sweep()
    assert bench.drained == 1
    one = bench.write()
    bench.feed.offer(one)
    bench.acknowledge()
    assert bench.sent == [one.entry_id]
    assert bench.cursor == bench.begin
    await bench.settle()
    assert bench.sent == [one.entry_id]
    assert bench.cursor >= one.entry_id


async def test_what_was_lost_on_the_way_is_found_soon_after_going_live() -> None:
    bench = Bench()
    await bench.sweep()
    lost = bench.write()
    bench.clock.advance(FIRST_REREAD_S)
    await bench.sweep()
    assert bench.sent == [lost.entry_id]


async def test_a_gap_is_looked_into_when_its_time_has_come() -> None:
    bench = Bench()
    await bench.settle()
    lost = bench.write()
    bench.feed.lose(bench.clock.monotonic_s() + 3)
    await bench.sweep()
    assert bench.sent == []
    bench.clock.advance(3)
    await bench.sweep()
    assert bench.feed.has_lost()
    assert not bench.feed.has_lost()
    assert bench.sent == [lost.entry_id]


async def test_many_acknowledgements_bring_a_read() -> None:
    bench = Bench()
    await bench.settle()
    lost = bench.write()
    for _ in range(REREAD_ACKS):
        bench.clock.advance(0.001)
        bench.feed.offer(bench.write())
        bench.acknowledge()
    bench.clock.advance(MARGIN_S)
    await bench.sweep()
    assert bench.sent.count(lost.entry_id) == 1


async def test_in_a_busy_inbox_nothing_is_sent_twice() -> None:
    bench = Bench()
    await bench.sweep()
    for _ in range(15):
        for _ in range(1000):
            bench.clock.advance(0.001)
            bench.feed.offer(bench.write())
            bench.acknowledge()
        await bench.sweep()
    assert len(bench.sent) == len(set(bench.sent)) == 15_000
    assert bench.cursor > bench.id_at(2 * MARGIN_S + 1)


async def test_a_long_inbox_need_not_be_read_to_its_end() -> None:
    bench = Bench()
    for _ in range(10 * WINDOW):
        bench.write()
        bench.clock.advance(0.001)
    bench.clock.advance(MARGIN_S)
    seventh = bench.inbox[7 * WINDOW - 1][1].entry_id
    for _ in range(7):
        await bench.sweep()
        bench.acknowledge()
    assert bench.drained == 0
    assert bench.cursor == seventh


async def test_while_the_clock_is_wrong_the_cursor_stays() -> None:
    bench = Bench()
    bench.clock_is_right = False
    bench.clock.advance(1.0)
    bench.feed.offer(bench.write())
    await bench.settle()
    assert bench.cursor == bench.begin
    bench.clock_is_right = True
    await bench.settle()
    assert bench.cursor > bench.begin


async def test_a_device_that_lost_what_it_had_is_sent_its_own_too() -> None:
    for keeps in (False, True):
        bench = Bench(keeps=keeps)
        bench.write(sender=OWN)
        await bench.sweep()
        assert len(bench.sent) == keeps


async def test_reading_begins_a_margin_before_the_start() -> None:
    bench = Bench()
    just_before = bench.write(ago_s=MARGIN_S / 2)
    long_before = bench.write(ago_s=MARGIN_S * 2)
    await bench.sweep()
    assert just_before.entry_id in bench.sent
    assert long_before.entry_id not in bench.sent


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 200), st.sampled_from([1, 5, 20, REMEMBERED]))
def test_nothing_is_missed_and_nothing_sent_twice(seed: int, steps: int, remembered: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_feed, "REMEMBERED", remembered)
        asyncio.run(_wander(random.Random(seed), steps))


async def _wander(rng: random.Random, steps: int) -> None:
    bench = Bench()
    late: list[Entry] = []
    for _ in range(steps):
        match rng.randrange(6):
            case 0 | 1:
                appears_in_s = rng.choice([0.0, rng.uniform(0, LATE_S)])
                one = bench.write(
                    rng.uniform(0, 1), appears_in_s=appears_in_s, sender=rng.choice([OWN, OTHER, OTHER])
                )
                fate = rng.randrange(3)  # lost, late, at once
                if fate == 1:
                    late.append(one)
                elif fate == 2 and not appears_in_s:
                    bench.feed.offer(one)
            case 2:
                rng.shuffle(late)
                while late:
                    one = late.pop()
                    if any(
                        from_s <= bench.clock.monotonic_s() for from_s, other in bench.inbox if other is one
                    ):
                        bench.feed.offer(one)
            case 3:
                bench.acknowledge(rng.randrange(1, 5))
            case 4:
                bench.clock.advance(rng.choice([0.01, 0.5, 2.0, 15.0]))
                await bench.sweep()
            case 5:
                if rng.random() < 0.2:
                    bench.feed.lose(bench.clock.monotonic_s() + rng.uniform(0, 5))
    await bench.settle()
    own = {one.entry_id for _, one in bench.inbox if one.sender_device == OWN}
    expected = {one.entry_id for _, one in bench.inbox} - own
    assert set(bench.sent) == expected
    assert len(bench.sent) == len(expected)
