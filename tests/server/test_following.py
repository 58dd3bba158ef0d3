"""Large groups and channels on several nodes: what one takes is told by another one."""

from server.test_hard_nodes import Nodes, nodes
from server.test_pulls import group_of, has, say
from tidings.protocol.frames import ConversationKind
from tidings.testing.clock import FakeClock

__all__ = ["nodes"]
BEHIND_MS = 300


async def test_a_new_device_gets_what_is_taken_after_it_was_made_by_a_clock_that_is_behind(
    nodes: Nodes,
) -> None:
    one = await nodes.start()
    other = await nodes.start(FakeClock(nodes.clock.wall_ms() - BEHIND_MS))
    alice = await other.online(await other.register("alice"))
    bob = await one.online(await one.register("bob"))
    channel = await group_of(alice, [bob], kind=ConversationKind.CHANNEL)
    sent = await say(alice, channel, "news")
    assert sent.message_id < int(bob.account.device_id)
    await has(bob, "news")
