"""A keyspace that is filled from an embedded store: what is there then, and who may use it meanwhile."""

import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cluster.cassandras import Ring
from conformance.cassandra import config_of
from store.test_cassandra_columns import of_struct
from tidings.protocol import ids
from tidings.protocol.frames import SettingKind
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import Driver
from tidings.store.cassandra.filling import Filling, look, patient
from tidings.store.cassandra.store import CassandraStore
from tidings.store.contract import Erase, Put, Raise, StoreInUse, StoreUnavailable, Table
from tidings.store.encoded import Caused
from tidings.store.promotion import Promotion, Scratch, Sum, Unequal
from tidings.store.rocks import RocksStore
from tidings.store.schema import (
    CURSORS,
    HANDLES,
    NODES,
    PROFILES,
    RECEIPT_LOG,
    SENDS,
    SETTINGS,
    TABLES,
    CursorRow,
    HandleRow,
    NodeRow,
    ProfileRow,
    ReceiptLogRow,
    SendRow,
    SettingRow,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

KEYSPACE = "tidings_filling"
HERE = ConversationId(b"c" * 16)
ROWS = 3
"""of each table, at random"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a Cassandra: the one that was given, or one that is started."""
    if given_one := os.environ.get("TIDINGS_CASSANDRA"):
        yield given_one
        return
    ring = Ring(tmp_path_factory.mktemp("cassandra"))
    ring.start()
    yield f"127.0.0.1:{ring.port}"
    ring.stop()


@pytest.fixture
async def config(address: str) -> CassandraConfig:
    """Of a keyspace that is not there."""
    config = config_of(address, KEYSPACE)
    driver = await Driver.connect(patient(config))
    await driver.query(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    await driver.close()
    return config


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[RocksStore]:
    store = RocksStore.open(tmp_path / "data", min_free_bytes=0)
    yield store
    await store.close()


FEW: tuple[Table[Any], ...] = (PROFILES, SETTINGS, CURSORS, HANDLES, SENDS, RECEIPT_LOG, NODES)
"""some of each kind: to make a table takes a cluster seconds"""


class Run:
    """A promotion of few tables, in one process."""

    def __init__(self, source: RocksStore, target: Filling, scratch: Scratch) -> None:
        self.source = source
        self.target = target
        self.scratch = scratch
        self.promotion = Promotion(scratch, silent, tables=FEW)

    async def follow(self) -> None:
        await self.promotion.follow(self.target, self.source.checkpoint)

    async def hand_over(self) -> dict[str, Sum]:
        return await self.promotion.hand_over(self.target, self.source)


@pytest.fixture
async def run_of_few(config: CassandraConfig, source: RocksStore, tmp_path: Path) -> AsyncIterator[Run]:
    scratch = Scratch(tmp_path / "scratch", tmp_path / "data")
    with scratch.held():
        target = await Filling.claim(config, scratch.state.holder, tables=FEW)
        yield Run(source, target, scratch)
        await target.close()


def silent(_step: str, _done: int, _total: int) -> None:
    """Progress that nobody looks at."""


def cause_ago(seconds: float) -> int:
    return ids.first_at(time.time_ns() // 1_000_000 - int(seconds * 1000))


async def put(source: RocksStore, table: Table[Any], *rows: Caused[Any]) -> None:
    """Write rows of any table as the rules would."""
    for row, cause in rows:
        if table.contested:
            found = await source.get(table, table.key_of(row))
            assert await source.compare_and_set(table, found, row) is None
        else:
            await source.write([Raise(table, row) if table.grows else Put(table, row, cause)])


async def holds(target: Filling, table: Table[Any]) -> list[Caused[Any]]:
    return [one async for page in target.rows(table) for one in page]


def random_rows() -> list[tuple[Table[Any], list[Caused[Any]]]]:
    """Some of each table, whose keys are those that the rules would give."""
    found: list[tuple[Table[Any], list[Caused[Any]]]] = []

    @settings(max_examples=1, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        for table in TABLES:
            rows = data.draw(
                st.lists(
                    of_struct(table.row),
                    min_size=ROWS,
                    max_size=2 * ROWS,
                    unique_by=table.key_of,
                )
            )
            # Cassandra looks for no partition of an empty name, and the rules have none.
            rows = [row for row in rows if table.key_of(row)[0] != b""]
            found.append((table, [Caused(row, cause_ago(90 + at) + at) for at, row in enumerate(rows)]))

    draw()
    return found


async def test_rows_of_every_table_are_read_back_as_they_were(
    config: CassandraConfig, source: RocksStore, tmp_path: Path
) -> None:
    rows = random_rows()
    for table, some in rows:
        await put(source, table, *some)
    scratch = Scratch(tmp_path / "scratch", tmp_path / "data")
    with scratch.held():
        target = await Filling.claim(config, scratch.state.holder)
        promotion = Promotion(scratch, silent)
        await promotion.follow(target, source.checkpoint)
        sums = await promotion.hand_over(target, source)
        assert sum(one.rows for one in sums.values()) == sum(len(some) for _, some in rows) > 100
        await target.finish()
        await target.close()
    # As nodes read them, too.
    store = await CassandraStore.open(config)
    for table, some in rows:
        for row, _ in some:
            assert await store.get(table, table.key_of(row)) == row
    await store.close()


def profile(user: int, name: str, ago_s: float) -> Caused[Any]:
    return Caused(ProfileRow(UserId(user), name), cause_ago(ago_s))


def handle(name: str, user: int, request: bytes) -> Caused[Any]:
    return Caused(HandleRow(name, UserId(user), request), 0)


def cursor(device: int, up_to: int) -> Caused[Any]:
    return Caused(CursorRow(DeviceId(device), EntryId(up_to)), 0)


def send(counter: int, ago_s: float) -> Caused[Any]:
    return Caused(SendRow(DeviceId(1), b"12345678", counter, MessageId(counter), 1), cause_ago(ago_s))


async def test_what_changes_meanwhile_follows_and_nodes_write_over_it(
    run_of_few: Run, config: CassandraConfig
) -> None:
    run, source = run_of_few, run_of_few.source
    goes, changes = profile(3, "goes", 60), profile(2, "is changed", 60)
    setting = SettingRow(UserId(1), SettingKind.CONTACT, "x", b"1", EntryId(1))
    await put(source, PROFILES, profile(1, "stays", 60), changes, goes, profile(4, "stays, too", 60))
    await put(source, SETTINGS, Caused(setting, cause_ago(60)))
    await put(source, HANDLES, handle("alice", 1, b"first"), handle("bob", 2, b"first"))
    await put(source, CURSORS, cursor(1, 100), cursor(2, 100))
    await run.follow()
    await put(source, PROFILES, profile(2, "was changed", 30), profile(5, "is new", 30))
    await source.write([Erase(PROFILES, (3,), cause_ago(20)), Erase(SETTINGS, (1,), cause_ago(20))])
    await put(source, HANDLES, handle("bob", 9, b"second"), handle("carol", 3, b"first"))
    await put(source, CURSORS, cursor(2, 200), cursor(3, 1))
    sums = await run.hand_over()
    assert {name: one.rows for name, one in sums.items() if one.rows} == {
        "profiles": 4,
        "handles": 3,
        "cursors": 3,
    }
    names = {row.user_id: row.name for row, _ in await holds(run.target, PROFILES)}
    assert names == {1: "stays", 2: "was changed", 4: "stays, too", 5: "is new"}
    await run.target.finish()

    store = await CassandraStore.open(config, tables=FEW)
    # What was erased stays away, what is late changes nothing, and what is new does.
    await store.write([Put(PROFILES, *goes), Put(PROFILES, *changes), Put(PROFILES, *profile(1, "new", 1))])
    found = await store.get_many(PROFILES, [(user,) for user in (1, 2, 3)])
    assert [None if row is None else row.name for row in found] == ["new", "was changed", None]
    await store.write([Raise(CURSORS, cursor(2, 150).row), Raise(CURSORS, cursor(1, 300).row)])
    assert await store.get_many(CURSORS, [(1,), (2,)]) == [cursor(1, 300).row, cursor(2, 200).row]
    bob = handle("bob", 9, b"second").row
    assert (
        await store.compare_and_set(HANDLES, handle("bob", 2, b"first").row, handle("bob", 5, b"x").row)
        == bob
    )
    assert await store.compare_and_set(HANDLES, bob, handle("bob", 5, b"third").row) is None
    assert await store.get(HANDLES, ("bob",)) == handle("bob", 5, b"third").row
    assert await store.compare_and_set(HANDLES, None, handle("dave", 6, b"first").row) is None
    await store.close()


async def test_nothing_lives_longer_than_it_would_have(run_of_few: Run, config: CassandraConfig) -> None:
    assert SENDS.keep_s is not None
    await put(
        run_of_few.source, SENDS, send(1, 60), send(2, SENDS.keep_s - 4000), send(3, SENDS.keep_s - 1800)
    )
    await put(run_of_few.source, SENDS, send(4, SENDS.keep_s + 5))
    log = ReceiptLogRow(HERE, 1, MessageId(1), UserId(1), 2, 1)
    await put(run_of_few.source, RECEIPT_LOG, Caused(log, cause_ago(100)))
    await run_of_few.follow()
    sums = await run_of_few.hand_over()
    assert (sums["sends"].rows, sums["sends"].leaving) == (2, 2)
    driver = await Driver.connect(config)
    left = {
        int.from_bytes(counter, "big"): ttl
        for counter, ttl in await driver.query(f"SELECT counter, ttl(message_id) FROM {KEYSPACE}.sends")
    }
    ((of_log,),) = await driver.query(f"SELECT ttl(at_ms) FROM {KEYSPACE}.receipt_log")
    await driver.close()
    assert set(left) == {1, 2, 3}
    assert SENDS.keep_s - 400 < left[1] < SENDS.keep_s - 59
    assert 3600 < left[2] <= 4000
    assert 1400 < left[3] <= 1800
    assert RECEIPT_LOG.keep_s is not None
    assert of_log <= RECEIPT_LOG.keep_s - 99


@pytest.mark.parametrize("how", ["changed", "lost", "another cause", "one too many"])
async def test_what_is_not_as_it_was_is_found(run_of_few: Run, config: CassandraConfig, how: str) -> None:
    rows = [profile(user, f"user {user}", 60) for user in range(1, 20)]
    await put(run_of_few.source, PROFILES, *rows)
    await run_of_few.follow()
    driver = await Driver.connect(config)
    name = f"{KEYSPACE}.profiles"
    row, cause = rows[4]
    await driver.query(
        {
            "changed": f"UPDATE {name} USING TIMESTAMP {cause} SET about = 'zzz' WHERE user_id = 5",
            "lost": f"DELETE FROM {name} USING TIMESTAMP {cause} WHERE user_id = 5",
            "another cause": f"UPDATE {name} USING TIMESTAMP {cause + 1} SET name = '{row.name}'"
            " WHERE user_id = 5",
            "one too many": f"INSERT INTO {name} (user_id, name, about, picture) VALUES (77, '', '', 0)",
        }[how]
    )
    await driver.close()
    with pytest.raises(Unequal, match="profiles"):
        await run_of_few.hand_over()
    # It is not gone on with, but begun anew.
    assert run_of_few.scratch.state.is_last
    await run_of_few.target.empty()
    run_of_few.scratch.begin_anew()
    await run_of_few.follow()
    assert (await run_of_few.hand_over())["profiles"].rows == 19


async def test_no_node_starts_on_what_is_not_whole(run_of_few: Run, config: CassandraConfig) -> None:
    holder = run_of_few.scratch.state.holder
    assert (await look(config, FEW))[1:] == (True, holder, None)
    with pytest.raises(StoreUnavailable, match="being filled"):
        await CassandraStore.open(config, tables=FEW)
    with pytest.raises(StoreInUse, match=holder):
        await Filling.claim(config, "somebody else", tables=FEW)
    await put(run_of_few.source, NODES, Caused(NodeRow(0, 5), 0))
    await run_of_few.follow()
    assert (await look(config, FEW)).occupied == "nodes"
    with pytest.raises(StoreUnavailable, match="nodes"):
        await run_of_few.target.require_empty()
    # Who takes over has it to themselves.
    other = await Filling.claim(config, "somebody else", instead_of=holder, tables=FEW)
    with pytest.raises(StoreInUse, match="somebody else"):
        await run_of_few.target.finish()
    await other.empty()
    assert (await look(config, FEW)).occupied is None
    await other.finish()
    await other.finish()
    await other.close()
    assert (await look(config, FEW)).filler is None
    store = await CassandraStore.open(config, tables=FEW)
    await store.close()


async def test_ids_go_on_beyond_all_that_was_given(run_of_few: Run, config: CassandraConfig) -> None:
    newest = cause_ago(1)
    await put(run_of_few.source, PROFILES, Caused(ProfileRow(UserId(1), "new"), newest))
    await put(run_of_few.source, NODES, Caused(NodeRow(0, newest + 5), 0))
    await run_of_few.follow()
    sums = await run_of_few.hand_over()
    assert await run_of_few.promotion.raise_ids(run_of_few.target, sums, run_of_few.source, 2000) == newest
    await run_of_few.target.finish()
    store = await CassandraStore.open(config, tables=FEW)
    assert await store.get(NODES, (0,)) == NodeRow(0, newest + (2000 << ids.TIME_SHIFT))
    await store.close()
