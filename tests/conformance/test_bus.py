"""What every backend of the bus promises: see `tidings.bus.contract`."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.buses import BACKENDS, Broker
from tidings.bus.contract import PUBLICATION_BYTES, TOPIC_CHARS, WAITING_BYTES, Bus, BusUnavailable

PATIENCE_S = 10.0
TOPIC = "node:7"
UNUSED = itertools.count()


class Ear:
    """A receiver that keeps what it is given."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._news = asyncio.Event()

    def __call__(self, data: bytes) -> None:
        self.heard.append(data)
        self._news.set()

    async def until(self, data: bytes) -> list[bytes]:
        """Wait until this was heard; all that was heard so far."""
        async with asyncio.timeout(PATIENCE_S):
            while data not in self.heard:
                self._news.clear()
                await self._news.wait()
        return self.heard


@pytest.fixture(params=BACKENDS)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Broker]:
    """What is opened with it is closed when the test is over."""
    opened: list[Bus] = []
    async with BACKENDS[request.param](tmp_path) as broker:

        async def join() -> Bus:
            opened.append(await broker.join())
            return opened[-1]

        yield broker._replace(join=join)
        for bus in opened:
            await bus.close()


@pytest.fixture
async def here(broker: Broker) -> Bus:
    return await broker.join()


@pytest.fixture
async def there(broker: Broker) -> Bus:
    return await broker.join()


async def listen(bus: Bus, topic: str = TOPIC) -> Ear:
    ear = Ear()
    await bus.subscribe(topic, ear)
    return ear


async def quiet(*buses: Bus) -> None:
    """Wait until all that these have published so far has arrived wherever it will."""
    topic = f"quiet:{next(UNUSED)}"
    ears = [await listen(bus, topic) for bus in buses]
    for number, bus in enumerate(buses):
        bus.publish(topic, b"%d" % number)
    for ear in ears:
        for number in range(len(buses)):
            await ear.until(b"%d" % number)
    for bus in buses:
        await bus.unsubscribe(topic)


# --- delivery -------------------------------------------------------------------------------


async def test_what_is_published_arrives_once_with_all_that_are_subscribed(broker: Broker) -> None:
    buses = [await broker.join() for _ in range(3)]
    ears = [await listen(bus) for bus in buses]
    for number, bus in enumerate(buses):
        bus.publish(TOPIC, b"from %d" % number)
    await quiet(*buses)
    for ear in ears:
        assert sorted(ear.heard) == [b"from 0", b"from 1", b"from 2"]


async def test_it_arrives_nowhere_else(here: Bus, there: Bus) -> None:
    other, longer = await listen(there, "node:8"), await listen(there, "node:77")
    here.publish(TOPIC, b"for nobody")
    await quiet(here, there)
    assert (other.heard, longer.heard) == ([], [])


async def test_who_publishes_may_be_subscribed_too(here: Bus) -> None:
    ear = await listen(here)
    here.publish(TOPIC, b"to myself")
    assert await ear.until(b"to myself") == [b"to myself"]


async def test_nothing_is_kept_for_who_comes_later(here: Bus, there: Bus) -> None:
    here.publish(TOPIC, b"too early")
    await quiet(here, there)
    ear = await listen(there)
    here.publish(TOPIC, b"in time")
    assert await ear.until(b"in time") == [b"in time"]


async def test_a_subscription_is_confirmed_when_it_returns(here: Bus, there: Bus) -> None:
    for number in range(20):
        ear = await listen(there, f"channel:{number}")
        here.publish(f"channel:{number}", b"at once")
        await ear.until(b"at once")


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)), b"x" * PUBLICATION_BYTES], ids=len)
async def test_any_bytes_of_any_size_that_is_allowed(here: Bus, there: Bus, data: bytes) -> None:
    ear = await listen(there)
    here.publish(TOPIC, data)
    assert await ear.until(data) == [data]


