"""The kinds of runs that there are, by who takes part: people who write two and two, or in groups."""

from tidings.testing.simulation.groups.run import GroupSimulation
from tidings.testing.simulation.loop import collected_after
from tidings.testing.simulation.run import GROUPS, PAIRS, Options, Outcome, Simulation

RUNS: dict[str, type[Simulation]] = {PAIRS: Simulation, GROUPS: GroupSimulation}


def simulation(options: Options) -> Simulation:
    """A run that has not begun."""
    return RUNS[options.people](options)


def run(options: Options) -> Outcome:
    """Run a seed, or a part of what happens in it."""
    with collected_after():
        return simulation(options).run()
