"""Rows as bytes: what an embedded store keeps, and what goes to a hub and comes back as it is.

A *value* is the row's cause, 8 bytes big-endian, and the row in MessagePack: of two values of one
row the one with the greater first bytes stays, and whoever only asks how old a row is decodes
nothing. A batch in this form is made once, by whoever has the rows; a store that keeps them so
takes it over without looking into them.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, NamedTuple

import msgspec

from tidings.store.contract import Batch, Erase, KeyPart, Put, PutEach, R, Raise, Row, Table
from tidings.store.growing import grown
from tidings.store.keys import KeyCodec

CAUSE_BYTES = 8
COPIED_BYTES = 4096
"""a value of so many is copied faster than it is looked into where it lies"""

TableNumber = Annotated[int, msgspec.Meta(ge=0)]
"""A table's place among the tables of the store."""
AnyKey = tuple[Any, ...]
"""A `Key`: msgspec takes no union of bytes and str, though MessagePack tells them apart."""

_encode = msgspec.msgpack.Encoder().encode
_ARRAY_16 = 0xDC
"""how an array of more than 15 begins: a row of so many columns"""


class Puts(msgspec.Struct, array_like=True, tag=0, gc=False):
    """Rows to be put into one table."""

    table: TableNumber
    rows: list[bytes]
    """keys and values, by turns"""


class Raises(msgspec.Struct, array_like=True, tag=1, gc=False):
    """Rows of one table to be raised."""

    table: TableNumber
    rows: list[bytes]
    """keys and values, by turns"""


class Erases(msgspec.Struct, array_like=True, tag=2, gc=False):
    """What is to be erased from one table."""

    table: TableNumber
    keys: list[AnyKey]
    """of partitions or of rows"""
    causes: list[int]
    """as many"""


Part = Puts | Raises | Erases
"""What a batch writes to one table. A table may have several, and their order counts; between
tables there is none, since no row of one has to do with a row of another."""


class Caused(NamedTuple, Generic[R]):
    """A row and its cause; 0 where rows have none."""

    row: R
    cause: int


def cause_bytes(cause: int) -> bytes:
    """A cause as values begin with it."""
    return cause.to_bytes(CAUSE_BYTES, "big")


class RowCodec(Generic[R]):
    """A table's rows as keys and values."""

    def __init__(self, table: Table[R]) -> None:
        self.table = table
        self.takes_puts = not table.grows and not table.contested
        self.keys = KeyCodec(table)
        self._copiers: dict[str, Copier[R]] = {}
        self._decode = msgspec.msgpack.Decoder(table.row).decode
        self._is_higher = _compared(table.grows)

    def value(self, row: Row, cause: int) -> bytes:
        """A row and its cause. Raises TypeError for what is no row."""
        return cause.to_bytes(CAUSE_BYTES, "big") + _encode(row)

    def copies(self, row: R, column: str, values: Sequence[KeyPart], cause: int) -> list[bytes]:
        """Keys and values, by turns, of a row with each of these in the place of a partition column."""
        copier = self._copiers.get(column)
        if copier is None:
            copier = self._copiers[column] = Copier(self, column)
        return copier(row, values, cause)

    def row(self, value: bytes) -> R:
        """The row of a value. Raises msgspec.DecodeError."""
        if len(value) > COPIED_BYTES:
            return self._decode(memoryview(value)[CAUSE_BYTES:])
        return self._decode(value[CAUSE_BYTES:])

    def cause(self, value: bytes) -> int:
        """The cause of a value's row; 0 where rows have none."""
        return int.from_bytes(value[:CAUSE_BYTES], "big") if self.takes_puts else 0

    def grown(self, old: bytes, new: bytes) -> bytes:
        """What raising `old` to `new` leaves. Raises msgspec.DecodeError."""
        before, after = self.row(old), self.row(new)
        if not self._is_higher(before, after):
            return new
        return self.value(grown(self.table, before, after), 0)


class Copier(Generic[R]):
    """Rows that differ in one partition column: encoded once, and put together from the pieces for each."""

    def __init__(self, codec: RowCodec[R], column: str) -> None:
        self._codec = codec
        self._column = column
        self._around = codec.keys.around(column)
        fields = codec.table.row.__struct_fields__
        self._fields_before = fields[: fields.index(column)]

    def __call__(self, row: R, values: Sequence[KeyPart], cause: int) -> list[bytes]:
        """Keys and values, by turns."""
        key, of_value, behind = self._around
        first, last = key(row), behind(row)
        head, tail = self._pieces(row, cause)
        encode = _encode
        found = [b""] * (2 * len(values))
        found[::2] = [first + of_value(value) + last for value in values]
        found[1::2] = [head + encode(value) + tail for value in values]
        return found

    def _pieces(self, row: R, cause: int) -> tuple[bytes, bytes]:
        """A value up to the column and from behind it. MessagePack says nowhere how long all of it is."""
        whole = self._codec.value(row, cause)
        start = CAUSE_BYTES + (3 if whole[CAUSE_BYTES] == _ARRAY_16 else 1)
        start += sum(len(_encode(getattr(row, field))) for field in self._fields_before)
        return whole[:start], whole[start + len(_encode(getattr(row, self._column))) :]


class BatchEncoder:
    """Turns batches into parts. The tables are numbered in their order."""

    def __init__(self, codecs: Sequence[RowCodec[Any]]) -> None:
        self._codecs = {codec.table: (number, codec) for number, codec in enumerate(codecs)}

    def __call__(self, batch: Batch) -> list[Part]:
        """A batch as parts. AssertionError, TypeError, ValueError for what is no batch of these tables."""
        parts: list[Part] = []
        last: dict[Table[Any], Part] = {}
        for write in batch:
            table = write.table
            number, codec = self._codecs[table]
            part = last.get(table)
            if type(write) is Put:
                if type(part) is not Puts:
                    assert codec.takes_puts, table
                    part = last[table] = Puts(number, [])
                    parts.append(part)
                part.rows += (codec.keys.of_row(write.row), codec.value(write.row, write.cause))
            elif type(write) is Raise:
                if type(part) is not Raises:
                    assert table.grows, table
                    part = last[table] = Raises(number, [])
                    parts.append(part)
                part.rows += (codec.keys.of_row(write.row), codec.value(write.row, 0))
            elif type(write) is PutEach:
                if type(part) is not Puts:
                    assert codec.takes_puts, table
                    part = last[table] = Puts(number, [])
                    parts.append(part)
                part.rows += codec.copies(write.row, write.column, write.values, write.cause)
            else:
                assert type(write) is Erase, write
                if type(part) is not Erases:
                    assert not table.contested, table
                    part = last[table] = Erases(number, [], [])
                    parts.append(part)
                assert len(write.key) in (len(table.partition), len(table.key)), write.key
                part.keys.append(write.key)
                part.causes.append(write.cause)
        return parts


def _compared(columns: tuple[str, ...]) -> Callable[[Any, Any], bool]:
    """Whether any of these columns is higher in the first row: made from its text, as keys are."""
    terms = " or ".join(f"before.{column} > after.{column}" for column in columns)
    made: Callable[[Any, Any], bool] = eval(f"lambda before, after: {terms or 'False'}")  # noqa: S307
    return made
