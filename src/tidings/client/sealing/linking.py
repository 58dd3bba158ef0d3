"""Linking: how a device comes into the user's list, and out of it.

```
 new device: shows a code, publishes its keys and a mark of both ---> server
 one that is in: is told the code, checks the mark, signs the next list with the new device in it,
                 and answers with the user's identity, sealed for it, and a mark of its own ---> server
 new device: checks that mark, and is in
```

Who takes a device out signs a list without it; if it may be in wrong hands the user gets another
identity, signed by the one before, which the devices that stay are sent. Who has lost all of them starts
over on a new one, with an identity that nothing before it has signed.

spec §6.16, §7
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import msgspec
import tidings_core as core

from tidings.client import settings
from tidings.client.errors import ClientError, Refused
from tidings.client.sealing import codes, lists, own, sessions
from tidings.client.sealing.inside import unwrapped_identity, wrapped_identity
from tidings.client.sealing.lists import Listed
from tidings.client.sealing.publishing import Http, listed, public_keys, sign
from tidings.client.sealing.sealer import Self
from tidings.client.sealing.sessions import End, Ends, Unopened
from tidings.client.sealing.supplies import Ask, Storage, Supplies
from tidings.client.sealing.warnings import warn
from tidings.client.stretching import Stretch, stretched
from tidings.client.surroundings import Clock
from tidings.protocol.api import DeviceInfo, DeviceKeys, Done, KeysState, LinkReply, NewDevices
from tidings.protocol.errors import LIST_CHANGED
from tidings.protocol.frames import Bundle, SignedDevices
from tidings.protocol.ids import DeviceId
from tidings.protocol.keys import ListedDevice

LOOK_S = 1.0
"""how often to look for an answer, beside hearing of it"""
TRIES = 5
"""of signing the next list, where another device does the same at the same time"""


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """What a device is answered that is linked, or whose user has another identity now."""

    identity: bytes
    """the public key"""
    sender: int
    """the device that answers"""
    envelope: bytes
    """the private key, through a session of its own"""
    mark: bytes = b""
    """by the code; empty where the identity before signed the list"""


class Changed(NamedTuple):
    """A list that was signed, and what it was signed with."""

    signed: SignedDevices
    identity: core.SigningKey


class Linking:
    """See the module's text."""

    def __init__(
        self,
        vault: Storage,
        me: Self,
        http: Http,
        supplies: Supplies,
        clock: Clock,
        now_ms: Callable[[], int],
        settings_changed: Callable[[], None],
        taken: Callable[[], None] = lambda: None,
        stretch: Stretch = stretched,
        welcome: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`settings_changed` is called when settings wait to be told to the server.

        `taken` is called when this device got the identity: more settings can be opened, once asked for.
        `stretch` makes codes costly to guess. `welcome` is called when this device has let another one in.
        """
        self._stretch = stretch
        self._welcome = welcome
        self._settings_changed = settings_changed
        self._taken = taken
        self._vault = vault
        self._me = me
        self._http = http
        self._supplies = supplies
        self._clock = clock
        self._now_ms = now_ms

    # --- the new device -------------------------------------------------------------------

    async def offer(self) -> str:
        """Ask to be linked: the code to show. Raises Refused, Unreachable."""
        code = codes.new_code()
        key = await self._key_of(code, self._me.device_id)
        mine = await self._vault.write(lambda database: own.offered(database, key))
        prekey, last_resort = await self._vault.write(
            lambda database: own.renewed(database, mine.keys, self._now_ms())
        )
        mark = codes.mark_of_keys(key, mine.keys.signing, mine.keys.agreement)
        body = public_keys(mine, prekey, last_resort, mark)
        await self._http("PUT", "/v1/keys", KeysState, body)
        return code

    async def collect(self, ask: Ask, state: KeysState) -> bool:
        """Take what this device was answered, if it was; whether it is in. Raises what `ask` raises.

        `state` is what the server has of this device.
        """
        if not state.link_reply:
            return await self._vault.read(self._is_in)
        try:
            answer = msgspec.msgpack.decode(state.link_reply, type=Answer)
        except msgspec.DecodeError:
            return False
        if not await self._vault.write(lambda database: self._is_credible(database, answer)):
            # It may be in by this very answer: what was taken is not taken twice.
            return await self._vault.read(self._is_in)
        await self._supplies.lists([self._me.user_id], ask)
        is_in = await self._vault.write(lambda database: self._take(database, answer))
        if is_in:
            self._taken()
        return is_in

    async def linked(self, ask: Ask) -> None:
        """Return once this device is in. Raises Refused, Unreachable, and what `ask` raises."""
        while not await self.collect(ask, await self._http("GET", "/v1/keys", KeysState)):
            await self._clock.sleep(LOOK_S)

    async def finish(self) -> None:
        """Go on with a change of identity that was cut off. Raises as `approve`."""
        fresh = await self._vault.write(self._taken_fresh)
        known = await self._vault.read(lambda database: lists.known(database, self._me.user_id))
        if fresh is not None and known is not None:
            await self._hand_over_all(fresh, known.devices)

    def _taken_fresh(self, database: sqlite3.Connection) -> core.SigningKey | None:
        """The identity that the server has and this device did not know that it has."""
        fresh, known = own.fresh(database), lists.known(database, self._me.user_id)
        if fresh is None or known is None or known.identity != fresh.public:
            return None
        own.adopt_fresh(database, fresh)
        return fresh

    def _is_credible(self, database: sqlite3.Connection, answer: Answer) -> bool:
        """Whether it is of who was told the code, or of a device that is in, as we are."""
        shown, mine = own.link_keys(database), own.load(database)
        if mine is None or (mine.identity is not None and answer.identity == mine.identity.public):
            return False
        marks = [codes.mark_of_answer(key, answer.identity, answer.envelope) for key in shown]
        if any(codes.is_same(answer.mark, mark) for mark in marks):
            # Of whatever identity it was in before, perhaps under another than the one before this.
            own.forget_identity(database)
            return True
        if mine.identity is not None:
            return True  # by the list, which that identity has to have signed
        if not shown or not answer.mark:
            return False  # not to a code: another identity, for a device that was in
        warn(database, "list_forged", self._me.user_id, "the answer to the code was not of who knows it")
        return False

    def _take(self, database: sqlite3.Connection, answer: Answer) -> bool:
        mine, known = own.load(database), lists.known(database, self._me.user_id)
        sender = lists.device(database, self._me.user_id, DeviceId(answer.sender))
        if mine is None or known is None or sender is None or known.identity != answer.identity:
            return False
        ends = Ends(
            End(self._me.user_id, self._me.device_id, known.identity),
            End(self._me.user_id, sender.device_id, known.identity),
        )
        try:
            data = sessions.unwrap(database, mine, [ends], sender, answer.envelope, self._now_ms())
            secret, before = unwrapped_identity(data)
            identity = core.SigningKey.load(secret)
            former = core.SigningKey.load(before) if before else None
        except (Unopened, ValueError, core.CryptoError):
            return False
        if identity.public != known.identity:
            return False
        own.adopt(database, identity, former)
        settings.ask_again(database)
        return self._is_in(database)

    def _is_in(self, database: sqlite3.Connection) -> bool:
        mine, known = own.load(database), lists.known(database, self._me.user_id)
        return (
            mine is not None
            and mine.identity is not None
            and known is not None
            and known.identity == mine.identity.public
            and any(device.device_id == self._me.device_id for device in known.devices)
        )

    # --- one that is in -------------------------------------------------------------------

    async def is_linked(self) -> bool:
        """Whether this device is in the newest list that is known here, and has the identity."""
        return await self._vault.read(self._is_in)

    async def is_removable(self, device_id: DeviceId) -> bool:
        """Whether `remove` is what ends a device: the newest list names it, be it logged out or not."""
        if device_id == self._me.device_id:
            return await self.is_linked()
        known = await self._vault.read(lambda database: lists.known(database, self._me.user_id))
        return known is not None and (
            device_id in known.gone or any(device.device_id == device_id for device in known.devices)
        )

    async def approve(self, code: str, ask: Ask) -> DeviceId:
        """Link the device that shows a code. Raises ClientError, Refused, Unreachable, what `ask` raises."""
        found = await self._waiting(code, ask)
        if found is None:
            raise ClientError(
                "no device of this account shows this code",
                "is it typed right, and the newest that the device shows?",
            )
        device, keys, key = found

        def with_it(known: Listed) -> list[ListedDevice]:
            return [*(one for one in known.devices if one.device_id != device.device_id), device]

        identity = await self._vault.read(lambda database: self._identity_for(database, device))
        if identity is None:
            identity = (await self._change(lambda database: self._signed(database, with_it), ask)).identity
        await self._hand_over(identity, device, keys, key)
        if self._welcome is not None:
            await self._welcome()
        return device.device_id

    def _identity_for(self, database: sqlite3.Connection, device: ListedDevice) -> core.SigningKey | None:
        """The identity to answer a device with that is in the list already; None if it is not."""
        known, mine = lists.known(database, self._me.user_id), own.load(database)
        if known is None or mine is None or device not in known.devices or not self._is_in(database):
            return None
        return mine.identity

    async def remove(self, device_id: DeviceId, ask: Ask) -> None:
        """Take a device out: it is logged out, and reads nothing from then on.

        Raises as `approve`.
        """
        await self._change(
            lambda database: self._signed(database, lambda known: _without(known, device_id)), ask
        )

    async def renew_identity(self, stolen: DeviceId, secret: str, code: str, ask: Ask) -> None:
        """Take a device out that may be in wrong hands: with the identity's key, which is on it.

        `secret` is the login secret, `code` of the second factor. Raises as `approve`.
        """
        changed = await self._change(
            lambda database: self._signed(database, lambda known: _without(known, stolen), is_fresh=True),
            ask,
            is_fresh=True,
            secret=secret,
            code=code,
        )
        await self._hand_over_all(changed.identity, lists.checked(changed.signed).devices)

    async def start_over(self, secret: str, code: str, ask: Ask) -> None:
        """Begin with another identity on this device alone; the devices that were linked are logged out.

        `secret` is the login secret, `code` of the second factor. Raises as `approve`.
        """
        if await self._vault.read(self._is_in):
            raise ClientError(
                "this device is linked", "if another one is lost: tidings devices sign-out --stolen"
            )
        await self._change(self._begun_anew, ask, is_fresh=True, secret=secret, code=code)
        await self._tell_settings()

    async def _tell_settings(self) -> None:
        await self._vault.write(settings.tell_again)
        self._settings_changed()

    async def _hand_over_all(self, identity: core.SigningKey, devices: list[ListedDevice]) -> None:
        """Send another identity to the devices that stay. What is cut off is done again by `finish`."""
        for device in devices:
            if device.device_id == self._me.device_id:
                continue
            try:
                keys = await self._http("GET", f"/v1/devices/{device.device_id}/keys", DeviceKeys)
                await self._hand_over(identity, device, keys, None)
            except Refused as refusal:
                if refusal.retry_after_s is not None:
                    raise
                # It is gone.
        await self._vault.write(lambda database: own.handed_over(database, identity))
        await self._tell_settings()

    async def _waiting(self, code: str, ask: Ask) -> tuple[ListedDevice, DeviceKeys, bytes] | None:
        """The device that shows a code, its keys, and the code's key."""
        await self._supplies.lists([self._me.user_id], ask)
        known = await self._vault.read(lambda database: lists.known(database, self._me.user_id))
        are_in = set() if known is None else {one.device_id for one in known.devices}
        devices = [
            DeviceId(int(info.device_id)) for info in await self._http("GET", "/v1/devices", list[DeviceInfo])
        ]
        # One that is in shows a code if its answer was lost, or if it is an older copy of a profile.
        for device_id in sorted(devices, key=are_in.__contains__):
            if device_id == self._me.device_id:
                continue
            try:
                keys = await self._http("GET", f"/v1/devices/{device_id}/keys", DeviceKeys)
            except Refused:
                continue  # it has published none
            if not keys.link:
                continue
            key = await self._key_of(code, device_id)
            if codes.is_same(keys.link, codes.mark_of_keys(key, keys.signing, keys.agreement)):
                return ListedDevice(device_id, keys.signing, keys.agreement), keys, key
        return None

    async def _key_of(self, code: str, device_id: DeviceId) -> bytes:
        return await asyncio.to_thread(codes.stretched, code, self._me.user_id, device_id, self._stretch)

    async def _change(
        self,
        signing: Callable[[sqlite3.Connection], Changed],
        ask: Ask,
        *,
        is_fresh: bool = False,
        secret: str = "",
        code: str = "",
    ) -> Changed:
        """Sign the next list and have the server take it. `is_fresh`: it is of another identity."""
        for _ in range(TRIES):
            await self._supplies.lists([self._me.user_id], ask)
            changed = await self._vault.write(signing)
            signed = changed.signed
            body = NewDevices(signed.body, signed.signature, signed.previous_signature, secret, code)
            try:
                await self._http("PUT", "/v1/keys/devices", Done, body)
            except Refused as refusal:
                if refusal.code != LIST_CHANGED.code:
                    raise
                continue
            if is_fresh:
                await self._vault.write(partial(own.adopt_fresh, identity=changed.identity))
            await self._supplies.lists([self._me.user_id], ask)
            return changed
        raise ClientError("another device changes the device list at the same time", "try again")

    def _signed(
        self,
        database: sqlite3.Connection,
        devices: Callable[[Listed], list[ListedDevice]],
        *,
        is_fresh: bool = False,
    ) -> Changed:
        self._taken_fresh(database)  # an attempt may have been done of which that was not known
        mine, known = own.load(database), lists.known(database, self._me.user_id)
        if mine is None or mine.identity is None or known is None or known.identity != mine.identity.public:
            raise ClientError("this device is not linked itself", "use one that is: `tidings devices list`")
        left = devices(known)
        identity = own.made_fresh(database) if is_fresh else mine.identity
        previous = mine.identity if is_fresh else self._repeated(database)
        return Changed(sign(identity, self._me, known.version + 1, left, previous), identity)

    def _repeated(self, database: sqlite3.Connection) -> core.SigningKey | None:
        """The identity before this one, if the list names it: who missed the change learns of it later."""
        former = own.former(database)
        if former is None or former.public not in lists.identities(database, self._me.user_id)[1:]:
            return None
        return former

    def _begun_anew(self, database: sqlite3.Connection) -> Changed:
        mine, known = own.load(database), lists.known(database, self._me.user_id)
        if mine is None:
            raise ClientError("this device's keys are not published yet", "try again")
        fresh = own.made_fresh(database)
        version = 1 if known is None else known.version + 1
        return Changed(sign(fresh, self._me, version, [listed(mine, self._me)]), fresh)

    async def _hand_over(
        self, identity: core.SigningKey, device: ListedDevice, keys: DeviceKeys, key: bytes | None
    ) -> None:
        """Send a device the identity's private key."""

        def seal(database: sqlite3.Connection) -> Answer:
            mine = own.load(database)
            assert mine is not None
            me = End(self._me.user_id, self._me.device_id, identity.public)
            bundle = _bundle(self._me, device, keys)
            sessions.begin(database, mine, me, device, bundle, self._now_ms())
            former = self._repeated(database)
            data = wrapped_identity(identity.secret(), b"" if former is None else former.secret())
            envelope = sessions.wrap(database, device.device_id, data)
            mark = b"" if key is None else codes.mark_of_answer(key, identity.public, envelope)
            return Answer(identity.public, self._me.device_id, envelope, mark)

        try:
            answer = await self._vault.write(seal)
        except Unopened as error:
            raise ClientError(f"the keys of device {device.device_id} are wrong: {error}", "") from None
        reply = LinkReply(msgspec.msgpack.encode(answer))
        await self._http("PUT", f"/v1/devices/{device.device_id}/link", Done, reply)


def _without(known: Listed, device_id: DeviceId) -> list[ListedDevice]:
    """Whom the next list names. One that is logged out and still named is taken out, too: what logged it out
    may have failed half-way."""
    left = [one for one in known.devices if one.device_id != device_id]
    if len(left) == len(known.devices) and device_id not in known.gone:
        raise ClientError(f"device {device_id} is not in the list", "see: tidings devices list")
    return left


def _bundle(me: Self, device: ListedDevice, keys: DeviceKeys) -> Bundle:
    """What begins a session with a device of one's own; nobody else asks for it, so no one-time key."""
    return Bundle(
        me.user_id,
        device.device_id,
        keys.signing,
        keys.agreement,
        keys.agreement_signature,
        keys.prekey.id,
        keys.prekey.key,
        keys.prekey.signature,
        keys.kem.id,
        keys.kem.key,
        keys.kem.signature,
    )
