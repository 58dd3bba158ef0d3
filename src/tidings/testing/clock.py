"""A clock that moves only when it is told to."""


class FakeClock:
    """Implements `domain.clock.Clock`; both clocks move together unless `jump` is used."""

    def __init__(self, wall_ms: int = 1_800_000_000_000) -> None:
        self._wall_ms = wall_ms
        self._monotonic_s = 1000.0

    def wall_ms(self) -> int:
        return self._wall_ms

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self._wall_ms += round(seconds * 1000)
        self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Somebody set the wall clock."""
        self._wall_ms += round(seconds * 1000)
