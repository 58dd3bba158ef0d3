"""Devices: named, revoked, given another token."""

import base64
from random import Random

import msgspec
import pytest

from refusals import refused
from tidings.domain.tokens import parse
from tidings.protocol import errors, frames
from tidings.protocol.api import Credentials, LoggedIn
from tidings.protocol.close import CloseCode
from tidings.protocol.ids import DeviceId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put
from tidings.store.memory import Fault, MemoryStore, PlannedFaults
from tidings.store.schema import CURSORS, DEVICES, SEEN
from tidings.testing.world import PASSWORD, World


async def to_be_renewed(world: World, store: MemoryStore, account: LoggedIn) -> None:
    """What a restored backup does to every device."""
    row = await store.get(DEVICES, account.ids())
    assert row is not None
    changed = msgspec.structs.replace(row, renew=True)
    await store.write([Put(DEVICES, changed, world.services.ids.next())])


async def test_devices_are_listed_with_their_names_and_when_they_were_seen() -> None:
    world = await World.start()
    first = await world.register("alice")
    second = await world.services.accounts.login(Credentials("alice", PASSWORD, "  Ta\u0301blet "))
    devices = world.services.account_rules.devices
    user_id, device_id = second.ids()
    listed = await devices.listed(user_id, device_id)
    assert [(device.device_id, device.current) for device in listed] == [
        (first.device_id, False),
        (second.device_id, True),
    ]
    assert listed[1].name == "T\u00e1blet"
    assert listed[0].seen_at == listed[0].created_at == world.clock.wall_ms()
    world.clock.advance(3600)
    await world.online(first)
    await world.services.commit.barrier()
    assert (await devices.listed(user_id, device_id))[0].seen_at == world.clock.wall_ms()


async def test_a_device_is_renamed_and_the_others_are_told() -> None:
    world = await World.start()
    alice = await world.register("alice")
    phone = await world.online(alice)
    user_id, device_id = alice.ids()
    devices = world.services.account_rules.devices
    assert (await devices.rename(user_id, device_id, "phone", device_id)).name == "phone"
    assert [device.name for device in await devices.listed(user_id, device_id)] == ["phone"]
    told = await phone.expect(frames.Changed)
    assert [(setting.kind, setting.key) for setting in told.settings] == [
        (frames.SettingKind.ACCOUNT, "devices")
    ]
    assert await refused(devices.rename(user_id, device_id, "a\nb", device_id)) is errors.INVALID
    assert await refused(devices.rename(user_id, device_id, "x" * 65, device_id)) is errors.TOO_LARGE
    assert await refused(devices.rename(user_id, DeviceId(1), "x", device_id)) is errors.NO_SUCH_DEVICE


async def test_a_revoked_device_is_out_at_once_with_all_its_sessions_and_rows() -> None:
    store = MemoryStore()
    world = await World.start(store)
    alice, bob = await world.register("alice"), await world.register("bob")
    stolen_account = await world.login("alice")
    phone, stolen = await world.online(alice), await world.online(stolen_account)
    aside = await world.online(stolen_account, receive=False)
    writer = await world.online(bob)
    conversation = await writer.open("alice")
    writer.send(conversation, "hello")
    assert await stolen.texts(1) == ["hello"]
    stolen.ack()
    await stolen.settle()
    user_id, device_id = stolen_account.ids()
    devices = world.services.account_rules.devices
    await devices.revoke(user_id, device_id)
    assert await stolen.closing() is CloseCode.NOT_ALLOWED
    assert await aside.closing() is CloseCode.NOT_ALLOWED
    assert await refused(world.services.accounts.authenticate(stolen_account.token)) is errors.UNAUTHENTICATED
    assert await refused(devices.recognise(stolen_account.token)) is errors.UNAUTHENTICATED
    stolen.drop()
    await world.services.commit.barrier()
    assert await store.get(DEVICES, (user_id, device_id)) is None
    assert await store.get(CURSORS, (device_id,)) is None
    assert await store.get(SEEN, (user_id, device_id)) is None
    assert await refused(devices.revoke(user_id, device_id)) is errors.NO_SUCH_DEVICE
    writer.send(conversation, "without the thief")
    assert await phone.texts(2) == ["hello", "without the thief"]
    assert (await world.services.accounts.user(user_id)).devices == [alice.ids()[1]]


async def test_a_user_can_revoke_only_their_own() -> None:
    world = await World.start()
    alice, bob = await world.register("alice"), await world.register("bob")
    devices = world.services.account_rules.devices
    assert await refused(devices.revoke(alice.ids()[0], bob.ids()[1])) is errors.NO_SUCH_DEVICE
    await world.online(bob)


async def test_a_disk_that_is_full_revokes_nothing() -> None:
    faults = PlannedFaults(Random(1))
    world = await World.start(MemoryStore(faults=faults))
    alice = await world.register("alice")
    phone = await world.online(alice)
    await world.services.commit.barrier()
    faults.writes.append(Fault.FULL)
    devices = world.services.account_rules.devices
    assert await refused(devices.revoke(*alice.ids())) is errors.STORE_FULL
    await phone.settle()
    await devices.revoke(*alice.ids())
    assert await phone.closing() is CloseCode.NOT_ALLOWED


