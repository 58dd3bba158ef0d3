"""Signed device lists: the next one, who may bring it, and what goes with whoever it leaves out."""

import asyncio
import contextlib
from random import Random

import msgspec
import pytest

from keyed import Person, Sealed, keys_at, person, sealed
from refusals import refused
from tidings.domain.peers import Alone
from tidings.protocol import errors, frames
from tidings.protocol.api import NewDevices, NewSecret, Proof
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import ErrorKind
from tidings.protocol.frames import DeviceLists
from tidings.protocol.ids import EntryId, UserId, unix_ms
from tidings.protocol.keys import DEVICE_LIST, DeviceListBody, decode_list, encode_list
from tidings.store.memory import Fault, MemoryStore, PlannedFaults, Tables
from tidings.store.schema import DEVICE_KEYS, DEVICE_LISTS, DEVICES, KEY_MARKS, USERS
from tidings.testing.keyring import KeyedDevice, Keyring
from tidings.testing.world import PASSWORD, World

changed = msgspec.structs.replace


async def put(alice: Person, wanted: NewDevices, *, by: KeyedDevice | None = None) -> None:
    caller = (by or alice.devices[0]).device_id
    await alice.world.services.account_rules.list_changes.put(alice.user_id, caller, wanted)


async def newest(world: World, user: UserId) -> DeviceListBody:
    row = await world.services.account_rules.lists.row(user)
    assert row is not None
    return decode_list(row.body, 99)


def listed(body: DeviceListBody) -> list[int]:
    return [device.device_id for device in body.devices]


async def alone() -> tuple[World, Person]:
    world = await World.start()
    return world, await person(world, "alice", 1)


# --- the next one -----------------------------------------------------------------------------


async def test_versions_follow_one_another_and_the_users_devices_are_told() -> None:
    world, alice = await alone()
    phone = await world.online(alice.account)
    await alice.login()
    body = await newest(world, alice.user_id)
    assert (body.version, listed(body)) == (2, [device.device_id for device in alice.devices])
    told = [frame for frame in await phone.settle() if isinstance(frame, frames.Changed)]
    assert any(setting.key == "devices" for frame in told for setting in frame.settings)


async def test_the_same_list_again_changes_nothing() -> None:
    world, alice = await alone()
    wanted = alice.ring.sign(*alice.devices)
    for _ in range(3):
        await put(alice, wanted)
    assert (await newest(world, alice.user_id)).version == 2


async def test_an_old_list_and_one_that_jumps_are_refused() -> None:
    world, alice = await alone()
    old = alice.ring.sign(*alice.devices)
    await put(alice, old)
    await put(alice, alice.ring.sign(*alice.devices))
    assert await refused(put(alice, old)) is errors.LIST_CHANGED
    alice.ring.version += 1
    assert await refused(put(alice, alice.ring.sign(*alice.devices))) is errors.LIST_CHANGED
    assert (await newest(world, alice.user_id)).version == 3


async def test_of_two_that_are_signed_at_once_one_is_the_next() -> None:
    world, alice = await alone()
    tablet = await alice.login()
    one = alice.ring.sign(*alice.devices)
    alice.ring.version -= 1
    other = alice.ring.sign(alice.devices[0])
    outcomes = await asyncio.gather(put(alice, one), put(alice, other, by=tablet), return_exceptions=True)
    failed = [outcome for outcome in outcomes if outcome is not None]
    assert [getattr(error, "kind", error) for error in failed] == [errors.LIST_CHANGED]
    assert (await newest(world, alice.user_id)).version == 3


async def forged(alice: Person, case: str, stranger: Keyring) -> NewDevices:
    """A list that is wrong in one way."""
    ring, devices = alice.ring, alice.devices
    match case:
        case "another user":
            return ring.sign(*devices, user_id=UserId(5))
        case "nobody's signature":
            return changed(ring.sign(*devices), signature=bytes(64))
        case "a short signature":
            return changed(ring.sign(*devices), signature=b"x")
        case "another's signature":
            wanted = ring.sign(*devices)
            return changed(wanted, signature=stranger.identity.sign(DEVICE_LIST, wanted.body))
        case "a signature of something else":
            wanted = ring.sign(*devices)
            return changed(wanted, signature=ring.identity.sign("agreement", wanted.body))
        case "a bit that was turned":
            wanted = ring.sign(*devices)
            return changed(wanted, body=wanted.body[:-1] + bytes([wanted.body[-1] ^ 1]))
        case "version 0":
            return ring.sign(*devices, version=0)
        case "no list":
            return changed(ring.sign(*devices), body=b"\x91")
        case "a device twice":
            return ring.sign(*devices, *devices)
        case "a foreign device":
            bob = await person(alice.world, "bob", 2)
            return ring.sign(*devices, *bob.devices)
        case "a device without keys":
            return ring.sign(*devices, KeyedDevice(await alice.world.login("alice"), alice.random))
        case "other keys than published":
            return ring.sign(KeyedDevice(alice.account, alice.random))
        case "a previous without a change":
            return ring.sign(*devices, before=stranger.identity)
        case "a signature by nothing":
            return changed(ring.sign(*devices), previous_signature=bytes(64))
    raise AssertionError(case)


