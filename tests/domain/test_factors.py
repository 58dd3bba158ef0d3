"""The second factor: each code once, and none guessed."""

import base64

import pyotp
import pytest

from refusals import refusal, refused
from tidings.protocol import errors
from tidings.protocol.api import Credentials, FactorBegun, NewSecret, Proof
from tidings.protocol.ids import UserId
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import FACTORS
from tidings.testing.world import PASSWORD, World

PROOF = Proof(PASSWORD)


class Enrolled:
    """Alice, with an authenticator app."""

    def __init__(self, world: World, user_id: UserId, begun: FactorBegun) -> None:
        self.world = world
        self.user_id = user_id
        self.totp = pyotp.TOTP(begun.secret)
        self.recovery: list[str] = []

    @classmethod
    async def start(cls, store: MemoryStore | None = None) -> "Enrolled":
        world = await World.start(store)
        user_id, _ = (await world.register("alice")).ids()
        enrolled = cls(world, user_id, await world.services.accounts.begin_factor(user_id, PROOF))
        enrolled.recovery = await world.services.account_rules.factors.confirm(user_id, enrolled.code())
        world.clock.advance(90)
        return enrolled

    def code(self, steps: int = 0) -> str:
        return self.totp.at(self.world.clock.wall_ms() // 1000 + 30 * steps)

    async def login(self, code: str) -> object:
        return await self.world.services.accounts.login(Credentials("alice", PASSWORD, code=code))


async def test_nothing_is_asked_for_before_the_first_code() -> None:
    world = await World.start()
    user_id, _ = (await world.register("alice")).ids()
    begun = await world.services.accounts.begin_factor(user_id, PROOF)
    assert begun.uri.startswith("otpauth://totp/Tidings:alice?secret=" + begun.secret)
    assert len(base64.b32decode(begun.secret)) == 20
    await world.login("alice")
    factors = world.services.account_rules.factors
    assert await refused(factors.confirm(user_id, "000000")) is errors.BAD_CODE
    await world.login("alice")
    assert not (await world.services.accounts.info(user_id)).second_factor
    again = await world.services.accounts.begin_factor(user_id, PROOF)
    assert again.secret != begun.secret, "what was not confirmed is replaced"


async def test_beginning_takes_the_secret() -> None:
    world = await World.start()
    user_id, _ = (await world.register("alice")).ids()
    wrong = Proof("not the secret")
    assert await refused(world.services.accounts.begin_factor(user_id, wrong)) is errors.WRONG_CREDENTIALS


async def test_a_code_is_asked_for_and_works_once() -> None:
    alice = await Enrolled.start()
    assert (await alice.world.services.accounts.info(alice.user_id)).second_factor
    assert await refused(alice.login("")) is errors.CODE_NEEDED
    code = alice.code()
    await alice.login(code)
    assert await refused(alice.login(code)) is errors.BAD_CODE
    assert await refused(alice.login(alice.code(-1))) is errors.BAD_CODE, "nor one before it"
    alice.world.clock.advance(30)
    await alice.login(f" {alice.code()[:3]} {alice.code()[3:]} ")


async def test_of_the_code_nothing_is_said_to_who_lacks_the_secret() -> None:
    alice = await Enrolled.start()
    for code in ("", "000000", alice.code()):
        wrong = Credentials("alice", "not the secret", code=code)
        assert await refused(alice.world.services.accounts.login(wrong)) is errors.WRONG_CREDENTIALS
    await alice.login(alice.code())


@pytest.mark.parametrize(("steps", "right"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
async def test_clocks_may_be_half_a_minute_apart(steps: int, right: bool) -> None:
    alice = await Enrolled.start()
    if right:
        await alice.login(alice.code(steps))
    else:
        assert await refused(alice.login(alice.code(steps))) is errors.BAD_CODE


@pytest.mark.parametrize(
    "code", ["0", "x" * 64, "x" * 100_000, "١٢٣٤٥٦", "\ud800", "' OR 1=1 --", "-", "\0" * 6]
)
async def test_what_is_no_code_is_a_wrong_one(code: str) -> None:
    alice = await Enrolled.start()
    assert await refused(alice.login(code)) is errors.BAD_CODE


async def test_a_code_cannot_be_guessed() -> None:
    alice = await Enrolled.start()
    wait_s = []
    for _ in range(3):
        for _ in range(5):
            assert await refused(alice.login("000000")) is errors.BAD_CODE
        error = await refusal(alice.login(alice.code()))
        assert error.kind is errors.RATE_LIMITED, "also the right one"
        assert error.retry_after_s is not None
        wait_s.append(error.retry_after_s)
        alice.world.clock.advance(error.retry_after_s)
    assert wait_s == pytest.approx([60, 120, 240], abs=1)
    await alice.login(alice.code())
    assert await refused(alice.login("000000")) is errors.BAD_CODE, "and it starts anew"
    # Nor by asking for something else than to be let in.
    for _ in range(4):
        proof = Proof(PASSWORD, "000000")
        work = alice.world.services.accounts.remove_factor(alice.user_id, proof)
        assert await refused(work) is errors.BAD_CODE
    assert await refused(alice.login("000000")) is errors.RATE_LIMITED


async def test_a_recovery_code_works_once_and_others_remain() -> None:
    tables = Tables()
    alice = await Enrolled.start(MemoryStore(tables))
    assert len(set(alice.recovery)) == 10
    await alice.login(alice.recovery[0])
    assert await refused(alice.login(alice.recovery[0])) is errors.BAD_CODE
    await alice.login(alice.recovery[1].upper().replace("-", " "))
    again = await World.start(MemoryStore(tables), clock=alice.world.clock)
    login = again.services.accounts.login
    assert await refused(login(Credentials("alice", PASSWORD, code=alice.recovery[0]))) is errors.BAD_CODE
    await login(Credentials("alice", PASSWORD, code=alice.recovery[2]))
    everything = repr([part.rows for part in tables.partitions.values()])
    assert alice.recovery[5] not in everything
    assert alice.recovery[5].replace("-", "") not in everything


async def test_it_is_removed_with_a_code_and_then_not_asked_for() -> None:
    alice = await Enrolled.start()
    accounts = alice.world.services.accounts
    assert await refused(accounts.begin_factor(alice.user_id, PROOF)) is errors.CODE_NEEDED
    begin = accounts.begin_factor(alice.user_id, Proof(PASSWORD, alice.recovery[0]))
    assert await refused(begin) is errors.INVALID
    assert await refused(accounts.remove_factor(alice.user_id, PROOF)) is errors.CODE_NEEDED
    await accounts.remove_factor(alice.user_id, Proof(PASSWORD, alice.code()))
    await alice.login("")


async def test_the_secret_is_not_changed_without_a_code() -> None:
    alice = await Enrolled.start()
    accounts = alice.world.services.accounts
    device_id = (await accounts.user(alice.user_id)).devices[0]
    wanted = NewSecret(PASSWORD, "another secret")
    assert await refused(accounts.change_secret(alice.user_id, device_id, wanted)) is errors.CODE_NEEDED


async def test_a_clock_that_was_in_2035_shuts_nobody_out() -> None:
    alice = await Enrolled.start()
    years_s = 9 * 365 * 86_400
    alice.world.clock.jump(years_s)
    await alice.login(alice.code())
    alice.world.clock.jump(-years_s)
    code = alice.code()
    await alice.login(code)
    assert await refused(alice.login(code)) is errors.BAD_CODE


async def test_a_code_is_used_up_although_the_device_is_one_too_many() -> None:
    store = MemoryStore()
    alice = await Enrolled.start(store)
    await alice.world.services.accounts.quota(alice.user_id, 0, 1)
    before = await store.get(FACTORS, (alice.user_id,))
    assert await refused(alice.login(alice.code())) is errors.TOO_MANY_DEVICES
    after = await store.get(FACTORS, (alice.user_id,))
    assert before is not None
    assert after is not None
    assert after.used_step > before.used_step
