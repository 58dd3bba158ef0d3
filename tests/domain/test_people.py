"""People: found by whole handles and numbers, shown as they allow, and slow to enumerate."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from tidings.domain import people as people_module
from tidings.domain.people import Guesses, media_type_of
from tidings.protocol import frames
from tidings.protocol.api import Proof
from tidings.protocol.errors import (
    BAD_HANDLE,
    BAD_PHONE,
    INVALID,
    NO_SUCH_USER,
    RATE_LIMITED,
    STORE_FULL,
    TOO_LARGE,
    ProtocolError,
)
from tidings.protocol.frames import Changed, Lookup, Person, Profiles, Report, Set, SettingKind, Watch
from tidings.protocol.ids import EntryId, UserId
from tidings.protocol.limits import Limits, Rate
from tidings.store.contract import Put
from tidings.store.memory import Fault, MemoryStore, PlannedFaults
from tidings.store.schema import PHONES, PICTURES, PROFILES, USERS, PhoneRow, PictureRow
from tidings.testing.clock import FakeClock
from tidings.testing.world import PASSWORD, World

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
WEBP = b"RIFF\x00\x01\x00\x00WEBPVP8 " + bytes(100)
NUMBER = "+4930123456"
NOBODYS = "+4930999999"


class ReadsStore(MemoryStore):
    """Remembers which tables were read, row by row."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.reads: list[str] = []

    async def get(self, table: Any, key: Any) -> Any:
        self.reads.append(table.name)
        await asyncio.sleep(0)  # as a store on a disk does
        return await super().get(table, key)


class Rig:
    """A node with three people; Alice has a number."""

    def __init__(self, world: World, store: ReadsStore, faults: PlannedFaults) -> None:
        self.world = world
        self.store = store
        self.faults = faults
        self.people = world.services.people
        self.alice = self.bob = self.carol = UserId(0)

    @classmethod
    async def start(cls, **limits: Any) -> "Rig":
        faults = PlannedFaults(Random(1))
        store = ReadsStore(faults=faults)
        world = await World.start(store, limits=Limits(receipt_delay_s=0.0, **limits))
        rig = cls(world, store, faults)
        rig.alice, rig.bob, rig.carol = [
            UserId(int((await world.register(handle)).user_id)) for handle in ("alice", "bob", "carol")
        ]
        await rig.give_number(rig.alice, NUMBER)
        return rig

    async def change(self, user: UserId, **columns: Any) -> None:
        """Change an account's row, as domain/users.py does."""
        row = await self.store.get(USERS, (user,))
        assert row is not None
        cause = self.world.services.ids.next()
        await self.store.write([Put(USERS, msgspec.structs.replace(row, **columns), cause)])

    async def give_number(self, user: UserId, phone: str) -> None:
        await self.store.compare_and_set(PHONES, None, PhoneRow(phone, user, b"request"))
        await self.change(user, phone=phone)

    async def set(self, user: UserId, kind: int, key: object, value: bytes) -> None:
        await self.world.services.settings.set(user, kind, str(key), value, device=None)


