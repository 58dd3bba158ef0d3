"""The store: rows in tables, and what every backend promises about them.

Order. Rows of a partition come back in the table's clustering order.

Atomicity. A batch is atomic within a partition only. After a crash some partitions of an
unfinished batch may be there and others not; no rule may lean on more. Of two batches the second is
behind the first if `write` was called for it after it had returned for the first; of those under way at
the same time readers may see either first.

Durability. When `write` or `compare_and_set` returns, the rows survive the loss of the
process and of power. When it raises, rows may or may not be there: repeat the batch or give up.

Reads. What a write brings may be read before the write returns, and be gone after a crash. Let
nothing that you read be the reason to acknowledge something, unless a write of your own that
came after the read has returned, or the row's own rules say that all it stands for is durable.

Repeats. A batch written twice is written once. Each put names its *cause*, a snowflake: of two
puts to one row the one with the greater cause stays, whoever writes last, so a late repeat
never resurrects what was overwritten. At a tie of different rows either stays, or some columns of
each: a change has a cause of its own.

Erasures have causes, too. What was erased comes back with a greater cause; with one that is not greater,
put later, it may or may not. Growing rows, which have no cause, are erased for good: do not raise one again.

Growing columns. Tables with `grows` columns are written by `Raise` only: each such column
keeps the highest value ever written, whoever writes last; other columns of such a row come
from the raise that was applied last, as far as machines keep time.

Compare-and-set. Tables with `contested` are written by `compare_and_set` only. Those of one
partition happen one after another. Further rows of the partition may be written with the row:
all of them or none, also after a crash. It may end in `OutcomeUnknown`: the row holds the id of
the request that wrote it, so reading it settles what happened, to the further rows too. Contested
rows have no cause, so never expire; the later write stays.

Loss. A store that finds damage refuses: `StoreDamaged` at opening or on the read that met it,
never a shorter answer.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

KeyPart = int | bytes | str
Key = tuple[KeyPart, ...]
"""Values of the partition columns, then of the clustering columns, in the table's order."""


class Row(msgspec.Struct, array_like=True, gc=False):
    """What all rows are. Columns are only ever added at the end, with a default."""


R = TypeVar("R", bound=Row)


class Table(Generic[R]):
    """The declaration of a table, from which each backend derives its keys, DDL and statements.

    `partition` and `clustering` name columns of `row`. `descending` reverses the clustering
    order. `keep_s` is how long rows live, None for ever. `grows` names columns for `Raise`;
    `contested` is true where only `compare_and_set` writes (its rows have a `request_id`).
    Key columns are int (0 to 2^64-1), bytes (of a fixed length a column) or str (without NUL).
    """

    def __init__(
        self,
        name: str,
        row: type[R],
        *,
        partition: tuple[str, ...],
        clustering: tuple[str, ...] = (),
        descending: bool = False,
        keep_s: int | None = None,
        grows: tuple[str, ...] = (),
        contested: bool = False,
    ) -> None:
        self.name = name
        self.row = row
        self.partition = partition
        self.clustering = clustering
        self.key = partition + clustering
        get: Callable[[R], Any] = attrgetter(*self.key)  # of one column it gives the value, of more a tuple
        self._key_of: Callable[[R], Key] = get if len(self.key) > 1 else lambda row: (get(row),)
        self.descending = descending
        self.keep_s = keep_s
        self.grows = grows
        self.contested = contested

    def __repr__(self) -> str:
        return f"<Table {self.name}>"

    def key_of(self, row: R) -> Key:
        """The full key of a row."""
        return self._key_of(row)

    def set_together(self, row: R, also: Sequence[Row]) -> list[R]:
        """What one `compare_and_set` writes: `row`, then `also`.

        AssertionError unless this table is contested, all are rows of it, of one partition, and no
        two have one key.
        """
        assert self.contested, self
        rows = [row]
        for one in also:
            assert isinstance(one, self.row), self
            rows.append(one)
        keys = {self.key_of(one) for one in rows}
        assert len(keys) == len(rows), f"two rows of {self} have one key"
        columns = len(self.partition)
        assert len({key[:columns] for key in keys}) == 1, f"rows of {self} are of several partitions"
        return rows


class Put(msgspec.Struct, gc=False):
    """Write a row, unless a row of a greater cause is there."""

    table: Table[Any]
    row: Row
    cause: int


class PutEach(msgspec.Struct, gc=False):
    """Put `row` once for each of `values`, which takes the place of its partition column `column`.

    The same as so many `Put` in their order, and cheaper; `singly` gives these. No value comes twice.
    """

    table: Table[Any]
    row: Row
    column: str
    values: Sequence[KeyPart]
    cause: int


