"""What the store does on a Cassandra besides its contract: formats, ages, bounds, what can be read in CQL."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from cluster.cassandras import Ring
from conformance.cassandra import config_of
from conformance.stores import (
    ASCENDING,
    CONTESTED,
    DESCENDING,
    GROWING,
    KEPT,
    KEPT_LONGER,
    STRS,
    VERSIONS,
    ContestedRow,
    GrowingRow,
    IntRow,
    LoneRow,
    StrRow,
    VersionRow,
)
from tidings.protocol import ids
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId, UserId
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import PAGE_ROWS, Driver
from tidings.store.cassandra.migrations import Migration
from tidings.store.cassandra.store import KEYS_AT_ONCE, CassandraStore
from tidings.store.contract import (
    Erase,
    Put,
    PutEach,
    Raise,
    Row,
    StoreTooNew,
    StoreUnavailable,
    Table,
)
from tidings.store.counts import StoreCounts
from tidings.store.schema import MESSAGES, MessageRow

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

HERE = ConversationId(b"c" * 16)
KEYSPACE = "tidings_test"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a Cassandra: the one that was given, or one that is started."""
    if given := os.environ.get("TIDINGS_CASSANDRA"):
        yield given
        return
    ring = Ring(tmp_path_factory.mktemp("cassandra"))
    try:
        ring.start()
        yield f"127.0.0.1:{ring.port}"
    finally:
        ring.stop()