async def refused(awaitable: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        await awaitable
    return caught.value


def same_answer(errors: list[ProtocolError]) -> bool:
    return len({(error.kind, error.message, error.retry_after_s) for error in errors}) == 1


# --- finding --------------------------------------------------------------------------------


async def test_somebody_is_found_by_their_whole_handle() -> None:
    rig = await Rig.start()
    for written in ("bob", "@bob", "BOB"):
        assert await rig.people.lookup(rig.alice, written, "") == Person(rig.bob, "bob")
    for part in ("bo", "bobb"):
        assert (await refused(rig.people.lookup(rig.alice, part, ""))).kind is NO_SUCH_USER
    assert (await rig.people.lookup(rig.alice, "alice", "")).user_id == rig.alice


async def test_by_number_only_those_find_one_whom_one_knows() -> None:
    rig = await Rig.start()
    assert (await refused(rig.people.lookup(rig.bob, "", NUMBER))).kind is NO_SUCH_USER
    await rig.set(rig.alice, SettingKind.CONTACT, rig.bob, b"-")
    assert (await rig.people.lookup(rig.bob, "", NUMBER)).handle == "alice"
    assert (await rig.people.lookup(rig.bob, "", "+49 (30) 123-456")).handle == "alice"
    assert (await refused(rig.people.lookup(rig.carol, "", NUMBER))).kind is NO_SUCH_USER
    await rig.set(rig.alice, SettingKind.PRIVACY, "phone", b"everyone")
    assert (await rig.people.lookup(rig.carol, "", NUMBER)).handle == "alice"
    await rig.set(rig.alice, SettingKind.PRIVACY, "phone", b"nobody")
    assert (await refused(rig.people.lookup(rig.bob, "", NUMBER))).kind is NO_SUCH_USER
    assert (await rig.people.lookup(rig.alice, "", NUMBER)).handle == "alice"


async def test_a_number_that_has_moved_on_from_an_account_finds_nobody() -> None:
    rig = await Rig.start()
    await rig.set(rig.alice, SettingKind.PRIVACY, "phone", b"everyone")
    await rig.change(rig.alice, phone="")
    assert (await refused(rig.people.lookup(rig.bob, "", NUMBER))).kind is NO_SUCH_USER


async def test_unknown_hidden_suspended_and_deleted_get_one_answer_after_the_same_reads() -> None:
    rig = await Rig.start()
    numbers = {"unknown": NOBODYS, "hidden": NUMBER, "suspended": "+4930111111", "deleted": "+4930222222"}
    for name, phone in list(numbers.items())[2:]:
        user = UserId(int((await rig.world.register(name)).user_id))
        await rig.give_number(user, phone)
        await rig.set(user, SettingKind.PRIVACY, "phone", b"everyone")
        await rig.change(user, **({"suspended_at": 1} if name == "suspended" else {"handle": ""}))
    errors, reads = [], []
    for phone in numbers.values():
        rig.store.reads.clear()
        errors.append(await refused(rig.people.lookup(rig.bob, "", phone)))
        reads.append(sorted(rig.store.reads))
    assert same_answer(errors)
    assert errors[0].kind is NO_SUCH_USER
    assert reads[0] == reads[1] == reads[2] == reads[3]
    by_handle = [await refused(rig.people.lookup(rig.bob, handle, "")) for handle in ("nobody", "suspended")]
    assert same_answer(by_handle)


async def test_who_is_blocked_finds_the_person_and_sees_next_to_nothing() -> None:
    rig = await Rig.start()
    await rig.people.set_profile(rig.alice, "Alice", "At tea")
    version = await rig.people.set_picture(rig.alice, None, PNG)
    full = Person(rig.alice, "alice", "Alice", "At tea", version)
    assert await rig.people.lookup(rig.bob, "alice", "") == full
    await rig.set(rig.alice, SettingKind.BLOCK, rig.bob, b"1")
    assert await rig.people.lookup(rig.bob, "alice", "") == Person(rig.alice, "alice", "Alice")
    assert await rig.people.picture(rig.bob, rig.alice) is None
    await rig.set(rig.alice, SettingKind.BLOCK, rig.bob, b"")
    assert await rig.people.lookup(rig.bob, "alice", "") == full


async def test_a_picture_is_shown_to_whom_the_owner_says() -> None:
    rig = await Rig.start()
    version = await rig.people.set_picture(rig.alice, "image/png", PNG)
    await rig.set(rig.alice, SettingKind.PRIVACY, "picture", b"contacts")
    await rig.set(rig.alice, SettingKind.CONTACT, rig.carol, b"-")
    assert (await rig.people.person(rig.bob, rig.alice)).picture == 0
    assert await rig.people.picture(rig.bob, rig.alice) is None
    assert (await rig.people.person(rig.carol, rig.alice)).picture == version
    assert await rig.people.picture(rig.carol, rig.alice) == ("image/png", PNG, version)
    assert await rig.people.picture(rig.alice, rig.alice) == ("image/png", PNG, version)


async def test_profiles_leave_out_who_is_not_there() -> None:
    rig = await Rig.start(people=5)
    await rig.people.set_profile(rig.bob, "Bob", "")
    await rig.change(rig.carol, handle="")
    asked = [rig.bob, UserId(1), rig.carol, rig.bob, rig.alice]
    assert await rig.people.profiles(rig.alice, asked) == [
        Person(rig.bob, "bob", "Bob"),
        Person(rig.alice, "alice"),
    ]
    assert await rig.people.profiles(rig.alice, []) == []
    assert (await refused(rig.people.profiles(rig.alice, [*asked, rig.bob]))).kind is TOO_LARGE
    assert (await refused(rig.people.person(rig.alice, UserId(1)))).kind is NO_SUCH_USER


@pytest.mark.parametrize(
    ("handle", "phone", "kind"),
    [
        ("", "", INVALID),
        ("bob", NUMBER, INVALID),
        ("bob'--", "", BAD_HANDLE),
        ("../alice", "", BAD_HANDLE),
        ("b\0b", "", BAD_HANDLE),
        ("b" * 100_000, "", BAD_HANDLE),
        ("", "030123456", BAD_PHONE),
        ("", "+49' OR 1=1 --", BAD_PHONE),
        ("", "+" + "4" * 100_000, BAD_PHONE),
        ("", "+4930123456\0", BAD_PHONE),
        ("", "+٤٩٣٠١٢٣٤٥٦", BAD_PHONE),
    ],
)
async def test_what_is_no_handle_and_no_number_is_said_to_be_none(handle: str, phone: str, kind: Any) -> None:
    rig = await Rig.start()
    error = await refused(rig.people.lookup(rig.alice, handle, phone))
    assert error.kind is kind
    assert error.message.isprintable()


# --- enumerating ----------------------------------------------------------------------------


async def test_trying_numbers_out_gets_slow_twice_as_fast_as_finding_people() -> None:
    rig = await Rig.start(lookup_rate=Rate(per_s=0.1, burst=10))
    for _ in range(10):
        await rig.people.lookup(rig.alice, "bob", "")
    error = await refused(rig.people.lookup(rig.alice, "bob", ""))
    assert error.kind is RATE_LIMITED
    assert error.retry_after_s is not None
    rig.world.clock.advance(error.retry_after_s)
    await rig.people.lookup(rig.alice, "bob", "")
    tried = 0
    while (error := await refused(rig.people.lookup(rig.bob, "", f"+49301{tried:05}"))).kind is NO_SUCH_USER:
        tried += 1
    assert error.kind is RATE_LIMITED
    assert tried == 5
    await rig.people.lookup(rig.carol, "bob", "")


async def test_guessing_ids_gets_slow_and_asking_for_known_ones_does_not() -> None:
    rig = await Rig.start(lookup_rate=Rate(per_s=0.1, burst=10))
    for _ in range(50):
        await rig.people.profiles(rig.alice, [rig.bob, rig.carol])
    guessed = [UserId(number) for number in range(1, 31)]
    assert await rig.people.profiles(rig.alice, guessed) == []
    error = await refused(rig.people.profiles(rig.alice, [rig.bob]))
    assert error.kind is RATE_LIMITED
    assert error.retry_after_s is not None
    assert 200 <= error.retry_after_s <= 201
    rig.world.clock.advance(error.retry_after_s)
    assert len(await rig.people.profiles(rig.alice, [rig.bob])) == 1


def test_who_looks_up_is_remembered_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people_module, "ASKERS_TRACKED", 2)
    guesses = Guesses(FakeClock(), Limits(lookup_rate=Rate(per_s=1, burst=1)))
    guesses.check(UserId(1))
    with pytest.raises(ProtocolError):
        guesses.check(UserId(1))
    guesses.check(UserId(2))
    guesses.check(UserId(3))
    guesses.check(UserId(1))
    with pytest.raises(ProtocolError):
        guesses.check(UserId(3))


