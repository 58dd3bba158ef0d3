"""Exports: all of one's own, nothing of others, and no secrets."""

import json
from typing import Any

from refusals import refused
from tidings.protocol import errors, frames
from tidings.protocol.api import Proof
from tidings.protocol.ids import DeviceId, UserId
from tidings.store.memory import MemoryStore
from tidings.store.schema import DEVICES, USERS
from tidings.testing.world import PASSWORD, World

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


async def exported(world: World, user_id: UserId, device_id: DeviceId) -> tuple[Any, bytes]:
    parts = [part async for part in world.services.account_rules.exports.export(user_id, device_id)]
    whole = b"".join(parts)
    return json.loads(whole), whole


async def test_an_export_has_everything_of_the_user_and_nothing_of_others() -> None:
    store = MemoryStore()
    world = await World.start(store, phone_hook="log")
    account = await world.register("alice")
    user_id, device_id = account.ids()
    alice, bob = await world.online(account), await world.online(await world.register("bob"))
    conversation = await alice.open("bob")
    for number in range(150):
        alice.send(conversation, f"hers {number}")
        bob.send(conversation, f"his {number}")
    await bob.texts(150)
    sent = alice.send(conversation, "")
    await bob.texts(1)
    reference = frames.Reference(bob.session.device_id, sent.client_id)
    bob_id = bob.account.ids()[0]
    await alice.ask(lambda n: frames.Report(n, bob_id, "rude", [reference]), frames.Ok)
    await bob.ask(lambda n: frames.Report(n, user_id, "ruder", []), frames.Ok)
    for number in range(100):
        await alice.ask(lambda n, k=f"k{number}": frames.Set(n, 15, k, b"\xff\x00"), frames.Ok)
    await world.services.people.set_profile(user_id, "Alice", "about me")
    await world.services.people.set_picture(user_id, "image/png", PNG)
    begun = await world.services.accounts.begin_factor(user_id, Proof(PASSWORD))

    found, whole = await exported(world, user_id, device_id)
    assert found["account"]["handle"] == "alice"
    assert found["account"]["name"] == "Alice"
    assert found["picture"]["media_type"] == "image/png"
    assert [device["current"] for device in found["devices"]] == [True]
    assert len([row for row in found["settings"] if row["kind"] == 15]) == 100
    (told,) = found["conversations"]
    assert told["conversation_id"] == conversation.hex()
    assert {message["content"] for message in told["messages"]} == {
        "",
        *(f"hers {number}" for number in range(150)),
    }
    assert [report["reason"] for report in found["reports"]] == ["rude"]
    assert b"his 1" not in whole
    user, device = await store.get(USERS, (user_id,)), await store.get(DEVICES, (user_id, device_id))
    assert user is not None
    assert device is not None
    for secret in (user.password_hash, account.token, begun.secret, device.token_hash.hex()):
        assert secret.encode() not in whole


async def test_few_exports_run_at_once() -> None:
    world = await World.start()
    accounts = [(await world.register(f"user{number}")).ids() for number in range(3)]
    exports = world.services.account_rules.exports
    running = [exports.export(*ids) for ids in accounts[:2]]
    for one in running:
        await anext(one)
    for ids in accounts[:1] + accounts[2:]:
        assert await refused(anext(exports.export(*ids))) is errors.OVERLOADED
    await running[0].aclose()
    await exported(world, *accounts[2])
    async for _ in running[1]:
        pass
    exports.admit(accounts[1][0])


async def test_one_that_is_not_read_gives_its_place_up() -> None:
    world = await World.start()
    accounts = [(await world.register(f"user{number}")).ids() for number in range(3)]
    exports = world.services.account_rules.exports
    running = [exports.export(*ids) for ids in accounts[:2]]
    for one in running:
        await anext(one)
    world.clock.advance(601)
    await exported(world, *accounts[2])
    assert await refused(anext(running[0])) is errors.OVERLOADED
    await exported(world, *accounts[0])