async def test_the_longest_topic(here: Bus, there: Bus) -> None:
    topics = ["t" * TOPIC_CHARS, "t" * (TOPIC_CHARS - 1) + "u", " *?{}[]", ""]
    ears = [await listen(there, topic) for topic in topics]
    for topic in topics:
        here.publish(topic, topic.encode())
    for ear, topic in zip(ears, topics, strict=True):
        assert await ear.until(topic.encode()) == [topic.encode()]


@pytest.mark.parametrize(
    ("topic", "data"),
    [("t" * (TOPIC_CHARS + 1), b""), ("ä", b""), (TOPIC, b"x" * (PUBLICATION_BYTES + 1))],
    ids=["a long topic", "no ASCII", "too much"],
)
async def test_what_is_too_large_is_our_bug(here: Bus, there: Bus, topic: str, data: bytes) -> None:
    ear = await listen(there)
    with pytest.raises(AssertionError):
        here.publish(topic, data)
    here.publish(TOPIC, b"the next one")
    assert await ear.until(b"the next one") == [b"the next one"]


# --- order ----------------------------------------------------------------------------------


async def test_publications_of_one_publisher_to_a_topic_keep_their_order(here: Bus, there: Bus) -> None:
    ear = await listen(there)
    sent = [b"%d" % number for number in range(500)]
    for number, data in enumerate(sent):
        here.publish(TOPIC, data)
        if number % 7 == 0:
            await asyncio.sleep(0)
    assert await ear.until(sent[-1]) == sent


async def test_large_and_small_ones_keep_their_order(here: Bus, there: Bus) -> None:
    ear = await listen(there)
    sizes = (1, 300_000, 0, PUBLICATION_BYTES, 5, 70_000, 2)
    sent = [b"%d" % number + b"x" * max(0, size - 1) for number, size in enumerate(sizes)]
    for data in sent:
        here.publish(TOPIC, data)
    assert await ear.until(sent[-1]) == sent


async def test_what_one_turn_publishes_goes_out_together(here: Bus, there: Bus) -> None:
    turn = 0
    arrived: list[int] = []

    async def count() -> None:
        nonlocal turn
        while True:
            await asyncio.sleep(0)
            turn += 1

    counting = asyncio.ensure_future(count())
    ear = await listen(there, "channel:1")
    await there.subscribe(TOPIC, lambda _: arrived.append(turn))
    for _ in range(50):
        here.publish(TOPIC, b"of this turn")
    here.publish("channel:1", b"the last")
    await ear.until(b"the last")
    counting.cancel()
    assert len(arrived) == 50
    assert len(set(arrived)) == 1


@pytest.mark.slow
async def test_too_much_at_once_is_lost_in_part_and_what_comes_after_is_not(here: Bus, there: Bus) -> None:
    ear = await listen(there)
    most = WAITING_BYTES // PUBLICATION_BYTES
    for number in range(most + 8):
        here.publish(TOPIC, b"%04d" % number + bytes(PUBLICATION_BYTES - 4))
    async with asyncio.timeout(PATIENCE_S):
        while b"the next one" not in ear.heard:
            await asyncio.sleep(0)
            here.publish(TOPIC, b"the next one")
    numbers = [int(data[:4]) for data in ear.heard if data != b"the next one"]
    assert numbers == sorted(set(numbers))
    assert len(numbers) <= most


# --- subscriptions --------------------------------------------------------------------------


async def test_nothing_comes_once_unsubscribed(here: Bus, there: Bus) -> None:
    ear = await listen(there)
    here.publish(TOPIC, b"before")
    await ear.until(b"before")
    here.publish(TOPIC, b"on its way, perhaps")
    await there.unsubscribe(TOPIC)
    heard = list(ear.heard)
    here.publish(TOPIC, b"after")
    await quiet(here, there)
    assert ear.heard == heard


async def test_others_stay_subscribed(broker: Broker, here: Bus, there: Bus) -> None:
    ear, other = await listen(there), await listen(await broker.join())
    await there.unsubscribe(TOPIC)
    here.publish(TOPIC, b"to who stays")
    await other.until(b"to who stays")
    await quiet(here, there)
    assert ear.heard == []


