"""Message requests: a stranger knocks, and is let in or not; and what blocks do to messages."""

import msgspec

from tidings.domain.requests import Knock
from tidings.protocol import errors, frames
from tidings.protocol.frames import (
    AnswerRequest,
    Changed,
    Deliver,
    Error,
    History,
    MemberState,
    Ok,
    Page,
    Receipt,
    Sent,
    Set,
    SettingKind,
    Status,
    Synced,
)
from tidings.protocol.ids import ConversationId
from tidings.protocol.limits import Limits
from tidings.store.contract import Erase
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import INBOX, SENDS
from tidings.testing.clock import FakeClock
from tidings.testing.torn import Torn
from tidings.testing.world import Device, World


async def strangers(**options: object) -> tuple[World, Device, Device, ConversationId]:
    world = await World.start(strangers="request", **options)  # type: ignore[arg-type]
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    return world, alice, bob, await alice.open("bob")


async def knocks(device: Device) -> list[Knock]:
    """The requests that wait, as a device that has just come finds them."""
    synced = await device.ask(lambda n: frames.Sync(n, 0), Synced)
    return [
        msgspec.msgpack.decode(setting.value, type=Knock)
        for setting in synced.settings
        if setting.kind == SettingKind.REQUEST and setting.value
    ]


async def answer(device: Device, conversation: ConversationId, *, accept: bool) -> None:
    await device.ask(lambda n: AnswerRequest(n, conversation, accept), Ok)


async def say(device: Device, conversation: ConversationId, text: str) -> Sent:
    device.send(conversation, text)
    return await device.expect(Sent)


async def test_what_was_let_in_by_half_when_the_node_died_comes_when_it_is_let_in_again() -> None:
    tables, faults = Tables(), Torn(INBOX)
    world, alice, bob, conversation = await strangers(store=MemoryStore(tables, faults=faults))
    await say(alice, conversation, "psst")
    faults.is_due = True
    bob.say(AnswerRequest(1, conversation, True))
    assert (await bob.expect(Error)).code == errors.STORE_FAILED.code
    world.clock.advance(1)
    world = await World.start(MemoryStore(tables), clock=world.clock, strangers="request")
    bob = await world.online(bob.account)
    await answer(bob, conversation, accept=True)
    assert await bob.texts(1) == ["psst"]


async def test_of_twins_the_one_that_counts_is_let_in() -> None:
    tables = Tables()
    _, alice, bob, conversation = await strangers(store=MemoryStore(tables))
    frame = alice.send(conversation, "psst")
    first = await alice.expect(Sent)
    await alice.settle()
    for row in await MemoryStore(tables).scan(SENDS, limit=10):
        await MemoryStore(tables).write([Erase(SENDS, SENDS.key_of(row), row.message_id + 1)])
    frame.attempt = 2
    alice.say(frame)
    second = await alice.expect(Sent)
    assert second.message_id > first.message_id
    await alice.settle()
    await answer(bob, conversation, accept=True)
    let_in = [frame for frame in await bob.settle() if isinstance(frame, Deliver)]
    assert [frame.message.message_id for frame in let_in] == [second.message_id]


async def test_a_stranger_is_announced_and_nothing_of_what_they_say_is_shown() -> None:
    world, alice, bob, conversation = await strangers()
    await say(alice, conversation, "psst")
    await say(alice, conversation, "hello?")
    changed = await bob.expect(frames.Changed)
    assert changed.settings[0].kind == SettingKind.REQUEST
    (knock,) = await knocks(bob)
    assert (knock.handle, knock.count) == ("alice", 2)
    assert not [frame for frame in await bob.settle() if isinstance(frame, Deliver)]
    page = await bob.ask(lambda n: History(n, conversation), Page)
    assert page.items == []
    listed = await bob.ask(frames.Conversations, frames.ConversationList)
    assert (listed.items[0].unread, listed.items[0].newest) == (0, 0)
    states = {member.handle: member.state for member in listed.items[0].members}
    assert states == {"alice": MemberState.ACCEPTED, "bob": MemberState.PENDING}
    assert world.complaints == []


async def test_letting_in_delivers_what_waited_once_and_in_order() -> None:
    world, alice, bob, conversation = await strangers()
    for number in range(3):
        await say(alice, conversation, f"message {number}")
    await answer(bob, conversation, accept=True)
    await say(alice, conversation, "message 3")
    assert await bob.texts(4) == [f"message {number}" for number in range(4)]
    bob.ack()
    await alice.expect(Receipt)
    assert await knocks(bob) == []
    bob.drop()
    again = await world.online(bob.account)
    assert not [frame for frame in again.seen if isinstance(frame, Deliver)]
    # A second device finds them in the history.
    page = await again.ask(lambda n: History(n, conversation), Page)
    assert len(page.items) == 4


