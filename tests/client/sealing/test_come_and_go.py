"""Devices that come and go at bad moments: what the simulation found (see docs/reference/reliability.md)."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import tidings_core as core

from client.memory_world import LOOK_S, PATIENCE_S, Devices, Screen, until
from client.sealing.test_clients import device_of, in_profile, link, signed_out, texts, warned
from client.sealing.test_sealing import ALICE, BOB, Four, kinds, overdue, text
from tidings.client import Client, Refused, Surroundings, transcript
from tidings.client.errors import ClientError, Unreachable
from tidings.client.sealing import asking, chains, lists, own, press
from tidings.client.sealing.linking import Linking
from tidings.client.sealing.opener import is_of_other_identity
from tidings.client.sealing.publishing import listed, sign
from tidings.client.sealing.supplies import Supplies
from tidings.client.values import Fault
from tidings.domain.list_changes import ListChanges
from tidings.protocol.errors import OVERLOADED, ProtocolError
from tidings.protocol.frames import Relation
from tidings.protocol.limits import Limits, Rate
from tidings.testing.world import PASSWORD, World


@pytest.fixture
async def devices(tmp_path: Path) -> AsyncIterator[Devices]:
    world = await World.start(limits=Limits(account_rate=Rate(per_s=1000, burst=1000)))
    yield Devices(world, tmp_path, sealed=True)
    assert not world.complaints


@pytest.fixture
def four() -> Four:
    return Four()


async def known_to(screen: Screen, other: Screen) -> lists.Listed:
    """The devices of another one's user, as a profile has them."""
    assert other.client._parts is not None
    user_id = other.client._parts.me.user_id
    known = await in_profile(screen, lambda database: lists.known(database, user_id))
    assert isinstance(known, lists.Listed)
    return known


async def linked(screen: Screen) -> None:
    """Wait until a device is in."""
    async with asyncio.timeout(PATIENCE_S):
        while not await screen.client.devices.is_linked():
            await asyncio.sleep(LOOK_S)


async def gone(screen: Screen) -> None:
    """Wait until a program has ended, because its device was taken out."""
    await until(lambda: screen._task is not None and screen._task.done())


def cut_off(patch: pytest.MonkeyPatch, times: int = 1) -> None:
    """The answers to devices get lost, so many times."""
    hand_over, left = Linking._hand_over, [None] * times

    async def lost(self: Linking, *arguments: Any) -> None:
        if left:
            left.pop()
            raise Unreachable("the connection broke")
        await hand_over(self, *arguments)

    patch.setattr(Linking, "_hand_over", lost)


# --- in -----------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_device_that_is_listed_and_was_not_answered_is_let_in_by_another_code(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(monkeypatch)
    async with await devices.register("alice") as phone, await devices.login("alice") as laptop:
        with pytest.raises(Unreachable):
            await phone.client.devices.approve(await laptop.client.devices.link_code())
        assert not await laptop.client.devices.is_linked()
        await link(phone, laptop)
        assert await laptop.client.devices.is_linked()


