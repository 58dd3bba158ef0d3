"""Privacy: what a user shows to whom, as their settings say.

A right is asked for anew each time: a few reads by full key, as many for a user of 10,000
contacts as for one of none, and nothing kept in memory that could be out of date.

spec §6.12
"""

from collections.abc import Sequence
from typing import NamedTuple

from tidings.domain.settings import Settings
from tidings.protocol.frames import SettingKind
from tidings.protocol.ids import EntryId, UserId

DEFAULTS = {
    "last_seen": b"everyone",
    "picture": b"everyone",
    "receipts": b"everyone",
    "phone": b"contacts",
    "groups": b"everyone",
}
"""What holds until a user says otherwise. By number only those find one whom one knows oneself:
whoever tries out numbers finds nobody."""


class Towards(NamedTuple):
    """What a user hides from another one."""

    blocked_at: EntryId | None
    """since when they block them"""
    shows_receipts: bool
    """but for the block"""


class Privacy:
    """Answers who may see what. Raises StoreError where the settings cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def may_see(
        self, viewer: UserId, owner: UserId, what: str, *, even_if_blocked: bool = False
    ) -> bool:
        """Whether `owner` shows `viewer` their last_seen, picture or receipts, is found by phone, or lets
        themselves be added to `groups`.

        Who is blocked sees nothing, oneself everything.
        """
        if viewer == owner:
            return True
        blocked, says, contact = await self._settings.get_many(owner, _says_so(viewer, what))
        if blocked and not even_if_blocked:
            return False
        return _shows(what, says, is_contact=contact is not None)

    async def show_all(self, viewer: UserId, owners: Sequence[UserId], what: str) -> bool:
        """Whether `may_see` holds for each of some owners: one request of the store."""
        names = _says_so(viewer, what)
        others = [owner for owner in owners if owner != viewer]
        rows = await self._settings.rows_of([(owner, *name) for owner in others for name in names])
        return all(
            block is None
            and _shows(what, None if says is None else says.value, is_contact=contact is not None)
            for block, says, contact in zip(rows[::3], rows[1::3], rows[2::3], strict=True)
        )

    async def towards(self, owner: UserId, viewer: UserId) -> Towards:
        """What `owner` hides from `viewer` in their conversation: one request of the store."""
        block, says, contact = await self._settings.rows(owner, _says_so(viewer, "receipts"))
        return Towards(
            None if block is None else block.at,
            _shows("receipts", None if says is None else says.value, is_contact=contact is not None),
        )

    async def is_blocked(self, by: UserId, whom: UserId) -> bool:
        """Whether `by` has blocked `whom`."""
        return await self._settings.get(by, SettingKind.BLOCK, str(whom)) is not None

    async def is_contact(self, of: UserId, whom: UserId) -> bool:
        """Whether `of` has `whom` among their contacts."""
        return await self._settings.get(of, SettingKind.CONTACT, str(whom)) is not None


def _says_so(viewer: UserId, what: str) -> list[tuple[int, str]]:
    """The settings of an owner that say whether a viewer sees something: block, right, contact."""
    key = str(viewer)
    return [(SettingKind.BLOCK, key), (SettingKind.PRIVACY, what), (SettingKind.CONTACT, key)]


def _shows(what: str, says: bytes | None, *, is_contact: bool) -> bool:
    shown_to = says or DEFAULTS[what]
    return shown_to == b"everyone" or (shown_to == b"contacts" and is_contact)
