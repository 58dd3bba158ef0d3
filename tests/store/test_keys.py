"""The order of keys as bytes is the order of their columns."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.stores import ASCENDING, BYTES, BYTES_DOWN, DESCENDING, LONE, STRS, STRS_DOWN, IntRow
from tidings.protocol.ids import MessageId, UserId
from tidings.store.contract import Row, Table
from tidings.store.keys import KeyCodec, key_type
from tidings.store.schema import TABLES

TOP = (1 << 64) - 1
ints = st.integers(0, TOP) | st.sampled_from((0, 1, 255, 256, TOP - 1, TOP))
strs = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=4)
KEYS: list[tuple[Table[Any], st.SearchStrategy[Any]]] = [
    (ASCENDING, st.tuples(ints, ints, ints)),
    (DESCENDING, st.tuples(ints, ints, ints)),
    (BYTES, st.tuples(st.binary(min_size=2, max_size=2), st.binary(min_size=4, max_size=4))),
    (BYTES_DOWN, st.tuples(st.binary(min_size=2, max_size=2), st.binary(min_size=4, max_size=4))),
    (STRS, st.tuples(strs, strs, ints)),
    (STRS_DOWN, st.tuples(strs, strs, ints)),
    (LONE, st.tuples(strs)),
]
in_each_table = pytest.mark.parametrize(("table", "keys"), KEYS, ids=lambda of: getattr(of, "name", ""))


def comes_before(table: Table[Any], one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    columns = len(table.partition)
    if one[:columns] != other[:columns] or not table.descending:
        return one < other
    return one[columns:] > other[columns:]


@in_each_table
@given(data=st.data())
def test_bytes_order_like_columns(
    table: Table[Any], keys: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    one, other = data.draw(keys), data.draw(keys)
    codec = KeyCodec(table)
    assert (codec.of_key(one) < codec.of_key(other)) is comes_before(table, one, other)
    assert (codec.of_key(one) == codec.of_key(other)) is (one == other)


@in_each_table
@given(data=st.data())
def test_a_span_holds_its_partition_and_nothing_else(
    table: Table[Any], keys: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    one, other = data.draw(keys), data.draw(keys)
    columns = len(table.partition)
    codec = KeyCodec(table)
    span = codec.span(one[:columns], None, None)
    key = codec.of_key(other)
    inside = span.first <= key and (span.end is None or key < span.end)
    assert inside is (other[:columns] == one[:columns])


def test_a_row_and_its_key_give_the_same_bytes() -> None:
    row = IntRow(UserId(7), 1, MessageId(9), "text")
    for table in (ASCENDING, DESCENDING):
        assert KeyCodec(table).of_row(row) == KeyCodec(table).of_key((7, 1, 9))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_of_the_schema_has_keys(table: Table[Any]) -> None:
    codec = KeyCodec(table)
    zeros: dict[Any, Any] = {int: 1, bytes: b"b", str: "s"}
    key = tuple(zeros[key_type(table.row, column)] for column in table.key)
    assert codec.span(key[: len(table.partition)], None, None).first <= codec.of_key(key)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (ASCENDING, (-1, 0, 0)),
        (ASCENDING, (1 << 64, 0, 0)),
        (DESCENDING, (0, 0, -1)),
        (DESCENDING, (0, 0, 1 << 64)),
        (STRS, ("nul\0", "", 0)),
        (STRS_DOWN, ("", "nul\0", 0)),
        (BYTES, (bytes(256), b"")),
    ],
)
def test_values_that_no_key_may_hold(table: Table[Any], key: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, IndexError, struct.error)):
        KeyCodec(table).of_key(key)


def test_other_types_are_no_key_columns() -> None:
    class Odd(Row):
        number: float
        maybe: int | None

    for column in ("number", "maybe"):
        with pytest.raises(TypeError, match=column):
            key_type(Odd, column)
