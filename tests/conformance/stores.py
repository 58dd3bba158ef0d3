"""The backends of the store that the suite runs over, and the tables that it runs with.

A further backend is one more function in `BACKENDS`: given a place, it returns a way to open
the same data again and again.
"""

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from hub.rig import SOCKET, RunningHub
from tidings.hub.link import HubLink
from tidings.hub.store import HubStore
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.contract import Row, Store, Table
from tidings.store.memory import MemoryStore, Tables
from tidings.store.rocks import RocksStore


class IntRow(Row):
    partition: UserId
    part: int
    at: MessageId
    text: str = ""
    data: bytes = b""


class BytesRow(Row):
    partition: ConversationId
    at: Annotated[bytes, Meta(min_length=4, max_length=4)]
    text: str = ""


class StrRow(Row):
    partition: str
    at: str
    number: int
    text: str = ""


class LoneRow(Row):
    name: str
    text: str = ""


class GrowingRow(Row):
    partition: ConversationId
    user: UserId
    high: int = 0
    higher: int = 0
    note: str = ""


class ContestedRow(Row):
    name: str
    owner: int
    request_id: bytes


class VersionRow(Row):
    name: str
    version: int
    owner: int
    request_id: bytes = b"r"


ASCENDING = Table("ascending", IntRow, partition=("partition", "part"), clustering=("at",))
DESCENDING = Table("descending", IntRow, partition=("partition", "part"), clustering=("at",), descending=True)
BYTES = Table("bytes", BytesRow, partition=("partition",), clustering=("at",))
BYTES_DOWN = Table("bytes_down", BytesRow, partition=("partition",), clustering=("at",), descending=True)
STRS = Table("strs", StrRow, partition=("partition",), clustering=("at", "number"))
STRS_DOWN = Table("strs_down", StrRow, partition=("partition",), clustering=("at", "number"), descending=True)
LONE = Table("lone", LoneRow, partition=("name",))
GROWING = Table(
    "growing", GrowingRow, partition=("partition",), clustering=("user",), grows=("high", "higher")
)
CONTESTED = Table("contested", ContestedRow, partition=("name",), contested=True)
VERSIONS = Table("versions", VersionRow, partition=("name",), clustering=("version",), contested=True)
VERSIONS_DOWN = Table(
    "versions_down",
    VersionRow,
    partition=("name",),
    clustering=("version",),
    descending=True,
    contested=True,
)
KEPT = Table("kept", IntRow, partition=("partition", "part"), clustering=("at",), keep_s=60)
KEPT_LONGER = Table("kept_longer", LoneRow, partition=("name",), keep_s=3600)
KEPT_GROWING = Table("kept_growing", GrowingRow, partition=("partition",), grows=("high",), keep_s=60)
KEPT_VERSIONS = Table(
    "kept_versions", VersionRow, partition=("name",), clustering=("version",), contested=True, keep_s=60
)

TEST_TABLES: tuple[Table[Any], ...] = (
    ASCENDING,
    DESCENDING,
    BYTES,
    BYTES_DOWN,
    STRS,
    STRS_DOWN,
    LONE,
    GROWING,
    CONTESTED,
    VERSIONS,
    VERSIONS_DOWN,
    KEPT,
    KEPT_LONGER,
    KEPT_GROWING,
    KEPT_VERSIONS,
)

Opener = Callable[[], Awaitable[Store]]


def memory(place: Path) -> Opener:
    """The model: its data lives as long as the test."""
    tables = Tables(lambda: time.time_ns() // 1_000_000)

    async def open_store() -> Store:
        return MemoryStore(tables)

    return open_store


def rocks(place: Path) -> Opener:
    """RocksDB in a directory."""

    async def open_store() -> Store:
        return RocksStore.open(place / "store", tables=TEST_TABLES, min_free_bytes=0)

    return open_store


class _OwnHubStore(HubStore):
    """Over a hub of its own, which ends with it."""

    def __init__(self, link: HubLink, hub: RunningHub) -> None:
        super().__init__(link, TEST_TABLES)
        self._hub = hub

    async def close(self) -> None:
        await super().close()
        await self._hub.stop()
        await self._hub.store.close()


def over_hub(backend: Callable[[Path], Opener]) -> Callable[[Path], Opener]:
    """A backend behind a hub, over a socket."""

    def at(place: Path) -> Opener:
        open_inner = backend(place)

        async def open_store() -> Store:
            hub = RunningHub(place / SOCKET, await open_inner(), TEST_TABLES)
            await hub.start()
            return _OwnHubStore(await hub.link(), hub)

        return open_store

    return at


BACKENDS: dict[str, Callable[[Path], Opener]] = {
    "memory": memory,
    "rocks": rocks,
    "hub-memory": over_hub(memory),
    "hub-rocks": over_hub(rocks),
}

# Where a Cassandra is, host:port; see `make test-cluster`.
if "TIDINGS_CASSANDRA" in os.environ:
    from conformance.cassandra import backend

    BACKENDS["cassandra"] = backend(os.environ["TIDINGS_CASSANDRA"], TEST_TABLES)

ORDERED = ("rocks", "hub-rocks")
"""whose writes have an order of calls: what is later stays at a tie, and comes back after an erasure"""
SWEPT = tuple(name for name in BACKENDS if name != "cassandra")
"""whose old rows are dropped by `expire`; of others they go by themselves"""
