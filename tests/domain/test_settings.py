"""Settings: shared by a user's devices, which agree on them whatever came in which way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.settings import HEAD, Settings, check
from tidings.protocol import frames
from tidings.protocol.errors import INVALID, STORE_FAILED, TOO_LARGE, ProtocolError
from tidings.protocol.frames import Changed, Ok, Set, Setting, SettingKind, Sync, Synced
from tidings.protocol.ids import SNOWFLAKE_MAX, DeviceId, EntryId, UserId, unix_ms
from tidings.protocol.limits import Limits
from tidings.store.contract import StoreUnavailable
from tidings.store.memory import Fault, MemoryStore, PlannedFaults
from tidings.store.schema import SETTINGS
from tidings.testing.clock import FakeClock
from tidings.testing.world import Device, World

ALICE, BOB = UserId(7), UserId(1009)
PHONE, LAPTOP = DeviceId(70), DeviceId(71)
DRAFT = SettingKind.DRAFT
CONVERSATION = "ab" * 16
MESSAGE = f"{CONVERSATION}:{PHONE}:{'cd' * 16}"
DAY_S = 86_400


class Told(NamedTuple):
    users: list[UserId]
    frame: frames.Frame
    skip: DeviceId | None


class YieldingStore(MemoryStore):
    """Lets others have their turn at each read, as a store on a disk does."""

    async def get(self, table: Any, key: Any) -> Any:
        await asyncio.sleep(0)
        return await super().get(table, key)


class Rig:
    """Settings on a store in memory, and what their router was given."""

    def __init__(self, **limits: int) -> None:
        self.clock = FakeClock()
        self.ids = IdClock(self.clock)
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.faults = PlannedFaults(Random(1))
        self.store = YieldingStore(faults=self.faults)
        self.commit = GroupCommit(self.store, self.ids, self.limits, asyncio.get_running_loop())
        self.told: list[Told] = []
        self.settings = Settings(self.store, self.commit, self.ids, self, self.limits)  # type: ignore[arg-type]

    def tell(self, users: list[UserId], frame: frames.Frame, *, skip: DeviceId | None = None) -> None:
        self.told.append(Told(list(users), frame, skip))

    async def opaque(self, key: str, value: bytes = b"x", user: UserId = ALICE) -> Setting:
        return await self.settings.set(user, SettingKind.OPAQUE, key, value, device=PHONE)

    async def rows(self, user: UserId = ALICE) -> dict[str, bytes]:
        found = await self.store.range(SETTINGS, (user,), limit=1000)
        return {row.key: row.value for row in found if row.kind != HEAD}


async def refused(awaitable: object) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        await awaitable  # type: ignore[misc]
    return caught.value


# --- setting and telling --------------------------------------------------------------------


async def test_a_setting_is_kept_and_told_to_the_other_devices() -> None:
    rig = Rig()
    setting = await rig.settings.set(ALICE, DRAFT, CONVERSATION, b"Dear Bob", device=PHONE)
    assert await rig.settings.get(ALICE, DRAFT, CONVERSATION) == b"Dear Bob"
    assert rig.told == [Told([ALICE], Changed([setting]), PHONE)]
    assert await rig.settings.get(BOB, DRAFT, CONVERSATION) is None


async def test_the_same_twice_is_the_same_with_a_later_moment() -> None:
    rig = Rig()
    first = await rig.opaque("a")
    second = await rig.opaque("a")
    assert second.at > first.at
    assert await rig.settings.changed_since(ALICE, 0) == [second]


async def test_what_is_removed_is_absent_and_still_told_to_who_was_away() -> None:
    rig = Rig()
    await rig.opaque("a")
    removed = await rig.opaque("a", b"")
    assert await rig.settings.get(ALICE, SettingKind.OPAQUE, "a") is None
    assert await rig.settings.of_kind(ALICE, SettingKind.OPAQUE) == []
    assert await rig.settings.changed_since(ALICE, 0) == [removed]


async def test_removing_what_was_never_there_leaves_no_row_and_tells_nobody() -> None:
    rig = Rig()
    await rig.opaque("a", b"")
    assert await rig.store.range(SETTINGS, (ALICE,), limit=10) == []
    assert rig.told == []


async def test_who_listens_to_a_kind_has_acted_before_anybody_is_answered_or_told() -> None:
    rig = Rig()
    heard: list[tuple[UserId, Setting]] = []

    async def listen(user: UserId, setting: Setting) -> None:
        assert await rig.settings.get(user, setting.kind, setting.key) == b"1"
        await asyncio.sleep(0)
        assert rig.told == []
        heard.append((user, setting))

    rig.settings.on(SettingKind.BLOCK, listen)
    setting = await rig.settings.set(ALICE, SettingKind.BLOCK, str(BOB), b"1", device=PHONE)
    assert heard == [(ALICE, setting)]
    assert len(rig.told) == 1
    await rig.opaque("another kind")
    assert len(heard) == 1


async def test_a_listener_that_fails_fails_the_answer_but_not_what_others_are_told() -> None:
    rig = Rig()

    async def listen(user: UserId, setting: Setting) -> None:
        raise StoreUnavailable("gone")

    rig.settings.on(SettingKind.BLOCK, listen)
    with pytest.raises(StoreUnavailable):
        await rig.settings.set(ALICE, SettingKind.BLOCK, str(BOB), b"1", device=PHONE)
    assert len(rig.told) == 1
    assert await rig.settings.get(ALICE, SettingKind.BLOCK, str(BOB)) == b"1"


async def test_what_is_not_durable_is_told_to_nobody_and_a_repeat_settles_it() -> None:
    rig = Rig()
    await rig.opaque("a", b"old")
    rig.faults.writes.append(Fault.UNAVAILABLE)
    assert (await refused(rig.opaque("a", b"new"))).kind is STORE_FAILED
    assert len(rig.told) == 1
    assert await rig.settings.get(ALICE, SettingKind.OPAQUE, "a") == b"old"
    await rig.opaque("a", b"new")
    assert await rig.settings.get(ALICE, SettingKind.OPAQUE, "a") == b"new"


async def test_many_at_once_are_told_in_the_order_in_which_they_hold() -> None:
    rig = Rig()
    await asyncio.gather(*(rig.opaque("a", str(number).encode()) for number in range(20)))
    at = [told.frame.settings[0].at for told in rig.told]  # type: ignore[attr-defined]
    assert at == sorted(set(at))
    last = rig.told[-1].frame.settings[0]  # type: ignore[attr-defined]
    assert await rig.settings.changed_since(ALICE, 0) == [last]
    assert len(await rig.rows()) == 1


async def test_of_many_at_once_as_many_hold_as_there_is_room_for() -> None:
    rig = Rig(settings_per_user=5)
    outcomes = await asyncio.gather(*(rig.opaque(f"{n}") for n in range(10)), return_exceptions=True)
    assert sum(isinstance(outcome, Setting) for outcome in outcomes) == 5
    assert len(await rig.rows()) == 5
    for key in list(await rig.rows())[:2]:
        await rig.opaque(key, b"")
    await rig.opaque("x")
    await rig.opaque("y")
    assert (await refused(rig.opaque("z"))).kind is TOO_LARGE


async def test_ids_that_begin_anew_do_not_bring_old_values_back() -> None:
    rig = Rig()
    await rig.opaque("a", b"old")
    rig.clock.jump(-3600)
    younger = Settings(rig.store, rig.commit, IdClock(rig.clock), rig, rig.limits)  # type: ignore[arg-type]
    old = await rig.settings.changed_since(ALICE, 0)
    new = await younger.set(ALICE, SettingKind.OPAQUE, "a", b"new", device=PHONE)
    assert new.at > old[0].at
    assert await rig.settings.changed_since(ALICE, 0) == [new]


async def test_a_clock_that_was_set_back_does_not_bring_old_values_back() -> None:
    rig = Rig()
    await rig.opaque("a", b"old")
    rig.clock.jump(-3600)
    await rig.opaque("a", b"new")
    assert await rig.settings.get(ALICE, SettingKind.OPAQUE, "a") == b"new"


# --- catching up ----------------------------------------------------------------------------


async def test_who_was_away_gets_what_changed_since_in_order_of_time() -> None:
    rig = Rig()
    await rig.opaque("z")
    rig.clock.advance(10)
    since_ms = rig.ids.now_ms()
    second = await rig.opaque("b")
    rig.clock.advance(10)
    third = await rig.settings.write(ALICE, SettingKind.ACCOUNT, "profile", b"1")
    fourth = await rig.opaque("a")
    assert await rig.settings.changed_since(ALICE, since_ms) == [second, third, fourth]
    rig.clock.advance(10)
    assert await rig.settings.changed_since(ALICE, rig.ids.now_ms()) == []


async def test_what_the_server_alone_has_written_is_not_missed() -> None:
    rig = Rig()
    await rig.opaque("a")
    rig.clock.advance(10)
    since_ms = rig.ids.now_ms()
    written = await rig.settings.write(ALICE, SettingKind.ACCOUNT, "handle", b"1")
    assert await rig.settings.changed_since(ALICE, since_ms) == [written]


async def test_one_row_answers_who_missed_nothing() -> None:
    rig = Rig()
    await rig.opaque("a")
    rig.clock.advance(1)
    rig.store.range = None  # type: ignore[method-assign, assignment]
    assert await rig.settings.changed_since(ALICE, rig.ids.now_ms()) == []


async def test_pages_of_changes_are_bounded_and_together_complete() -> None:
    rig = Rig(page_bytes=4000)
    expected = []
    for number in range(300):
        rig.clock.advance(0.001 * (number % 3))  # some share a millisecond
        expected.append(await rig.opaque(f"{997 * number % 300}", b"x" * (number % 7 * 100)))
        if number % 5 == 0:
            expected[-1:] = []
            expected.append(await rig.opaque(f"{997 * number % 300}", b"y" * 10))
    found: dict[str, Setting] = {}
    since_ms: int | None = 0
    pages = 0
    while since_ms is not None:
        page = await rig.settings.page_since(ALICE, since_ms)
        assert sum(len(setting.value) for setting in page.settings) < 4000 + 3 * 700
        assert page.until_ms is None or page.until_ms > since_ms
        found |= {setting.key: setting for setting in page.settings}
        since_ms = page.until_ms
        pages += 1
    assert pages > 10
    assert list(found.values()) == [setting for setting in expected if setting.key in found]
    assert {setting.key for setting in expected if setting.value} <= set(found)
    assert list(found.values()) == await rig.settings.changed_since(ALICE, 0)


async def test_a_kind_is_listed_over_many_reads_without_its_neighbours() -> None:
    rig = Rig()
    for number in range(1, 600):
        await rig.settings.set(ALICE, SettingKind.CONTACT, str(number), b"-", device=PHONE)
    await rig.settings.set(ALICE, SettingKind.STAR, MESSAGE, b"1", device=PHONE)
    assert len(await rig.settings.of_kind(ALICE, SettingKind.CONTACT)) == 599
    assert [row.key for row in await rig.settings.of_kind(ALICE, SettingKind.STAR)] == [MESSAGE]
    assert await rig.settings.of_kind(ALICE, SettingKind.PIN) == []


# --- bounds ---------------------------------------------------------------------------------


async def test_a_user_has_so_many_settings_and_is_told_what_to_do() -> None:
    rig = Rig(settings_per_user=3)
    for key in "abc":
        await rig.opaque(key)
    error = await refused(rig.opaque("d"))
    assert error.kind is TOO_LARGE
    assert "remove some" in error.message
    await rig.opaque("a", b"changing one is no more")
    await rig.opaque("a", b"")
    await rig.opaque("d")
    assert (await refused(rig.opaque("a"))).kind is TOO_LARGE
    await rig.opaque("a", user=BOB)


async def test_a_removed_one_comes_back_into_its_own_row() -> None:
    rig = Rig(settings_per_user=2)
    for _ in range(10):
        await rig.opaque("a")
        await rig.opaque("a", b"")
        await rig.opaque("a", b"")
    assert await rig.rows() == {"a": b""}
    await rig.opaque("b")
    await rig.opaque("c")
    assert (await refused(rig.opaque("d"))).kind is TOO_LARGE


async def test_rows_of_removed_ones_go_once_no_device_can_need_them() -> None:
    rig = Rig(settings_per_user=3, unlink_s=180 * DAY_S)
    for number in range(6):
        await rig.opaque(f"{number}")
        await rig.opaque(f"{number}", b"")
    error = await refused(rig.opaque("new"))
    assert error.kind is TOO_LARGE
    assert "removed" in error.message
    assert len(await rig.rows()) == 6
    rig.clock.advance(181 * DAY_S)
    kept = await rig.opaque("new")
    assert await rig.rows() == {"new": b"x"}
    assert await rig.settings.changed_since(ALICE, 0) == [kept]
    for number in range(2):
        await rig.opaque(f"{number}")
    assert (await refused(rig.opaque("2"))).kind is TOO_LARGE


async def test_looking_for_rows_to_drop_in_vain_is_done_once_a_day() -> None:
    rig = Rig(settings_per_user=1)
    for number in range(2):
        await rig.opaque(f"{number}")
        await rig.opaque(f"{number}", b"")
    await refused(rig.opaque("a"))
    reads, range_ = [], rig.store.range

    async def count(*arguments: object, **options: object) -> object:
        reads.append(arguments)
        return await range_(*arguments, **options)  # type: ignore[arg-type]

    rig.store.range = count  # type: ignore[method-assign, assignment]
    for _ in range(5):
        await refused(rig.opaque("a"))
    assert reads == []
    rig.clock.advance(DAY_S + 1)
    await refused(rig.opaque("a"))
    assert len(reads) == 1


async def test_what_the_server_writes_uses_up_nobodys_room() -> None:
    rig = Rig(settings_per_user=2)
    for number in range(2):
        await rig.settings.write(ALICE, SettingKind.REQUEST, f"{number:032x}", b"x")
    error = await refused(rig.settings.write(ALICE, SettingKind.REQUEST, "f" * 32, b"x"))
    assert error.kind is TOO_LARGE
    for key in "ab":
        await rig.opaque(key)
    assert len(await rig.settings.changed_since(ALICE, 0)) == 4


# --- bad input ------------------------------------------------------------------------------

TRICKS = ["'; DROP TABLE settings; --", "../../etc/passwd", "%00", "$(reboot)", "{{7*7}}", "\u202e", "👩‍👩‍👧"]


@pytest.mark.parametrize("key", TRICKS)
async def test_tricks_in_opaque_keys_are_just_strings(key: str) -> None:
    rig = Rig()
    await rig.opaque(key, key.encode())
    assert await rig.rows() == {key: key.encode()}
    assert await rig.settings.get(ALICE, SettingKind.OPAQUE, key) == key.encode()


BAD = [
    (SettingKind.OPAQUE, "", b"1"),
    (SettingKind.OPAQUE, "a\0b", b"1"),
    (SettingKind.OPAQUE, "a\x1b[2J", b"1"),
    (SettingKind.OPAQUE, "\ud800", b"1"),
    (SettingKind.CONTACT, "", b"-"),
    (SettingKind.CONTACT, "bob", b"-"),
    (SettingKind.CONTACT, "007", b"-"),
    (SettingKind.CONTACT, "0", b"-"),
    (SettingKind.CONTACT, "-7", b"-"),
    (SettingKind.CONTACT, "7\n", b"-"),
    (SettingKind.CONTACT, "٧", b"-"),
    (SettingKind.CONTACT, str(SNOWFLAKE_MAX + 1), b"-"),
    (SettingKind.CONTACT, "../7", b"-"),
    (SettingKind.BLOCK, "1 OR 1=1", b"1"),
    (SettingKind.BLOCK, str(BOB), b"yes"),
    (SettingKind.BLOCK, str(ALICE), b"1"),
    (SettingKind.PRIVACY, "last_seen", b"friends"),
    (SettingKind.PRIVACY, "password", b"everyone"),
    (SettingKind.PRIVACY, "last_seen", b"Everyone"),
    (SettingKind.PIN, "x" * 32, b"1"),
    (SettingKind.MUTE, CONVERSATION.upper(), b"1"),
    (SettingKind.ARCHIVE, CONVERSATION + "\n", b"1"),
    (SettingKind.DRAFT, CONVERSATION[:-1], b"1"),
    (SettingKind.STAR, CONVERSATION, b"1"),
    (SettingKind.HIDDEN, MESSAGE + ":", b"1"),
    (SettingKind.REQUEST, CONVERSATION, b"1"),
    (SettingKind.ACCOUNT, "profile", b"1"),
    (0, "", b"1"),
    (0, "server", b"1"),
    (11, "a", b"1"),
    (255, "a", b"1"),
]


@pytest.mark.parametrize(("kind", "key", "value"), BAD)
async def test_forged_settings_are_invalid_and_change_nothing(kind: int, key: str, value: bytes) -> None:
    rig = Rig()
    for _ in range(2):
        error = await refused(rig.settings.set(ALICE, kind, key, value, device=PHONE))
        assert error.kind is INVALID
        assert error.message.isprintable()
    assert await rig.store.range(SETTINGS, (ALICE,), limit=10) == []
    assert rig.told == []


@pytest.mark.parametrize(("key", "value"), [("k" * 129, b"1"), ("k", b"1" * 8193), ("k" * 1_000_000, b"1")])
async def test_what_is_too_long_is_too_large(key: str, value: bytes) -> None:
    rig = Rig()
    assert (await refused(rig.opaque(key, value))).kind is TOO_LARGE
    assert (await refused(rig.settings.write(ALICE, SettingKind.ACCOUNT, key, value))).kind is TOO_LARGE


@given(st.integers(0, 255), st.text(max_size=200), st.binary(max_size=100))
def test_a_setting_is_refused_clearly_or_can_be_stored(kind: int, key: str, value: bytes) -> None:
    limits = Limits()
    try:
        check(ALICE, kind, key, value, limits)
    except ProtocolError:
        return
    assert key.encode()
    assert "\0" not in key
    assert 0 < kind < 32


# --- devices agree --------------------------------------------------------------------------


class Known:
    """What a device knows of its user's settings, as a client would keep it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.settings: dict[tuple[int, str], Setting] = {}
        self.since_ms = 0

    def take(self, settings: list[Setting]) -> None:
        for setting in settings:
            held = self.settings.get((setting.kind, setting.key))
            if held is None or setting.at > held.at:
                self.settings[setting.kind, setting.key] = setting

    async def change(self, key: str, value: bytes) -> None:
        await self.device.ask(lambda n: Set(n, SettingKind.OPAQUE, key, value), Ok)

    async def sync(self) -> None:
        synced = await self.device.ask(lambda n: Sync(n, self.since_ms), Synced)
        self.take(synced.settings)
        self.since_ms = synced.at_ms
        assert not synced.more

    async def told(self) -> None:
        for frame in await self.device.settle():
            if isinstance(frame, Changed):
                self.take(frame.settings)

    @property
    def values(self) -> dict[tuple[int, str], bytes]:
        return {name: setting.value for name, setting in self.settings.items() if setting.value}


