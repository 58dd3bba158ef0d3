"""Runs with encryption on: seeds hold, one seed is one run, and what is broken is found and told."""

import functools

import pytest

from simulation.planted_sealed import PLANTS
from simulation.test_run import simulate
from tidings.testing.simulation import __main__ as command
from tidings.testing.simulation.sealed.checks import LOOPS, NO_OTHER, READS
from tidings.testing.simulation.sealed.group_checks import RENEWED
from tidings.testing.simulation.sealed.replays import REPLAYED
from tidings.testing.simulation.sealed.run import Options, run

SEEDS = "1-8"
LOOK_ON = 12
"""seeds from the one that is known on, in which a planted bug is looked for"""

FOUND = {
    "seals_for_the_removed": (2, NO_OTHER),
    "never_answers": (2, READS),
    "asks_and_answers_without_end": (1, LOOPS),
    "saves_the_ratchet_later": (3, NO_OTHER),
    "keeps_its_sender_key": (3, NO_OTHER),
    "trusts_a_refusal": (3, NO_OTHER),
    "renews_nothing_on_a_removal": (1, RENEWED),
    "gives_joiners_the_key_from_its_start": (1, NO_OTHER),
    "keeps_the_key_of_the_name": (1, NO_OTHER),
    "takes_what_is_told_again": (1, REPLAYED),
}
"""by which seed each is known to be found, and the rule that it breaks"""


@functools.cache
def holds(seed: int) -> bool:
    """Whether a seed breaks nothing without a plant. A seed is one run: all plants share the answer."""
    return not run(Options(seed)).broken


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_entitled_device_reads_everything_and_no_other_reads_anything() -> None:
    done = simulate("--sealed", SEEDS, "--processes", "2")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_seed_is_one_run() -> None:
    one, other = (simulate("--sealed", "--seed", "7", hash_seed=hash_seed).stdout for hash_seed in ("1", "2"))
    assert "digest" in one
    assert one == other


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(name: str) -> None:
    known, rule = FOUND[name]
    for seed in range(known, known + LOOK_ON):
        with pytest.MonkeyPatch.context() as patch:
            PLANTS[name](patch)
            rules = {broken.rule for broken in run(Options(seed)).broken}
        if rule in rules and holds(seed):
            return
    raise AssertionError(f"{name} is not found")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_is_broken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    name = "seals_for_the_removed"
    seed, rule = FOUND[name]
    with pytest.MonkeyPatch.context() as patch:
        PLANTS[name](patch)
        assert command.main(["--sealed", f"{seed}-{seed}", "--processes", "1"]) == 1
    told = capsys.readouterr().out
    assert f"seed {seed}: {rule}: " in told
    assert told.splitlines()[-1].startswith("1 seeds, 1 broken")