CASES = [
    "another user",
    "nobody's signature",
    "a short signature",
    "another's signature",
    "a signature of something else",
    "a bit that was turned",
    "version 0",
    "no list",
    "a device twice",
    "a foreign device",
    "a device without keys",
    "other keys than published",
    "a previous without a change",
    "a signature by nothing",
]


@pytest.mark.parametrize("case", CASES)
async def test_a_list_that_is_wrong_is_refused_and_logs_nobody_out(case: str) -> None:
    world, alice = await alone()
    await alice.login()
    wanted = await forged(alice, case, Keyring(7, Random(7)))
    assert await refused(put(alice, wanted)) is errors.INVALID
    assert (await newest(world, alice.user_id)).version == 2
    rules = world.services.account_rules
    assert {device.device_id for device in alice.devices} <= set(await rules.devices.of(alice.user_id))


async def test_a_new_device_cannot_put_itself_in() -> None:
    world, alice = await alone()
    new = await alice.publish(await world.login("alice"))
    wanted = alice.ring.sign(*alice.devices, new)
    assert await refused(put(alice, wanted, by=new)) is errors.FORBIDDEN
    own = Keyring(alice.user_id, Random(9))
    own.version = 1
    assert await refused(put(alice, own.sign(new), by=new)) is errors.BAD_PASSWORD
    guessed = changed(own.sign(new, version=2), secret="a wrong secret")
    assert await refused(put(alice, guessed, by=new)) is errors.WRONG_CREDENTIALS
    assert (await newest(world, alice.user_id)).version == 1


# --- another identity -------------------------------------------------------------------------


async def test_another_identity_needs_the_secret_and_logs_the_others_out() -> None:
    world, alice = await alone()
    stolen = await world.online(alice.account)
    new = await alice.publish(await world.login("alice"))
    fresh = Keyring(alice.user_id, Random(9))
    fresh.version = 1
    wanted = changed(fresh.sign(new, before=alice.ring.identity), secret=PASSWORD)
    assert (
        await refused(put(alice, changed(wanted, secret="not this one"), by=new)) is errors.WRONG_CREDENTIALS
    )
    assert stolen.link.closed is None
    await put(alice, wanted, by=new)
    assert await stolen.closing() is CloseCode.NOT_ALLOWED
    row = await world.services.account_rules.lists.row(alice.user_id)
    assert row is not None
    assert (row.version, row.previous_signature) == (2, wanted.previous_signature)
    later = fresh.sign(new, before=alice.ring.identity)
    await put(alice, later, by=new)


async def test_the_identity_before_has_no_say_any_more_however_late_it_comes() -> None:
    world, alice = await alone()
    device = alice.devices[0]
    fresh = Keyring(alice.user_id, Random(9))
    fresh.version, alice.ring.version = 1, 2
    renewed, late = changed(fresh.sign(device), secret=PASSWORD), alice.ring.sign(device)
    async with world.services.account_rules.devices._users.lock(alice.user_id):
        # Both have been looked at, and wait for their turn.
        waiting = [asyncio.ensure_future(put(alice, wanted)) for wanted in (renewed, late)]
        for _ in range(20):
            await asyncio.sleep(0)
    first, second = await asyncio.gather(*waiting, return_exceptions=True)
    assert first is None
    assert getattr(second, "kind", None) is errors.LIST_CHANGED
    assert (await newest(world, alice.user_id)).identity == fresh.identity.public


