"""Leaving: what goes with an account, and what stays."""

import asyncio
from random import Random

import pyotp
import pytest

from refusals import refused
from tidings.domain.inboxes import bucket_of
from tidings.protocol import errors, frames
from tidings.protocol.api import Credentials, Proof
from tidings.protocol.close import CloseCode
from tidings.protocol.limits import Limits
from tidings.store.memory import Fault, MemoryStore, PlannedFaults, Tables
from tidings.testing.world import PASSWORD, World

PROOF = Proof(PASSWORD)

OF_A_USER = (
    "users",
    "devices",
    "cursors",
    "settings",
    "profiles",
    "pictures",
    "seen",
    "factors",
    "phone_codes",
    "memberships",
    "changed",
    "inbox",
)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def rows_of(tables: Tables, *ids: int) -> dict[str, int]:
    """How many rows each table has in partitions that name one of these ids."""
    found: dict[str, int] = {}
    for (name, partition), part in tables.partitions.items():
        if partition[0] in ids and part.rows:
            found[name] = found.get(name, 0) + len(part.rows)
    return found


async def a_life(world: World) -> tuple[int, list[int]]:
    """Alice, with some of everything; her id and those of her devices."""
    alice = await world.register("alice")
    user_id, device_id = alice.ids()
    bob = await world.online(await world.register("bob"))
    phone = await world.online(alice)
    conversation = await bob.open("alice")
    for number in range(3):
        bob.send(conversation, f"message {number}")
        got = await phone.expect(frames.Deliver)
        phone.ack()
        await phone.ask(
            lambda n, up_to=got.message.message_id: frames.Read(n, conversation, up_to), frames.Ok
        )
        await phone.settle()
        world.clock.advance(2 * 86_400)
    phone.send(conversation, "her answer")
    await bob.texts(1)
    await phone.ask(
        lambda n: frames.Set(n, frames.SettingKind.DRAFT, conversation.hex(), b"draft"), frames.Ok
    )
    people, rules = world.services.people, world.services.account_rules
    await people.set_profile(user_id, "Alice", "about")
    await people.set_picture(user_id, "image/png", PNG)
    await rules.phones.begin(user_id, "+4930901820")
    await world.services.accounts.begin_factor(user_id, PROOF)
    tablet = await world.login("alice")
    return user_id, [device_id, tablet.ids()[1]]


async def test_everything_goes_but_what_others_got() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables), phone_hook="log")
    user_id, devices = await a_life(world)
    await world.services.commit.barrier()
    assert set(rows_of(tables, user_id, *devices)) == set(OF_A_USER) | {"sends"}
    await world.services.account_rules.departures.depart(user_id, PROOF)
    await world.services.commit.barrier()
    assert set(rows_of(tables, user_id, *devices)) == {"sends"}
    assert b"alice" not in b"".join(
        stored.encoded
        for (name, _), part in tables.partitions.items()
        if name != "handles"
        for stored in part.rows.values()
    )
    bob = await world.online(await world.login("bob"))
    (summary,) = (await bob.ask(frames.Conversations, frames.ConversationList)).items
    described = await bob.ask(lambda n: frames.Describe(n, summary.conversation_id), frames.Conversation)
    assert {member.handle for member in described.members} == {"bob", ""}
    page = await bob.ask(lambda n: frames.History(n, summary.conversation_id), frames.Page)
    assert page.items[-1].message.content == b"her answer"


async def test_sessions_end_and_the_handle_is_kept_a_while() -> None:
    world = await World.start(limits=Limits(handle_kept_s=1000, receipt_delay_s=0))
    alice = await world.register("alice")
    phone, aside = await world.online(alice), await world.online(alice, receive=False)
    user = await world.services.accounts.user(alice.ids()[0])
    await world.services.account_rules.departures.depart(alice.ids()[0], PROOF)
    assert await phone.closing() is CloseCode.NOT_ALLOWED
    assert await aside.closing() is CloseCode.NOT_ALLOWED
    assert (user.handle, user.devices) == ("", [])
    assert await refused(world.services.accounts.authenticate(alice.token)) is errors.UNAUTHENTICATED
    assert await refused(world.login("alice")) is errors.WRONG_CREDENTIALS
    assert await refused(world.services.accounts.by_handle("alice")) is errors.NO_SUCH_USER
    assert await refused(world.register("alice")) is errors.HANDLE_TAKEN
    world.clock.advance(1001)
    other = await world.register("alice")
    assert other.user_id != alice.user_id


async def test_a_token_alone_deletes_nothing() -> None:
    world = await World.start()
    user_id, _ = (await world.register("alice")).ids()
    departures = world.services.account_rules.departures
    assert await refused(departures.depart(user_id, Proof("not the secret"))) is errors.WRONG_CREDENTIALS
    await world.login("alice")


@pytest.mark.parametrize("failing", range(8))
async def test_what_died_half_way_is_done_again(failing: int) -> None:
    tables, faults = Tables(), PlannedFaults(Random(failing))
    world = await World.start(MemoryStore(tables, faults=faults), phone_hook="log")
    user_id, devices = await a_life(world)
    await world.services.commit.barrier()
    faults.writes.extend([None] * failing + [Fault.TORN])
    departures = world.services.account_rules.departures
    (outcome,) = await asyncio.gather(departures.depart(user_id, PROOF), return_exceptions=True)
    if outcome is not None:
        assert getattr(outcome, "kind", None) is errors.STORE_FAILED
        # A restart in between forgets what is in memory.
        world = await World.start(MemoryStore(tables), phone_hook="log", clock=world.clock)
        login = await asyncio.gather(world.login("alice"), return_exceptions=True)
        if getattr(login[0], "kind", None) is not errors.WRONG_CREDENTIALS:
            await world.services.account_rules.departures.depart(user_id, PROOF)
    await world.services.commit.barrier()
    left = rows_of(tables, user_id, *devices)
    assert not left.keys() - {"sends", "cursors"}, "a cursor of a device that is gone is 16 bytes"
    assert await refused(world.login("alice")) is errors.WRONG_CREDENTIALS


async def test_the_second_factor_goes_no_sooner_than_the_account() -> None:
    tables, faults = Tables(), PlannedFaults(Random(1))
    world = await World.start(MemoryStore(tables, faults=faults))
    user_id, _ = (await world.register("alice")).ids()
    rules = world.services.account_rules
    begun = await world.services.accounts.begin_factor(user_id, PROOF)
    totp = pyotp.TOTP(begun.secret)
    codes = await rules.factors.confirm(user_id, totp.at(world.clock.wall_ms() // 1000))
    faults.compare_and_sets.append(Fault.UNAVAILABLE)
    assert await refused(rules.departures.depart(user_id, Proof(PASSWORD, codes[0]))) is errors.STORE_FAILED
    assert await refused(world.login("alice")) is errors.CODE_NEEDED
    await world.services.accounts.login(Credentials("alice", PASSWORD, code=codes[1]))


async def test_inboxes_of_all_times_go() -> None:
    tables = Tables()
    world = await World.start(MemoryStore(tables))
    alice = await world.register("alice")
    bob = await world.online(await world.register("bob"))
    conversation = await bob.open("alice")
    buckets = set()
    for _ in range(30):
        bob.send(conversation, "hello")
        buckets.add(bucket_of((await bob.expect(frames.Sent)).message_id))
        world.clock.advance(86_400 + 3600)
    assert len(buckets) > 10
    await world.services.account_rules.departures.depart(alice.ids()[0], PROOF)
    assert "inbox" not in rows_of(tables, alice.ids()[0])
