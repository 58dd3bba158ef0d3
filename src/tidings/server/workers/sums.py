"""The metrics of several processes as those of one service.

Counters and most gauges are summed; of others the worst counts (`_WORST`). A counter never falls:
what a process had counted stays in the sum when it is gone. What one counted between the last time
it was asked and its death by kill -9 is lost, which no reader of the sum can see.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

COUNTER = "counter"

_WORST: dict[str, Callable[[Iterable[float]], float]] = {
    "tidings_info": max,
    "tidings_store_ok": min,
    "tidings_audit_ok": min,
    "tidings_node_number": max,
    "tidings_node_takes_part": min,
    "tidings_peers": min,
    "tidings_bus_ok": min,
    "tidings_directory_ok": min,
    "tidings_clock_ahead_seconds": max,
    "tidings_loop_lag_seconds": max,
    "tidings_loop_lag_worst_seconds": max,
    "tidings_certificate_expires_timestamp_seconds": min,
    "process_max_fds": min,
    "process_start_time_seconds": min,
}
"""How the value of a service comes from those of its processes, where it is not their sum."""


class _Line(NamedTuple):
    """What stands before a value."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


CPU = _Line("process_cpu_seconds_total")
MEMORY = _Line("process_resident_memory_bytes")
CONNECTIONS = _Line("tidings_connections")


class _Family(NamedTuple):
    """Lines with one name."""

    name: str
    kind: str
    meaning: str
    values: dict[_Line, float]


class Process(NamedTuple):
    """What is known of a process."""

    name: str
    """`hub`, `worker1`, `supervisor`"""
    restarts: int
    text: bytes | None
    """its metrics; None: it did not answer"""


class Sums:
    """Keeps what must not be forgotten between one asking and the next."""

    def __init__(self) -> None:
        self._gone: dict[_Line, float] = {}
        """counted by processes that are no more"""
        self._counted: dict[object, dict[_Line, float]] = {}
        """the counters of those that live, as they last told them"""
        self._counters: dict[str, _Family] = {}
        """every counter that anybody told of; their values are above"""

    def gone(self, process: object, last: bytes | None) -> None:
        """A process is no more; `last` is what it said at its end."""
        if last is not None:
            self._note(process, _families(last))
        for line, value in self._counted.pop(process, {}).items():
            self._gone[line] = self._gone.get(line, 0.0) + value

    def render(self, processes: Mapping[object, Process]) -> bytes:
        """The metrics of the service, in Prometheus' text format. Keys are those that `gone` is told."""
        told = {key: {} if one.text is None else _families(one.text) for key, one in processes.items()}
        gauges: dict[str, list[_Family]] = {}
        for key, families in told.items():
            self._note(key, families)
            for family in families.values():
                if family.kind != COUNTER:
                    gauges.setdefault(family.name, []).append(family)
        singly = [(one, _values(told[key].values())) for key, one in processes.items()]
        return generate_latest(_Made([*self._summed(), *map(_joined, gauges.values()), *_by_process(singly)]))

    def _note(self, process: object, families: Mapping[str, _Family]) -> None:
        counted = self._counted.setdefault(process, {})
        for family in families.values():
            if family.kind == COUNTER:
                counted.update(family.values)
                self._counters[family.name] = family

    def _summed(self) -> Iterable[Metric]:
        """The counters."""
        sums = dict(self._gone)
        for counted in self._counted.values():
            for line, value in counted.items():
                sums[line] = sums.get(line, 0.0) + value
        for family in self._counters.values():
            values = {line: sums[line] for line in sorted(sums) if line.name == f"{family.name}_total"}
            yield _metric(family._replace(values=values))


def _joined(families: list[_Family]) -> Metric:
    """A gauge, of what each process says."""
    found: dict[_Line, list[float]] = {}
    for family in families:
        for line, value in family.values.items():
            found.setdefault(line, []).append(value)
    values = {line: _WORST.get(line.name, sum)(found[line]) for line in sorted(found)}
    return _metric(families[0]._replace(values=values))


def _by_process(processes: Iterable[tuple[Process, Mapping[_Line, float]]]) -> Iterable[Metric]:
    """What tells one process from the other."""
    label = ["process"]
    answers = GaugeMetricFamily("tidings_process_ok", "1 if it serves and answers.", labels=label)
    restarts = CounterMetricFamily(
        "tidings_process_restarts", "How often one died and was followed by another.", labels=label
    )
    cpu = CounterMetricFamily("tidings_process_cpu_seconds", "Used since it was started.", labels=label)
    memory = GaugeMetricFamily("tidings_process_memory_bytes", "Resident memory.", labels=label)
    connections = GaugeMetricFamily("tidings_process_connections", "WebSockets that are open.", labels=label)
    for one, values in processes:
        answers.add_metric([one.name], int(one.text is not None))
        restarts.add_metric([one.name], one.restarts)
        for metric, line in ((cpu, CPU), (memory, MEMORY), (connections, CONNECTIONS)):
            if line in values:
                metric.add_metric([one.name], values[line])
    return answers, restarts, cpu, memory, connections


def _families(text: bytes) -> dict[str, _Family]:
    return {
        family.name: _Family(
            family.name,
            family.type,
            family.documentation,
            {_Line(one.name, tuple(sorted(one.labels.items()))): one.value for one in family.samples},
        )
        for family in text_string_to_metric_families(text.decode())
    }


def _values(families: Iterable[_Family]) -> dict[_Line, float]:
    return {line: value for family in families for line, value in family.values.items()}


def _metric(family: _Family) -> Metric:
    metric = Metric(family.name, family.meaning, family.kind)
    for line, value in family.values.items():
        metric.add_sample(line.name, dict(line.labels), value)
    return metric


class _Made(Collector):
    """Metrics that are made already."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._metrics
