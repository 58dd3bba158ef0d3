"""`python -m tidings.testing.simulation SEEDS`: run many seeds, and tell what was injected and what broke.

SEEDS is a number (so many, from 1 on) or a range such as 900001-900300. Each is run twice: people write to
each other, two and two; and in groups, as other people do (see `groups/`). Data goes to stdout: a table
of what happened how often in which phase, then a line for each seed that broke a rule, then one line
that sums up. Of many seeds it is also wrong if a fault was never injected where it was planned. With
`--seed` one run is told in full. With `--sealed` real clients that encrypt run instead (see `sealed/`).
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from tidings.testing.simulation import faults, kinds, run
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
from tidings.testing.simulation.kinds import RUNS
from tidings.testing.simulation.run import PAIRS, Options, Outcome
from tidings.testing.simulation.sealed import command as sealed
from tidings.testing.simulation.sealed.run import Options as SealedOptions
from tidings.testing.simulation.shrink import Shrinking, told

CHUNK = 10
"""seeds that a process is given at once"""
EACH_FAULT_FROM = 200
"""seeds from which on each fault must have been injected in each phase that it is planned for"""
PHASES = tuple(map(str, [run.SETTING_UP, run.CALM, *faults.Family, run.ALL, run.END, run.QUIET]))
TRIES = 100
TOLD_MAX = 3
"""failing seeds that are shrunk and told in full"""
LINES_MAX = 200
"""of a transcript"""


class Sum(NamedTuple):
    """What came of some seeds."""

    seeds: int
    counts: Counts
    failures: list[Failure]
    messages: int
    fewest: int
    """messages of the seed that had the fewest"""
    seconds: float
    """of CPU"""


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(arguments)
    if options.sealed:
        return _sealed(options)
    if options.seed is not None:
        return _one(_options(options, options.seed), whole=options.transcript)
    seeds = _seeds(options.seeds)
    whose = [options.people] if options.people else list(RUNS)
    return max([_many(options, seeds, people) for people in whose])


def _many(options: argparse.Namespace, seeds: range, people: str) -> int:
    """Run seeds with some kind of people; the exit code."""
    began_s = time.monotonic()
    work = partial(_run_some, people)
    sums = in_chunks(work, seeds, options.nodes, chunk=CHUNK, processes=options.processes)
    total = _total(followed(sums, len(seeds)))
    took_s = time.monotonic() - began_s
    missing = _missing(total.counts, options.nodes) if len(seeds) >= EACH_FAULT_FROM else []
    say(f"people in {people}:", *table(total.counts, PHASES))
    for failure in total.failures:
        say(f"seed {failure.seed}: {failure.rule}: {failure.text}")
    if options.tries:
        for seed in list(dict.fromkeys(failure.seed for failure in total.failures))[:TOLD_MAX]:
            _shrink(Options(seed, options.nodes, people), options.tries)
    for name in missing:
        say(f"never injected: {name}")
    broken = len({failure.seed for failure in total.failures})
    per_minute = len(seeds) / took_s * 60
    say(
        f"{len(seeds)} seeds, {broken} broken, {total.messages} messages (at least {total.fewest} a seed),"
        f" {took_s:.0f} s, {per_minute:.0f} seeds a minute,"
        f" {total.seconds / len(seeds):.2f} s of CPU a seed"
    )
    return 1 if broken or missing else 0


def _sealed(options: argparse.Namespace) -> int:
    if options.seed is not None:
        return sealed.one(SealedOptions(options.seed, options.nodes), whole=options.transcript)
    return sealed.main(_seeds(options.seeds), options.nodes, options.processes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="100", help="how many, or a range: 900001-900300")
    parser.add_argument(
        "--sealed", action="store_true", help="clients that encrypt, and devices that come and go"
    )
    parser.add_argument("--people", choices=RUNS, help="only these; with --seed: pairs, unless it is said")
    parser.add_argument("--nodes", type=int, default=run.NODES, help="1: a lone node")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--tries", type=int, default=TRIES, help="runs to shrink a failure with; 0: not at all"
    )
    parser.add_argument("--seed", type=int, help="run one seed and tell what happened")
    parser.add_argument("--faults", help="with --seed: only these of its faults, 3,17 (none: -)")
    parser.add_argument("--deeds", help="with --seed: only these of what people do")
    parser.add_argument("--transcript", action="store_true", help="with --seed: tell everything")
    return parser


def _seeds(text: str) -> range:
    first, dash, last = text.partition("-")
    return range(int(first), int(last) + 1) if dash else range(1, int(text) + 1)


def _options(options: argparse.Namespace, seed: int) -> Options:
    people = options.people or PAIRS
    places = _places(options.deeds), _places(options.faults)
    return Options(seed, options.nodes, people, *places)


def _places(text: str | None) -> frozenset[int] | None:
    if text is None:
        return None
    return frozenset(int(place) for place in text.split(",") if place not in ("", "-"))


# --- many seeds -------------------------------------------------------------------------------


def _run_some(people: str, seeds: range, nodes: int) -> Sum:
    begin_chunk()
    began_s = time.process_time()
    counts: Counts = Counter()
    failures: list[Failure] = []
    messages: list[int] = []
    for seed in seeds:
        try:
            outcome = kinds.run(Options(seed, nodes, people))
        except Exception as error:
            failures.append(Failure(seed, "ended early", repr(error)))
            continue
        counts += outcome.counts
        messages.append(outcome.messages)
        failures += failures_of(outcome.seed, outcome.broken)
    seconds = time.process_time() - began_s
    return Sum(len(seeds), counts, failures, sum(messages), min(messages, default=0), seconds)


def _total(sums: Iterable[Sum]) -> Sum:
    total = Sum(0, Counter(), [], 0, 1 << 30, 0.0)
    for one in sums:
        total.counts.update(one.counts)
        total.failures.extend(one.failures)
        total = Sum(
            total.seeds + one.seeds,
            total.counts,
            total.failures,
            total.messages + one.messages,
            min(total.fewest, one.fewest),
            total.seconds + one.seconds,
        )
    return total


def _missing(counts: Counts, nodes: int) -> list[str]:
    """The faults that were planned for a phase and never happened in it."""
    found = []
    for family, planned in faults.FAMILIES.items():
        for fault in planned:
            if nodes == 1 and fault in faults.NEEDS_PEERS:
                continue
            found += [
                f"{fault} in phase {phase}"
                for phase in (str(family), run.ALL)
                if not counts[phase, str(fault)]
            ]
    return found


# --- one seed ---------------------------------------------------------------------------------


def _one(options: Options, *, whole: bool) -> int:
    outcome = told(options)
    if outcome.broken or whole:
        _tell(outcome, whole=whole)
    say(
        f"seed {outcome.seed}: {len(outcome.broken)} broken, {outcome.messages} messages,"
        f" {outcome.virtual_s:.0f} s of virtual time, {outcome.callbacks} callbacks, digest {outcome.digest}"
    )
    return 1 if outcome.broken else 0


def _shrink(options: Options, tries: int) -> None:
    """Tell the smallest run that still breaks the first rule that this one breaks."""
    try:
        broken = told(options).broken
    except Exception as error:
        say(f"seed {options.seed} cannot be told: {error!r}")
        return
    smallest = Shrinking(options, broken[0].rule, tries).smallest()
    say("", f"seed {options.seed}, as far as it is needed for: {broken[0].rule}")
    _tell(told(smallest), whole=False)
    faults_left = ",".join(map(str, smallest.injections or ())) or "-"
    deeds_left = ",".join(map(str, smallest.actions or ())) or "-"
    say(
        f"again: python -m tidings.testing.simulation --people {options.people} --nodes {options.nodes}"
        f" --seed {options.seed}"
        f" --faults {faults_left} --deeds {deeds_left}"
    )


def _tell(outcome: Outcome, *, whole: bool) -> None:
    lines = list(outcome.transcript(whole=whole))
    if not whole and len(lines) > LINES_MAX:
        lines = [*lines[: LINES_MAX // 2], "   …", *lines[-LINES_MAX // 2 :]]
    say(*lines)
    for failure in failures_of(outcome.seed, outcome.broken):
        say(f"seed {failure.seed}: {failure.rule}: {failure.text}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
