"""`python -m tidings.testing.simulation --sealed SEEDS`: the runs with encryption on, told as those without.

Data goes to stdout: a table of what happened how often in which phase, a line for each rule that a seed
broke, and one that sums up. With `--seed` one run is told in full.
"""

import time
from collections import Counter
from typing import NamedTuple

from tidings.testing.simulation.batches import (
    Counts,
    Failure,
    begin_chunk,
    failures_of,
    followed,
    in_chunks,
    say,
    table,
)
from tidings.testing.simulation.sealed import run
from tidings.testing.simulation.sealed.people import Deed
from tidings.testing.simulation.sealed.run import Options

CHUNK = 5
"""seeds that a process is given at once"""
EACH_FROM = 100
"""seeds from which on each deed, and each of `SEEN`, must have happened"""
SEEN = ("devices: linked", "devices: signed out", "devices: revoked as stolen", "keys: ASK", "keys: KEYS")
LINES_MAX = 400
"""of a transcript"""


class Sum(NamedTuple):
    """What came of some seeds."""

    seeds: int
    counts: Counts
    failures: list[Failure]
    messages: int
    seconds: float
    """of CPU"""


def main(seeds: range, nodes: int, processes: int) -> int:
    """Run many seeds; the exit code."""
    began_s = time.monotonic()
    parts = in_chunks(_some, seeds, nodes, chunk=CHUNK, processes=processes)
    sums = list(followed(parts, len(seeds)))
    took_s = time.monotonic() - began_s
    counts: Counts = Counter()
    for one in sums:
        counts.update(one.counts)
    failures = [failure for one in sums for failure in one.failures]
    missing = _missing(counts) if len(seeds) >= EACH_FROM else []
    say(*table(counts, run.PHASES))
    for seed, rule, text in failures:
        say(f"seed {seed}: {rule}: {text}")
    for name in missing:
        say(f"never happened: {name}")
    broken = len({seed for seed, _, _ in failures})
    say(
        f"{len(seeds)} seeds, {broken} broken, {sum(one.messages for one in sums)} messages, {took_s:.0f} s,"
        f" {len(seeds) / took_s * 60:.0f} seeds a minute,"
        f" {sum(one.seconds for one in sums) / len(seeds):.2f} s of CPU a seed"
    )
    return 1 if broken or missing else 0


def one(options: Options, *, whole: bool) -> int:
    """Run one seed, and tell what happened; the exit code."""
    outcome = run.run(options._replace(keeps_transcript=True))
    if outcome.broken or whole:
        lines = list(outcome.transcript())
        if not whole and len(lines) > LINES_MAX:
            lines = ["   …", *lines[-LINES_MAX:]]
        say(*lines)
    for broken in outcome.broken:
        say(f"seed {outcome.seed}: {broken.rule}: {broken.text}")
    say(
        f"seed {outcome.seed}: {len(outcome.broken)} broken, {outcome.messages} messages,"
        f" {outcome.virtual_s:.0f} s of virtual time, {outcome.callbacks} callbacks, digest {outcome.digest}"
    )
    return 1 if outcome.broken else 0


def _some(seeds: range, nodes: int) -> Sum:
    begin_chunk()
    began_s = time.process_time()
    counts: Counts = Counter()
    failures: list[Failure] = []
    messages = 0
    for seed in seeds:
        try:
            outcome = run.run(Options(seed, nodes))
        except Exception as error:
            failures.append(Failure(seed, "ended early", repr(error)))
            continue
        counts += outcome.counts
        messages += outcome.messages
        failures += failures_of(outcome.seed, outcome.broken)
    return Sum(len(seeds), counts, failures, messages, time.process_time() - began_s)


def _missing(counts: Counts) -> list[str]:
    names = {name for _, name in counts}
    return [name for name in (*map(str, Deed), *SEEN) if name not in names]
