"""Phone numbers: verified, moved, given up, and never told of."""

from random import Random
from typing import Any

import pytest

from refusals import refusal, refused
from tidings.protocol import errors, frames
from tidings.protocol.ids import UserId
from tidings.server import phone_hooks
from tidings.store.memory import Fault, MemoryStore, PlannedFaults, Tables
from tidings.testing.world import World

PHONE, OTHER = "+4930901820", "+493090182001"


class Sent:
    """Implements `PhoneHook`: keeps what was sent."""

    def __init__(self, log: object) -> None:
        self.codes: list[tuple[str, str]] = []

    async def send(self, phone: str, code: str) -> None:
        self.codes.append((phone, code))


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    made: list[Sent] = []

    def make(log: object) -> Sent:
        made.append(Sent(log))
        return made[-1]

    monkeypatch.setattr(phone_hooks, "LogHook", make)
    return made


async def world_of(*handles: str, store: MemoryStore | None = None) -> tuple[World, Any, list[UserId]]:
    world = await World.start(store, phone_hook="log")
    users = [(await world.register(handle)).ids()[0] for handle in handles]
    return world, world.services.account_rules.phones, users


async def phone_of(world: World, user_id: UserId) -> str:
    return (await world.services.accounts.info(user_id)).phone


async def test_a_number_is_verified_by_the_code_that_was_sent_there(hooks: list[Sent]) -> None:
    world, phones, (alice,) = await world_of("alice")
    assert await phones.holder(PHONE) is None
    await phones.begin(alice, " +49 (30) 901-820 ")
    ((number, code),) = hooks[0].codes
    assert number == PHONE
    assert len(code) == 6
    assert code.isdigit()
    assert await phones.holder(PHONE) is None
    await phones.confirm(alice, f" {code} ")
    assert await phone_of(world, alice) == PHONE
    assert await phones.holder(PHONE) == alice
    assert await refused(phones.confirm(alice, code)) is errors.BAD_CODE, "once"


async def test_where_there_is_no_hook_there_are_no_numbers() -> None:
    world = await World.start()
    alice, _ = (await world.register("alice")).ids()
    assert await refused(world.services.account_rules.phones.begin(alice, PHONE)) is errors.NOT_AVAILABLE


@pytest.mark.parametrize(
    "number",
    [
        "",
        "030 901820",
        "4930901820",
        "+",
        "+1",
        "+49",
        "+999 123456789",
        "+49 30 901820 ext. 5",
        "+" + "1" * 100_000,
        "+49\0" + "30901820",
        "tel:+4930901820",
        "+4930901820;phone-context=x",
        "'; DROP TABLE phones; --",
        "+49\ud800",
    ],
)
async def test_what_is_no_number_is_refused(hooks: list[Sent], number: str) -> None:
    _, phones, (alice,) = await world_of("alice")
    assert await refused(phones.begin(alice, number)) is errors.BAD_PHONE
    assert not hooks[0].codes


async def test_a_code_holds_for_a_while_and_for_few_tries(hooks: list[Sent]) -> None:
    world, phones, (alice,) = await world_of("alice")
    await phones.begin(alice, PHONE)
    world.clock.advance(601)
    assert await refused(phones.confirm(alice, hooks[0].codes[0][1])) is errors.BAD_CODE
    await phones.begin(alice, PHONE)
    code = hooks[0].codes[1][1]
    wrong = f"{(int(code) + 1) % 10**6:06}"
    for _ in range(5):
        assert await refused(phones.confirm(alice, wrong)) is errors.BAD_CODE
    assert await refused(phones.confirm(alice, code)) is errors.RATE_LIMITED
    world.clock.advance(61)
    assert await refused(phones.confirm(alice, code)) is errors.BAD_CODE, "this code is spent"
    # Nor does a new code give new tries at once.
    for _ in range(5):
        await phones.begin(alice, PHONE)
        assert await refused(phones.confirm(alice, "")) is errors.BAD_CODE
        world.clock.advance(90)
    assert await refused(phones.confirm(alice, hooks[0].codes[-1][1])) is errors.RATE_LIMITED


