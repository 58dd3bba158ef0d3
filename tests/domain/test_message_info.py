"""When a message was delivered and read, and the list of conversations."""

from tidings.protocol import errors, frames
from tidings.protocol.frames import (
    ConversationList,
    Conversations,
    Deliver,
    Info,
    MessageInfo,
    Ok,
    Read,
    Sent,
)
from tidings.testing.clock import FakeClock
from tidings.testing.world import World


async def test_the_author_is_told_when_it_was_delivered_and_read() -> None:
    clock = FakeClock()
    world = await World.start(clock=clock)
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    conversation = await alice.open("bob")
    times = []
    for text in ("one", "two"):
        alice.send(conversation, text)
        sent = await alice.expect(Sent)
        await bob.expect(Deliver)
        clock.advance(10)
        delivered = clock.wall_ms()
        bob.ack()
        await bob.settle()
        clock.advance(10)
        await bob.ask(lambda n, up_to=sent.message_id: Read(n, conversation, up_to), Ok)
        times.append((sent.message_id, delivered, clock.wall_ms()))
    for message_id, delivered, read in times:
        info = await alice.ask(lambda n, at=message_id: Info(n, conversation, at), MessageInfo)
        (member,) = info.members
        assert (member.delivered_at_ms, member.read_at_ms) == (delivered, read)


async def test_only_the_author_is_told() -> None:
    world = await World.start()
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    carol = await world.online(await world.register("carol"))
    conversation = await alice.open("bob")
    alice.send(conversation, "hello")
    sent = await alice.expect(Sent)
    for device, kind in ((bob, errors.NOT_YOURS), (carol, errors.NO_SUCH_CONVERSATION)):
        error = await device.ask(lambda n: Info(n, conversation, sent.message_id), frames.Error)
        assert error.code == kind.code
    error = await alice.ask(lambda n: Info(n, conversation, frames.MessageId(7)), frames.Error)
    assert error.code == errors.NO_SUCH_MESSAGE.code


async def test_conversations_are_listed_with_what_is_unread() -> None:
    world = await World.start()
    alice = await world.online(await world.register("alice"))
    peers = [await world.online(await world.register(f"peer{number}")) for number in range(5)]
    for number, peer in enumerate(peers):
        conversation = await peer.open("alice")
        for _ in range(number):
            peer.send(conversation, "hello")
            await peer.expect(Sent)
    found: dict[str, int] = {}
    after = None
    while True:
        page = await alice.ask(lambda n, at=after: Conversations(n, at, 2), ConversationList)
        for item in page.items:
            (peer_handle,) = [member.handle for member in item.members if member.handle != "alice"]
            found[peer_handle] = item.unread
        if not page.more:
            break
        after = page.items[-1].conversation_id
    assert found == {f"peer{number}": number for number in range(5)}
