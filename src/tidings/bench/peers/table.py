"""The comparison: medians over rounds, ratios to this server, and the table that the docs show."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple, TypeVar

from tidings.bench.peers.contract import Direct, Figures, Idle, Offline

T = TypeVar("T", Direct, Idle, Offline)


class Result(NamedTuple):
    """All that was found out about one contestant."""

    name: str
    version: str
    promises: str
    figures: Figures
    failures: tuple[str, ...] = ()
    """what it could not do, with the workload's name"""


class Line(NamedTuple):
    """A line of the table."""

    label: str
    of: Callable[[Figures], float | None]
    unit: str
    digits: int = 0
    """after the point"""


LINES = (
    Line("server CPU for a message, full speed", lambda f: f.direct and f.direct.cpu_us, "µs"),
    Line("server CPU for a message, 500 a second", lambda f: f.direct and f.direct.paced_cpu_us, "µs"),
    Line("send to receive, 500 a second, p50", lambda f: f.direct and f.direct.p50_ms, "ms", 1),
    Line("send to receive, 500 a second, p99", lambda f: f.direct and f.direct.p99_ms, "ms", 1),
    Line("memory of an idle connection", lambda f: f.idle and f.idle.bytes_per_connection / 1000, "kB", 1),
    Line("server CPU for a login", lambda f: f.idle and f.idle.connect_cpu_us, "µs"),
    Line("server CPU for a message to who is away", lambda f: f.offline and f.offline.send_cpu_us, "µs"),
    Line("server CPU for a waiting message, fetched", lambda f: f.offline and f.offline.cpu_us, "µs", 1),
)


def of_rounds(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure over the rounds in which it was measured."""
    return Figures(
        _median(Direct, [one.direct for one in rounds]),
        _median(Idle, [one.idle for one in rounds]),
        _median(Offline, [one.offline for one in rounds]),
    )


def _median(kind: Callable[..., T], measured: Sequence[T | None]) -> T | None:
    found = [one for one in measured if one is not None]
    return kind(*(median(values) for values in zip(*found, strict=True))) if found else None


def ratio(theirs: float | None, ours: float | None) -> float | None:
    """How many times ours theirs is; None where one is missing or too small to be told from nothing."""
    if theirs is None or ours is None or theirs <= 0 or ours <= 0:
        return None
    return round(theirs / ours, 2)


def as_table(results: Sequence[Result]) -> str:
    """Markdown that can be read as it is: figures, with the ratio to the first contestant in brackets."""
    rows = [["", *(result.name for result in results)]]
    first = results[0].figures
    for line in LINES:
        if all(line.of(result.figures) is None for result in results):
            continue
        row = [line.label]
        for result in results:
            value = line.of(result.figures)
            times = None if result is results[0] else ratio(value, line.of(first))
            row.append(_cell(value, line) + ("" if times is None else f" ({_times(times)} ×)"))
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    notes = [f"- **{result.name}** {result.version}: {result.promises}." for result in results]
    failures = [f"- {result.name} failed at {failure}" for result in results for failure in result.failures]
    return "\n".join([*lines, "", *notes, *failures])


def _times(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _cell(value: float | None, line: Line) -> str:
    return "–" if value is None else f"{value:,.{line.digits}f} {line.unit}"


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The same for programs: each contestant's figures, and each line's ratio to the first one's."""
    return [
        {
            "name": result.name,
            "version": result.version,
            "promises": result.promises,
            **{
                workload: None if figures is None else figures._asdict()
                for workload, figures in result.figures._asdict().items()
            },
            "ratios": {
                line.label: ratio(line.of(result.figures), line.of(results[0].figures)) for line in LINES
            },
            "failures": list(result.failures),
        }
        for result in results
    ]
