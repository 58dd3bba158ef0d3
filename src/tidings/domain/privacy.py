"""Privacy: what a user shows to whom, as their settings say.

A right is asked for anew each time: a few reads by full key, as many for a user of 10,000
contacts as for one of none, and nothing kept in memory that could be out of date.

spec §6.12
"""

from tidings.domain.settings import Settings
from tidings.protocol.frames import SettingKind
from tidings.protocol.ids import UserId

DEFAULTS = {
    "last_seen": b"everyone",
    "picture": b"everyone",
    "receipts": b"everyone",
    "phone": b"contacts",
    "groups": b"everyone",
}
"""What holds until a user says otherwise. By number only those find one whom one knows oneself:
whoever tries out numbers finds nobody."""


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
        key = str(viewer)
        blocked, says, contact = await self._settings.get_many(
            owner, [(SettingKind.BLOCK, key), (SettingKind.PRIVACY, what), (SettingKind.CONTACT, key)]
        )
        if blocked and not even_if_blocked:
            return False
        shown_to = says or DEFAULTS[what]
        return shown_to == b"everyone" or (shown_to == b"contacts" and contact is not None)

    async def is_blocked(self, by: UserId, whom: UserId) -> bool:
        """Whether `by` has blocked `whom`."""
        return await self._settings.get(by, SettingKind.BLOCK, str(whom)) is not None

    async def is_contact(self, of: UserId, whom: UserId) -> bool:
        """Whether `of` has `whom` among their contacts."""
        return await self._settings.get(of, SettingKind.CONTACT, str(whom)) is not None
