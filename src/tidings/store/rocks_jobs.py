"""What waits to be written, and how several callers' writes become one batch.

Keys and values are encoded when a caller asks, so that what cannot be encoded fails for that
caller alone. What is in the table already is looked at when the batch is built, since only then
everything before it is there.
"""

import asyncio
from collections import defaultdict
from typing import Any, NamedTuple

from rocksdict import WriteBatch

from tidings.store.contract import Key, OutcomeUnknown, Row
from tidings.store.growing import grown
from tidings.store.keys import Span
from tidings.store.rocks_family import CAUSE_BYTES, Family, cause_bytes

_ERASED = b""
"""In a batch: no row. No value is empty."""
ALL = 1 << 62


class Joined:
    """A batch that is being built. Each write sees those before it in the batch."""

    def __init__(self) -> None:
        self.batch = WriteBatch(raw_mode=True)
        self.empty = True
        self._put = self.batch.put
        self._seen: defaultdict[Family[Any], dict[bytes, bytes]] = defaultdict(dict)

    def put(self, family: Family[Any], key: bytes, value: bytes) -> None:
        """Write a value, unless one of a greater cause is there."""
        seen = self._seen[family]
        old = seen.get(key)
        if old is None:
            old = family.read(key)
        if old is not None and old[:CAUSE_BYTES] > value[:CAUSE_BYTES]:
            return
        self._write(family, key, value)

    def raise_to(self, family: Family[Any], key: bytes, row: Row) -> None:
        """Raise the growing columns of a row."""
        old = self.find(family, key)
        higher = grown(family.table, None if old is None else family.row(old), row)
        value = family.value(higher, 0)
        if value != old:
            self._write(family, key, value)

    def erase(self, family: Family[Any], key: bytes, cause: bytes) -> None:
        """Remove the row of a key, unless it is of a greater cause."""
        self._erase(family, key, self.find(family, key), cause)

    def erase_span(self, family: Family[Any], span: Span, cause: bytes) -> None:
        """Remove the rows of a partition, those of this batch among them."""
        seen = self._seen[family]
        for key in [key for key in seen if span.holds(key)]:
            self._erase(family, key, seen[key], cause)
        for key, value in family.pairs(span, ALL):
            if key not in seen:
                self._erase(family, key, value, cause)

    def _erase(self, family: Family[Any], key: bytes, old: bytes | None, cause: bytes) -> None:
        if old and old[:CAUSE_BYTES] <= cause:
            self._seen[family][key] = _ERASED
            self.batch.delete(key, family.handle)
            self.empty = False

    def find(self, family: Family[Any], key: bytes) -> bytes | None:
        """The value of a key as it is after this batch."""
        value = self._seen[family].get(key)
        if value is None:
            value = family.read(key)
        return value or None

    def _write(self, family: Family[Any], key: bytes, value: bytes) -> None:
        self._seen[family][key] = value
        self._put(key, value, family.handle)
        self.empty = False


class Erasing(NamedTuple):
    """What an Erase removes: up to `cause` the row of a key, or with a span those of a partition."""

    cause: bytes
    span: Span | None


Staged = tuple[Family[Any], bytes, bytes | None, Row | Erasing]
"""Key, value and row of a Put, or (without a value) of a Raise, or what an Erase removes. A plain
tuple: one is made a row."""


def erasing(family: Family[Any], key: Key, cause: int) -> Staged:
    """An Erase, staged."""
    table = family.table
    assert not table.contested, table
    if len(key) == len(table.key):
        return family, family.keys.of_key(key), None, Erasing(cause_bytes(cause), None)
    return family, b"", None, Erasing(cause_bytes(cause), family.keys.span(key, None, None))


class WriteJob:
    """One call of `write`."""

    __slots__ = ("_writes", "done", "size")

    def __init__(self, writes: list[Staged], size: int, done: asyncio.Future[None]) -> None:
        self._writes = writes
        self.size = size
        self.done = done

    def stage(self, joined: Joined) -> None:
        """Add the writes to a batch."""
        put = joined.put
        for family, key, value, row in self._writes:
            if value is not None:
                put(family, key, value)
            elif isinstance(row, Row):
                joined.raise_to(family, key, row)
            elif row.span is None:
                joined.erase(family, key, row.cause)
            else:
                joined.erase_span(family, row.span, row.cause)

    def succeed(self) -> None:
        """Tell the caller, who may have gone away."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception, *, begun: bool) -> None:  # noqa: ARG002
        """Tell the caller, who may have gone away."""
        if not self.done.done():
            self.done.set_exception(error)


class CompareAndSetJob:
    """One call of `compare_and_set`."""

    __slots__ = ("_expected", "_family", "_found", "_key", "_value", "done", "size")

    def __init__(
        self, family: Family[Any], expected: Row | None, row: Row, done: asyncio.Future[Row | None]
    ) -> None:
        self._family = family
        self._key = family.keys.of_row(row)
        self._value = family.value(row, 0)
        self._expected = expected
        self._found: Row | None = None
        self.size = len(self._key) + len(self._value)
        self.done = done

    def stage(self, joined: Joined) -> None:
        """Add the row to a batch if the comparison holds."""
        value = joined.find(self._family, self._key)
        found = None if value is None else self._family.row(value)
        if found == self._expected:
            joined.put(self._family, self._key, self._value)
            self._found = None
        else:
            # The row that would be returned is None, which says that it was written.
            assert found is not None, f"a row of {self._family.table} was expected and never written"
            self._found = found

    def succeed(self) -> None:
        """Tell the caller what was found; only now, since it may be of the same batch."""
        if not self.done.done():
            self.done.set_result(self._found)

    def fail(self, error: Exception, *, begun: bool) -> None:
        """Tell the caller; once the disk has been touched nobody knows what it holds."""
        if self.done.done():
            return
        self.done.set_exception(OutcomeUnknown(str(error)) if begun else error)


Job = WriteJob | CompareAndSetJob
