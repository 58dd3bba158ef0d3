"""Rows as the columns of Cassandra, without one."""

from enum import Enum
from functools import cache
from typing import Annotated, Any, NewType, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidings.store.cassandra.columns import Kind, RowColumns, columns_of
from tidings.store.contract import Row, StoreDamaged, Table
from tidings.store.schema import INBOX, MESSAGES, ROSTERS, SECRETS, TABLES, MessageRow, RosterRow, SecretRow

U64 = (1 << 64) - 1


def of_hint(hint: Any) -> st.SearchStrategy[Any]:
    least, most, greatest = 0, 9, U64 >> 1
    while get_origin(hint) is Annotated or isinstance(hint, NewType):
        if isinstance(hint, NewType):
            hint = hint.__supertype__
            continue
        for meta in get_args(hint)[1:]:
            least, greatest = meta.min_length or meta.ge or least, meta.le or greatest
            most = meta.max_length or max(most, least)
        hint = get_args(hint)[0]
    plain: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(least, greatest) | st.integers(least, min(300, greatest)),
        str: st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
        bytes: st.binary(min_size=least, max_size=min(most, 99)),
        type(None): st.none(),
    }
    if hint in plain:
        return plain[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return of_struct(hint)
    inner = [of_hint(one) for one in get_args(hint)]
    if get_origin(hint) is list:
        return st.lists(inner[0], max_size=3)
    if get_origin(hint) is dict:
        return st.dictionaries(*inner, max_size=3)
    if get_origin(hint) is tuple:
        return st.lists(inner[0], max_size=3).map(tuple)
    return st.one_of(inner)


@cache
def of_struct(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(struct, include_extras=True)
    names = [field.name for field in msgspec.structs.fields(struct)]
    return st.builds(struct, **{name: of_hint(hints[name]) for name in names})


def as_read(columns: RowColumns[Any], values: tuple[Any, ...]) -> list[Any]:
    """What the driver gives for what it was given."""
    read = []
    for column, value in zip(columns.all, values, strict=True):
        if column.kind is Kind.TEXT:
            read.append(value.decode())
        elif column.kind is Kind.TIME:
            read.append(int.from_bytes(value, "big", signed=True))
        else:
            read.append(value)
    return read


@pytest.mark.parametrize("table", TABLES, ids=str)
@settings(max_examples=10, deadline=None)
@given(st.data())
def test_every_row_of_the_schema_comes_back_and_has_no_null(table: Table[Row], data: st.DataObject) -> None:
    columns = RowColumns(table)
    row = data.draw(of_struct(table.row))
    values = columns.of_row(row)
    assert None not in values
    assert columns.row(as_read(columns, values)) == row
    assert columns.key_of(values) == columns.of_key(table.key_of(row))
    assert columns.partition_of(values) == columns.of_key(table.key_of(row)[: len(table.partition)])


def test_messages_can_be_read_in_cql() -> None:
    kinds = {column.name: column.cql for column in columns_of(MESSAGES)}
    plain = ("conversation_id", "message_id", "sender_id", "content", "content_type", "created_at", "silent")
    assert [kinds[name] for name in plain] == [
        "blob", "varint", "varint", "blob", "text", "timestamp", "boolean",
    ]  # fmt: skip


def test_a_column_that_is_younger_than_its_row_has_its_default() -> None:
    row = MessageRow(b"c" * 16, 1, 2, 3, 4, b"i" * 16, 5, 0, "text", b"", 6)  # type: ignore[arg-type]
    columns = RowColumns(MESSAGES)
    names = [column.name for column in columns.all]
    values = as_read(columns, columns.of_row(row))
    for name in ("relates_to", "silent", "expires_at", "hidden_from", "relation"):
        values[names.index(name)] = None
    assert columns.row(values) == row
    values[names.index("sender_id")] = None
    with pytest.raises(StoreDamaged, match="messages"):
        columns.row(values)


def test_lists_of_default_are_nobodys_but_the_rows() -> None:
    columns = RowColumns(INBOX)
    names = [column.name for column in columns.all]
    values: list[Any] = [b"\1"] * len(names)
    for name in ("conversation_id", "payload", "envelopes"):
        values[names.index(name)] = b""
    one, other = columns.row(values), columns.row(values)
    one.envelopes[7] = b"key"  # type: ignore[index]
    assert other.envelopes == {}


def test_nothing_is_kept_apart_from_none() -> None:
    columns = RowColumns(ROSTERS)
    place = [column.name for column in columns.all].index("left_version")
    for left in (None, 0, 1, U64):
        row = RosterRow(b"c" * 16, 7, left_version=left)  # type: ignore[arg-type]
        values = columns.of_row(row)
        assert (values[place] == b"") is (left is None)
        assert columns.row(as_read(columns, values)) == row


def test_numbers_sort_as_cassandra_sorts_varints() -> None:
    columns = RowColumns(MESSAGES)
    numbers = [0, 1, 127, 128, 255, 256, (1 << 63) - 1, 1 << 63, U64]
    encoded = [columns.of_column("message_id", number) for number in numbers]
    assert [int.from_bytes(value, "big", signed=True) for value in encoded] == numbers
    assert [len(value) for value in encoded] == [1, 1, 1, 2, 2, 2, 8, 9, 9]  # none is longer than need be


def test_a_key_of_empty_text_is_one_that_cassandra_takes() -> None:
    columns = RowColumns(SECRETS)
    for name in ("", "a"):
        row = SecretRow(name, b"")
        values = columns.of_row(row)
        assert values[0]
        assert columns.row(as_read(columns, values)) == row
    with pytest.raises(ValueError, match="NUL"):
        columns.of_row(SecretRow("\0", b""))


@pytest.mark.parametrize(("name", "value"), [("name", 7), ("name", b"a"), ("value", "text"), ("value", None)])
def test_what_is_of_another_type_is_refused(name: str, value: object) -> None:
    row = SecretRow("name", b"value")
    setattr(row, name, value)
    with pytest.raises(TypeError):
        RowColumns(SECRETS).of_row(row)