async def test_unsubscribing_from_what_one_never_took_does_nothing(here: Bus, there: Bus) -> None:
    ear = await listen(there)
    await here.unsubscribe(TOPIC)
    await there.unsubscribe("node:8")
    here.publish(TOPIC, b"still heard")
    await ear.until(b"still heard")
    await there.unsubscribe(TOPIC)
    await there.unsubscribe(TOPIC)


async def test_a_second_subscription_takes_the_place_of_the_first(here: Bus, there: Bus) -> None:
    first = await listen(there)
    here.publish(TOPIC, b"one")
    await first.until(b"one")
    second = await listen(there)
    here.publish(TOPIC, b"two")
    assert await second.until(b"two") == [b"two"]
    assert first.heard == [b"one"]
    await there.unsubscribe(TOPIC)
    here.publish(TOPIC, b"three")
    await quiet(here, there)
    assert (first.heard, second.heard) == ([b"one"], [b"two"])


async def test_the_same_receiver_twice_hears_once(here: Bus, there: Bus) -> None:
    ear = await listen(there)
    await there.subscribe(TOPIC, ear)
    here.publish(TOPIC, b"once")
    await quiet(here, there)
    assert ear.heard == [b"once"]


async def test_subscribing_again_after_having_left(here: Bus, there: Bus) -> None:
    await listen(there)
    await there.unsubscribe(TOPIC)
    ear = await listen(there)
    here.publish(TOPIC, b"again")
    assert await ear.until(b"again") == [b"again"]


async def test_a_receiver_of_several_topics(here: Bus, there: Bus) -> None:
    ear = Ear()
    for topic in ("node:1", "node:2"):
        await there.subscribe(topic, ear)
    here.publish("node:1", b"one")
    here.publish("node:2", b"two")
    await ear.until(b"one")
    await ear.until(b"two")
    await there.unsubscribe("node:1")
    here.publish("node:1", b"no more")
    here.publish("node:2", b"three")
    await ear.until(b"three")
    await quiet(here, there)
    assert sorted(ear.heard) == [b"one", b"three", b"two"]


async def test_a_receiver_may_publish(here: Bus, there: Bus) -> None:
    echo = await listen(here, "back")
    await there.subscribe(TOPIC, lambda data: there.publish("back", data + b"!"))
    for number in range(3):
        here.publish(TOPIC, b"%d" % number)
    assert await echo.until(b"2!") == [b"0!", b"1!", b"2!"]


async def test_many_subscribe_at_once(here: Bus, there: Bus) -> None:
    ears = [Ear() for _ in range(200)]
    await asyncio.gather(*(there.subscribe(f"channel:{number}", ear) for number, ear in enumerate(ears)))
    for number in range(200):
        here.publish(f"channel:{number}", b"%d" % number)
    for number, ear in enumerate(ears):
        assert await ear.until(b"%d" % number) == [b"%d" % number]


@dataclass
class Said:
    """A publication, and between which operations it was on its way."""

    data: bytes
    topic: str
    at: int
    arrived: int = 0


@dataclass
class Subscription:
    """An end's subscription to a topic, and between which operations it held."""

    topic: str
    since: int
    ear: Ear = field(default_factory=Ear)
    until: int = 0
    at_its_end: list[bytes] = field(default_factory=list)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "publish", "subscribe", "unsubscribe", "quiet", "turn"]),
        st.integers(0, 2),
        st.integers(0, 1),
    ),
    max_size=40,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
