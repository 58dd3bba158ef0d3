"""`python -m tidings.testing.simulation --sealed SEEDS`: the runs with encryption on, told as those without.

Data goes to stdout: a table of what happened how often in which phase, a line for each rule that a seed
broke, and one that sums up. With `--seed` one run is told in full.
"""

import gc
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tidings.testing.simulation.sealed import run
from tidings.testing.simulation.sealed.people import Deed
from tidings.testing.simulation.sealed.run import Options, Outcome

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
    counts: Counter[tuple[str, str]]
    failures: list[tuple[int, str, str]]
    """seed, rule and text: the first of each rule"""
    messages: int
    seconds: float
    """of CPU"""


def main(seeds: range, nodes: int, processes: int) -> int:
    """Run many seeds; the exit code."""
    began_s = time.monotonic()
    sums = list(_all(seeds, nodes, processes))
    took_s = time.monotonic() - began_s
    counts: Counter[tuple[str, str]] = Counter()
    for one in sums:
        counts.update(one.counts)
    failures = [failure for one in sums for failure in one.failures]
    missing = _missing(counts) if len(seeds) >= EACH_FROM else []
    _say(*_table(counts))
    for seed, rule, text in failures:
        _say(f"seed {seed}: {rule}: {text}")
    for name in missing:
        _say(f"never happened: {name}")
    broken = len({seed for seed, _, _ in failures})
    _say(
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
        _say(*lines)
    for broken in outcome.broken:
        _say(f"seed {outcome.seed}: {broken.rule}: {broken.text}")
    _say(
        f"seed {outcome.seed}: {len(outcome.broken)} broken, {outcome.messages} messages,"
        f" {outcome.virtual_s:.0f} s of virtual time, {outcome.callbacks} callbacks, digest {outcome.digest}"
    )
    return 1 if outcome.broken else 0


def _all(seeds: range, nodes: int, processes: int) -> Iterator[Sum]:
    chunks: Sequence[range] = [seeds[place : place + CHUNK] for place in range(0, len(seeds), CHUNK)]
    if processes <= 1:
        yield from (_some(chunk, nodes) for chunk in chunks)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(_some, chunks, [nodes] * len(chunks))


def _some(seeds: range, nodes: int) -> Sum:
    gc.collect()  # of the runs before: what is frozen is never collected
    gc.freeze()  # what is loaded is no garbage: look for it among what the runs leave only
    began_s = time.process_time()
    counts: Counter[tuple[str, str]] = Counter()
    failures: list[tuple[int, str, str]] = []
    messages = 0
    for seed in seeds:
        try:
            outcome = run.run(Options(seed, nodes))
        except Exception as error:
            failures.append((seed, "ended early", repr(error)))
            continue
        counts += outcome.counts
        messages += outcome.messages
        failures += _failures(outcome)
    return Sum(len(seeds), counts, failures, messages, time.process_time() - began_s)


def _failures(outcome: Outcome) -> list[tuple[int, str, str]]:
    first = {broken.rule: broken.text for broken in reversed(outcome.broken)}
    return [(outcome.seed, rule, text) for rule, text in first.items()]


def _missing(counts: Counter[tuple[str, str]]) -> list[str]:
    names = {name for _, name in counts}
    return [name for name in (*map(str, Deed), *SEEN) if name not in names]


def _table(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    """How often what happened, by phase."""
    phases = [phase for phase in run.PHASES if any(phase == seen for seen, _ in counts)]
    names = sorted({name for _, name in counts})
    width = max((len(name) for name in names), default=0)
    yield f"{'':{width}} " + "".join(f"{phase:>12}" for phase in phases)
    for name in names:
        cells = "".join(f"{counts[phase, name] or '.':>12}" for phase in phases)
        yield f"{name:<{width}} {cells}"


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
