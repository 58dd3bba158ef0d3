"""Two nodes on one store: what is done on one reaches the devices of the other."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tidings.bus.memory import MemoryBus, Topics
from tidings.directory.memory import MemoryDirectory, Places
from tidings.domain.peers import TRUST_S
from tidings.protocol import frames
from tidings.protocol.close import CloseCode
from tidings.protocol.frames import Presence, SettingKind
from tidings.protocol.limits import Limits
from tidings.server.cluster import Shared
from tidings.server.upkeep import rounds
from tidings.store.memory import MemoryStore, Tables
from tidings.testing.clock import FakeClock
from tidings.testing.world import World

StartNode = Callable[[], Awaitable[World]]


@pytest.fixture
async def start_node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartNode]:
    """Start nodes that share everything; waiting for others to know takes no time here."""
    monkeypatch.setattr("tidings.server.cluster.KNOWN_S", 0.0)
    clock, topics = FakeClock(), Topics()
    tables = Tables(clock.wall_ms)
    places = Places(clock.wall_ms)
    nodes: list[World] = []

    async def start() -> World:
        shared = Shared(MemoryBus(topics), MemoryDirectory(places))
        limits = Limits(receipt_delay_s=0.0)
        world = await World.start(
            MemoryStore(tables), clock=clock, limits=limits, seed=len(nodes) + 1, shared=shared
        )
        nodes.append(world)
        return world

    yield start
    for world in nodes:
        assert world.services.cluster is not None
        await world.services.cluster.stop()
        assert not world.complaints


async def test_a_message_reaches_a_device_of_another_node_and_its_receipts_come_back(
    start_node: StartNode,
) -> None:
    one, other = await start_node(), await start_node()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await one.register("bob"))
    chat = await alice.open("bob")
    sent = alice.send(chat, "hello")
    answer = await alice.expect(frames.Sent)
    assert answer.client_id == sent.client_id
    assert await bob.texts(1) == ["hello"]
    bob.ack()
    receipt = await alice.expect(frames.Receipt)
    assert receipt.delivered_up_to == answer.message_id
    await bob.ask(lambda n: frames.Read(n, chat, answer.message_id), frames.Ok)
    assert (await alice.expect(frames.Receipt)).read_up_to == answer.message_id
    bob.send(chat, "hi")
    assert await alice.texts(1) == ["hi"]


async def test_two_nodes_have_two_numbers_and_a_number_that_was_given_back_is_taken_again(
    start_node: StartNode,
) -> None:
    one, other = await start_node(), await start_node()
    assert (one.services.ids.node, other.services.ids.node) == (1, 2)
    assert one.services.cluster is not None
    assert one.services.ids.next() != other.services.ids.next()


async def test_a_device_that_begins_a_session_elsewhere_ends_the_one_that_it_had(
    start_node: StartNode,
) -> None:
    one, other = await start_node(), await start_node()
    account = await one.register("alice")
    before = await one.online(account)
    await other.online(account)
    assert await before.closing() == CloseCode.REPLACED


async def test_a_device_that_is_signed_out_is_out_on_every_node(start_node: StartNode) -> None:
    one, other = await start_node(), await start_node()
    phone, laptop = await one.register("alice"), await one.login("alice")
    session = await other.online(laptop)
    user_id, device_id = laptop.ids()
    await one.services.account_rules.devices.revoke(user_id, device_id)
    assert await session.closing() == CloseCode.NOT_ALLOWED
    assert phone.user_id == laptop.user_id


async def test_presence_and_typing_cross_nodes(start_node: StartNode) -> None:
    one, other = await start_node(), await start_node()
    alice_account, bob_account = await one.register("alice"), await one.register("bob")
    bob_id = bob_account.ids()[0]
    alice = await one.online(alice_account)
    chat = await alice.open("bob")
    watched = await alice.ask(lambda n: frames.Watch(n, [bob_id]), frames.Presences)
    assert [state.online for state in watched.items] == [False]
    bob = await other.online(bob_account)
    assert (await alice.expect(Presence)).online
    bob.say(frames.Typing(chat, True))
    assert (await alice.expect(frames.Typed)).user_id == bob_id


async def test_what_a_device_sends_its_users_other_device_gets_on_another_node(start_node: StartNode) -> None:
    one, other = await start_node(), await start_node()
    phone_account = await one.register("alice")
    await one.register("bob")
    phone, laptop = await one.online(phone_account), await other.online(await other.login("alice"))
    one.clock.advance(TRUST_S)  # the login was answered after as long
    phone.send(await phone.open("bob"), "from the phone")
    assert await laptop.texts(1) == ["from the phone"]
    await phone.ask(lambda n: frames.Set(n, SettingKind.PIN, "0" * 32, b"1"), frames.Ok)
    assert (await laptop.expect(frames.Changed)).settings[0].value == b"1"


async def test_after_a_gap_inboxes_are_read_again(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await start_node(), await start_node()
    alice_account, bob_account = await one.register("alice"), await one.register("bob")
    alice, bob = await one.online(alice_account), await other.online(bob_account)
    chat = await alice.open("bob")
    bus = one.services.cluster.bus  # type: ignore[union-attr]
    with monkeypatch.context() as patch:
        patch.setattr(Topics, "pass_on", lambda *_: None)
        alice.send(chat, "lost on the way")
        await alice.expect(frames.Sent)
        await alice.settle()
    await bob.settle()
    for _ in range(2):  # what a beat tells of must have come by the next
        bus.beat()
        await bob.settle()
    other.services.connections.sweep(other.services.loop.time() + 1)
    assert await bob.texts(1) == ["lost on the way"]
    assert isinstance(await bob.expect(frames.Stale), frames.Stale)


async def test_without_the_bus_inboxes_are_read_again_and_again(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await start_node(), await start_node()
    alice_account, bob_account = await one.register("alice"), await one.register("bob")
    alice, bob = await one.online(alice_account), await other.online(bob_account)
    chat = await alice.open("bob")
    monkeypatch.setattr("tidings.server.cluster.BEAT_S", 0.01)
    monkeypatch.setattr("tidings.server.cluster.POLL_S", 0.0)
    monkeypatch.setattr(Topics, "pass_on", lambda *_: None)
    assert other.services.cluster is not None
    other.services.cluster.start()
    sweeping = other.services.loop.create_task(rounds(sweep(other), lambda: 0.01, 0.0, other.services.log))
    for text in ("first", "second"):
        alice.send(chat, text)
        await alice.expect(frames.Sent)
        assert await bob.texts(1) == [text]
    sweeping.cancel()


def sweep(world: World) -> Callable[[], Awaitable[None]]:
    """What upkeep does each second, as if the last second had passed."""

    async def work() -> None:
        world.services.connections.sweep(world.services.loop.time() + 1)

    return work
