"""A store as the hub serves it: rows stay the bytes that they came as.

RocksDB keeps rows in this very form, so nothing is decoded. Any other store is served by
decoding what it is given and encoding what it returns: for tests and simulation.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tidings.store.contract import Erase, Key, Put, Raise, Store, Table, Write
from tidings.store.encoded import CAUSE_BYTES, Erases, Part, Puts, RowCodec
from tidings.store.rocks import RocksStore

Done = Callable[[Exception | None], None]
"""Told once that a batch is durable (None), or why not."""


class Shelf(Protocol):
    """A store of encoded rows. Tables are numbered in their order."""

    def write(self, parts: Sequence[Part], done: Done) -> None:
        """See `Store.write`. Raises what is wrong with the batch itself."""

    async def get(self, table: int, keys: Sequence[Key]) -> list[bytes | None]:
        """See `Store.get_many`."""

    async def range(
        self,
        table: int,
        partition: Key,
        after: Key | None,
        before: Key | None,
        limit: int,
        *,
        backwards: bool,
    ) -> list[bytes]:
        """See `Store.range`."""

    async def scan(self, table: int, after: Key | None, limit: int) -> list[bytes]:
        """See `Store.scan`."""

    async def compare_and_set(
        self, table: int, expected: bytes | None, row: bytes, also: Sequence[bytes]
    ) -> bytes | None:
        """See `Store.compare_and_set`."""

    async def expire(self, now_ms: int) -> int:
        """See `Store.expire`."""

    async def checkpoint(self, path: Path) -> None:
        """See `Store.checkpoint`."""


def shelf_of(store: Store, tables: Sequence[Table[Any]]) -> Shelf:
    """The shelf of a store. A RocksStore was opened with these tables, in this order."""
    if isinstance(store, RocksStore):
        return RocksShelf(store, tables)
    return TypedShelf(store, tables)


class _Rare:
    """What is asked for so seldom that decoding it costs nothing."""

    def __init__(self, store: Store, tables: Sequence[Table[Any]]) -> None:
        self._rare = store
        self._codecs = [RowCodec(table) for table in tables]

    async def compare_and_set(
        self, table: int, expected: bytes | None, row: bytes, also: Sequence[bytes]
    ) -> bytes | None:
        codec = self._codecs[table]
        before = None if expected is None else codec.row(expected)
        others = [codec.row(value) for value in also]
        found = await self._rare.compare_and_set(codec.table, before, codec.row(row), others)
        return None if found is None else codec.value(found, 0)

    async def expire(self, now_ms: int) -> int:
        return await self._rare.expire(now_ms)

    async def checkpoint(self, path: Path) -> None:
        await self._rare.checkpoint(path)


class RocksShelf(_Rare):
    """RocksDB."""

    def __init__(self, store: RocksStore, tables: Sequence[Table[Any]]) -> None:
        super().__init__(store, tables)
        self._tables = tables
        self._store = store
        self.write = store.write_encoded

    async def get(self, table: int, keys: Sequence[Key]) -> list[bytes | None]:
        return self._store.get_encoded(self._tables[table], keys)

    async def range(
        self,
        table: int,
        partition: Key,
        after: Key | None,
        before: Key | None,
        limit: int,
        *,
        backwards: bool,
    ) -> list[bytes]:
        return self._store.range_encoded(
            self._tables[table], partition, after, before, limit, backwards=backwards
        )

    async def scan(self, table: int, after: Key | None, limit: int) -> list[bytes]:
        return self._store.scan_encoded(self._tables[table], after, limit)


class TypedShelf(_Rare):
    """Any other store."""

    def __init__(self, store: Store, tables: Sequence[Table[Any]]) -> None:
        super().__init__(store, tables)
        self._store = store
        self._writing: set[asyncio.Task[None]] = set()

    def write(self, parts: Sequence[Part], done: Done) -> None:
        batch = [write for part in parts for write in self._writes(part)]
        # Tasks begin in the order in which they are made, and so do the batches.
        task = asyncio.get_running_loop().create_task(self._write(batch, done))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, batch: list[Write], done: Done) -> None:
        try:
            await self._store.write(batch)
        except Exception as error:  # whatever it is, `done` must learn of it
            done(error)
        else:
            done(None)

    def _writes(self, part: Part) -> list[Write]:
        codec = self._codecs[part.table]
        if isinstance(part, Erases):
            return [Erase(codec.table, key, cause) for key, cause in zip(part.keys, part.causes, strict=True)]
        values = part.rows[1::2]
        if isinstance(part, Puts):
            return [
                Put(codec.table, codec.row(value), int.from_bytes(value[:CAUSE_BYTES], "big"))
                for value in values
            ]
        return [Raise(codec.table, codec.row(value)) for value in values]

    async def get(self, table: int, keys: Sequence[Key]) -> list[bytes | None]:
        codec = self._codecs[table]
        rows = await self._store.get_many(codec.table, keys)
        return [None if row is None else codec.value(row, 0) for row in rows]

    async def range(
        self,
        table: int,
        partition: Key,
        after: Key | None,
        before: Key | None,
        limit: int,
        *,
        backwards: bool,
    ) -> list[bytes]:
        codec = self._codecs[table]
        rows = await self._store.range(
            codec.table, partition, after=after, before=before, limit=limit, backwards=backwards
        )
        return [codec.value(row, 0) for row in rows]

    async def scan(self, table: int, after: Key | None, limit: int) -> list[bytes]:
        codec = self._codecs[table]
        rows = await self._store.scan(codec.table, after=after, limit=limit)
        return [codec.value(row, 0) for row in rows]
