"""Registering, logging in, being recognised."""

import asyncio
import base64
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusals import refusal, refused
from tidings.domain.handles import normalise
from tidings.protocol import errors, frames
from tidings.protocol.api import Credentials, Kdf, NewAccount, NewSecret
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import ErrorKind, ProtocolError
from tidings.protocol.limits import Limits
from tidings.store.contract import Key, R, Table
from tidings.store.memory import Fault, MemoryStore, PlannedFaults, Tables
from tidings.store.schema import DEVICES, USERS
from tidings.testing.world import PASSWORD, PlainPasswords, World

SALT = base64.b64encode(bytes(range(16))).decode()


async def test_a_token_is_recognised_and_only_its_hash_is_stored() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    account = await world.register("Alice")
    assert account.handle == "alice"
    known = await world.services.accounts.authenticate(account.token)
    assert (known.user.user_id, known.device_id) == account.ids()
    assert known.new_token is None
    everything = repr([part.rows for part in tables.partitions.values()])
    assert account.token not in everything
    row = await MemoryStore(tables).get(DEVICES, account.ids())
    assert row is not None
    assert len(row.token_hash) == 32


async def test_a_handle_is_taken_once_also_at_once() -> None:
    world = await World.start()
    outcomes = await asyncio.gather(
        *(world.register(name) for name in ("alice", "ALICE", "@alice")), return_exceptions=True
    )
    refusals = [one for one in outcomes if isinstance(one, ProtocolError)]
    assert [one.kind for one in refusals] == [errors.HANDLE_TAKEN, errors.HANDLE_TAKEN]
    assert await refused(world.register("alice")) is errors.HANDLE_TAKEN


@pytest.mark.parametrize("fault", [Fault.DONE_UNKNOWN, Fault.LOST_UNKNOWN])
async def test_an_unknown_outcome_is_settled_by_reading(fault: Fault) -> None:
    faults = PlannedFaults(Random(1))
    world = await World.start(MemoryStore(faults=faults))
    faults.compare_and_sets.append(fault)
    if fault is Fault.DONE_UNKNOWN:
        account = await world.register("alice")
        await world.services.accounts.authenticate(account.token)
    else:
        assert await refused(world.register("alice")) is errors.HANDLE_TAKEN
        await world.register("alice")


async def test_login_makes_further_devices_up_to_the_limit() -> None:
    world = await World.start(limits=Limits(devices_per_user=3, receipt_delay_s=0))
    first = await world.register("alice")
    second = await world.login("alice")
    assert first.user_id == second.user_id
    assert first.device_id != second.device_id
    await world.login("@Alice")
    assert await refused(world.login("alice")) is errors.TOO_MANY_DEVICES


async def test_a_wrong_password_and_an_unknown_handle_are_refused_alike() -> None:
    world = await World.start()
    await world.register("alice")
    accounts = world.services.accounts
    wrong = Credentials("alice", "not the password")
    unknown = Credentials("nobody", PASSWORD)
    assert await refused(accounts.login(wrong)) is errors.WRONG_CREDENTIALS
    assert await refused(accounts.login(unknown)) is errors.WRONG_CREDENTIALS


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        (NewAccount("a", PASSWORD), errors.BAD_HANDLE),
        (NewAccount("a" * 33, PASSWORD), errors.BAD_HANDLE),
        (NewAccount("al ice", PASSWORD), errors.BAD_HANDLE),
        (NewAccount("älice", PASSWORD), errors.BAD_HANDLE),
        (NewAccount("../../etc/passwd", PASSWORD), errors.BAD_HANDLE),
        (NewAccount("a'; DROP TABLE users;--", PASSWORD), errors.BAD_HANDLE),
        (NewAccount("alice\n", PASSWORD), errors.BAD_HANDLE),
        (NewAccount("ali\0ce", PASSWORD), errors.BAD_HANDLE),
        (NewAccount("alice", "short"), errors.BAD_PASSWORD),
        (NewAccount("alice", "x" * 257), errors.BAD_PASSWORD),
        (NewAccount("alice", "\ud800" * 8), errors.BAD_PASSWORD),
        (NewAccount("alice", PASSWORD, "x" * 65), errors.TOO_LARGE),
        (NewAccount("alice", PASSWORD, "a" + "\u0301" * 10_000), errors.TOO_LARGE),
        (NewAccount("alice", PASSWORD, "a" + "\u0301" * 20), errors.INVALID),
        (NewAccount("alice", PASSWORD, "phone\x1b[2J"), errors.INVALID),
        (NewAccount("alice", PASSWORD, "gpj.\u202eenohp"), errors.INVALID),
        (NewAccount("alice", PASSWORD, kdf=Kdf("AAAA")), errors.INVALID),
        (NewAccount("alice", PASSWORD, kdf=Kdf("A" * 100_000)), errors.INVALID),
        (NewAccount("alice", PASSWORD, kdf=Kdf("not base64, and 24 chars")), errors.INVALID),
        (NewAccount("alice", PASSWORD, kdf=Kdf(SALT, memory_kib=1 << 40)), errors.INVALID),
        (NewAccount("alice", PASSWORD, kdf=Kdf(SALT, passes=0)), errors.INVALID),
        (NewAccount("alice", PASSWORD, kdf=Kdf(SALT, lanes=-1)), errors.INVALID),
    ],
)
async def test_what_cannot_be_is_refused_before_any_work(wanted: NewAccount, kind: ErrorKind) -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    assert await refused(world.services.accounts.register(wanted)) is kind
    assert not tables.partitions


