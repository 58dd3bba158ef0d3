"""Invite codes: who has one may register."""

import asyncio

import pytest

from refusals import refused
from tidings.protocol import errors
from tidings.protocol.api import LoggedIn, NewAccount
from tidings.store.memory import MemoryStore, Tables
from tidings.testing.world import PASSWORD, World


async def register(world: World, handle: str, invite: str) -> LoggedIn:
    return await world.services.accounts.register(NewAccount(handle, PASSWORD, invite=invite))


async def test_an_invite_lets_in_as_often_as_it_says() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables), registration="invite")
    code = await world.services.invites.make(2)
    await register(world, "alice", code)
    await register(world, "bob", code.upper().replace("-", ""))
    assert await refused(register(world, "carol", code)) is errors.BAD_INVITE
    assert code not in repr([part.rows for part in tables.partitions.values()])


async def test_one_use_is_one_account_however_many_try_at_once() -> None:
    world = await World.start(registration="invite")
    code = await world.services.invites.make()
    outcomes = await asyncio.gather(
        *(register(world, f"user{number}", code) for number in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, LoggedIn) for outcome in outcomes) == 1
    kinds = {getattr(outcome, "kind", None) for outcome in outcomes if not isinstance(outcome, LoggedIn)}
    assert kinds <= {errors.BAD_INVITE, errors.OVERLOADED}


async def test_an_invite_ends() -> None:
    world = await World.start(registration="invite")
    code = await world.services.invites.make(5, 60)
    world.clock.advance(61)
    assert await refused(register(world, "alice", code)) is errors.BAD_INVITE
    assert list(await world.services.invites.list()) == []


async def test_an_invite_is_revoked() -> None:
    world = await World.start(registration="invite")
    invites = world.services.invites
    code = await invites.make(5, 60, "for the family")
    (listed,) = await invites.list()
    assert (listed.uses_left, listed.note) == (5, "for the family")
    await invites.revoke(listed.code_hash)
    assert await refused(register(world, "alice", code)) is errors.BAD_INVITE
    assert await refused(invites.revoke(bytes(32))) is errors.BAD_INVITE
    assert await refused(invites.revoke(b"")) is errors.BAD_INVITE


async def test_an_invite_that_was_used_for_nothing_is_given_back() -> None:
    world = await World.start(registration="invite")
    code = await world.services.invites.make(2)
    outcomes = await asyncio.gather(
        register(world, "alice", code), register(world, "alice", code), return_exceptions=True
    )
    assert {getattr(outcome, "kind", None) for outcome in outcomes} == {None, errors.HANDLE_TAKEN}
    await register(world, "bob", code)


async def test_who_has_no_invite_learns_nothing_of_handles() -> None:
    world = await World.start(registration="invite")
    await register(world, "alice", await world.services.invites.make())
    for invite in ("", "x", "aaaa-aaaa-aaaa-aaaa", "x" * 100_000, "\ud800", "' OR 1=1 --"):
        assert await refused(register(world, "alice", invite)) is errors.BAD_INVITE
        assert await refused(register(world, "nobody", invite)) is errors.BAD_INVITE


@pytest.mark.parametrize(
    ("uses", "keep_s", "note"), [(0, 60, ""), (10**9, 60, ""), (1, 0, ""), (1, 60, "x" * 201)]
)
async def test_an_invite_that_cannot_be(uses: int, keep_s: int, note: str) -> None:
    world = await World.start()
    assert await refused(world.services.invites.make(uses, keep_s, note)) is errors.INVALID
