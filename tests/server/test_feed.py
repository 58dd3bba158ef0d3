"""The feed, against a store whose reads take their time: in order, once, nothing missed."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tidings.domain.inboxes import Entry
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.server.feed import HELD_MAX, Feed

OWN, OTHER = DeviceId(1), DeviceId(2)


def entry(number: int, sender: DeviceId = OTHER, envelopes: dict[DeviceId, bytes] | None = None) -> Entry:
    conversation = ConversationId(b"c" * 16)
    payload = b"x" * 100
    return Entry(
        EntryId(number), conversation, MessageId(number), UserId(9), sender, payload, envelopes or {}
    )


class SlowInbox:
    """Entries that are durable, and reads that see the moment they began at but return later."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._gates: list[asyncio.Future[None]] = []

    async def read(self, after: EntryId, limit: int, _: int) -> list[Entry]:
        found = [one for one in self.entries if one.entry_id > after][:limit]
        gate = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate
        return found

    def release(self) -> None:
        for gate in self._gates:
            gate.set_result(None)
        self._gates.clear()


class Bench:
    """A feed, its inbox, and what it sent."""

    def __init__(self, window: int = 5, *, keeps: bool = False) -> None:
        self.inbox = SlowInbox()
        self.sent: list[int] = []
        self.acked = 0
        self.drained = 0
        self.cursor = EntryId(0)
        limits = Limits(window_entries=window, window_bytes=10_000)
        self.feed = Feed(OWN, EntryId(0), self, limits, keeps=keeps)
        self._draining: asyncio.Task[None] | None = None
        self._last = 0

    def send_entry(self, one: Entry) -> None:
        self.sent.append(one.entry_id)

    def commit(self, sender: DeviceId = OTHER) -> None:
        """An entry becomes durable, and is offered right after."""
        self._last += 1
        one = entry(self._last, sender)
        self.inbox.entries.append(one)
        self.feed.offer(one)

    def keep_draining(self) -> None:
        if self._draining is None and self.feed.is_stalled and self.feed.has_room:
            self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        self.drained += await self.feed.drain(self.inbox.read)
        self._draining = None

    def acknowledge(self, count: int) -> None:
        up_to = min(len(self.sent), self.acked + count)
        stored = self.feed.acknowledge(up_to)
        if stored:
            assert self.feed.cursor(stored) >= self.cursor
            self.cursor = self.feed.cursor(stored)
        self.acked = up_to

    async def settle(self) -> None:
        """Acknowledge and read until nothing more comes."""
        for _ in range(1000):
            self.keep_draining()
            await asyncio.sleep(0)
            self.inbox.release()
            await asyncio.sleep(0)
            self.acknowledge(1000)
            if not self.feed.is_stalled and self._draining is None and self.acked == len(self.sent):
                return
        raise AssertionError("it never settles")


STEPS = st.lists(
    st.sampled_from(["commit", "own", "drain", "release", "turn", "ack1", "ack3"]), min_size=1, max_size=150
)


@given(STEPS, st.integers(1, 8))
def test_whatever_happens_when_all_is_sent_once_in_order(steps: list[str], window: int) -> None:
    async def run() -> None:
        bench = Bench(window)
        for step in steps:
            match step:
                case "commit":
                    bench.commit()
                case "own":
                    bench.commit(OWN)
                case "drain":
                    bench.keep_draining()
                case "release":
                    bench.inbox.release()
                case "turn":
                    await asyncio.sleep(0)
                case "ack1":
                    bench.acknowledge(1)
                case "ack3":
                    bench.acknowledge(3)
            assert len(bench.sent) - bench.acked <= window
        await bench.settle()
        assert bench.sent == [one.entry_id for one in bench.inbox.entries if one.sender_device != OWN]
        assert bench.drained == 1
        if bench.sent:
            assert bench.cursor >= bench.sent[-1]

    asyncio.run(run())


async def test_more_than_can_be_held_is_read_instead() -> None:
    bench = Bench(window=10_000)
    bench.feed._limits = Limits(window_entries=10_000, window_bytes=1 << 30)
    bench.keep_draining()
    await asyncio.sleep(0)
    for _ in range(HELD_MAX + 50):
        bench.commit()
    bench.inbox.release()
    await asyncio.sleep(0)
    assert bench.feed.is_stalled
    await bench.settle()
    assert bench.sent == list(range(1, HELD_MAX + 51))


async def test_a_device_that_lost_its_past_gets_its_own_messages_too() -> None:
    bench = Bench(keeps=True)
    bench.inbox.entries = [entry(1, OWN), entry(2)]
    await bench.settle()
    assert bench.sent == [1, 2]
    bench._last = 2
    bench.commit(OWN)
    assert bench.sent == [1, 2]


def test_a_window_counts_envelopes_and_holds_nothing_while_it_is_full() -> None:
    bench = Bench(window=100)
    one = entry(1, envelopes={OTHER: b"x" * 20_000})
    bench.feed._live = True
    bench.feed.offer(one)
    assert bench.sent == [1]
    assert not bench.feed.has_room
    for number in range(2, 50):
        bench.feed.offer(entry(number))
    assert bench.sent == [1]
    assert bench.feed._held is None


async def test_what_was_passed_over_moves_the_cursor_of_who_only_writes() -> None:
    bench = Bench()
    bench.inbox.entries = [entry(1, OWN), entry(2, OWN)]
    await bench.settle()
    assert bench.sent == []
    assert bench.feed.passed_over(EntryId(0), first=True) == 2
