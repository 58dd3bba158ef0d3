"""The check of a replay: who should have received what, in which order, and what they did.

A message is known by its reference, not by its message_id: should a crash make the server take
one twice, it is still one. It does no IO.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Verdict:
    """What came of it, summed over all receivers."""

    deliveries: int
    lost: int
    duplicates: int
    out_of_order: int

    @property
    def is_clean(self) -> bool:
        """Whether everything arrived, once, in order."""
        return self.lost == self.duplicates == self.out_of_order == 0


@dataclass
class Tally(Generic[Name]):
    """One receiver's expectation, and what arrived; what was not expected is somebody else's."""

    expected: list[Name] = field(default_factory=list)
    arrived: list[Name] = field(default_factory=list)

    def missing(self) -> int:
        """How many are still to come."""
        return len(set(self.expected) - set(self.arrived))

    def verdict(self) -> Verdict:
        """Compare."""
        place = {name: index for index, name in enumerate(self.expected)}
        ours = [name for name in self.arrived if name in place]
        firsts = list(dict.fromkeys(ours))
        return Verdict(
            len(firsts),
            self.missing(),
            len(ours) - len(firsts),
            _overtaken([place[name] for name in firsts]),
        )


def total(verdicts: Sequence[Verdict]) -> Verdict:
    """The sum over receivers."""
    return Verdict(
        sum(one.deliveries for one in verdicts),
        sum(one.lost for one in verdicts),
        sum(one.duplicates for one in verdicts),
        sum(one.out_of_order for one in verdicts),
    )


def _overtaken(places: Sequence[int]) -> int:
    """How many came after one that belongs behind them."""
    greatest, count = -1, 0
    for place in places:
        if place < greatest:
            count += 1
        greatest = max(greatest, place)
    return count
