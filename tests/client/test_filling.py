"""What the inbox has no more is taken from the history, also if that is cut off half-way."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.memory_world import Devices, Screen, all_agree, until
from tidings.client import CaughtUpEvent, GapEvent, MessageEvent, PastEvent, ReactionEvent, inbox
from tidings.client.connection import Connection
from tidings.client.filling import Filling
from tidings.client.receiver import Receiver
from tidings.domain.conversation import Conversation
from tidings.protocol.frames import Drained, InboxExpired, Stale
from tidings.protocol.ids import EntryId
from tidings.testing.world import World

pytestmark = pytest.mark.slow

AWAY_S = 60 * 24 * 3600


async def make(folder: Path) -> tuple[Devices, Screen, Screen]:
    devices = Devices(await World.start(), folder)
    return devices, await devices.register("alice"), await devices.register("bob")


def heard(screen: Screen) -> list[str]:
    return [event.text for event in screen.events if isinstance(event, MessageEvent)]


async def test_a_device_that_was_away_for_too_long_is_told_and_misses_nothing(tmp_path: Path) -> None:
    devices, alice, bob = await make(tmp_path)
    async with alice, bob:
        for number in range(3):
            await alice.client.send("bob", f"before {number}")
        await until(lambda: len(heard(bob)) == 3)
        await until(lambda: [e for e in bob.events if isinstance(e, CaughtUpEvent)])
        bob.is_offline = True
        bob.tear()
        for number in range(300):
            await alice.client.send("bob", f"missed {number}")
        first = alice.state.messages("bob")[0]
        await alice.client.messages.react(first, "👀")
        devices.world.clock.advance(AWAY_S)
        await devices.world.services.inboxes._store.expire(devices.world.clock.wall_ms())
        for number in range(3):
            await alice.client.send("bob", f"late {number}")
        # Cut off while it fills: it begins again, and tells nothing twice.
        bob.is_offline = False
        await until(lambda: len(heard(bob)) > 3)
        bob.tear()
        await until(lambda: len(heard(bob)) == 306)
        await all_agree(bob)
        assert sorted(heard(bob)) == sorted(
            [f"before {n}" for n in range(3)]
            + [f"missed {n}" for n in range(300)]
            + [f"late {n}" for n in range(3)]
        )
        (gap, *_) = [e for e in bob.events if isinstance(e, GapEvent)]
        assert gap.since <= devices.world.clock.wall_ms() - AWAY_S * 1000
        assert [e.reaction for e in bob.events if isinstance(e, ReactionEvent)] == ["👀"]
        # Once filled it is not told again.
        before = len([e for e in bob.events if isinstance(e, GapEvent)])
        bob.tear()
        await alice.client.send("bob", "live")
        await until(lambda: heard(bob)[-1] == "live")
        assert len([e for e in bob.events if isinstance(e, GapEvent)]) == before


async def test_a_gap_is_filled_after_a_restart_that_came_before_it_was(tmp_path: Path) -> None:
    devices, alice, bob = await make(tmp_path)
    async with alice, bob:
        await alice.client.send("bob", "before")
        await until(lambda: heard(bob) == ["before"])
    async with alice:
        await alice.client.send("bob", "missed")
        devices.world.clock.advance(AWAY_S)
        await devices.world.services.inboxes._store.expire(devices.world.clock.wall_ms())
        # The gap is noted and told to the server; then the program ends before it was filled.
        bob.is_asking = False
        async with bob:
            await until(lambda: [e for e in bob.events if isinstance(e, GapEvent)])
            await asyncio.sleep(0.05)
        bob.is_asking = True
        async with bob:
            await until(lambda: heard(bob) == ["before", "missed"])
            await all_agree(bob)


async def test_what_was_on_its_way_as_a_gap_ended_is_looked_for_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices, alice, bob = await make(tmp_path)
    async with alice, bob:
        await alice.client.send("bob", "before")
        await until(lambda: heard(bob) == ["before"])
        services = devices.world.services
        ((_, (session,)),) = [
            (who, there)
            for who, there in services.connections._receivers.items()
            if (await services.accounts.user(who)).handle == "bob"
        ]
        now = EntryId(services.ids.next())
        filled = 0
        fill = Filling._fill

        async def counted(self: Filling, connection: Connection) -> None:
            nonlocal filled
            await fill(self, connection)
            filled += 1

        monkeypatch.setattr(Filling, "_fill", counted)
        session.send(InboxExpired(EntryId(now - 1), now))
        session.send(Drained(services.ids.now_ms(), now))
        await until(lambda: filled == 1)
        with monkeypatch.context() as patch:
            patch.setattr(Conversation, "recipients", lambda *_: [])
            await alice.client.send("bob", "on its way")
            await alice.client.flushed()
        session.send(Stale())
        await until(lambda: heard(bob) == ["before", "on its way"])
        await all_agree(bob)


async def test_who_is_told_again_that_the_inbox_is_empty_looks_again_but_no_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = Devices(await World.start(), tmp_path)
    alice = await devices.register("alice")
    looks: list[object] = []
    ask_for_keys = inbox.ask_for_keys

    def asked(*args: Any) -> bool:
        looks.append(args)
        return ask_for_keys(*args)

    async def told(times: int) -> None:
        await until(lambda: looks and caught_up(alice) == times)
        looks.clear()

    monkeypatch.setattr(inbox, "ask_for_keys", asked)
    async with alice:
        await told(1)
        ((session,),) = devices.world.services.connections._receivers.values()
        for times in range(2, 5):
            session.send(Drained(devices.world.services.ids.now_ms(), EntryId(0)))
            await told(times)
        assert len(tasks_of(Receiver._ask_for_keys)) == len(tasks_of(Receiver._look_for_gaps)) == 1


def caught_up(screen: Screen) -> int:
    return len([event for event in screen.events if isinstance(event, CaughtUpEvent)])


def tasks_of(work: Callable[..., Any]) -> list["asyncio.Task[Any]"]:
    """Those that run some method."""
    return [one for one in asyncio.all_tasks() if getattr(one.get_coro(), "cr_code", None) is work.__code__]


async def test_a_new_device_is_given_the_newest_of_each_conversation(tmp_path: Path) -> None:
    devices, alice, bob = await make(tmp_path)
    carol = await devices.register("carol")
    async with alice, bob, carol:
        for number in range(150):
            await alice.client.send("bob", str(number))
        await carol.client.send("alice", "hi")
        await bob.client.send("carol", "none of hers")
        await alice.client.chats.draft("bob", "What I")
        await alice.client.mark_read("carol")
        await alice.client.flushed()
        async with await devices.login("alice") as new:
            await new.until(lambda state: len(state.chats) == 2 and len(state.messages("bob")) == 50)
            await all_agree(alice, new)
            past = [e.text for e in new.events if isinstance(e, PastEvent)]
            assert sorted(past) == sorted([str(n) for n in range(50, 150)] + ["hi"])
            assert heard(new) == []
            assert [chat.draft for chat in new.state.chats if chat.peer == "bob"] == ["What I"]
            # What was filled once is not told again by a later process.
        async with new:
            await until(lambda: [e for e in new.events[-3:] if isinstance(e, CaughtUpEvent)])
            assert len([e for e in new.events if isinstance(e, PastEvent)]) == len(past)
