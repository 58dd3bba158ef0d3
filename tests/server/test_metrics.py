"""What a node counts, and that Prometheus can read it."""

import re
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from tidings.bus.memory import MemoryBus, Topics
from tidings.directory.memory import MemoryDirectory, Places
from tidings.protocol.errors import REGISTRY
from tidings.protocol.limits import Limits
from tidings.server.audit import Audit
from tidings.server.cluster import Shared
from tidings.server.connections import Connections
from tidings.server.counts import LAG_WINDOW_S, Counts
from tidings.server.metrics import Metrics, Sources
from tidings.server.rate import DeviceRates
from tidings.store.counts import StoreCounts
from tidings.store.memory import MemoryStore
from tidings.testing.clock import FakeClock
from tidings.testing.world import World

DOCS = Path(__file__).parents[2] / "docs/operating/metrics.md"


def sources(counts: Counts) -> Sources:
    commit = SimpleNamespace(
        batches=3, rows_written=9, seconds=0.5, failures=1, waiting_bytes=7, failure=Exception("full")
    )
    return Sources(
        counts,
        Connections(Random(1), DeviceRates(Limits()), lambda: 0.0),
        cast(Any, commit),
        cast(Any, SimpleNamespace(reads=4)),
        cast(Any, SimpleNamespace(bundles_given=2, one_time_given=1)),
        Audit(None, lambda: 0, cast(Any, None)),
        lambda: (5, 6),
        lambda: None,
    )


def test_every_line_is_one_that_prometheus_takes() -> None:
    counts = Counts()
    for code in REGISTRY:
        counts.refuse(code)
    counts.refuse(min(REGISTRY))
    text = Metrics(sources(counts)).render().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    refused = {sample.labels["error"]: sample.value for sample in families["tidings_refused"].samples}
    assert refused == {kind.name: 1.0 + (code == min(REGISTRY)) for code, kind in REGISTRY.items()}
    assert families["tidings_store_ok"].samples[0].value == 0
    assert families["tidings_commit_rows"].samples[0].value == 9
    assert families["tidings_connections_max"].samples[0].value == 6
    assert "tidings_certificate_expires_timestamp_seconds" not in families
    assert families["process_open_fds"].samples[0].value > 0
    assert all(family.documentation for family in families.values())


def test_two_of_them_do_not_meet() -> None:
    assert Metrics(sources(Counts())).render() != b""
    assert Metrics(sources(Counts())).render() != b""


async def node_among_others(store: StoreCounts) -> tuple[World, Sources]:
    shared = Shared(MemoryBus(Topics()), MemoryDirectory(Places(FakeClock().wall_ms)))
    world = await World.start(MemoryStore(), shared=shared)
    return world, sources(Counts())._replace(cluster=world.services.cluster, store=store)


async def test_a_node_among_others_tells_of_them_and_of_its_store() -> None:
    counts = StoreCounts()
    counts.requests, counts.failures, counts.seconds = 7, 2, 0.5
    world, of_node = await node_among_others(counts)
    cluster = world.services.cluster
    assert cluster is not None

    def values() -> dict[str, float]:
        text = Metrics(of_node).render().decode()
        return {one.name: one.samples[0].value for one in text_string_to_metric_families(text) if one.samples}

    found = values()
    assert (found["tidings_node_number"], found["tidings_node_takes_part"]) == (1, 1)
    assert (found["tidings_peers"], found["tidings_bus_ok"], found["tidings_directory_ok"]) == (0, 1, 1)
    assert (found["tidings_store_requests"], found["tidings_store_request_failures"]) == (7, 2)
    gaps = found["tidings_bus_gaps"]
    world.clock.jump(3)
    await cluster._look_at_clock()
    cluster.bus._note_gap()
    found = values()
    assert found["tidings_clock_ahead_seconds"] == 3
    assert found["tidings_node_takes_part"] == 0
    assert found["tidings_bus_gaps"] == gaps + 1
    await cluster.stop()


def test_what_a_store_on_other_machines_is_asked_for_is_told_by_table() -> None:
    counts = StoreCounts()
    counts.tables["inbox"].rows = 3
    counts.tables["inbox"].statements = 4
    counts.tables["heads"].reads = 5
    counts.requests, counts.write_requests = 9, 2
    text = Metrics(sources(Counts())._replace(store=counts)).render().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}

    def of(name: str) -> dict[str, float]:
        return {sample.labels["table"]: sample.value for sample in families[name].samples}

    assert of("tidings_store_rows") == {"heads": 0, "inbox": 3}
    assert of("tidings_store_statements") == {"heads": 0, "inbox": 4}
    assert of("tidings_store_reads") == {"heads": 5, "inbox": 0}
    assert families["tidings_store_requests"].samples[0].value == 9
    assert families["tidings_store_write_requests"].samples[0].value == 2


async def test_the_docs_name_every_metric() -> None:
    world, of_node = await node_among_others(StoreCounts())
    text = Metrics(of_node).render().decode()
    await world.services.cluster.stop()  # type: ignore[union-attr]
    told = DOCS.read_text()
    names = set(re.findall(r"^# TYPE (tidings_\w+)", text, re.MULTILINE))
    short = {name.replace("tidings_commit_rows_total", "_rows_total") for name in names}
    short = {name.replace("tidings_commit_seconds_total", "_seconds_total") for name in short}
    assert [name for name in short if name not in told] == []


def test_the_worst_lag_is_kept_for_a_while() -> None:
    counts = Counts()
    counts.lagged(0.4, 1000.0)
    counts.lagged(0.001, 1001.0)
    counts.lagged(-0.5, 1002.0)
    assert counts.lag_s == 0.0
    assert counts.worst_lag_s == 0.4
    counts.lagged(0.002, 1000.0 + LAG_WINDOW_S)
    assert counts.worst_lag_s == 0.4
    counts.lagged(0.003, 1000.0 + 2 * LAG_WINDOW_S)
    assert counts.worst_lag_s == 0.003
