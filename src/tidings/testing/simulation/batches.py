"""Batches: many seeds over several processes, and what is told of them."""

import gc
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

from tidings.testing.simulation.cluster import Broken

TOLD_EACH = 100
"""seeds, after which it is told how far it is where nobody watches"""
CLEAR = "\r\x1b[K"
"""back to the begin of an emptied line"""
T = TypeVar("T")
Counts = Counter[tuple[str, str]]
"""how often what happened, by phase and name"""


class Failure(NamedTuple):
    """A seed that broke a rule, or could not be run to its end."""

    seed: int
    rule: str
    text: str


def in_chunks(
    work: Callable[[range, int], T], seeds: range, nodes: int, *, chunk: int, processes: int
) -> Iterator[T]:
    """What a function makes of the seeds, so many at once, with a number of nodes."""
    chunks = [seeds[place : place + chunk] for place in range(0, len(seeds), chunk)]
    if processes <= 1:
        yield from (work(some, nodes) for some in chunks)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(work, chunks, [nodes] * len(chunks))


class Part(Protocol):
    """What came of some of the seeds."""

    @property
    def seeds(self) -> int: ...

    @property
    def failures(self) -> list[Failure]: ...


P = TypeVar("P", bound=Part)


def followed(parts: Iterable[P], total: int) -> Iterator[P]:
    """The same, as they come; how far that is, and what has broken, is told on stderr."""
    is_watched = sys.stderr.isatty()
    done = told = 0
    for part in parts:
        done += part.seeds
        for failure in part.failures:
            sys.stderr.write(f"{CLEAR if is_watched else ''}seed {failure.seed}: {failure.rule}\n")
        if is_watched:
            sys.stderr.write(f"{CLEAR}{done} of {total} seeds")
        elif done - told >= TOLD_EACH:
            told = done
            sys.stderr.write(f"{done} of {total} seeds\n")
        sys.stderr.flush()
        yield part
    if is_watched:
        sys.stderr.write(CLEAR)


def begin_chunk() -> None:
    """Have garbage be looked for among what the runs to come leave, and only there: that is quicker."""
    gc.collect()  # of the runs before: what is frozen is never collected
    gc.freeze()


def failures_of(seed: int, broken: Iterable[Broken]) -> Iterator[Failure]:
    """The first of each rule that is broken."""
    rules = set()
    for one in broken:
        if one.rule not in rules:
            rules.add(one.rule)
            yield Failure(seed, one.rule, one.text)


def table(counts: Counts, phases: Iterable[str]) -> Iterator[str]:
    """How often what happened, in those of some phases in which anything did."""
    columns = [phase for phase in phases if any(phase == seen for seen, _ in counts)]
    names = sorted({name for _, name in counts})
    width = max((len(name) for name in names), default=0)
    for place, phase in enumerate(columns):
        yield f"{'':{width}}  " + "        |" * place + f"{phase:>8}"
    for name in names:
        cells = "".join(f"{counts[phase, name] or '.':>9}" for phase in columns)
        yield f"{name:<{width}} {cells}"


def say(*lines: str) -> None:
    """Tell it."""
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
