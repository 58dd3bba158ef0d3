"""The SDK against a real server: what its promises look like to a program."""

import asyncio
import stat
from contextlib import closing
from pathlib import Path

import pytest

from client.at_rest import database_of
from client.rig import PASSWORD, People, ServerProcess, watching
from tidings.client import (
    CaughtUpEvent,
    Client,
    ClientError,
    ConnectionEvent,
    MessageEvent,
    ProfileExists,
    ProfileInUse,
    ReceiptEvent,
    Refused,
    SessionEnded,
    Status,
    Unreachable,
)

pytestmark = pytest.mark.slow


class TestAccounts:
    async def test_a_profile_is_private(self, people: People) -> None:
        profile = await people.register("alice")
        assert stat.S_IMODE(profile.stat().st_mode) == 0o700
        for file in ("account.json", "profile.db", "profile.key"):
            assert stat.S_IMODE((profile / file).stat().st_mode) == 0o600

    async def test_a_profile_is_never_overwritten(self, people: People) -> None:
        profile = await people.register("alice")
        before = (profile / "account.json").read_bytes()
        with pytest.raises(ProfileExists):
            await Client.register(
                people.server.url, handle=people.handle("bob"), password=PASSWORD, profile=profile
            )
        assert (profile / "account.json").read_bytes() == before

    @pytest.mark.parametrize(
        ("handle", "password", "name"),
        [("!", PASSWORD, "bad_handle"), ("somebody", "short", "bad_password")],
    )
    async def test_a_refusal_names_its_reason_and_leaves_nothing(
        self, people: People, tmp_path: Path, handle: str, password: str, name: str
    ) -> None:
        with pytest.raises(Refused) as refusal:
            await Client.register(
                people.server.url, handle=handle, password=password, profile=tmp_path / "new"
            )
        assert refusal.value.name == name
        assert not (tmp_path / "new").exists()

    async def test_a_handle_is_taken_once_and_a_wrong_password_is_refused(
        self, people: People, tmp_path: Path
    ) -> None:
        await people.register("alice")
        with pytest.raises(Refused, match="handle_taken"):
            await Client.register(
                people.server.url, handle=people.handle("alice"), password=PASSWORD, profile=tmp_path / "x"
            )
        with pytest.raises(Refused, match="wrong_credentials"):
            await Client.login(
                people.server.url,
                handle=people.handle("alice"),
                password="not this one",
                profile=tmp_path / "x",
            )

    async def test_no_server_and_no_tidings_server(self, tmp_path: Path) -> None:
        with pytest.raises(Unreachable, match="cannot reach"):
            await Client.register(
                "http://127.0.0.1:9", handle="alice", password=PASSWORD, profile=tmp_path / "x"
            )
        with pytest.raises(ClientError, match="no http or https address"):
            await Client.register("ftp://x", handle="alice", password=PASSWORD, profile=tmp_path / "x")


