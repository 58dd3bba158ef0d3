"""Who is killed for being silent, and who is not."""

from typing import Any, cast

import structlog

from tidings.server.workers.watch import AWAY_S, ROUND_S, SILENT_S, Watch


class Process:
    """As much of a child as the watch looks at."""

    def __init__(self, name: str, *, ready: bool = True) -> None:
        self.name = name
        self.pid = 1
        self.ready_s = 0.0 if ready else None
        self.heard_s = 0.0
        self.has_ended = False

    def kill(self) -> None:
        self.has_ended = True


class Rig:
    def __init__(self, *processes: Process) -> None:
        self.now_s = 0.0
        log = structlog.wrap_logger(structlog.ReturnLogger())
        self.watch = Watch(lambda: cast(Any, processes), lambda: self.now_s, log)

    def rounds(self, number: int, *heard: Process) -> None:
        for _ in range(number):
            self.now_s += ROUND_S
            for one in heard:
                one.heard_s = self.now_s
            self.watch.look()


SILENT_ROUNDS = round(SILENT_S / ROUND_S)


def test_who_is_silent_is_killed_and_nobody_else() -> None:
    silent, other = Process("worker1"), Process("worker2")
    rig = Rig(silent, other)
    rig.rounds(SILENT_ROUNDS - 1, other)
    assert not silent.has_ended
    rig.rounds(1, other)
    assert silent.has_ended
    rig.rounds(SILENT_ROUNDS, other)
    assert not other.has_ended


def test_who_starts_may_take_their_time() -> None:
    starting = Process("hub", ready=False)
    Rig(starting).rounds(10 * SILENT_ROUNDS)
    assert not starting.has_ended


def test_a_supervisor_that_was_away_judges_nobody() -> None:
    """The machine was suspended, or the supervisor stopped: nobody could be heard."""
    one = Process("worker1")
    rig = Rig(one)
    rig.rounds(SILENT_ROUNDS - 1)
    rig.now_s += 3600
    rig.rounds(SILENT_ROUNDS)
    assert not one.has_ended
    rig.rounds(1)
    assert one.has_ended


def test_a_supervisor_that_is_a_little_late_still_judges() -> None:
    one = Process("worker1")
    rig = Rig(one)
    for _ in range(10):
        rig.now_s += AWAY_S / 2
        rig.rounds(1)
    assert one.has_ended
