"""Supplies: what must be asked of the server before something can be sealed or opened.

spec §6.16
"""

import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Protocol, TypeVar

from tidings.client.sealing import lists, own, sessions
from tidings.client.sealing.sealer import Lacking, Self
from tidings.client.sealing.sessions import End, Unopened
from tidings.client.sealing.warnings import warn
from tidings.protocol.frames import (
    Bundles,
    Claim,
    DeviceLists,
    DeviceName,
    Devices,
    Frame,
    SignedDevices,
)
from tidings.protocol.ids import DeviceId, EntryId, UserId
from tidings.protocol.keys import ListedDevice

USERS = 100
"""whose lists are asked for in one frame (spec §10, `people`)"""
DEVICES = 64
"""whose bundles are (spec §10, `claim_devices`)"""

T = TypeVar("T")
Ask = Callable[[Callable[[int], Frame]], Awaitable[object]]
"""Asks the server over a connection. Raises Refused, ConnectionLost."""


class Storage(Protocol):
    """The vault, as far as it is used here."""

    async def write(self, job: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T: ...

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T: ...


class Supplies:
    """Fetches lists and bundles, and keeps what may be gone by."""

    def __init__(
        self,
        vault: Storage,
        me: Self,
        now_ms: Callable[[], int],
        *,
        strict: bool,
        warned: Callable[[], None] = lambda: None,
    ) -> None:
        """`strict`: after a change of identity nothing is sealed for a user until they are trusted anew.

        `warned` is called when there may be something that the user is to be told.
        """
        self._warned = warned
        self._vault = vault
        self._me = me
        self._now_ms = now_ms
        self._strict = strict

    async def fetch(self, lacking: Lacking, ask: Ask) -> set[DeviceId]:
        """Have what is lacking; returns the devices that nothing can be sealed for.

        Raises what `ask` raises.
        """
        if lacking.lists_of:
            await self.lists(lacking.lists_of, ask)
            return set()
        return await self._bundles(lacking, ask)

    async def lists(self, users: Collection[UserId], ask: Ask) -> None:
        """Ask for the newest lists of users."""
        wanted = list(users)
        for first in range(0, len(wanted), USERS):
            answer = await ask(_lists_of(wanted[first : first + USERS]))
            assert isinstance(answer, DeviceLists)
            await self.take(answer.lists, answer.keys_at)

    async def take(self, signed: Iterable[SignedDevices], keys_at: EntryId) -> None:
        """Keep lists that the server told, as far as they may be gone by."""
        await self._vault.write(
            lambda database: [lists.store(database, one, keys_at, strict=self._strict) for one in signed]
        )
        self._warned()

    async def _bundles(self, lacking: Lacking, ask: Ask) -> set[DeviceId]:
        left_out: set[DeviceId] = set()
        for first in range(0, len(lacking.devices), DEVICES):
            left_out |= await self._some_bundles(lacking.devices[first : first + DEVICES], ask)
        return left_out

    async def _some_bundles(self, devices: list[tuple[UserId, ListedDevice]], ask: Ask) -> set[DeviceId]:
        wanted = {device.device_id: (user, device) for user, device in devices}
        names = [DeviceName(user, device_id) for device_id, (user, _) in wanted.items()]
        answer = await ask(lambda request_id: Claim(request_id, names))
        assert isinstance(answer, Bundles)
        now_ms = self._now_ms()

        def begin(database: sqlite3.Connection) -> set[DeviceId]:
            mine, mine_listed = own.load(database), lists.known(database, self._me.user_id)
            assert mine is not None
            assert mine_listed is not None
            me = End(self._me.user_id, self._me.device_id, mine_listed.identity)
            begun = set()
            for bundle in answer.bundles:
                user, listed = wanted.get(bundle.device_id, (None, None))
                if listed is None or user != bundle.user_id:
                    continue
                try:
                    sessions.begin(database, mine, me, listed, bundle, now_ms)
                    begun.add(bundle.device_id)
                except Unopened as error:
                    warn(database, "keys_forged", bundle.user_id, str(error))
            return set(wanted) - begun

        left_out = await self._vault.write(begin)
        self._warned()
        return left_out


def _lists_of(users: list[UserId]) -> Callable[[int], Frame]:
    return lambda request_id: Devices(request_id, users)
