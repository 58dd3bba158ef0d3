"""Hubs that are processes: killed, stopped, told to end, while nodes write."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from durability.writer import BUCKET, CONVERSATION, USER, entry
from hub.rig import SOCKET, silent_log, until
from tidings.directory.contract import Place
from tidings.hub.directory import HubDirectory
from tidings.hub.link import HubLink
from tidings.hub.store import HubStore
from tidings.protocol.ids import DeviceId, MessageId, UserId
from tidings.store.contract import Put, Raise, Store, StoreUnavailable
from tidings.store.rocks import RocksStore
from tidings.store.schema import HEADS, INBOX, TABLES, HeadRow

CHILD = Path(__file__).with_name("hub_process.py")
TESTS = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


class HubProcess:
    """A hub that can be killed and started again on the same data."""

    def __init__(self, place: Path) -> None:
        self.data = place / "store"
        self.path = place / SOCKET
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        command = [sys.executable, str(CHILD), str(self.data), str(self.path)]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "serving\n"

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._child is not None
        self._child.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; its exit status."""
        assert self._child is not None
        status = await asyncio.to_thread(self._child.wait)
        assert self._child.stdout is not None
        self._child.stdout.close()
        return status

    async def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        await self.wait()

    def discard(self) -> None:
        """End it, whatever state it is in."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        if self._child is not None and self._child.stdout is not None:
            self._child.stdout.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    hub = HubProcess(tmp_path)
    hub.start()
    yield hub
    hub.discard()


@pytest.fixture
async def links(hub: HubProcess) -> AsyncIterator[list[HubLink]]:
    links = [await HubLink.open(hub.path, TABLES, silent_log()) for _ in range(2)]
    yield links
    for link in links:
        await link.close()


class Writers:
    """Nodes that write until they are ended, and what they were told is durable."""

    def __init__(self, stores: list[HubStore]) -> None:
        self._numbers = itertools.count(1)
        self.acknowledged: set[int] = set()
        self.failed = 0
        self._ending = False
        self._tasks = [asyncio.ensure_future(self._write(store)) for store in stores for _ in range(4)]

    async def _write(self, store: Store) -> None:
        while not self._ending:
            numbers = list(itertools.islice(self._numbers, 3))
            batch = [Put(INBOX, entry(number, 300), number) for number in numbers]
            try:
                await store.write([*batch, Raise(HEADS, HeadRow(CONVERSATION, MessageId(numbers[-1])))])
            except StoreUnavailable:
                self.failed += 1
            else:
                self.acknowledged.update(numbers)

    async def acknowledge(self, count: int) -> None:
        """Wait until so many more are durable."""
        wanted = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= wanted)

    async def end(self) -> None:
        """Wait for what is under way."""
        self._ending = True
        await asyncio.gather(*self._tasks)


async def found(store: Store) -> set[int]:
    rows = await store.range(INBOX, (USER, BUCKET), limit=1 << 20)
    head = await store.get(HEADS, (CONVERSATION,))
    ids = {int(row.entry_id) for row in rows}
    assert head is None or int(head.newest) in ids
    return ids


async def test_a_killed_hub_loses_nothing_acknowledged(hub: HubProcess, links: list[HubLink]) -> None:
    writers = Writers([HubStore(link, TABLES) for link in links])
    for round_ in range(4):
        await writers.acknowledge(200 + 77 * round_)
        await hub.kill()
        hub.start()
    await writers.acknowledge(100)
    await writers.end()
    # What was under way at a kill was written again and acknowledged, not given up.
    assert writers.failed == 0
    assert writers.acknowledged == await found(HubStore(links[0], TABLES))
    await hub.kill()
    store = RocksStore.open(hub.data, min_free_bytes=0)
    assert await found(store) == writers.acknowledged
    await store.close()


async def test_a_hub_that_is_told_to_end_answers_first(hub: HubProcess, links: list[HubLink]) -> None:
    writers = Writers([HubStore(link, TABLES) for link in links])
    await writers.acknowledge(100)
    hub.signal(signal.SIGTERM)
    assert await hub.wait() == 0
    assert not hub.path.exists()
    store = RocksStore.open(hub.data, min_free_bytes=0)
    assert writers.acknowledged <= await found(store)
    await store.close()
    hub.start()
    await writers.acknowledge(100)
    await writers.end()
    assert writers.failed == 0


async def test_a_hub_that_hangs_acknowledges_nothing_until_it_goes_on(hub: HubProcess) -> None:
    link = await HubLink.open(hub.path, TABLES, silent_log(), give_up_s=0.2)
    store, directory = HubStore(link, TABLES), HubDirectory(link)
    writers = Writers([store])
    await writers.acknowledge(100)
    hub.signal(signal.SIGSTOP)
    count, failed = len(writers.acknowledged), writers.failed
    await until(lambda: writers.failed > failed + 12)
    assert len(writers.acknowledged) <= count + 3 * 4  # what was on its way
    hub.signal(signal.SIGCONT)
    await writers.acknowledge(100)
    await writers.end()
    assert writers.acknowledged <= await found(store)
    # It was one connection all the time: nothing of it was lost.
    place = Place(UserId(1), DeviceId(2), 3, 4)
    await directory.enter([place])
    assert await directory.look_up([place.user_id]) == [[place]]
    await link.close()


async def test_each_worker_is_known_by_its_process(hub: HubProcess, links: list[HubLink]) -> None:
    other = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KNOWN, str(hub.path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"{os.getpid()} {os.getpid()}" in other.stdout
    await until(lambda: True)
    assert {worker.pid for worker in await links[0].workers()} == {os.getpid()}


KNOWN = """
import asyncio, structlog, sys
from pathlib import Path
from tidings.hub.link import HubLink
from tidings.store.schema import TABLES

async def main():
    link = await HubLink.open(Path(sys.argv[1]), TABLES, structlog.get_logger())
    print(*sorted(worker.pid for worker in await link.workers()))
    await link.close()

asyncio.run(main())
"""
