"""Password hashes: right or wrong, and never too many at once."""

import asyncio

import pytest
from argon2 import PasswordHasher

from tidings.protocol import errors
from tidings.protocol.errors import ProtocolError
from tidings.protocol.limits import Limits
from tidings.server.passwords import Argon2Passwords

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


async def test_a_hash_matches_its_password_alone() -> None:
    passwords = Argon2Passwords(Limits(), QUICK)
    hashed = await passwords.hash("correct horse")
    assert hashed.startswith("$argon2id$")
    assert await passwords.matches(hashed, "correct horse")
    assert not await passwords.matches(hashed, "correct horse ")
    assert not await passwords.matches(None, "correct horse")
    assert not await passwords.matches("no hash", "correct horse")
    assert not await passwords.matches(None, "nobody's password")
    passwords.close()


async def test_a_thousand_at_once_are_refused_but_for_as_many_as_may_wait() -> None:
    limits = Limits(password_waiting=10)
    passwords = Argon2Passwords(limits, QUICK)
    hashed = await passwords.hash("correct horse")
    outcomes = await asyncio.gather(
        *(passwords.matches(hashed, "correct horse") for _ in range(1000)), return_exceptions=True
    )
    assert outcomes.count(True) == 10
    refusals = [one for one in outcomes if isinstance(one, ProtocolError)]
    assert len(refusals) == 990
    assert {(one.kind, one.retry_after_s) for one in refusals} == {(errors.OVERLOADED, 2.0)}
    assert await passwords.matches(hashed, "correct horse"), "and it goes on"
    passwords.close()


@pytest.mark.slow
async def test_the_hash_of_nobody_takes_as_much_as_any() -> None:
    passwords = Argon2Passwords(Limits())
    hashed = await passwords.hash("correct horse")
    assert hashed.split("$")[:4] == passwords._decoy.split("$")[:4], "the same costs"
    passwords.close()