# --- profiles -------------------------------------------------------------------------------


async def test_a_profile_is_kept_and_the_users_devices_learn_that_it_changed() -> None:
    rig = await Rig.start()
    device = await rig.world.online(await rig.world.login("alice"))
    await device.settle()
    await rig.people.set_profile(rig.alice, "  Alice  Liddell ", "Down the\r\nrabbit hole\n")
    person = await rig.people.person(rig.bob, rig.alice)
    assert (person.name, person.about) == ("Alice Liddell", "Down the\nrabbit hole")
    changed = await device.expect(Changed)
    first = changed.settings[0]
    assert (first.kind, first.key) == (SettingKind.ACCOUNT, "profile")
    await rig.people.set_profile(rig.alice, "", "")
    second = (await device.expect(Changed)).settings[0]
    assert int(second.value) > int(first.value)
    assert await rig.people.person(rig.bob, rig.alice) == Person(rig.alice, "alice")


@pytest.mark.parametrize(
    ("name", "about", "kind"),
    [
        ("a" * 65, "", TOO_LARGE),
        ("", "a" * 257, TOO_LARGE),
        ("a" * 1_000_000, "", TOO_LARGE),
        ("", "a" * 1_000_000, TOO_LARGE),
        ("a" + "\u0301" * 10_000, "", TOO_LARGE),
        ("a" + "\u0301" * 60, "", INVALID),
        ("Alice\u202e", "", INVALID),
        ("Alice\n", "", INVALID),
        ("Alice", "\x1b]0;title\x07", INVALID),
    ],
)
async def test_a_bad_profile_is_a_clear_error_and_changes_nothing(name: str, about: str, kind: Any) -> None:
    rig = await Rig.start()
    await rig.people.set_profile(rig.alice, "Alice", "At tea")
    for _ in range(2):
        error = await refused(rig.people.set_profile(rig.alice, name, about))
        assert error.kind is kind
        assert "name" in error.message or "about" in error.message
        assert error.message.isprintable()
    assert await rig.people.person(rig.bob, rig.alice) == Person(rig.alice, "alice", "Alice", "At tea")


