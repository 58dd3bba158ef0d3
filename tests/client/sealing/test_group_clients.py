"""Groups of clients that encrypt, on a node: the whole way of a sealed message."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.memory_world import LOOK_S, PATIENCE_S, Devices, Screen, all_agree, until
from client.sealing.test_clients import device_of, in_profile, link, signed_out, warned
from tidings.client import Client, Fault, Message, Refused, Surroundings
from tidings.store.schema import GROUP_PICTURES, INBOX, MESSAGES
from tidings.testing.world import World

pytestmark = pytest.mark.slow


@pytest.fixture
async def devices(tmp_path: Path) -> AsyncIterator[Devices]:
    world = await World.start()
    yield Devices(world, tmp_path, sealed=True)
    assert not world.complaints


def said(screen: Screen, peer: str) -> list[Message]:
    """What people wrote in a group, as a screen shows it."""
    return [one for one in screen.checked.messages(peer) if one.change is None]


async def texts(screen: Screen, peer: str, *expected: str) -> list[Message]:
    """Wait until a screen shows just these texts in a group; returns the messages."""

    def shown() -> list[str]:
        return [one.text for one in said(screen, peer) if not one.fault]

    try:
        async with asyncio.timeout(PATIENCE_S):
            while shown() != list(expected):
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"{screen.client.handle} shows {shown()}, not {expected}") from None
    return said(screen, peer)


async def count_of(screen: Screen, table: str) -> int:
    def count(database: sqlite3.Connection) -> object:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    found = await in_profile(screen, count)
    assert isinstance(found, int)
    return found


async def stored(devices: Devices) -> bytes:
    """All that the node's store has of messages, and of groups."""
    store = devices.world.services.conversations._store
    rows = []
    for table in (INBOX, MESSAGES):
        rows += await store.scan(table, after=None, limit=1000)
    return repr(rows).encode()


async def test_all_devices_of_a_group_read_all_and_the_server_nothing(devices: Devices) -> None:
    async with (
        await devices.register("alice") as phone,
        await devices.register("bob") as bob,
        await devices.register("carol") as carol,
        await devices.login("alice") as laptop,
    ):
        await link(phone, laptop)
        choir = await phone.client.groups.create("Choir", ["@bob", "@carol"], about="Mondays")
        assert choir.sealed
        assert (choir.name, choir.about) == ("Choir", "Mondays")
        await phone.client.send(choir.peer, "from the phone")
        await texts(bob, choir.peer, "from the phone")
        await bob.client.send(choir.peer, "an answer")
        await texts(laptop, choir.peer, "from the phone", "an answer")
        await laptop.client.send(choir.peer, "from the laptop")
        everybody = (phone, laptop, bob, carol)
        for screen in everybody:
            found = await texts(screen, choir.peer, "from the phone", "an answer", "from the laptop")
            assert all(message.sealed for message in found)
            await screen.until(lambda _: True)
            assert (await screen.client.groups.get(choir.peer)).name == "Choir"
        await all_agree(*everybody)
        assert not any(warned(screen) for screen in everybody)
        page = await carol.client.history(choir.peer)
        assert [one.text for one in page if one.change is None] == [
            "from the phone",
            "an answer",
            "from the laptop",
        ]
        for screen in everybody:
            assert await count_of(screen, "handouts") == 0
            assert await count_of(screen, "outbox") == 0
    for word in (b"from the", b"answer", b"Choir", b"Mondays"):
        assert word not in await stored(devices)


async def test_edits_reactions_replies_and_deletes_are_sealed(devices: Devices) -> None:
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        group = (await alice.client.groups.create("Family", ["@bob"])).peer
        sent = await alice.client.send(group, "supper at sevn")
        (message,) = await texts(bob, group, "supper at sevn")
        await bob.client.messages.react(message, "heart")
        await alice.client.messages.edit(sent, "supper at seven")
        await texts(bob, group, "supper at seven")
        await bob.client.send(group, "with pleasure", reply_to=message)
        await texts(alice, group, "supper at seven", "with pleasure")
        await alice.until(lambda _: said(alice, group)[0].reactions == {"bob": "heart"})
        await all_agree(alice, bob)
        await alice.client.messages.delete(sent)
        await bob.until(lambda _: said(bob, group)[0].deleted)
        await all_agree(alice, bob)
        found = await in_profile(
            alice,
            lambda database: database.execute(
                "SELECT 1 FROM spoken WHERE client_id = ?", (sent.client_id,)
            ).fetchall(),
        )
        assert not found
    for word in (b"supper", b"heart", b"pleasure"):
        assert word not in await stored(devices)


