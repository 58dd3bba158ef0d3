"""Pauses between tries."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tidings.client.backoff import FIRST_S, HELD_S, LONGEST_S, Backoff


@given(st.integers(), st.integers(min_value=1, max_value=2000))
def test_the_first_try_is_at_once_and_the_span_doubles_to_its_bound(seed: int, tries: int) -> None:
    backoff = Backoff(Random(seed))
    assert backoff.next_s() == 0
    for number in range(tries):
        assert 0 <= backoff.next_s() <= min(LONGEST_S, FIRST_S * 2.0 ** min(number, 100))


def test_pauses_differ_from_client_to_client() -> None:
    pauses = set()
    for seed in range(50):
        backoff = Backoff(Random(seed))
        for _ in range(10):
            last = backoff.next_s()
        pauses.add(last)
    assert len(pauses) == 50
    assert max(pauses) > LONGEST_S / 2 > min(pauses)


def test_only_a_connection_that_held_makes_a_new_start() -> None:
    backoff = Backoff(Random(1))
    for _ in range(5):
        backoff.next_s()
    backoff.held(HELD_S / 2)
    assert backoff.next_s() > 0
    backoff.held(HELD_S)
    assert backoff.next_s() == 0
