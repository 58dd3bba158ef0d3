"""Sessions by their frames: greeting, sending, receiving, receipts, history, refusals."""

from random import Random

import pytest

from tidings.protocol import errors, frames, ids
from tidings.protocol.close import CloseCode
from tidings.protocol.codec import CODECS, Codec
from tidings.protocol.frames import Deliver, Drained, Error, Ok, Receipt, Sent, Status, Synced
from tidings.protocol.ids import ConversationId, EntryId, MessageId
from tidings.protocol.limits import Limits, Rate
from tidings.store.memory import Fault, MemoryStore, PlannedFaults, Tables
from tidings.store.schema import CHANGED
from tidings.testing.torn import Torn
from tidings.testing.world import Device, World


@pytest.fixture(params=CODECS.values(), ids=lambda codec: codec.subprotocol)
def codec(request: pytest.FixtureRequest) -> Codec:
    return request.param


async def pair(
    world: World, codec: Codec = CODECS["tidings.v1.msgpack"]
) -> tuple[Device, Device, ConversationId]:
    """Alice and Bob, online, and their conversation."""
    alice = await world.online(await world.register("alice"), codec)
    bob = await world.online(await world.register("bob"), codec)
    return alice, bob, await alice.open("bob")


class TestGreeting:
    async def test_anything_before_hello_is_refused_and_closed(self) -> None:
        world = await World.start()
        device = world.connect(await world.register("alice"))
        device.say(frames.Heartbeat())
        assert (await device.expect(Error)).code == errors.UNAUTHENTICATED.code
        assert await device.closing() == CloseCode.NOT_ALLOWED

    @pytest.mark.parametrize("data", [b"\x91\x3f", b"\xc1", b""])
    async def test_nothing_refused_before_hello_keeps_a_connection_open(self, data: bytes) -> None:
        world = await World.start()
        device = world.connect(await world.register("alice"))
        device.session.receive(data)
        assert (await device.expect(Error)).code in errors.REGISTRY
        assert await device.closing() in {CloseCode.NOT_ALLOWED, CloseCode.MALFORMED}

    @pytest.mark.parametrize("token", ["", "nonsense", "AAAA", "A" * 56, "ü" * 10, "A" * 10_000])
    async def test_a_token_that_is_none_is_refused_and_closed(self, token: str) -> None:
        world = await World.start()
        device = world.connect(await world.register("alice"))
        device.say(frames.Hello(token))
        assert (await device.expect(Error)).code == errors.UNAUTHENTICATED.code
        assert await device.closing() == CloseCode.NOT_ALLOWED

    async def test_another_devices_secret_does_not_fit(self) -> None:
        world = await World.start()
        alice, bob = await world.register("alice"), await world.register("bob")
        device = world.connect(alice)
        device.say(frames.Hello(alice.token[:21] + bob.token[21:]))
        assert (await device.expect(Error)).code == errors.UNAUTHENTICATED.code

    async def test_a_second_hello_is_out_of_state(self) -> None:
        world = await World.start()
        device = await world.online(await world.register("alice"))
        device.hello()
        assert (await device.expect(Error)).code == errors.OUT_OF_STATE.code
        assert await device.closing() == CloseCode.OUT_OF_STATE

    async def test_a_newer_session_of_a_device_replaces_the_older(self) -> None:
        world = await World.start()
        account = await world.register("alice")
        older = await world.online(account)
        await world.online(account)
        assert await older.closing() == CloseCode.REPLACED

    async def test_a_side_session_neither_replaces_nor_receives(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        side = await world.online(bob.account, receive=False)
        alice.send(conversation, "for the main session")
        assert await bob.texts(1) == ["for the main session"]
        assert await side.settle() == []
        side.send(conversation, "from the side")
        assert await alice.texts(1) == ["from the side"]

    async def test_a_user_has_so_many_connections_at_most(self) -> None:
        world = await World.start(limits=Limits(sessions_per_user=2, receipt_delay_s=0))
        account = await world.register("alice")
        first = await world.online(account)
        await world.online(account, receive=False)
        third = world.connect(account)
        third.hello(receive=False)
        assert (await third.expect(Error)).code == errors.RATE_LIMITED.code
        assert await third.closing() == CloseCode.UNAVAILABLE
        first.drop()
        await world.online(account)

    async def test_who_is_not_known_yet_is_not_read_ahead(self) -> None:
        world = await World.start()
        device = world.connect(await world.register("alice"))
        device.hello()
        device.say(frames.Heartbeat())
        assert device.link.is_paused
        await device.expect(frames.HeartbeatOk)
        assert not device.link.is_paused

    async def test_silence_is_closed_first_before_then_after_hello(self) -> None:
        world = await World.start(limits=Limits(hello_s=10, idle_s=60, receipt_delay_s=0))
        account = await world.register("alice")
        greeting, online = world.connect(account), await world.online(account)
        now_s = world.services.loop.time()
        world.services.connections.sweep(now_s + 11)
        assert await greeting.closing() == CloseCode.HELLO_TIMEOUT
        assert online.link.closed is None
        world.services.connections.sweep(now_s + 61)
        assert await online.closing() == CloseCode.HEARTBEAT_TIMEOUT

    async def test_heartbeats_are_answered(self) -> None:
        world = await World.start()
        device = await world.online(await world.register("alice"))
        device.say(frames.Heartbeat())
        assert (await device.expect(frames.HeartbeatOk)).now_ms >= world.clock.wall_ms()


class TestSending:
    async def test_sent_delivered_read_each_reach_all_of_the_senders_devices(self, codec: Codec) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world, codec)
        tablet = await world.online(await world.login("alice"), codec)

        send = alice.send(conversation, "hello")
        sent = await alice.expect(Sent)
        assert sent.client_id == send.client_id

        delivered = await bob.expect(Deliver)
        assert delivered.message.message_id == sent.message_id
        assert delivered.message.content == b"hello"
        copy = await tablet.expect(Deliver)
        assert copy.message == delivered.message

        bob.ack()
        for device in (alice, tablet):
            receipt = await device.expect(Receipt)
            assert (receipt.delivered_up_to, receipt.read_up_to) == (sent.message_id, 0)
        answer = await bob.ask(lambda n: frames.Read(n, conversation, sent.message_id), Ok)
        assert answer.request_id
        for device in (alice, tablet):
            receipt = await device.expect(Receipt)
            assert (receipt.delivered_up_to, receipt.read_up_to) == (sent.message_id, sent.message_id)

    async def test_read_reaches_the_readers_other_devices_only(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        laptop = await world.online(await world.login("bob"))
        alice.send(conversation, "hello")
        message = (await bob.expect(Deliver)).message
        await laptop.expect(Deliver)
        await bob.ask(lambda n: frames.Read(n, conversation, message.message_id), Ok)
        receipt = await laptop.expect(Receipt)
        assert receipt.user_id == int(bob.account.user_id)
        assert receipt.read_up_to == message.message_id
        assert not [frame for frame in await bob.settle() if isinstance(frame, Receipt)]

    async def test_everyone_settles_on_the_order_of_acceptance(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        phone = await world.online(await world.login("bob"))
        texts = [f"line {number}" for number in range(50)]
        for text in texts:
            alice.send(conversation, text)
        assert await bob.texts(50) == texts
        assert await phone.texts(50) == texts

    async def test_a_repeat_is_answered_alike_and_delivered_once(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        send = alice.send(conversation, "once")
        first = await alice.expect(Sent)
        send.attempt = 2
        alice.say(send)
        again = await alice.expect(Sent)
        assert again == first
        assert await bob.texts(1) == ["once"]
        assert not [frame for frame in await bob.settle() if isinstance(frame, Deliver)]

    async def test_a_repeat_before_the_first_is_durable_gets_the_same_answer(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        send = alice.send(conversation, "once")
        send.attempt = 2
        alice.say(send)
        first, second = await alice.expect(Sent), await alice.expect(Sent)
        assert first == second
        assert await bob.texts(1) == ["once"]
        assert not [frame for frame in await bob.settle() if isinstance(frame, Deliver)]

    async def test_a_repeat_after_a_restart_is_recognised(self) -> None:
        tables = Tables()
        world = await World.start(MemoryStore(tables))
        alice, bob, conversation = await pair(world)
        send = alice.send(conversation, "once")
        first = await alice.expect(Sent)
        await alice.settle()
        again = await World.start(MemoryStore(tables), clock=world.clock)
        alice = await again.online(alice.account)
        send.attempt = 2
        alice.say(send)
        assert (await alice.expect(Sent)).message_id == first.message_id
        bob = await again.online(bob.account)
        assert await bob.texts(0) == []
        assert [frame.message.content for frame in bob.seen if isinstance(frame, Deliver)] == [b"once"]

    async def test_nothing_is_acknowledged_that_the_store_refused(self) -> None:
        faults = PlannedFaults(Random(3))
        world = await World.start(MemoryStore(faults=faults))
        alice, bob, conversation = await pair(world)
        alice.send(conversation, "first")
        await alice.expect(Sent)
        await bob.texts(1)
        await alice.settle()
        faults.writes.append(Fault.FULL)
        send = alice.send(conversation, "refused")
        error = await alice.expect(Error)
        assert (error.code, error.client_id) == (errors.STORE_FULL.code, send.client_id)
        assert error.retry_after
        send.attempt = 2
        alice.say(send)
        await alice.expect(Sent)
        assert await bob.texts(1) == ["refused"]

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"content": b"x" * 65_537}, errors.TOO_LARGE),
            ({"content_type": "x" * 65}, errors.TOO_LARGE),
            ({"envelopes": dict.fromkeys(range(65), b"")}, errors.TOO_LARGE),
            ({"envelopes": {1: b"x" * 3073}}, errors.TOO_LARGE),
            ({"expires_at": 1}, errors.INVALID),
            ({"conversation_id": b"c" * 16}, errors.NO_SUCH_CONVERSATION),
        ],
    )
    async def test_what_is_out_of_bounds_is_refused_and_the_session_goes_on(
        self, change: dict[str, object], code: errors.ErrorKind
    ) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        frame = frames.Send(ids.client_id(b"prefix00", 1), 1, conversation, 1, 0, 0, "text", b"x")
        for name, value in change.items():
            setattr(frame, name, value)
        alice.say(frame)
        error = await alice.expect(Error)
        assert (error.code, error.client_id) == (code.code, frame.client_id)
        alice.send(conversation, "fine")
        assert await bob.texts(1) == ["fine"]

    async def test_a_stranger_cannot_write_read_or_see_a_conversation(self) -> None:
        world = await World.start()
        _, _, conversation = await pair(world)
        eve = await world.online(await world.register("eve"))
        eve.send(conversation, "let me in")
        assert (await eve.expect(Error)).code == errors.NO_SUCH_CONVERSATION.code
        for make in (
            lambda n: frames.History(n, conversation),
            lambda n: frames.Read(n, conversation, MessageId(1)),
            lambda n: frames.Describe(n, conversation),
        ):
            assert (await eve.ask(make, Error)).code == errors.NO_SUCH_CONVERSATION.code


