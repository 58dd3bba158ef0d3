"""After every action: old state + events == freshly loaded state, on every device, and on a new one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from client.memory_world import Devices, Screen, all_agree, until
from tidings.client import (
    Client,
    ClientError,
    DeleteEvent,
    EditEvent,
    ExpiredEvent,
    Message,
    MessageEvent,
    PastEvent,
    PresenceEvent,
    ReactionEvent,
    RequestEvent,
    SentEvent,
    SettingKind,
    State,
    TypingEvent,
)
from tidings.testing.world import World

pytestmark = pytest.mark.slow


@dataclass
class Cast:
    """Alice with a phone and a laptop, Bob with a phone; they know each other."""

    devices: Devices
    phone: Screen
    laptop: Screen
    bob: Screen

    @property
    def screens(self) -> tuple[Screen, Screen, Screen]:
        return self.phone, self.laptop, self.bob


@pytest.fixture
async def cast(tmp_path: Path) -> AsyncIterator[Cast]:
    async with casting(tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def casting(folder: Path, **settings: object) -> AsyncIterator[Cast]:
    world = await World.start(**settings)  # type: ignore[arg-type]
    devices = Devices(world, folder)
    async with contextlib.AsyncExitStack() as stack:
        phone = await stack.enter_async_context(await devices.register("alice"))
        laptop = await stack.enter_async_context(await devices.login("alice"))
        bob = await stack.enter_async_context(await devices.register("bob"))
        yield Cast(devices, phone, laptop, bob)
    assert world.complaints == []


def texts(state: State, peer: str) -> list[str]:
    return [message.text for message in state.messages(peer)]


def newest(state: State, peer: str) -> Message:
    return state.messages(peer)[-1]


async def settled(cast: Cast) -> None:
    """All screens agree, and so does one of each user that has just been made."""
    await all_agree(*cast.screens)
    for handle, screen in (("alice", cast.phone), ("bob", cast.bob)):
        async with await cast.devices.login(handle) as new:
            # The new device's own making is told to the others.
            await all_agree(screen, new)


async def said(cast: Cast) -> Message:
    """One message from Alice that is everywhere."""
    await cast.phone.client.send("bob", "Supper at sevn")
    for screen, peer in ((cast.phone, "bob"), (cast.laptop, "bob"), (cast.bob, "alice")):
        await screen.until(lambda state, peer=peer: texts(state, peer) == ["Supper at sevn"])
    return newest(cast.bob.state, "alice")


async def everywhere(cast: Cast, condition: Callable[[Message], object]) -> None:
    """The newest message is so on all screens, and all of them agree."""
    for screen, peer in ((cast.phone, "bob"), (cast.laptop, "bob"), (cast.bob, "alice")):
        await screen.until(lambda state, peer=peer: condition(newest(state, peer)))
    await settled(cast)


async def test_a_message_and_its_ticks(cast: Cast) -> None:
    message = await said(cast)
    await cast.phone.until(lambda state: newest(state, "bob").status.name == "DELIVERED")
    assert cast.bob.state.chats[0].unread == 1
    assert isinstance(next(e for e in cast.phone.events if isinstance(e, Message)), SentEvent)
    assert isinstance(next(e for e in cast.laptop.events if isinstance(e, Message)), MessageEvent)
    await settled(cast)
    await cast.bob.client.mark_read("alice")
    await everywhere(cast, lambda one: one.status.name == "READ")
    assert cast.bob.state.chats[0].unread == 0
    times = await cast.laptop.client.messages.info(message)
    assert times.delivered_at is not None
    assert times.read_at is not None
    with pytest.raises(ClientError, match="not_yours"):
        await cast.bob.client.messages.info(message)


async def test_an_edit_and_another(cast: Cast) -> None:
    message = await said(cast)
    await cast.laptop.client.messages.edit(message, "Supper at six")
    await cast.phone.client.messages.edit(message, "Supper at seven")
    await everywhere(cast, lambda one: one.text == "Supper at seven" and one.edited)
    assert [e.text for e in cast.bob.events if isinstance(e, EditEvent)] == [
        "Supper at six",
        "Supper at seven",
    ]
    with pytest.raises(ClientError, match="not_yours"):
        await cast.bob.client.messages.edit(message, "no supper")
    (page,) = [await cast.bob.client.history("alice")]
    assert [one.text for one in page] == ["Supper at seven"]


async def test_reactions_of_both_and_one_taken_back(cast: Cast) -> None:
    message = await said(cast)
    await cast.bob.client.messages.react(message, "👍")
    await cast.laptop.client.messages.react(message, "🍝")
    await everywhere(cast, lambda one: one.reactions == {"bob": "👍", "alice": "🍝"})
    await cast.bob.client.messages.react(message, "❤")
    await cast.phone.client.messages.react(message, "")
    await everywhere(cast, lambda one: one.reactions == {"bob": "❤"})
    assert [e.reaction for e in cast.laptop.events if isinstance(e, ReactionEvent)] == ["👍", "🍝", "❤", ""]


async def test_a_delete_takes_the_content_from_every_disk(cast: Cast) -> None:
    message = await said(cast)
    await cast.phone.client.messages.edit(message, "Supper at seven")
    await cast.bob.client.messages.react(message, "👍")
    await cast.laptop.client.messages.delete(message)
    await everywhere(cast, lambda one: one.deleted and not one.content and not one.reactions)
    assert len([e for e in cast.bob.events if isinstance(e, DeleteEvent)]) == 1
    for screen in cast.screens:
        for file in ("profile.db", "profile.db-wal"):
            await screen.client._open.vault.write(
                lambda database: database.execute("PRAGMA user_version").fetchone()
            )
            data = (screen._profile / file).read_bytes() if (screen._profile / file).exists() else b""
            if file == "profile.db":
                assert b"Supper at seven" not in data
    with pytest.raises(ClientError, match="no_such_message"):
        await cast.phone.client.messages.edit(message, "again")


async def test_replies_and_forwards(cast: Cast) -> None:
    message = await said(cast)
    await cast.bob.client.send("alice", "I'll be late", reply_to=message)
    await everywhere(cast, lambda one: one.reply_to == message.reference)
    await cast.phone.client.messages.forward(newest(cast.phone.state, "bob"), "bob")
    await everywhere(cast, lambda one: one.forwarded and one.text == "I'll be late")


async def test_disappearing_messages(cast: Cast) -> None:
    await said(cast)
    await cast.phone.client.chats.timer("bob", 1000)
    await cast.laptop.until(lambda state: state.chats[0].timer_s == 1000)
    await cast.laptop.client.send("bob", "gone soon")
    await everywhere(cast, lambda one: one.text == "gone soon" and one.expires_at is not None)
    await cast.phone.client.chats.timer("bob", 0)
    await cast.phone.client.send("bob", "gone at once", expires_in_s=1.0)
    await cast.bob.until(lambda state: texts(state, "alice")[-1] == "gone at once")
    cast.devices.world.clock.advance(1001)
    for screen, peer in ((cast.phone, "bob"), (cast.laptop, "bob"), (cast.bob, "alice")):
        screen.tear()  # the server's time is told at each connect
        await screen.until(lambda state, peer=peer: texts(state, peer) == ["Supper at sevn"])
        assert len([e for e in screen.events if isinstance(e, ExpiredEvent)]) == 2
    await settled(cast)


async def test_what_devices_share(cast: Cast) -> None:
    message = await said(cast)
    me = cast.phone.client
    await me.chats.pin("bob")
    await me.chats.archive("bob")
    await me.chats.mute("bob", for_s=3600)
    await me.chats.draft("bob", "What I always")
    await me.messages.star(message)
    await me.people.add("bob", nickname="Bobby")
    await me.people.set_privacy("last_seen", "nobody")
    await cast.laptop.until(lambda state: (SettingKind.PRIVACY, "last_seen") in state.settings)
    (chat,) = cast.laptop.state.chats
    assert (chat.pinned, chat.archived, chat.draft) == (True, True, "What I always")
    assert chat.muted_until > 0
    assert [one.text for one in await cast.laptop.client.messages.starred()] == ["Supper at sevn"]
    assert [(one.handle, one.nickname) for one in await cast.laptop.client.people.contacts()] == [
        ("bob", "Bobby")
    ]
    assert (await cast.laptop.client.people.privacy())["last_seen"] == "nobody"
    await settled(cast)
    there = cast.laptop.client
    await there.chats.pin("bob", pinned=False)
    await there.chats.archive("bob", archived=False)
    await there.chats.unmute("bob")
    await there.chats.draft("bob", "")
    await there.messages.star(message, starred=False)
    await there.people.remove("bob")
    await cast.phone.until(
        lambda state: (
            set(state.settings) == {(SettingKind.ACCOUNT, "devices"), (SettingKind.PRIVACY, "last_seen")}
        )
    )
    await settled(cast)


async def test_what_is_hidden_is_hidden_on_all_own_devices_only(cast: Cast) -> None:
    message = await said(cast)
    await cast.laptop.client.messages.hide(message)
    await cast.phone.until(lambda state: texts(state, "bob") == [])
    assert texts(cast.bob.state, "alice") == ["Supper at sevn"]
    assert await cast.phone.client.history("bob") == []
    assert await cast.phone.client.messages.recent("bob") == []
    await settled(cast)


async def test_blocks(cast: Cast) -> None:
    await said(cast)
    await cast.phone.client.people.block("bob")
    await cast.laptop.until(lambda state: state.chats[0].blocked)
    await cast.bob.client.send("alice", "are you there?")
    await settled(cast)
    assert texts(cast.phone.state, "bob") == ["Supper at sevn"]
    assert [one.handle for one in await cast.laptop.client.people.blocked()] == ["bob"]
    await cast.laptop.client.people.unblock("bob")
    await cast.bob.client.send("alice", "hello?")
    await cast.phone.until(lambda state: texts(state, "bob") == ["Supper at sevn", "hello?"])
    await settled(cast)


async def test_requests(tmp_path: Path) -> None:
    async with casting(tmp_path, strangers="request") as cast:
        await cast.bob.client.send("alice", "hi")
        await cast.bob.client.send("alice", "it's me")
        for screen in (cast.phone, cast.laptop):
            await screen.until(lambda state: [one.count for one in state.requests] == [2])
        assert cast.phone.state.chats == []
        await settled(cast)
        assert [one.peer for one in await cast.laptop.client.people.requests()] == ["bob"]
        await cast.laptop.client.people.accept("bob")
        await cast.phone.until(lambda state: not state.requests and texts(state, "bob") == ["hi", "it's me"])
        assert [e.count for e in cast.phone.events if isinstance(e, RequestEvent)][-1] == 0
        await settled(cast)
        with pytest.raises(ClientError, match="there is no request"):
            await cast.phone.client.people.accept("alice")


async def test_a_request_declined_and_accepted_after_all(tmp_path: Path) -> None:
    async with casting(tmp_path, strangers="request") as cast:
        await cast.bob.client.send("alice", "hi")
        await cast.phone.until(lambda state: state.requests)
        await cast.phone.client.people.decline("bob")
        await cast.laptop.until(lambda state: not state.requests)
        await settled(cast)
        await cast.phone.client.people.accept("bob")
        await cast.laptop.until(lambda state: texts(state, "bob") == ["hi"])
        await settled(cast)


async def test_an_edit_a_reaction_and_a_delete_on_a_device_that_was_off(cast: Cast) -> None:
    first = await said(cast)
    await cast.phone.client.send("bob", "and bring wine")
    await cast.laptop.until(lambda state: len(texts(state, "bob")) == 2)
    cast.laptop.is_offline = True
    cast.laptop.tear()
    await cast.phone.client.messages.edit(first, "Supper at seven")
    await cast.bob.client.messages.react(first, "👍")
    await cast.phone.client.messages.delete(newest(cast.phone.state, "bob"))
    await cast.phone.client.chats.pin("bob")
    await cast.bob.client.mark_read("alice")
    cast.laptop.is_offline = False
    await cast.laptop.until(lambda state: newest(state, "bob").deleted and state.chats[0].pinned)
    message = cast.laptop.state.messages("bob")[0]
    assert (message.text, message.reactions) == ("Supper at seven", {"bob": "👍"})
    await settled(cast)


async def test_presence_and_typing(cast: Cast) -> None:
    await said(cast)
    (bob,) = await cast.phone.client.presence.watch(["@bob"])
    assert bob.online
    await cast.bob.client.chats.typing("alice")
    await until(lambda: [e for e in cast.phone.events if isinstance(e, TypingEvent) and e.active])
    assert not [e for e in cast.bob.events if isinstance(e, TypingEvent)]
    cast.bob.is_offline = True
    cast.bob.tear()
    cast.devices.world.clock.advance(3)
    cast.devices.world.services.presence.sweep()
    await until(lambda: [e for e in cast.phone.events if isinstance(e, PresenceEvent) and not e.online])
    # After a reconnect those who are watched are named again.
    cast.phone.tear()
    cast.bob.is_offline = False
    await until(lambda: [e for e in cast.phone.events if isinstance(e, PresenceEvent) and e.online])


async def test_a_new_device_is_told_the_past_as_such(cast: Cast) -> None:
    message = await said(cast)
    await cast.bob.client.messages.react(message, "👍")
    await cast.bob.client.send("alice", "fine")
    async with await cast.devices.login("alice") as new:
        await all_agree(cast.phone, new)
        assert [e.text for e in new.events if isinstance(e, PastEvent)] == ["Supper at sevn", "fine"]
        assert not [e for e in new.events if isinstance(e, MessageEvent)]
        await cast.bob.client.send("alice", "news")
        await new.until(lambda state: texts(state, "bob")[-1] == "news")
        assert [e.text for e in new.events if isinstance(e, MessageEvent)] == ["news"]


async def test_what_is_done_offline_goes_out_later_and_holds_at_once(cast: Cast) -> None:
    message = await said(cast)
    cast.phone.is_offline = True
    cast.phone.tear()
    for doing in (
        cast.phone.client.chats.pin("bob"),
        cast.phone.client.chats.draft("bob", "one"),
        cast.phone.client.chats.draft("bob", "two"),
        cast.phone.client.messages.edit(message, "Supper at eight"),
    ):
        await impatiently(doing)
    await cast.phone.until(lambda state: state.chats[0].pinned and state.chats[0].draft == "two")
    await cast.laptop.client.chats.draft("bob", "from the laptop")
    cast.phone.is_offline = False
    # What this device had not sent yet is the later change.
    await cast.laptop.until(lambda state: state.chats[0].pinned and state.chats[0].draft == "two")
    await everywhere(cast, lambda one: one.text == "Supper at eight")
    await cast.phone.client.flushed()


async def impatiently(doing: Awaitable[object]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await doing


@pytest.mark.parametrize("seed", range(12))
async def test_any_actions_in_any_order_on_broken_connections(cast: Cast, seed: int) -> None:
    """Random actions by all three devices, each of which is cut off now and then."""
    random = Random(seed)
    pending: list[Awaitable[object]] = []
    for _ in range(60):
        screen = random.choice(cast.screens)
        peer = "alice" if screen is cast.bob else "bob"
        messages = screen.state.messages(peer)
        me = screen.client
        message = random.choice(messages) if messages else None
        match random.randrange(14):
            case 0 | 1 | 2 | 3:
                doing: Awaitable[object] = me.send(peer, f"{random.random()}")
            case 4 if message:
                doing = me.send(peer, "indeed", reply_to=message)
            case 5 | 6 if message:
                doing = me.messages.edit(message, f"edited {random.random()}")
            case 7 | 8 if message:
                doing = me.messages.react(message, random.choice("👍👎❤") if random.random() < 0.7 else "")
            case 9 if message:
                doing = me.messages.delete(message)
            case 10:
                doing = me.mark_read(peer)
            case 11 if message:
                doing = me.messages.star(message, starred=random.random() < 0.6)
            case 12:
                doing = me.chats.pin(peer, pinned=random.random() < 0.5)
            case _:
                screen.tear()
                continue
        pending.append(asyncio.ensure_future(doing))
        if random.random() < 0.3:
            await asyncio.sleep(0.002)
    outcomes = await asyncio.gather(*pending, return_exceptions=True)
    unexpected = [one for one in outcomes if isinstance(one, BaseException) and not is_refusal(one)]
    assert unexpected == []
    await settled(cast)


def is_refusal(error: BaseException) -> bool:
    return isinstance(error, ClientError) and any(
        name in str(error) for name in ("not_yours", "no_such_message", "too_large")
    )


async def test_a_state_is_bounded(cast: Cast) -> None:
    me: Client = cast.phone.client
    for number in range(60):
        await me.send("bob", str(number))
    await cast.bob.until(lambda state: texts(state, "alice")[-1] == "59")
    assert texts(cast.bob.state, "alice") == [str(number) for number in range(10, 60)]
    await all_agree(*cast.screens)
