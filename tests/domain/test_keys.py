"""What a device publishes of its own: checked, renewed, and read by the user's other devices."""

from random import Random

import msgspec
import pytest

from keyed import Person, person
from refusals import refused
from tidings.protocol import errors, frames
from tidings.protocol.api import DeviceKeys, LoggedIn, SignedKey
from tidings.protocol.errors import ErrorKind
from tidings.protocol.frames import SettingKind
from tidings.protocol.ids import DeviceId
from tidings.store.memory import Fault, MemoryStore, PlannedFaults
from tidings.testing.keyring import KeyedDevice
from tidings.testing.world import World

changed = msgspec.structs.replace


async def alone() -> tuple[World, Person]:
    world = await World.start()
    return world, Person(world, await world.register("alice"), 1)


async def publishing(world: World, alice: Person, device: KeyedDevice, keys: DeviceKeys) -> ErrorKind:
    return await refused(world.services.account_rules.keys.publish(alice.user_id, device.device_id, keys))


async def test_what_is_published_is_what_others_of_the_user_read() -> None:
    world, alice = await alone()
    keys = world.services.account_rules.keys
    before = await keys.state(alice.user_id, alice.account.ids()[1])
    assert (before.published, before.left, before.prekey_id, before.newest_one_time_id) == (False, 0, 0, 0)
    device = KeyedDevice(alice.account, alice.random)
    published = device.keys(7)
    state = await keys.publish(alice.user_id, device.device_id, published)
    assert (state.published, state.prekey_id, state.kem_id) == (True, 7, 7)
    assert await keys.of_device(alice.user_id, device.device_id) == published
    assert await refused(keys.of_device(alice.user_id, DeviceId(1))) is errors.NO_SUCH_DEVICE


async def test_the_keys_of_others_devices_are_not_read_this_way() -> None:
    world, alice = await alone()
    bob = await person(world, "bob", 2)
    keys = world.services.account_rules.keys
    assert await refused(keys.of_device(alice.user_id, bob.devices[0].device_id)) is errors.NO_SUCH_DEVICE
    assert (
        await refused(keys.answer_link(alice.user_id, bob.devices[0].device_id, b"x"))
        is errors.NO_SUCH_DEVICE
    )


def _wrong() -> list[tuple[str, DeviceKeys, ErrorKind]]:
    """Keys that are not to be taken, each with one thing wrong."""
    random = Random(5)
    device = KeyedDevice(LoggedIn("1", "2", "alice", ""), random)
    other = KeyedDevice(LoggedIn("1", "3", "alice", ""), random)
    good, strange = device.keys(), other.keys()
    swapped = SignedKey(good.prekey.id + 1, good.prekey.key, good.prekey.signature)
    return [
        ("short signing", changed(good, signing=b"x" * 31), errors.INVALID),
        ("long agreement", changed(good, agreement=b"x" * 33), errors.INVALID),
        ("another agreement", changed(good, agreement=strange.agreement), errors.INVALID),
        ("short signature", changed(good, agreement_signature=b"x" * 63), errors.INVALID),
        (
            "another's signature",
            changed(good, agreement_signature=strange.agreement_signature),
            errors.INVALID,
        ),
        ("another's prekey", changed(good, prekey=strange.prekey), errors.INVALID),
        ("a prekey under another id", changed(good, prekey=swapped), errors.INVALID),
        ("a KEM key for a prekey", changed(good, prekey=good.kem), errors.INVALID),
        ("a prekey for a KEM key", changed(good, kem=good.prekey), errors.INVALID),
        ("no KEM key", changed(good, kem=changed(good.kem, key=b"")), errors.INVALID),
        ("all zero", changed(good, signing=bytes(32), agreement_signature=bytes(64)), errors.INVALID),
        ("a long link", changed(good, link=bytes(65)), errors.TOO_LARGE),
    ]


