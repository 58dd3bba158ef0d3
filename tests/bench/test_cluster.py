"""What `bench direct --cluster` reckons, and how it watches Redis and Cassandra; not the figures."""

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from redis.servers import program
from tidings.bench.backing import RedisProcess
from tidings.bench.cluster import ClusterOptions, Work, _idle, _result, _spent
from tidings.bench.node_storm import NodeStormOptions, node_storm
from tidings.bench.progress import Progress
from tidings.bench.scheduling import scheduled_in_batches
from tidings.bench.spread import listener
from tidings.cli.failure import Failure
from tidings.cli.main import application


def work(nodes_s: float, calls: int, rows: float, cassandra_s: float | None = 0.0) -> Work:
    return Work(
        nodes_s,
        nodes_s / 10,
        cassandra_s,
        {"publish": calls, "hgetall": 2 * calls, "info": 9},
        {
            "rows": {"inbox": rows, "heads": 1.0},
            "statements": {},
            "reads": {},
            "write_requests": {"": rows / 2},
        },
    )


def test_what_a_message_took_is_what_was_added() -> None:
    found = _spent(work(1.0, 10, 100), work(1.5, 20, 1100, 2.0), 1000)
    assert found["node_cpu_us_per_message"] == 500
    assert found["redis_cpu_us_per_message"] == 50
    assert found["cassandra_cpu_us_per_message"] == 2000
    assert found["publications_per_message"] == 0.01
    assert found["look_ups_per_message"] == 0.02
    assert found["rows_per_message"] == {"inbox": 1.0}  # nothing was written to the other
    assert found["requests_per_message"] == 0.5


def test_what_went_by_itself_is_left_out() -> None:
    idle = _idle(work(0.0, 0, 0), work(0.1, 5, 50, 1.0), 2.0)
    found = _spent(work(1.0, 10, 100), work(1.5, 30, 1200, 4.0), 1000, idle)
    assert found["node_cpu_us_per_message"] == 300
    assert found["cassandra_cpu_us_per_message"] == 2000
    assert found["publications_per_message"] == 0.01
    assert found["rows_per_message"] == {"inbox": 1.0}


def test_a_cassandra_elsewhere_has_no_figure() -> None:
    assert "cassandra_cpu_us_per_message" not in _spent(work(0, 0, 0, None), work(1, 1, 1, None), 1)


def test_medians_and_growth_are_told_with_what_must_hold() -> None:
    def rounds(*cpu_us: float) -> list[dict[str, Any]]:
        return [{"node_cpu_us_per_message": one, "one_by_one": {"p50_ms": one / 10}} for one in cpu_us]

    result: Any = _result(ClusterOptions(), {1: rounds(100, 90, 300), 4: rounds(130, 500, 120)})
    assert [one["node_cpu_us_per_message"] for one in result["by_nodes"]] == [100, 130]
    assert result["by_nodes"][0]["one_by_one"]["p50_ms"] == 10
    assert result["by_nodes"][1]["node_cpu_us_per_message_of_rounds"] == [130, 500, 120]
    assert result["node_cpu_growth"] == 1.3
    assert result["missed"] == ["node_cpu_growth"]
    assert "crossing" not in result
    alone: Any = _result(ClusterOptions(), {2: rounds(251)})
    assert "node_cpu_growth" not in alone
    assert alone["missed"] == ["node_cpu_us_per_message"]


def test_what_crossing_costs_is_told_of_the_most_nodes() -> None:
    def rounds(*cpu_us: tuple[float, float]) -> list[dict[str, Any]]:
        return [
            {"node_cpu_us_per_message": one, "at_home": {"node_cpu_us_per_message": other}}
            for one, other in cpu_us
        ]

    alone = [{"node_cpu_us_per_message": 100}]
    result: Any = _result(
        ClusterOptions(), {1: alone, 2: rounds((190, 100)), 4: rounds((210, 200), (190, 150), (230, 300))}
    )
    assert result["crossing"] == 1.05
    assert "at_home" not in result["by_nodes"][0]
    assert [one["at_home"]["node_cpu_us_per_message"] for one in result["by_nodes"][1:]] == [100, 200]


@pytest.mark.skipif(sys.platform != "linux", reason="SCHED_BATCH is Linux'")
def test_what_is_measured_is_scheduled_in_batches_for_as_long() -> None:
    before = os.sched_getscheduler(0)
    with scheduled_in_batches():
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before


def test_the_process_that_listens_is_found() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert listener(port) is None
        sock.listen()
        assert listener(port) == os.getpid()
    assert listener(port) is None


@pytest.mark.cluster
async def test_redis_tells_what_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDINGS_REDIS", program())
    redis = RedisProcess(tmp_path)
    await redis.start()
    try:
        before = await redis.calls()
        _, writer = await asyncio.open_connection("127.0.0.1", redis.port)
        writer.write(b"PUBLISH a b\r\nPUBLISH a c\r\nQUIT\r\n")
        await writer.drain()
        async with asyncio.timeout(10):
            while (after := await redis.calls()).get("publish", 0) < 2:
                await asyncio.sleep(0)
        writer.close()
        assert after["publish"] - before.get("publish", 0) == 2
        assert redis.cpu_s >= 0
    finally:
        await redis.stop()


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.skipif("TIDINGS_CASSANDRA" not in os.environ, reason="TIDINGS_CASSANDRA names none")
async def test_whose_node_is_killed_are_back_on_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDINGS_REDIS", program())
    options = NodeStormOptions(clients=30, bystanders=3, calm_s=0.5, after_s=0.3)
    result: dict[str, Any] = await node_storm(tmp_path, options, Progress("storm"))
    assert result["back"]
    assert result["cut_off"] == sum(result["back_in_each_second"]) == 30
    assert result["tries"] >= 60  # the first try of each went to the one that is gone
    assert len(result["nodes_left_cpu_s"]) == 2
    assert result["bystanders"]["meanwhile"]["worst_ms"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["direct", "--nodes", "2"], "--nodes and --rounds are of a cluster"),
        (["direct", "--cluster", "--workers", "2"], "--cluster goes with neither"),
        (["direct", "--cluster", "--encrypted"], "--cluster goes with neither"),
        (["storm", "--nodes", "2"], "--nodes is of a cluster"),
        (["storm", "--cluster", "--workers", "2"], "--cluster does not go with --workers"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(Failure, match=says):
        application("bench")(["bench", *words], standalone_mode=False)
