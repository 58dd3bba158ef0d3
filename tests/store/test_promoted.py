"""Marks of a data folder that is being, or was, handed over to a cluster."""

from pathlib import Path

import pytest

from tidings.store.contract import StoreDamaged, StoreInUse
from tidings.store.promoted import (
    PROMOTED,
    PROMOTING,
    Promoted,
    handing_over,
    mark_promoted,
    promoted,
    take_back,
)
from tidings.store.rocks import RocksStore

MARK = Promoted("2026-01-31T12:00:00+00:00", "the keyspace tidings at 10.0.1.1", "abc from here:/data")


async def make(path: Path) -> None:
    await RocksStore.open(path).close()


async def test_no_server_starts_on_what_was_handed_over_until_it_is_taken_back(tmp_path: Path) -> None:
    await make(tmp_path)
    assert promoted(tmp_path) is None
    mark_promoted(tmp_path, MARK)
    mark_promoted(tmp_path, MARK)
    assert promoted(tmp_path) == MARK
    with pytest.raises(StoreInUse, match="handed over to the keyspace tidings at") as refused:
        RocksStore.open(tmp_path)
    assert "--take-back" in str(refused.value)
    # What only reads may look.
    await RocksStore.open(tmp_path, as_it_is=True).close()
    assert take_back(tmp_path)
    assert not take_back(tmp_path)
    await make(tmp_path)


async def test_no_server_starts_while_it_is_handed_over(tmp_path: Path) -> None:
    await make(tmp_path)
    with handing_over(tmp_path):
        with pytest.raises(StoreInUse, match="being handed over"):
            RocksStore.open(tmp_path)
        with pytest.raises(StoreInUse, match="already"), handing_over(tmp_path):
            pass
    await make(tmp_path)


async def test_the_lock_goes_with_the_process_that_had_it(tmp_path: Path) -> None:
    await make(tmp_path)
    (tmp_path / PROMOTING).touch()
    await make(tmp_path)


async def test_a_mark_that_cannot_be_read_is_one(tmp_path: Path) -> None:
    await make(tmp_path)
    (tmp_path / PROMOTED).write_bytes(b"")
    with pytest.raises(StoreDamaged, match="start on that"):
        RocksStore.open(tmp_path)


def test_a_folder_that_is_not_there_has_no_mark(tmp_path: Path) -> None:
    assert promoted(tmp_path / "nowhere") is None
    assert not take_back(tmp_path / "nowhere")
