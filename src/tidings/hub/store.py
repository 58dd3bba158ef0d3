"""The store over the hub: see `tidings.store.contract.Store`.

Rows are encoded here, and decoded here; the hub passes bytes on. While the hub is away nothing is
acknowledged: a write waits for the next hub and is repeated there, where it is written once; after
`tidings.hub.link.GIVE_UP_S` it fails as StoreUnavailable, and may or may not have been done.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tidings.hub.link import HubLink, Manner
from tidings.hub.wire import Checkpoint, Compare, Count, Expire, Get, Range, Scan, Values, Write
from tidings.store.contract import (
    Batch,
    Key,
    OutcomeUnknown,
    R,
    Row,
    StoreDamaged,
    StoreUnavailable,
    Table,
)
from tidings.store.encoded import BatchEncoder, RowCodec

_REPEATED = Manner(StoreUnavailable)
_ONCE = Manner(StoreUnavailable, under_way=OutcomeUnknown)
_LONG = Manner(StoreUnavailable, under_way=StoreUnavailable, is_patient=True)


class HubStore:
    """A node's view of the hub's store. The tables are those of the link, which the caller closes."""

    def __init__(self, link: HubLink, tables: Sequence[Table[Any]]) -> None:
        self._link = link
        codecs = [RowCodec(table) for table in tables]
        self._codecs: dict[Table[Any], tuple[int, RowCodec[Any]]] = {
            table: (number, codec) for number, (table, codec) in enumerate(zip(tables, codecs, strict=True))
        }
        self._encode = BatchEncoder(codecs)
        self._closed = False

    async def write(self, batch: Batch) -> None:
        self._require_open()
        parts = self._encode(batch)
        if parts:
            await self._link.done(Write(0, parts), _REPEATED)

    async def get(self, table: Table[R], key: Key) -> R | None:
        return (await self.get_many(table, (key,)))[0]

    async def get_many(self, table: Table[R], keys: Sequence[Key]) -> list[R | None]:
        self._require_open()
        number, codec = self._codecs[table]
        if not keys:
            return []
        found = await self._link.ask(Get(0, number, list(keys)), _REPEATED, Values)
        return [None if value is None else _row(codec, value) for value in found.values]

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
        self._require_open()
        number, codec = self._codecs[table]
        request = Range(0, number, partition, after, before, limit, backwards)
        found = await self._link.ask(request, _REPEATED, Values)
        return [_row(codec, value) for value in found.values if value is not None]

    async def compare_and_set(
        self, table: Table[R], expected: R | None, row: R, also: Sequence[Row] = ()
    ) -> R | None:
        self._require_open()
        number, codec = self._codecs[table]
        before = None if expected is None else codec.value(expected, 0)
        first, *others = [codec.value(one, 0) for one in table.set_together(row, also)]
        answer = await self._link.ask(Compare(0, number, before, first, others), _ONCE, Values)
        (found,) = answer.values
        return None if found is None else _row(codec, found)

    async def scan(self, table: Table[R], *, after: Key | None = None, limit: int) -> list[R]:
        self._require_open()
        number, codec = self._codecs[table]
        found = await self._link.ask(Scan(0, number, after, limit), _REPEATED, Values)
        return [_row(codec, value) for value in found.values if value is not None]

    async def time_ms(self) -> int:
        self._require_open()
        await self._link.hear_time(_REPEATED)
        return self._link.wall_ms

    async def expire(self, now_ms: int) -> int:
        self._require_open()
        return (await self._link.ask(Expire(0, now_ms), _LONG, Count)).count

    async def checkpoint(self, path: Path) -> None:
        self._require_open()
        absolute = str(path.absolute())  # noqa: ASYNC240 - touches no disk
        await self._link.done(Checkpoint(0, absolute), _LONG)

    async def close(self) -> None:
        """Wait for what was begun. The hub's store stays open, and so does the link."""
        if not self._closed:
            self._closed = True
            await self._link.settled()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


def _row(codec: RowCodec[R], value: bytes) -> R:
    try:
        return codec.row(value)
    except msgspec.DecodeError as error:
        raise StoreDamaged(
            f"a row of {codec.table.name} in the hub's store cannot be read: {error}\n"
            "hint: stop, copy its directory aside as it is, and restore a backup"
        ) from None
