"""How many members of a group have a message: who counts, and who does not."""

from server.test_hard_nodes import Nodes, nodes
from server.test_pulls import change, group_of, has, say, user
from tidings.protocol.frames import GroupAction, MessageTally, Tallies, Tally

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
