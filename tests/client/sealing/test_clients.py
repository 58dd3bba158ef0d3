"""Clients that encrypt, on a node: the whole way of a sealed message."""

import asyncio
import contextlib
import itertools
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from client.memory_world import LOOK_S, PATIENCE_S, Devices, Screen, all_agree
from tidings.client import (
    ClientError,
    Fault,
    Message,
    OpenedEvent,
    Refused,
    SessionEnded,
    Unreachable,
    WarningEvent,
)
from tidings.domain.conversation import Conversation
from tidings.domain.messages import Messages
from tidings.protocol.api import KeysState
from tidings.protocol.errors import TOO_LARGE, ProtocolError
from tidings.protocol.frames import Send, SettingKind
from tidings.store.schema import INBOX, MESSAGES, SETTINGS
from tidings.testing.world import PASSWORD, World

pytestmark = pytest.mark.slow


async def link(known: Screen, new: Screen) -> None:
    """Let a new device in."""
    await known.client.devices.approve(await new.client.devices.link_code())
    await new.client.devices.linked()


async def texts(screen: Screen, peer: str, *expected: str) -> list[Message]:
    """Wait until a screen shows just these texts; returns the messages."""

    def shown() -> list[str]:
        return [one.text for one in screen.checked.messages(peer) if not one.fault]

    try:
        async with asyncio.timeout(PATIENCE_S):
            while sorted(shown()) != sorted(expected):
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"{screen.client.handle} shows {shown()}, not {expected}") from None
    return screen.checked.messages(peer)


async def in_profile(screen: Screen, job: Callable[[sqlite3.Connection], object]) -> object:
    """Do something to a profile's database."""
    assert screen.client._parts is not None
    return await screen.client._parts.vault.write(job)


@contextlib.asynccontextmanager
async def signed_out(screen: Screen) -> AsyncIterator[Screen]:
    """A device that is taken out while it is open."""
    with pytest.raises(SessionEnded):
        async with _until_it_is_out(screen):
            yield screen


@contextlib.asynccontextmanager
async def _until_it_is_out(screen: Screen) -> AsyncIterator[None]:
    async with screen:
        yield
        await screen.ended()  # whoever took it out may have been answered before it was told


def device_of(screen: Screen) -> str:
    assert screen.client._parts is not None
    return str(screen.client._parts.me.device_id)


def warned(screen: Screen) -> list[str]:
    return [event.kind for event in screen.events if isinstance(event, WarningEvent)]


@pytest.fixture
async def devices(tmp_path: Path) -> AsyncIterator[Devices]:
    world = await World.start()
    yield Devices(world, tmp_path, sealed=True)
    assert not world.complaints


async def stored(devices: Devices) -> bytes:
    """All that the node's store has of messages."""
    store = devices.world.services.conversations._store
    rows = [
        *await store.scan(MESSAGES, after=None, limit=1000),
        *await store.scan(INBOX, after=None, limit=1000),
    ]
    return repr(rows).encode()


async def test_two_devices_each_read_all_and_the_server_nothing(devices: Devices) -> None:
    async with (
        await devices.register("alice") as phone,
        await devices.register("bob") as bob,
        await devices.login("alice") as laptop,
    ):
        await link(phone, laptop)
        await phone.client.send("@bob", "from the phone")
        await texts(bob, "alice", "from the phone")
        await bob.client.send("@alice", "an answer")
        await laptop.client.send("@bob", "from the laptop")
        for screen, peer in ((bob, "alice"), (laptop, "bob"), (phone, "bob")):
            found = await texts(screen, peer, "from the phone", "an answer", "from the laptop")
            assert all(message.sealed for message in found)
        await all_agree(phone, laptop, bob)
        assert not warned(bob)
    assert b"from the" not in await stored(devices)
    assert b"answer" not in await stored(devices)


