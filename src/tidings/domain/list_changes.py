"""Changes of device lists: the next one that a user has signed, and who may bring it.

A list is brought by a device that stands in the one before it. Another identity is brought by who has the
login secret: so a user whose devices are all lost, or stolen, begins anew, and everybody is shown that.

Devices that the new list leaves out are logged out before it is the newest one. Dying in between leaves
them logged out and the list to be brought again; bringing it again changes nothing more.

spec §6.16
"""

from collections.abc import Iterable

from tidings.domain.device_lists import DeviceLists
from tidings.domain.devices import Devices
from tidings.domain.notices import Notices
from tidings.domain.peers import Peers
from tidings.domain.proofs import Proofs
from tidings.domain.signatures import check_signature
from tidings.domain.tokens import Random
from tidings.domain.users import Users
from tidings.protocol.api import NewDevices, Proof
from tidings.protocol.errors import FORBIDDEN, INVALID, LIST_CHANGED, UNAUTHENTICATED, ProtocolError
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.keys import DEVICE_LIST, DeviceListBody, decode_list
from tidings.protocol.limits import Limits
from tidings.store.contract import Store
from tidings.store.schema import DEVICE_KEYS, DEVICES, DeviceListRow, UserRow

REQUEST_ID_BYTES = 16
ANY_NUMBER = 1 << 16
"""as a bound of devices in a list that was taken before, under a bound of then"""


class ListChanges:
    """Takes the next list of a user."""

    def __init__(
        self,
        store: Store,
        users: Users,
        devices: Devices,
        lists: DeviceLists,
        proofs: Proofs,
        random: Random,
        notices: Notices,
        limits: Limits,
        peers: Peers,
    ) -> None:
        self._store = store
        self._users = users
        self._devices = devices
        self._lists = lists
        self._proofs = proofs
        self._random = random
        self._notices = notices
        self._limits = limits
        self._peers = peers

    async def put(self, user_id: UserId, device_id: DeviceId, wanted: NewDevices) -> None:
        """Make a signed list the user's newest; every node knows it on return.

        Raises ProtocolError (invalid, list_changed, forbidden, unauthenticated, store_…, and for another
        identity wrong_credentials, code_needed, bad_…).
        """
        body = self._checked(user_id, await self._users.existing(user_id), wanted)
        before = await self._lists.row(user_id)
        if before is None or _body(before).identity == body.identity:
            async with self._users.lock(user_id):
                await self._put_held(user_id, device_id, body, wanted, is_proved=False)
        else:
            async with self._proofs.of(user_id, Proof(wanted.secret, wanted.code)):
                await self._put_held(user_id, device_id, body, wanted, is_proved=True)
        await self._notices.changed(user_id, "devices")

    def _checked(self, user_id: UserId, user: UserRow, wanted: NewDevices) -> DeviceListBody:
        """The list as such: whole, the user's, and signed."""
        try:
            body = decode_list(wanted.body, max(user.devices_max, self._limits.devices_per_user))
        except ValueError as error:
            raise ProtocolError(INVALID, str(error)) from None
        if body.user_id != user_id:
            raise ProtocolError(INVALID, "a device list of another user")
        check_signature("the list", body.identity, DEVICE_LIST, wanted.body, wanted.signature)
        if body.previous:
            check_signature(
                "the list by `previous`", body.previous, DEVICE_LIST, wanted.body, wanted.previous_signature
            )
        elif wanted.previous_signature:
            raise ProtocolError(INVALID, "a signature by `previous`, which is empty")
        return body

    async def _put_held(
        self,
        user_id: UserId,
        device_id: DeviceId,
        body: DeviceListBody,
        wanted: NewDevices,
        *,
        is_proved: bool,
    ) -> None:
        stored = await self._lists.stored(user_id)
        if stored is not None and stored.body == wanted.body:
            return  # brought before: what belongs to it was done then
        before = None if stored is None or not stored.body else _body(stored)
        if body.version != (0 if stored is None else stored.version) + 1:
            raise ProtocolError(LIST_CHANGED)
        self._check_right(device_id, before, body, is_proved=is_proved)
        await self._check_devices(user_id, device_id, body)
        kept = {device.device_id for device in body.devices}
        if before is not None:
            removed = [device.device_id for device in before.devices if device.device_id not in kept]
            await self._devices.revoke_held(user_id, removed)
        await self._replace(stored, kept, body, wanted)
        await self._peers.know()
        self._notices.audit(
            "devices_signed",
            user_id=user_id,
            device_id=device_id,
            version=body.version,
            another_identity=before is not None and before.identity != body.identity,
        )

    async def _replace(
        self,
        stored: DeviceListRow | None,
        devices: Iterable[DeviceId],
        body: DeviceListBody,
        wanted: NewDevices,
    ) -> None:
        """Make the list the newest one. Raises ProtocolError (list_changed, store_…).

        If that took so long that somebody may have read the one before it after a device's `added_at`, they
        would never be told that the device is missing: it is written once more, with a later one.
        """
        before = stored
        while True:
            since_ms = self._lists.now_ms()
            row = self._row(stored, devices, body, wanted)
            if not await self._lists.replace(before, row):
                raise ProtocolError(LIST_CHANGED)
            if not await self._peers.is_late(since_ms):
                return
            before = row

    def _check_right(
        self, device_id: DeviceId, before: DeviceListBody | None, body: DeviceListBody, *, is_proved: bool
    ) -> None:
        if before is None:
            if body.previous:
                raise ProtocolError(INVALID, "the first list has no `previous`")
        elif before.identity == body.identity:
            if body.previous not in (b"", before.previous):
                raise ProtocolError(INVALID, "`previous` names another identity than before")
            if all(device.device_id != device_id for device in before.devices):
                raise ProtocolError(FORBIDDEN, "only a device of the list may bring the next one")
        elif not is_proved:
            raise ProtocolError(LIST_CHANGED)  # by another device, since this was looked at
        elif body.previous not in (b"", before.identity):
            raise ProtocolError(INVALID, "`previous` is not the identity before this one")

    async def _check_devices(self, user_id: UserId, caller: DeviceId, body: DeviceListBody) -> None:
        """Every device of a list is the user's, and has published just these keys."""
        if await self._store.get(DEVICES, (user_id, caller)) is None:
            raise ProtocolError(UNAUTHENTICATED)
        names = [(user_id, device.device_id) for device in body.devices]
        keys = await self._store.get_many(DEVICE_KEYS, names)
        there = await self._store.get_many(DEVICES, names)
        for listed, row, device in zip(body.devices, keys, there, strict=True):
            if device is None:
                raise ProtocolError(INVALID, f"{listed.device_id} is no device of yours")
            if row is None or (row.signing, row.agreement) != (listed.signing, listed.agreement):
                raise ProtocolError(INVALID, f"device {listed.device_id} has not published these keys")

    def _row(
        self,
        stored: DeviceListRow | None,
        devices: Iterable[DeviceId],
        body: DeviceListBody,
        wanted: NewDevices,
    ) -> DeviceListRow:
        since = {} if stored is None else stored.added_at
        now = self._lists.added_from_now()
        return DeviceListRow(
            body.user_id,
            body.version,
            wanted.body,
            wanted.signature,
            wanted.previous_signature,
            {device: since.get(device, now) for device in devices},
            self._random(REQUEST_ID_BYTES),
        )


def _body(row: DeviceListRow) -> DeviceListBody:
    return decode_list(row.body, ANY_NUMBER)
