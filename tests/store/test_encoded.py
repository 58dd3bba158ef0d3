"""Rows and batches as bytes."""

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.stores import (
    ASCENDING,
    BYTES_DOWN,
    CONTESTED,
    GROWING,
    LONE,
    STRS,
    TEST_TABLES,
    VERSIONS,
    BytesRow,
    ContestedRow,
    GrowingRow,
    IntRow,
    LoneRow,
    StrRow,
    VersionRow,
)
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.contract import Erase, Put, PutEach, Raise, Row, Table, Write, singly
from tidings.store.encoded import BatchEncoder, Erases, Part, Puts, Raises, RowCodec
from tidings.store.growing import grown
from tidings.store.schema import INBOX, InboxRow

TOP = (1 << 64) - 1
EDGES = (0, 1 << 7, 1 << 8, 1 << 16, 1 << 32, 1 << 63, TOP)
"""where MessagePack takes more bytes for an int"""
HERE = ConversationId(b"c" * 16)
CODECS = [RowCodec(table) for table in TEST_TABLES]
NUMBERS = {table: number for number, table in enumerate(TEST_TABLES)}
encode = BatchEncoder(CODECS)
IDS = st.binary(min_size=16, max_size=16)
NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)


def row(at: int) -> IntRow:
    return IntRow(UserId(7), 1, MessageId(at))


@given(st.integers(0, TOP), st.integers(0, TOP), st.text(max_size=9), st.binary(max_size=9))
def test_a_value_gives_its_row_and_begins_with_its_cause(at: int, cause: int, text: str, data: bytes) -> None:
    codec = RowCodec(ASCENDING)
    row = IntRow(UserId(7), 1, MessageId(at), text, data)
    value = codec.value(row, cause)
    assert codec.row(value) == row
    assert int.from_bytes(value[:8], "big") == cause


ROWS = st.builds(
    lambda high, higher, note: GrowingRow(HERE, UserId(1), high, higher, note),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["", "note"]),
)


@given(ROWS, ROWS)
def test_values_grow_as_rows_do(old: GrowingRow, new: GrowingRow) -> None:
    codec = RowCodec(GROWING)
    raised = codec.grown(codec.value(old, 0), codec.value(new, 0))
    assert raised == codec.value(grown(GROWING, old, new), 0)


def test_what_is_no_row_is_told() -> None:
    codec = RowCodec(GROWING)
    good = codec.value(GrowingRow(HERE, UserId(1), 1), 0)
    for bad in (
        b"",
        bytes(8),
        bytes(8) + b"\xc1",
        good[:-1],
        bytes(8) + msgspec.msgpack.encode(["no", "row"]),
    ):
        with pytest.raises(msgspec.DecodeError):
            codec.row(bad)
        with pytest.raises(msgspec.DecodeError):
            codec.grown(good, bad)


def test_rows_of_a_table_go_together() -> None:
    ascending, lone = CODECS[NUMBERS[ASCENDING]], CODECS[NUMBERS[LONE]]
    parts = encode([Put(ASCENDING, row(1), 5), Put(LONE, LoneRow("a"), 6), Put(ASCENDING, row(2), 7)])
    assert parts == [
        Puts(
            NUMBERS[ASCENDING],
            [
                ascending.keys.of_row(row(1)),
                ascending.value(row(1), 5),
                ascending.keys.of_row(row(2)),
                ascending.value(row(2), 7),
            ],
        ),
        Puts(NUMBERS[LONE], [lone.keys.of_row(LoneRow("a")), lone.value(LoneRow("a"), 6)]),
    ]


def test_between_writes_and_erasures_of_a_table_the_order_stays() -> None:
    batch: list[Write] = [
        Put(ASCENDING, row(1), 5),
        Erase(ASCENDING, (7, 1), 5),
        Raise(GROWING, GrowingRow(HERE, UserId(1), 1)),
        Erase(ASCENDING, (7, 1, 3), 6),
        Put(ASCENDING, row(2), 5),
        Erase(GROWING, (HERE,), 0),
    ]
    number, growing = NUMBERS[ASCENDING], NUMBERS[GROWING]
    assert [(type(part), part.table) for part in encode(batch)] == [
        (Puts, number),
        (Erases, number),
        (Raises, growing),
        (Puts, number),
        (Erases, growing),
    ]
    assert encode(batch)[1] == Erases(number, [(7, 1), (7, 1, 3)], [5, 6])


