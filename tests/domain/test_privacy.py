"""Privacy: who may see what, as a table, and what a question costs."""

import asyncio
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.privacy import DEFAULTS, Privacy
from tidings.domain.settings import PRIVACY_KEYS, Settings
from tidings.protocol.frames import SettingKind
from tidings.protocol.ids import EntryId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import Put
from tidings.store.memory import MemoryStore
from tidings.store.schema import SETTINGS, SettingRow
from tidings.testing.clock import FakeClock

ALICE, BOB, CAROL = UserId(7), UserId(1009), UserId(2003)
WHAT = sorted(DEFAULTS)


class CountingStore(MemoryStore):
    """Counts the rows that were asked for, and allows no ranges."""

    asked = 0

    async def get_many(self, table: Any, keys: Any) -> Any:
        self.asked += len(keys)
        return [await super(CountingStore, self).get(table, key) for key in keys]

    async def range(self, *arguments: Any, **options: Any) -> Any:
        raise AssertionError("a right is found by its key")


class Rig:
    def __init__(self) -> None:
        self.store = CountingStore()
        ids, limits = IdClock(FakeClock()), Limits()
        commit = GroupCommit(self.store, ids, limits, asyncio.get_running_loop())
        self.settings = Settings(self.store, commit, ids, self, limits)  # type: ignore[arg-type]
        self.privacy = Privacy(self.settings)

    def tell(self, *_: object, **__: object) -> None:
        """Nobody is connected."""

    async def set(self, kind: int, key: str, value: bytes, user: UserId = ALICE) -> None:
        await self.settings.set(user, kind, key, value, device=None)


def test_what_can_be_set_has_a_default() -> None:
    assert set(DEFAULTS) == PRIVACY_KEYS


async def test_by_default_a_number_is_for_contacts_and_all_else_for_everyone() -> None:
    rig = Rig()
    assert {what for what in WHAT if await rig.privacy.may_see(BOB, ALICE, what)} == set(WHAT) - {"phone"}
    await rig.set(SettingKind.CONTACT, str(BOB), b"-")
    assert await rig.privacy.may_see(BOB, ALICE, "phone")
    # It is whom the owner knows that counts, not who says that they know the owner.
    assert not await rig.privacy.may_see(ALICE, BOB, "phone")


@given(
    what=st.sampled_from(WHAT),
    says=st.sampled_from([None, b"everyone", b"contacts", b"nobody"]),
    contact=st.booleans(),
    blocked=st.booleans(),
    back=st.sampled_from(["none", "contact", "blocks"]),
)
def test_the_whole_matrix(what: str, says: bytes | None, *, contact: bool, blocked: bool, back: str) -> None:
    async def run() -> None:
        rig = Rig()
        if says is not None:
            await rig.set(SettingKind.PRIVACY, what, says)
        if contact:
            await rig.set(SettingKind.CONTACT, str(BOB), b"Bobby")
        if blocked:
            await rig.set(SettingKind.BLOCK, str(BOB), b"1")
        if back == "contact":
            await rig.set(SettingKind.CONTACT, str(ALICE), b"-", user=BOB)
        if back == "blocks":
            await rig.set(SettingKind.BLOCK, str(ALICE), b"1", user=BOB)
        holds = says or DEFAULTS[what]
        expected = not blocked and (holds == b"everyone" or (holds == b"contacts" and contact))
        assert await rig.privacy.may_see(BOB, ALICE, what) is expected
        assert await rig.privacy.may_see(ALICE, ALICE, what)
        assert await rig.privacy.is_blocked(ALICE, BOB) is blocked
        assert await rig.privacy.is_contact(ALICE, BOB) is contact

    asyncio.run(run())


async def test_what_is_set_for_one_thing_or_person_is_for_no_other() -> None:
    rig = Rig()
    await rig.set(SettingKind.PRIVACY, "last_seen", b"nobody")
    await rig.set(SettingKind.BLOCK, str(BOB), b"1")
    assert not await rig.privacy.may_see(CAROL, ALICE, "last_seen")
    assert await rig.privacy.may_see(CAROL, ALICE, "picture")
    assert await rig.privacy.may_see(BOB, CAROL, "picture")
    assert not await rig.privacy.is_blocked(BOB, ALICE)


@pytest.mark.parametrize(("kind", "key"), [(SettingKind.BLOCK, str(BOB)), (SettingKind.PRIVACY, "picture")])
async def test_what_was_removed_holds_no_more(kind: int, key: str) -> None:
    rig = Rig()
    await rig.set(kind, key, b"nobody" if kind == SettingKind.PRIVACY else b"1")
    assert not await rig.privacy.may_see(BOB, ALICE, "picture")
    for _ in range(2):
        await rig.set(kind, key, b"")
        assert await rig.privacy.may_see(BOB, ALICE, "picture")


async def test_a_question_costs_as_much_with_ten_thousand_contacts_as_with_none() -> None:
    rig = Rig()
    costs = []
    for contacts in (0, 10_000):
        rows = [
            SettingRow(ALICE, SettingKind.CONTACT, str(100_000 + number), b"-", EntryId(number + 1))
            for number in range(contacts)
        ]
        await rig.store.write([Put(SETTINGS, row, row.at) for row in rows])
        before = rig.store.asked
        for viewer, what in product((BOB, UserId(100_001)), WHAT):
            await rig.privacy.may_see(viewer, ALICE, what)
        costs.append(rig.store.asked - before)
    assert costs == [2 * len(WHAT) * 3] * 2
