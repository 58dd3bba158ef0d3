"""What every backend of the directory promises: see `tidings.directory.contract`."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.directories import BACKENDS, Shared
from tidings.directory.contract import KEEP_S, Directory, DirectoryUnavailable, Entered, Found, Place
from tidings.protocol.ids import SNOWFLAKE_MAX, DeviceId, UserId
from tidings.testing.clock import FakeClock

ALICE, BOB, CAROL = UserId(1), UserId(2), UserId(SNOWFLAKE_MAX)
PHONE, LAPTOP = DeviceId(11), DeviceId(SNOWFLAKE_MAX)
UNUSED = itertools.count(1000)

PATIENCE_S = 10.0
T = TypeVar("T")

OWN, NOTHING = Entered(Found.OWN), Entered(Found.NOTHING)


def older(node: int, session: int) -> Entered:
    return Entered(Found.OLDER, node, session)


def newer(node: int, session: int) -> Entered:
    return Entered(Found.NEWER, node, session)


@dataclass
class Town:
    """A directory with its clock, and the ends that are open."""

    shared: Shared
    clock: FakeClock
    opened: list[Directory] = field(default_factory=list)

    async def join(self) -> Directory:
        self.opened.append(await self.shared.join())
        return self.opened[-1]


@pytest.fixture(params=BACKENDS)
async def town(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Town]:
    clock = FakeClock()
    async with BACKENDS[request.param](tmp_path, clock) as shared:
        town = Town(shared, clock)
        yield town
        for directory in town.opened:
            await directory.close()


@pytest.fixture
async def here(town: Town) -> Directory:
    return await town.join()


@pytest.fixture
async def there(town: Town) -> Directory:
    return await town.join()


def place(session: int = 1, node: int = 5, user: int = ALICE, device: int = PHONE) -> Place:
    return Place(UserId(user), DeviceId(device), session, node)


async def places_of(directory: Directory, *users: UserId) -> list[list[Place]]:
    return [sorted(found, key=lambda one: one.device_id) for found in await directory.look_up(users)]


# --- entering -------------------------------------------------------------------------------


async def test_who_was_entered_is_found_from_every_node(here: Directory, there: Directory) -> None:
    assert await here.enter([place()]) == [NOTHING]
    assert await there.look_up([ALICE]) == [[place()]]
    assert await here.look_up([ALICE]) == [[place()]]


async def test_every_look_up_after_an_entering_sees_it(here: Directory, there: Directory) -> None:
    for session in range(1, 20):
        await here.enter([place(session)])
        found = await asyncio.gather(*(one.look_up([ALICE]) for one in (there, here, there)))
        assert found == [[[place(session)]]] * 3


async def test_a_refresh_finds_its_own(here: Directory, there: Directory) -> None:
    await here.enter([place()])
    assert await here.enter([place()]) == [OWN]
    assert await there.enter([place()]) == [OWN]
    assert await there.look_up([ALICE]) == [[place()]]


async def test_a_later_session_takes_the_place_and_is_told_of_whom(here: Directory, there: Directory) -> None:
    await here.enter([place(3, node=5)])
    assert await there.enter([place(7, node=6)]) == [older(5, 3)]
    assert await here.look_up([ALICE]) == [[place(7, node=6)]]
    assert await there.enter([place(8, node=6)]) == [older(6, 7)]


async def test_an_earlier_session_is_told_where_the_later_one_is(here: Directory, there: Directory) -> None:
    await there.enter([place(7, node=6)])
    assert await here.enter([place(3, node=5)]) == [newer(6, 7)]
    assert await here.look_up([ALICE]) == [[place(7, node=6)]]
    assert await there.enter([place(7, node=6)]) == [OWN]


async def test_a_users_devices_have_a_place_each(here: Directory, there: Directory) -> None:
    phone, laptop = place(1, node=5), place(2, node=6, device=LAPTOP)
    await here.enter([phone])
    assert await there.enter([laptop]) == [NOTHING]
    assert await places_of(here, ALICE) == [[phone, laptop]]


@pytest.mark.parametrize("number", [0, 1, (1 << 63) - 1, 1 << 63, SNOWFLAKE_MAX])
async def test_numbers_of_any_size(here: Directory, there: Directory, number: int) -> None:
    one = place(number, node=number, user=number, device=number)
    await here.enter([one])
    assert await there.look_up([UserId(number)]) == [[one]]
    assert await there.enter([one]) == [OWN]


# --- batches --------------------------------------------------------------------------------


async def test_answers_come_in_the_order_of_the_places(here: Directory, there: Directory) -> None:
    await here.enter([place(5, node=1, user=1), place(5, node=2, user=2), place(5, node=3, user=3)])
    entered = await there.enter(
        [place(4, user=3), place(5, node=2, user=2), place(1, user=4), place(6, user=1)]
    )
    assert entered == [newer(3, 5), OWN, NOTHING, older(1, 5)]


async def test_sessions_of_one_device_in_one_batch_count_one_after_the_other(here: Directory) -> None:
    entered = await here.enter([place(2), place(3, node=6), place(1, node=7), place(3, node=6)])
    assert entered == [NOTHING, older(5, 2), newer(6, 3), OWN]
    assert await here.look_up([ALICE]) == [[place(3, node=6)]]


async def test_look_ups_are_in_the_order_asked_for(here: Directory, there: Directory) -> None:
    await here.enter([place(user=CAROL), place(user=ALICE)])
    found = await there.look_up([BOB, CAROL, ALICE, CAROL])
    assert found == [[], [place(user=CAROL)], [place(user=ALICE)], [place(user=CAROL)]]


async def test_nothing_in_nothing_out(here: Directory) -> None:
    assert await here.enter([]) == []
    assert await here.look_up([]) == []
    await here.leave([])


async def test_many_users_in_a_batch(here: Directory, there: Directory) -> None:
    everybody = [place(user, node=user % 7, user=user, device=user * 10) for user in range(1, 3001)]
    assert await here.enter(everybody) == [NOTHING] * 3000
    users = [one.user_id for one in everybody][::-1]
    assert await there.look_up(users) == [[one] for one in everybody[::-1]]
    await there.leave(everybody[::2])
    assert await here.enter(everybody[:4]) == [NOTHING, OWN, NOTHING, OWN]


async def test_calls_that_are_made_at_once_are_answered_each(here: Directory) -> None:
    answers = await asyncio.gather(*(here.enter([place(1, user=user)]) for user in range(1, 300)))
    assert answers == [[NOTHING]] * 299
    found = await asyncio.gather(*(here.look_up([UserId(user)]) for user in range(1, 300)))
    assert found == [[[place(1, user=user)]] for user in range(1, 300)]


# --- leaving --------------------------------------------------------------------------------


async def test_who_left_is_not_found(here: Directory, there: Directory) -> None:
    await here.enter([place(), place(device=LAPTOP)])
    await here.leave([place()])
    assert await there.look_up([ALICE]) == [[place(device=LAPTOP)]]
    await there.leave([place(device=LAPTOP)])
    assert await here.look_up([ALICE]) == [[]]
    assert await here.enter([place()]) == [NOTHING]


@pytest.mark.parametrize("other", [1, 9])
async def test_leaving_is_for_ones_own_session(here: Directory, there: Directory, other: int) -> None:
    await here.enter([place(5)])
    await there.leave([place(other), place(5, device=LAPTOP), place(5, user=BOB)])
    assert await there.look_up([ALICE]) == [[place(5)]]


async def test_leaving_twice_or_never_having_been_there(here: Directory) -> None:
    await here.leave([place()])
    await here.enter([place()])
    await here.leave([place(), place()])
    await here.leave([place()])
    assert await here.look_up([ALICE]) == [[]]


async def test_a_session_that_left_is_no_newer_one(here: Directory, there: Directory) -> None:
    await here.enter([place(7)])
    await here.leave([place(7)])
    assert await there.enter([place(3)]) == [NOTHING]


# --- time -----------------------------------------------------------------------------------


async def test_a_place_that_nobody_refreshes_is_over(town: Town, here: Directory, there: Directory) -> None:
    await here.enter([place()])
    town.clock.advance(KEEP_S - 0.001)
    assert await there.look_up([ALICE]) == [[place()]]
    town.clock.advance(0.001)
    assert await there.look_up([ALICE]) == [[]]
    assert await here.enter([place()]) == [NOTHING]


async def test_a_refresh_prolongs_its_place_only(town: Town, here: Directory, there: Directory) -> None:
    await here.enter([place(), place(device=LAPTOP), place(user=BOB)])
    town.clock.advance(KEEP_S - 1)
    assert await there.enter([place()]) == [OWN]
    town.clock.advance(1)
    assert await here.look_up([ALICE, BOB]) == [[place()], []]
    town.clock.advance(KEEP_S - 1.001)
    assert await here.look_up([ALICE]) == [[place()]]
    town.clock.advance(0.001)
    assert await here.look_up([ALICE]) == [[]]


async def test_an_earlier_session_prolongs_nothing(town: Town, here: Directory, there: Directory) -> None:
    await there.enter([place(7, node=6)])
    town.clock.advance(KEEP_S - 1)
    assert await here.enter([place(3)]) == [newer(6, 7)]
    town.clock.advance(1)
    assert await here.look_up([ALICE]) == [[]]
    assert await here.enter([place(3)]) == [NOTHING]


async def test_what_is_over_is_neither_older_nor_newer(town: Town, here: Directory) -> None:
    await here.enter([place(5), place(5, device=LAPTOP)])
    town.clock.advance(KEEP_S)
    assert await here.enter([place(9), place(1, device=LAPTOP)]) == [NOTHING, NOTHING]
    await here.leave([place(5), place(5, device=LAPTOP)])
    assert await places_of(here, ALICE) == [[place(9), place(1, device=LAPTOP)]]


async def test_all_nodes_see_one_time_that_never_goes_back(
    town: Town, here: Directory, there: Directory
) -> None:
    assert await here.time_ms() == town.clock.wall_ms()
    seen = []
    for number in range(30):
        seen.append(await (here, there)[number % 2].time_ms(fresh=number % 5 == 0))
        town.clock.advance(number % 3 / 1000)
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


async def test_what_nobody_refreshes_takes_no_memory_for_ever(town: Town, here: Directory) -> None:
    stays = place(user=CAROL)
    for round_ in range(5):
        users = range(1 + round_ * 1000, 1001 + round_ * 1000)
        await here.enter(
            [place(user=user, device=user * 10 + number) for user in users for number in range(3)]
        )
        assert town.shared.held() <= 3001
        for _ in range(3):
            town.clock.advance(KEEP_S / 3)
            await here.enter([stays])
    assert town.shared.held() == 1
    await here.leave([stays])
    assert town.shared.held() == 0


async def test_a_device_that_connects_again_and_again_takes_one_place(town: Town, here: Directory) -> None:
    for session in range(1, 200):
        await here.enter([place(session)])
        await here.enter([place(session - 1)])
    assert town.shared.held() == 1


# --- loss -----------------------------------------------------------------------------------


async def test_what_was_forgotten_is_entered_by_a_refresh(
    town: Town, here: Directory, there: Directory
) -> None:
    await here.enter([place(), place(user=BOB)])
    town.shared.forget()
    assert await there.look_up([ALICE, BOB]) == [[], []]
    assert await here.enter([place()]) == [NOTHING]
    assert await there.look_up([ALICE, BOB]) == [[place()], []]
    assert town.shared.held() == 1


async def test_what_gets_lost_with_all_connections_is_told_and_entered_again(
    town: Town, here: Directory, there: Directory
) -> None:
    losses: list[None] = []
    for _ in range(2):
        there.on_loss(lambda: losses.append(None))
    await here.enter([place()])
    await town.shared.interrupt()
    async with asyncio.timeout(PATIENCE_S):
        found = await asked_again(lambda: there.look_up([ALICE]))
        assert found == [[place()]] or len(losses) >= 2
        assert await asked_again(lambda: here.enter([place()])) in ([OWN], [NOTHING])
        assert await asked_again(lambda: there.look_up([ALICE])) == [[place()]]
        assert await asked_again(there.time_ms) >= town.clock.wall_ms()


async def asked_again(ask: Callable[[], Awaitable[T]]) -> T:
    """An answer, from a directory that may just be unavailable."""
    while True:
        try:
            return await ask()
        except DirectoryUnavailable:
            await asyncio.sleep(0)


async def test_a_directory_that_forgot_nothing_says_nothing(here: Directory, there: Directory) -> None:
    losses: list[None] = []
    here.on_loss(lambda: losses.append(None))
    await here.enter([place()])
    await there.close()
    assert await here.look_up([ALICE]) == [[place()]]
    assert losses == []


# --- anything -------------------------------------------------------------------------------


class Plain:
    """The promises in the plainest form."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.there: dict[tuple[UserId, DeviceId], tuple[Place, int]] = {}

    def enter(self, place: Place) -> Entered:
        self._drop_over()
        found, _ = self.there.get((place.user_id, place.device_id), (None, 0))
        if found is not None and found.session > place.session:
            return newer(found.node, found.session)
        self.there[place.user_id, place.device_id] = place, self.now_ms
        if found is None:
            return NOTHING
        return OWN if found == place else older(found.node, found.session)

    def leave(self, place: Place) -> None:
        self._drop_over()
        found, _ = self.there.get((place.user_id, place.device_id), (None, 0))
        if found == place:
            del self.there[place.user_id, place.device_id]

    def look_up(self, user: UserId) -> list[Place]:
        self._drop_over()
        return sorted(
            (place for place, _ in self.there.values() if place.user_id == user),
            key=lambda one: one.device_id,
        )

    def _drop_over(self) -> None:
        for key, (_, heard_ms) in list(self.there.items()):
            if self.now_ms - heard_ms >= KEEP_S * 1000:
                del self.there[key]