class TestTalking:
    async def test_alice_sends_bob_receives_reads_and_she_sees_both_ticks(self, people: People) -> None:
        alice, bob = await people.register("alice"), await people.register("bob")
        async with watching(alice) as a, watching(bob) as b:
            sent = await a.client.send(f"@{people.handle('bob')}", "hello")
            await b.until(lambda w: w.texts)
            (event,) = b.of(MessageEvent)
            assert (event.sender, event.text, event.own) == (people.handle("alice"), "hello", False)
            assert (event.message_id, event.conversation_id) == (sent.message_id, sent.conversation_id)
            await a.until(lambda w: w.of(ReceiptEvent))
            assert await b.client.mark_read(people.handle("alice")) == sent.message_id
            await a.until(lambda w: [one for one in w.of(ReceiptEvent) if one.state == "read"])
            states = [(one.peer, one.state, one.message_ids) for one in a.of(ReceiptEvent)]
            assert states[-1] == (people.handle("bob"), "read", [sent.message_id])
            page = await b.client.history(people.handle("alice"))
            assert [(one.sender, one.text, one.status) for one in page] == [
                (people.handle("alice"), "hello", Status.READ)
            ]

    async def test_many_at_once_keep_their_order(self, people: People) -> None:
        alice, bob = await people.register("alice"), await people.register("bob")
        texts = [f"line {number}" for number in range(300)]
        async with watching(alice) as a, watching(bob) as b:
            await asyncio.gather(*(a.client.send(people.handle("bob"), text) for text in texts))
            await b.until(lambda w: len(w.texts) >= 300)
            assert b.texts == texts

    async def test_a_message_to_nobody_is_refused_and_those_behind_it_go_out(self, people: People) -> None:
        alice, bob = await people.register("alice"), await people.register("bob")
        async with watching(alice) as a, watching(bob) as b:
            refused, sent = await asyncio.gather(
                a.client.send("@nobody-at-all", "hello?"),
                a.client.send(people.handle("bob"), "hello"),
                return_exceptions=True,
            )
            assert isinstance(refused, Refused)
            assert refused.name == "no_such_user"
            assert not isinstance(sent, BaseException)
            await b.until(lambda w: w.texts == ["hello"])
            too_large = a.client.send(people.handle("bob"), "x" * 70_000)
            with pytest.raises(Refused, match="too_large"):
                await too_large
            await a.client.flushed()

    async def test_history_goes_over_several_pages(self, people: People) -> None:
        alice, bob = await people.register("alice"), await people.register("bob")
        async with Client.open(alice) as a, Client.open(bob) as b:
            sent = await asyncio.gather(*(a.send(people.handle("bob"), str(n)) for n in range(600)))
            page = await b.history(people.handle("alice"), limit=550)
            assert [one.text for one in page] == [str(n) for n in range(50, 600)]
            page = await b.history(people.handle("alice"), limit=550, after=sent[9].message_id)
            assert [one.text for one in page] == [str(n) for n in range(10, 560)]
            page = await b.history(people.handle("alice"), limit=3, before=sent[9].message_id)
            assert [one.text for one in page] == ["6", "7", "8"]
            with pytest.raises(Refused, match="no_such_user"):
                await b.history("@nobody-at-all")

    async def test_conversations_are_known_offline_with_what_is_unread(self, people: People) -> None:
        alice, bob = await people.register("alice"), await people.register("bob")
        async with Client.open(alice) as a, watching(bob) as b:
            await a.send(people.handle("bob"), "one")
            await a.send(people.handle("bob"), "two")
            await b.until(lambda w: len(w.texts) == 2)
            (known,) = await b.client.chats.list()
            assert (known.peer, known.unread) == (people.handle("alice"), 2)
            await b.client.mark_read(people.handle("alice"))
            (known,) = await b.client.chats.list()
            assert known.unread == 0


