"""Each bug of groups that is planted is found by the simulation. See `test_planted.py` for the manner."""

import functools

import pytest

from simulation.planted_groups import PLANTS
from tidings.testing.simulation.kinds import run
from tidings.testing.simulation.run import GROUPS, Options

LOOK_ON = 40
"""seeds from the one that is known on"""
SEEDS_MAX = 1000

LOST = frozenset({"1 delivered", "prompt"})
"""at the next connection, which is at the latest after the hour, a device may get it all the same"""
RIGHTS = frozenset({"4 rights"})
TALLIES = frozenset({"3 tallies"})
CHAIN = frozenset({"5 one chain"})
TOLD = frozenset({"5 told"})
COST = frozenset({"5 cost"})
GONE = frozenset({"5 gone"})

FOUND = {
    "both_skipped": (62, LOST),
    "lost_at_the_threshold": (9, LOST),
    "stale_cache": (1, RIGHTS),
    "receipts_counted": (1, TALLIES),
    "pulled_without_rights": (1, RIGHTS),
    "set_without_comparing": (8, CHAIN),
    "told_without_a_name": (1, TOLD),
    "filled_up_by_nobody": (13, LOST),
    "told_to_the_first": (24, LOST),
    "dormant_get_copies": (16, COST),
    "owner_without_an_heir": (1, CHAIN),
    "added_while_leaving": (16, GONE),
    "reads_of_the_hidden": (1, TALLIES),
}
"""by which seed each is known to be found, and the rules that it breaks"""


@functools.cache
def holds(seed: int) -> bool:
    """Whether a seed breaks nothing without a plant. A seed is one run: all plants share the answer."""
    return not run(Options(seed, people=GROUPS)).broken


def first_found(name: str, seeds: range) -> int | None:
    """The first seed in which a plant breaks one of the rules that it is known to break, and it alone."""
    for seed in seeds:
        with pytest.MonkeyPatch.context() as patch:
            PLANTS[name](patch)
            rules = {broken.rule for broken in run(Options(seed, people=GROUPS)).broken}
        if rules & FOUND[name][1] and holds(seed):
            return seed
    return None


def test_all_are_known() -> None:
    assert list(FOUND) == list(PLANTS)
    assert all(seed <= SEEDS_MAX for seed, _ in FOUND.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(name: str) -> None:
    known, _ = FOUND[name]
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