# --- a row for each of many -----------------------------------------------------------------

INTS = st.one_of(
    st.integers(0, TOP),
    st.sampled_from([edge + by for edge in EDGES for by in (-1, 0, 1) if 0 <= edge + by <= TOP]),
)
COLUMNS = st.one_of(
    st.tuples(
        st.just(ASCENDING),
        st.builds(IntRow, INTS, INTS, INTS, st.text(max_size=9), st.binary(max_size=300)),
        st.sampled_from(["partition", "part"]),
        st.lists(INTS, unique=True),
    ),
    st.tuples(
        st.just(BYTES_DOWN),
        st.builds(BytesRow, IDS, st.just(b"abcd"), st.text(max_size=9)),
        st.just("partition"),
        st.lists(IDS, unique=True),
    ),
    st.tuples(
        st.just(STRS),
        st.builds(StrRow, NAMES, NAMES, INTS, st.text(max_size=9)),
        st.just("partition"),
        st.lists(NAMES, unique=True),
    ),
    st.tuples(st.just(LONE), st.builds(LoneRow, NAMES, NAMES), st.just("name"), st.lists(NAMES, unique=True)),
    st.tuples(
        st.just(INBOX),
        st.builds(
            InboxRow,
            INTS,
            INTS,
            INTS,
            INTS,
            IDS,
            INTS,
            INTS,
            INTS,
            st.binary(max_size=300),
            st.dictionaries(INTS, st.binary(max_size=40), max_size=3),
            st.none() | INTS,
        ),
        st.sampled_from(["user_id", "bucket"]),
        st.lists(INTS, unique=True),
    ),
)


@settings(max_examples=400, deadline=None)
@given(COLUMNS, st.integers(0, TOP))
def test_a_row_for_each_is_the_bytes_of_as_many_puts(
    each: tuple[Table[Any], Row, str, list[Any]], cause: int
) -> None:
    encoding = BatchEncoder([RowCodec(each[0])])
    write = PutEach(*each, cause)
    (part,) = encoding([write])
    assert encoding(list(singly([write]))) == ([part] if write.values else [])


class WideRow(Row):
    """A row of more columns than one byte counts."""

    a: int
    b: int
    c: int = 0
    d: int = 0
    e: int = 0
    f: int = 0
    g: int = 0
    h: int = 0
    i: int = 0
    j: int = 0
    k: int = 0
    l: int = 0  # noqa: E741
    m: int = 0
    n: int = 0
    o: int = 0
    p: int = 0


def test_a_wide_row_for_each() -> None:
    table = Table("wide", WideRow, partition=("a", "b"))
    encoding = BatchEncoder([RowCodec(table)])
    each: list[Write] = [PutEach(table, WideRow(1 << 20, 2), "b", (1, 1 << 40), 5)]
    assert encoding(each) == encoding(list(singly(each)))


def test_what_cannot_be_in_a_key_is_told() -> None:
    for table, first, column, value in (
        (ASCENDING, row(1), "partition", -1),
        (ASCENDING, row(1), "part", TOP + 1),
        (LONE, LoneRow("a"), "name", "a\0"),
    ):
        with pytest.raises((ValueError, struct.error)):
            encode([PutEach(table, first, column, (value,), 5)])


def test_parts_come_back_from_the_wire_as_they_were() -> None:
    parts = encode(
        [
            Put(ASCENDING, row(1), 5),
            Raise(GROWING, GrowingRow(HERE, UserId(1), 1)),
            Erase(ASCENDING, (TOP, 1), TOP),
            Erase(LONE, ("a",), 5),
            Erase(GROWING, (HERE, 1), 0),
        ]
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(parts), type=list[Part]) == parts


@pytest.mark.parametrize(
    "write",
    [
        Put(GROWING, GrowingRow(HERE, UserId(1), 1), 1),
        Put(CONTESTED, ContestedRow("a", 1, b"r"), 1),
        Raise(ASCENDING, row(1)),
        Erase(CONTESTED, ("a",), 1),
        Put(VERSIONS, VersionRow("a", 1, 1), 1),
        Erase(VERSIONS, ("a",), 1),
        Erase(ASCENDING, (7,), 1),
        Erase(ASCENDING, (7, 1, 2, 3), 1),
    ],
    ids=lambda write: f"{type(write).__name__} {write.table.name}",
)
def test_what_no_table_takes_is_our_bug(write: Write) -> None:
    with pytest.raises(AssertionError):
        encode([write])