async def test_edits_reactions_replies_and_deletes_are_sealed(devices: Devices) -> None:
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        sent = await alice.client.send("@bob", "supper at sevn")
        (message,) = await texts(bob, "alice", "supper at sevn")
        await bob.client.messages.react(message, "heart")
        await alice.client.messages.edit(sent, "supper at seven")
        await texts(bob, "alice", "supper at seven")
        await bob.client.send("@alice", "with pleasure", reply_to=message)
        await texts(alice, "bob", "supper at seven", "with pleasure")
        await alice.until(lambda state: state.messages("bob")[0].reactions == {"bob": "heart"})
        await all_agree(alice, bob)
        page = await bob.client.history("@alice")
        assert [one.text for one in page] == ["supper at seven", "with pleasure"]
        assert page[0].reactions == {"bob": "heart"}
        await alice.client.messages.delete(sent)
        await bob.until(lambda state: state.messages("alice")[0].deleted)
        await all_agree(alice, bob)
        assert not await in_profile(
            alice,
            lambda database: database.execute(
                "SELECT 1 FROM message_keys WHERE client_id = ?", (sent.client_id,)
            ).fetchall(),
        )
    for word in (b"supper", b"heart", b"pleasure"):
        assert word not in await stored(devices)


async def test_a_device_that_is_not_linked_reads_and_writes_nothing(devices: Devices) -> None:
    async with (
        await devices.register("alice") as phone,
        await devices.register("bob") as bob,
        await devices.login("alice") as laptop,
    ):
        with pytest.raises(Refused, match="not linked"):
            await laptop.client.send("@bob", "no")
        await bob.client.send("@alice", "for the phone")
        await texts(phone, "bob", "for the phone")
        await laptop.until(lambda state: state.messages("bob"))
        assert [one.fault for one in laptop.state.messages("bob")] == [Fault.NO_KEY]
        await link(phone, laptop)
        await bob.client.send("@alice", "for both")
        await texts(laptop, "bob", "for both")
        await laptop.client.send("@bob", "yes")
        await texts(bob, "alice", "for the phone", "for both", "yes")


async def test_a_wrong_code_lets_nobody_in(devices: Devices) -> None:
    async with await devices.register("alice") as phone, await devices.login("alice") as laptop:
        code = await laptop.client.devices.link_code()
        wrong = ("1" if code[0] != "1" else "2") + code[1:]
        with pytest.raises(ClientError, match="no device"):
            await phone.client.devices.approve(wrong)
        with pytest.raises(ClientError, match="no code"):
            await phone.client.devices.approve("hello")
        assert not await laptop.client.devices.is_linked()


async def test_a_device_that_is_added_while_others_are_off_is_sent_the_key(devices: Devices) -> None:
    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        await bob.client.send("@alice", "before")
        await texts(phone, "bob", "before")
        async with await devices.login("alice") as laptop:
            await link(phone, laptop)
            # bob's device has heard nothing of the laptop: the server says that it is missing.
            await bob.client.send("@alice", "after")
            await texts(phone, "bob", "before", "after")
            await texts(laptop, "bob", "after")


async def test_a_removed_device_reads_nothing_more(devices: Devices) -> None:
    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        async with signed_out(await devices.login("alice")) as laptop:
            await link(phone, laptop)
            await bob.client.send("@alice", "for both")
            await texts(laptop, "bob", "for both")
            await phone.client.devices.sign_out(device_of(laptop))
            await bob.client.send("@alice", "for the phone")
            await texts(phone, "bob", "for both", "for the phone")
        (info,) = await phone.client.devices.list()
        assert info.current
        rows = await in_profile(
            bob,
            lambda database: database.execute(
                "SELECT devices FROM message_keys ORDER BY sealed_ms"
            ).fetchall(),
        )
        assert isinstance(rows, list)
        # One for each of alice's two devices, then one for the phone alone.
        assert [len(msgspec.msgpack.decode(row[0])) for row in rows] == [2, 1]


async def test_a_stolen_device_takes_the_identity_with_it(devices: Devices) -> None:
    async with (
        await devices.register("alice") as phone,
        await devices.register("bob") as bob,
        await devices.login("alice") as laptop,
    ):
        async with signed_out(await devices.login("alice")) as stolen:
            await link(phone, laptop)
            await link(laptop, stolen)
            await phone.client.send("@bob", "hello")
            await texts(laptop, "bob", "hello")
            await phone.client.chats.draft("@bob", "begun")
            await laptop.until(lambda state: state.chats[0].draft == "begun")
            before = await bob.client.safety.number("@alice")
            await bob.client.safety.verify("@alice")
            await phone.client.devices.revoke_stolen(device_of(stolen), PASSWORD)
        await bob.client.send("@alice", "to the new identity")
        await texts(phone, "bob", "hello", "to the new identity")
        await texts(laptop, "bob", "hello", "to the new identity")
        after = await bob.client.safety.number("@alice")
        assert after.digits != before.digits
        assert not after.verified
        await bob.until(lambda _: "identity_changed" in warned(bob))
        assert after.digits == (await laptop.client.safety.number("@bob")).digits
        await laptop.client.send("@bob", "from the laptop")
        await texts(bob, "alice", "hello", "to the new identity", "from the laptop")
        await laptop.client.chats.draft("@bob", "more")
        await phone.until(lambda state: state.chats[0].draft == "more")
    rows = await devices.world.services.conversations._store.scan(SETTINGS, after=None, limit=100)
    assert any(row.kind == SettingKind.DRAFT for row in rows)
    assert not any(b"more" in row.value or b"begun" in row.value for row in rows)