async def test_another_identity_needs_no_cross_signature_but_a_right_one_if_any() -> None:
    world, alice = await alone()
    device = alice.devices[0]
    fresh, stranger = Keyring(alice.user_id, Random(9)), Keyring(alice.user_id, Random(10))
    fresh.version = 1
    for wrong in (
        fresh.sign(device, before=stranger.identity),
        changed(fresh.sign(device, version=2, before=alice.ring.identity), previous_signature=bytes(64)),
    ):
        assert await refused(put(alice, changed(wrong, secret=PASSWORD))) in (
            errors.INVALID,
            errors.LIST_CHANGED,
        )
    fresh.version = 1
    await put(alice, changed(fresh.sign(device), secret=PASSWORD))
    assert (await newest(world, alice.user_id)).identity == fresh.identity.public


async def test_the_first_list_has_nothing_before_it() -> None:
    world = await World.start()
    alice = Person(world, await world.register("alice"), 1)
    device = await alice.publish()
    wanted = alice.ring.sign(device, before=Keyring(1, Random(3)).identity)
    assert await refused(put(alice, wanted, by=device)) is errors.INVALID


# --- whoever is left out ----------------------------------------------------------------------


async def test_a_device_that_a_list_leaves_out_is_logged_out() -> None:
    here = await sealed()
    tablet = await here.alice.login()
    online = await here.world.online(tablet.account)
    seen = await here.look()
    here.alice.devices.remove(tablet)
    await here.alice.sign()
    assert await online.closing() is CloseCode.NOT_ALLOWED
    assert await here.store.get(DEVICE_KEYS, (here.alice.user_id, tablet.device_id)) is None
    mark = await here.store.get(KEY_MARKS, (here.alice.user_id,))
    assert mark is not None
    assert mark.removal_at > seen
    assert await here.look() >= mark.removal_at


@pytest.mark.parametrize("place", range(6))
async def test_a_list_that_was_changed_by_half_is_mended_by_bringing_it_again(place: int) -> None:
    tables, faults = Tables(), PlannedFaults(Random(place))
    world = await World.start(MemoryStore(tables, faults=faults))
    alice = await person(world, "alice", 1)
    tablet = await alice.login()
    await world.services.commit.barrier()
    alice.devices.remove(tablet)
    wanted = alice.ring.sign(*alice.devices)
    faults.writes.extend([None] * place + [Fault.TORN])
    faults.compare_and_sets.extend([Fault.LOST_UNKNOWN] if place == 5 else [])
    with contextlib.suppress(errors.ProtocolError):
        await put(alice, wanted)
    # The node died there; another one goes on with what is stored.
    world = await World.start(MemoryStore(tables), clock=world.clock)
    alice.world = world
    await put(alice, wanted)
    store = MemoryStore(tables)
    assert listed(await newest(world, alice.user_id)) == [device.device_id for device in alice.devices]
    assert await store.get(DEVICES, (alice.user_id, tablet.device_id)) is None
    assert await store.get(DEVICE_KEYS, (alice.user_id, tablet.device_id)) is None
    mark = await store.get(KEY_MARKS, (alice.user_id,))
    assert mark is not None


async def test_a_removal_that_was_done_by_half_is_marked() -> None:
    faults = PlannedFaults(Random(1))
    store = MemoryStore(faults=faults)
    world = await World.start(store)
    alice = await person(world, "alice", 1)
    tablet = await alice.login()
    phone = await world.online(alice.account)
    await phone.settle()
    await world.services.commit.barrier()
    seen = await keys_at(phone, alice.user_id)
    faults.writes += [None, None, *[Fault.UNAVAILABLE] * 3]
    revoking = world.services.account_rules.devices.revoke(alice.user_id, tablet.device_id)
    assert await refused(revoking) is errors.STORE_FAILED
    assert await store.get(DEVICES, (alice.user_id, tablet.device_id)) is None
    mark = await store.get(KEY_MARKS, (alice.user_id,))
    assert mark is not None
    assert mark.removal_at > seen


@pytest.mark.parametrize("fault", [Fault.DONE_UNKNOWN, Fault.LOST_UNKNOWN])
async def test_an_unknown_outcome_is_settled_by_reading(fault: Fault) -> None:
    faults = PlannedFaults(Random(1))
    world = await World.start(MemoryStore(faults=faults))
    alice = await person(world, "alice", 1)
    wanted = alice.ring.sign(*alice.devices)
    faults.compare_and_sets.append(fault)
    if fault is Fault.LOST_UNKNOWN:
        assert await refused(put(alice, wanted)) is errors.LIST_CHANGED
        await put(alice, wanted)
    else:
        await put(alice, wanted)
    assert (await newest(world, alice.user_id)).version == 2