async def test_who_comes_later_reads_from_then_on(devices: Devices) -> None:
    async with (
        await devices.register("alice") as alice,
        await devices.register("bob") as bob,
        await devices.register("carol") as carol,
    ):
        group = (await alice.client.groups.create("Family", ["@bob"])).peer
        await alice.client.send(group, "before")
        await texts(bob, group, "before")
        await alice.client.groups.add(group, ["@carol"])
        await bob.client.send(group, "welcome")
        await texts(carol, group, "welcome")
        await alice.client.send(group, "hello")
        for screen, expected in ((alice, ("before",)), (bob, ("before",)), (carol, ())):
            await texts(screen, group, *expected, "welcome", "hello")
        assert (await carol.client.groups.get(group)).name == "Family"
        assert not any(warned(screen) for screen in (alice, bob, carol))
        await all_agree(alice, bob, carol)


async def test_who_was_removed_gets_no_key_any_more(devices: Devices) -> None:
    async with (
        await devices.register("alice") as alice,
        await devices.register("bob") as bob,
        await devices.register("carol") as carol,
    ):
        group = (await alice.client.groups.create("Family", ["@bob", "@carol"])).peer
        for screen in (alice, bob):
            await screen.client.send(group, f"of {screen.client.handle}")
        for screen in (alice, bob, carol):
            await texts(screen, group, "of alice", "of bob")
        keys = await count_of(carol, "heard_keys")
        await alice.client.groups.remove(group, ["@carol"])
        await bob.client.send(group, "she is gone")
        await alice.client.send(group, "yes")
        for screen in (alice, bob):
            await texts(screen, group, "of alice", "of bob", "she is gone", "yes")
        assert await count_of(carol, "heard_keys") == keys
        await texts(carol, group, "of alice", "of bob")
        rows = await in_profile(
            bob, lambda database: database.execute("SELECT count(DISTINCT key_id) FROM spoken").fetchone()
        )
        assert rows == (2,)
        with pytest.raises(Refused):
            await carol.client.send(group, "let me in")
        # She comes back: of what was said meanwhile she reads nothing, and misses nothing.
        await alice.client.groups.add(group, ["@carol"])
        await bob.client.send(group, "welcome back")
        await texts(carol, group, "of alice", "of bob", "welcome back")
        assert not warned(carol)


async def test_a_sender_who_has_not_heard_of_a_removal_seals_again(devices: Devices) -> None:
    async with (
        await devices.register("alice") as alice,
        await devices.register("bob") as bob,
        await devices.register("carol") as carol,
    ):
        group = (await alice.client.groups.create("Family", ["@bob", "@carol"])).peer
        await bob.client.send(group, "1")
        for screen in (alice, carol):
            await texts(screen, group, "1")
        bob.is_offline = True
        bob.tear()
        await until(lambda: bob.client.trouble)
        sending = asyncio.ensure_future(bob.client.send(group, "2"))
        await alice.client.groups.remove(group, ["@carol"])
        bob.is_offline = False
        await sending
        await texts(alice, group, "1", "2")
        keys = await in_profile(
            bob, lambda database: database.execute("SELECT count(DISTINCT key_id) FROM spoken").fetchone()
        )
        assert keys == (2,)


async def test_a_device_that_is_added_reads_from_then_on(devices: Devices) -> None:
    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        group = (await phone.client.groups.create("Family", ["@bob"])).peer
        await bob.client.send(group, "before")
        await texts(phone, group, "before")
        async with await devices.login("alice") as laptop:
            await link(phone, laptop)
            # bob's device has heard nothing of the laptop: the server says that it is missing.
            await bob.client.send(group, "after")
            await texts(phone, group, "before", "after")
            await texts(laptop, group, "after")
            await laptop.client.send(group, "from the laptop")
            await texts(bob, group, "before", "after", "from the laptop")
            await phone.client.send(group, "from the phone")
            await texts(laptop, group, "after", "from the laptop", "from the phone")
            assert (await laptop.client.groups.get(group)).name == "Family"


async def test_a_removed_device_reads_nothing_more(devices: Devices) -> None:
    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        group = (await phone.client.groups.create("Family", ["@bob"])).peer
        async with signed_out(await devices.login("alice")) as laptop:
            await link(phone, laptop)
            await bob.client.send(group, "for both")
            await texts(laptop, group, "for both")
            await phone.client.devices.sign_out(device_of(laptop))
            await bob.client.send(group, "for the phone")
            await texts(phone, group, "for both", "for the phone")
        given = await in_profile(
            bob,
            lambda database: database.execute(
                "SELECT count(*) FROM given_keys WHERE device_id = ? AND key_id ="
                " (SELECT key_id FROM sender_keys)",
                (int(device_of(laptop)),),
            ).fetchone(),
        )
        assert given == (0,)


