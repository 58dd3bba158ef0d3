"""Groups on a node in memory: after every action, old state + events == fresh state, on all screens."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.memory_world import LOOK_S, Devices, Screen, all_agree, until
from tidings.client import (
    ClientError,
    FailedEvent,
    Group,
    GroupEvent,
    GroupRole,
    Message,
    MessageEvent,
    Refused,
    Rules,
    State,
    TallyEvent,
    VoteEvent,
)
from tidings.client.contents import MARKED
from tidings.protocol.limits import Limits
from tidings.testing.world import World

pytestmark = pytest.mark.slow

PICTURE = b"\x89PNG\r\n\x1a\n"


@dataclass
class Cast:
    """Alice with a phone and a laptop, Bob and Carol with phones, all in a group that Alice made."""

    devices: Devices
    phone: Screen
    laptop: Screen
    bob: Screen
    carol: Screen
    family: Group

    @property
    def screens(self) -> list[Screen]:
        return [self.phone, self.laptop, self.bob, self.carol]


@pytest.fixture
async def cast(tmp_path: Path) -> AsyncIterator[Cast]:
    world = await World.start()
    devices = Devices(world, tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        phone = await stack.enter_async_context(await devices.register("alice"))
        laptop = await stack.enter_async_context(await devices.login("alice"))
        bob = await stack.enter_async_context(await devices.register("bob"))
        carol = await stack.enter_async_context(await devices.register("carol"))
        family = await phone.client.groups.create("Family", ["@bob", "carol"], about="All of us")
        made = Cast(devices, phone, laptop, bob, carol, family)
        for screen in made.screens:
            await screen.until(lambda state: len(state.messages(family.peer)) == 1)
        yield made
    assert world.complaints == []


def newest(state: State, group: Group) -> Message:
    return state.messages(group.peer)[-1]


async def everywhere(cast: Cast, text: str) -> None:
    """The newest line in the group is this on all screens, and they agree; so does a new device."""
    for screen in cast.screens:
        await screen.until(lambda state: newest(state, cast.family).text == text)
    await all_agree(*cast.screens)


async def test_what_is_said_is_heard_by_all_with_its_sender(cast: Cast) -> None:
    sent = await cast.bob.client.send("#family", "Supper?")
    await everywhere(cast, "Supper?")
    assert [newest(screen.state, cast.family).sender for screen in cast.screens] == ["bob"] * 4
    await cast.carol.client.send(cast.family.peer, "At seven", reply_to=newest(cast.carol.state, cast.family))
    await everywhere(cast, "At seven")
    assert newest(cast.phone.state, cast.family).reply_to == sent.reference
    history = await cast.laptop.client.history("#Family")
    assert [(one.sender, one.text) for one in history[1:]] == [("bob", "Supper?"), ("carol", "At seven")]
    assert [chat.title for chat in await cast.carol.client.chats.list()] == ["Family"]
    async with await cast.devices.login("bob") as new:
        await new.until(lambda state: len(state.messages(cast.family.peer)) == 3)
        await all_agree(cast.bob, new)


async def test_counts_of_who_has_read(cast: Cast) -> None:
    sent = await cast.phone.client.send(cast.family.peer, "Hello")
    for screen in (cast.phone, cast.laptop):
        await screen.until(lambda state: (newest(state, cast.family).tally or (0,))[0] == 2)
    await cast.bob.client.mark_read("#Family")
    await cast.phone.until(lambda state: (newest(state, cast.family).tally or (0, 0))[1] == 1)
    assert newest(cast.phone.state, cast.family).status.name == "DELIVERED"
    times = await cast.phone.client.messages.receipts(sent)
    assert [(one.handle, one.read_at is not None) for one in times] == [("bob", True), ("carol", False)]
    assert (await cast.phone.client.messages.info(sent)).read_at is None
    cast.laptop.is_offline = True
    cast.laptop.tear()
    await cast.carol.client.mark_read("#Family")
    await cast.phone.until(lambda state: newest(state, cast.family).status.name == "READ")
    cast.laptop.is_offline = False
    await cast.laptop.until(lambda state: newest(state, cast.family).status.name == "READ")
    await all_agree(*cast.screens)
    assert any(isinstance(event, TallyEvent) for event in cast.laptop.events)
    (item,) = await cast.laptop.client.history("#Family", limit=1)
    assert item.tally == (2, 2, 2)


async def test_mentions_polls_and_votes(cast: Cast) -> None:
    await cast.phone.client.send(cast.family.peer, "What says @Bob, and @dave?")
    await everywhere(cast, "What says @Bob, and @dave?")
    assert [newest(one.state, cast.family).mentions_me for one in cast.screens] == [False, False, True, False]
    assert newest(cast.bob.state, cast.family).content_type == MARKED
    asked = await cast.bob.client.messages.poll("#Family", "When?", ["six", "seven"])
    await everywhere(cast, "When?")
    poll = newest(cast.carol.state, cast.family)
    await cast.carol.client.messages.vote(poll, [0])
    await cast.phone.client.messages.vote(newest(cast.phone.state, cast.family), [1])
    await cast.carol.client.messages.vote(poll, [1])
    for screen in cast.screens:
        await screen.until(lambda state: newest(state, cast.family).votes == {0: [], 1: ["alice", "carol"]})
    await cast.carol.client.messages.vote(poll, [])
    for screen in cast.screens:
        await screen.until(lambda state: newest(state, cast.family).votes == {0: [], 1: ["alice"]})
    await all_agree(*cast.screens)
    assert len([one for one in cast.bob.events if isinstance(one, VoteEvent)]) == 4
    for options, fault in (([2], "options 0 to 1"), ([0, 1], "only one")):
        with pytest.raises(ClientError, match=fault):
            await cast.bob.client.messages.vote(asked, options)
    with pytest.raises(ClientError, match="options"):
        await cast.bob.client.messages.poll("#Family", "When?", ["never"])
    (shown,) = await cast.carol.client.history("#Family", limit=1)
    assert shown.votes == {0: [], 1: ["alice"]}


async def test_what_is_changed_in_a_group_is_told(cast: Cast) -> None:
    groups = cast.phone.client.groups
    await groups.rename("#Family", "Clan")
    await everywhere(cast, "alice calls the group “Clan”: All of us")
    await groups.promote(cast.family, ["bob"])
    await everywhere(cast, "alice made bob an admin")
    await cast.bob.client.groups.set_rules(cast.family, write=GroupRole.ADMIN, approval=True)
    await everywhere(
        cast,
        "bob changed the rules: admins may write, admins add, admins edit;"
        " who comes by a link is let in first",
    )
    for screen in cast.screens:
        (group,) = screen.state.groups
        assert (group.name, group.about, group.rules.write) == ("Clan", "All of us", GroupRole.ADMIN)
    assert [group.role for screen in cast.screens for group in screen.state.groups] == [2, 2, 1, 0]
    with pytest.raises(Refused, match="group_rights"):
        await cast.carol.client.send("#Clan", "May I?")
    sent = await cast.bob.client.send("#Clan", "Read this")
    await cast.bob.client.groups.pin(sent)
    await everywhere(cast, "bob pinned a message")
    assert [pin.message_id for pin in cast.carol.state.groups[0].pins] == [sent.message_id]
    await cast.phone.client.groups.transfer("#Clan", "@bob")
    await everywhere(cast, "alice handed the group over to bob")
    await cast.phone.client.groups.leave("#Clan")
    await cast.phone.until(lambda state: not state.groups)
    await cast.laptop.until(lambda state: not state.groups)
    await cast.bob.until(lambda state: newest(state, cast.family).text == "alice left")
    members = await cast.carol.client.groups.members("#Clan")
    assert [(one.handle, one.role) for one in members] == [
        ("bob", GroupRole.OWNER),
        ("carol", GroupRole.MEMBER),
    ]
    await all_agree(*cast.screens)


async def test_links_and_who_waits(cast: Cast) -> None:
    groups = cast.phone.client.groups
    await groups.set_rules(cast.family, approval=True)
    link = await groups.link(cast.family, expires_in_s=3600)
    async with await cast.devices.register("dave") as dave:
        found = await dave.client.groups.preview(link)
        assert (found.name, found.count, found.made_by, found.approval) == ("Family", 3, "alice", True)
        assert await dave.client.groups.join(link) is None
        await cast.laptop.until(lambda state: state.groups[0].waiting == ("dave",))
        await groups.turn_away(cast.family, ["dave"])
        await cast.laptop.until(lambda state: state.groups[0].waiting == ())
        assert await dave.client.groups.join(link) is None
        await cast.laptop.client.groups.let_in(cast.family, ["dave"])
        await dave.until(lambda state: [group.name for group in state.groups] == ["Family"])
        await cast.bob.until(lambda state: newest(state, cast.family).text == "alice added dave")
        await dave.client.send("#Family", "Thank you")
        await everywhere(cast, "Thank you")
        await all_agree(dave, *cast.screens)
        assert len((await groups.refresh("#Family")).links) == 1
        assert (await groups.unlink("#Family")).links == ()
        with pytest.raises(Refused, match="bad_link"):
            await dave.client.groups.preview(link)


async def test_who_is_removed_and_who_sends_without_knowing(cast: Cast) -> None:
    cast.bob.is_offline = True
    cast.bob.tear()
    waiting = asyncio.ensure_future(cast.bob.client.send("#Family", "I am late"))
    too_late = asyncio.ensure_future(cast.carol.client.send("#Family", "before"))
    await too_late
    await cast.phone.client.groups.remove("#Family", ["carol"])
    await cast.carol.until(lambda state: not state.groups)
    cast.bob.is_offline = False
    await waiting
    await cast.phone.until(lambda state: newest(state, cast.family).text == "I am late")
    with pytest.raises(Refused, match="no_such_conversation"):
        await cast.carol.client.send(cast.family.peer, "Hello?")
    (chat,) = await cast.carol.client.chats.list()
    assert chat.group is not None
    assert chat.group.is_left
    assert newest(cast.carol.state, cast.family).text == "alice removed carol"
    await all_agree(*cast.screens)


async def test_a_group_is_made_once_whatever_is_cut_off(cast: Cast) -> None:
    parts = cast.bob.client._open
    cast.bob.is_offline = True
    cast.bob.tear()
    await until(lambda: parts.link.up is None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await cast.bob.client.groups.create("Choir", ["alice"])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await cast.bob.client.groups.create("Choir", ["alice"])
    cast.bob.is_offline = False
    await cast.phone.until(lambda state: [group.name for group in state.groups] == ["Choir", "Family"])
    await cast.bob.until(lambda state: [group.name for group in state.groups] == ["Choir", "Family"])
    await all_agree(*cast.screens)
    assert [group.name for group in await cast.phone.client.groups.list()] == ["Choir", "Family"]


async def test_settings_of_a_group(cast: Cast) -> None:
    await cast.phone.client.send("#Family", "Hello")
    await cast.bob.until(lambda state: state.chats[0].unread == 1)
    chats = cast.phone.client.chats
    await chats.pin("#Family")
    await chats.mute("#family", for_s=3600)
    await chats.draft(cast.family.peer, "What I always")
    await chats.timer("#Family", 60)
    await cast.laptop.until(lambda state: state.chats[0].timer_s == 60)
    (chat,) = cast.laptop.state.chats
    assert (chat.pinned, chat.draft, chat.title) == (True, "What I always", "Family")
    sent = await cast.laptop.client.send("#Family", "gone soon")
    message = await cast.laptop.client.messages.get(sent.reference)
    assert message is not None
    assert message.expires_at is not None
    await all_agree(*cast.screens)


async def test_what_cannot_be_done_says_so(cast: Cast) -> None:
    me = cast.phone.client
    for name in ("", "  ", "x" * 101, "a\x07"):
        with pytest.raises(ClientError):
            await me.groups.create(name)
    with pytest.raises(ClientError, match="you are in no group #Nowhere"):
        await me.send("#Nowhere", "hello")
    with pytest.raises(ClientError, match="several"):
        await me.groups.add("#Family", "bob")
    with pytest.raises(Refused, match="no_such_user"):
        await me.groups.create("Others", ["@nobody"])
    await me.groups.create("family")
    with pytest.raises(ClientError, match="may be one of 2 groups"):
        await me.send("#Family", "hello")
    with pytest.raises(ClientError, match="pinned in groups"):
        await me.groups.pin(await me.send("bob", "hello"))
    for asking in (me.people.block, me.safety.number, me.people.accept, me.people.add):
        with pytest.raises(ClientError, match="is a group, and no user"):
            await asking("#Family")
    with pytest.raises(ClientError, match="may be one of 2 groups"):
        await me.messages.recent("#Family")
    await cast.bob.client.people.set_privacy("groups", "nobody")
    with pytest.raises(Refused, match="not_addable"):
        await me.groups.create("Others", ["bob"])


async def test_a_picture(cast: Cast, tmp_path: Path) -> None:
    (tmp_path / "family.png").write_bytes(PICTURE)
    groups = cast.phone.client.groups
    assert await groups.picture(cast.family) is None
    await groups.set_picture(cast.family, tmp_path / "family.png")
    await everywhere(cast, "alice changed the picture")
    assert await cast.bob.client.groups.picture("#Family") == PICTURE
    await groups.remove_picture(cast.family)
    await everywhere(cast, "alice removed the picture")
    assert await cast.bob.client.groups.picture("#Family") is None


async def test_who_is_there(cast: Cast) -> None:
    found = await cast.phone.client.groups.presence(cast.family)
    assert {(one.handle, one.online) for one in found} == {("bob", True), ("carol", True)}
    assert any(isinstance(event, GroupEvent) for event in cast.bob.events)
    assert any(isinstance(event, MessageEvent) and event.change for event in cast.bob.events)
    assert Rules() == cast.family.rules


async def test_a_group_that_is_read_from_its_log(tmp_path: Path) -> None:
    world = await World.start(limits=Limits(fanout_write_members=2, fanout_write_again=1))
    devices = Devices(world, tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        alice, bob, carol = [
            await stack.enter_async_context(await devices.register(name))
            for name in ("alice", "bob", "carol")
        ]
        family = await alice.client.groups.create("Family", ["@bob", "carol"])
        await alice.client.send(family.peer, "One")
        for screen in (alice, bob, carol):
            await screen.until(
                lambda state: [one.text for one in state.messages(family.peer)][-1:] == ["One"]
            )
        bob.is_offline = True
        bob.tear()
        await carol.client.send("#Family", "Two")
        await alice.client.groups.rename("#Family", "Clan")
        await alice.client.send("#Clan", "Three")
        bob.is_offline = False
        for screen in (alice, bob, carol):
            await screen.until(lambda state: len(state.messages(family.peer)) == 5)
        await bob.client.mark_read("#Clan")
        await alice.until(lambda state: (state.messages(family.peer)[-1].tally or (0, 0))[1] == 1)
        await all_agree(alice, bob, carol)
        assert [len(screen.state.messages(family.peer)) for screen in (alice, bob, carol)] == [5, 5, 5]
        assert bob.state.groups[0].name == "Clan"
    assert world.complaints == []


async def test_who_was_removed_still_has_what_was_said(cast: Cast) -> None:
    for number in range(5):
        await cast.phone.client.send(cast.family.peer, f"number {number}")
    await cast.carol.until(lambda state: len(state.messages(cast.family.peer)) == 6)
    await cast.phone.client.groups.remove(cast.family, ["@carol"])
    await cast.phone.client.send(cast.family.peer, "without her")
    await cast.carol.until(lambda state: not any(group.peer == cast.family.peer for group in state.groups))
    read = cast.carol.client.history
    whole = await read("#Family")
    assert [one.text for one in whole[1:-1]] == [f"number {number}" for number in range(5)]
    assert whole[-1].change is not None
    assert [one.text for one in await read("#Family", before=whole[3].message_id, limit=1)] == ["number 1"]
    later = await read("#Family", after=whole[3].message_id, limit=2)
    assert [one.text for one in later] == ["number 3", "number 4"]
    await all_agree(*cast.screens)


async def test_of_a_group_that_is_nobodys_there_is_no_history(cast: Cast) -> None:
    with pytest.raises(Refused, match="no_such_conversation"):
        await cast.carol.client.history("#" + 16 * "0f")


def waiting(database: sqlite3.Connection) -> int:
    """How many messages are in the outbox."""
    (count,) = database.execute("SELECT count(*) FROM outbox").fetchone()
    return int(count)


async def test_what_is_refused_while_nobody_waits_is_told_and_kept(cast: Cast) -> None:
    carol = cast.carol
    carol.is_offline = True
    carol.tear()
    waits = [asyncio.ensure_future(carol.client.send("#Family", text)) for text in ("I come", "so do I")]
    while await carol.client._open.vault.read(waiting) < len(waits):
        await asyncio.sleep(LOOK_S)
    waits[0].cancel()
    await cast.phone.client.groups.remove(cast.family, ["@carol"])
    carol.is_offline = False
    # Who waits is told by an exception, and that is all.
    with pytest.raises(Refused, match="no_such_conversation"):
        await waits[1]
    await until(lambda: [event for event in carol.events if isinstance(event, FailedEvent)])
    (failed,) = await carol.client.messages.failed()
    assert (failed.peer, failed.text, failed.name) == (cast.family.peer, "I come", "no_such_conversation")
    assert "not a member" in failed.reason
    await carol.__aexit__(None, None, None)
    async with Screen(cast.devices.world, carol._profile, carol._requests) as again:
        await again.client.flushed()
        assert await again.client.messages.failed() == [failed]
        await again.client.messages.dismiss(failed)
        assert await again.client.messages.failed() == []
        assert not [event for event in again.events if isinstance(event, FailedEvent)]