@asynccontextmanager
async def two_devices() -> AsyncIterator[tuple[World, Known, Known, Known]]:
    world = await World.start()
    phone = await world.register("alice")
    laptop = await world.login("alice")
    fresh = await world.login("alice")
    yield (
        world,
        Known(await world.online(phone)),
        Known(await world.online(laptop)),
        Known(await world.online(fresh)),
    )
    assert world.complaints == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "remove", "told", "away", "back", "later"]),
        st.integers(0, 1),
        st.sampled_from("abc"),
    ),
    max_size=30,
)


@pytest.mark.slow
@given(STEPS, st.randoms(use_true_random=False))
def test_devices_agree_whatever_came_in_which_way(steps: list[tuple[str, int, str]], random: Random) -> None:
    async def run() -> None:
        async with two_devices() as (world, phone, laptop, fresh):
            pair = [phone, laptop]
            for number, (what, which, key) in enumerate(steps):
                known = pair[which]
                match what:
                    case "set":
                        await known.change(key, b"%d" % number)
                    case "remove":
                        await known.change(key, b"")
                    case "told":
                        await known.told()
                    case "away":
                        await known.told()
                        known.device.drop()
                        known.device = await world.online(known.device.account, receive=False)
                    case "back":
                        known.device.drop()
                        known.device = await world.online(known.device.account)
                        await known.sync()
                    case "later":
                        world.clock.advance(random.choice([0.001, 1, 100]))
            for known in pair:
                await known.told()
                await known.sync()
            await fresh.sync()
            stored = await world.services.settings.changed_since(UserId(int(fresh.device.account.user_id)), 0)
            state = {(setting.kind, setting.key): setting.value for setting in stored if setting.value}
            assert phone.values == laptop.values == fresh.values == state

    asyncio.run(run())


async def test_old_state_and_events_are_the_fresh_state() -> None:
    async with two_devices() as (_, phone, laptop, fresh):
        await phone.change("a", b"1")
        await laptop.sync()
        await phone.change("a", b"2")
        await phone.change("b", b"1")
        await phone.change("b", b"")
        await laptop.told()
        await fresh.sync()
        assert laptop.values == fresh.values
        assert laptop.settings[SettingKind.OPAQUE, "a"].value == b"2"
        # The device that set it is not told, since it knows.
        assert [f for f in await phone.device.settle() if isinstance(f, Changed)] == []
        assert fresh.settings[SettingKind.OPAQUE, "b"].value == b""


async def test_a_bad_setting_is_answered_and_the_session_goes_on() -> None:
    async with two_devices() as (_, phone, laptop, _):
        phone.device.say(Set(99, SettingKind.ACCOUNT, "profile", b"1"))
        error = await phone.device.expect(frames.Error)
        assert (error.code, error.request_id) == (INVALID.code, 99)
        await phone.change("a", b"1")
        changed = await laptop.device.expect(Changed)
        assert changed.settings[0].key == "a"
        assert unix_ms(EntryId(changed.settings[0].at)) == 1_800_000_000_000