class TestComingAndGoing:
    async def test_what_came_while_away_comes_first_then_caught_up(self, people: People) -> None:
        alice, bob = await people.register("alice"), await people.register("bob")
        async with Client.open(alice) as a:
            for number in range(3):
                await a.send(people.handle("bob"), str(number))
        async with watching(bob) as b:
            await b.until(lambda w: w.of(CaughtUpEvent))
            kinds = [type(event) for event in b.events]
            assert kinds == [ConnectionEvent, MessageEvent, MessageEvent, MessageEvent, CaughtUpEvent]
            assert b.texts == ["0", "1", "2"]
        async with watching(bob) as b:
            await b.until(lambda w: w.of(CaughtUpEvent))
            assert b.texts == []

    async def test_ticks_missed_while_away_come_later(self, people: People) -> None:
        alice, bob = await people.register("alice"), await people.register("bob")
        async with Client.open(alice) as a:
            sent = await a.send(people.handle("bob"), "hello")
        async with watching(bob) as b:
            await b.until(lambda w: w.texts)
            await b.client.mark_read(people.handle("alice"))
            await b.client.flushed()
        async with watching(alice) as a:
            await a.until(lambda w: w.of(ReceiptEvent))
            (receipt,) = a.of(ReceiptEvent)
            assert (receipt.state, receipt.message_ids) == ("read", [sent.message_id])

    async def test_an_event_that_was_not_finished_comes_again(self, people: People) -> None:
        alice, bob = await people.register("alice"), await people.register("bob")
        async with Client.open(alice) as a:
            await a.send(people.handle("bob"), "one")
            await a.send(people.handle("bob"), "two")
        for _ in range(2):
            async with Client.open(bob) as b:
                async for event in b.events():
                    if isinstance(event, MessageEvent):
                        assert event.text == "one"
                        break

    async def test_two_devices_both_receive_and_see_what_the_other_sent(self, people: People) -> None:
        alice, laptop = await people.register("alice"), await people.register("bob")
        phone = await people.login("bob", "phone")
        async with watching(alice) as a, watching(laptop) as one, watching(phone) as other:
            await asyncio.gather(
                one.until(lambda w: w.of(CaughtUpEvent)), other.until(lambda w: w.of(CaughtUpEvent))
            )
            await a.client.send(people.handle("bob"), "hello")
            await one.until(lambda w: w.texts == ["hello"])
            await other.until(lambda w: w.texts == ["hello"])
            sent = await one.client.send(people.handle("alice"), "hi")
            await other.until(lambda w: w.texts == ["hello", "hi"])
            copy = other.of(MessageEvent)[-1]
            assert (copy.own, copy.sender, copy.peer) == (True, people.handle("bob"), people.handle("alice"))
            await a.until(lambda w: w.texts == ["hi"])
            # The ticks of what was sent on one device are seen on the other, too.
            await other.until(lambda w: w.of(ReceiptEvent))
            assert other.of(ReceiptEvent)[-1].message_ids == [sent.message_id]
            assert one.texts == ["hello"]
            # What was read on one is read on the other.
            await one.client.mark_read(people.handle("alice"))
            await one.client.flushed()

            async def unread() -> int:
                return (await other.client.chats.list())[0].unread

            async with asyncio.timeout(10):
                while await unread():
                    await asyncio.sleep(0.01)

    async def test_one_process_receives_and_side_clients_work_beside_it(self, people: People) -> None:
        alice, bob = await people.register("alice"), await people.register("bob")
        async with watching(alice) as a, watching(bob) as b:
            with pytest.raises(ProfileInUse, match="it is open in process"):
                await Client.open(alice).__aenter__()
            async with Client.open(alice, receive=False) as side:
                sent = await side.send(people.handle("bob"), "from the side")
                assert [one.text for one in await side.history(people.handle("bob"))] == ["from the side"]
                with pytest.raises(ClientError, match="receive=False"):
                    side.events()
            await b.until(lambda w: w.texts == ["from the side"])
            # The receiving client tells the ticks, though another one sent.
            await a.until(lambda w: w.of(ReceiptEvent))
            assert a.of(ReceiptEvent)[0].message_ids == [sent.message_id]
            assert len(a.of(ConnectionEvent)) == 1

    async def test_a_copied_profile_is_told_that_it_was_replaced(
        self, people: People, tmp_path: Path
    ) -> None:
        alice = await people.register("alice")
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in ("account.json", "profile.db", "profile.key"):
            (copy / file).write_bytes((alice / file).read_bytes())
        async with watching(alice) as first:
            await first.until(lambda w: w.of(CaughtUpEvent))
            async with watching(copy) as second:
                await second.until(lambda w: w.of(CaughtUpEvent))
                with pytest.raises(SessionEnded, match="took over") as ended:
                    await first.until(lambda w: False)
                assert ended.value.code == 4409
                with pytest.raises(SessionEnded):
                    await first.client.send("@bob", "too late")
                with pytest.raises(SessionEnded):
                    await first.client.history("@bob")

    async def test_a_bad_token_ends_it(self, people: People) -> None:
        alice = await people.register("alice")
        with closing(database_of(alice)) as database:
            database.execute("UPDATE access SET token = 'AAAA' || token")
        async with watching(alice) as a:
            with pytest.raises(SessionEnded, match="token"):
                await a.until(lambda w: False)


class TestOffline:
    async def test_what_is_written_and_read_offline_goes_out_later(
        self, own_server: ServerProcess, own_people: People
    ) -> None:
        people = own_people
        alice, bob = await people.register("alice"), await people.register("bob")
        async with watching(alice) as a, watching(bob) as b:
            await a.client.send(people.handle("bob"), "one")
            await b.until(lambda w: w.texts == ["one"])
        own_server.stop()
        async with Client.open(bob) as b:
            await b.mark_read(people.handle("alice"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await b.send(people.handle("alice"), "two")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await b.flushed()
            assert b.trouble
        own_server.start()
        async with Client.open(bob, receive=False) as b:
            await b.flushed()
        async with watching(alice) as a:
            # That it was delivered may have been stored, and not told, before the server went away.
            await a.until(
                lambda w: w.texts == ["two"] and [one for one in w.of(ReceiptEvent) if one.state == "read"]
            )

    async def test_a_drained_client_comes_back_by_itself(
        self, own_server: ServerProcess, own_people: People
    ) -> None:
        people = own_people
        alice, bob = await people.register("alice"), await people.register("bob")
        async with watching(alice) as a, watching(bob) as b:
            await b.until(lambda w: w.of(CaughtUpEvent))
            own_server.stop()
            await b.until(lambda w: [one for one in w.of(ConnectionEvent) if one.state == "disconnected"])
            waiting = asyncio.ensure_future(a.client.send(people.handle("bob"), "hello again"))
            own_server.start()
            await waiting
            await b.until(lambda w: w.texts == ["hello again"])
