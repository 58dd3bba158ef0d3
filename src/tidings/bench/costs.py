"""What things cost: the figures that `tidings capacity` reckons with, and where each comes from.

A *measured* one is the median of a run that docs/reference/performance.md describes, on the machine that
is named there; `measured` puts others in its place, out of the JSON that the benches print. An *assumed* one
is a guess with a reason, to be replaced by whoever knows better.
"""

from collections.abc import Mapping
from typing import NamedTuple


class NotMeasured(Exception):
    """What was given is no result of a bench that this knows."""


class Cost(NamedTuple):
    """A figure."""

    value: float
    unit: str
    source: str
    """where it comes from"""
    is_measured: bool


def _measured(value: float, unit: str, source: str) -> Cost:
    return Cost(value, unit, source, is_measured=True)


def _assumed(value: float, unit: str, source: str) -> Cost:
    return Cost(value, unit, source, is_measured=False)


_ONE_BY_ONE = "bench direct --cluster, one by one: every message alone, what was read before not trusted"
_FULL_SPEED = "bench direct --cluster, at full speed: messages share commits, look-ups and what was read"

COSTS: dict[str, Cost] = {
    "lone_cpu_us_per_message": _measured(502, "µs", "bench direct, 500 a second: a commit for each message"),
    "lone_cpu_us_per_copy": _measured(20, "µs", "bench group, one message at a time"),
    "node_cpu_us_per_message": _measured(224, "µs", _FULL_SPEED),
    "node_cpu_us_per_read": _assumed(
        40, "µs", "a query: made, sent, its answer taken; busy nodes share wake-ups"
    ),
    "node_cpu_us_per_copy": _assumed(
        100, "µs", "a further member on another node: a publication taken, an acknowledgement, a watermark"
    ),
    "redis_cpu_us_per_message": _assumed(
        60, "µs", "two publications and three look-ups: to a thousand nodes none is shared"
    ),
    "redis_cpu_us_per_copy": _assumed(25, "µs", "a look-up and a publication more"),
    "cassandra_cpu_us_per_message": _measured(338, "µs", _FULL_SPEED + "; one copy of each row"),
    "cassandra_cpu_us_per_read": _assumed(
        60, "µs", "a query by key whose rows are in memory, for each that answers"
    ),
    "cassandra_cpu_us_per_copy": _assumed(
        150, "µs", "a row of the inbox, watermark, receipts, for one copy of each"
    ),
    "requests_per_message": _measured(0.37, "", _FULL_SPEED),
    "reads_per_message": _measured(16, "", _ONE_BY_ONE),
    "rows_per_message": _measured(8, "", _ONE_BY_ONE),
    "rows_per_copy": _assumed(4, "", "inbox, watermark, its two rows in the log of receipts"),
    "row_bytes": _assumed(90, "bytes", "keys, ids and times of a row beside its content, compressed"),
    "connection_bytes": _measured(8400, "bytes", "bench idle"),
    "connection_cpu_us_per_s": _assumed(
        5, "µs", "a heartbeat each 30 s, answered, and the directory told of it: 150 µs"
    ),
    "redis_cpu_us_per_connection_s": _assumed(1, "µs", "its place in the directory, each 30 s: 30 µs"),
    "frame_bytes": _assumed(
        250, "bytes", "headers, the fields beside the content, acknowledgement, receipts"
    ),
}
"""nodes that are busy, and share commits and wake-ups, with conversations that are not, and are read anew"""

ALONE: dict[str, Cost] = COSTS | {
    "node_cpu_us_per_message": _measured(6918, "µs", _ONE_BY_ONE),
    "node_cpu_us_per_read": _measured(0, "µs", "in that"),
    "redis_cpu_us_per_message": _measured(400, "µs", _ONE_BY_ONE),
    "cassandra_cpu_us_per_message": _measured(8030, "µs", _ONE_BY_ONE + "; one copy of each row"),
    "cassandra_cpu_us_per_read": _measured(0, "µs", "in that"),
    "requests_per_message": _measured(1.67, "", _ONE_BY_ONE),
}
"""every message alone on machines that have little to do: hardly anything can be dearer"""

_OF_BENCHES: dict[str, dict[str, str]] = {
    "group": {"server_cpu_us_per_copy": "lone_cpu_us_per_copy"},
    "idle": {"rss_bytes_per_connection": "connection_bytes"},
}
_OF_CLUSTER = ("node_cpu_us_per_message", "cassandra_cpu_us_per_message", "requests_per_message")
_SUMS_OF_CLUSTER = ("rows_per_message", "reads_per_message")


def measured(
    costs: Mapping[str, Cost], result: object, source: str, *, alone: bool = False
) -> dict[str, Cost]:
    """The costs with those of a bench's JSON in their place. Raises NotMeasured.

    `alone`: all of a cluster is that of messages one by one; else only how much is read and written is.
    """
    found = {
        name: costs[name]._replace(value=value, source=source, is_measured=True)
        for name, value in _figures(result, alone=alone).items()
    }
    return {**costs, **found}


def _figures(result: object, *, alone: bool) -> dict[str, float]:
    if not isinstance(result, dict) or not isinstance(result.get("bench"), str):
        raise NotMeasured("it is no result of `tidings bench … --json`")
    bench = result["bench"]
    if bench == "direct":
        return {"lone_cpu_us_per_message": _slowest(result)}
    if bench == "cluster":
        return _of_cluster(result, alone=alone)
    if bench not in _OF_BENCHES:
        known = ", ".join(sorted(["direct", "cluster", *_OF_BENCHES]))
        raise NotMeasured(f"nothing is reckoned with from `bench {bench}`: it may be of {known}")
    return {name: _number(result, figure) for figure, name in _OF_BENCHES[bench].items()}


def _slowest(result: Mapping[str, object]) -> float:
    """At the slowest pace, where a message shares nothing with others."""
    paced = result.get("paced")
    if not isinstance(paced, list) or not paced:
        raise NotMeasured("it has no paced run")
    return _number(paced[0], "server_cpu_us_per_message")


def _of_cluster(result: Mapping[str, object], *, alone: bool) -> dict[str, float]:
    by_nodes = result.get("by_nodes")
    if not isinstance(by_nodes, list) or not by_nodes or not isinstance(by_nodes[-1], dict):
        raise NotMeasured("it has no nodes")
    one_by_one = by_nodes[-1].get("one_by_one")
    if not isinstance(one_by_one, dict):
        raise NotMeasured("it has no messages one by one: give it a --paced-s")
    found = {name: _number(one_by_one if alone else by_nodes[-1], name) for name in _OF_CLUSTER}
    if alone:
        found["redis_cpu_us_per_message"] = _number(one_by_one, "redis_cpu_us_per_message")
    for name in _SUMS_OF_CLUSTER:
        tables = one_by_one.get(name)
        if not isinstance(tables, dict):
            raise NotMeasured(f"{name} is missing")
        found[name] = sum(_number(tables, table) for table in tables)
    return found


def _number(of: object, name: str) -> float:
    value = of.get(name) if isinstance(of, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise NotMeasured(f"{name} is missing, or no number")
    return float(value)
