"""What waits to be written, and how several callers' writes become one batch.

Keys and values are bytes by the time that a caller's write waits, so that what cannot be encoded
fails for that caller alone. What is in the table already is looked at when the batch is built,
since only then everything before it is there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from rocksdict import WriteBatch

from tidings.protocol import ids
from tidings.store.contract import OutcomeUnknown, Row
from tidings.store.encoded import CAUSE_BYTES, Erases, Part, Puts, Raises, cause_bytes
from tidings.store.keys import Span
from tidings.store.rocks_family import Family, bound_key

_ERASED = b""
"""In a batch: no row. No value is empty."""
ALL = 1 << 62
AHEAD = 10_000 << ids.TIME_SHIFT
"""How far above a cause a table's bound is set: it is written once in so many ms of causes. Until as
much has passed after a start, puts look for older rows."""
CAUSE_MAX = (1 << 8 * CAUSE_BYTES) - 1
ERASED_BYTES = 32
"""about what a removal takes in the log"""

Done = Callable[[Exception | None], None]
"""Told once that the rows are durable (None), or why not. Must not raise."""


class Joined:
    """A batch that is being built. Each write sees those before it in the batch."""

    def __init__(self) -> None:
        self.batch = WriteBatch(raw_mode=True)
        self.empty = True
        self._seen: defaultdict[Family[Any], dict[bytes, bytes]] = defaultdict(dict)
        self._greatest: dict[Family[Any], bytes] = {}
        """of the values that came to be put"""
        self._bounds: dict[Family[Any], bytes] = {}

    def put(self, family: Family[Any], rows: Sequence[bytes]) -> None:
        """Write values (after each its key), unless there are some of greater causes."""
        seen, read, put, handle = self._seen[family], family.read, self.batch.put, family.handle
        # A value begins with its cause, so it is below `newest` just if its cause is. To find nothing
        # takes longer than all else that a put does, and a row with a new cause finds nothing.
        newest = family.newest
        each = iter(rows)
        for key, value in zip(each, each, strict=True):
            old = seen.get(key)
            if old is None and value < newest:
                old = read(key)
            if old is not None and old[:CAUSE_BYTES] > value[:CAUSE_BYTES]:
                continue
            seen[key] = value
            put(key, value, handle)
            self.empty = False
        greatest = max(rows[1::2], default=b"")
        self._greatest[family] = max(greatest, self._greatest.get(family, b""))

    def raise_to(self, family: Family[Any], rows: Iterable[bytes]) -> None:
        """Raise the growing columns of rows (keys and values, by turns). Raises StoreDamaged."""
        seen, recent, put, handle = self._seen[family], family.recent, self.batch.put, family.handle
        each = iter(rows)
        for key, value in zip(each, each, strict=True):
            old = seen.get(key)
            if old is None:
                old = recent.get(key)
                if old is None:
                    old = family.read(key)
            raised = _grown(family, old, value) if old else value
            if raised != old:
                seen[key] = raised
                put(key, raised, handle)
                self.empty = False

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

    def close(self) -> None:
        """Add the bounds that the causes of its rows need. Nothing is added behind that."""
        for family, value in self._greatest.items():
            if value[:CAUSE_BYTES] > family.bound:
                cause = int.from_bytes(value[:CAUSE_BYTES], "big")
                bound = self._bounds[family] = cause_bytes(min(cause + AHEAD, CAUSE_MAX))
                self.batch.put(bound_key(family.table.name), bound)

    def written(self) -> None:
        """The batch is in the database."""
        for family, value in self._greatest.items():
            family.newest = max(family.newest, value[:CAUSE_BYTES])
        for family, bound in self._bounds.items():
            family.bound = bound
        for family, values in self._seen.items():
            family.remember(values)

    def find(self, family: Family[Any], key: bytes) -> bytes | None:
        """The value of a key as it is after this batch."""
        value = self._seen[family].get(key)
        if value is None:
            value = family.read(key)
        return value or None


def _grown(family: Family[Any], old: bytes, new: bytes) -> bytes:
    if old == new:
        return old
    try:
        return family.codec.grown(old, new)
    except msgspec.DecodeError:
        family.row(old)  # raises, if it is this one that cannot be read
        raise


class _Rows(NamedTuple):
    """Keys and values, by turns."""

    family: Family[Any]
    rows: list[bytes]

    @property
    def size(self) -> int:
        """About what it takes in the log."""
        return sum(map(len, self.rows))


class Putting(_Rows):
    """Rows that are put."""

    __slots__ = ()

    def stage(self, joined: Joined) -> None:
        """Add it to a batch."""
        joined.put(self.family, self.rows)


class Raising(_Rows):
    """Rows that are raised."""

    __slots__ = ()

    def stage(self, joined: Joined) -> None:
        """Add it to a batch."""
        joined.raise_to(self.family, self.rows)


class Erasing(NamedTuple):
    """Rows that are erased, if their cause is at most this one: of keys, and of whole partitions."""

    family: Family[Any]
    cause: bytes
    keys: list[bytes]
    spans: Sequence[Span] = ()

    @property
    def size(self) -> int:
        """About what it takes in the log."""
        return ERASED_BYTES * (len(self.keys) + len(self.spans))

    def stage(self, joined: Joined) -> None:
        """Add it to a batch."""
        for key in self.keys:
            joined.erase(self.family, key, self.cause)
        for span in self.spans:
            joined.erase_span(self.family, span, self.cause)


Step = Putting | Raising | Erasing


def steps_of(family: Family[Any], part: Part) -> Iterable[Step]:
    """What is to be done for a part of a batch. AssertionError, ValueError for what is none."""
    kind = type(part)
    if kind is Erases:
        return _erasing(family, part)  # type: ignore[arg-type]
    assert isinstance(part, Puts | Raises)
    assert family.codec.takes_puts if kind is Puts else family.table.grows, family.table
    assert len(part.rows) % 2 == 0, family.table
    return [Putting(family, part.rows) if kind is Puts else Raising(family, part.rows)]


def _erasing(family: Family[Any], part: Erases) -> list[Step]:
    table = family.table
    assert not table.contested, table
    steps: list[Step] = []
    for key, cause in zip(part.keys, part.causes, strict=True):
        if len(key) == len(table.key):
            steps.append(Erasing(family, cause_bytes(cause), [family.keys.of_key(key)]))
        else:
            steps.append(Erasing(family, cause_bytes(cause), [], [family.keys.span(key, None, None)]))
    return steps


class WriteJob:
    """One call of `write`."""

    __slots__ = ("_done", "_steps", "size")

    def __init__(self, steps: Sequence[Step], done: Done) -> None:
        self._steps = steps
        self._done = done
        self.size = sum(step.size for step in steps)

    def stage(self, joined: Joined) -> None:
        """Add the writes to a batch."""
        for step in self._steps:
            step.stage(joined)

    def succeed(self) -> None:
        """Tell the caller."""
        self._done(None)

    def fail(self, error: Exception, *, begun: bool) -> None:  # noqa: ARG002
        """Tell the caller."""
        self._done(error)


class CompareAndSetJob:
    """One call of `compare_and_set`."""

    __slots__ = ("_expected", "_family", "_found", "_rows", "done", "size")

    def __init__(
        self,
        family: Family[Any],
        expected: Row | None,
        rows: Sequence[Row],
        done: asyncio.Future[Row | None],
    ) -> None:
        """The first of `rows` is the one that is compared."""
        self._family = family
        self._rows: list[bytes] = []
        for row in rows:
            self._rows += (family.keys.of_row(row), family.codec.value(row, 0))
        self._expected = expected
        self._found: Row | None = None
        self.size = sum(map(len, self._rows))
        self.done = done

    def stage(self, joined: Joined) -> None:
        """Add the rows to a batch if the comparison holds."""
        value = joined.find(self._family, self._rows[0])
        found = None if value is None else self._family.row(value)
        if found == self._expected:
            joined.put(self._family, self._rows)
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