@pytest.fixture
async def config(address: str) -> CassandraConfig:
    """Of a keyspace that is not there."""
    config = config_of(address, KEYSPACE)
    driver = await Driver.connect(config)
    await driver.query(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    await driver.close()
    return config


@pytest.fixture
async def driver(config: CassandraConfig) -> AsyncIterator[Driver]:
    driver = await Driver.connect(config)
    yield driver
    await driver.close()


def int_row(at: int, text: str = "") -> IntRow:
    return IntRow(UserId(7), 1, MessageId(at), text)


def cause_ago(seconds: float) -> int:
    return ids.first_at(time.time_ns() // 1_000_000 - int(seconds * 1000))


# --- formats --------------------------------------------------------------------------------


class OldRow(Row):
    name: str
    owner: int
    request_id: bytes


class NewRow(Row):
    name: str
    owner: int
    request_id: bytes
    note: str = "none"
    left: int | None = 7
    many: list[int] = []


class OldPlainRow(Row):
    at: int
    text: str


class NewPlainRow(Row):
    at: int
    text: str
    more: bytes = b"more"


OLD = Table("things", OldRow, partition=("name",), contested=True)
NEW = Table("things", NewRow, partition=("name",), contested=True)
OLD_PLAIN = Table("plain", OldPlainRow, partition=("at",))
NEW_PLAIN = Table("plain", NewPlainRow, partition=("at",))


@pytest.mark.parametrize("again", range(3))
async def test_nodes_that_start_at_once_make_one_store(
    config: CassandraConfig, driver: Driver, again: int
) -> None:
    tables = (ASCENDING, CONTESTED, GROWING)
    stores = await asyncio.gather(*[CassandraStore.open(config, tables=tables) for _ in range(4)])
    for at, store in enumerate(stores):
        await store.write([Put(ASCENDING, int_row(at), 1)])
    for store in stores:
        assert len(await store.range(ASCENDING, (7, 1), limit=9)) == len(stores)
        await store.close()
    held = await driver.query(f"SELECT name FROM {KEYSPACE}.schema_version")
    assert held == [("format",)]


async def test_a_store_of_a_newer_version_is_refused(config: CassandraConfig) -> None:
    store = await CassandraStore.open(config, tables=[OLD], format_number=3)
    await store.close()
    with pytest.raises(StoreTooNew, match="format 3, this version knows 2\nhint: "):
        await CassandraStore.open(config, tables=[OLD], format_number=2)


async def test_an_older_store_is_brought_up_once_and_its_rows_are_as_they_were(
    config: CassandraConfig,
) -> None:
    old = await CassandraStore.open(config, tables=[OLD, OLD_PLAIN], format_number=1)
    before = OldRow("alice", 1, b"r")
    assert await old.compare_and_set(OLD, None, before) is None
    await old.write([Put(OLD_PLAIN, OldPlainRow(1, "text"), 5)])
    await old.close()
    steps: list[int] = []

    def step(number: int) -> Migration:
        async def migrate(driver: Driver, keyspace: str) -> None:
            assert keyspace == KEYSPACE
            assert await driver.query(f"SELECT * FROM {keyspace}.ascending") == []  # made before it
            steps.append(number)

        return migrate

    tables = [NEW, NEW_PLAIN, ASCENDING]
    migrations = {1: step(1), 2: step(2)}
    stores = await asyncio.gather(
        *[
            CassandraStore.open(config, tables=tables, format_number=3, migrations=migrations)
            for _ in range(2)
        ]
    )
    assert steps == [1, 2]
    store = stores[0]
    assert await store.get(NEW_PLAIN, (1,)) == NewPlainRow(1, "text")
    found = await store.get(NEW, ("alice",))
    assert found == NewRow("alice", 1, b"r")
    # Compared with columns that no row has yet.
    after = NewRow("alice", 2, b"s", "note", None, [])
    assert await store.compare_and_set(NEW, after, found) == found
    assert await store.compare_and_set(NEW, found, after) is None
    assert await store.compare_and_set(NEW, found, after) == after
    assert await store.get(NEW, ("alice",)) == after
    for one in stores:
        await one.close()


async def test_a_migration_that_died_in_the_middle_is_run_again(config: CassandraConfig) -> None:
    await (await CassandraStore.open(config, tables=[OLD], format_number=1)).close()
    tries: list[int] = []

    async def dies_once(_driver: Driver, _keyspace: str) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise StoreUnavailable("lost the cluster")

    with pytest.raises(StoreUnavailable, match="lost the cluster"):
        await CassandraStore.open(config, tables=[NEW], format_number=2, migrations={1: dies_once})
    await (
        await CassandraStore.open(config, tables=[NEW], format_number=2, migrations={1: dies_once})
    ).close()
    assert len(tries) == 2


async def test_the_lock_of_a_dead_node_is_waited_for(config: CassandraConfig, driver: Driver) -> None:
    await (await CassandraStore.open(config, tables=[OLD], format_number=1)).close()
    await driver.query(
        f"INSERT INTO {KEYSPACE}.schema_version (name, holder) VALUES ('lock', 'dead')"
        " IF NOT EXISTS USING TTL 4"
    )
    impatient = msgspec.structs.replace(config, migrate_s=0.5)
    with pytest.raises(StoreUnavailable, match="another node has been changing the tables"):
        await CassandraStore.open(impatient, tables=[NEW], format_number=2)
    store = await CassandraStore.open(config, tables=[NEW], format_number=2)
    assert await store.scan(NEW, limit=9) == []
    await store.close()


# --- rows -----------------------------------------------------------------------------------


async def test_a_message_can_be_read_in_cql(config: CassandraConfig, driver: Driver) -> None:
    store = await CassandraStore.open(config, tables=[MESSAGES])
    created_ms = 1_764_180_000_123
    message_id = ids.snowflake(created_ms, 1, 2)
    row = MessageRow(
        HERE, 60_000_000, MessageId(message_id), UserId(11), DeviceId(12), ClientId(b"i" * 16), 1, 0,
        "text", b"Hello", created_ms, hidden_from=[UserId(9)],
    )  # fmt: skip
    for older in (message_id - 1, message_id):
        await store.write([Put(MESSAGES, msgspec.structs.replace(row, message_id=older), older)])
    found = await driver.query(
        "SELECT CAST(message_id AS text), CAST(sender_id AS text), blobAsText(content), content_type,"
        f" CAST(created_at AS text), silent FROM {KEYSPACE}.messages"
        f" WHERE conversation_id = 0x{HERE.hex()} AND bucket = 60000000 LIMIT 50"
    )
    assert found == [
        (str(newest), "11", "Hello", "text", "2025-11-26T18:00:00.123Z", False)
        for newest in (message_id, message_id - 1)
    ]
    assert await store.get(MESSAGES, (HERE, 60_000_000, message_id)) == row
    await store.close()


async def test_no_row_of_the_schema_leaves_a_null(config: CassandraConfig, driver: Driver) -> None:
    store = await CassandraStore.open(config, tables=[MESSAGES])
    row = MessageRow(HERE, 1, MessageId(1), UserId(1), DeviceId(1), ClientId(b""), 1, 0, "", b"", 0)
    await store.write([Put(MESSAGES, row, 1)])
    (found,) = await driver.query(f"SELECT * FROM {KEYSPACE}.messages")
    assert None not in found  # a null is a tombstone, and a page of those is slow to read
    await store.close()


async def test_a_row_goes_when_its_time_since_its_cause_is_over(
    config: CassandraConfig, driver: Driver
) -> None:
    store = await CassandraStore.open(config, tables=[KEPT, KEPT_LONGER, ASCENDING])
    await store.write(
        [
            Put(KEPT, int_row(1), cause_ago(20)),
            Put(KEPT, int_row(2), cause_ago(61)),
            PutEach(KEPT, int_row(3), "part", [1, 2], cause_ago(-5)),
            Put(KEPT_LONGER, LoneRow("new"), cause_ago(0)),
            Put(ASCENDING, int_row(1), cause_ago(99_999)),
        ]
    )
    left = dict(await driver.query(f"SELECT CAST(at AS text), ttl(text) FROM {KEYSPACE}.kept"))
    assert set(left) == {"1", "3"}
    assert 30 <= left["1"] <= 40
    assert 55 <= left["3"] <= 65
    ((longer,),) = await driver.query(f"SELECT ttl(text) FROM {KEYSPACE}.kept_longer")
    assert 3590 <= longer <= 3600
    assert await driver.query(f"SELECT ttl(text) FROM {KEYSPACE}.ascending") == [(None,)]
    assert await store.expire(time.time_ns() // 1_000_000) == 0
    # What is left of a row is no more than its cause leaves, however late it is written.
    await store.write([Put(KEPT, int_row(4), cause_ago(58.5))])
    while await store.get(KEPT, (7, 1, 4)) is not None:
        await asyncio.sleep(0.1)
    assert await store.get(KEPT, (7, 1, 1)) is not None
    await store.close()


async def test_what_was_erased_stays_away_from_late_repeats_of_any_store(config: CassandraConfig) -> None:
    one = await CassandraStore.open(config, tables=[ASCENDING, GROWING])
    other = await CassandraStore.open(config, tables=[ASCENDING, GROWING])
    writes = [Put(ASCENDING, int_row(1), 5), Raise(GROWING, GrowingRow(HERE, UserId(1), 5, 1 << 63, "note"))]
    await one.write(writes)
    await other.write([Erase(ASCENDING, (7, 1), 5), Erase(GROWING, (HERE, 1), 0)])
    await one.write(writes)
    for store in (one, other):
        assert await store.range(ASCENDING, (7, 1), limit=9) == []
        assert await store.range(GROWING, (HERE,), limit=9) == []
        await store.close()


async def test_more_rows_than_a_page_has(config: CassandraConfig) -> None:
    store = await CassandraStore.open(config, tables=[ASCENDING, DESCENDING, STRS, VERSIONS])
    count = 2 * PAGE_ROWS + 7
    rows = [int_row(at, "x" * 300) for at in range(count)]
    await store.write([Put(table, row, 1) for table in (ASCENDING, DESCENDING) for row in rows])
    assert await store.range(ASCENDING, (7, 1), limit=9999) == rows
    assert await store.range(DESCENDING, (7, 1), limit=count - 1) == rows[:0:-1]
    assert await store.range(ASCENDING, (7, 1), limit=PAGE_ROWS) == rows[:PAGE_ROWS]
    assert len(await store.scan(ASCENDING, limit=9999)) == count
    keys = [(7, 1, at) for at in range(0, count + 3, 2)]
    assert len(keys) > 2 * KEYS_AT_ONCE
    found = await store.get_many(ASCENDING, keys)
    assert found == [rows[key[2]] if key[2] < count else None for key in keys]
    # A clustering key of two columns, and rows that are read serially.
    strs = [StrRow("p", name, number) for name in ("", "a", "é") for number in (0, (1 << 64) - 1)]
    await store.write([Put(STRS, row, 1) for row in strs])
    wanted = [STRS.key_of(row) for row in strs]
    assert await store.get_many(STRS, [*wanted, ("p", "b", 0), ("q", "a", 0)]) == [*strs, None, None]
    versions = [VersionRow("v", number, 1) for number in range(count)]
    assert await store.compare_and_set(VERSIONS, None, versions[0], versions[1:]) is None
    assert await store.range(VERSIONS, ("v",), limit=9999) == versions
    await store.close()


async def test_a_read_settles_what_compare_and_sets_of_two_stores_did(config: CassandraConfig) -> None:
    stores = [await CassandraStore.open(config, tables=[CONTESTED]) for _ in range(2)]
    count = 8

    async def increase(store: CassandraStore, who: int) -> int:
        done = 0
        while done < count:
            found = await store.get(CONTESTED, ("n",))
            request = f"{who}-{done}".encode()
            row = ContestedRow("n", 1 if found is None else found.owner + 1, request)
            if await store.compare_and_set(CONTESTED, found, row) is None:
                done += 1
        return done

    await asyncio.gather(*[increase(store, who) for who, store in enumerate(stores)])
    found = await stores[0].get(CONTESTED, ("n",))
    assert found is not None
    assert found.owner == 2 * count
    for store in stores:
        await store.close()


# --- bounds ---------------------------------------------------------------------------------


async def test_requests_beyond_the_bound_wait_their_turn(config: CassandraConfig) -> None:
    narrow = msgspec.structs.replace(config, in_flight=2)
    store = await CassandraStore.open(narrow, tables=[ASCENDING])
    batch = [PutEach(ASCENDING, int_row(1), "part", range(100), 5)]
    await asyncio.gather(store.write(batch), store.write(batch), store.get(ASCENDING, (7, 1, 1)))
    assert len(await store.scan(ASCENDING, limit=999)) == 100
    # Who goes away leaves no place taken.
    waiting = [asyncio.ensure_future(store.write(batch)) for _ in range(9)]
    await asyncio.sleep(0)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.wait_for(store.write(batch), 30)
    await store.close()


@pytest.mark.parametrize(("together", "write_requests"), [(10, 1), (1, 2)])
async def test_what_it_is_asked_for_is_counted(
    config: CassandraConfig, together: int, write_requests: int
) -> None:
    counts = StoreCounts()
    apart = msgspec.structs.replace(config, together=together)
    store = await CassandraStore.open(apart, tables=[ASCENDING, GROWING], counts=counts)
    rows = [IntRow(UserId(7), part, MessageId(1), "") for part in (1, 1, 2)]

    async def ask() -> None:
        await store.write([Put(ASCENDING, row, 1) for row in rows])
        assert await store.get(ASCENDING, (7, 2, 1)) == rows[2]

    await ask()  # which prepares the statements, too
    requests, failures = counts.requests, counts.failures
    of_table = counts.tables["ascending"]
    assert (of_table.rows, of_table.statements, of_table.reads) == (3, 3, 1)
    assert counts.write_requests == write_requests
    await ask()
    assert (of_table.rows, of_table.statements, of_table.reads) == (6, 6, 2)
    assert counts.write_requests == 2 * write_requests
    assert counts.requests - requests == write_requests + 1
    assert counts.tables["growing"].rows == counts.failures - failures == counts.waiting == 0
    await store.close()


async def test_a_batch_that_is_too_large_for_a_partition_says_so(config: CassandraConfig) -> None:
    store = await CassandraStore.open(config, tables=[ASCENDING])
    huge = [Put(ASCENDING, IntRow(UserId(7), 1, MessageId(at), "", b"x" * (1 << 20)), 1) for at in range(20)]
    with pytest.raises(StoreUnavailable):
        await store.write(huge)
    await store.write(huge[:1])
    await store.close()


async def test_nobody_there(address: str) -> None:
    nobody: dict[str, Any] = {"contact_points": ("127.0.0.1",), "port": 1, "connect_s": 1.0}
    with pytest.raises(StoreUnavailable, match=r"no node of the cluster answers[^\n]*\nhint: "):
        await CassandraStore.open(CassandraConfig(**nobody))
    with pytest.raises(StoreUnavailable, match="cannot read /nonexistent"):
        await CassandraStore.open(CassandraConfig(**nobody, tls=True, tls_ca="/nonexistent"))
    with pytest.raises(StoreUnavailable, match="tls_ca"):
        await CassandraStore.open(CassandraConfig(**nobody, tls=True))