async def test_whatever_is_done_who_is_subscribed_hears_it_and_nobody_else(
    here: Bus, there: Bus, broker: Broker, operations: list[tuple[str, int, int]]
) -> None:
    example = next(UNUSED)
    buses = [here, there, await broker.join()]
    topics = [f"{example}:{number}" for number in range(2)]
    said: list[Said] = []
    ended: list[Subscription] = []
    held: dict[tuple[int, str], Subscription] = {}

    async def arrive(now: int) -> None:
        await quiet(*buses)
        for one in said:
            one.arrived = one.arrived or now

    def end(bus: int, topic: str, now: int) -> None:
        subscription = held.pop((bus, topic), None)
        if subscription is not None:
            subscription.until = now
            subscription.at_its_end = list(subscription.ear.heard)
            ended.append(subscription)

    for now, (kind, bus, number) in enumerate([*operations, ("quiet", 0, 0)], start=1):
        topic = topics[number]
        if kind == "publish":
            said.append(Said(b"%d:%d" % (bus, now), topic, now))
            buses[bus].publish(topic, said[-1].data)
        elif kind == "subscribe":
            subscription = Subscription(topic, now)
            await buses[bus].subscribe(topic, subscription.ear)
            end(bus, topic, now)
            held[bus, topic] = subscription
        elif kind == "unsubscribe":
            await buses[bus].unsubscribe(topic)
            end(bus, topic, now)
        elif kind == "quiet":
            await arrive(now)
        else:
            await asyncio.sleep(0)
    for one in list(held):
        end(*one, len(operations) + 2)
    for subscription in ended:
        check(subscription, [one for one in said if one.topic == subscription.topic])
    for joined, topic in itertools.product(buses, topics):
        await joined.unsubscribe(topic)


def check(subscription: Subscription, said: list[Said]) -> None:
    """It heard what it must, nothing that it cannot have heard, and all in order."""
    since, until, heard = subscription.since, subscription.until, subscription.ear.heard
    assert heard == subscription.at_its_end
    assert {one.data for one in said if since < one.at and one.arrived < until} <= set(heard)
    assert set(heard) <= {one.data for one in said if since < one.arrived and one.at < until}
    for publisher in (b"0", b"1", b"2"):
        numbers = [int(data[2:]) for data in heard if data[:1] == publisher]
        assert numbers == sorted(set(numbers))


async def test_subscriptions_hold_over_lost_connections_and_what_was_lost_is_told(
    broker: Broker, here: Bus, there: Bus
) -> None:
    ear = await listen(there)
    gone = await listen(there, "node:8")
    await there.unsubscribe("node:8")
    losses: list[None] = []
    for _ in range(2):
        there.on_loss(lambda: losses.append(None))
    for round_ in (b"a", b"b"):
        losses.clear()
        await broker.interrupt()
        count = 0
        async with asyncio.timeout(PATIENCE_S):
            while not ear.heard or ear.heard[-1][:1] != round_:
                here.publish(TOPIC, round_ + b"%d" % count)
                here.publish("node:8", b"to nobody")
                count += 1
                await asyncio.sleep(0)
        await quiet(here, there)
        numbers = [int(data[1:]) for data in ear.heard if data[:1] == round_]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == count or len(losses) >= 2
    assert gone.heard == []


# --- closing --------------------------------------------------------------------------------


async def test_close_hands_over_what_waits(here: Bus, there: Bus) -> None:
    ear = await listen(there)
    for number in range(100):
        here.publish(TOPIC, b"%d" % number)
    await here.close()
    assert await ear.until(b"99") == [b"%d" % number for number in range(100)]


async def test_a_closed_bus_takes_nothing_and_never_raises(here: Bus, there: Bus) -> None:
    ear = await listen(here)
    other = await listen(there)
    await here.close()
    there.publish(TOPIC, b"to the living")
    here.publish(TOPIC, b"from the dead")
    await quiet(there)
    assert (ear.heard, other.heard) == ([], [b"to the living"])
    await here.unsubscribe(TOPIC)
    await here.unsubscribe("node:8")
    await here.close()


async def test_a_closed_bus_is_unavailable_and_the_others_are_not(here: Bus, there: Bus) -> None:
    await here.close()
    with pytest.raises(BusUnavailable):
        await here.subscribe(TOPIC, Ear())
    ear = await listen(there)
    there.publish(TOPIC, b"still here")
    await ear.until(b"still here")


async def test_a_bus_that_lost_nothing_says_nothing(here: Bus, there: Bus) -> None:
    losses: list[None] = []
    for bus in (here, there):
        bus.on_loss(lambda: losses.append(None))
    ear = await listen(there)
    here.publish(TOPIC, b"as usual")
    await ear.until(b"as usual")
    await here.close()
    await quiet(there)
    assert losses == []