@pytest.mark.slow
async def test_the_answer_to_the_code_before_is_taken_and_is_no_forgery(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await devices.register("alice") as phone, await devices.login("alice") as laptop:
        code = await laptop.client.devices.link_code()
        hand_over = Linking._hand_over

        async def late(self: Linking, *arguments: Any) -> None:
            await laptop.client.devices.link_code()
            await hand_over(self, *arguments)

        monkeypatch.setattr(Linking, "_hand_over", late)
        await phone.client.devices.approve(code)
        await laptop.client.devices.linked()
        assert not warned(laptop)


@pytest.mark.slow
async def test_two_programs_that_publish_a_first_device_at_once_make_one_identity(devices: Devices) -> None:
    phone = await devices.register("alice")
    both, is_listed, request = asyncio.Barrier(2), asyncio.Event(), phone._requests
    came: list[str] = []

    async def together(
        method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        if not url.endswith("/keys/devices"):
            return await request(method, url, body, headers)
        came.append(url)
        is_first = len(came) == 1
        await both.wait()
        if not is_first:
            await is_listed.wait()
        answer = await request(method, url, body, headers)
        is_listed.set()
        return answer

    phone._requests = together
    beside = Client.open(
        phone._profile, receive=False, surroundings=Surroundings(dial=phone._dial, request=together)
    )
    async with asyncio.timeout(PATIENCE_S), beside, phone:
        await linked(phone)


# --- out ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("is_stolen", [False, True])
async def test_a_device_whose_taking_out_failed_half_way_is_taken_out_by_the_next_try(
    devices: Devices, monkeypatch: pytest.MonkeyPatch, *, is_stolen: bool
) -> None:
    async def fails(*_: object) -> None:
        raise ProtocolError(OVERLOADED)

    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        async with signed_out(await devices.login("alice")) as laptop:
            await link(phone, laptop)
            await bob.client.send("@alice", "1")
            await texts(phone, "bob", "1")
            before, out = (await known_to(bob, phone)).identity, device_of(laptop)

            async def take_out() -> None:
                if is_stolen:
                    await phone.client.devices.revoke_stolen(out, PASSWORD)
                else:
                    await phone.client.devices.sign_out(out)

            with monkeypatch.context() as patch:
                patch.setattr(ListChanges, "_replace", fails)  # it is logged out by then
                with pytest.raises(Refused):
                    await take_out()
            await gone(laptop)
        await take_out()
        await bob.client.send("@alice", "2")
        await texts(phone, "bob", "1", "2")
        known = await known_to(bob, phone)
        assert [str(one.device_id) for one in known.devices] == [device_of(phone)]
        assert not known.gone
        assert (known.identity != before) == is_stolen


# --- another identity ---------------------------------------------------------------------------


@pytest.mark.slow
async def test_another_identity_is_handed_over_in_the_end(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await devices.register("alice") as phone, await devices.login("alice") as laptop:
        await link(phone, laptop)
        async with signed_out(await devices.login("alice")) as stolen:
            await link(phone, stolen)
            cut_off(monkeypatch, 2)
            with pytest.raises(Unreachable):
                await phone.client.devices.revoke_stolen(device_of(stolen), PASSWORD)
            await gone(stolen)
        phone.tear()
        await linked(laptop)


@pytest.mark.slow
async def test_an_identity_is_handed_over_in_the_end_though_the_one_before_it_is_done_later(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await devices.register("alice") as phone, await devices.login("alice") as laptop:
        await link(phone, laptop)
        async with (
            signed_out(await devices.login("alice")) as stolen,
            signed_out(await devices.login("alice")) as another,
        ):
            for screen in (stolen, another):
                await link(phone, screen)
            may_go_on, is_asked, hand_over = asyncio.Event(), asyncio.Event(), Linking._hand_over

            async def late(self: Linking, *arguments: Any) -> None:
                is_asked.set()
                await may_go_on.wait()
                await hand_over(self, *arguments)

            with monkeypatch.context() as patch:
                patch.setattr(Linking, "_hand_over", late)
                revoking = asyncio.ensure_future(
                    phone.client.devices.revoke_stolen(device_of(stolen), PASSWORD)
                )
                await is_asked.wait()
            with monkeypatch.context() as patch:
                cut_off(patch, 100)
                with pytest.raises(Unreachable):
                    await phone.client.devices.revoke_stolen(device_of(another), PASSWORD)
                may_go_on.set()
                await revoking
            await gone(stolen)
            await gone(another)
        phone.tear()
        await linked(laptop)


@pytest.mark.slow
async def test_of_two_tries_for_another_identity_either_may_be_the_one_that_counts(devices: Devices) -> None:
    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        request, under_way = phone._requests, []

        async def late(
            method: str, url: str, body: bytes | None, headers: dict[str, str]
        ) -> tuple[int, bytes]:
            if not url.endswith("/keys/devices"):
                return await request(method, url, body, headers)
            if not under_way:
                under_way.append((method, url, body, headers))
                raise Unreachable("the server does not answer")
            assert (await request(*under_way[0]))[0] == 200  # it was under way all the time
            return await request(method, url, body, headers)

        async with signed_out(await devices.login("alice")) as stolen:
            await link(phone, stolen)
            before, out = (await known_to(phone, phone)).identity, device_of(stolen)
            surroundings = Surroundings(dial=phone._dial, request=late)
            async with Client.open(phone._profile, receive=False, surroundings=surroundings) as beside:
                with pytest.raises(Unreachable):
                    await beside.devices.revoke_stolen(out, PASSWORD)
                with contextlib.suppress(ClientError):  # it is out already
                    await beside.devices.revoke_stolen(out, PASSWORD)
            await gone(stolen)
        await linked(phone)
        await bob.client.send("@alice", "1")
        await texts(phone, "bob", "1")
        assert (await known_to(bob, phone)).identity != before


@pytest.mark.slow
async def test_what_is_written_before_another_identity_has_come_waits_for_it(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        await devices.register("alice") as phone,
        await devices.register("bob") as bob,
        await devices.login("alice") as laptop,
    ):
        await link(phone, laptop)
        await laptop.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        async with signed_out(await devices.login("alice")) as stolen:
            await link(phone, stolen)
            may_go_on = asyncio.Event()
            hand_over = Linking._hand_over

            async def late(self: Linking, *arguments: Any) -> None:
                await may_go_on.wait()
                await hand_over(self, *arguments)

            monkeypatch.setattr(Linking, "_hand_over", late)
            revoking = asyncio.ensure_future(phone.client.devices.revoke_stolen(device_of(stolen), PASSWORD))
            await until(lambda: "identity_changed" in warned(laptop))
            sending = asyncio.ensure_future(laptop.client.send("@bob", "2"))
            await bob.client.send("@alice", "3")
            await texts(laptop, "bob", "1", "3")
            may_go_on.set()
            await revoking
            await gone(stolen)
        await sending
        await texts(bob, "alice", "1", "2", "3")


@pytest.mark.slow
async def test_who_missed_another_identity_learns_by_a_later_list_that_it_was_signed(
    devices: Devices,
) -> None:
    async with (
        await devices.register("alice") as phone,
        await devices.register("bob") as bob,
        await devices.login("alice") as laptop,
    ):
        await link(phone, laptop)
        await phone.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        async with signed_out(await devices.login("alice")) as stolen:
            await link(phone, stolen)
            for screen in (bob, laptop):
                screen.is_offline = True
                screen.tear()
            await phone.client.devices.revoke_stolen(device_of(stolen), PASSWORD)
            await gone(stolen)
        async with await devices.login("alice") as tablet:
            await link(phone, tablet)
            for screen in (bob, laptop):
                screen.is_offline = False
            await bob.client.send("@alice", "2")
            await texts(tablet, "bob", "2")
            await texts(laptop, "bob", "1", "2")
            await linked(laptop)
        await until(lambda: warned(bob) == warned(laptop) == ["identity_changed"])


@pytest.mark.slow
async def test_a_list_that_is_not_gone_by_is_not_tried_without_end(
    devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(press, "LOOK_S", 0.01)
    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        async with signed_out(await devices.login("alice")) as laptop:
            await link(phone, laptop)
            await bob.client.send("@alice", "1")
            await texts(laptop, "bob", "1")
            await phone.client.devices.sign_out(device_of(laptop))
            await gone(laptop)

        async def nothing(*_: Any) -> None:
            """As if nothing that the server tells was right."""

        monkeypatch.setattr(Supplies, "take", nothing)
        with pytest.raises(Refused, match="does not know"):
            await bob.client.send("@alice", "2")


@pytest.mark.slow
async def test_what_was_sealed_ahead_follows_what_had_to_be_sealed_again(devices: Devices) -> None:
    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        async with signed_out(await devices.login("alice")) as laptop:
            await link(phone, laptop)
            await bob.client.send("@alice", "1")
            await texts(laptop, "bob", "1")
            await phone.client.devices.sign_out(device_of(laptop))
            await gone(laptop)
        await asyncio.gather(*(bob.client.send("@alice", str(number)) for number in range(2, 9)))
        await texts(phone, "bob", *(str(number) for number in range(1, 9)))
        assert not warned(phone)


def test_a_key_for_an_identity_that_is_not_known_yet_is_recognised(four: Four) -> None:
    bob, laptop = four.bob, four.alice2
    laptop.open(bob.send(ALICE, "1"))
    mine, fresh = four.alice.own.identity, core.SigningKey.generate()
    assert mine is not None
    both = [listed(device.own, device.me) for device in (four.alice, laptop)]
    four.office.lists[ALICE] = sign(fresh, four.alice.me, 3, both, mine)
    bob.learn(ALICE)  # before the laptop does
    post = bob.send(ALICE, "2")
    envelope = post.sealed.envelopes[laptop.me.device_id]
    assert is_of_other_identity(laptop.database, laptop.me, post.message(), envelope)
    assert laptop.open(post).fault == Fault.NO_KEY
    laptop.learn(ALICE)
    assert not is_of_other_identity(laptop.database, laptop.me, post.message(), envelope)
    assert text(laptop.open(post)) == "2"


def test_a_key_for_the_identity_before_is_opened(four: Four) -> None:
    bob, laptop = four.bob, four.alice2
    laptop.open(bob.send(ALICE, "1"))
    laptop.database.execute("DELETE FROM sessions")
    bob.database.execute("DELETE FROM sessions")
    late = bob.send(ALICE, "2")
    mine, fresh = four.alice.own.identity, core.SigningKey.generate()
    assert mine is not None
    both = [listed(device.own, device.me) for device in (four.alice, laptop)]
    four.office.lists[ALICE] = sign(fresh, four.alice.me, 3, both, mine)
    laptop.learn(ALICE)
    assert text(laptop.open(late)) == "2"


@pytest.mark.slow
async def test_a_device_that_was_added_meanwhile_is_sent_the_key_of_a_delete(devices: Devices) -> None:
    async with await devices.register("alice") as phone, await devices.register("bob") as bob:
        sent = await bob.client.send("@alice", "1")
        await texts(phone, "bob", "1")
        async with await devices.login("alice") as laptop:
            await link(phone, laptop)
            await bob.client.messages.delete(sent)
            async with asyncio.timeout(PATIENCE_S):
                query = "SELECT fault FROM messages WHERE relation = 3"
                while await in_profile(laptop, lambda database: database.execute(query).fetchall()) != [(0,)]:
                    await asyncio.sleep(LOOK_S)


# --- copies -------------------------------------------------------------------------------------


def test_a_copy_that_tries_often_to_connect_is_noticed_all_the_same(four: Four) -> None:
    database = four.alice.database
    assert not own.is_copy(database, own.next_generation(database), 0)
    told = [own.next_generation(database) for _ in range(9)]  # and nobody answers
    assert own.is_copy(database, told[-1], 2)
    assert not own.is_copy(database, own.next_generation(database), 2)


@pytest.mark.slow
async def test_a_copy_gives_no_key_for_what_was_accepted_in_its_other_life(
    devices: Devices, tmp_path: Path
) -> None:
    async with await devices.register("bob") as bob:
        alice = await devices.register("alice")
        async with alice:
            await alice.client.send("@bob", "1")
            await texts(bob, "alice", "1")
            alice.is_offline = True
            alice.tear()
            sending = asyncio.ensure_future(alice.client.send("@bob", "2"))
            query = "SELECT count(*) FROM outbox"
            async with asyncio.timeout(PATIENCE_S):
                while await in_profile(alice, lambda database: database.execute(query).fetchone()) != (1,):
                    await asyncio.sleep(LOOK_S)
            shutil.copytree(alice._profile, tmp_path / "copy")
            alice.is_offline = False
            name = (await sending).client_id
            await texts(bob, "alice", "1", "2")
        async with Screen(devices.world, tmp_path / "copy", devices._requests) as copy:
            await copy.client.flushed()
            query = "SELECT count(*) FROM message_keys WHERE client_id = ?"
            found = await in_profile(copy, lambda database: database.execute(query, (name,)).fetchone())
            assert found == (0,)
            await copy.client.send("@bob", "3")
            await texts(bob, "alice", "1", "2", "3")
        assert not warned(bob)


# --- chains -------------------------------------------------------------------------------------


def test_what_was_said_before_a_device_first_heard_may_come_later(four: Four) -> None:
    before, first = four.alice.send(BOB, "1"), four.alice.send(BOB, "2")
    assert text(four.bob.open(first)) == "2"
    assert text(four.bob.open(before)) == "1"
    assert kinds(four.bob) == []


def test_what_comes_after_it_was_told_missing_is_not_one_too_many(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    late = four.alice.send(BOB, "2")
    four.bob.open(four.alice.send(BOB, "3"))
    assert overdue(four.bob) == ["missing"]
    assert text(four.bob.open(late)) == "2"
    assert kinds(four.bob) == ["missing"]


def test_what_waits_for_its_key_is_not_missing(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    unread = four.alice.send(BOB, "2")
    message = unread.message()
    me = transcript.Self(BOB, four.bob.me.device_id, "bob")
    transcript.add(four.bob.database, message, me, transcript.Origin.INBOX, fault=Fault.NO_KEY)
    asking.keep_unopened(four.bob.database, message, message.content)
    four.bob.open(four.alice.send(BOB, "3"))
    assert overdue(four.bob) == []


def test_what_another_device_deleted_is_excused(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    gone = four.alice.send(BOB, "2")
    delete = four.alice2.send(BOB, "", relation=Relation.DELETE, relates_to=gone.name, content_type="")
    four.alice.open(delete)
    four.bob.open(four.alice.send(BOB, "3"))
    assert overdue(four.bob) == []


def test_what_is_sealed_again_is_followed_as_it_is_now(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    first, second = four.alice.writing(BOB, "2"), four.alice.writing(BOB, "3")
    four.alice.seal(first)
    four.alice.seal(second)
    again = four.alice.seal(first)
    later = four.alice.seal(second)
    place = chains.place(four.alice.database, second.conversation_id, second.client_id, 0)
    assert place.previous == chains.link(again.content)
    assert later.content
