"""Token buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocol.errors import RATE_LIMITED, ProtocolError
from tidings.protocol.limits import Rate
from tidings.server.rate import AddressRates, KeyedRates, TokenBucket, limited, network


@given(st.lists(st.floats(0, 5), max_size=200), st.floats(0.1, 100), st.integers(1, 50))
def test_never_more_than_the_burst_and_what_time_brought(gaps: list[float], per_s: float, burst: int) -> None:
    bucket = TokenBucket(Rate(per_s, burst), 0.0)
    now_s = 0.0
    taken = 0
    for gap in gaps:
        now_s += gap
        taken += bucket.take(now_s) == 0.0
        assert taken <= burst + now_s * per_s + 1e-6


def test_waiting_as_long_as_it_says_is_enough() -> None:
    bucket = TokenBucket(Rate(per_s=2, burst=1), 0.0)
    assert bucket.take(0.0) == 0.0
    wait_s = bucket.take(0.0)
    assert 0 < wait_s <= 0.5
    assert bucket.take(wait_s + 1e-9) == 0.0


def test_addresses_are_apart_and_the_oldest_is_forgotten() -> None:
    rates = AddressRates(Rate(per_s=0.001, burst=1), tracked=2)
    rates.check("a", 0.0)
    with pytest.raises(ProtocolError) as refused:
        rates.check("a", 0.0)
    assert refused.value.kind is RATE_LIMITED
    rates.check("b", 0.0)
    rates.check("c", 0.0)
    rates.check("a", 0.0)


@given(st.floats(1e-6, 100))
def test_a_client_is_told_to_wait_long_enough_never_zero(wait_s: float) -> None:
    told = limited(wait_s).retry_after_s
    assert told is not None
    assert told >= wait_s


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("not:an:address", "not:another", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) is same
    rates = AddressRates(Rate(per_s=0.001, burst=1), tracked=10)
    rates.check(one, 0.0)
    if not same:
        rates.check(other, 0.0)
        return
    with pytest.raises(ProtocolError):
        rates.check(other, 0.0)


def test_a_rate_that_changes_counts_at_once() -> None:
    rate = Rate(per_s=0.001, burst=1)
    rates: KeyedRates[int] = KeyedRates(lambda: rate, tracked=10)
    rates.check(1, 0.0)
    rate = Rate(per_s=0.001, burst=2)
    rates.check(1, 0.0)
    rates.check(1, 0.0)
    with pytest.raises(ProtocolError):
        rates.check(1, 0.0)
