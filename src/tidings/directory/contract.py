"""The directory: which node holds which device, and what every backend promises about it.

A *place* says that a session of a device is on a node. It is entered when the session begins,
refreshed while it lasts, and gone when it leaves or was not refreshed for `KEEP_S`.

Visibility. When `enter` returns, every look-up that is begun from then on finds the place, unless the
directory forgets.

One session a device. Of two sessions of one device the one with the greater number counts. `enter`
and `refresh` tell who finds a greater one.

Loss. A directory may forget anything at any time: a place that is missing says nothing. `refresh`
tells whose place was missing and enters it again.

Time. `time_ms` is one clock for all nodes, and so is what a place says of when it was heard of.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from tidings.protocol.ids import DeviceId, UserId

KEEP_S = 60
"""How long a place lasts that nobody refreshes."""
REFRESH_S = 20
"""How often whoever holds a session refreshes its place."""


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """That a session of a device is on a node."""

    user_id: UserId
    device_id: DeviceId
    session: int
    """of two of one device the greater counts; never used twice"""
    node: int
    """the incarnation of the node (see `tidings.domain.leases`), never used twice"""


class Found(IntEnum):
    """What `enter` and `refresh` found where a place belongs."""

    OWN = 0
    """this place"""
    NOTHING = 1
    """nothing; the place is entered now"""
    OLDER = 2
    """a place of an earlier session; this one is entered instead"""
    NEWER = 3
    """a place of a later session, which stays"""


class Entered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of a place that was entered or refreshed."""

    found: Found
    node: int = 0
    """of OLDER and NEWER: where that session is"""
    session: int = 0
    """of OLDER and NEWER: its number"""


class DirectoryError(Exception):
    """What a directory may answer instead of doing its work. It may or may not have done it."""


class DirectoryUnavailable(DirectoryError):
    """The directory cannot be reached, or is closed. A repeat may succeed."""


class Directory(Protocol):
    """See the module's text for what is promised. Every method but `on_loss` may raise DirectoryError."""

    async def enter(self, places: Sequence[Place]) -> list[Entered]:
        """Enter places, or refresh those that are there; what was found, in their order."""

    async def leave(self, places: Sequence[Place]) -> None:
        """Remove places; those of other sessions of the same devices stay."""

    async def look_up(self, users: Sequence[UserId]) -> list[list[Place]]:
        """The places of users, in the order asked for; of one of whom nothing is known, none."""

    async def time_ms(self, *, fresh: bool = False) -> int:
        """The directory's clock, Unix ms.

        Not before the moment at which the last store operation, whose end the caller has seen,
        could be seen by readers. Where it cannot promise that without asking, it asks. `fresh`: it
        asks in any case, and what it says is true to within the time that the call took.
        """

    def on_loss(self, lost: Callable[[], None]) -> None:
        """Have `lost` called when everything may have been forgotten (a new hub, a failover)."""

    async def close(self) -> None:
        """Release the connection."""
