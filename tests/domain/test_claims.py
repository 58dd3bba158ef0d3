"""Lists and bundles: who is told of what, and that a one-time pair is given once."""

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyed import Person, Sealed, person, sealed
from refusals import refused
from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.peers import Alone
from tidings.domain.prekeys import Prekeys
from tidings.protocol import errors, frames
from tidings.protocol.api import OneTimeKey, OneTimeKeys
from tidings.protocol.frames import Bundle, Bundles, Claim, DeviceLists, DeviceName, Error
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.limits import Limits, Rate
from tidings.store.memory import Fault, MemoryStore, PlannedFaults, Tables
from tidings.store.schema import ONE_TIME_KEYS
from tidings.testing.clock import FakeClock
from tidings.testing.keyring import KeyedDevice
from tidings.testing.world import Device, World


async def claim(device: Device, *names: DeviceName) -> list[Bundle]:
    return (await device.ask(lambda n: Claim(n, list(names)), Bundles)).bundles


async def refusal_of(device: Device, frame: frames.Frame) -> int:
    device.say(frame)
    return (await device.expect(Error)).code


# --- lists ------------------------------------------------------------------------------------


async def test_lists_are_told_as_they_were_signed_and_nobody_elses() -> None:
    here = await sealed()
    carol = await here.world.register("carol")
    ring = here.bob.ring
    ring.version = 1
    asked = [here.bob.user_id, carol.ids()[0], here.bob.user_id]
    answer = await here.phone.ask(lambda n: frames.Devices(n, asked), DeviceLists)
    (told,) = answer.lists
    row = await here.world.services.account_rules.lists.row(here.bob.user_id)
    assert row is not None
    assert (told.user_id, told.body, told.signature) == (here.bob.user_id, row.body, row.signature)
    assert (told.previous_signature, told.gone) == (b"", [])
    assert answer.keys_at > 0


async def test_who_does_not_exist_counts_as_in_profiles() -> None:
    here = await sealed(limits=Limits(receipt_delay_s=0, lookup_rate=Rate(per_s=0.01, burst=3)))
    here.world.services.ids.next()
    for _ in range(4):
        await here.phone.ask(lambda n: frames.Devices(n, [UserId(12345)]), DeviceLists)
    limited = errors.RATE_LIMITED.code
    assert await refusal_of(here.phone, frames.Devices(9, [here.bob.user_id])) == limited
    assert await refusal_of(here.phone, Claim(9, [here.bob.name(here.bob.devices[0])])) == limited


async def test_the_lists_of_who_is_suspended_or_gone_are_not_told() -> None:
    here = await sealed()
    accounts = here.world.services.accounts
    asked = [here.bob.user_id]
    await accounts.suspend(here.bob.user_id, True)
    assert (await here.phone.ask(lambda n: frames.Devices(n, asked), DeviceLists)).lists == []
    assert await claim(here.phone, here.bob.name(here.bob.devices[0])) == []


@pytest.mark.parametrize(
    "frame",
    [frames.Devices(1, [UserId(1)] * 101), Claim(1, [DeviceName(UserId(1), DeviceId(1))] * 65)],
    ids=["users", "devices"],
)
async def test_not_too_many_at_once(frame: frames.Frame) -> None:
    here = await sealed()
    assert await refusal_of(here.phone, frame) == errors.TOO_LARGE.code


# --- bundles ----------------------------------------------------------------------------------


async def test_a_bundle_has_a_one_time_pair_while_there_are_any() -> None:
    here = await sealed()
    device = here.bob.devices[0]
    keys = await here.world.services.account_rules.keys.of_device(here.bob.user_id, device.device_id)
    assert await here.bob.bring(device, 10, 2) == 2
    found = [(await claim(here.phone, here.bob.name(device)))[0] for _ in range(3)]
    assert [(bundle.one_time_id, bundle.kem_id) for bundle in found] == [(10, 10), (11, 11), (None, 1)]
    first, _, last = found
    assert (first.signing, first.agreement) == (device.signer.public, device.agreement)
    assert (first.prekey_id, first.prekey, first.prekey_signature) == (
        keys.prekey.id,
        keys.prekey.key,
        keys.prekey.signature,
    )
    assert first.kem != keys.kem.key
    assert first.one_time is not None
    assert (last.kem, last.kem_signature, last.one_time) == (keys.kem.key, keys.kem.signature, None)


async def test_devices_that_cannot_be_written_to_are_missing() -> None:
    here = await sealed()
    rules = here.world.services.account_rules
    listed = here.bob.devices[0]
    unlisted = await here.bob.publish(await here.world.login("bob"))
    gone = await here.bob.login()
    await rules.devices.revoke(here.bob.user_id, gone.device_id)
    names = [here.bob.name(device) for device in (listed, unlisted, gone, listed)]
    names += [DeviceName(here.alice.user_id, listed.device_id), DeviceName(here.bob.user_id, DeviceId(5))]
    assert [bundle.device_id for bundle in await claim(here.phone, *names)] == [listed.device_id]


