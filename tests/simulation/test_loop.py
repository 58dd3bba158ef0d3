"""The loop: virtual time, and processes that are stopped, paused or killed."""

import asyncio

from tidings.testing.simulation.loop import Loop
from tidings.testing.simulation.machines import EPOCH_MS, Machine, MachineClock, Process


class Rig:
    """A machine with a process that notes each second what its clock shows."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.machine = Machine("m", booted_s=100.0)
        self.process = Process("p", self.machine, self.loop)
        self.ticks: list[tuple[float, float]] = []
        """the true time and the process's"""
        self.task = self.loop.spawn(self.process, self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.ticks.append((self.loop.now_s, asyncio.get_running_loop().time()))

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))


def test_time_passes_without_waiting() -> None:
    rig = Rig()
    rig.pass_time(3600.5)
    assert len(rig.ticks) == 3600
    assert rig.ticks[-1] == (3600.0, 3700.0)
    rig.loop.close()


def test_a_stopped_process_finds_its_timers_due() -> None:
    rig = Rig()
    rig.pass_time(1.5)
    rig.process.stop()
    rig.pass_time(10.0)
    assert len(rig.ticks) == 1
    rig.process.resume()
    rig.pass_time(0.1)
    assert rig.ticks[1] == (11.5, 111.5)
    rig.loop.close()


def test_the_clocks_of_a_paused_machine_stand_still() -> None:
    rig = Rig()
    clock = MachineClock(rig.loop, rig.machine)
    rig.pass_time(1.5)
    rig.loop.pause(rig.machine)
    rig.pass_time(10.0)
    assert len(rig.ticks) == 1
    rig.loop.unpause(rig.machine)
    assert clock.monotonic_s() == 101.5
    assert clock.wall_ms() == EPOCH_MS + 1500
    rig.pass_time(0.6)
    assert rig.ticks[1] == (12.0, 102.0)
    rig.loop.close()


def test_nothing_of_a_killed_process_runs_any_more() -> None:
    rig = Rig()
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(2.0)
        finally:
            ended.append("finally")

    rig.loop.spawn(rig.process, work())
    rig.pass_time(1.5)
    rig.process.kill()
    rig.pass_time(10.0)
    assert len(rig.ticks) == 1
    assert ended == []
    rig.loop.close()


def test_what_others_do_for_a_process_waits_for_it() -> None:
    rig = Rig()
    done: list[float] = []
    rig.process.stop()
    rig.loop.post(rig.process, lambda: done.append(rig.loop.now_s))
    rig.pass_time(5.0)
    assert done == []
    rig.process.resume()
    rig.pass_time(0.0)
    assert done == [5.0]
    rig.loop.close()


def test_what_nobody_catches_is_reported_with_whose_it_is() -> None:
    rig = Rig()
    rig.loop.post(rig.process, lambda: 1 / 0)
    rig.pass_time(0.1)
    (report,) = rig.loop.reports
    assert report.process == "p"
    assert isinstance(report.error, ZeroDivisionError)
    rig.loop.close()