async def test_what_could_not_be_read_fills_in(devices: Devices) -> None:
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        await bob.client.send("@alice", "2")
        await texts(alice, "bob", "1", "2")
        await in_profile(bob, lambda database: database.execute("DELETE FROM sessions"))
        await alice.client.send("@bob", "3")
        found = await texts(bob, "alice", "1", "2", "3")
        assert not any(one.fault for one in found)
        assert [event.text for event in bob.events if isinstance(event, OpenedEvent)] == ["3"]
        await all_agree(alice, bob)
        await bob.client.send("@alice", "4")
        await texts(alice, "bob", "1", "2", "3", "4")


async def test_asking_ends_where_nothing_helps(devices: Devices) -> None:
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        await bob.client.send("@alice", "2")
        await texts(alice, "bob", "1", "2")

        def forget(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM sessions")
            database.execute("DELETE FROM prekeys")

        await in_profile(bob, forget)
        await alice.client.send("@bob", "lost")
        await bob.until(lambda state: any(one.fault for one in state.messages("alice")))
        await alice.client.send("@bob", "lost, too")
        await bob.until(lambda state: sum(one.fault != Fault.NONE for one in state.messages("alice")) == 2)
        for screen in (alice, bob):
            await screen.client.flushed()
        rows = await in_profile(alice, lambda database: database.execute("SELECT * FROM answers").fetchall())
        assert isinstance(rows, list)
        assert len(rows) <= 2


async def test_both_see_the_same_safety_number(devices: Devices) -> None:
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        mine, theirs = await alice.client.safety.number("@bob"), await bob.client.safety.number("@alice")
        assert mine.digits == theirs.digits
        assert len(mine.digits) == 60
        assert (await alice.client.safety.verify("@bob", theirs.code)).verified
        assert (await alice.client.safety.number("@bob")).verified
        with pytest.raises(ClientError, match="is not the one"):
            await bob.client.safety.verify("@alice", theirs.code[:-1] + bytes([theirs.code[-1] ^ 1]))


async def test_somebody_without_keys_cannot_be_written_to(devices: Devices) -> None:
    await devices.world.register("carol")
    async with await devices.register("alice") as alice:
        with pytest.raises(Refused, match="no keys"):
            await alice.client.send("@carol", "no")


async def test_a_reaction_that_comes_unread_fills_in(devices: Devices) -> None:
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        sent = await alice.client.send("@bob", "1")
        (message,) = await texts(bob, "alice", "1")
        await bob.client.send("@alice", "2")
        await texts(alice, "bob", "1", "2")
        await in_profile(alice, lambda database: database.execute("DELETE FROM sessions"))
        await bob.client.messages.react(message, "x")
        await alice.until(lambda state: state.messages("bob")[0].reactions == {"bob": "x"})
        assert sent.reference == alice.state.messages("bob")[0].reference
        await all_agree(alice, bob)


async def test_a_copy_of_a_profile_that_was_restored_uses_no_key_again(
    devices: Devices, tmp_path: Path
) -> None:
    async with await devices.register("bob") as bob:
        alice = await devices.register("alice")
        async with alice:
            await alice.client.send("@bob", "1")
            await texts(bob, "alice", "1")
            await bob.client.send("@alice", "2")
            await texts(alice, "bob", "1", "2")
        shutil.copytree(alice._profile, tmp_path / "copy")
        async with Screen(devices.world, alice._profile, devices._requests) as again:
            await again.client.send("@bob", "3")
            await texts(bob, "alice", "1", "2", "3")
            await bob.client.send("@alice", "4")
            await texts(again, "bob", "1", "2", "3", "4")
        async with Screen(devices.world, tmp_path / "copy", devices._requests) as copy:
            await copy.client.send("@bob", "5")
            await texts(bob, "alice", "1", "2", "3", "5", "4")
            await bob.client.send("@alice", "6")
            # What the copy wrote in its other life was sealed for others.
            await texts(copy, "bob", "1", "2", "4", "5", "6")
            assert await in_profile(
                copy,
                lambda database: database.execute("SELECT 1 FROM sessions WHERE is_outbound_lost").fetchone(),
            )
        assert not warned(bob)
        assert not any(one.fault for one in bob.state.messages("alice"))


async def test_what_does_not_come_is_told(devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.client.receiver.GAPS_S", 0.05)
    monkeypatch.setattr("tidings.client.sealing.chains.LATE_MS", 0)
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        # As if the server had kept back a message between: alice has counted one more.
        await in_profile(alice, lambda database: database.execute("UPDATE said SET counter = counter + 1"))
        await alice.client.send("@bob", "3")
        await texts(bob, "alice", "1", "3")
        await bob.until(lambda _: "missing" in warned(bob))


async def test_old_keys_are_forgotten_when_a_profile_is_opened(devices: Devices) -> None:
    async with await devices.register("bob"):
        alice = await devices.register("alice")
        async with alice:
            await alice.client.send("@bob", "1")
            old = "UPDATE message_keys SET sealed_ms = 0"
            await in_profile(alice, lambda database: database.execute(old))
        async with Screen(devices.world, alice._profile, devices._requests) as again:
            query = "SELECT count(*) FROM message_keys"
            assert await in_profile(again, lambda database: database.execute(query).fetchone()) == (0,)


async def published(screen: Screen) -> KeysState:
    """What the node has of a device's keys."""
    assert screen.client._parts is not None
    return await screen.client._parts._http("GET", "/v1/keys", KeysState)


async def test_a_device_that_stays_connected_renews_its_keys(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.client.sealing.upkeep.LOOK_S", LOOK_S)
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        before = await published(alice)
        await in_profile(alice, lambda database: database.execute("UPDATE prekeys SET made_ms = 0"))
        async with asyncio.timeout(PATIENCE_S):
            while (await published(alice)).prekey_id == before.prekey_id:
                await asyncio.sleep(LOOK_S)
        await bob.client.send("@alice", "for the new one")
        await texts(alice, "bob", "for the new one")


async def test_keys_that_could_not_be_published_are_tried_again(devices: Devices) -> None:
    failures = 3
    reach = devices._requests

    async def request(
        method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        nonlocal failures
        if "/v1/keys" in url and failures:
            failures -= 1
            raise Unreachable("cannot be reached", "")
        return await reach(method, url, body, headers)

    devices._requests = request
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        async with asyncio.timeout(PATIENCE_S):
            while not await alice.client.devices.is_linked():
                await asyncio.sleep(LOOK_S)
        assert not failures
        await bob.client.send("@alice", "here you are")
        await texts(alice, "bob", "here you are")


async def test_what_was_sealed_ahead_excuses_what_is_refused(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.client.receiver.GAPS_S", 0.05)
    monkeypatch.setattr("tidings.client.sealing.chains.LATE_MS", 0)
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        check, sends = Messages._check, itertools.count(1)

        def refusing(self: Messages, conversation: Conversation, send: Send) -> None:
            if next(sends) == 3:
                raise ProtocolError(TOO_LARGE)
            check(self, conversation, send)

        monkeypatch.setattr(Messages, "_check", refusing)
        writing = [alice.client.send("@bob", str(number)) for number in range(2, 8)]
        results = await asyncio.gather(*writing, return_exceptions=True)
        assert [isinstance(one, Refused) for one in results] == [False, False, True, False, False, False]
        await texts(bob, "alice", "1", "2", "3", "5", "6", "7")
        await asyncio.sleep(0.2)
        assert not warned(bob)


async def test_a_stream_of_messages_is_whole_and_in_order(devices: Devices) -> None:
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        numbers = iter(range(40))

        async def write() -> None:
            for number in numbers:
                sent = await alice.client.send("@bob", str(number))
                if number % 10 == 0:
                    # What was accepted is in the profile for whoever looks.
                    assert await alice.client.messages.get(sent.reference) is not None

        for _ in range(3):
            await alice.client.send("@bob", str(next(numbers)))
        await asyncio.gather(*(write() for _ in range(8)))
        found = await texts(bob, "alice", *(str(number) for number in range(40)))
        assert [one.text for one in found] == [str(number) for number in range(40)]
        await all_agree(alice, bob)
        assert not warned(bob)