async def test_everything_is_signed_out() -> None:
    world = await World.start()
    alice = await world.register("alice")
    others = [await world.online(await world.login("alice")) for _ in range(3)]
    await world.services.accounts.sign_out(alice.ids()[0])
    for device in others:
        assert await device.closing() is CloseCode.NOT_ALLOWED
    await world.login("alice")


# --- tokens ---------------------------------------------------------------------------------


async def test_a_token_is_renewed_and_the_old_one_holds_until_then() -> None:
    store = MemoryStore()
    world = await World.start(store)
    alice = await world.register("alice")
    await to_be_renewed(world, store, alice)
    phone, aside = world.connect(alice), world.connect(alice)
    phone.hello()
    aside.hello(receive=False)
    new = (await phone.expect(frames.Welcome)).token
    assert new is not None
    assert new != alice.token
    assert (await aside.expect(frames.Welcome)).token == new, "all sessions are told the same one"
    # The answer may be lost: the old one still works.
    assert (await world.services.accounts.authenticate(alice.token)).new_token == new
    devices = world.services.account_rules.devices
    for token in (alice.token, new):
        assert (await devices.recognise(token)).new_token is None
    assert (await world.services.accounts.authenticate(new)).new_token is None
    assert await refused(world.services.accounts.authenticate(alice.token)) is errors.UNAUTHENTICATED
    assert (await world.services.accounts.authenticate(new)).new_token is None
    row = await store.get(DEVICES, alice.ids())
    assert row is not None
    assert (row.token_hash, row.next_hash, row.renew) == (parse(new, Limits()).hash(), b"", False)


async def test_a_new_token_is_durable_before_it_is_told() -> None:
    faults = PlannedFaults(Random(1))
    store = MemoryStore(faults=faults)
    world = await World.start(store)
    alice = await world.register("alice")
    await to_be_renewed(world, store, alice)
    await world.services.accounts.kdf("nobody")  # so that the server's secret is there already
    faults.writes.append(Fault.FULL)
    assert await refused(world.services.accounts.authenticate(alice.token)) is errors.STORE_FULL
    row = await store.get(DEVICES, alice.ids())
    assert row is not None
    assert row.next_hash == b""
    assert (await world.services.accounts.authenticate(alice.token)).new_token is not None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "not a token, with spaces and an ä",
        "A" * 10_000,
        base64.urlsafe_b64encode(bytes(16)).decode(),
        base64.urlsafe_b64encode(b"\xff" * 40).decode(),
        "\ud800",
        "../../etc/passwd",
    ],
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    world = await World.start()
    await world.register("alice")
    assert await refused(world.services.accounts.authenticate(token)) is errors.UNAUTHENTICATED


async def test_a_token_cannot_be_guessed_from_another() -> None:
    world = await World.start()
    alice, bob = await world.register("alice"), await world.register("bob")
    known, wanted = parse(bob.token, Limits()), parse(alice.token, Limits())
    for guess in (
        wanted._replace(secret=known.secret),
        known._replace(user_id=wanted.user_id),
        known._replace(device_id=wanted.device_id),
        wanted._replace(secret=b""),
        wanted._replace(secret=wanted.secret + b"\0"),
        wanted._replace(secret=wanted.secret[:-1]),
    ):
        work = world.services.accounts.authenticate(str(guess))
        assert await refused(work) is errors.UNAUTHENTICATED


# --- those that nobody uses -----------------------------------------------------------------


async def test_a_device_that_nobody_uses_is_logged_out() -> None:
    world = await World.start(limits=Limits(unlink_s=1000, receipt_delay_s=0))
    alice = await world.register("alice")
    world.clock.advance(2000)
    phone_account = await world.login("alice")
    devices, clock = world.services.account_rules.devices, world.clock
    assert await devices.unlink_unseen(clock.wall_ms()) == 0, "looked at twice"
    clock.advance(86_401)
    await world.online(phone_account)
    await world.services.commit.barrier()
    assert await devices.unlink_unseen(clock.wall_ms()) == 1
    assert await refused(world.services.accounts.authenticate(alice.token)) is errors.UNAUTHENTICATED
    assert (await world.services.accounts.authenticate(phone_account.token)).user.handle == "alice"


async def test_a_clock_in_2035_logs_nobody_out() -> None:
    world = await World.start()
    alice = await world.register("alice")
    years_s = 9 * 365 * 86_400
    devices, clock = world.services.account_rules.devices, world.clock
    clock.jump(years_s)
    assert await devices.unlink_unseen(clock.wall_ms()) == 0
    clock.jump(-years_s)
    clock.advance(86_401)
    assert await devices.unlink_unseen(clock.wall_ms()) == 0
    await world.services.accounts.authenticate(alice.token)
