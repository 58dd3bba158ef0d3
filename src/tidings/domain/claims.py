"""Claims: what it takes to write to devices for the first time.

A bundle comes of a device that stands in its user's signed list, is logged in and has published the keys
that the list says. A one-time pair is added where one is left; who asks too often, and everybody in a
rush, gets bundles without, which open a session all the same.

spec §6.16
"""

from collections import OrderedDict
from collections.abc import Sequence

from tidings.domain.clock import Clock
from tidings.domain.device_lists import DeviceLists
from tidings.domain.people import People
from tidings.domain.prekeys import Prekeys
from tidings.protocol.errors import TOO_LARGE, ProtocolError
from tidings.protocol.frames import Bundle, DeviceName, SignedDevices
from tidings.protocol.ids import DeviceId, EntryId, UserId
from tidings.protocol.keys import ListedDevice, decode_list
from tidings.protocol.limits import Limits
from tidings.store.contract import Store
from tidings.store.schema import DEVICE_KEYS, DEVICES, DeviceKeysRow, OneTimeKeyRow

HOUR_S = 3600.0
ASKED_TRACKED = 10_000
"""pairs of an asker and a device whose claims are counted"""
ANY_NUMBER = 1 << 16
"""as a bound of devices in a list: it was held to the real one when it was taken"""


class Claims:
    """Answers who wants to write."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lists: DeviceLists,
        prekeys: Prekeys,
        people: People,
        limits: Limits,
    ) -> None:
        self._store = store
        self._lists = lists
        self._prekeys = prekeys
        self._people = people
        self._limits = limits
        self._allowance = _Allowance(clock, limits)
        self.one_time_given = 0
        """for the metrics"""
        self.bundles_given = 0

    async def lists(self, asker: UserId, user_ids: Sequence[UserId]) -> tuple[EntryId, list[SignedDevices]]:
        """The signed lists of users, and their `keys_at`. Raises ProtocolError (too_large, rate_limited)."""
        if len(user_ids) > self._limits.people:
            raise ProtocolError(TOO_LARGE, f"at most {self._limits.people} users are asked for at once")
        return await self._lists.signed(await self._people.present(asker, user_ids))

    async def claim(self, asker: UserId, names: Sequence[DeviceName]) -> list[Bundle]:
        """Bundles of devices, in order, without those that cannot be written to.

        Raises ProtocolError (too_large, rate_limited, store_…).
        """
        if len(names) > self._limits.claim_devices:
            raise ProtocolError(TOO_LARGE, f"at most {self._limits.claim_devices} devices at once")
        wanted: dict[UserId, list[DeviceId]] = {}
        for name in names:
            wanted.setdefault(name.user_id, []).append(name.device_id)
        bundles = []
        for user_id in await self._people.present(asker, list(wanted)):
            for keys in await self._published(user_id, dict.fromkeys(wanted[user_id])):
                bundles.append(_bundle(keys, await self._one_time(asker, keys.device_id)))
        self.bundles_given += len(bundles)
        return bundles

    async def _published(self, user_id: UserId, devices: dict[DeviceId, None]) -> list[DeviceKeysRow]:
        """The keys of those devices that can be written to."""
        row = await self._lists.row(user_id)
        if row is None:
            return []
        listed = {device.device_id: device for device in decode_list(row.body, ANY_NUMBER).devices}
        names = [(user_id, device_id) for device_id in devices if device_id in listed]
        keys = await self._store.get_many(DEVICE_KEYS, names)
        # Last, so that of a device that is just being removed nothing is given away.
        there = await self._store.get_many(DEVICES, names)
        return [
            row
            for row, device in zip(keys, there, strict=True)
            if row is not None and device is not None and _is_as_listed(row, listed[row.device_id])
        ]

    async def _one_time(self, asker: UserId, device_id: DeviceId) -> OneTimeKeyRow | None:
        if not self._allowance.has(asker, device_id):
            return None
        given = await self._prekeys.take(device_id)
        if given is not None:
            self._allowance.note(asker, device_id)
            self.one_time_given += 1
        return given


class _Allowance:
    """How many one-time pairs are given: to one user of one device in an hour, and by this node at all."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._given: OrderedDict[tuple[UserId, DeviceId], list[float]] = OrderedDict()
        """when, of each asker and device"""
        self._tokens = float(limits.one_time_rate.burst)
        self._at_s = clock.monotonic_s()

    def has(self, asker: UserId, device_id: DeviceId) -> bool:
        """Whether one more may be given now."""
        now_s, rate = self._clock.monotonic_s(), self._limits.one_time_rate
        self._tokens = min(rate.burst, self._tokens + (now_s - self._at_s) * rate.per_s)
        self._at_s = now_s
        given = [at_s for at_s in self._given.get((asker, device_id), ()) if now_s - at_s < HOUR_S]
        return self._tokens >= 1 and len(given) < self._limits.claims_per_hour

    def note(self, asker: UserId, device_id: DeviceId) -> None:
        """One was given."""
        now_s, name = self._clock.monotonic_s(), (asker, device_id)
        self._tokens -= 1
        given = [at_s for at_s in self._given.get(name, ()) if now_s - at_s < HOUR_S]
        self._given[name] = [*given, now_s]
        self._given.move_to_end(name)
        if len(self._given) > ASKED_TRACKED:
            self._given.popitem(last=False)


def _is_as_listed(keys: DeviceKeysRow, listed: ListedDevice) -> bool:
    return (keys.signing, keys.agreement) == (listed.signing, listed.agreement)


def _bundle(keys: DeviceKeysRow, one_time: OneTimeKeyRow | None) -> Bundle:
    kem = (
        (keys.kem.id, keys.kem.key, keys.kem.signature)
        if one_time is None
        else (one_time.id, one_time.kem, one_time.kem_signature)
    )
    return Bundle(
        keys.user_id,
        keys.device_id,
        keys.signing,
        keys.agreement,
        keys.agreement_signature,
        keys.prekey.id,
        keys.prekey.key,
        keys.prekey.signature,
        *kem,
        None if one_time is None else one_time.id,
        None if one_time is None else one_time.key,
    )