async def test_a_list_that_is_durable_too_late_names_what_was_added_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Who read the list before it meanwhile is told of a device by its `added_at`.
    world, alice = await alone()
    took = iter([True, False])

    async def is_late(self: Alone, since_ms: int) -> bool:
        world.clock.advance(60)
        return next(took)

    monkeypatch.setattr(Alone, "is_late", is_late)
    began_ms = world.clock.wall_ms()
    tablet = await alice.login()
    row = await world.services.account_rules.lists.row(alice.user_id)
    assert row is not None
    assert unix_ms(EntryId(row.added_at[tablet.device_id])) >= began_ms + 60_000
    assert row.version == 2


async def revoking(here: Sealed, tablet: KeyedDevice, how: str) -> None:
    """Log a device of alice's out, in one of the ways that there are."""
    rules, user_id = here.world.services.account_rules, here.alice.user_id
    if how == "by hand":
        await rules.devices.revoke(user_id, tablet.device_id)
    elif how == "a new password":
        wanted = NewSecret(PASSWORD, "another secret")
        await here.world.services.accounts.change_secret(user_id, here.alice.account.ids()[1], wanted)
    elif how == "by the operator":
        await here.world.services.accounts.sign_out(user_id)
    else:
        here.world.clock.advance(200 * 86_400)
        fresh = await here.world.online(here.alice.account)
        now_ms = here.world.clock.wall_ms()
        await here.world.services.commit.barrier()
        await rules.devices.unlink_unseen(now_ms)
        here.world.clock.advance(86_400)
        await rules.devices.unlink_unseen(now_ms + 86_400_000)
        fresh.drop()


@pytest.mark.parametrize("how", ["by hand", "a new password", "by the operator", "unseen"])
async def test_whatever_logs_a_device_out_is_a_removal(how: str) -> None:
    here = await sealed()
    tablet = await here.alice.login()
    seen = await here.look(here.other)
    await revoking(here, tablet, how)
    carol = await here.world.online(await here.world.register("carol"))
    answer = await carol.ask(lambda n: frames.Devices(n, [here.alice.user_id]), DeviceLists)
    assert tablet.device_id in answer.lists[0].gone
    mark = await here.store.get(KEY_MARKS, (here.alice.user_id,))
    assert mark is not None
    assert seen < mark.removal_at <= answer.keys_at
    assert await here.store.get(DEVICE_KEYS, (here.alice.user_id, tablet.device_id)) is None


async def test_devices_without_keys_leave_no_mark() -> None:
    here = await sealed()
    plain = await here.world.login("alice")
    await here.world.services.account_rules.devices.revoke(*plain.ids())
    assert await here.store.get(KEY_MARKS, (here.alice.user_id,)) is None


async def test_with_the_account_go_its_list_and_keys() -> None:
    here = await sealed()
    user_id = here.alice.user_id
    await here.world.services.account_rules.departures.depart(user_id, Proof(PASSWORD))
    row = await here.store.get(DEVICE_LISTS, (user_id,))
    assert row is not None
    assert (row.body, row.signature, row.added_at) == (b"", b"", {})
    assert await here.store.range(DEVICE_KEYS, (user_id,), limit=9) == []
    assert await here.store.get(KEY_MARKS, (user_id,)) is None
    assert await here.store.get(USERS, (user_id,)) is None
    answer = await here.other.ask(lambda n: frames.Devices(n, [user_id]), DeviceLists)
    assert answer.lists == []
    here.send(here.other, await keys_at(here.other, here.bob.user_id), here.alice.devices[0].device_id)
    assert (await here.other.expect(frames.Error)).code == errors.NO_SUCH_USER.code


# --- as bytes ---------------------------------------------------------------------------------


async def test_a_list_is_read_in_one_form_only() -> None:
    _, alice = await alone()
    good = alice.ring.sign(*alice.devices).body
    body = decode_list(good, 16)
    assert encode_list(body) == good
    long_form = b"\x97" + good[1:] + b"\xc0"
    for wrong in (b"", good[:-1], good + b"\0", long_form, b"\x96\x02" + good[2:], b"\xc1" * 9):
        with pytest.raises(ValueError, match=r"list|encoding|format"):
            decode_list(wrong, 16)
    with pytest.raises(ValueError, match="more than 0"):
        decode_list(good, 0)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [({"previous": b"x" * 31}, errors.INVALID), ({"identity": b"x" * 31}, errors.INVALID)],
)
async def test_keys_of_a_wrong_length_are_refused(fields: dict[str, bytes], kind: ErrorKind) -> None:
    _, alice = await alone()
    assert await refused(put(alice, alice.ring.sign(*alice.devices, **fields))) is kind