class Raise(msgspec.Struct, gc=False):
    """Raise the growing columns of a row to at least these values; creates the row."""

    table: Table[Any]
    row: Row


class Erase(msgspec.Struct, gc=False):
    """Remove rows: of a partition, or (with a full key) one row. Not for contested tables.

    Removes what was written before it and, of rows that are Put, only those with a cause up to `cause`;
    see the module's text for what is put later.
    """

    table: Table[Any]
    key: Key
    """a partition's key or a full one"""
    cause: int


Single = Put | Raise | Erase
"""A write of one row, or of one partition."""
Write = Single | PutEach
Batch = Sequence[Write]


def singly(batch: Iterable[Write]) -> Iterator[Single]:
    """A batch without `PutEach`, for whoever looks at each row. AssertionError where one is wrong."""
    for write in batch:
        if not isinstance(write, PutEach):
            yield write
            continue
        assert write.column in write.table.partition, write.column
        for value in write.values:
            row = msgspec.structs.replace(write.row, **{write.column: value})
            yield Put(write.table, row, write.cause)


def rows_in(batch: Iterable[Write]) -> int:
    """How many rows a batch writes, an erasure counting as one."""
    return sum(len(write.values) if isinstance(write, PutEach) else 1 for write in batch)


class StoreError(Exception):
    """What a store may answer instead of doing the work. Nothing was acknowledged."""


class StoreFull(StoreError):
    """No room on the disk (or within its reserve). Later writes may succeed."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or is closed. A repeat may succeed."""


class OutcomeUnknown(StoreError):
    """A compare-and-set may or may not have happened: read the row to find out."""


class StoreDamaged(StoreError):
    """The data on disk is not what was written. The message says where and what to do."""


class StoreTooNew(StoreError):
    """The data was written by a newer version of this program."""


class StoreInUse(StoreError):
    """Another process has the data open."""


class Store(Protocol):
    """See the module's text for what is promised. Every method may raise StoreError."""

    async def write(self, batch: Batch) -> None:
        """Apply a batch; it is durable when this returns. Raises StoreFull, StoreUnavailable."""

    async def get(self, table: Table[R], key: Key) -> R | None:
        """The row of a full key, or None."""

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        """The rows of many full keys, in their order."""

    async def range(
        self,
        table: Table[R],
        partition: Key,
        *,
        after: Key | None = None,
        before: Key | None = None,
        limit: int,
        backwards: bool = False,
    ) -> list[R]:
        """At most `limit` rows of a partition in clustering order (or the reverse of it).

        `after` and `before` are clustering keys, both exclusive, in terms of the *clustering
        order*: rows that come after `after` and before `before`, also when read backwards.
        """

    async def compare_and_set(
        self, table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()
    ) -> R | None:
        """Write `row`, and `also` with it, if the row of its key is still `expected` (None: absent).

        `also` are rows of the same table and partition, of keys other than that of `row` and other than
        each other's; they replace whatever is there. Returns None when all was written, else the row
        that was found instead of `expected`: then nothing was. Durable when it returns.

        Raises OutcomeUnknown: all was written, or nothing. Whatever is raised, and whatever crashes, a
        part never is. Such rows never go away, so `expected` comes from a read: one of a key that was
        never written is a bug, and an AssertionError; so are other rows in `also`.
        """

    async def scan(self, table: Table[R], *, after: Key | None = None, limit: int) -> list[R]:
        """At most `limit` rows of a whole table, in an order of the backend's own, after a full key.

        For operators' work (checks, copies, lists of users), never for a rule. Rows that are
        written meanwhile may be missed; each row that stays is returned once.
        """

    async def time_ms(self) -> int:
        """The clock of whoever keeps the rows, Unix ms.

        For who cannot ask the directory for the time. Not before the moment at which the last operation
        whose end the caller has seen could be seen by readers, as far as machines keep time.
        """

    async def expire(self, now_ms: int) -> int:
        """Drop the rows that are older than `keep_s` of their table, by their cause; how many.

        Backends whose rows expire by themselves return 0 at once. Long work gives way to others.
        """

    async def checkpoint(self, path: Path) -> None:
        """Copy the store as it is now into an empty or missing directory, while it goes on.

        When this returns the copy is durable and a store like any other; everything that was
        acknowledged before the call is in it. What a crash leaves of it is no store. Raises OSError
        for what is wrong with the directory, StoreUnavailable also where a backend is copied by
        tools of its own.
        """

    async def close(self) -> None:
        """Finish what was begun and release the files."""