async def test_who_joins_by_a_link_reads_the_name_and_what_is_said_from_then_on(devices: Devices) -> None:
    async with (
        await devices.register("alice") as alice,
        await devices.register("bob") as bob,
        await devices.register("carol") as carol,
    ):
        group = await alice.client.groups.create("Choir", ["@bob"], about="Mondays")
        await bob.client.send(group.peer, "before")
        await texts(alice, group.peer, "before")
        invite = await alice.client.groups.link(group)
        preview = await carol.client.groups.preview(invite)
        assert (preview.name, preview.about, preview.sealed) == ("Choir", "Mondays", True)
        joined = await carol.client.groups.join(invite)
        assert joined is not None
        assert (joined.name, joined.about) == ("Choir", "Mondays")
        await bob.client.send(group.peer, "welcome")
        await texts(carol, group.peer, "welcome")
        await carol.client.send(group.peer, "thank you")
        for screen in (alice, bob):
            await texts(screen, group.peer, "before", "welcome", "thank you")
        # Without what stands behind the code, the name stays closed.
        preview = await carol.client.groups.preview(invite.rpartition(".")[0])
        assert preview.name == ""


async def test_who_joins_by_a_link_knows_the_name_on_other_devices_too(devices: Devices) -> None:
    async with (
        await devices.register("alice") as alice,
        await devices.register("carol") as phone,
        await devices.login("carol") as laptop,
    ):
        await link(phone, laptop)
        group = await alice.client.groups.create("Choir")
        assert await phone.client.groups.join(await alice.client.groups.link(group)) is not None
        async with asyncio.timeout(PATIENCE_S):
            while not [one for one in await laptop.client.groups.list() if one.name == "Choir"]:
                await asyncio.sleep(LOOK_S)
        assert not any(warned(screen) for screen in (alice, phone, laptop))


async def test_the_name_is_changed_and_has_another_key_after_a_removal(devices: Devices) -> None:
    async with (
        await devices.register("alice") as alice,
        await devices.register("bob") as bob,
        await devices.register("carol") as carol,
    ):
        group = (await alice.client.groups.create("Choir", ["@bob", "@carol"])).peer
        await alice.client.groups.rename(group, "The choir")

        async def is_called(screen: Screen, name: str) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while (await screen.client.groups.get(group)).name != name:
                    await asyncio.sleep(LOOK_S)

        for screen in (alice, bob, carol):
            await is_called(screen, "The choir")
        await alice.client.groups.remove(group, ["@carol"])
        await alice.client.groups.rename(group, "Without her")
        for screen in (alice, bob):
            await is_called(screen, "Without her")
        assert await count_of(alice, "info_keys") == 2
        assert await count_of(carol, "info_keys") == 1
        assert (await carol.client.groups.get(group)).name == "The choir"
        assert not any(warned(screen) for screen in (alice, bob, carol))
        await all_agree(alice, bob)