async def test_letting_in_twice_delivers_once() -> None:
    _, alice, bob, conversation = await strangers()
    await say(alice, conversation, "hello")
    for _ in range(2):
        await answer(bob, conversation, accept=True)
    assert await bob.texts(1) == ["hello"]
    assert not [frame for frame in await bob.settle() if isinstance(frame, Deliver)]


async def test_writing_back_lets_in() -> None:
    _, alice, bob, conversation = await strangers()
    await say(alice, conversation, "hello")
    await say(bob, conversation, "oh, it's you")
    assert await bob.texts(1) == ["hello"]
    assert await alice.texts(1) == ["oh, it's you"]


async def test_a_contact_needs_not_to_knock() -> None:
    world, alice, bob, _ = await strangers()
    carol = await world.online(await world.register("carol"))
    user_id, _ = carol.account.ids()
    await bob.ask(lambda n: Set(n, SettingKind.CONTACT, str(user_id), b"-"), Ok)
    await say(carol, await carol.open("bob"), "hi")
    assert await bob.texts(1) == ["hi"]
    # Nor one who becomes a contact after knocking.
    await say(alice, await alice.open("bob"), "me too")
    user_id, _ = alice.account.ids()
    await bob.ask(lambda n: Set(n, SettingKind.CONTACT, str(user_id), b"-"), Ok)
    assert await bob.texts(1) == ["me too"]


async def test_a_stranger_knocks_so_often_and_no_more() -> None:
    world, alice, bob, conversation = await strangers()
    for number in range(5):
        await say(alice, conversation, f"{number}")
    frame = alice.send(conversation, "one more")
    error = await alice.expect(Error, lambda error: error.client_id == frame.client_id)
    assert error.code == errors.REQUEST_PENDING.code
    await answer(bob, conversation, accept=True)
    await say(alice, conversation, "thanks")
    assert await bob.texts(6) == ["0", "1", "2", "3", "4", "thanks"]
    assert world.complaints == []


async def test_how_often_was_knocked_survives_a_restart() -> None:
    tables = Tables()
    _, alice, _, conversation = await strangers(store=MemoryStore(tables))
    for number in range(5):
        await say(alice, conversation, f"{number}")
    again = await World.start(MemoryStore(tables), strangers="request", seed=2)
    alice = await again.online(alice.account)
    frame = alice.send(conversation, "one more")
    error = await alice.expect(Error, lambda error: error.client_id == frame.client_id)
    assert error.code == errors.REQUEST_PENDING.code


async def test_declining_is_not_told_and_can_be_thought_over() -> None:
    _, alice, bob, conversation = await strangers()
    await say(alice, conversation, "hello")
    await answer(bob, conversation, accept=False)
    assert await knocks(bob) == []
    await say(alice, conversation, "hello?")
    assert await knocks(bob) == []
    described = await alice.ask(lambda n: frames.Describe(n, conversation), frames.Conversation)
    assert {member.state for member in described.members} == {MemberState.ACCEPTED, MemberState.PENDING}
    assert not [frame for frame in await alice.settle() if isinstance(frame, Receipt)]
    await answer(bob, conversation, accept=True)
    assert await bob.texts(2) == ["hello", "hello?"]


async def test_reading_tells_a_stranger_nothing() -> None:
    _, alice, bob, conversation = await strangers()
    sent = await say(alice, conversation, "hello")
    await bob.ask(lambda n: frames.Read(n, conversation, sent.message_id), Ok)
    assert not [frame for frame in await alice.settle() if isinstance(frame, Receipt)]


async def test_one_writes_to_so_many_strangers_a_day() -> None:
    clock = FakeClock()
    world, alice, _, conversation = await strangers(
        clock=clock, limits=Limits(receipt_delay_s=0.0, requests_per_day=1)
    )
    await world.register("carol")
    await say(alice, conversation, "hello")
    elsewhere = await alice.open("carol")
    frame = alice.send(elsewhere, "hello")
    error = await alice.expect(Error, lambda error: error.client_id == frame.client_id)
    assert error.code == errors.QUOTA.code
    clock.advance(86_400)
    await say(alice, elsewhere, "hello")


# --- what is taken back ---------------------------------------------------------------------