async def test_name_and_picture_changed_at_once_are_both_there() -> None:
    rig = await Rig.start()
    for turns in range(20):
        picture = asyncio.create_task(rig.people.set_picture(rig.alice, None, (PNG, JPEG)[turns % 2]))
        for _ in range(turns):
            await asyncio.sleep(0)
        await rig.people.set_profile(rig.alice, f"Alice {turns}", "")
        version = await picture
        assert await rig.people.person(rig.bob, rig.alice) == Person(
            rig.alice, "alice", f"Alice {turns}", "", version
        )


@pytest.mark.parametrize(
    ("data", "media_type"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (WEBP, "image/webp")]
)
async def test_a_picture_is_what_its_first_bytes_say(data: bytes, media_type: str) -> None:
    rig = await Rig.start()
    assert media_type_of(data) == media_type
    first = await rig.people.set_picture(rig.alice, media_type, data)
    second = await rig.people.set_picture(rig.alice, None, data)
    assert second > first
    assert await rig.people.picture(rig.bob, rig.alice) == (media_type, data, second)


@pytest.mark.parametrize(
    ("media_type", "data", "kind"),
    [
        ("image/png", JPEG, INVALID),
        ("text/html", PNG, INVALID),
        ("image/png", b"", INVALID),
        (None, b"<svg onload=alert(1)>", INVALID),
        (None, b"GIF89a" + bytes(100), INVALID),
        (None, b"RIFF\x00\x01\x00\x00WAVE", INVALID),
        (None, b"\x89PNG", INVALID),
        (None, PNG + bytes(64 * 1024), TOO_LARGE),
    ],
)
async def test_what_is_no_picture_is_refused_and_the_old_one_stays(
    media_type: str | None, data: bytes, kind: Any
) -> None:
    rig = await Rig.start()
    version = await rig.people.set_picture(rig.alice, None, PNG)
    assert (await refused(rig.people.set_picture(rig.alice, media_type, data))).kind is kind
    assert await rig.people.picture(rig.alice, rig.alice) == ("image/png", PNG, version)


async def test_a_picture_can_be_taken_away_twice_and_leaves_nothing() -> None:
    rig = await Rig.start()
    await rig.people.set_profile(rig.alice, "Alice", "")
    await rig.people.set_picture(rig.alice, None, PNG)
    for _ in range(2):
        assert await rig.people.set_picture(rig.alice, None, b"") == 0
        assert await rig.people.picture(rig.alice, rig.alice) is None
        assert await rig.people.person(rig.bob, rig.alice) == Person(rig.alice, "alice", "Alice")
    row = await rig.store.get(PICTURES, (rig.alice,))
    assert row is not None
    assert row.data == b""


@pytest.mark.parametrize("place", [0, 1])
async def test_a_disk_that_fills_up_leaves_the_old_picture_or_the_new_one_whole(place: int) -> None:
    rig = await Rig.start()
    old = await rig.people.set_picture(rig.alice, None, PNG)
    rig.faults.writes.extend([None] * place + [Fault.FULL])
    assert (await refused(rig.people.set_picture(rig.alice, None, JPEG))).kind is STORE_FULL
    person = await rig.people.person(rig.bob, rig.alice)
    assert person.picture == old
    found = await rig.people.picture(rig.bob, rig.alice)
    assert found is not None
    # The version goes with the bytes, so nobody keeps new bytes under the old one.
    assert found[1:] == (PNG, old) if place == 0 else found[1] == JPEG and found[2] > old
    again = await rig.people.set_picture(rig.alice, None, JPEG)
    assert await rig.people.picture(rig.bob, rig.alice) == ("image/jpeg", JPEG, again)
    assert (await rig.people.person(rig.bob, rig.alice)).picture == again


