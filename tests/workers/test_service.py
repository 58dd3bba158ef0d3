"""Processes that are started, die, fall silent, are replaced and stopped: with stubs for hub and workers."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tidings.server.config import ConfigError
from tidings.server.workers import service as service_module
from tidings.server.workers.failures import NotStarted
from tidings.store.contract import StoreDamaged, StoreFull
from workers.rig import Rig, child, is_alive, started, stop, until

pytestmark = pytest.mark.slow


async def test_all_serve_one_port_and_all_are_gone_in_the_end(tmp_path: Path) -> None:
    async with started(tmp_path) as rig:
        names = {await rig.served() for _ in range(40)}
        assert names == {"worker1", "worker2"}
        assert child(rig.service.hub).is_ready
    assert [one["event"] for one in rig.events] == []
    with pytest.raises(ConnectionRefusedError):
        await rig.served()


async def test_a_worker_that_dies_is_followed_and_nobody_is_turned_away(tmp_path: Path) -> None:
    async with started(tmp_path) as rig:
        slot = rig.service.workers[0]
        before, other, hub = child(slot), child(rig.service.workers[1]), child(rig.service.hub)
        before.kill()
        # Who knocks at the door of the dead one waits for the next.
        names = await asyncio.gather(*(rig.served() for _ in range(40)))
        assert set(names) == {"worker1", "worker2"}
        assert child(slot) is not before
        assert (child(rig.service.workers[1]), child(rig.service.hub)) == (other, hub)
        assert slot.restarts == 1
        assert rig.said("a process ended; another one follows") == 1


async def test_a_worker_whose_loop_hangs_is_killed_and_followed(tmp_path: Path) -> None:
    async with started(tmp_path) as rig:
        slot = rig.service.workers[1]
        before = child(slot)
        began_s = asyncio.get_running_loop().time()
        os.kill(before.pid, signal.SIGSTOP)
        assert await before.ended() == -signal.SIGKILL
        assert 4.0 <= asyncio.get_running_loop().time() - began_s <= 8.0
        await until(lambda: child(slot) is not before and child(slot).is_ready)
        assert rig.said("silent: killed") == 1


async def test_a_hub_that_dies_is_followed_and_the_workers_stay(tmp_path: Path) -> None:
    async with started(tmp_path) as rig:
        before, workers = child(rig.service.hub), [child(slot) for slot in rig.service.workers]
        before.kill()
        await until(lambda: child(rig.service.hub) is not before and child(rig.service.hub).is_ready)
        assert [child(slot) for slot in rig.service.workers] == workers
        assert not rig.service.over.done()


# --- starts that fail -----------------------------------------------------------------------


async def refused(rig: Rig, kind: type[Exception]) -> str:
    with pytest.raises(kind) as error:
        await asyncio.wait_for(rig.service.start(), 30)
    await stop(rig)
    return str(error.value)


async def test_a_store_that_cannot_be_opened_ends_the_start_in_its_own_words(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.does("hub", fail=["StoreFull", "no room\nhint: make some"])
    assert await refused(rig, StoreFull) == "no room\nhint: make some"
    assert rig.events == []


async def test_what_is_wrong_with_a_worker_ends_the_start_in_its_own_words(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.does("worker2", fail=["ConfigError", "config: `tls_key`: gone"])
    assert await refused(rig, ConfigError) == "config: `tls_key`: gone"
    assert rig.events == []


async def test_a_process_that_dies_before_it_serves_is_tried_a_few_times(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.does("worker1", exit=3)
    assert await refused(rig, NotStarted) == "worker1 does not start: it ended with 3"
    assert rig.service.workers[0].restarts == 3


async def test_an_installation_that_was_replaced_is_no_part_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(tmp_path, workers=1) as rig:
        monkeypatch.setattr(service_module, "__version__", "0.0.1")
        before = child(rig.service.workers[0])
        rig.service.restart_workers()
        await until(lambda: rig.said("a worker was not replaced, nor the next"))
        assert "0.0.1: stop it, start it" in str(rig.events)
        assert child(rig.service.workers[0]) is before


async def test_told_to_stop_while_it_starts_it_stops(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.does("worker1", slow=True)
    starting = asyncio.create_task(rig.service.start())
    await until(rig.service.workers[1].filled.is_set)
    rig.service.finish()
    await asyncio.wait_for(starting, 30)
    await stop(rig)


# --- later ----------------------------------------------------------------------------------


async def test_a_hub_that_cannot_open_its_store_any_more_ends_the_service(tmp_path: Path) -> None:
    async with started(tmp_path) as rig:
        rig.does("hub", fail=["StoreDamaged", "damaged"])
        child(rig.service.hub).kill()
        with pytest.raises(StoreDamaged, match="damaged"):
            await asyncio.wait_for(rig.service.over, 30)


async def test_a_worker_that_does_not_come_back_is_tried_again_and_the_others_have_its_people(
    tmp_path: Path,
) -> None:
    async with started(tmp_path) as rig:
        slot = rig.service.workers[0]
        rig.does("worker1", fail=["StoreFull", "no room"])
        child(slot).kill()
        await until(lambda: slot.restarts >= 3)
        assert {await rig.served() for _ in range(20)} == {"worker2"}
        rig.does("worker1")
        await until(lambda: child(slot).is_ready)
        assert {await rig.served() for _ in range(40)} == {"worker1", "worker2"}
        assert not rig.service.over.done()


async def test_workers_are_replaced_one_after_another_and_somebody_always_serves(tmp_path: Path) -> None:
    async with started(tmp_path) as rig:
        before = [child(slot) for slot in rig.service.workers]
        assert rig.service.restart_workers()
        assert not rig.service.restart_workers(), "once at a time"
        while not rig.said("all workers were replaced"):
            assert await rig.served() in ("worker1", "worker2")
            assert sum(child(slot).is_ready for slot in rig.service.workers) == 2
        after = [child(slot) for slot in rig.service.workers]
        assert not set(before) & set(after)
        assert [one.last is not None for one in before] == [True, True], "they ended in order"
        assert [slot.restarts for slot in rig.service.workers] == [0, 0]
        assert not [one for one in before if is_alive(one.pid)]


async def test_who_comes_in_somebodys_place_is_followed_while_the_old_one_is_still_leaving(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    rig.does("worker1", deaf=True)
    await rig.service.start()
    try:
        slot = rig.service.workers[0]
        leaving = child(slot)
        rig.does("worker1")
        rig.service.restart_workers()
        await until(lambda: leaving.stopping)
        coming = child(slot)
        assert coming is not leaving
        coming.kill()
        await until(lambda: child(slot) is not coming and child(slot).is_ready)
        assert not leaving.has_ended
        leaving.kill()
    finally:
        await stop(rig)


async def test_a_worker_stays_where_the_next_one_does_not_start(tmp_path: Path) -> None:
    async with started(tmp_path) as rig:
        before = [child(slot) for slot in rig.service.workers]
        rig.does("worker1", exit=4)
        rig.service.restart_workers()
        await until(lambda: rig.said("a worker was not replaced, nor the next"))
        assert [child(slot) for slot in rig.service.workers] == before
        assert all(one.is_ready for one in before)


async def test_who_does_not_end_when_told_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "STOP_S", 0.5)
    rig = Rig(tmp_path)
    rig.does("worker1", deaf=True)
    await rig.service.start()
    deaf, other = (child(slot) for slot in rig.service.workers)
    await stop(rig)
    assert (await deaf.ended(), await other.ended()) == (-signal.SIGKILL, 0)


async def test_stopping_while_a_worker_is_replaced_leaves_nobody(tmp_path: Path) -> None:
    async with started(tmp_path) as rig:
        rig.service.restart_workers()
        await until(lambda: len(rig.service.workers[0].children) == 2)
        pids = [one.pid for one in rig.service.children()]
    assert not [pid for pid in pids if is_alive(pid)]
