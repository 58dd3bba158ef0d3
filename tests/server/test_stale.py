"""State that a slow reader misses: left out, and made good by Stale and Sync."""

from tidings.protocol import frames
from tidings.protocol.frames import Deliver, Receipt, Sent, Stale
from tidings.protocol.limits import Limits
from tidings.testing.world import World


async def test_a_slow_reader_is_told_that_it_missed_something() -> None:
    limits = Limits(receipt_delay_s=0.0)
    world = await World.start(limits=limits)
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    conversation = await alice.open("bob")
    alice.send(conversation, "hello")
    sent = await alice.expect(Sent)
    await bob.expect(Deliver)
    alice.link.unsent_bytes = limits.state_bytes + 1
    bob.ack()
    await bob.settle()
    world.services.connections.sweep(world.services.loop.time())
    assert not [frame for frame in await alice.settle() if isinstance(frame, Receipt | Stale)]
    alice.link.unsent_bytes = 0
    world.services.connections.sweep(world.services.loop.time())
    await alice.expect(Stale)
    synced = await alice.ask(lambda n: frames.Sync(n, 0), frames.Synced)
    assert max(receipt.delivered_up_to for receipt in synced.receipts) == sent.message_id
    # And it is told again from here on.
    bob.say(frames.Read(1, conversation, sent.message_id))
    await alice.expect(Receipt)
