"""Presence: who is told what, and how often."""

import asyncio
from collections.abc import Iterable, Iterator

import pytest

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation, Stored
from tidings.domain.presence import FLAP_S, SEEN_SHARES, TYPED_S, Presence
from tidings.protocol import frames
from tidings.protocol.errors import TOO_LARGE, ProtocolError
from tidings.protocol.frames import ConversationKind, Typed
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import StoreUnavailable
from tidings.store.memory import MemoryStore
from tidings.store.schema import SEEN, MemberRow, SeenRow
from tidings.testing.clock import FakeClock

ALICE, BOB, CAROL = UserId(101), UserId(202), UserId(303)
PHONE = DeviceId(9)
ABOUT_THEM = ConversationId(b"c" * 16)


class Watcher:
    """A session that keeps what it is sent."""

    def __init__(self) -> None:
        self.is_closed = False
        self.sent: list[frames.Frame] = []

    def send(self, frame: frames.Frame) -> None:
        self.sent.append(frame)

    def told(self) -> list[tuple[UserId, bool, bool]]:
        """Who, whether online, and whether last_seen was shown; and forget it."""
        sent, self.sent = self.sent, []
        assert all(isinstance(frame, frames.Presence) for frame in sent)
        return [(frame.user_id, frame.online, frame.last_seen_ms is not None) for frame in sent]  # type: ignore[attr-defined]


class Rig:
    """Presence on a store in memory. Implements what it needs of connections and privacy."""

    def __init__(self, limits: Limits) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.online: dict[UserId, list[DeviceId]] = {}
        self.followed: set[UserId] = set()
        self.reconsidered: list[UserId] = []
        self.hidden: set[tuple[UserId, UserId]] = set()
        """viewer and owner"""
        self.broken = False
        self.hold: asyncio.Event | None = None
        self.typed: list[tuple[UserId, Typed]] = []
        loop = asyncio.get_running_loop()
        ids = IdClock(self.clock)
        self.commit = GroupCommit(self.store, ids, limits, loop)
        self.presence = Presence(
            self.store,
            self.commit,
            self.clock,
            ids,
            self,
            self,
            self,
            limits,
            loop,  # type: ignore[arg-type]
        )

    def is_online(self, user: UserId) -> bool:
        return user in self.online

    async def follow(self, users: Iterable[UserId]) -> None:
        self.followed.update(users)

    def unfollow(self, user: UserId) -> None:
        self.followed.discard(user)

    def shows_otherwise(self, user: UserId) -> None:
        self.reconsidered.append(user)

    def devices_online(self, share: int, shares: int) -> Iterator[tuple[UserId, DeviceId]]:
        for user, devices in self.online.items():
            if user % shares == share:
                for device in devices:
                    yield user, device

    async def may_see(self, viewer: UserId, owner: UserId, what: str) -> bool:
        assert what == "last_seen"
        if self.hold is not None:
            await self.hold.wait()
        if self.broken:
            raise StoreUnavailable("no")
        return (viewer, owner) not in self.hidden

    def tell(self, users: Iterable[UserId], frame: Typed, *, skip: DeviceId | None = None) -> None:
        self.typed += [(user, frame) for user in users]

    def come(self, user: UserId) -> None:
        self.online[user] = [PHONE]
        self.presence.heard(user, PHONE)
        self.presence.came(user)

    def go(self, user: UserId) -> None:
        del self.online[user]
        self.presence.heard(user, PHONE)
        self.presence.went(user)

    async def settle(self) -> None:
        """Until what was begun is told and written."""
        await self.commit.barrier()
        while self.presence._teller is not None:
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.presence.sweep()
        await self.settle()


@pytest.fixture
async def rig() -> Rig:
    return Rig(Limits(receipt_delay_s=0.0, watched=3))


async def test_a_watcher_is_told_of_coming_and_going(rig: Rig) -> None:
    bobs = Watcher()
    assert await rig.presence.watch(bobs, BOB, [ALICE]) == [frames.Presence(ALICE, False, None)]
    rig.come(ALICE)
    await rig.settle()
    assert bobs.told() == [(ALICE, True, True)]
    rig.go(ALICE)
    went_ms = rig.clock.wall_ms()
    await rig.pass_time(FLAP_S / 2)
    assert bobs.told() == []
    await rig.pass_time(FLAP_S)
    assert bobs.sent == [frames.Presence(ALICE, False, went_ms)]


