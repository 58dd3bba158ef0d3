"""Ids only grow, whatever the clock does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.domain.clock import AHEAD_MS, IdClock
from tidings.protocol import ids
from tidings.protocol.errors import OVERLOADED, ProtocolError
from tidings.testing.clock import FakeClock


@given(st.lists(st.floats(-100_000, 100_000), max_size=200))
def test_ids_grow_while_the_clock_jumps(jumps: list[float]) -> None:
    clock = FakeClock()
    id_clock = IdClock(clock)
    last = 0
    for seconds in jumps:
        clock.jump(seconds)
        given_id = id_clock.next()
        assert given_id > last
        last = given_id


def test_an_id_tells_its_time() -> None:
    clock = FakeClock()
    assert ids.unix_ms(IdClock(clock).next()) == clock.wall_ms()


def test_ids_go_on_from_the_floor_until_the_clock_has_caught_up() -> None:
    clock = FakeClock()
    floor = IdClock(clock).next()
    clock.jump(-3600)
    later = IdClock(clock, floor=floor)
    first = later.next()
    assert first > floor
    assert ids.unix_ms(first) - ids.unix_ms(floor) <= 1
    assert later.now_ms() >= ids.unix_ms(floor)
    clock.jump(7200)
    assert ids.unix_ms(later.next()) == clock.wall_ms()


def test_a_floor_an_hour_ahead_gives_ids_without_end() -> None:
    clock = FakeClock()
    floor = IdClock(clock).next()
    clock.jump(-3600)
    later = IdClock(clock, floor=floor)
    given_ids = [later.next() for _ in range(5000)]
    assert given_ids == sorted(set(given_ids))


def test_ids_run_only_so_far_ahead_of_the_clock() -> None:
    clock = FakeClock()
    id_clock = IdClock(clock)

    def exhaust() -> None:
        for _ in range(2_000_000):
            id_clock.next()

    with pytest.raises(ProtocolError) as refused:
        exhaust()
    assert refused.value.kind is OVERLOADED
    assert ids.unix_ms(id_clock.last) - clock.wall_ms() <= AHEAD_MS
    clock.advance(1)
    id_clock.next()


def test_time_does_not_go_back_although_no_id_was_given_meanwhile() -> None:
    clock = FakeClock()
    id_clock = IdClock(clock)
    clock.advance(60)
    before = id_clock.now_ms()
    clock.jump(-30)
    assert id_clock.now_ms() >= before
    assert ids.unix_ms(id_clock.next()) >= before


def test_a_clock_that_is_set_back_while_running_stops_nobody() -> None:
    clock = FakeClock()
    id_clock = IdClock(clock)
    first = id_clock.next()
    clock.jump(-300)
    given_ids = [id_clock.next() for _ in range(5000)]
    assert given_ids == sorted(set(given_ids))
    assert given_ids[0] > first
