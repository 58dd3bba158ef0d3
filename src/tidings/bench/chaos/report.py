"""What came of a run: as one JSON object, and as a page in Markdown that needs nothing else to be read."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tidings.bench.chaos.book import Book, Kind, Second, Silence
from tidings.bench.figures import percentile
from tidings.protocol.errors import REGISTRY

COLUMNS = 100
"""of the time line"""
BARS = " ▁▂▃▄▅▆▇█"
FOUND_TOLD = 20
"""findings of a kind on the page; the JSON object has more of them"""
SILENCES_TOLD = 10
DIGITS = 3

RETRYABLE = {kind.name: kind.retry for kind in REGISTRY.values()}


class Facts(NamedTuple):
    """What is told of a run besides what its book says."""

    against: Sequence[str]
    people: int
    devices: int
    conversations: int
    groups: Sequence[int]
    seed: int
    chatted_s: float
    """how long they wrote"""
    settled_s: float
    """how long it took until all was where it belongs"""


def result_of(book: Book, facts: Facts) -> dict[str, object]:
    """What `--json` prints."""
    return {
        **facts._asdict(),
        "against": list(facts.against),
        "groups": list(facts.groups),
        "chatted_s": round(facts.chatted_s, 1),
        "settled_s": round(facts.settled_s, 1),
        "clean": not book.found,
        "acknowledged": len(book.answer_s),
        "received": book.received,
        "received_again": book.again,
        "broken": {kind.value: book.found[kind] for kind in Kind},
        "findings": [finding.told() for finding in book.findings],
        "refusals": {
            name: {"times": times, "retryable": RETRYABLE.get(name, False)}
            for name, times in book.refusals.most_common()
        },
        "connections_broken": book.broken,
        "troubles": dict(book.troubles.most_common()),
        "without_service_s": _spread(list(book.longest_s.values())),
        "send_to_sent_s": _spread(book.answer_s),
        "send_to_receive_s": _spread(book.travel_s),
        "nothing_acknowledged": [
            {"from_s": _round(one.from_s), "to_s": _round(one.to_s)} for one in longest(book.silences)
        ],
        "marks": [{"at_s": _round(mark.at_s), "text": mark.text} for mark in book.marks],
        "time_line": {
            "acknowledged": [second.acknowledged for second in book.seconds],
            "received": [second.received for second in book.seconds],
            "connected": [second.connected for second in book.seconds],
            "errors": [second.errors for second in book.seconds],
        },
    }


def page_of(book: Book, facts: Facts) -> str:
    """The page."""
    parts = [
        f"# Chaos: {'every promise was kept' if not book.found else 'promises were broken'}\n",
        _about(facts),
        _promises(book),
        _service(book),
        _time_line(book),
        _troubles(book),
    ]
    return "\n".join(part for part in parts if part)


def state_of(book: Book) -> str:
    """One line, while it runs."""
    waiting = book.unanswered
    waited_s = book.now() - waiting[0].wanted_s if waiting else 0.0
    slowest_s = max([waited_s, *book.longest_s.values()])
    connected = book.seconds[-1].connected if book.seconds else 0
    counts = [
        clock(book.now()),
        f"{len(book.answer_s):,} acknowledged",
        f"{book.received:,} delivered",
        f"{connected} connected",
        f"{book.broken} broken",
        f"slowest {slowest_s:.1f} s",
    ]
    counts += [f"{name} {times}" for name, times in (book.refusals + book.troubles).most_common(3)]
    counts += [f"{kind.value.upper()} {times}" for kind, times in book.found.items()]
    return ", ".join(counts)


def longest(silences: Iterable[Silence]) -> list[Silence]:
    """The longest of them, in the order of time."""
    some = sorted(silences, key=lambda one: one.from_s - one.to_s)[:SILENCES_TOLD]
    return sorted(some)


def clock(seconds: float) -> str:
    """Minutes and seconds since the beginning."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


# --- the parts of the page ----------------------------------------------------------------------


def _about(facts: Facts) -> str:
    groups = f", groups of {', '.join(map(str, facts.groups))}" if facts.groups else ""
    return (
        f"{facts.people} people with {facts.devices} devices and {facts.conversations} direct conversations"
        f" each{groups}; {facts.chatted_s:.0f} s against {', '.join(facts.against)} (seed {facts.seed}).\n"
    )


def _promises(book: Book) -> str:
    lines = [
        "## Promises\n",
        f"{len(book.answer_s):,} messages were acknowledged, {book.received:,} copies of them came;"
        f" {book.again:,} more came again and were shown once.\n",
        "| promise | broken |",
        "|---|---:|",
        *(f"| {WORDS[kind]} | {book.found[kind] or 0} |" for kind in Kind),
        "",
    ]
    for kind in Kind:
        told = [finding for finding in book.findings if finding.kind is kind][:FOUND_TOLD]
        if told:
            lines += [f"### {WORDS[kind]}: {book.found[kind]}\n"]
            for finding in told:
                named = finding.told()
                where = ", ".join(f"{key} `{named[key]}`" for key in list(named)[3:])
                lines += [f"- {finding.who}: {finding.what}{f' ({where})' if where else ''}"]
            lines += [""]
    return "\n".join(lines)


