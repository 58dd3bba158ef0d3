"""A few tries are free, then each row of them costs more."""

import pytest

from tidings.domain.tries import LONGEST_WAIT_S, Tries
from tidings.protocol.errors import ProtocolError
from tidings.testing.clock import FakeClock


def wait_s(tries: Tries[str], name: str) -> float:
    try:
        tries.check(name)
    except ProtocolError as error:
        return error.retry_after_s or 0.0
    return 0.0


def test_waits_double_up_to_a_day() -> None:
    clock = FakeClock()
    tries: Tries[str] = Tries(clock, 10)
    waits = []
    for _ in range(14):
        for _ in range(5):
            assert wait_s(tries, "alice") == 0
            tries.note("alice")
        waits.append(wait_s(tries, "alice"))
        clock.advance(waits[-1])
    assert waits[:4] == pytest.approx([60, 120, 240, 480], abs=0.2)
    assert waits[-1] == pytest.approx(LONGEST_WAIT_S, abs=0.2)
    assert wait_s(tries, "bob") == 0


def test_a_success_and_a_day_of_quiet_forgive() -> None:
    clock = FakeClock()
    tries: Tries[str] = Tries(clock, 10)
    for _ in range(5):
        tries.note("alice")
    tries.forget("alice")
    assert wait_s(tries, "alice") == 0
    for _ in range(4):
        tries.note("alice")
    clock.advance(2 * 86_400)
    tries.note("alice")
    assert wait_s(tries, "alice") == 0


def test_memory_is_bounded() -> None:
    tries: Tries[str] = Tries(FakeClock(), 10)
    for number in range(1000):
        tries.note(f"user{number}")
    assert len(tries._counts) == 10