@pytest.mark.parametrize("is_here", [True, False])
async def test_a_right_that_is_withdrawn_while_a_list_is_looked_up_holds(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, is_here: bool
) -> None:
    bobs, looks, withdrawn = Watcher(), rig.may_see, asyncio.Event()

    async def slowly(viewer: UserId, owner: UserId, what: str) -> bool:
        may = await looks(viewer, owner, what)
        await withdrawn.wait()
        return may

    rig.come(ALICE)
    with monkeypatch.context() as patched:
        patched.setattr(rig, "may_see", slowly)
        asking = asyncio.ensure_future(rig.presence.watch(bobs, BOB, [ALICE]))
        await asyncio.sleep(0)
    rig.hidden.add((BOB, ALICE))
    if is_here:
        await rig.presence.heed(ALICE, frames.Setting(frames.SettingKind.BLOCK, str(BOB), b"1", EntryId(1)))
    else:
        rig.presence.shows_otherwise(ALICE)  # another node says so
    withdrawn.set()
    assert await asking == [frames.Presence(ALICE, False, None)]
    await rig.settle()
    rig.go(ALICE)
    await rig.pass_time(2 * FLAP_S)
    assert not any(online or last_seen for _, online, last_seen in bobs.told())


async def test_who_is_back_at_once_was_never_gone(rig: Rig) -> None:
    bobs = Watcher()
    rig.come(ALICE)
    await rig.presence.watch(bobs, BOB, [ALICE])
    for _ in range(5):
        rig.go(ALICE)
        await rig.pass_time(FLAP_S / 2)
        (state,) = await rig.presence.watch(Watcher(), CAROL, [ALICE])
        assert state.online
        rig.come(ALICE)
        await rig.pass_time(FLAP_S)
    assert bobs.told() == []


async def test_only_watchers_are_told_however_many_contacts_there_are() -> None:
    rig = Rig(Limits(receipt_delay_s=0.0))
    contacts = [UserId(1000 + number) for number in range(10_000)]
    sessions = {contact: Watcher() for contact in contacts}
    for contact in contacts:
        rig.online[contact] = [PHONE]
    watching = contacts[::1000]
    for contact in watching:
        await rig.presence.watch(sessions[contact], contact, [ALICE, BOB])
    rig.come(ALICE)
    await rig.settle()
    assert sum(len(session.sent) for session in sessions.values()) == len(watching)
    assert all(sessions[contact].told() == [(ALICE, True, True)] for contact in watching)


async def test_who_hides_or_blocks_looks_like_nobody(rig: Rig) -> None:
    bobs, carols = Watcher(), Watcher()
    rig.come(ALICE)
    rig.hidden.add((BOB, ALICE))
    await rig.presence.watch(carols, CAROL, [ALICE])
    assert await rig.presence.watch(bobs, BOB, [ALICE, UserId(7)]) == [
        frames.Presence(ALICE, False, None),
        frames.Presence(UserId(7), False, None),
    ]
    rig.go(ALICE)
    await rig.settle()
    await rig.pass_time(FLAP_S)
    assert bobs.told() == []  # that something happened is told by no frame at all
    assert carols.told() == [(ALICE, False, True)]


async def test_a_block_takes_presence_away_and_its_end_gives_it_back(rig: Rig) -> None:
    bobs = Watcher()
    rig.come(ALICE)
    await rig.presence.watch(bobs, BOB, [ALICE])
    rig.hidden.add((BOB, ALICE))
    rig.presence.reconsider(ALICE)
    await rig.settle()
    assert bobs.told() == [(ALICE, False, False)]
    rig.presence.reconsider(ALICE)
    await rig.settle()
    assert bobs.told() == []
    rig.hidden.clear()
    rig.presence.reconsider(ALICE)
    await rig.settle()
    assert bobs.told() == [(ALICE, True, True)]


async def test_another_watch_replaces_the_first_and_an_ended_session_watches_nobody(rig: Rig) -> None:
    bobs = Watcher()
    await rig.presence.watch(bobs, BOB, [ALICE])
    await rig.presence.watch(bobs, BOB, [CAROL, CAROL])
    rig.come(ALICE)
    rig.come(CAROL)
    await rig.settle()
    assert bobs.told() == [(CAROL, True, True)]
    rig.presence.unwatch(bobs)
    rig.presence.unwatch(bobs)
    rig.go(CAROL)
    await rig.pass_time(FLAP_S)
    assert bobs.told() == []
    bobs.is_closed = True
    assert await rig.presence.watch(bobs, BOB, [ALICE]) == []
    assert rig.presence._watchers == {}
    assert rig.presence._watched == {}


