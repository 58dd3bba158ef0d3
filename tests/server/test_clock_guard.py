"""When a machine's wall clock may be relied upon."""

from tidings.directory.memory import MemoryDirectory, Places
from tidings.server.clock_guard import LEFT_MS, SKEW_MS, ClockGuard
from tidings.testing.clock import FakeClock


class Bench:
    """A guard, and a directory whose clock is off."""

    def __init__(self) -> None:
        self.clock, self.off_ms = FakeClock(), 0
        self.guard = ClockGuard(self.clock)
        self.directory = MemoryDirectory(Places(lambda: self.clock.wall_ms() + self.off_ms))

    async def is_right(self, off_ms: int) -> bool:
        """Whether it is, once the clocks were compared."""
        self.off_ms = off_ms
        await self.guard.compare(self.directory)
        return self.guard.is_right()


async def test_a_clock_is_right_as_far_as_it_agrees() -> None:
    bench = Bench()
    assert not bench.guard.is_right()
    assert await bench.is_right(-SKEW_MS)
    assert not await bench.is_right(LEFT_MS + 1)
    assert not await bench.is_right(-LEFT_MS - 1)


async def test_a_clock_at_the_limit_is_not_right_and_wrong_by_turns() -> None:
    bench = Bench()
    assert not await bench.is_right(SKEW_MS + 1)
    assert await bench.is_right(SKEW_MS)
    for off_ms in (SKEW_MS + 1, SKEW_MS - 1, LEFT_MS, SKEW_MS + 1):
        assert await bench.is_right(off_ms)
        assert not bench.guard.is_behind(bench.clock.wall_ms() + off_ms)
    assert bench.guard.is_behind(bench.clock.wall_ms() + LEFT_MS + 1)
    assert not await bench.is_right(SKEW_MS + 1)
