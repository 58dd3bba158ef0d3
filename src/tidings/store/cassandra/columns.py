"""Columns: what CQL type each field of a row has, and how values go there and back.

| field | CQL |
|---|---|
| int | varint: as unsigned keys sort, and readable. A bigint ends at 2^63 |
| int or None | varint; None is the empty value, since a null is a tombstone |
| `UnixMs` | timestamp |
| str, bytes, bool | text, blob, boolean |
| anything else | blob: MessagePack, empty while it is the default |

No column of a row that was written is null. One that is was added to its table later: it has its default.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, NamedTuple, NewType, Union, get_args, get_origin, get_type_hints

import msgspec

from tidings.store.contract import Key, R, Row, StoreDamaged, Table
from tidings.store.keys import key_type
from tidings.store.schema import UnixMs

Values = tuple[Any, ...]
"""of a row's columns in their order, as the driver takes and gives them"""

_EMPTY_KEY = "\0"
"""Stands for the empty text in a partition key, where Cassandra takes none; no key has a NUL."""
_encode = msgspec.msgpack.Encoder().encode


class Kind(Enum):
    """How the values of a column are kept."""

    NUMBER = auto()
    MAYBE_NUMBER = auto()
    TIME = auto()
    TEXT = auto()
    BYTES = auto()
    TRUTH = auto()
    NESTED = auto()


_CQL = {
    Kind.NUMBER: "varint",
    Kind.MAYBE_NUMBER: "varint",
    Kind.TIME: "timestamp",
    Kind.TEXT: "text",
    Kind.BYTES: "blob",
    Kind.TRUTH: "boolean",
    Kind.NESTED: "blob",
}


class Column(NamedTuple):
    """A field of a row."""

    name: str
    kind: Kind
    hint: Any
    default: Callable[[], Any] | None
    """makes what a row has that was written before the column was there; None: no row was"""

    @property
    def cql(self) -> str:
        """Its type in CQL."""
        return _CQL[self.kind]

    @property
    def quoted(self) -> str:
        """Its name in CQL, where some are words of the language."""
        return f'"{self.name}"'

    @property
    def marker(self) -> str:
        """What stands for a value of it in a statement that writes it."""
        # The driver takes times as seconds in floating point, which are not exact.
        return "blobAsTimestamp(?)" if self.kind is Kind.TIME else "?"

    @property
    def selected(self) -> str:
        """The expression that reads it."""
        return f"toUnixTimestamp({self.quoted})" if self.kind is Kind.TIME else self.quoted


def columns_of(table: Table[Any]) -> list[Column]:
    """The columns of a table, in the order of its row's fields."""
    hints = get_type_hints(table.row, include_extras=True)
    found = []
    for field in msgspec.structs.fields(table.row):
        hint = hints[field.name]
        in_key = field.name in table.key
        kind = _of_key(table.row, field.name) if in_key else _kind(hint)
        if kind is Kind.TIME and (table.grows or table.contested):
            kind = Kind.NUMBER  # these are compared, and so kept as they are
        found.append(Column(field.name, kind, hint, _default(field)))
    return found


def _of_key(row: type, name: str) -> Kind:
    kinds: dict[Any, Kind] = {int: Kind.NUMBER, str: Kind.TEXT, bytes: Kind.BYTES}
    return kinds[key_type(row, name)]


def _kind(hint: Any) -> Kind:
    if hint == UnixMs:
        return Kind.TIME
    while get_origin(hint) is Annotated or isinstance(hint, NewType):
        hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint.__supertype__
    plain = {bool: Kind.TRUTH, int: Kind.NUMBER, str: Kind.TEXT, bytes: Kind.BYTES}
    if isinstance(hint, type):
        return next((kind for of, kind in plain.items() if issubclass(hint, of)), Kind.NESTED)
    if get_origin(hint) in (Union, UnionType):
        inner = [one for one in get_args(hint) if one is not NoneType]
        if len(inner) == 1 and _kind(inner[0]) is Kind.NUMBER:
            return Kind.MAYBE_NUMBER
    return Kind.NESTED


def _default(field: msgspec.structs.FieldInfo) -> Callable[[], Any] | None:
    if field.default is not msgspec.NODEFAULT:
        default = field.default
        return lambda: default
    if field.default_factory is not msgspec.NODEFAULT:
        factory: Callable[[], Any] = field.default_factory
        return factory
    return None


