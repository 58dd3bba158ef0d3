"""Watching: no change is lost between the question and its answer; time of a clock that is wrong."""

import asyncio
from collections.abc import Callable

import pytest

from client.fakes import FakeClock
from tidings.client.connection import Answer
from tidings.client.errors import ClientClosed, ClientError, Refused
from tidings.client.events import PresenceEvent
from tidings.client.server_time import ServerTime
from tidings.client.watching import Watching
from tidings.protocol import frames
from tidings.protocol.frames import Frame, Presences, Watch
from tidings.protocol.ids import UserId

BOB, CAROL = UserId(2), UserId(3)


class Rig:
    """A `Watching` whose server is the test."""

    def __init__(self) -> None:
        self.told: list[PresenceEvent] = []
        self.answers: asyncio.Queue[Answer | Exception] = asyncio.Queue()
        self.asked: list[list[UserId]] = []
        self.watching = Watching(self.ask, FakeClock(), self.told.append)

    async def ask(self, make: Callable[[int], Frame]) -> Answer:
        frame = make(1)
        assert isinstance(frame, Watch)
        self.asked.append(frame.user_ids)
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask_patiently(self, make: Callable[[int], Frame], clock: object) -> Answer:
        return await self.ask(make)


def there(user: UserId, online: bool, last_seen_ms: int | None = None) -> frames.Presence:
    return frames.Presence(user, online, last_seen_ms)


async def test_a_change_right_behind_the_answer_counts() -> None:
    rig = Rig()
    asking = asyncio.ensure_future(rig.watching.watch({BOB: "bob"}))
    await asyncio.sleep(0)
    rig.answers.put_nowait(Presences(1, [there(BOB, False)]))
    rig.watching.passed(there(BOB, True, 5))
    (bob,) = await asking
    assert (bob.handle, bob.online, bob.last_seen) == ("bob", True, 5)
    assert [event.online for event in rig.told] == [True]


async def test_only_coming_and_going_of_who_is_watched_is_told() -> None:
    rig = Rig()
    rig.answers.put_nowait(Presences(1, [there(BOB, True, 1)]))
    await rig.watching.watch({BOB: "bob"})
    for presence in (there(CAROL, True), there(BOB, True, 2), there(BOB, False, 3), there(BOB, False, 3)):
        rig.watching.passed(presence)
    assert [(event.handle, event.online, event.last_seen) for event in rig.told] == [("bob", False, 3)]


async def test_a_refusal_changes_nothing() -> None:
    rig = Rig()
    rig.answers.put_nowait(Presences(1, [there(BOB, True)]))
    await rig.watching.watch({BOB: "bob"})
    rig.answers.put_nowait(Refused(7, "too_large", "at most 100"))
    with pytest.raises(Refused):
        await rig.watching.watch({CAROL: "carol"})
    rig.watching.passed(there(BOB, False))
    assert len(rig.told) == 1


async def test_they_are_named_again_on_the_next_connection_and_what_changed_is_told() -> None:
    rig = Rig()
    rig.answers.put_nowait(Presences(1, [there(BOB, True)]))
    await rig.watching.watch({BOB: "bob"})
    rig.answers.put_nowait(Presences(1, [there(BOB, False, 9)]))
    run = asyncio.ensure_future(rig.watching.run(rig))  # type: ignore[arg-type]
    (change,) = [await anext(rig.watching.changes())]
    assert (change.online, change.last_seen) == (False, 9)
    assert rig.asked == [[BOB], [BOB]]
    run.cancel()


async def test_after_a_list_that_was_given_up_the_one_that_holds_is_named_again() -> None:
    rig = Rig()
    rig.answers.put_nowait(Presences(1, [there(BOB, True)]))
    await rig.watching.watch({BOB: "bob"})
    rig.answers.put_nowait(Presences(1, [there(BOB, True)]))
    run = asyncio.ensure_future(rig.watching.run(rig))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    other = asyncio.ensure_future(rig.watching.watch({CAROL: "carol"}))
    await asyncio.sleep(0)
    other.cancel()
    rig.answers.put_nowait(Presences(1, [there(BOB, False, 9)]))
    change = await anext(rig.watching.changes())
    assert (change.handle, change.last_seen) == ("bob", 9)
    assert rig.asked == [[BOB], [BOB], [CAROL], [BOB]]
    run.cancel()


async def test_who_is_asked_about_already_is_not_named_a_second_time() -> None:
    rig = Rig()
    asking = asyncio.ensure_future(rig.watching.watch({BOB: "bob"}))
    await asyncio.sleep(0)
    run = asyncio.ensure_future(rig.watching.run(rig))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    rig.answers.put_nowait(Presences(1, [there(BOB, False, 9)]))
    await asking
    assert (rig.asked, rig.told) == ([[BOB]], [])
    run.cancel()


async def test_one_loop_at_a_time_and_it_ends_with_the_client() -> None:
    rig = Rig()
    changes = rig.watching.changes()
    first = asyncio.ensure_future(anext(changes, None))
    await asyncio.sleep(0)
    with pytest.raises(ClientError, match="twice at once"):
        await anext(rig.watching.changes())
    rig.watching.fail(ClientClosed("closed"))
    assert await first is None


async def test_the_servers_time_is_told_by_its_own_clock() -> None:
    clock = FakeClock()
    time = ServerTime(clock, 0)
    assert time.heard(clock.wall_ms() - 3_600_000) == -3_600_000
    assert time.now_ms() == clock.wall_ms() - 3_600_000
    await clock.advance(2)
    assert time.now_ms() == clock.wall_ms() - 3_600_000
