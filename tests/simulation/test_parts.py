"""Store, bus and directory of the simulation: they break what the contracts allow, and nothing else."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from conformance.stores import VERSIONS, VersionRow
from tidings.directory.contract import DirectoryUnavailable, Place
from tidings.protocol.ids import DeviceId, UserId
from tidings.store.contract import OutcomeUnknown, Put, StoreUnavailable
from tidings.store.memory import Tables
from tidings.store.schema import HANDLES, PROFILES, HandleRow, ProfileRow
from tidings.testing.simulation.bus import Broker, NodeBus
from tidings.testing.simulation.directory import NodeDirectory, Registry
from tidings.testing.simulation.loop import Loop
from tidings.testing.simulation.machines import Machine, Process
from tidings.testing.simulation.store import NodeStore, Planned, StoreFault
from tidings.testing.simulation.tally import Tally

SEEDS = range(20)


class Rig:
    """A node's parts without a node."""

    def __init__(self, seed: int = 1) -> None:
        self.loop = Loop()
        self.tables = Tables()
        self.tally = Tally()
        self.broker = Broker()
        self.registry = Registry(self.loop)
        self.process = Process("p", Machine("m"), self.loop)
        self.random = Random(seed)
        self.store = self.new_store()

    def new_store(self) -> NodeStore:
        return NodeStore(self.loop, self.tables, self.random, self.tally)

    def new_bus(self) -> NodeBus:
        return NodeBus(self.loop, self.broker, self.process, self.random, self.tally)

    def new_directory(self) -> NodeDirectory:
        return NodeDirectory(self.loop, self.registry, self.process, self.random, self.tally)

    def plan(self, fault: StoreFault) -> None:
        self.store.plan(Planned(fault, 1e9, lambda _: None))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)


def profiles(count: int, about: str = "") -> list[Put]:
    """Rows of as many partitions."""
    return [Put(PROFILES, ProfileRow(UserId(user), about=about), 1) for user in range(count)]