async def test_one_user_is_given_so_many_pairs_an_hour_and_others_go_on() -> None:
    here = await sealed(limits=Limits(receipt_delay_s=0, claims_per_hour=2))
    device = here.bob.devices[0]
    await here.bob.bring(device, 1, 9)
    name = here.bob.name(device)
    carol = await here.world.online(await here.world.register("carol"))
    assert [(await claim(here.phone, name))[0].one_time_id for _ in range(3)] == [1, 2, None]
    assert (await claim(carol, name))[0].one_time_id == 3
    here.world.clock.advance(3600)
    assert (await claim(here.phone, name))[0].one_time_id == 4


async def test_in_a_rush_bundles_come_without() -> None:
    here = await sealed(limits=Limits(receipt_delay_s=0, one_time_rate=Rate(per_s=0.1, burst=1)))
    device = here.bob.devices[0]
    await here.bob.bring(device, 1, 9)
    name = here.bob.name(device)
    assert [(await claim(here.phone, name))[0].one_time_id for _ in range(2)] == [1, None]
    here.world.clock.advance(10)
    assert (await claim(here.phone, name))[0].one_time_id == 2


async def test_ten_thousand_claims_never_give_a_pair_twice() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    bob = await person(world, "bob", 1)
    device = bob.devices[0]
    await bob.bring(device, 1, 50)
    prekeys = world.services.prekeys
    given: list[int] = []

    async def take(count: int) -> None:
        for _ in range(count):
            row = await prekeys.take(device.device_id)
            if row is not None:
                given.append(row.id)

    await asyncio.gather(*(take(200) for _ in range(50)))
    assert sorted(given) == list(range(1, 51))
    assert await prekeys.left(device.device_id) == 0
    # What was given goes when the device brings more.
    assert len(await MemoryStore(tables).scan(ONE_TIME_KEYS, limit=99)) == 50
    await bob.bring(device, 51, 2)
    assert [row.id for row in await MemoryStore(tables).scan(ONE_TIME_KEYS, limit=99)] == [51, 52]


# --- bringing ---------------------------------------------------------------------------------


async def brought(here: Sealed, keys: OneTimeKeys) -> errors.ErrorKind:
    rules = here.world.services.account_rules
    return await refused(rules.keys.bring(here.bob.user_id, here.bob.devices[0].device_id, keys))


async def test_ids_ascend_and_the_same_request_again_changes_nothing() -> None:
    here = await sealed()
    device = here.bob.devices[0]
    keys = here.world.services.account_rules.keys
    first = device.one_time(5, 3)
    for _ in range(2):
        assert await keys.bring(here.bob.user_id, device.device_id, first) == 3
    assert (await claim(here.phone, here.bob.name(device)))[0].one_time_id == 5
    assert await keys.bring(here.bob.user_id, device.device_id, first) == 2
    for wrong in (device.one_time(7, 2), device.one_time(5, 3), device.one_time(1, 1)):
        assert await brought(here, wrong) is errors.INVALID
    pairs = device.one_time(8, 3).keys
    assert await brought(here, OneTimeKeys([pairs[1], pairs[0]])) is errors.INVALID
    assert await brought(here, OneTimeKeys([pairs[0], pairs[0]])) is errors.INVALID
    assert await keys.bring(here.bob.user_id, device.device_id, OneTimeKeys([])) == 2
    assert (await keys.state(here.bob.user_id, device.device_id)).newest_one_time_id == 7


async def test_not_too_many_are_kept_or_brought_at_once() -> None:
    here = await sealed(limits=Limits(receipt_delay_s=0, one_time_keys=5, one_time_keys_upload=4))
    device = here.bob.devices[0]
    assert await brought(here, device.one_time(1, 5)) is errors.TOO_LARGE
    assert await here.bob.bring(device, 1, 4) == 4
    assert await brought(here, device.one_time(5, 2)) is errors.TOO_LARGE
    assert await here.bob.bring(device, 5, 1) == 5


def _forged(pair: OneTimeKey, **fields: Any) -> OneTimeKeys:
    values = {"id": pair.id, "key": pair.key, "kem": pair.kem, "kem_signature": pair.kem_signature}
    return OneTimeKeys([OneTimeKey(**{**values, **fields})])


