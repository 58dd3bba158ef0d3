"""Calm: the spans in which nothing was wrong."""

from tidings.testing.simulation.calm import Calm, first_calm


def disturbed(*spans: tuple[float, float]) -> Calm:
    calm = Calm()
    for begin_s, end_s in spans:
        calm.disturbed(begin_s, end_s)
    return calm


def test_it_holds_where_no_span_reaches() -> None:
    calm = disturbed((10.0, 12.0), (5.0, 11.0))
    assert calm.holds(0.0, 4.0)
    assert calm.holds(13.0, 20.0)
    assert not calm.holds(4.0, 6.0)
    assert not calm.holds(11.5, 20.0)


def test_the_first_span_is_long_enough() -> None:
    calm = disturbed((5.0, 6.0), (7.0, 8.0))
    assert calm.first_span(0.0, 2.0) == 0.0
    assert calm.first_span(4.0, 2.0) == 8.0
    assert calm.first_span(5.5, 0.5) == 6.0


def test_several_are_calm_at_once() -> None:
    one, other = disturbed((0.0, 3.0), (8.0, 9.0)), disturbed((2.0, 5.0), (9.5, 11.0))
    assert first_calm((one, other), 1.0, 2.0) == 5.0
    assert first_calm((one, other), 1.0, 4.0) == 11.0
    assert first_calm((), 1.0, 4.0) == 1.0