async def withdraw(device: Device, conversation: ConversationId, frame: frames.Send, sent: Sent) -> None:
    """Delete a message for everyone."""
    reference = frames.Reference(device.session.device_id, frame.client_id)
    said = device.send(
        conversation, "", relation=frames.Relation.DELETE, relates_to=reference, target=sent.message_id
    )
    await device.expect(Sent, lambda sent: sent.client_id == said.client_id)
    await device.settle()


async def knock(
    device: Device, conversation: ConversationId, text: str, **options: object
) -> tuple[frames.Send, Sent]:
    frame = device.send(conversation, text, **options)
    return frame, await device.expect(Sent, lambda sent: sent.client_id == frame.client_id)


async def refusal(device: Device, conversation: ConversationId) -> int:
    """With what one more message is refused."""
    frame = device.send(conversation, "one more")
    return (await device.expect(Error, lambda error: error.client_id == frame.client_id)).code


async def test_a_message_that_is_deleted_waits_no_more() -> None:
    _, alice, bob, conversation = await strangers()
    one = await knock(alice, conversation, "one")
    two = await knock(alice, conversation, "two")
    await withdraw(alice, conversation, *one)
    assert [request.count for request in await knocks(bob)] == [1]
    await withdraw(alice, conversation, *one)  # says the same again
    assert [request.count for request in await knocks(bob)] == [1]
    await withdraw(alice, conversation, *two)
    assert await knocks(bob) == []
    changed = [frame for frame in await bob.settle() if isinstance(frame, frames.Changed)]
    assert changed[-1].settings[0].value == b""
    # Who comes back is a request as before.
    await knock(alice, conversation, "three")
    assert [request.count for request in await knocks(bob)] == [1]
    await answer(bob, conversation, accept=True)
    texts = [frame.message.content for frame in await bob.settle() if isinstance(frame, Deliver)]
    assert b"three" in texts
    assert not {b"one", b"two"} & set(texts)


async def test_in_place_of_a_deleted_message_another_may_be_written() -> None:
    tables = Tables()
    world, alice, bob, conversation = await strangers(store=MemoryStore(tables))
    said = [await knock(alice, conversation, f"{number}") for number in range(5)]
    assert await refusal(alice, conversation) == errors.REQUEST_PENDING.code
    await withdraw(alice, conversation, *said[2])
    said.append(await knock(alice, conversation, "5"))
    assert await refusal(alice, conversation) == errors.REQUEST_PENDING.code
    await withdraw(alice, conversation, *said[0])
    again = await World.start(MemoryStore(tables), clock=world.clock, strangers="request", seed=2)
    alice, bob = await again.online(alice.account), await again.online(bob.account)
    await knock(alice, conversation, "6")
    assert await refusal(alice, conversation) == errors.REQUEST_PENDING.code
    assert [request.count for request in await knocks(bob)] == [5]


async def test_who_comes_and_goes_has_knocked_often_enough_some_day() -> None:
    limits = Limits(receipt_delay_s=0.0, request_messages_ever=7)
    _, alice, bob, conversation = await strangers(limits=limits)
    for number in range(7):
        await withdraw(alice, conversation, *await knock(alice, conversation, f"{number}"))
    assert await refusal(alice, conversation) == errors.REQUEST_PENDING.code
    assert await knocks(bob) == []


async def test_writing_anew_to_the_same_one_is_no_further_person() -> None:
    limits = Limits(receipt_delay_s=0.0, requests_per_day=1)
    _, alice, _, conversation = await strangers(limits=limits)
    await withdraw(alice, conversation, *await knock(alice, conversation, "one"))
    await knock(alice, conversation, "two")


async def test_changes_without_number_hide_no_knock() -> None:
    _, alice, _, conversation = await strangers()
    said = [await knock(alice, conversation, f"{number}") for number in range(5)]
    for frame, sent in said[:2]:
        reference = frames.Reference(alice.session.device_id, frame.client_id)
        for number in range(150):
            alice.send(
                conversation,
                f"{number}",
                relation=frames.Relation.EDIT,
                relates_to=reference,
                target=sent.message_id,
            )
    await alice.settle()
    assert await refusal(alice, conversation) == errors.REQUEST_PENDING.code


async def test_a_message_that_expires_waits_no_more() -> None:
    clock = FakeClock()
    world, alice, bob, conversation = await strangers(clock=clock)
    await knock(alice, conversation, "for a minute", expires_at=clock.wall_ms() + 60_000)
    assert [request.count for request in await knocks(bob)] == [1]
    clock.advance(61)
    await world.services.eraser.sweep(clock.wall_ms())
    assert await knocks(bob) == []
    for number in range(5):
        await knock(alice, conversation, f"{number}")


