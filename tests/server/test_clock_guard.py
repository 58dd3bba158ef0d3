"""When a machine's wall clock may be relied upon."""

from collections.abc import Callable

import pytest

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


class Paused:
    """A clock to go by, whose first answer is on its way while this machine is paused with its clocks."""

    def __init__(self, bench: Bench, went_on: Callable[[int], None]) -> None:
        self._bench = bench
        self._went_on = went_on
        """given the time by then, before the answer is read"""
        self._asked = 0

    async def time_ms(self, *, fresh: bool = False) -> int:
        answer = await self._bench.directory.time_ms(fresh=fresh)
        self._asked += 1
        if self._asked == 1:
            self._bench.off_ms = 20_000
            self._went_on(await self._bench.directory.time_ms())
        return answer


@pytest.mark.parametrize("is_told_the_time", [False, True])
async def test_an_answer_from_before_a_doubt_does_not_end_it(*, is_told_the_time: bool) -> None:
    bench = Bench()
    assert await bench.is_right(0)

    def went_on(now_ms: int) -> None:
        if is_told_the_time:
            assert bench.guard.is_behind(now_ms)
        else:
            bench.guard.doubt()

    await bench.guard.compare(Paused(bench, went_on))
    assert not bench.guard.is_right()
    assert bench.guard.ahead_ms == -20_000  # it was compared again


async def test_a_doubt_while_right_clocks_are_compared_is_settled_at_once() -> None:
    bench = Bench()

    def went_on(_: int) -> None:
        bench.off_ms = 0
        bench.guard.doubt()

    await bench.guard.compare(Paused(bench, went_on))
    assert bench.guard.is_right()
