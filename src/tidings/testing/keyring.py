"""Keys of people who do not exist: real signatures, and prekeys that open nothing.

The server looks at signatures and lengths alone, so that is all that is right about these.
"""

from random import Random

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidings.protocol.api import DeviceKeys, LoggedIn, NewDevices, OneTimeKey, OneTimeKeys, SignedKey
from tidings.protocol.ids import DeviceId
from tidings.protocol.keys import (
    AGREEMENT,
    DEVICE_LIST,
    KEM_KEY_BYTES,
    KEM_PREKEY,
    PREKEY,
    PUBLIC_KEY_BYTES,
    DeviceListBody,
    ListedDevice,
    encode_list,
    named_key,
    signed_bytes,
)


class Signer:
    """An Ed25519 key."""

    def __init__(self, random: Random) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(random.randbytes(PUBLIC_KEY_BYTES))
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, tag: str, message: bytes) -> bytes:
        """Its signature of a message of some kind."""
        return self._key.sign(signed_bytes(tag, message))


class KeyedDevice:
    """A device and its keys."""

    def __init__(self, account: LoggedIn, random: Random) -> None:
        self.account = account
        self.device_id: DeviceId = account.ids()[1]
        self.signer = Signer(random)
        self.agreement = random.randbytes(PUBLIC_KEY_BYTES)
        self._random = random

    @property
    def listed(self) -> ListedDevice:
        """As it stands in its user's list."""
        return ListedDevice(self.device_id, self.signer.public, self.agreement)

    def keys(self, number: int = 1, link: bytes = b"") -> DeviceKeys:
        """What it publishes, with prekeys of this number."""
        prekey, kem = self._random.randbytes(PUBLIC_KEY_BYTES), self._random.randbytes(KEM_KEY_BYTES)
        sign = self.signer.sign
        return DeviceKeys(
            self.signer.public,
            self.agreement,
            sign(AGREEMENT, self.agreement),
            SignedKey(number, prekey, sign(PREKEY, named_key(number, prekey))),
            SignedKey(number, kem, sign(KEM_PREKEY, named_key(number, kem))),
            link,
        )

    def one_time(self, first: int, count: int, *, replace: bool = False) -> OneTimeKeys:
        """So many pairs, with ids from `first` on."""
        return OneTimeKeys([self._pair(key_id) for key_id in range(first, first + count)], replace)

    def _pair(self, key_id: int) -> OneTimeKey:
        kem = self._random.randbytes(KEM_KEY_BYTES)
        signature = self.signer.sign(KEM_PREKEY, named_key(key_id, kem))
        return OneTimeKey(key_id, self._random.randbytes(PUBLIC_KEY_BYTES), kem, signature)


class Keyring:
    """A user's identity, and the lists that it signs."""

    def __init__(self, user_id: int, random: Random) -> None:
        self.user_id = user_id
        self.identity = Signer(random)
        self.version = 0

    def sign(self, *devices: KeyedDevice, before: Signer | None = None, **changed: object) -> NewDevices:
        """The next list, cross-signed by the identity `before`; `changed` are fields that are otherwise."""
        self.version += 1
        body = DeviceListBody(
            user_id=self.user_id,  # type: ignore[arg-type]
            version=self.version,
            identity=self.identity.public,
            previous=b"" if before is None else before.public,
            devices=sorted((device.listed for device in devices), key=lambda listed: listed.device_id),
        )
        data = encode_list(msgspec.structs.replace(body, **changed))
        signed_before = b"" if before is None else before.sign(DEVICE_LIST, data)
        return NewDevices(data, self.identity.sign(DEVICE_LIST, data), signed_before)
