"""The metrics of several processes as those of one service."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tidings.server.workers.sums import Process, Sums


def metrics(
    accepted: int, *, connections: int = 0, refused: int = 0, ok: int = 1, lag_s: float = 0.0
) -> bytes:
    return f"""\
# HELP tidings_messages_accepted_total Messages answered with Sent.
# TYPE tidings_messages_accepted_total counter
tidings_messages_accepted_total {accepted}
# HELP tidings_refused_total Refused, by error.
# TYPE tidings_refused_total counter
tidings_refused_total{{error="overloaded"}} {refused}
# HELP tidings_connections Open.
# TYPE tidings_connections gauge
tidings_connections {connections}
# HELP tidings_store_ok 1 unless the last write failed.
# TYPE tidings_store_ok gauge
tidings_store_ok {ok}
# HELP tidings_loop_lag_seconds How late.
# TYPE tidings_loop_lag_seconds gauge
tidings_loop_lag_seconds {lag_s}
# HELP process_cpu_seconds_total CPU.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.5
""".encode()


def rendered(sums: Sums, **texts: bytes | None) -> dict[tuple[str, str], float]:
    """Values by name and the value of their label."""
    text = sums.render({name: Process(name, 0, told) for name, told in texts.items()}).decode()
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_and_gauges_are_summed_and_of_some_the_worst_counts() -> None:
    found = rendered(
        Sums(),
        worker1=metrics(3, connections=2, refused=1, ok=1, lag_s=0.1),
        worker2=metrics(4, connections=5, refused=2, ok=0, lag_s=0.5),
    )
    assert found["tidings_messages_accepted_total", ""] == 7
    assert found["tidings_refused_total", "overloaded"] == 3
    assert found["tidings_connections", ""] == 7
    assert found["tidings_store_ok", ""] == 0
    assert found["tidings_loop_lag_seconds", ""] == 0.5


def test_each_process_can_be_told_from_the_others() -> None:
    found = rendered(Sums(), hub=None, worker1=metrics(0, connections=2), worker2=metrics(0, connections=5))
    assert found["tidings_process_connections", "worker2"] == 5
    assert found["tidings_process_cpu_seconds_total", "worker1"] == 1.5
    assert [found["tidings_process_ok", name] for name in ("hub", "worker1", "worker2")] == [0, 1, 1]
    assert found["process_cpu_seconds_total", ""] == 3.0


def test_a_counter_does_not_fall_when_a_process_dies_or_does_not_answer() -> None:
    sums = Sums()
    accepted: list[Any] = [rendered(sums, first=metrics(100), other=metrics(1))]
    accepted.append(rendered(sums, first=None, other=metrics(1)))
    sums.gone("first", None)
    accepted.append(rendered(sums, other=metrics(2)))
    accepted.append(rendered(sums, second=metrics(10), other=metrics(2)))
    sums.gone("second", metrics(15))
    sums.gone("second", None)  # told twice: counted once
    accepted.append(rendered(sums, other=None))
    assert [one["tidings_messages_accepted_total", ""] for one in accepted] == [101, 101, 102, 112, 117]


def test_nobody_answers() -> None:
    found = rendered(Sums(), hub=None)
    assert found == {("tidings_process_ok", "hub"): 0, ("tidings_process_restarts_total", "hub"): 0}
