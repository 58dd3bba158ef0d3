"""Each benchmark of a server of several processes, small."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from typer.testing import CliRunner

from tidings.bench.crash import CrashOptions, crash
from tidings.bench.direct import DirectOptions, direct
from tidings.bench.family import family, stat
from tidings.bench.faults import Fault
from tidings.bench.idle import IdleOptions, idle
from tidings.bench.pairs import Spread
from tidings.bench.progress import Progress
from tidings.bench.spread import Address, owners
from tidings.bench.storm import StormOptions, storm
from tidings.cli.bench import app

pytestmark = pytest.mark.slow

PROGRESS = Progress("test")
WORKERS = 2


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


async def test_direct_tells_what_each_kind_of_process_used(tmp_path: Path) -> None:
    options = DirectOptions(
        pairs=4, messages=100, rates=(500,), paced_s=0.2, workers=WORKERS, spread=Spread.APART
    )
    result: dict[str, Any] = await direct(tmp_path, options, PROGRESS)
    assert result["pairs_on_two_workers"] == 4
    assert list(result["rss_bytes_by_process"]) == ["supervisor", "hub", "worker1", "worker2"]
    for part in (result, result["paced"][0]):
        assert part["hub_cpu_us_per_message"] > 0
        assert part["workers_cpu_us_per_message"] > 0
        assert part["server_cpu_us_per_message"] >= part["workers_cpu_us_per_message"]


@pytest.mark.parametrize(("fault", "workers"), [(Fault.KILLED, 1), (Fault.HUB_KILLED, WORKERS)])
async def test_a_crash_is_survived(tmp_path: Path, fault: Fault, workers: int) -> None:
    options = CrashOptions(fault, 1, workers, people=6, conversations=2, moments_s=(0.1, 0.3))
    result: dict[str, Any] = await crash(tmp_path, options, PROGRESS)
    assert result["unclean_rounds"] == 0
    assert (result["lost"], result["duplicates"], result["out_of_order"], result["disagreeing"]) == (0,) * 4
    assert result["acked"] > 12
    assert result["back_worst_s"] > 0
    assert result["connections_broken"] == (6 if fault is Fault.KILLED else 0)


async def test_idle_counts_all_processes(tmp_path: Path) -> None:
    options = IdleOptions(connections=160, hold_s=0.1, workers=WORKERS, settle_s=0.1)
    result: dict[str, Any] = await idle(tmp_path, options, PROGRESS)
    assert result["connections"] == result["alive"] == 60
    assert set(result["rss_bytes_grown_by_process"]) == {"supervisor", "hub", "worker1", "worker2"}


async def test_a_storm_passes(tmp_path: Path) -> None:
    options = StormOptions(WORKERS, clients=20, bystanders=3, calm_s=0.3, after_s=0.3)
    result: dict[str, Any] = await storm(tmp_path, options, PROGRESS)
    assert result["back"]
    assert result["cut_off"] == sum(result["back_in_each_second"]) > 0
    assert result["tries"] >= result["cut_off"]
    assert len(result["cpu_s"]["workers_left"]) == WORKERS - 1
    assert result["bystanders"]["meanwhile"]["worst_ms"] > 0


def test_connections_are_found_by_their_addresses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.3", 0)) as client:
            accepted, address = listener.accept()
            with accepted:
                own = stat_of_self()
                assert owners(port, [own]) == {Address(*address): own}
                assert address == client.getsockname()
                assert owners(port, []) == {}


def stat_of_self() -> int:
    """Our process id, from /proc."""
    own = int(Path("/proc/self").readlink().name)
    assert stat(own).own.rss_bytes > 0
    assert family(own).workers == ()
    return own


@pytest.mark.parametrize(
    "command",
    [
        ["crash", "--fault", "hub-killed", "--times", "1"],
        ["direct", "--spread", "apart"],
    ],
)
def test_what_needs_workers_says_so(command: list[str]) -> None:
    result = CliRunner().invoke(app, command)
    assert result.exit_code != 0
    assert "a single process" in str(result.exception)