async def test_a_full_disk_leaves_no_half_made_account_behind_a_handle() -> None:
    faults = PlannedFaults(Random(1))
    store = MemoryStore(faults=faults)
    world = await World.start(store)
    faults.writes.append(Fault.FULL)
    assert await refused(world.register("alice")) is errors.STORE_FULL
    faults.compare_and_sets.append(Fault.FULL)
    assert await refused(world.register("alice")) is errors.STORE_FULL
    account = await world.register("alice")
    row = await store.get(USERS, (account.ids()[0],))
    assert row is not None
    assert row.handle == "alice"


async def test_registration_may_be_closed() -> None:
    world = await World.start(registration="closed")
    assert await refused(world.register("alice")) is errors.REGISTRATION_CLOSED


async def test_what_a_new_secret_is_made_of_is_told_and_strangers_get_a_decoy() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    accounts = world.services.accounts
    kdf = Kdf(SALT)
    await accounts.register(NewAccount("alice", PASSWORD, kdf=kdf))
    await world.register("plain")
    assert await accounts.kdf("@Alice") == kdf
    assert await accounts.kdf("plain") is None
    decoy = await accounts.kdf("nobody")
    assert decoy is not None
    assert len(base64.b64decode(decoy.salt)) == len(base64.b64decode(SALT))
    assert (decoy.memory_kib, decoy.passes, decoy.lanes) == (kdf.memory_kib, kdf.passes, kdf.lanes)
    assert await accounts.kdf("nobody") == decoy
    assert await accounts.kdf("nobody2") != decoy
    again = await World.start(MemoryStore(tables), seed=2)
    assert await again.services.accounts.kdf("nobody") == decoy, "the same after a restart"
    assert await refused(accounts.kdf("../nobody")) is errors.BAD_HANDLE


class Counting(MemoryStore):
    """Counts reads."""

    reads = 0

    async def get(self, table: Table[R], key: Key) -> R | None:
        self.reads += 1
        return await super().get(table, key)


