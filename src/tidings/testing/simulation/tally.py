"""What happened how often, in which phase."""

from collections import Counter


class Tally:
    """Counts by phase and name. `phase` is set by whoever moves the run on."""

    def __init__(self) -> None:
        self.phase = ""
        self.counts: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, times: int = 1) -> None:
        """It happened now."""
        self.counts[self.phase, name] += times
