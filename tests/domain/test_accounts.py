"""Registering, logging in, being recognised."""

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.domain.accounts import normalise
from tidings.protocol import errors
from tidings.protocol.api import Credentials
from tidings.protocol.errors import ErrorKind, ProtocolError
from tidings.protocol.limits import Limits
from tidings.store.memory import Fault, MemoryStore, PlannedFaults, Tables
from tidings.store.schema import DEVICES, USERS
from tidings.testing.world import PASSWORD, World


async def refused(work: object) -> ErrorKind:
    with pytest.raises(ProtocolError) as refusal:
        await work  # type: ignore[misc]
    return refusal.value.kind


async def test_a_token_is_recognised_and_only_its_hash_is_stored() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    account = await world.register("Alice")
    assert account.handle == "alice"
    user, device = await world.services.accounts.authenticate(account.token)
    assert (user.user_id, device) == account.ids()
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
    ("credentials", "kind"),
    [
        (Credentials("a", PASSWORD), errors.BAD_HANDLE),
        (Credentials("a" * 33, PASSWORD), errors.BAD_HANDLE),
        (Credentials("al ice", PASSWORD), errors.BAD_HANDLE),
        (Credentials("älice", PASSWORD), errors.BAD_HANDLE),
        (Credentials("alice", "short"), errors.BAD_PASSWORD),
        (Credentials("alice", "x" * 257), errors.BAD_PASSWORD),
        (Credentials("alice", PASSWORD, "x" * 65), errors.INVALID),
    ],
)
async def test_what_cannot_be_is_refused_before_any_work(credentials: Credentials, kind: ErrorKind) -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    assert await refused(world.services.accounts.register(credentials)) is kind
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


@given(st.text())
def test_a_handle_is_normal_or_refused(handle: str) -> None:
    try:
        normal = normalise(handle)
    except ProtocolError:
        return
    assert normalise(normal) == normal
    assert normalise("@" + normal.upper()) == normal