class RowColumns(Generic[R]):
    """The columns of a table, and its rows as their values."""

    def __init__(self, table: Table[R]) -> None:
        self.table = table
        self.all = columns_of(table)
        names = [column.name for column in self.all]
        self.at = {name: index for index, name in enumerate(names)}
        """the place of each column"""
        self.key = [self.all[self.at[name]] for name in table.key]
        self.partition = self.key[: len(table.partition)]
        self.clustering = self.key[len(table.partition) :]
        self.others = [column for column in self.all if column.name not in table.key]
        self._encoders = {column.name: self._encoder(column) for column in self.all}
        self._made = self._compiled_row()
        self.of_row: Callable[[R], Values] = self._compiled_values()
        """The values of a row's columns. Raises TypeError for what is no row, ValueError for no key."""
        self._partition_at = [self.at[column.name] for column in self.partition]
        self._clustering_at = [self.at[column.name] for column in self.clustering]

    def _encoder(self, column: Column) -> Callable[[Any], Any]:
        if column.kind is not Kind.TEXT or column.name not in self.table.key:
            return _encoder(column)
        return _key_text_alone if self._is_alone(column) else _key_text

    def _is_alone(self, column: Column) -> bool:
        return [column] == self.partition

    def partition_of(self, values: Values) -> Values:
        """The columns of the partition key, of a row's."""
        return tuple([values[index] for index in self._partition_at])

    def key_of(self, values: Values) -> Values:
        """The columns of the full key, of a row's."""
        return tuple([values[index] for index in (*self._partition_at, *self._clustering_at)])

    def of_key(self, key: Key, first: int = 0) -> Values:
        """The values of a key's columns, from the one with this number on."""
        names = self.table.key[first : first + len(key)]
        assert len(names) == len(key), key
        return tuple([self._encoders[name](part) for name, part in zip(names, key, strict=True)])

    def of_column(self, name: str, value: Any) -> Any:
        """The value of one column."""
        return self._encoders[name](value)

    def row(self, values: Sequence[Any]) -> R:
        """The row of all its columns' values. Raises StoreDamaged."""
        try:
            return self._made(*values)
        except (msgspec.DecodeError, TypeError) as error:
            key = self.key_of(tuple(values))
            raise StoreDamaged(f"a row of {self.table} cannot be read: {error} (its key: {key})") from None

    # Both are made from their text, as keys are: they run for every row.

    def _compiled_values(self) -> Callable[[R], Values]:
        """A function from a row to its values."""
        names: dict[str, Any] = {"to_bytes": int.to_bytes, "bits": int.bit_length}
        terms = []
        for column in self.all:
            if column.kind is Kind.NUMBER:  # most are: a call less
                value = f"value := row.{column.name}"
                terms.append(f"to_bytes(({value}), bits(value) // 8 + 1, 'big', signed=True)")
                continue
            names[f"of_{column.name}"] = self._encoders[column.name]
            terms.append(f"of_{column.name}(row.{column.name})")
        made: Callable[[R], Values] = eval(f"lambda row: ({', '.join(terms)},)", names)  # noqa: S307
        return made

    def _compiled_row(self) -> Callable[..., R]:
        """A function from values to the row."""
        names: dict[str, Any] = {"row": self.table.row, "number": int.from_bytes}
        terms, values = [], [f"v{place}" for place in range(len(self.all))]
        for column, value in zip(self.all, values, strict=True):
            names[f"missing_{value}"] = column.default or _missing
            terms.append(_decoded(column, value, names, alone=self._is_alone(column)))
        made: Callable[..., R] = eval(  # noqa: S307
            f"lambda {', '.join(values)}: row({', '.join(terms)})", names
        )
        return made


def _number(value: int) -> bytes:
    # Unbound, so that what is no int is a TypeError.
    return int.to_bytes(value, int.bit_length(value) // 8 + 1, "big", signed=True)


def _maybe_number(value: int | None) -> bytes:
    return b"" if value is None else _number(value)


def _time(value: int) -> bytes:
    return int.to_bytes(value, 8, "big", signed=True)


def _text(value: str) -> bytes:
    return str.encode(value)


def _key_text(value: str) -> bytes:
    if "\0" in value:
        raise ValueError("a key column holds no NUL")
    return str.encode(value)


def _key_text_alone(value: str) -> bytes:
    return _key_text(value) or _EMPTY_KEY.encode()


def _bytes(value: bytes) -> bytes:
    if type(value) is not bytes:
        raise TypeError(f"{value!r} is not bytes")
    return value


def _truth(value: bool) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{value!r} is not a bool")
    return value


def _encoder(column: Column) -> Callable[[Any], Any]:
    if column.kind is Kind.NESTED:
        default = column.default
        if default is None:
            return _encode
        return lambda value: b"" if value == default() else _encode(value)
    plain: dict[Kind, Callable[[Any], Any]] = {
        Kind.NUMBER: _number,
        Kind.MAYBE_NUMBER: _maybe_number,
        Kind.TIME: _time,
        Kind.TEXT: _text,
        Kind.BYTES: _bytes,
        Kind.TRUTH: _truth,
    }
    return plain[column.kind]


def _decoded(column: Column, value: str, names: dict[str, Any], *, alone: bool) -> str:
    """The expression for a column of a row, of its value; from None comes the default."""
    missing = f"missing_{value}()"
    if column.kind is Kind.NUMBER:
        return f"{missing} if {value} is None else number({value}, 'big', signed=True)"
    if column.kind is Kind.MAYBE_NUMBER:
        # Of an empty value and of a null: whatever the default is, None is what was written.
        number = f"number({value}, 'big', signed=True) if {value} else None"
        return f"{missing} if {value} is None else {number}"
    if column.kind is Kind.NESTED:
        names[f"decode_{value}"] = msgspec.msgpack.Decoder(column.hint).decode
        return f"decode_{value}({value}) if {value} else {missing}"
    if alone and column.kind is Kind.TEXT:
        return f"'' if {value} == {_EMPTY_KEY!r} else {value}"
    return f"{missing} if {value} is None else {value}"


def _missing() -> Any:
    raise TypeError("a column is missing")


def encoded_row(columns: RowColumns[R], row: Row) -> Values:
    """As `RowColumns.of_row`; AssertionError for a row of another table."""
    assert isinstance(row, columns.table.row), columns.table
    return columns.of_row(row)
