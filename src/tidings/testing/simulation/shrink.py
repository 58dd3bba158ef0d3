"""Shrinking: the least of what happened in a run that still breaks a rule.

Runs are replayed with parts left out: first whole families of faults, then halves and quarters of what is
left, of faults and of what people do. It gives up after a number of tries; what is found by then is told.
"""

from collections.abc import Callable, Iterator, Sequence

from tidings.testing.simulation.kinds import run, simulation
from tidings.testing.simulation.run import Options, Outcome

Breaks = Callable[[Options], bool]


class Shrinking:
    """Finds a smaller run that breaks the same rule."""

    def __init__(self, options: Options, rule: str, tries: int) -> None:
        self._options = options
        self._rule = rule
        self._left = tries

    def smallest(self) -> Options:
        """The options of the smallest run that was found."""
        planned = simulation(self._options).plan
        faults = _chosen(self._options.injections, len(planned.injections))
        deeds = _chosen(self._options.actions, len(planned.actions))
        for kind in dict.fromkeys(planned.injections[place].fault.split(":")[0] for place in faults):
            without = [place for place in faults if not planned.injections[place].fault.startswith(kind)]
            if len(without) < len(faults) and self._breaks(without, deeds):
                faults = without
        faults = self._reduced(faults, lambda some: self._breaks(some, deeds))
        deeds = self._reduced(deeds, lambda some: self._breaks(faults, some))
        faults = self._reduced(faults, lambda some: self._breaks(some, deeds))
        return self._options._replace(injections=tuple(faults), actions=tuple(deeds))

    def _reduced(self, places: list[int], breaks: Callable[[list[int]], bool]) -> list[int]:
        """Leave out halves, quarters, … as long as it still breaks."""
        parts = 2
        while places and self._left > 0 and parts <= 2 * len(places):
            for part in _split(places, min(parts, len(places))):
                left_out = set(part)
                without = [place for place in places if place not in left_out]
                if breaks(without):
                    places = without
                    break
            else:
                parts *= 2
        return places

    def _breaks(self, faults: Sequence[int], deeds: Sequence[int]) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        try:
            outcome = run(self._options._replace(injections=frozenset(faults), actions=frozenset(deeds)))
        except Exception:
            return False  # another failure than the one that is looked for
        return any(broken.rule == self._rule for broken in outcome.broken)


def told(options: Options) -> Outcome:
    """Run again, with a transcript."""
    return run(options._replace(keeps_transcript=True))


def _chosen(places: object, count: int) -> list[int]:
    return sorted(places) if isinstance(places, frozenset | tuple | set | list) else list(range(count))


def _split(places: list[int], parts: int) -> Iterator[list[int]]:
    for part in range(parts):
        yield places[part * len(places) // parts : (part + 1) * len(places) // parts]