async def test_taking_a_picture_away_hides_it_even_if_the_bytes_could_not_be_removed() -> None:
    rig = await Rig.start()
    await rig.people.set_picture(rig.alice, None, PNG)
    rig.faults.writes.extend([None, Fault.FULL])
    assert (await refused(rig.people.set_picture(rig.alice, None, b""))).kind is STORE_FULL
    assert await rig.people.picture(rig.bob, rig.alice) is None
    row = await rig.store.get(PICTURES, (rig.alice,))
    assert isinstance(row, PictureRow)
    await rig.people.set_picture(rig.alice, None, b"")
    assert (await rig.store.get(PROFILES, (rig.alice,))).picture == EntryId(0)  # type: ignore[union-attr]


# --- over a connection ----------------------------------------------------------------------


async def test_people_are_looked_up_over_a_connection() -> None:
    rig = await Rig.start()
    device = await rig.world.online(await rig.world.login("alice"))
    found = await device.ask(lambda n: Lookup(n, handle="bob"), frames.People)
    assert found.people == [Person(rig.bob, "bob")]
    many = await device.ask(lambda n: Profiles(n, [rig.bob, rig.carol]), frames.People)
    assert [person.handle for person in many.people] == ["bob", "carol"]
    await device.ask(lambda n: Set(n, SettingKind.BLOCK, str(rig.bob), b"1"), frames.Ok)
    device.say(Lookup(1000, phone=NOBODYS))
    error = await device.expect(frames.Error)
    assert (error.code, error.request_id) == (NO_SUCH_USER.code, 1000)
    assert rig.world.complaints == []


async def test_handles_cannot_be_tried_out_by_opening_conversations() -> None:
    world = await World.start(limits=Limits(receipt_delay_s=0.0, lookup_rate=Rate(per_s=0.1, burst=3)))
    await world.register("bob")
    alice = await world.online(await world.register("alice"))
    codes = [
        (await alice.ask(lambda n, at=at: frames.OpenDirect(n, f"nobody{at}"), frames.Error)).code
        for at in range(6)
    ]
    assert codes == [NO_SUCH_USER.code] * 4 + [RATE_LIMITED.code] * 2
    # Who writes to people whom there are may write to many.
    carol = await world.online(await world.register("carol"))
    for _ in range(6):
        await carol.open("bob")


@pytest.mark.parametrize(
    "guess",
    [
        lambda n, user_id: Profiles(n, [user_id]),
        lambda n, user_id: Watch(n, [user_id]),
        lambda n, user_id: Report(n, user_id, "spam"),
    ],
    ids=["profiles", "watch", "report"],
)
async def test_ids_cannot_be_tried_out_by_naming_them(guess: Callable[[int, UserId], frames.Frame]) -> None:
    world = await World.start(limits=Limits(receipt_delay_s=0.0, lookup_rate=Rate(per_s=0.1, burst=3)))
    bob = UserId(int((await world.register("bob")).user_id))
    alice = await world.online(await world.register("alice"))
    for _ in range(9):  # who is there may be named often
        alice.say(guess(900, bob))
    answers = []
    for at in range(1, 7):
        alice.say(guess(at, UserId(bob - at)))
        answer = await alice.expect(frames.Frame, lambda one, at=at: getattr(one, "request_id", None) == at)
        answers.append(answer.code if isinstance(answer, frames.Error) else None)
    assert answers[4:] == [RATE_LIMITED.code] * 2
    assert RATE_LIMITED.code not in answers[:4]
    assert world.complaints == []


async def test_to_name_those_whose_accounts_are_gone_is_no_guess() -> None:
    world = await World.start(limits=Limits(receipt_delay_s=0.0, lookup_rate=Rate(per_s=0.1, burst=3)))
    bob = UserId(int((await world.register("bob")).user_id))
    alice = await world.online(await world.register("alice"))
    await alice.open("bob")
    await world.services.account_rules.departures.depart(bob, Proof(PASSWORD))
    for _ in range(9):
        watched = await alice.ask(lambda n: Watch(n, [bob]), frames.Presences)
        assert [(item.online, item.last_seen_ms) for item in watched.items] == [(False, None)]
        assert (await alice.ask(lambda n: Profiles(n, [bob]), frames.People)).people == []
