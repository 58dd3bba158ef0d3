"""The store while nodes of its cluster die, freeze and come back; who may speak to it."""

import asyncio
import datetime
import ipaddress
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cluster.cassandras import Ring
from conformance.stores import ASCENDING, CONTESTED, GROWING, ContestedRow, GrowingRow, IntRow
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.driver import Driver
from tidings.store.cassandra.store import CassandraStore
from tidings.store.contract import OutcomeUnknown, Put, Raise, StoreError, StoreUnavailable

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TABLES = (ASCENDING, CONTESTED, GROWING)
HERE = ConversationId(b"c" * 16)
REQUEST_S = 5.0


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    ring = Ring(tmp_path_factory.mktemp("ring"), 3, HEAP="400M")
    try:
        ring.start()
        yield ring
    finally:
        ring.stop()


@pytest.fixture
async def store(ring: Ring) -> AsyncIterator[CassandraStore]:
    """With all nodes up, as seen by each of them."""
    for node in range(1, ring.nodes + 1):
        ring.thaw(node)
    ring.start()
    store = await CassandraStore.open(ring.config("ring", request_s=REQUEST_S), tables=TABLES)
    await until_written(store)
    yield store
    await store.close()


async def until_written(store: CassandraStore, timeout_s: float = 90) -> None:
    """Until a write is taken again."""
    ends = time.monotonic() + timeout_s
    while True:
        try:
            await store.write([Put(ASCENDING, int_row(0, part=part), 1) for part in range(20)])
        except StoreError:
            assert time.monotonic() < ends, "the cluster did not come back"
        else:
            return


def int_row(at: int, text: str = "", *, part: int = 1) -> IntRow:
    return IntRow(UserId(7), part, MessageId(at), text)


async def test_nodes_that_start_at_once_on_several_coordinators_make_one_store(ring: Ring) -> None:
    config = ring.config("at_once", request_s=3 * REQUEST_S)
    apart = [msgspec.structs.replace(config, contact_points=(point,)) for point in config.contact_points]
    stores = await asyncio.gather(*[CassandraStore.open(one, tables=TABLES) for one in apart])
    for at, one in enumerate(stores):
        await one.write([Put(ASCENDING, int_row(at), 1)])
    for one in stores:
        assert [row.at for row in await one.range(ASCENDING, (7, 1), limit=9)] == [0, 1, 2]
        await one.close()


async def test_one_node_may_die_unnoticed(ring: Ring, store: CassandraStore) -> None:
    acknowledged: list[int] = []
    failures: list[StoreError] = []
    is_over = asyncio.Event()

    async def write(first: int) -> None:
        at = first
        while not is_over.is_set():
            try:
                await store.write([Put(ASCENDING, int_row(at, part=part), 5) for part in (5, at % 50 + 100)])
            except StoreError as error:
                failures.append(error)
            else:
                acknowledged.append(at)
            at += 4

    writers = [asyncio.ensure_future(write(first)) for first in range(1, 5)]
    await asyncio.to_thread(ring.kill, 2)
    seen = len(acknowledged)
    while len(acknowledged) < seen + 200:
        await asyncio.sleep(0.05)
    is_over.set()
    await asyncio.gather(*writers)
    assert failures == []
    rows = await store.range(ASCENDING, (7, 5), limit=99_999)
    assert {row.at for row in rows} >= set(acknowledged)
    row = ContestedRow("one down", 1, b"r")
    found = None
    while found is None:
        try:
            found = await store.compare_and_set(CONTESTED, None, row) or row
        except OutcomeUnknown:  # whoever coordinates it may not know yet that the node is dead
            found = await store.get(CONTESTED, ("one down",))
    assert found == row
    assert await store.get(CONTESTED, ("one down",)) == row


async def test_one_node_that_hangs_costs_little_time(ring: Ring, store: CassandraStore) -> None:
    """It keeps its connections, and answers nobody: every third request goes to it."""

    async def took_s(part: int) -> float:
        begun = time.monotonic()
        await store.write([Put(ASCENDING, int_row(1, part=part), 5)])
        assert await store.get(ASCENDING, (7, part, 1)) == int_row(1, part=part)
        return time.monotonic() - begun

    await took_s(1000)
    ring.freeze(3)
    try:
        found_s = await asyncio.gather(*[took_s(part) for part in range(1001, 1061)])
    finally:
        ring.thaw(3)
    print(f"a write and a read, one of three hangs: worst {max(found_s):.1f} s")
    assert max(found_s) > 0.9, "none of them went to it"
    assert max(found_s) < 6.0
    await until_written(store)