async def test_too_many_are_refused_and_the_old_watch_stays(rig: Rig) -> None:
    bobs = Watcher()
    await rig.presence.watch(bobs, BOB, [ALICE])
    with pytest.raises(ProtocolError) as refused:
        await rig.presence.watch(bobs, BOB, [UserId(number) for number in range(1, 5)])
    assert refused.value.kind is TOO_LARGE
    rig.come(ALICE)
    await rig.settle()
    assert bobs.told() == [(ALICE, True, True)]


async def test_the_answer_tells_how_it_is_when_it_goes_out(rig: Rig) -> None:
    """Whoever comes while the watch waits for the store: the answer must not be older than that."""
    bobs = Watcher()
    rig.hold = asyncio.Event()
    answer = asyncio.ensure_future(rig.presence.watch(bobs, BOB, [ALICE]))
    await asyncio.sleep(0)
    rig.come(ALICE)
    rig.hold.set()
    (state,) = await answer
    await rig.settle()
    assert state.online
    assert all(online for _, online, _ in bobs.told())


async def test_a_store_that_fails_delays_what_is_told(rig: Rig) -> None:
    bobs = Watcher()
    await rig.presence.watch(bobs, BOB, [ALICE])
    rig.broken = True
    rig.come(ALICE)
    await rig.settle()
    assert bobs.told() == []
    rig.broken = False
    await rig.pass_time(1)
    assert bobs.told() == [(ALICE, True, True)]


async def test_seen_is_written_on_coming_and_going_and_now_and_then_between(rig: Rig) -> None:
    rig.come(ALICE)
    await rig.settle()
    came_ms = rig.clock.wall_ms()
    assert await rig.store.get(SEEN, (ALICE, PHONE)) == SeenRow(ALICE, PHONE, came_ms)
    for _ in range(SEEN_SHARES):
        await rig.pass_time(Limits().seen_s / SEEN_SHARES)
    row = await rig.store.get(SEEN, (ALICE, PHONE))
    assert row is not None
    assert came_ms < row.at_ms <= rig.clock.wall_ms()
    await rig.pass_time(30 * Limits().seen_s)  # the machine slept: once is enough
    rig.go(ALICE)
    await rig.settle()
    assert await rig.store.get(SEEN, (ALICE, PHONE)) == SeenRow(ALICE, PHONE, rig.clock.wall_ms())


def conversation(*members: UserId) -> Conversation:
    present = [MemberRow(ABOUT_THEM, member, ConversationKind.DIRECT) for member in members]
    kind = ConversationKind.DIRECT
    return Conversation(Stored(ABOUT_THEM, kind, 1, present, None, frames.MessageId(0), 0, 0, [], []))


async def test_typing_is_passed_on_now_and_then_and_its_end_once(rig: Rig) -> None:
    alices, direct = Watcher(), conversation(ALICE, BOB)

    def type_(*, active: bool = True) -> list[tuple[UserId, bool]]:
        rig.typed.clear()
        rig.presence.typing(alices, ALICE, direct, active=active)
        assert all(frame.user_id == ALICE for _, frame in rig.typed)
        return [(user, frame.active) for user, frame in rig.typed]

    assert type_(active=False) == []  # it never began
    assert type_() == [(BOB, True)]
    assert type_() == []
    await rig.pass_time(3)
    assert type_() == [(BOB, True)]
    assert type_(active=False) == [(BOB, False)]
    assert type_(active=False) == []
    assert type_() == [(BOB, True)]
    await rig.pass_time(TYPED_S)
    assert type_(active=False) == []  # forgotten by everybody
    assert rig.presence._typing == {}


@pytest.mark.parametrize("where", ["blockers", "pending"])
@pytest.mark.parametrize("who", [ALICE, BOB])
async def test_where_somebody_shuts_somebody_out_typing_goes_neither_way(
    rig: Rig, where: str, who: UserId
) -> None:
    direct = conversation(ALICE, BOB)
    setattr(direct, where, frozenset({who}))
    rig.presence.typing(Watcher(), ALICE, direct, active=True)
    assert rig.typed == []