async def test_pairs_that_are_not_signed_or_have_a_wrong_length_are_refused() -> None:
    here = await sealed()
    device = here.bob.devices[0]
    good, stranger = device.one_time(3, 1).keys[0], here.alice.devices[0].one_time(3, 1)
    for wrong in (
        stranger,
        _forged(good, id=4),
        _forged(good, key=b""),
        _forged(good, kem=good.kem[:-1]),
        _forged(good, kem_signature=bytes(64)),
        _forged(good, kem_signature=good.kem_signature + b"x"),
    ):
        assert await brought(here, wrong) is errors.INVALID
    unpublished = KeyedDevice(await here.world.login("bob"), here.bob.random)
    bringing = here.world.services.account_rules.keys.bring(
        here.bob.user_id, unpublished.device_id, unpublished.one_time(1, 1)
    )
    assert await refused(bringing) is errors.INVALID


async def test_replacing_gives_what_was_there_before_to_nobody() -> None:
    here = await sealed()
    device = here.bob.devices[0]
    name = here.bob.name(device)
    await here.bob.bring(device, 1, 3)
    assert (await claim(here.phone, name))[0].one_time_id == 1
    keys = here.world.services.account_rules.keys
    renewed = device.one_time(20, 2, replace=True)
    assert await keys.bring(here.bob.user_id, device.device_id, renewed) == 2
    assert (await claim(here.phone, name))[0].one_time_id == 20
    assert await keys.bring(here.bob.user_id, device.device_id, renewed) == 1, "a repeat replaces nothing"
    nothing = OneTimeKeys([], replace=True)
    assert await keys.bring(here.bob.user_id, device.device_id, nothing) == 0
    assert (await claim(here.phone, name))[0].one_time_id is None


async def test_with_a_device_go_its_pairs() -> None:
    here = await sealed()
    tablet = await here.bob.login()
    await here.bob.bring(tablet, 1, 5)
    await here.world.services.account_rules.devices.revoke(here.bob.user_id, tablet.device_id)
    assert await here.store.scan(ONE_TIME_KEYS, limit=9) == []
    assert await here.world.services.prekeys.left(tablet.device_id) is None
    assert await here.world.services.prekeys.take(tablet.device_id) is None


# --- over nodes, with a store that does not always answer ---------------------------------------

FAULTS = [None, None, Fault.DONE_UNKNOWN, Fault.LOST_UNKNOWN, Fault.UNAVAILABLE, Fault.FULL]


async def contested(plans: list[list[Fault | None]], takers: list[int], uploads: int) -> None:
    """Several nodes give the pairs of one device away while it brings more."""
    tables, clock = Tables(), FakeClock()
    nodes: list[Prekeys] = []
    for number, plan in enumerate(plans):
        faults = PlannedFaults(Random(number))
        store = MemoryStore(tables, faults=faults)
        ids = IdClock(clock, floor=0)
        loop = asyncio.get_running_loop()
        commit = GroupCommit(store, ids, Limits(receipt_delay_s=0), loop, Alone())
        nodes.append(Prekeys(store, commit, ids, Random(number).randbytes, Limits()))
        faults.compare_and_sets.extend([None] * (number == 0) + plan)
    device = DeviceId(7)
    await nodes[0].open(device)
    given: list[tuple[int, bytes]] = []

    async def bring(node: Prekeys) -> None:
        for first in range(1, 1 + 4 * uploads, 4):
            pairs = [OneTimeKey(first + n, b"%d" % (first + n), b"", b"") for n in range(4)]
            for _ in range(20):
                try:
                    await node.add(device, OneTimeKeys(pairs))
                    break
                except errors.ProtocolError:
                    await asyncio.sleep(0)

    async def take(node: Prekeys, count: int) -> None:
        for _ in range(count):
            try:
                row = await node.take(device)
            except errors.ProtocolError:
                row = None
            if row is not None:
                given.append((row.id, row.key))
            await asyncio.sleep(0)

    work = [take(nodes[place % len(nodes)], count) for place, count in enumerate(takers)]
    await asyncio.gather(bring(nodes[-1]), *work)
    assert len(given) == len(set(given)), "a pair was given twice"
    assert all(key == b"%d" % key_id for key_id, key in given)
    left = await nodes[0].left(device)
    assert left is not None
    assert left + len(given) <= 4 * uploads


@settings(max_examples=150)
@given(
    plans=st.lists(st.lists(st.sampled_from(FAULTS), max_size=12), min_size=2, max_size=3),
    takers=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    uploads=st.integers(1, 4),
)
def test_no_pair_is_given_twice_whatever_the_store_answers(
    plans: list[list[Fault | None]], takers: list[int], uploads: int
) -> None:
    asyncio.run(contested(plans, takers, uploads))


async def test_a_second_person_is_not_held_up_by_a_first() -> None:
    here = await sealed()
    carol = Person(here.world, await here.world.register("carol"), 3)
    device = await carol.add()
    await carol.bring(device, 1, 1)
    names = [here.bob.name(here.bob.devices[0]), carol.name(device)]
    assert [bundle.one_time_id for bundle in await claim(here.phone, *names)] == [None, 1]
