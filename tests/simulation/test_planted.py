"""Each planted bug is found by the simulation, within a thousand seeds and by a rule that says what is wrong.

`FOUND` remembers by which seed, and `make test` looks from there on. Where a change of the simulation, or of
what is planted, moves what its seeds do, `make test-long` searches anew from the first seed, and prints what
to write here.
"""

import functools
from typing import NamedTuple

import pytest

from simulation.planted import PLANTS
from tidings.testing.simulation.run import Options, run

SEEDS_MAX = 1000
LOOK_ON = 60
"""seeds from the one that is known on: what moved by a little is mostly found there too"""

LOST = frozenset({"1 delivered"})
LATE = frozenset({"prompt"})
ORDER = frozenset({"2 causal order", "2 one order"})
TWICE = frozenset({"2 once"})
TOLD = frozenset({"3 read", "3 delivered"})


class Found(NamedTuple):
    """By which seed a plant is known to be found, and the rules that it breaks."""

    seed: int
    rules: frozenset[str]


FOUND = {
    "acknowledged_before_written": Found(2, LOST),
    "looked_up_before_committed": Found(74, LATE),
    "sends_first": Found(3, LOST),
    "word_of_the_client": Found(260, LOST),
    "cursor_is_acknowledged": Found(58, LOST),
    "the_dead_forgotten": Found(121, LATE),
    "late_message_kept": Found(16, LOST | ORDER),
    "number_given_twice": Found(62, LOST | TWICE),
    "clock_ahead": Found(15, LOST | ORDER | TOLD),
    "subscribed_after_pulling": Found(29, LATE),
    "compared_with_the_newest": Found(8, LOST | LATE),
    "own_clocks_only": Found(25, LOST | ORDER),
}


@functools.cache
def holds(seed: int) -> bool:
    """Whether a seed breaks nothing without a plant. A seed is one run: all plants share the answer."""
    return not run(Options(seed)).broken


def first_found(name: str, seeds: range) -> int | None:
    """The first seed in which a plant breaks one of the rules that it is known to break, and it alone."""
    for seed in seeds:
        with pytest.MonkeyPatch.context() as patch:
            PLANTS[name](patch)
            rules = {broken.rule for broken in run(Options(seed)).broken}
        if rules & FOUND[name].rules and holds(seed):
            return seed
    return None


def test_all_are_known() -> None:
    assert list(FOUND) == list(PLANTS)
    assert len(PLANTS) == 12
    assert all(found.seed <= SEEDS_MAX for found in FOUND.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(name: str) -> None:
    known = FOUND[name].seed
    assert first_found(name, range(known, known + LOOK_ON)) is not None


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found_within_a_thousand_seeds(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = first_found(name, range(1, SEEDS_MAX + 1))
    with capsys.disabled():
        print(f"\n{name}: seed {seed}")
    assert seed is not None
