"""Runs of the simulation: many seeds hold, one seed is one run, and what is broken is found and told."""

import os
import subprocess
import sys

import pytest

from tidings.testing.simulation import __main__ as command
from tidings.testing.simulation.connection import Connection
from tidings.testing.simulation.device import Device
from tidings.testing.simulation.profile import Stored
from tidings.testing.simulation.run import Options, run

SEEDS = "1-80"
OF_GROUPS = "1-30"
DROPPED = b"100"


def simulate(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tidings.testing.simulation", *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_broken() -> None:
    done = simulate(SEEDS, "--people", "pairs", "--processes", "2")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_broken_on_a_lone_node() -> None:
    done = simulate("40", "--people", "pairs", "--nodes", "1", "--processes", "2")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_broken_in_groups() -> None:
    done = simulate(OF_GROUPS, "--people", "groups", "--processes", "2")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_broken_in_groups_on_a_lone_node() -> None:
    done = simulate("6", "--people", "groups", "--nodes", "1", "--processes", "2")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


@pytest.mark.slow
@pytest.mark.parametrize("people", ["pairs", "groups"])
def test_a_seed_is_one_run(people: str) -> None:
    seed = ("--people", people, "--seed", "7")
    one, other = (simulate(*seed, hash_seed=hash_seed).stdout for hash_seed in ("1", "2"))
    assert "digest" in one
    assert one == other


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_broken_is_found_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Device.store

    def forgetful(self: Device, one: Stored, connection: Connection, *, stands: bool) -> None:
        if one.content != DROPPED:
            store(self, one, connection, stands=stands)

    monkeypatch.setattr(Device, "store", forgetful)
    outcome = run(Options(1, keeps_transcript=True))
    assert "1 delivered" in {broken.rule for broken in outcome.broken}
    assert any("«100»" in line and "writes" in line for line in outcome.transcript())
    assert command.main(["1", "--people", "pairs", "--processes", "1", "--tries", "25"]) == 1
    told = capsys.readouterr().out
    assert "again: python -m tidings.testing.simulation --people pairs --nodes 3 --seed 1" in told
    assert told.splitlines()[-1].startswith("1 seeds, 1 broken")