async def test_what_was_acknowledged_survives_that_all_nodes_are_killed(
    ring: Ring, store: CassandraStore
) -> None:
    acknowledged: list[int] = []

    async def write(first: int) -> None:
        for at in range(first, 100_000, 4):
            try:
                await store.write(
                    [
                        Put(ASCENDING, int_row(at, "text", part=9), at),
                        Raise(GROWING, GrowingRow(HERE, UserId(first), at)),
                    ]
                )
            except StoreError:
                return
            acknowledged.append(at)

    writers = [asyncio.ensure_future(write(first)) for first in range(1, 5)]
    while len(acknowledged) < 300:
        await asyncio.sleep(0.01)
    await asyncio.gather(*[asyncio.to_thread(ring.kill, node) for node in (1, 2, 3)])
    await asyncio.gather(*writers)
    with pytest.raises(StoreUnavailable):
        await store.get(ASCENDING, (7, 9, 1))
    await asyncio.to_thread(ring.start)
    await until_written(store)
    rows = await store.range(ASCENDING, (7, 9), limit=99_999)
    assert {row.at for row in rows} >= set(acknowledged)
    for first in range(1, 5):
        newest = await store.get(GROWING, (HERE, first))
        assert newest is not None
        assert newest.high >= max(at for at in acknowledged if at % 4 == first % 4)


async def test_a_quorum_that_is_frozen_is_no_hang(ring: Ring, store: CassandraStore) -> None:
    first, before = ContestedRow("frozen", 0, b"q"), ContestedRow("frozen", 1, b"r")
    assert await store.compare_and_set(CONTESTED, None, first) is None
    assert await store.compare_and_set(CONTESTED, first, before) is None
    assert await store.get(ASCENDING, (7, 1, 1)) is None
    for node in (2, 3):
        ring.freeze(node)
    begun = time.monotonic()
    results = await asyncio.gather(
        store.write([Put(ASCENDING, int_row(1, "frozen"), 5)]),
        store.get(ASCENDING, (7, 1, 1)),
        store.compare_and_set(CONTESTED, before, ContestedRow("frozen", 2, b"s")),
        return_exceptions=True,
    )
    assert time.monotonic() - begun < 3 * REQUEST_S
    assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable, OutcomeUnknown]
    for node in (2, 3):
        ring.thaw(node)
    await until_written(store)
    # A read says what became of it, once and for all.
    settled = await store.get(CONTESTED, ("frozen",))
    assert settled in (before, ContestedRow("frozen", 2, b"s"))
    assert await store.compare_and_set(CONTESTED, settled, ContestedRow("frozen", 3, b"t")) is None


# --- who may speak to it --------------------------------------------------------------------


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that its own key has signed, and that key."""
    key = rsa.generate_private_key(65_537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file


async def least_rights(config: CassandraConfig) -> None:
    """A user who may do what docs/operating/cassandra.md grants, in a keyspace that is there."""
    driver = await Driver.connect(config)
    for statement in (
        "CREATE KEYSPACE granted WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE ROLE tidings WITH PASSWORD = 'swordfish' AND LOGIN = true",
        "GRANT CREATE ON KEYSPACE granted TO tidings",
        "GRANT ALTER ON KEYSPACE granted TO tidings",
        "GRANT SELECT ON KEYSPACE granted TO tidings",
        "GRANT MODIFY ON KEYSPACE granted TO tidings",
    ):
        await driver.query(statement)
    await driver.close()


async def test_a_password_and_tls(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path / "tls")
    other, _ = write_certificate(tmp_path / "other")
    guarded = Ring(tmp_path / "node", AUTH="yes", TLS_CERT=str(cert), TLS_KEY=str(key))
    try:
        await asyncio.to_thread(guarded.start)
        known = {"user": "cassandra", "password": "cassandra", "tls": True, "tls_ca": str(cert)}
        store = await CassandraStore.open(guarded.config("guarded", **known), tables=[ASCENDING])
        await store.write([Put(ASCENDING, int_row(1), 1)])
        assert await store.get(ASCENDING, (7, 1, 1)) == int_row(1)
        await store.close()
        await least_rights(guarded.config("guarded", **known))
        rightful = guarded.config("granted", **{**known, "user": "tidings", "password": "swordfish"})
        store = await CassandraStore.open(rightful, tables=TABLES)
        await until_written(store)
        assert await store.compare_and_set(CONTESTED, None, ContestedRow("alice", 1, b"r")) is None
        await store.close()
        for wrong, said in (
            ({"password": "xyzzy"}, "user and password"),
            ({"tls_ca": str(other)}, "failed"),
            ({"tls": False}, "failed"),
        ):
            config = guarded.config("guarded", connect_s=3.0, **{**known, **wrong})
            with pytest.raises(StoreUnavailable, match=said) as refused:
                await CassandraStore.open(config, tables=[ASCENDING])
            assert "xyzzy" not in str(refused.value)
    finally:
        guarded.stop()
