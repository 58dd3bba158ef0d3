"""Time that goes several times as fast, and of which some may be skipped.

Nodes wait for each other: a block is answered once no node acts on what was before, which takes
seconds. A test that waits for that waits for a tenth of it. All that a node, a hub or a device knows
of time comes from the loop or from the clock, and both go at one pace, so that nothing else differs.
"""

import asyncio
import selectors
import time

PACE = 4
"""seconds that pass in one"""
PATIENCE_S = 10.0 * PACE
"""after so long without what is waited for, a test has failed"""


class _PacedSelector(selectors.DefaultSelector):
    """Takes timeouts at the loop's pace."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / PACE)


class PacedLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, whose every second is a tenth of one."""

    def __init__(self) -> None:
        super().__init__(_PacedSelector())

    def time(self) -> float:
        return super().time() * PACE


class PacedClock:
    """Implements the clock of the rules and that of the SDK. Whoever sleeps when time is skipped wakes up."""

    def __init__(self) -> None:
        self._wall_ns = time.time_ns()
        self._began_ns = time.monotonic_ns()
        self._skipped_ns = 0
        self._skipping = asyncio.Event()

    def wall_ns(self) -> int:
        """Unix nanoseconds."""
        return self._wall_ns + self._passed_ns()

    def wall_ms(self) -> int:
        return self.wall_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Nanoseconds that only grow."""
        return self._began_ns + self._passed_ns()

    def monotonic_s(self) -> float:
        return self.monotonic_ns() / 1e9

    async def sleep(self, seconds: float) -> None:
        until_s = self.monotonic_s() + seconds
        while (left_s := until_s - self.monotonic_s()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await self._skipping.wait()
            except TimeoutError:
                return
        await asyncio.sleep(0)

    def skip(self, seconds: float) -> None:
        """So many seconds have passed for everybody who looks at the clock. The loop's timers stay."""
        self._skipped_ns += round(seconds * 1e9)
        self._skipping.set()
        self._skipping = asyncio.Event()

    def _passed_ns(self) -> int:
        return (time.monotonic_ns() - self._began_ns) * PACE + self._skipped_ns
