"""Growing rows that RocksStore remembers: it never takes them for others than are in the database."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.stores import GROWING, TEST_TABLES, GrowingRow
from tidings.protocol.ids import ConversationId, UserId
from tidings.store.contract import Erase, Raise, StoreFull, Write
from tidings.store.rocks import RocksStore

UNUSED = itertools.count()
KINDS = st.sampled_from(["raise", "raise", "raise", "erase", "erase all"])
BATCHES = st.lists(st.tuples(KINDS, st.integers(0, 3), st.integers(0, 9)), max_size=5)
OPERATIONS = st.lists(
    st.one_of(BATCHES, BATCHES, BATCHES, BATCHES, st.sampled_from(["reopen", "no room"])), max_size=10
)


class Disk:
    """A store that is opened again and again, and its disk's free bytes."""

    def __init__(self, path: Path) -> None:
        self.free_bytes = 1 << 30
        self._path = path
        self.store = self._open()

    async def reopen(self) -> None:
        await self.store.close()
        self.store = self._open()

    def _open(self) -> RocksStore:
        return RocksStore.open(
            self._path, tables=TEST_TABLES, min_free_bytes=1, free=lambda _: self.free_bytes, sync=False
        )


@pytest.fixture
async def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Disk]:
    monkeypatch.setattr("tidings.store.rocks_family.RECENT_ROWS", 3)
    disk = Disk(tmp_path / "store")
    yield disk
    await disk.store.close()


def write_of(here: ConversationId, kind: str, user: int, high: int) -> Write:
    if kind == "raise":
        return Raise(GROWING, GrowingRow(here, UserId(user), high))
    return Erase(GROWING, (here, user) if kind == "erase" else (here,), 0)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
async def test_rows_grow_from_what_is_there(
    disk: Disk, operations: list[list[tuple[str, int, int]] | str]
) -> None:
    here = ConversationId(next(UNUSED).to_bytes(16, "big"))
    model: dict[int, int] = {}
    for batch in operations:
        if isinstance(batch, list):
            writes = [write_of(here, *one) for one in batch]
            await disk.store.write(writes)
            for kind, user, high in batch:
                if kind == "raise":
                    model[user] = max(high, model.get(user, 0))
                elif kind == "erase":
                    model.pop(user, None)
                else:
                    model.clear()
            continue
        if batch == "no room":
            disk.free_bytes = 0
        await disk.reopen()
        if batch == "no room":
            with pytest.raises(StoreFull):
                await disk.store.write([Raise(GROWING, GrowingRow(here, UserId(0), 99))])
            disk.free_bytes = 1 << 30
    rows = await disk.store.range(GROWING, (here,), limit=9)
    assert {row.user: row.high for row in rows} == model
