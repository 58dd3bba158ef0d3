"""The arithmetic of `tidings capacity`: that more is never less, what decides, and what is no load at all."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.bench.capacity import CLUSTER, LONE, WORKERS, Load, Machines, Unreasonable, plan, stored_bytes
from tidings.bench.costs import COSTS, NotMeasured, measured
from tidings.cli.failure import Failure
from tidings.cli.main import application

FAMILY = Load(6, 600)
TOWN = Load(30_000, 1.5e6)
COUNTRY = Load(50e6, 100e9, group_share=0.3, group_size=12)


def of(load: Load, machines: Machines | None = None) -> dict[str, Any]:
    return plan(load, COSTS, machines)


def test_a_family_has_one_process_a_town_one_machine_a_country_a_cluster() -> None:
    assert [of(load)["shape"] for load in (FAMILY, TOWN, COUNTRY)] == [LONE, WORKERS, CLUSTER]


def test_a_messages_way_by_hand() -> None:
    costs = {name: cost._replace(value=0.0) for name, cost in COSTS.items()}
    costs["node_cpu_us_per_message"] = COSTS["node_cpu_us_per_message"]._replace(value=200.0)
    costs["lone_cpu_us_per_message"] = costs["node_cpu_us_per_message"]._replace(value=1e6)
    # 86.4 M messages a day are 1,000 a second, twice that at the peak: 0.4 s of a core each second.
    found = plan(Load(1e6, 86.4e6, peak=2.0, online=0.0), costs)
    assert found["messages_per_s_peak"] == 2000
    assert found["nodes"]["busy_cores"] == pytest.approx(0.4)  # type: ignore[index]
    assert found["nodes"]["number"] == 2  # type: ignore[index]
    found = plan(Load(1e6, 86.4e7, peak=2.0, online=0.0), costs, Machines(core_share=0.5))
    assert found["nodes"]["number"] == 8  # type: ignore[index]
    assert found["nodes"]["bound_by"] == "cores"  # type: ignore[index]


def test_what_is_kept_by_hand() -> None:
    cost = {"row_bytes": 100.0}
    # A day's messages of one user, kept for 10 days: log, inbox, and receipts and sends of a row each.
    assert stored_bytes(Load(1, 2, content_bytes=50, keep_days=10), cost) == 2 * 10 * (150 + 150 + 200 + 100)
    # Past 45, 90 and 30 days only the log grows.
    year, more = (stored_bytes(Load(1, 1, content_bytes=50, keep_days=days), cost) for days in (365, 366))
    assert more - year == pytest.approx(150)


@given(
    users=st.floats(1, 1e10),
    messages=st.floats(0, 1e13),
    share=st.floats(0, 1),
    size=st.floats(2, 10_000),
    more=st.sampled_from(["users", "messages_per_day", "group_share", "group_size", "peak", "content_bytes"]),
    times=st.floats(1, 1000),
)
def test_more_never_takes_less(
    users: float, messages: float, share: float, size: float, more: str, times: float
) -> None:
    load = Load(users, messages, share, size)
    greater = load._replace(**{more: getattr(load, more) * times})
    greater = greater._replace(group_share=min(1.0, greater.group_share))
    before, after = of(load), of(greater)
    shapes = [LONE, WORKERS, CLUSTER]
    assert shapes.index(before["shape"]) <= shapes.index(after["shape"])
    if before["shape"] != CLUSTER:
        return
    for part in ("nodes", "redis", "cassandra"):
        assert after[part]["number"] >= before[part]["number"]
        for figure, value in before[part].items():
            if isinstance(value, float):
                assert math.isfinite(value)
                assert after[part][figure] >= value * (1 - 1e-9)


def test_what_decides_is_told() -> None:
    assert of(COUNTRY, Machines(cassandra_disk_bytes=1e20))["cassandra"]["bound_by"] != "disk"
    assert of(COUNTRY, Machines(cassandra_disk_bytes=1e9))["cassandra"]["bound_by"] == "disk"
    assert of(COUNTRY, Machines(network_bytes_per_s=1e3))["cassandra"]["bound_by"] == "network"
    assert of(COUNTRY, Machines(disk_iops=1e-3))["cassandra"]["bound_by"] == "iops"
    quiet = of(Load(5e6, 1e6))
    assert quiet["nodes"]["bound_by"] == "connections"
    assert quiet["cassandra"] == quiet["cassandra"] | {"number": 3, "bound_by": "the least that there are"}


def test_more_copies_cost_as_much_more() -> None:
    one, three = (of(COUNTRY, Machines(replication=copies))["cassandra"] for copies in (1, 3))
    for figure in ("busy_cores", "disk_bytes", "requests_per_s"):
        assert three[figure] == pytest.approx(3 * one[figure])


def test_the_nearest_limit_breaks_first() -> None:
    found = of(COUNTRY)
    shares = [limit["share"] for limit in found["limits"]]
    assert shares == sorted(shares, reverse=True)
    assert found["breaks_first"] == found["limits"][0]["what"]
    for limit in found["limits"]:
        assert limit["share"] == pytest.approx(limit["used"] / limit["most"])


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (Load(0, 1), "users"),
        (Load(-5, 1), "users"),
        (Load(1, -1), "messages_per_day"),
        (Load(1, math.nan), "messages_per_day"),
        (Load(math.inf, 1), "users"),
        (Load(1, 1, group_share=1.1), "group_share"),
        (Load(1, 1, group_size=1), "group_size"),
        (Load(1, 1, online=-0.1), "online"),
        (Load(1, 1, devices=0), "devices"),
        (Load(1, 1, peak=0.9), "peak"),
        (Load(1, 1, keep_days=-1), "keep_days"),
    ],
)
def test_what_cannot_be_is_refused(load: Load, says: str) -> None:
    with pytest.raises(Unreasonable, match=says):
        of(load)


def cluster_result(**figures: object) -> dict[str, Any]:
    one_by_one: dict[str, object] = {
        "node_cpu_us_per_message": 111,
        "redis_cpu_us_per_message": 22.5,
        "cassandra_cpu_us_per_message": 333,
        "requests_per_message": 2,
        "rows_per_message": {"messages": 1.0, "inbox": 1.5},
        "reads_per_message": {"heads": 2},
    }
    fast = one_by_one | {"node_cpu_us_per_message": 44}
    return {"bench": "cluster", "by_nodes": [fast | {"nodes": 2, "one_by_one": one_by_one | figures}]}


def test_figures_of_benches_take_the_place_of_ours() -> None:
    costs = measured(COSTS, cluster_result(), "mine.json")
    assert costs["node_cpu_us_per_message"].value == 44
    assert costs["node_cpu_us_per_message"].source == "mine.json"
    assert costs["rows_per_message"].value == 2.5
    costs_alone = measured(COSTS, cluster_result(), "mine.json", alone=True)
    assert costs_alone["node_cpu_us_per_message"].value == 111
    assert costs_alone["redis_cpu_us_per_message"].value == 22.5
    assert costs["redis_cpu_us_per_message"] == COSTS["redis_cpu_us_per_message"]
    assert costs["connection_bytes"] == COSTS["connection_bytes"]
    costs = measured(costs, {"bench": "idle", "rss_bytes_per_connection": 9000}, "idle.json")
    assert costs["connection_bytes"].value == 9000
    paced = [{"messages_per_s": 500, "server_cpu_us_per_message": 400.5}]
    assert measured(costs, {"bench": "direct", "paced": paced}, "")["lone_cpu_us_per_message"].value == 400.5


@pytest.mark.parametrize(
    "result",
    [
        [],
        {},
        {"bench": 5},
        {"bench": "storm"},
        {"bench": "cluster"},
        {"bench": "cluster", "by_nodes": [{"nodes": 2}]},
        {"bench": "direct", "paced": []},
        {"bench": "idle"},
        {"bench": "idle", "rss_bytes_per_connection": True},
        cluster_result(reads_per_message={"heads": "much"}),
        cluster_result(reads_per_message={"heads": -1}),
        cluster_result(rows_per_message=3),
    ],
)
def test_what_is_no_result_is_refused(result: object) -> None:
    with pytest.raises(NotMeasured):
        measured(COSTS, result, "file")


def run(*arguments: str) -> None:
    application("capacity")(["capacity", *arguments], standalone_mode=False)


def test_the_command_tells_all_it_reckoned_with(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(cluster_result()))
    words = ["--users", "50e6", "--messages-per-day", "100e9", "--groups", "0.3:12"]
    run(*words, "--measured", str(tmp_path / "mine.json"), "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["load"]["group_size"] == 12
    assert told["costs"]["node_cpu_us_per_message"]["value"] == 44
    assert told["nodes"]["number"] > 100
    run(*words, "--json")
    usual = json.loads(capsys.readouterr().out)
    run(*words, "--alone", "--json")
    assert json.loads(capsys.readouterr().out)["nodes"]["number"] > usual["nodes"]["number"]
    run(*words)
    text = capsys.readouterr().out
    assert "50M people, 100G messages a day (2k of each)" in text
    assert "breaks first: " in text
    assert all(name in text for name in (*Load._fields, *Machines._fields, *COSTS))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--groups", "many"], "SHARE:SIZE"),
        (["--groups", "2:5"], "group_share"),
        (["--measured", "missing.json"], "cannot read missing.json"),
        (["--measured", __file__], "test_capacity.py"),
    ],
)
def test_the_command_says_what_is_wrong(words: list[str], says: str) -> None:
    with pytest.raises(Failure, match=says):
        run("--users", "5", "--messages-per-day", "10", *words)