SOME_PLACES = st.lists(
    st.builds(
        # A session's number is used once: it says which node it is on.
        lambda user, device, session: (user, user * 10 + device, session, session % 3),
        st.integers(0, 1),
        st.integers(0, 1),
        st.integers(0, 5),
    ),
    max_size=4,
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), SOME_PLACES),
        st.tuples(st.just("leave"), SOME_PLACES),
        st.tuples(st.just("look up"), st.lists(st.integers(0, 2), max_size=4)),
        st.tuples(st.just("wait"), st.sampled_from([1, 999, 20_000, 30_000, 59_999, 60_000])),
        st.tuples(st.just("forget"), st.none()),
    ),
    max_size=30,
)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
async def test_any_use_finds_what_a_plain_one_would(
    town: Town, here: Directory, there: Directory, operations: list[tuple[str, object]]
) -> None:
    first = next(UNUSED) * 10
    plain = Plain()

    def real(parts: list[tuple[int, int, int, int]]) -> list[Place]:
        return [
            Place(UserId(first + user), DeviceId(first * 10 + device), session, node)
            for user, device, session, node in parts
        ]

    for number, (kind, detail) in enumerate(operations):
        directory = (here, there)[number % 2]
        match kind, detail:
            case "enter", list(parts):
                places = real(parts)
                assert await directory.enter(places) == [plain.enter(one) for one in places]
            case "leave", list(parts):
                places = real(parts)
                await directory.leave(places)
                for one in places:
                    plain.leave(one)
            case "look up", list(numbers):
                users = [UserId(first + user) for user in numbers]
                assert await places_of(directory, *users) == [plain.look_up(user) for user in users]
            case "wait", int(milliseconds):
                town.clock.advance(milliseconds / 1000)
                plain.now_ms += milliseconds
            case _:
                town.shared.forget()
                plain.there.clear()


# --- closing --------------------------------------------------------------------------------


async def test_a_closed_directory_is_unavailable_and_the_others_are_not(
    here: Directory, there: Directory
) -> None:
    await here.enter([place()])
    await here.close()
    await here.close()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: here.enter([place()]),
        lambda: here.leave([place()]),
        lambda: here.look_up([ALICE]),
        here.time_ms,
    ]
    for call in calls:
        with pytest.raises(DirectoryUnavailable):
            await call()
    assert await there.look_up([ALICE]) == [[place()]]
