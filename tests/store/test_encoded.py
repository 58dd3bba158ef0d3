"""Rows and batches as bytes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.stores import (
    ASCENDING,
    CONTESTED,
    GROWING,
    LONE,
    TEST_TABLES,
    VERSIONS,
    ContestedRow,
    GrowingRow,
    IntRow,
    LoneRow,
    VersionRow,
)
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.contract import Erase, Put, Raise, Write
from tidings.store.encoded import BatchEncoder, Erases, Part, Puts, Raises, RowCodec
from tidings.store.growing import grown

TOP = (1 << 64) - 1
HERE = ConversationId(b"c" * 16)
CODECS = [RowCodec(table) for table in TEST_TABLES]
NUMBERS = {table: number for number, table in enumerate(TEST_TABLES)}
encode = BatchEncoder(CODECS)


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
