"""Keys as bytes, so that the order of the bytes is the clustering order.

A key is its columns one after another, each in a form of which none is a prefix of another:
ints as 8 bytes big-endian, bytes after one byte of length, strings as UTF-8 with a NUL behind.
Where the table is descending, every byte of a clustering column is complemented. So all rows of
a partition share a prefix that no other partition has, and a range is one seek.

Nothing here is ever decoded: a row holds its key's columns.
"""

from collections.abc import Callable
from itertools import groupby
from struct import Struct
from typing import Annotated, Any, Generic, NamedTuple, NewType, get_args, get_origin, get_type_hints

from tidings.store.contract import Key, KeyPart, R, Table

MASK = (1 << 64) - 1
_KINDS = (int, bytes, str)
# Without its length a short value from a stranger would be the prefix of other partitions.
_LENGTHS = tuple(bytes((length,)) for length in range(256))
_PACK = Struct(">Q").pack
_COMPLEMENT = bytes(255 - byte for byte in range(256))


class Span(NamedTuple):
    """From `first` (inclusive) to `end` (exclusive; None: the end of the table)."""

    first: bytes
    end: bytes | None

    def holds(self, key: bytes) -> bool:
        """Whether a key lies in it."""
        return self.first <= key and (self.end is None or key < self.end)


class KeyCodec(Generic[R]):
    """The keys of one table. ValueError, IndexError or struct.error for values no key may hold."""

    def __init__(self, table: Table[R]) -> None:
        kinds = [(column, key_type(table.row, column)) for column in table.key]
        partition = len(table.partition)
        descending = [table.descending and index >= partition for index in range(len(kinds))]
        by_name = [
            _Column(kind, f"values.{name}", down)
            for (name, kind), down in zip(kinds, descending, strict=True)
        ]
        by_index = [
            _Column(kind, f"values[{index}]", down)
            for index, ((_, kind), down) in enumerate(zip(kinds, descending, strict=True))
        ]
        self._table = table
        self._columns = len(kinds)
        self._partition_columns = partition
        self.of_row: Callable[[R], bytes] = _compiled(by_name)
        """The key of a row."""
        self._of_key: Callable[[Key], bytes] = _compiled(by_index)
        self._prefix: Callable[[Key], bytes] = _compiled(by_index[:partition])
        self._by_name = by_name

    def around(self, column: str) -> "Around[R]":
        """Keys of rows that differ in one partition column only. AssertionError for any other column."""
        names = self._table.partition
        assert column in names, column
        place = names.index(column)
        kind = self._by_name[place].kind
        return Around(
            _compiled(self._by_name[:place]),
            _PACK if kind is int else _compiled([_Column(kind, "values", descending=False)]),
            _compiled(self._by_name[place + 1 :]),
        )

    def of_key(self, key: Key) -> bytes:
        """The bytes of a full key."""
        assert len(key) == self._columns, key
        return self._of_key(key)

    def span(self, partition: Key, after: Key | None, before: Key | None) -> Span:
        """Where the rows of a partition lie, or those after and before two clustering keys."""
        assert len(partition) == self._partition_columns, partition
        # The shortest bytes behind a key are the key and a NUL.
        first = self._prefix(partition) if after is None else self.of_key(partition + after) + b"\0"
        end = _behind(self._prefix(partition)) if before is None else self.of_key(partition + before)
        return Span(first, end)

    def behind(self, key: Key | None) -> Span:
        """The rest of the table after a full key; all of it without one."""
        return Span(b"" if key is None else self.of_key(key) + b"\0", None)


class Around(NamedTuple, Generic[R]):
    """The parts of a key: what comes before a column, the column of a value, and what comes behind it."""

    before: Callable[[R], bytes]
    of_value: Callable[[Any], bytes]
    behind: Callable[[R], bytes]


def key_type(row: type, column: str) -> type[KeyPart]:
    """Whether a key column holds ints, bytes or strings, by the annotation in its row."""
    hint: Any = get_type_hints(row, include_extras=True)[column]
    while hint not in _KINDS:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif isinstance(hint, type) and issubclass(hint, int) and hint is not bool:
            hint = int
        else:
            raise TypeError(f"{row.__name__}.{column} is no key column: {hint!r}")
    found: type[KeyPart] = hint
    return found


class _Column(NamedTuple):
    kind: type[KeyPart]
    value: str
    """the expression that gives it"""
    descending: bool


def _compiled(columns: list[_Column]) -> Callable[[Any], bytes]:
    """A function from `values` to their bytes, made from its text as `dataclasses` makes its own.

    A key is built for every row that is read or written; a loop over encoders takes three times
    as long. The text holds nothing but the names of columns.
    """
    terms: list[str] = []
    names: dict[str, Any] = {"length": _LENGTHS, "text": _encode_str, "complement": _COMPLEMENT}
    for kind, run in groupby(columns, key=lambda column: column.kind):
        same = list(run)
        if kind is int:
            names[f"pack{len(same)}"] = Struct(f">{len(same)}Q").pack
            values = [f"{MASK} ^ {column.value}" if column.descending else column.value for column in same]
            terms.append(f"pack{len(same)}({', '.join(values)})")
            continue
        for column in same:
            term = f"text({column.value})" if kind is str else f"length[len({column.value})] + {column.value}"
            terms.append(f"({term}).translate(complement)" if column.descending else term)
    made: Callable[[Any], bytes] = eval(f"lambda values: {' + '.join(terms) or repr(b'')}", names)  # noqa: S307
    return made


def _encode_str(value: str) -> bytes:
    if "\0" in value:
        raise ValueError("a key column holds no NUL")
    return value.encode() + b"\0"


def _behind(prefix: bytes) -> bytes | None:
    """The smallest bytes behind everything that begins with `prefix`."""
    short = prefix.rstrip(b"\xff")
    return short[:-1] + bytes((short[-1] + 1,)) if short else None
