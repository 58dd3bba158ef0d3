"""What was acknowledged is there after a power cut, and after a full disk."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from durability.shim import Shim
from durability.writer import BUCKET, CONVERSATION, USER
from tidings.store.rocks import RocksStore
from tidings.store.schema import HEADS, INBOX

WRITER = Path(__file__).with_name("writer.py")

pytestmark = pytest.mark.slow


@pytest.fixture
def shim(library: Path, tmp_path: Path) -> Shim:
    return Shim(library, tmp_path / "store", tmp_path)


@contextmanager
def writing(shim: Shim, seed: int, *mode: str) -> Iterator[Callable[[], str]]:
    """A child that writes; what is yielded gives its next line. It is killed at the end."""
    command = [sys.executable, str(WRITER), str(shim.directory), str(seed), *mode]
    with subprocess.Popen(command, env=shim.environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline
        finally:
            child.kill()


def acknowledged(shim: Shim, seed: int, count: int, *mode: str) -> set[int]:
    """What a child acknowledged until it was killed, at any moment after `count` ids."""
    with writing(shim, seed, *mode) as line:
        return {int(line()) for _ in range(count)}


async def found(shim: Shim) -> set[int]:
    store = RocksStore.open(shim.directory, min_free_bytes=0)
    try:
        rows = await store.range(INBOX, (USER, BUCKET), limit=1 << 20)
        head = await store.get(HEADS, (CONVERSATION,))
        ids = {int(row.entry_id) for row in rows}
        assert head is None or int(head.newest) in ids, "a batch came back in part"
        return ids
    finally:
        await store.close()


@pytest.mark.parametrize("seed", range(3), ids=lambda seed: f"seed-{seed}")
async def test_a_power_cut_takes_nothing_that_was_acknowledged(shim: Shim, seed: int) -> None:
    ids = acknowledged(shim, seed, random.Random(seed).randint(1, 3000))
    shim.cut()
    assert ids <= await found(shim)


async def test_the_shim_has_the_power_to_show_a_loss(shim: Shim) -> None:
    ids = acknowledged(shim, 1, 500, "unsafe")
    shim.cut()
    assert not ids <= await found(shim)


async def test_a_second_power_cut_while_the_first_is_recovered_from(shim: Shim) -> None:
    ids: set[int] = set()
    for seed in range(2):
        # The second child begins with the same ids, and with what the first left.
        ids |= acknowledged(shim, seed, 300)
        shim.cut()
    assert ids <= await found(shim)


async def test_a_full_disk_refuses_and_loses_nothing(shim: Shim) -> None:
    ids: set[int] = set()
    with writing(shim, 4) as line:
        ids |= {int(line()) for _ in range(200)}
        shim.full.touch()
        while (said := line()) != "full\n":
            ids.add(int(said))
        shim.full.unlink()
        while (said := line()) == "full\n":
            pass
        ids |= {int(said)} | {int(said) for said in (line() for _ in range(200)) if said != "full\n"}
    shim.cut()
    assert ids <= await found(shim)