def _service(book: Book) -> str:
    rows: dict[str, Sequence[float]] = {
        "longest wait of a device for an answer or a connection": list(book.longest_s.values()),
        "from writing a message to its acknowledgement": book.answer_s,
        "from writing a message to its coming to a device": book.travel_s,
    }
    lines = ["## Service\n", "| seconds | p50 | p99 | longest |", "|---|---:|---:|---:|"]
    for name, values in rows.items():
        spread = _spread(values)
        lines += [f"| {name} | {spread['p50']} | {spread['p99']} | {spread['max']} |"]
    lines += [""]
    silences = longest(book.silences)
    if silences:
        lines += ["Nothing could be acknowledged to anybody:\n"]
        for one in silences:
            lines += [f"- from {clock(one.from_s)} on, for {one.to_s - one.from_s:.1f} s{_after(book, one)}"]
        lines += [""]
    return "\n".join(lines)


def _after(book: Book, silence: Silence) -> str:
    """What was done to the server just before a silence, or in it."""
    marks = [mark.text for mark in book.marks if silence.from_s - 2.0 <= mark.at_s <= silence.to_s]
    return f" ({'; '.join(marks)})" if marks else ""


def _time_line(book: Book) -> str:
    seconds = book.seconds or [Second()]
    width = -(-len(seconds) // COLUMNS)
    rows = {
        "acknowledged": [second.acknowledged for second in seconds],
        "received": [second.received for second in seconds],
        "connected": [second.connected for second in seconds],
        "errors": [second.errors for second in seconds],
    }
    lines = [f"## Time line\n\nA column is {width} s; each row has a scale of its own, from 0.\n", "```"]
    for name, values in rows.items():
        columns = [sum(values[at : at + width]) / width for at in range(0, len(values), width)]
        lines += [f"{name:>12} {bars(columns)} {max(values)}/s" + (" most" if name != "connected" else "")]
    if book.marks:
        row = [" "] * -(-len(seconds) // width)
        for number, mark in enumerate(book.marks):
            row[min(len(row) - 1, int(mark.at_s) // width)] = _letter(number)
        lines += [f"{'marks':>12} {''.join(row)}"]
    lines += ["```", ""]
    lines += [_deed(book, number) for number in range(len(book.marks))]
    return "\n".join([*lines, ""])


def _deed(book: Book, number: int) -> str:
    """What was done to the server, and what came of it until the next thing was done."""
    mark, *later = book.marks[number:]
    until_s = later[0].at_s if later else book.now()
    then = book.seconds[int(mark.at_s) : max(int(mark.at_s), int(until_s)) + 1]
    errors = sum(second.errors for second in then)
    fewest = min((second.connected for second in then), default=0)
    return (
        f"- `{_letter(number)}` {clock(mark.at_s)} {mark.text}: {errors} errors, {fewest} connected at least"
    )


def bars(values: Sequence[float]) -> str:
    """A character for each value: as high as it is, in terms of the greatest; what is more than 0 is seen."""
    most = max(values, default=0.0)
    steps = len(BARS) - 1
    return "".join(BARS[0 if value <= 0 else max(1, round(value / most * steps))] for value in values)


def _letter(number: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[number % 26]


def _troubles(book: Book) -> str:
    if not book.refusals and not book.troubles:
        return ""
    lines = ["## Errors\n", "| what | times | |", "|---|---:|---|"]
    for name, times in book.refusals.most_common():
        retry = "to be retried" if RETRYABLE.get(name) else "not to be retried"
        lines += [f"| refused: {name} | {times} | {retry} |"]
    for why, times in book.troubles.most_common():
        lines += [f"| connection: {why} | {times} | to be tried again |"]
    lines += [f"\n{book.broken} connections were lost.\n"]
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: _round(percentile(values, share)) for name, share in shares.items()}


def _round(seconds: float) -> float:
    return round(seconds, DIGITS)


WORDS = {
    Kind.LOST_LIVE: "acknowledged, and did not come to a connected device",
    Kind.LOST: "acknowledged, and never came to a device",
    Kind.LOST_IN_HISTORY: "acknowledged, and not in the history",
    Kind.SHOWN_TWICE: "shown twice",
    Kind.OUT_OF_ORDER: "not in the one order",
    Kind.BEFORE_ITS_CAUSE: "stands before what its writer had read",
    Kind.FOREIGN: "came to somebody who was no member",
    Kind.MEMBERSHIP: "membership is not what was answered",
    Kind.WATERMARK_FELL: "a watermark fell",
    Kind.READ_NOT_DELIVERED: "read, but not delivered",
    Kind.TALLY_BEHIND: "read by all, and its writer is not told",
    Kind.REFUSED_FOR_GOOD: "refused for good without a reason",
    Kind.CLOSED_FOR_GOOD: "a connection closed for good",
    Kind.INBOX_EXPIRED: "an inbox that expired",
    Kind.NEVER_ANSWERED: "a message never answered",
    Kind.NEVER_BACK: "a device that never came back",
}
