"""Each planted bug is found by the simulation, within a thousand seeds and by a rule that says what is wrong.

It takes minutes a bug, so it is a part of `make test-long`.
"""

import pytest

from simulation.planted import PLANTS
from tidings.testing.simulation.run import Options, run

SEEDS_MAX = 1000

LOST = "1 delivered"
LATE = "prompt"
ORDER = "2 causal order"
TWICE = "2 once"
ORDERS = "2 one order"


BREAKS = {
    "acknowledged_before_written": {LOST},
    "looked_up_before_committed": {LATE},
    "sends_first": {LOST},
    "word_of_the_client": {LOST},
    "cursor_is_acknowledged": {LOST},
    "the_dead_forgotten": {LATE},
    "late_message_kept": {LOST},
    "number_given_twice": {LOST, TWICE},
    "clock_ahead": {ORDER, ORDERS, LOST},
    "subscribed_after_pulling": {LATE},
    "compared_with_the_newest": {LATE, LOST},
    "own_clocks_only": {LOST},
}
"""the rules that each of them breaks"""


def first_found(name: str, seeds: range) -> int | None:
    """The first seed in which a plant breaks one of the rules that it is known to break."""
    with pytest.MonkeyPatch.context() as patch:
        PLANTS[name](patch)
        for seed in seeds:
            rules = {broken.rule for broken in run(Options(seed)).broken}
            if rules & BREAKS[name]:
                return seed
    return None


def test_all_are_known() -> None:
    assert list(BREAKS) == list(PLANTS)
    assert len(PLANTS) == 12


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
    assert run(Options(seed)).broken == []
