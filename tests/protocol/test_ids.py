"""spec §3"""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocol import ids
from tidings.protocol.ids import UserId

MS_MAX = ids.EPOCH_MS + (1 << 41) - 1
moments = st.tuples(
    st.integers(ids.EPOCH_MS, MS_MAX), st.integers(0, ids.NODE_MAX), st.integers(0, ids.SEQUENCE_MAX)
)
users = st.integers(0, ids.SNOWFLAKE_MAX).map(UserId)


@given(moments)
def test_a_snowflake_holds_its_parts(parts: tuple[int, int, int]) -> None:
    ms, node, sequence = parts
    made = ids.snowflake(ms, node, sequence)
    assert 0 <= made <= ids.SNOWFLAKE_MAX
    assert ids.unix_ms(made) == ms
    assert made >> ids.SEQUENCE_BITS & ids.NODE_MAX == node
    assert made & ids.SEQUENCE_MAX == sequence


@given(moments, moments)
def test_snowflakes_sort_by_time_then_node_then_sequence(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    assert (ids.snowflake(*one) < ids.snowflake(*other)) == (one < other)


def test_the_greatest_snowflake_is_the_last_of_its_41_bits() -> None:
    assert ids.snowflake(MS_MAX, ids.NODE_MAX, ids.SEQUENCE_MAX) == ids.SNOWFLAKE_MAX


@pytest.mark.parametrize(("node", "sequence"), [(-1, 0), (ids.NODE_MAX + 1, 0), (0, -1), (0, 1024)])
def test_parts_that_do_not_fit_are_a_bug_of_ours(node: int, sequence: int) -> None:
    with pytest.raises(AssertionError):
        ids.snowflake(ids.EPOCH_MS, node, sequence)


@given(moments)
def test_first_at_is_the_smallest_of_its_millisecond(parts: tuple[int, int, int]) -> None:
    made = ids.snowflake(*parts)
    assert ids.first_at(parts[0]) <= made
    assert made < ids.first_at(parts[0] + 1)


def test_before_the_epoch_there_is_only_zero() -> None:
    assert ids.first_at(0) == 0
    assert ids.first_at(ids.EPOCH_MS) == 0


@given(users, users)
def test_both_sides_find_the_same_direct_conversation(one: UserId, other: UserId) -> None:
    found = ids.direct_conversation_id(one, other)
    assert found == ids.direct_conversation_id(other, one)
    assert len(found) == ids.CONVERSATION_ID_BYTES


@given(users, users, users)
def test_other_people_have_another_conversation(one: UserId, other: UserId, third: UserId) -> None:
    same = ids.direct_conversation_id(one, other) == ids.direct_conversation_id(one, third)
    assert same == (other == third)


def test_a_direct_conversation_id_is_what_the_spec_says() -> None:
    text = b"tidings direct conversation v1" + bytes([0] * 7 + [1] + [0] * 7 + [2])
    expected = hashlib.sha256(text).digest()[:16]
    assert ids.direct_conversation_id(UserId(2), UserId(1)) == expected


def test_client_ids_count_behind_their_prefix() -> None:
    prefix = bytes(range(8))
    assert ids.client_id(prefix, 258) == prefix + b"\0\0\0\0\0\0\1\2"
    assert ids.client_id(prefix, 1) < ids.client_id(prefix, 2)


def test_a_prefix_of_another_length_is_a_bug_of_ours() -> None:
    with pytest.raises(AssertionError):
        ids.client_id(b"short", 1)


def test_the_id_of_a_group_is_what_the_spec_says() -> None:
    maker, nonce = UserId(0x0102030405060708), bytes(range(16))
    made = ids.group_conversation_id(maker, nonce)
    assert made == hashlib.sha256(b"group" + bytes(range(1, 9)) + nonce).digest()[:16]
    assert made != ids.group_conversation_id(UserId(maker + 1), nonce)
