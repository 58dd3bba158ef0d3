"""What a node counts, and that Prometheus can read it."""

import re
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from tidings.protocol.errors import REGISTRY
from tidings.protocol.limits import Limits
from tidings.server.audit import Audit
from tidings.server.connections import Connections
from tidings.server.counts import LAG_WINDOW_S, Counts
from tidings.server.metrics import Metrics, Sources
from tidings.server.rate import DeviceRates

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


def test_the_docs_name_every_metric() -> None:
    text = Metrics(sources(Counts())).render().decode()
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
