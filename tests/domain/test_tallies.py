"""How many members of a group have a message: who counts, and who does not."""

import msgspec
import pytest

from server.test_hard_nodes import Nodes, nodes
from server.test_pulls import LIMITS, Scene, change, group_of, has, say, user
from tidings.domain.fanout import Fanout
from tidings.protocol.frames import GroupAction, MessageTally, Ok, Read, Set, SettingKind, Tallies, Tally
from tidings.protocol.ids import MessageId
from tidings.testing.world import Device

__all__ = ["nodes"]


async def test_who_was_removed_by_another_node_just_before_a_message_does_not_count(nodes: Nodes) -> None:
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob, carol = [await one.online(await one.register(name)) for name in ("bob", "carol")]
    group = await group_of(alice, [bob, carol])
    elsewhere = await other.online(await other.login("alice"))
    await change(elsewhere, group, GroupAction.REMOVE, users=[user(carol)])
    sent = await say(elsewhere, group, "without carol")
    await has(bob, "without carol")
    # The node of the others takes the group for what it was, for a moment.
    known = one.services.conversations.cached(group)
    assert known is not None
    assert user(carol) in known.members
    told = await alice.ask(lambda n: Tally(n, group, [sent.message_id]), Tallies)
    assert told.items == [MessageTally(sent.message_id, 0, 0, 1)]


class Group:
    """Alice's, with Bob and Carol, on one node: small, or so that its messages stand in its log alone."""

    @classmethod
    async def of(cls, write_members: int) -> "Group":
        group = cls()
        limits = msgspec.structs.replace(LIMITS, fanout_write_members=write_members, fanout_write_again=0)
        scene = await Scene.of(3, limits)
        group.alice, group.bob, group.carol = scene.people
        group.name = await group_of(group.alice, [group.bob, group.carol])
        await scene.fanout(group.name, Fanout.READ if write_members < len(scene.people) else Fanout.WRITE)
        return group

    async def remove(self, device: Device) -> None:
        await change(self.alice, self.name, GroupAction.REMOVE, users=[user(device)])

    async def add(self, device: Device) -> None:
        await change(self.alice, self.name, GroupAction.ADD, users=[user(device)])

    async def say(self, text: str) -> MessageId:
        return (await say(self.alice, self.name, text)).message_id

    async def reads(self, device: Device, message_id: MessageId) -> None:
        await device.ask(lambda n: Read(n, self.name, message_id), Ok)

    async def tally(self, message_id: MessageId) -> tuple[int, int, int]:
        """How many have a message, have read it, and could have it."""
        (told,) = (await self.alice.ask(lambda n: Tally(n, self.name, [message_id]), Tallies)).items
        return told.delivered, told.read, told.of


async def acknowledges(device: Device) -> None:
    """All that has come."""
    await device.settle()
    device.ack()
    await device.settle()


async def test_a_node_that_ends_tells_nobody_any_more() -> None:
    limits = msgspec.structs.replace(LIMITS, tally_delay_s=0.0, tally_delay_most_s=0.0)
    scene = await Scene.of(3, limits)
    alice, bob, carol = scene.people
    group = await group_of(alice, [bob, carol])
    sent = await say(alice, group, "to both of you")
    await acknowledges(bob)
    await alice.expect(Tallies, lambda told: told.items == [MessageTally(sent.message_id, 1, 0, 2)])
    await carol.settle()
    carol.ack()  # counts are waited for
    scene.world.services.tellers.stop()
    await carol.ask(lambda n: Read(n, group, sent.message_id), Ok)
    assert not [frame for frame in await alice.settle() if isinstance(frame, Tallies)]


@pytest.mark.parametrize("write_members", [3, 2])
async def test_who_left_with_a_message_counts_for_it_also_when_they_are_back(write_members: int) -> None:
    group = await Group.of(write_members)
    read = await group.say("read by carol")
    await has(group.carol, "read by carol")
    await acknowledges(group.carol)
    await group.reads(group.carol, read)
    got = await group.say("not read by carol")
    await has(group.carol, "not read by carol")
    await acknowledges(group.carol)
    for _ in range(2):
        assert (await group.tally(read), await group.tally(got)) == ((1, 1, 2), (1, 0, 2))
        await group.remove(group.carol)
        await acknowledges(group.carol)
        assert (await group.tally(read), await group.tally(got)) == ((1, 1, 2), (1, 0, 2))
        await group.add(group.carol)
        await acknowledges(group.carol)
    await group.reads(group.carol, await group.say("anything new"))
    assert (await group.tally(read), await group.tally(got)) == ((1, 1, 2), (1, 0, 2))


@pytest.mark.parametrize("write_members", [3, 2])
async def test_who_left_without_a_message_counts_no_more_whatever_they_get_later(write_members: int) -> None:
    group = await Group.of(write_members)
    message_id = await group.say("carol is away")
    await acknowledges(group.bob)
    assert await group.tally(message_id) == (1, 0, 2)
    await group.remove(group.carol)
    assert await group.tally(message_id) == (1, 0, 1)
    await acknowledges(group.carol)
    assert await group.tally(message_id) == (1, 0, 1)
    await group.add(group.carol)
    newer = await group.say("carol is back")
    await acknowledges(group.carol)
    await group.reads(group.carol, newer)
    assert await group.tally(message_id) == (1, 0, 1)
    assert await group.tally(newer) == (1, 1, 2)


async def test_who_shows_no_receipts_does_not_count_as_having_read_when_they_leave() -> None:
    group = await Group.of(3)
    await group.carol.ask(lambda n: Set(n, SettingKind.PRIVACY, "receipts", b"nobody"), Ok)
    message_id = await group.say("read in silence")
    await acknowledges(group.carol)
    await group.reads(group.carol, message_id)
    assert await group.tally(message_id) == (1, 0, 2)
    await group.remove(group.carol)
    assert await group.tally(message_id) == (1, 0, 2)
    await group.add(group.carol)
    assert await group.tally(message_id) == (1, 0, 2)


async def test_who_was_just_added_by_another_node_has_what_they_acknowledge(nodes: Nodes) -> None:
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob, carol = [await one.online(await one.register(name)) for name in ("bob", "carol")]
    group = await group_of(alice, [bob])
    elsewhere = await other.online(await other.login("alice"))
    await change(elsewhere, group, GroupAction.ADD, users=[user(carol)])
    sent = await say(elsewhere, group, "welcome")
    await has(carol, "welcome")
    known = one.services.conversations.cached(group)
    assert known is not None
    assert user(carol) not in known.members
    await acknowledges(carol)
    told = await alice.ask(lambda n: Tally(n, group, [sent.message_id]), Tallies)
    assert told.items == [MessageTally(sent.message_id, 1, 0, 2)]