async def test_who_exists_cannot_be_told_by_the_work_done(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = []

    async def matches(self: PlainPasswords, password_hash: str | None, password: str) -> bool:
        hashes.append(password_hash)
        return False

    store = Counting()
    world = await World.start(store)
    accounts = world.services.accounts
    await world.register("alice")
    monkeypatch.setattr(PlainPasswords, "matches", matches)
    await accounts.kdf("alice")
    work = []
    for handle in ("alice", "nobody"):
        for ask in (accounts.login(Credentials(handle, "wrong secret")), accounts.kdf(handle)):
            before = store.reads, len(hashes)
            await asyncio.gather(ask, return_exceptions=True)
            work.append((store.reads - before[0], len(hashes) - before[1]))
    assert work[:2] == work[2:]
    assert work[0][1] == 1


async def test_a_suspended_account_is_refused_only_after_the_secret() -> None:
    world = await World.start()
    alice = await world.register("alice")
    accounts = world.services.accounts
    device = await world.online(alice)
    await accounts.suspend(alice.ids()[0], True)
    assert await device.closing() is CloseCode.NOT_ALLOWED
    assert await refused(accounts.login(Credentials("alice", "not the secret"))) is errors.WRONG_CREDENTIALS
    assert await refused(world.login("alice")) is errors.SUSPENDED
    assert await refused(accounts.authenticate(alice.token)) is errors.SUSPENDED
    await accounts.suspend(alice.ids()[0], False)
    await world.login("alice")
    await world.online(alice)


async def test_a_users_own_quota_of_devices_counts() -> None:
    world = await World.start(limits=Limits(devices_per_user=2, receipt_delay_s=0))
    user_id, _ = (await world.register("alice")).ids()
    await world.services.accounts.quota(user_id, 0, 3)
    await world.login("alice")
    await world.login("alice")
    assert await refused(world.login("alice")) is errors.TOO_MANY_DEVICES
    await world.services.accounts.quota(user_id, 0, 1)
    assert await refused(world.login("alice")) is errors.TOO_MANY_DEVICES


async def test_another_handle() -> None:
    world = await World.start()
    alice = await world.register("alice")
    await world.register("bob")
    user_id, _ = alice.ids()
    accounts = world.services.accounts
    phone = await world.online(alice)
    user = await accounts.user(user_id)
    assert await refused(accounts.rename(user_id, "Bob")) is errors.HANDLE_TAKEN
    await accounts.rename(user_id, "@Alicia")
    assert user.handle == "alicia"
    assert (await accounts.by_handle("alicia")).user_id == user_id
    assert await refused(accounts.by_handle("alice")) is errors.NO_SUCH_USER
    assert await refused(accounts.login(Credentials("alice", PASSWORD))) is errors.WRONG_CREDENTIALS
    told = await phone.expect(frames.Changed)
    assert [setting.key for setting in told.settings] == ["handle"]
    await world.login("alicia")


async def test_a_handle_that_was_given_up_is_kept_for_its_owner() -> None:
    world = await World.start(limits=Limits(handle_kept_s=1000, receipt_delay_s=0))
    user_id, _ = (await world.register("alice")).ids()
    accounts = world.services.accounts
    await accounts.rename(user_id, "alicia")
    assert await refused(world.register("alice")) is errors.HANDLE_TAKEN
    await accounts.rename(user_id, "alice")
    await accounts.rename(user_id, "alicia")
    world.clock.advance(999)
    assert await refused(world.register("alice")) is errors.HANDLE_TAKEN
    world.clock.advance(2)
    other = await world.register("alice")
    assert (await accounts.by_handle("alice")).user_id == other.ids()[0]
    assert await refused(accounts.rename(user_id, "alice")) is errors.HANDLE_TAKEN


async def test_handles_are_not_hoarded() -> None:
    world = await World.start()
    user_id, _ = (await world.register("alice")).ids()
    for number in range(5):
        await world.services.accounts.rename(user_id, f"alice{number}")
    error = await refusal(world.services.accounts.rename(user_id, "alice9"))
    assert error.kind is errors.RATE_LIMITED
    assert error.retry_after_s == pytest.approx(60, abs=1)
    world.clock.advance(61)
    await world.services.accounts.rename(user_id, "alice9")


async def test_a_handle_is_not_lost_where_a_change_died_half_way() -> None:
    faults = PlannedFaults(Random(1))
    world = await World.start(
        MemoryStore(faults=faults), limits=Limits(handle_kept_s=1000, receipt_delay_s=0)
    )
    user_id, _ = (await world.register("alice")).ids()
    accounts = world.services.accounts
    faults.writes.append(Fault.FULL)
    assert await refused(accounts.rename(user_id, "alicia")) is errors.STORE_FULL
    assert (await accounts.by_handle("alice")).user_id == user_id
    assert await refused(accounts.by_handle("alicia")) is errors.NO_SUCH_USER
    # Somebody else wants it: from here on it is kept as one that was given up.
    assert await refused(world.register("alicia")) is errors.HANDLE_TAKEN
    world.clock.advance(1001)
    await world.register("alicia")
    await world.login("alice")


@pytest.mark.parametrize("others", [True, False])
async def test_another_secret_and_the_other_devices_are_out(others: bool) -> None:
    world = await World.start()
    accounts = world.services.accounts
    alice = await world.register("alice")
    phone, tablet = await world.online(alice), await world.online(await world.login("alice"))
    user_id, device_id = alice.ids()
    wrong = NewSecret("not the secret", "another secret")
    assert await refused(accounts.change_secret(user_id, device_id, wrong)) is errors.WRONG_CREDENTIALS
    short = NewSecret(PASSWORD, "short")
    assert await refused(accounts.change_secret(user_id, device_id, short)) is errors.BAD_PASSWORD
    wanted = NewSecret(PASSWORD, "another secret", Kdf(SALT), sign_out_others=others)
    await accounts.change_secret(user_id, device_id, wanted)
    assert await accounts.kdf("alice") == Kdf(SALT)
    assert await refused(world.login("alice")) is errors.WRONG_CREDENTIALS
    await accounts.login(Credentials("alice", "another secret"))
    if others:
        assert await tablet.closing() is CloseCode.NOT_ALLOWED
    await phone.settle()


async def test_a_login_with_the_old_secret_does_not_outrun_its_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await World.start()
    accounts = world.services.accounts
    alice = await world.register("alice")
    hashing, go_on = asyncio.Event(), asyncio.Event()

    async def slow(self: PlainPasswords, password_hash: str | None, password: str) -> bool:
        hashing.set()
        await go_on.wait()
        return password_hash == "plain:" + password

    with monkeypatch.context() as patch:
        patch.setattr(PlainPasswords, "matches", slow)
        login = asyncio.create_task(world.login("alice"))
        await hashing.wait()
    await accounts.change_secret(*alice.ids(), NewSecret(PASSWORD, "another secret"))
    go_on.set()
    assert await refused(login) is errors.WRONG_CREDENTIALS


async def test_a_thousand_logins_at_once_are_bounded() -> None:
    world = await World.start()
    await world.register("alice")
    outcomes = await asyncio.gather(*(world.login("alice") for _ in range(1000)), return_exceptions=True)
    assert {getattr(outcome, "kind", None) for outcome in outcomes} == {None, errors.TOO_MANY_DEVICES}
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == Limits().devices_per_user - 1


@given(st.text())
def test_a_handle_is_normal_or_refused(handle: str) -> None:
    try:
        normal = normalise(handle)
    except ProtocolError:
        return
    assert normalise(normal) == normal
    assert normalise("@" + normal.upper()) == normal