async def test_a_clock_that_was_set_back_does_not_keep_a_code(hooks: list[Sent]) -> None:
    world, phones, (alice,) = await world_of("alice")
    world.clock.jump(9 * 365 * 86_400)
    await phones.begin(alice, PHONE)
    world.clock.jump(-9 * 365 * 86_400)
    assert await refused(phones.confirm(alice, hooks[0].codes[0][1])) is errors.BAD_CODE


async def test_nobody_is_flooded_with_codes(hooks: list[Sent]) -> None:
    _, phones, (alice, bob) = await world_of("alice", "bob")
    for _ in range(5):
        await phones.begin(alice, PHONE)
    assert await refused(phones.begin(alice, OTHER)) is errors.RATE_LIMITED
    error = await refusal(phones.begin(bob, PHONE))
    assert error.kind is errors.RATE_LIMITED
    assert error.retry_after_s == pytest.approx(60, abs=1)
    await phones.begin(bob, OTHER)
    assert len(hooks[0].codes) == 6


async def test_a_number_moves_to_who_confirms_it_and_the_former_owner_is_told(hooks: list[Sent]) -> None:
    world, phones, (alice, bob) = await world_of("alice", "bob")
    await phones.begin(alice, PHONE)
    await phones.confirm(alice, hooks[0].codes[-1][1])
    phone = await world.online(await world.login("alice"))
    await phones.begin(bob, PHONE)
    assert await phone_of(world, alice) == PHONE, "asking for it changes nothing"
    await phones.confirm(bob, hooks[0].codes[-1][1])
    assert await phones.holder(PHONE) == bob
    assert (await phone_of(world, alice), await phone_of(world, bob)) == ("", PHONE)
    told = await phone.expect(frames.Changed)
    assert [setting.key for setting in told.settings] == ["account"]


async def test_another_number_releases_the_one_before(hooks: list[Sent]) -> None:
    world, phones, (alice,) = await world_of("alice")
    for number in (PHONE, OTHER):
        await phones.begin(alice, number)
        await phones.confirm(alice, hooks[0].codes[-1][1])
    assert (await phones.holder(PHONE), await phones.holder(OTHER)) == (None, alice)
    for _ in range(2):
        await phones.remove(alice)
        assert await phones.holder(OTHER) is None
    assert await phone_of(world, alice) == ""


@pytest.mark.parametrize("fault", [Fault.DONE_UNKNOWN, Fault.LOST_UNKNOWN])
async def test_an_unknown_outcome_is_settled(hooks: list[Sent], fault: Fault) -> None:
    faults = PlannedFaults(Random(1))
    _, phones, (alice,) = await world_of("alice", store=MemoryStore(faults=faults))
    await phones.begin(alice, PHONE)
    faults.compare_and_sets.append(fault)
    await phones.confirm(alice, hooks[0].codes[-1][1])
    assert await phones.holder(PHONE) == alice


async def test_a_confirmation_that_died_half_way_can_be_repeated(hooks: list[Sent]) -> None:
    faults = PlannedFaults(Random(1))
    world, phones, (alice,) = await world_of("alice", store=MemoryStore(faults=faults))
    await phones.begin(alice, PHONE)
    faults.writes.append(Fault.UNAVAILABLE)
    assert await refused(phones.confirm(alice, hooks[0].codes[-1][1])) is errors.STORE_FAILED
    assert await phones.holder(PHONE) is None
    assert await phone_of(world, alice) == ""
    await phones.confirm(alice, hooks[0].codes[-1][1])
    assert await phones.holder(PHONE) == alice


async def test_no_code_is_stored_in_the_clear(hooks: list[Sent]) -> None:
    tables = Tables()
    _, phones, (alice,) = await world_of("alice", store=MemoryStore(tables))
    await phones.begin(alice, PHONE)
    assert hooks[0].codes[0][1] not in repr([part.rows for part in tables.partitions.values()])