async def written(store: NodeStore, count: int) -> int:
    """How many of them are there."""
    rows = await store.get_many(PROFILES, [(user,) for user in range(count)])
    return sum(row is not None for row in rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_batches_are_applied_in_the_order_of_the_calls(seed: int) -> None:
    rig = Rig(seed)

    async def work() -> None:
        await asyncio.gather(*(rig.store.write(profiles(5, str(turn))) for turn in range(5)))
        for user in range(5):
            row = await rig.store.get(PROFILES, (user,))
            assert row is not None
            assert row.about == "4"

    rig.run(work())


def test_a_batch_is_seen_in_part_before_it_is_durable() -> None:
    rig = Rig()
    seen: set[int] = set()

    async def work() -> None:
        writing = asyncio.ensure_future(rig.store.write(profiles(6)))
        while not writing.done():
            seen.add(await written(rig.store, 6))
            await asyncio.sleep(0.0001)

    for _ in SEEDS:
        rig.tables.partitions.clear()
        rig.run(work())
    assert seen & {1, 2, 3, 4, 5}


def test_a_node_that_is_killed_leaves_a_part() -> None:
    left: set[int] = set()
    for seed in SEEDS:
        rig = Rig(seed)

        async def work(rig: Rig = rig) -> None:
            writing = asyncio.ensure_future(rig.store.write(profiles(6)))
            await asyncio.sleep(0.001)
            rig.store.died()
            await asyncio.sleep(1.0)
            writing.cancel()
            left.add(await written(rig.new_store(), 6))

        rig.run(work())
    assert left & {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("fault", "at_once", "in_an_hour"),
    [(StoreFault.LOST_WRITE, {0}, {0}), (StoreFault.DONE_WRITE, {6}, {6})],
)
def test_a_write_that_times_out(fault: StoreFault, at_once: set[int], in_an_hour: set[int]) -> None:
    rig = Rig()
    rig.plan(fault)

    async def work() -> None:
        with pytest.raises(StoreUnavailable):
            await rig.store.write(profiles(6))
        assert await written(rig.store, 6) in at_once
        await asyncio.sleep(3700.0)
        assert await written(rig.store, 6) in in_an_hour

    rig.run(work())


def test_what_a_write_that_timed_out_lacks_appears_within_the_hour() -> None:
    later = 0
    for seed in SEEDS:
        rig = Rig(seed)
        rig.plan(StoreFault.LATE_WRITE)

        async def work(rig: Rig = rig) -> int:
            with pytest.raises(StoreUnavailable):
                await rig.store.write(profiles(6))
            before = await written(rig.store, 6)
            await asyncio.sleep(3700.0)
            return await written(rig.store, 6) - before

        later += rig.run(work())
    assert later > 20


def test_a_read_settles_a_compare_and_set_that_answered_unknown() -> None:
    for fault, is_there in ((StoreFault.DONE_UNKNOWN, True), (StoreFault.LOST_UNKNOWN, False)):
        rig = Rig()
        rig.plan(fault)
        row = HandleRow("alice", UserId(1), b"r")

        async def work(rig: Rig = rig, row: HandleRow = row, is_there: bool = is_there) -> None:
            with pytest.raises(OutcomeUnknown):
                await rig.store.compare_and_set(HANDLES, None, row)
            assert (await rig.store.get(HANDLES, ("alice",)) == row) is is_there

        rig.run(work())


VERSIONS_SET = [VersionRow("alice", number, 1) for number in range(3)]


async def versions_set(store: NodeStore) -> int:
    """How many of them are there."""
    return len(await store.range(VERSIONS, ("alice",), limit=9))


def test_of_rows_that_are_set_together_a_node_that_is_killed_leaves_all_or_none() -> None:
    left: set[int] = set()
    for seed in SEEDS:
        rig = Rig(seed)

        async def work(rig: Rig = rig) -> None:
            first, *also = VERSIONS_SET
            setting = asyncio.ensure_future(rig.store.compare_and_set(VERSIONS, None, first, also))
            await asyncio.sleep(0.01)
            rig.store.died()
            setting.cancel()
            left.add(await versions_set(rig.new_store()))
            await asyncio.sleep(3700.0)
            left.add(await versions_set(rig.new_store()))

        rig.run(work())
    assert left == {0, 3}


def test_rows_that_are_set_together_share_an_unknown_outcome() -> None:
    for fault, count in ((StoreFault.DONE_UNKNOWN, 3), (StoreFault.LOST_UNKNOWN, 0)):
        rig = Rig()
        rig.plan(fault)

        async def work(rig: Rig = rig, count: int = count) -> None:
            first, *also = VERSIONS_SET
            with pytest.raises(OutcomeUnknown):
                await rig.store.compare_and_set(VERSIONS, None, first, also)
            assert await versions_set(rig.store) == count

        rig.run(work())


def test_publications_to_a_topic_arrive_in_order() -> None:
    rig = Rig()
    here, there = rig.new_bus(), rig.new_bus()
    heard: list[bytes] = []

    async def work() -> None:
        await there.subscribe("t", heard.append)
        here.delay(3, 1e9)
        for number in range(10):
            here.publish("t", b"%d" % number)
        await asyncio.sleep(60.0)

    rig.run(work())
    assert heard == [b"%d" % number for number in range(10)]


def test_what_is_published_while_a_connection_is_out_is_lost_and_that_is_told() -> None:
    rig = Rig()
    here, there = rig.new_bus(), rig.new_bus()
    heard: list[bytes] = []
    lost: list[float] = []
    there.on_loss(lambda: lost.append(rig.loop.now_s))

    async def work() -> None:
        await there.subscribe("t", heard.append)
        there.go_out(5.0)
        here.publish("t", b"lost")
        await asyncio.sleep(6.0)
        here.publish("t", b"heard")
        here.lose(1, 1e9)
        here.publish("t", b"lost too")
        await asyncio.sleep(1.0)

    rig.run(work())
    assert heard == [b"heard"]
    assert lost == [5.0]


def test_a_directory_that_is_away_may_have_done_what_it_was_asked() -> None:
    done = 0
    for seed in SEEDS:
        rig = Rig(seed)
        directory = rig.new_directory()
        place = Place(UserId(1), DeviceId(2), 3, 4)

        async def work(rig: Rig = rig, directory: NodeDirectory = directory, place: Place = place) -> int:
            directory.go_away(1.0)
            with pytest.raises(DirectoryUnavailable):
                await directory.enter([place])
            await asyncio.sleep(1.0)
            return len((await directory.look_up([UserId(1)]))[0])

        done += rig.run(work())
    assert 0 < done < len(SEEDS)