@pytest.mark.parametrize(("keys", "kind"), [row[1:] for row in _wrong()], ids=[row[0] for row in _wrong()])
async def test_what_is_not_signed_or_has_a_wrong_length_is_refused(keys: DeviceKeys, kind: ErrorKind) -> None:
    world, alice = await alone()
    device = KeyedDevice(alice.account, alice.random)
    assert await publishing(world, alice, device, keys) is kind
    assert not (await world.services.account_rules.keys.state(*alice.account.ids())).published


async def test_a_devices_own_keys_never_change_and_its_prekeys_may() -> None:
    world, alice = await alone()
    keys = world.services.account_rules.keys
    device = await alice.publish()
    other = KeyedDevice(alice.account, alice.random)
    assert await publishing(world, alice, device, other.keys()) is errors.KEYS_FIXED
    assert await publishing(world, alice, device, device.keys(1)) is errors.INVALID, (
        "another key, the same id"
    )
    renewed = device.keys(2)
    for _ in range(2):
        state = await keys.publish(alice.user_id, device.device_id, renewed)
        assert (state.prekey_id, state.kem_id) == (2, 2)


async def test_a_link_is_answered_by_another_device_and_read_by_the_one_that_asked() -> None:
    world = await World.start()
    alice = await person(world, "alice", 1)
    phone = await world.online(alice.account)
    keys = world.services.account_rules.keys
    account = await world.login("alice")
    await phone.settle()
    new = KeyedDevice(account, alice.random)
    asking = new.keys(link=b"code")
    await keys.publish(alice.user_id, new.device_id, asking)
    told = await phone.expect(frames.Changed)
    assert [(setting.kind, setting.key) for setting in told.settings] == [(SettingKind.ACCOUNT, "devices")]
    assert (await keys.of_device(alice.user_id, new.device_id)).link == b"code"
    waiting = await world.online(account)
    await keys.answer_link(alice.user_id, new.device_id, b"come in")
    await waiting.expect(frames.Changed)
    assert (await keys.state(alice.user_id, new.device_id)).link_reply == b"come in"
    await keys.publish(alice.user_id, new.device_id, asking)
    assert (await keys.state(alice.user_id, new.device_id)).link_reply == b"come in", "a repeat drops nothing"
    await keys.publish(alice.user_id, new.device_id, changed(asking, link=b""))
    assert (await keys.state(alice.user_id, new.device_id)).link_reply == b""
    too_long = bytes(4097)
    assert await refused(keys.answer_link(alice.user_id, new.device_id, too_long)) is errors.TOO_LARGE


async def test_who_is_out_publishes_nothing() -> None:
    world, alice = await alone()
    rules = world.services.account_rules
    account = await world.login("alice")
    device = KeyedDevice(account, alice.random)
    await rules.devices.revoke(*account.ids())
    assert await publishing(world, alice, device, device.keys()) is errors.UNAUTHENTICATED
    bringing = rules.keys.bring(alice.user_id, device.device_id, device.one_time(1, 1))
    assert await refused(bringing) is errors.UNAUTHENTICATED


async def test_a_full_disk_publishes_nothing_that_is_answered() -> None:
    faults = PlannedFaults(Random(1))
    world = await World.start(MemoryStore(faults=faults))
    alice = Person(world, await world.register("alice"), 1)
    await world.services.commit.barrier()
    device = KeyedDevice(alice.account, alice.random)
    keys = device.keys()
    faults.writes.append(Fault.FULL)
    assert await publishing(world, alice, device, keys) is errors.STORE_FULL
    faults.writes.clear()
    assert (await world.services.account_rules.keys.publish(alice.user_id, device.device_id, keys)).published


async def test_welcome_says_how_many_pairs_are_left() -> None:
    world, alice = await alone()
    device = world.connect(alice.account)
    device.hello()
    assert (await device.expect(frames.Welcome)).one_time_keys is None
    keyed = await alice.add()
    await alice.bring(keyed, 1, 3)
    device = world.connect(alice.account)
    device.hello()
    assert (await device.expect(frames.Welcome)).one_time_keys == 3