@pytest.mark.usefixtures("hasty")
async def test_a_sender_key_that_got_lost_is_asked_for_and_fills_in(devices: Devices) -> None:
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        group = (await alice.client.groups.create("Family", ["@bob"])).peer
        await bob.client.send(group, "1")
        await texts(alice, group, "1")
        await alice.client.send(group, "2")
        await texts(bob, group, "1", "2")

        def forget(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM heard_keys")
            database.execute("DELETE FROM sessions")

        await in_profile(bob, forget)
        await alice.client.send(group, "3")
        found = await texts(bob, group, "1", "2", "3")
        assert not any(one.fault for one in found)
        assert await count_of(bob, "unkeyed") == 0
        await bob.client.send(group, "4")
        await texts(alice, group, "1", "2", "3", "4")
        await all_agree(alice, bob)


@pytest.mark.usefixtures("hasty")
async def test_asking_ends_where_nothing_helps(devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.client.sealing.group_asking.may_answer", lambda *_: False)
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        group = (await alice.client.groups.create("Family", ["@bob"])).peer
        await alice.client.send(group, "1")
        await texts(bob, group, "1")
        await in_profile(bob, lambda database: database.execute("DELETE FROM heard_keys"))
        for number in range(6):
            await alice.client.send(group, f"lost {number}")
        await bob.until(lambda _: [one.fault for one in said(bob, group)].count(Fault.NO_KEY) == 6)
        await bob.client.flushed()
        asked = "SELECT count(asked_ms) FROM unkeyed"
        async with asyncio.timeout(PATIENCE_S):
            while await in_profile(bob, lambda database: database.execute(asked).fetchone()) != (3,):
                await asyncio.sleep(LOOK_S)


async def test_a_larger_group_of_people_without_keys_and_with(devices: Devices) -> None:
    await devices.world.register("erin")  # uses a client that does not encrypt
    async with await devices.register("alice") as alice, await devices.register("bob") as bob:
        group = (await alice.client.groups.create("Family", ["@bob", "@erin"])).peer
        await alice.client.send(group, "for who can read it")
        await texts(bob, group, "for who can read it")


async def test_a_copy_of_a_profile_that_was_restored_uses_no_sender_key_again(
    devices: Devices, tmp_path: Path
) -> None:
    async with await devices.register("bob") as bob:
        alice = await devices.register("alice")
        async with alice:
            group = (await alice.client.groups.create("Family", ["@bob"])).peer
            await alice.client.send(group, "1")
            await texts(bob, group, "1")
        shutil.copytree(alice._profile, tmp_path / "copy")
        async with Screen(devices.world, alice._profile, devices._requests) as again:
            await again.client.send(group, "2")
            await texts(bob, group, "1", "2")
        async with Screen(devices.world, tmp_path / "copy", devices._requests) as copy:
            await copy.client.send(group, "3")
            await texts(bob, group, "1", "2", "3")
            await bob.client.send(group, "4")
            await copy.until(lambda _: "4" in [one.text for one in said(copy, group)])
        assert not any(one.fault for one in said(bob, group))
        assert "repeated" not in warned(bob)


async def test_a_device_that_only_sends_gives_its_key_too(devices: Devices) -> None:
    async with await devices.register("bob") as bob:
        alice = await devices.register("alice")
        async with alice:
            group = (await alice.client.groups.create("Family", ["@bob"])).peer
        surroundings = Surroundings(dial=alice._dial, request=devices._requests)
        async with Client.open(alice._profile, receive=False, surroundings=surroundings) as me:
            await me.send(group, "from a script")
        await texts(bob, group, "from a script")


async def test_members_of_whom_a_device_missed_hearing_are_no_matter_of_warning_in_the_end(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.client.sealing.group_press.TOLD_S", 0.1)
    async with (
        await devices.register("bob") as bob,
        await devices.register("carol") as carol,
    ):
        alice = await devices.register("alice")
        async with alice:
            group = (await alice.client.groups.create("Family", ["@bob"])).peer
            await alice.client.groups.promote(group, ["@bob"])
            await alice.client.send(group, "1")
        await bob.client.groups.add(group, ["@carol"])
        surroundings = Surroundings(dial=alice._dial, request=devices._requests)
        async with Client.open(alice._profile, receive=False, surroundings=surroundings) as me:
            await me.groups.refresh(group)
            await me.send(group, "2")
        await texts(carol, group, "2")
        async with Screen(devices.world, alice._profile, devices._requests) as again:
            await bob.client.send(group, "3")
            await texts(again, group, "1", "2", "3")
            assert not warned(again)


async def test_a_new_device_reads_the_name_before_anybody_writes(devices: Devices) -> None:
    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        group = (await bob.client.groups.create("Family", ["@alice"])).peer
        await phone.until(lambda state: any(chat.peer == group for chat in state.chats))
        async with await devices.login("alice") as laptop:
            await link(phone, laptop)
            async with asyncio.timeout(PATIENCE_S):
                while (await laptop.client.groups.get(group)).name != "Family":
                    await asyncio.sleep(LOOK_S)
            await all_agree(laptop)


async def test_the_picture_is_sealed(devices: Devices, tmp_path: Path) -> None:
    picture = tmp_path / "family.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + b"a picture of all of us")
    async with (
        await devices.register("alice") as alice,
        await devices.register("bob") as bob,
        await devices.register("carol") as carol,
    ):
        group = (await alice.client.groups.create("Family", ["@bob", "@carol"])).peer
        await alice.client.groups.set_picture(group, picture)
        for screen in (alice, bob):
            assert await screen.client.groups.picture(group) == picture.read_bytes()
        await alice.client.groups.remove(group, ["@carol"])
        await alice.client.groups.set_picture(group, picture)
        assert await bob.client.groups.picture(group) == picture.read_bytes()
        with pytest.raises(Refused):
            await carol.client.groups.picture(group)
        rows = await devices.world.services.conversations._store.scan(GROUP_PICTURES, after=None, limit=9)
        assert rows
        assert b"all of us" not in repr(rows).encode()
