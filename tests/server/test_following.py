"""Large groups and channels on several nodes: what one takes is told by another one."""

import pytest

from server.test_hard_nodes import Nodes, cluster, nodes, turns
from server.test_pulls import group_of, has, say
from tidings.bus.memory import MemoryBus
from tidings.protocol.frames import ConversationKind
from tidings.testing.clock import FakeClock

__all__ = ["nodes"]
BEHIND_MS = 300
BEATS = 2
"""until what a publisher counted must have come"""


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


async def test_a_publication_that_was_lost_is_looked_for_with_the_next_beats(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nodes.two()
    alice = await one.online(await one.register("alice"))
    bob = await other.online(await other.register("bob"))
    channel = await group_of(alice, [bob], kind=ConversationKind.CHANNEL)
    await say(alice, channel, "heard")
    await has(bob, "heard")
    following, loop = other.services.following, other.services.loop
    following.sweep(loop.time() + 60.0)
    await turns()
    with monkeypatch.context() as lossy:
        publish = MemoryBus.publish

        def loses(bus: MemoryBus, topic: str, data: bytes) -> None:
            if not topic.startswith("conversation:"):
                publish(bus, topic, data)

        lossy.setattr(MemoryBus, "publish", loses)
        await say(alice, channel, "lost on the way")
    for _ in range(BEATS):
        cluster(one).bus.beat()
        await turns()
    following.sweep(loop.time())
    await has(bob, "lost on the way")