class TestReceiving:
    async def test_what_came_while_away_is_drained_in_order_once(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        bob.drop()
        for number in range(3):
            alice.send(conversation, f"line {number}")
        await alice.settle()
        bob = world.connect(bob.account)
        bob.hello()
        assert await bob.texts(3) == ["line 0", "line 1", "line 2"]
        await bob.expect(Drained)
        bob.ack()
        await bob.settle()
        bob.drop()
        bob = await world.online(bob.account)
        assert await bob.settle() == []

    async def test_what_was_not_acknowledged_comes_again(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        for number in range(5):
            alice.send(conversation, f"line {number}")
        await bob.texts(5)
        bob.ack(2)
        await bob.settle()
        bob.drop()
        bob = world.connect(bob.account)
        bob.hello()
        assert await bob.texts(3) == ["line 2", "line 3", "line 4"]

    async def test_a_device_that_lost_what_it_had_moves_the_start_back(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        alice.send(conversation, "one")
        entry = await bob.expect(Deliver)
        alice.send(conversation, "two")
        await bob.texts(1)
        bob.ack()
        await bob.settle()
        bob.drop()
        restored = world.connect(bob.account)
        restored.hello(have=entry.entry_id)
        assert await restored.texts(1) == ["two"]

    async def test_what_a_device_says_never_moves_the_start_forward(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        bob.drop()
        alice.send(conversation, "kept")
        await alice.settle()
        bob = world.connect(bob.account)
        bob.hello(have=EntryId(ids.SNOWFLAKE_MAX))
        assert await bob.texts(1) == ["kept"]

    async def test_no_more_than_a_window_is_out_and_all_arrives(self) -> None:
        world = await World.start(limits=Limits(window_entries=10, receipt_delay_s=0))
        alice, bob, conversation = await pair(world)
        texts = [f"line {number}" for number in range(95)]
        for text in texts:
            alice.send(conversation, text)
        await alice.settle()
        seen: list[str] = []
        while len(seen) < 95:
            await bob.settle_into(seen)
            assert len(seen) % 10 == 0 or len(seen) == 95
            bob.ack()
        assert seen == texts
        alice.send(conversation, "live again")
        assert await bob.texts(1) == ["live again"]

    async def test_the_window_is_bounded_in_bytes_too(self) -> None:
        world = await World.start(limits=Limits(window_bytes=100_000, receipt_delay_s=0))
        alice, bob, conversation = await pair(world)
        for letter in "abcd":
            alice.send(conversation, letter * 60_000)
        await alice.settle()
        seen: list[str] = []
        await bob.settle_into(seen)
        assert [text[0] for text in seen] == ["a", "b"]
        bob.ack()
        await bob.settle_into(seen)
        assert [text[0] for text in seen] == ["a", "b", "c", "d"]

    async def test_a_new_device_begins_at_its_birth(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        alice.send(conversation, "before")
        await bob.texts(1)
        tablet = await world.online(await world.login("bob"))
        assert await tablet.settle() == []
        page = await tablet.ask(lambda n: frames.History(n, conversation), frames.Page)
        assert [item.message.content for item in page.items] == [b"before"]

    async def test_an_ack_of_what_was_never_sent_is_refused(self) -> None:
        world = await World.start()
        _, bob, _ = await pair(world)
        bob.say(frames.Ack(1))
        assert (await bob.expect(Error)).code == errors.INVALID.code


class TestReceipts:
    async def test_watermarks_only_move_forward_and_read_implies_delivered(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        for text in ("one", "two"):
            alice.send(conversation, text)
        one, two = [(await bob.expect(Deliver)).message.message_id for _ in range(2)]
        await bob.ask(lambda n: frames.Read(n, conversation, two), Ok)
        receipt = await alice.expect(Receipt)
        assert (receipt.delivered_up_to, receipt.read_up_to) == (two, two)
        await bob.ask(lambda n: frames.Read(n, conversation, one), Ok)
        bob.ack()
        assert not [frame for frame in await alice.settle() if isinstance(frame, Receipt)]

    async def test_a_repeated_read_tells_nothing_to_whom_reads_are_hidden_and_others_once(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        receipts = frames.Set(1, frames.SettingKind.PRIVACY, "receipts", b"nobody")
        bob.say(receipts)
        await bob.expect(Ok)
        alice.send(conversation, "one")
        one = (await bob.expect(Deliver)).message.message_id
        bob.ack()
        await alice.expect(Receipt)
        for _ in range(3):
            await bob.ask(lambda n: frames.Read(n, conversation, one), Ok)
        assert not [frame for frame in await alice.settle() if isinstance(frame, Receipt)]

    async def test_read_is_clamped_to_what_was_sent(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        alice.send(conversation, "one")
        one = (await bob.expect(Deliver)).message.message_id
        await bob.ask(lambda n: frames.Read(n, conversation, MessageId(ids.SNOWFLAKE_MAX)), Ok)
        assert (await alice.expect(Receipt)).read_up_to == one
        alice.send(conversation, "two")
        page = await alice.ask(lambda n: frames.History(n, conversation), frames.Page)
        assert [item.status for item in page.items] == [Status.READ, Status.SENT]

    async def test_receipts_missed_while_away_are_found_by_sync(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        since = (await alice.ask(lambda n: frames.Sync(n, 0), Synced)).at_ms
        alice.send(conversation, "hello")
        sent = await alice.expect(Sent)
        alice.drop()
        await bob.texts(1)
        bob.ack()
        await bob.settle()
        world.clock.advance(1)
        alice = await world.online(alice.account)
        synced = await alice.ask(lambda n: frames.Sync(n, since), Synced)
        (receipt,) = [one for one in synced.receipts if one.user_id == int(bob.account.user_id)]
        assert receipt.delivered_up_to == sent.message_id
        again = await alice.ask(lambda n: frames.Sync(n, synced.at_ms), Synced)
        assert again.receipts == []

    async def test_sync_ends_also_where_all_moved_in_one_moment(self) -> None:
        world = await World.start(limits=Limits(sync_conversations=2, receipt_delay_s=0))
        alice = await world.online(await world.register("alice"))
        for name in ("bob", "carol", "dave", "erin", "frank"):
            peer = await world.online(await world.register(name))
            alice.send(await alice.open(name), "hello")
            await peer.texts(1)
            peer.ack()
            await peer.settle()
        synced = await alice.ask(lambda n: frames.Sync(n, 0), Synced)
        assert len({receipt.conversation_id for receipt in synced.receipts}) == 5
        assert not synced.more

    async def test_a_full_disk_delays_what_sync_tells_but_loses_nothing(self) -> None:
        faults = PlannedFaults(Random(1))
        limits = Limits(receipt_delay_s=0, store_retry_s=0)
        world = await World.start(MemoryStore(faults=faults), limits=limits)
        alice, bob, conversation = await pair(world)
        alice.send(conversation, "hello")
        sent = await alice.expect(Sent)
        await bob.texts(1)
        await alice.settle()
        alice.drop()
        faults.writes.append(Fault.FULL)
        bob.ack()
        await bob.settle()
        alice = await world.online(alice.account)
        synced = await alice.ask(lambda n: frames.Sync(n, 0), Synced)
        delivered = {receipt.user_id: receipt.delivered_up_to for receipt in synced.receipts}
        assert delivered[int(bob.account.user_id)] == sent.message_id

    async def test_sync_pages_until_all_is_told(self) -> None:
        world = await World.start(limits=Limits(sync_conversations=2, receipt_delay_s=0))
        alice = await world.online(await world.register("alice"))
        for name in ("bob", "carol", "dave", "erin", "frank"):
            peer = await world.online(await world.register(name))
            conversation = await alice.open(name)
            alice.send(conversation, "hello")
            await peer.texts(1)
            peer.ack()
            await peer.settle()
            world.clock.advance(1)
        since, told = 0, set()
        while True:
            synced = await alice.ask(lambda n, since=since: frames.Sync(n, since), Synced)
            told |= {receipt.conversation_id for receipt in synced.receipts}
            since = synced.at_ms
            if not synced.more:
                break
        assert len(told) == 5

    async def test_a_read_of_which_a_part_was_written_when_the_node_died_is_told_when_it_is_repeated(
        self,
    ) -> None:
        tables, faults = Tables(), Torn(CHANGED)
        world = await World.start(MemoryStore(tables, faults=faults))
        alice, bob, conversation = await pair(world)
        alice.send(conversation, "hello")
        one = (await bob.expect(Deliver)).message.message_id
        bob.ack()
        await bob.settle()
        faults.is_due = True
        bob.say(frames.Read(1, conversation, one))
        assert (await bob.expect(Error)).code == errors.STORE_FAILED.code
        world.clock.advance(1)
        world = await World.start(MemoryStore(tables), clock=world.clock)
        alice = await world.online(alice.account)
        since = (await alice.ask(lambda n: frames.Sync(n, 0), Synced)).at_ms
        bob = await world.online(bob.account)
        laptop = await world.online(await world.login("bob"))
        world.clock.advance(1)
        await bob.ask(lambda n: frames.Read(n, conversation, one), Ok)
        for device in (alice, laptop):
            assert (await device.expect(Receipt)).read_up_to == one
        synced = await alice.ask(lambda n: frames.Sync(n, since), Synced)
        assert one in [receipt.read_up_to for receipt in synced.receipts]


class TestHistory:
    async def test_latest_before_and_after(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        messages = []
        for number in range(120):
            alice.send(conversation, str(number))
            messages.append((await alice.expect(Sent)).message_id)

        async def page(**query: object) -> tuple[list[int], bool]:
            answer = await bob.ask(lambda n: frames.History(n, conversation, **query), frames.Page)  # type: ignore[arg-type]
            return [int(item.message.content) for item in answer.items], answer.more

        assert await page() == (list(range(70, 120)), True)
        assert await page(before=messages[70]) == (list(range(20, 70)), True)
        assert await page(before=messages[20]) == (list(range(20)), False)
        assert await page(after=messages[9], limit=5) == ([10, 11, 12, 13, 14], True)
        assert await page(after=messages[117]) == ([118, 119], False)
        assert await page(before=messages[0]) == ([], False)

    async def test_history_crosses_buckets(self) -> None:
        world = await World.start()
        alice, bob, conversation = await pair(world)
        for number in range(4):
            alice.send(conversation, str(number))
            await alice.expect(Sent)
            world.clock.advance(366 * 86_400)
        page = await bob.ask(lambda n: frames.History(n, conversation, limit=3), frames.Page)
        assert [item.message.content for item in page.items] == [b"1", b"2", b"3"]
        first = page.items[0].message.message_id
        page = await bob.ask(lambda n: frames.History(n, conversation, before=first), frames.Page)
        assert [item.message.content for item in page.items] == [b"0"]
        oldest = page.items[0].message.message_id
        page = await bob.ask(lambda n: frames.History(n, conversation, after=oldest), frames.Page)
        assert [item.message.content for item in page.items] == [b"1", b"2", b"3"]

    async def test_a_page_is_bounded_in_bytes(self) -> None:
        world = await World.start(limits=Limits(page_bytes=100_000, receipt_delay_s=0))
        alice, _, conversation = await pair(world)
        for letter in "abcd":
            alice.send(conversation, letter * 40_000)
        page = await alice.ask(lambda n: frames.History(n, conversation), frames.Page)
        assert ([item.message.content[:1] for item in page.items], page.more) == ([b"c", b"d"], True)

    async def test_before_and_after_together_are_invalid(self) -> None:
        world = await World.start()
        alice, _, conversation = await pair(world)
        error = await alice.ask(lambda n: frames.History(n, conversation, MessageId(1), MessageId(2)), Error)
        assert error.code == errors.INVALID.code


class TestFlood:
    async def test_a_flood_is_told_when_to_come_back_and_then_closed(self) -> None:
        limits = Limits(light_rate=Rate(per_s=1, burst=10), refusals=20, receipt_delay_s=0)
        world = await World.start(limits=limits)
        device = await world.online(await world.register("alice"))
        for _ in range(40):
            device.say(frames.Heartbeat())
        error = await device.expect(Error)
        assert error.code == errors.RATE_LIMITED.code
        assert error.retry_after
        assert await device.closing() == CloseCode.FLOOD

    async def test_frames_wait_in_order_behind_a_slow_one_and_reading_pauses(self) -> None:
        world = await World.start(limits=Limits(backlog_frames=5, receipt_delay_s=0))
        alice, bob, conversation = await pair(world)
        again = await World.start(
            world.services.conversations._store,  # the same rows, nothing in memory
            clock=world.clock,
            limits=Limits(backlog_frames=5, receipt_delay_s=0),
        )
        alice, bob = await again.online(alice.account), await again.online(bob.account)
        texts = [f"line {number}" for number in range(10)]
        for text in texts:
            alice.send(conversation, text)
        assert alice.link.is_paused
        assert await bob.texts(10) == texts
        assert not alice.link.is_paused

    async def test_a_heartbeat_is_answered_at_once_also_while_something_slow_goes_on(self) -> None:
        world = await World.start(limits=Limits(receipt_delay_s=0))
        alice, bob, conversation = await pair(world)
        again = await World.start(
            world.services.conversations._store,  # the same rows, nothing in memory
            clock=world.clock,
            limits=Limits(receipt_delay_s=0),
        )
        alice, bob = await again.online(alice.account), await again.online(bob.account)
        alice.send(conversation, "reads the conversation first")
        alice.send(conversation, "waits for it")
        alice.say(frames.Heartbeat())
        last = alice.codec.decode_server(alice.link.sent[-1])
        assert isinstance(last, frames.HeartbeatOk)
        assert await bob.texts(2) == ["reads the conversation first", "waits for it"]
