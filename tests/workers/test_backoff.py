"""How soon one follows another."""

from tidings.hub.link import GIVE_UP_S
from tidings.server.workers.backoff import FIRST_S, LIVED_S, MOST_S, VITAL_S, Backoff


def test_who_lived_is_followed_at_once() -> None:
    backoff = Backoff()
    assert [backoff.wait_s(LIVED_S) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_who_dies_again_and_again_waits_longer_and_longer_up_to_a_bound() -> None:
    backoff = Backoff()
    waits = [backoff.wait_s(0.1) for _ in range(12)]
    assert waits[:4] == [0.0, FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert waits == sorted(waits)
    assert waits[-1] == MOST_S
    assert [backoff.wait_s(LIVED_S), backoff.wait_s(0.1)] == [0.0, FIRST_S]


def test_the_hub_is_there_again_before_what_waits_for_it_is_given_up() -> None:
    backoff = Backoff(VITAL_S)
    assert max(backoff.wait_s(0.1) for _ in range(12)) == VITAL_S < GIVE_UP_S / 2