async def test_what_a_blocked_stranger_writes_stays_hidden_from_who_blocks() -> None:
    _, alice, bob, conversation = await strangers()
    await knock(alice, conversation, "one")
    await block(bob, alice)
    await knock(alice, conversation, "hidden")
    await block(bob, alice, blocked=False)
    await knock(alice, conversation, "three")
    await answer(bob, conversation, accept=True)
    assert await bob.texts(2) == ["one", "three"]


# --- blocks ---------------------------------------------------------------------------------


async def block(device: Device, whom: Device, *, blocked: bool = True) -> None:
    user_id, _ = whom.account.ids()
    await device.ask(lambda n: Set(n, SettingKind.BLOCK, str(user_id), b"1" if blocked else b""), Ok)


async def friends() -> tuple[World, Device, Device, ConversationId]:
    world = await World.start()
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    return world, alice, bob, await alice.open("bob")


async def test_what_a_blocked_one_sends_stays_hidden_for_ever() -> None:
    world, alice, bob, conversation = await friends()
    await say(alice, conversation, "before")
    assert await bob.texts(1) == ["before"]
    await block(bob, alice)
    await say(alice, conversation, "while blocked")
    await block(bob, alice, blocked=False)
    await say(alice, conversation, "after")
    assert await bob.texts(1) == ["after"]
    page = await bob.ask(lambda n: History(n, conversation), Page)
    assert [item.message.content for item in page.items] == [b"before", b"after"]
    page = await alice.ask(lambda n: History(n, conversation), Page)
    assert [item.message.content for item in page.items] == [b"before", b"while blocked", b"after"]
    bob.ack()
    await alice.expect(Receipt)
    page = await alice.ask(lambda n: History(n, conversation), Page)
    assert [item.status for item in page.items] == [Status.DELIVERED, Status.SENT, Status.DELIVERED]
    assert world.complaints == []


async def test_a_blocked_one_gets_no_receipts() -> None:
    _, alice, bob, conversation = await friends()
    sent = await say(alice, conversation, "before")
    await bob.expect(Deliver)
    await block(bob, alice)
    bob.ack()
    await bob.ask(lambda n: frames.Read(n, conversation, sent.message_id), Ok)
    assert not [frame for frame in await alice.settle() if isinstance(frame, Receipt)]
    synced = await alice.ask(lambda n: frames.Sync(n, 0), Synced)
    bobs, _ = bob.account.ids()
    assert bobs not in {receipt.user_id for receipt in synced.receipts}


async def test_reading_may_be_kept_to_oneself() -> None:
    _, alice, bob, conversation = await friends()
    await bob.ask(lambda n: Set(n, SettingKind.PRIVACY, "receipts", b"nobody"), Ok)
    sent = await say(alice, conversation, "hello")
    await bob.expect(Deliver)
    bob.ack()
    receipt = await alice.expect(Receipt)
    assert receipt.delivered_up_to == sent.message_id
    await bob.ask(lambda n: frames.Read(n, conversation, sent.message_id), Ok)
    assert not [frame for frame in await alice.settle() if isinstance(frame, Receipt)]
    synced = await alice.ask(lambda n: frames.Sync(n, 0), Synced)
    bobs, _ = bob.account.ids()
    assert [receipt.read_up_to for receipt in synced.receipts if receipt.user_id == bobs] == [0]
    page = await alice.ask(lambda n: History(n, conversation), Page)
    assert page.items[0].status == Status.DELIVERED
    info = await alice.ask(lambda n: frames.Info(n, conversation, sent.message_id), frames.MessageInfo)
    assert info.members[0].delivered_at_ms > 0
    assert info.members[0].read_at_ms == 0


async def test_a_block_turns_away_who_knocks() -> None:
    world, alice, bob, conversation = await strangers()
    await say(alice, conversation, "buy now")
    (request,) = (await bob.expect(Changed)).settings
    assert request.kind == SettingKind.REQUEST
    await block(bob, alice)
    gone = await bob.expect(Changed, lambda frame: frame.settings[0].kind == SettingKind.REQUEST)
    assert gone.settings[0].value == b""
    # Nothing more is told of them, and after the block was lifted the door is still shut.
    await say(alice, conversation, "buy now, really")
    await block(bob, alice, blocked=False)
    await say(alice, conversation, "please")
    assert [frame for frame in await bob.settle() if isinstance(frame, Changed | Deliver)] == []
    await answer(bob, conversation, accept=True)
    assert await bob.texts(2) == ["buy now", "please"]
    assert world.complaints == []
