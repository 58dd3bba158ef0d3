"""Real servers that are killed and stopped under the feet of people who chat: all is clean in the end."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvloop

from bench.chaos.rig import Chatting, broken, serving, small
from tidings.bench.chaos import enrol, run
from tidings.bench.chaos.book import Kind
from tidings.bench.chaos.run import ChaosOptions, Outcome, chaos
from tidings.bench.faults import Fault, Saboteur
from tidings.bench.process import ServerProcess

pytestmark = pytest.mark.slow


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


async def broken_meanwhile(
    server: ServerProcess, folder: Path, options: ChaosOptions, *faults: Fault
) -> Outcome:
    """A run during which this happens, one after the other; it ends a moment after the last one."""
    stop, chatting = asyncio.Event(), Chatting()

    async def harm() -> None:
        await chatting.until_begun()
        for fault in faults:
            await asyncio.sleep(0.5)  # people have written by then
            await Saboteur(fault, folder, Random(1)).strike(server, lambda: None)
        await asyncio.sleep(1.0)
        stop.set()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(chaos(options, chatting, stop))
        group.create_task(harm())
    return running.result()


async def test_a_lone_server_is_killed(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        options = small(server.url, for_s=60.0, groups=(4, 3))
        outcome = await broken_meanwhile(server, tmp_path, options, Fault.KILLED, Fault.KILLED)
        result: dict[str, Any] = outcome.result
        assert broken(outcome) == set(), outcome.page
        assert result["acknowledged"] > 30
        assert result["connections_broken"] >= 8
        assert result["troubles"]["connection refused"] > 0
        assert result["without_service_s"]["max"] > 0.1
        assert result["nothing_acknowledged"], "a restart takes longer than what is told"


async def test_of_two_workers_one_is_killed_and_one_is_stopped(tmp_path: Path) -> None:
    async with serving(tmp_path, workers=2) as server:
        options = small(server.url, for_s=60.0)
        outcome = await broken_meanwhile(
            server, tmp_path, options, Fault.WORKER_KILLED, Fault.WORKER_STOPPED, Fault.HUB_KILLED
        )
        result: dict[str, Any] = outcome.result
        assert broken(outcome) == set(), outcome.page
        assert result["connections_broken"] > 0
        assert result["received"] > result["acknowledged"] > 30


async def test_who_never_comes_back_is_found_and_the_rest_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "JUDGED_AWAY_S", 1.0)
    monkeypatch.setattr(enrol, "AWAY_S", 1.0)
    async with serving(tmp_path) as server:
        options = small(server.url, people=3, devices=1, groups=(2,), for_s=60.0, settle_s=2.0)
        stop, chatting = asyncio.Event(), Chatting()

        async def harm() -> None:
            await chatting.until_begun()
            await asyncio.sleep(1.0)
            await server.kill()
            await asyncio.sleep(1.0)
            stop.set()

        async with asyncio.TaskGroup() as group:
            running = group.create_task(chaos(options, chatting, stop))
            group.create_task(harm())
    outcome = running.result()
    result: dict[str, Any] = outcome.result
    # What was acknowledged last may have been under way to others: it cannot be known whether it is lost.
    assert broken(outcome) - {Kind.LOST_LIVE, Kind.LOST} == {Kind.NEVER_BACK, Kind.NEVER_ANSWERED}
    who = {one["who"] for one in result["findings"] if one["kind"] == Kind.NEVER_BACK}
    assert who == {"user0/1", "user1/1", "user2/1", "the server"}
    assert result["nothing_acknowledged"][-1]["to_s"] > result["chatted_s"]
    assert result["without_service_s"]["max"] > 2.0
