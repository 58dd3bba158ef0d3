"""Keys over two nodes: what one of them is told, the other acts upon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from keyed import Person, Sealed, person
from tidings.bus.memory import MemoryBus, Topics
from tidings.directory.memory import MemoryDirectory, Places
from tidings.domain.peers import KNOWN_S, TRUST_S
from tidings.protocol import errors, frames
from tidings.protocol.frames import Deliver, DevicesChanged, Error, Reference, Relation, Sent
from tidings.protocol.limits import Limits
from tidings.server.cluster import Shared
from tidings.store.memory import MemoryStore, Tables
from tidings.testing.clock import FakeClock
from tidings.testing.world import World


class Two(Sealed):
    """Alice on one node, bob on the other."""

    def __init__(self, one: World, other: World, *rest: object) -> None:
        super().__init__(one, *rest)  # type: ignore[arg-type]
        self.elsewhere = other


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for others to know takes no time here."""
    monkeypatch.setattr("tidings.server.cluster.KNOWN_S", 0.0)


@asynccontextmanager
async def two_nodes() -> AsyncIterator[Two]:
    clock, topics = FakeClock(), Topics()
    tables, places = Tables(clock.wall_ms), Places(clock.wall_ms)
    worlds = []
    for seed in (1, 2):
        shared = Shared(MemoryBus(topics), MemoryDirectory(places))
        limits = Limits(receipt_delay_s=0.0)
        worlds.append(
            await World.start(MemoryStore(tables), clock=clock, limits=limits, seed=seed, shared=shared)
        )
    one, other = worlds
    alice, bob = await person(one, "alice", 1), await person(other, "bob", 2)
    phones = (await one.online(alice.account), await other.online(bob.account))
    here = Two(one, other, tables, alice, bob, phones)
    here.chat = await here.phone.open("bob")
    yield here
    for world in worlds:
        assert world.services.cluster is not None
        await world.services.cluster.stop()
        assert not world.complaints


async def accepted(here: Two) -> Sent:
    here.send(here.phone, await here.look(), here.bob.devices[0].device_id)
    return await here.phone.expect(Sent)


@pytest.mark.usefixtures("quick")
async def test_an_envelope_reaches_a_device_of_the_other_node() -> None:
    async with two_nodes() as here:
        await accepted(here)
        device = here.bob.devices[0].device_id
        assert (await here.other.expect(Deliver)).envelope == b"key for %d" % device


@pytest.mark.usefixtures("quick")
async def test_an_aside_of_the_other_node_is_no_message() -> None:
    async with two_nodes() as here:
        frame = here.send(here.phone, await here.look(), here.bob.devices[0].device_id)
        sent = await here.phone.expect(Sent)
        await here.other.expect(Deliver)
        about = {
            "relation": Relation.ASK,
            "relates_to": Reference(here.phone.session.device_id, frame.client_id),
            "target": sent.message_id,
            "content_type": "",
        }
        here.other.send(here.chat, "", **about)
        await here.other.expect(Sent)
        assert (await here.phone.expect(Deliver)).message.relation == Relation.ASK
        here.phone.ack()
        await here.phone.settle()
        for world in (here.world, here.elsewhere):
            conversation = await world.services.conversations.find(here.chat)
            assert conversation is not None
            assert conversation.newest == sent.message_id
            assert conversation.watermarks[here.alice.user_id].delivered_up_to == 0


@pytest.mark.usefixtures("quick")
async def test_a_removal_on_one_node_is_heeded_by_the_other_once_it_is_answered() -> None:
    async with two_nodes() as here:
        tablet = await here.bob.login()
        seen = await here.look()
        await accepted(here)
        await here.elsewhere.services.account_rules.devices.revoke(here.bob.user_id, tablet.device_id)
        here.world.clock.advance(TRUST_S)
        here.send(here.phone, seen, here.bob.devices[0].device_id, tablet.device_id)
        changed = await here.phone.expect(DevicesChanged)
        here.send(here.phone, changed.keys_at, here.bob.devices[0].device_id)
        await here.phone.expect(Sent)


@pytest.mark.usefixtures("quick")
async def test_a_device_that_was_just_added_elsewhere_may_be_sealed_for() -> None:
    async with two_nodes() as here:
        await accepted(here)  # so that this node has bob's list in memory
        tablet = await here.bob.login()
        here.send(here.phone, await here.look(), here.bob.devices[0].device_id, tablet.device_id)
        await here.phone.expect(Sent)


@pytest.mark.usefixtures("quick")
async def test_the_scheme_of_a_conversation_holds_on_both() -> None:
    async with two_nodes() as here:
        await here.other.open("alice")
        here.other.send(here.chat, "plain, as long as nobody has sealed")
        await here.other.expect(Sent)
        await accepted(here)
        here.world.clock.advance(TRUST_S)
        frame = here.other.send(here.chat, "plain")
        error = await here.other.expect(Error, lambda error: error.client_id == frame.client_id)
        assert error.code == errors.SCHEME_FELL.code


@pytest.mark.usefixtures("quick")
async def test_two_nodes_take_one_next_list() -> None:
    async with two_nodes() as here:
        wanted = [here.alice.ring.sign(*here.alice.devices)]
        here.alice.ring.version -= 1
        wanted.append(here.alice.ring.sign())
        caller = here.alice.devices[0].device_id
        outcomes = await asyncio.gather(
            *(
                world.services.account_rules.list_changes.put(here.alice.user_id, caller, one)
                for world, one in zip((here.world, here.elsewhere), wanted, strict=True)
            ),
            return_exceptions=True,
        )
        assert sum(outcome is None for outcome in outcomes) == 1


@pytest.mark.usefixtures("quick")
async def test_pairs_of_one_device_are_given_once_over_both() -> None:
    async with two_nodes() as here:
        device = here.bob.devices[0]
        await here.bob.bring(device, 1, 40)

        async def take(world: World) -> list[int]:
            rows = [await world.services.prekeys.take(device.device_id) for _ in range(30)]
            return [row.id for row in rows if row is not None]

        work = [take(world) for world in (here.world, here.elsewhere) * 2]
        given = [key_id for some in await asyncio.gather(*work) for key_id in some]
        assert len(given) == len(set(given))
        assert sorted(given) == list(range(1, 41))


async def test_a_removal_is_answered_once_every_node_knows_and_marks_after_that() -> None:
    """What another node read before is behind the mark, however late it says so."""
    async with two_nodes() as here:
        carol = Person(here.world, await here.world.register("carol"), 5)
        tablet = await carol.add()
        dave = await here.elsewhere.online(await here.elsewhere.register("dave"))
        revoking = asyncio.ensure_future(
            here.world.services.account_rules.devices.revoke(carol.user_id, tablet.device_id)
        )
        asked = [carol.user_id]
        seen = (await dave.ask(lambda n: frames.Devices(n, asked), frames.DeviceLists)).keys_at
        here.world.clock.advance(KNOWN_S)
        await revoking
        after = await dave.ask(lambda n: frames.Devices(n, asked), frames.DeviceLists)
        assert after.keys_at > seen
        mark = here.world.services.account_rules.lists
        await mark.learn([carol.user_id], anew=True)
        known = mark.held(carol.user_id)
        assert known is not None
        assert seen < known.removal_at <= after.keys_at
