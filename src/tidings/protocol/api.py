"""The bodies of HTTP requests and answers, shared by server and client.

spec §7
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from tidings.protocol.ids import DeviceId, UserId

KEY_ID_MAX = 2**53 - 1
"""JSON numbers hold no more."""

KeyId = Annotated[int, Meta(ge=1, le=KEY_ID_MAX)]


class Kdf(msgspec.Struct, frozen=True):
    """How a client makes the login secret from the password: Argon2id (RFC 9106), then HKDF.

    `secret = base64(HKDF-SHA256(Argon2id(password, salt), info="tidings login secret v1"))`,
    each 32 bytes long, so that the server never sees the password.
    """

    salt: str
    """base64, 16 bytes"""
    memory_kib: int = 65_536
    passes: int = 3
    lanes: int = 1


class Credentials(msgspec.Struct, frozen=True):
    """What `POST /v1/sessions` (log in) takes."""

    handle: str
    secret: str
    """as `Kdf` says, or any secret text of a client that has none"""
    device_name: str = ""
    code: str = ""
    """of the second factor, or a recovery code, where the account has one"""


class NewAccount(msgspec.Struct, frozen=True):
    """What `POST /v1/accounts` (register) takes."""

    handle: str
    secret: str
    device_name: str = ""
    kdf: Kdf | None = None
    invite: str = ""


class LoggedIn(msgspec.Struct, frozen=True):
    """A new device and its token, which is shown this once."""

    user_id: str
    device_id: str
    handle: str
    token: str

    def ids(self) -> tuple[UserId, DeviceId]:
        """The ids as integers (JSON carries them as strings)."""
        return UserId(int(self.user_id)), DeviceId(int(self.device_id))


class KdfOf(msgspec.Struct, frozen=True):
    """What `POST /v1/kdf` takes. The answer looks the same whether the handle exists or not."""

    handle: str


class KdfAnswer(msgspec.Struct, frozen=True):
    """How this account's secret is made; null: the secret is sent as the user wrote it."""

    kdf: Kdf | None


class ServerInfo(msgspec.Struct, frozen=True):
    """What `GET /v1/server` answers."""

    version: str
    registration: str
    """`open`, `invite` or `closed`"""
    phone: bool
    """whether phone numbers can be verified here"""


class AccountInfo(msgspec.Struct, frozen=True):
    """What `GET /v1/account` answers: one's own account."""

    user_id: str
    handle: str
    created_at: int
    phone: str
    """empty while none is verified"""
    second_factor: bool
    name: str
    about: str
    picture: str
    """version of the picture; "0" for none"""


class Proof(msgspec.Struct, frozen=True):
    """What dangerous requests carry: that it is really the user, and not only a device of theirs."""

    secret: str
    code: str = ""


class NewHandle(msgspec.Struct, frozen=True):
    """What `PUT /v1/account/handle` takes."""

    handle: str


class NewSecret(msgspec.Struct, frozen=True):
    """What `PUT /v1/account/secret` takes."""

    secret: str
    """the present one"""
    new_secret: str
    kdf: Kdf | None = None
    code: str = ""
    sign_out_others: bool = True


class FactorBegun(msgspec.Struct, frozen=True):
    """What `POST /v1/account/factor` answers (it takes a Proof): confirm it with a first code."""

    secret: str
    """base32, for an authenticator app"""
    uri: str
    """the same as otpauth://"""


class Code(msgspec.Struct, frozen=True):
    """A code that proves something: of an authenticator app or from a phone."""

    code: str


class RecoveryCodes(msgspec.Struct, frozen=True):
    """What `POST /v1/account/factor/confirm` answers. Each works once; they are shown this once."""

    codes: list[str]


class NewPhone(msgspec.Struct, frozen=True):
    """What `POST /v1/account/phone` takes; a code is sent there. The answer tells nothing of others."""

    phone: str


class DeviceInfo(msgspec.Struct, frozen=True):
    """A device of the account, in `GET /v1/devices`."""

    device_id: str
    name: str
    created_at: int
    seen_at: int
    """Unix ms, to within five minutes"""
    current: bool


class DeviceName(msgspec.Struct, frozen=True):
    """What `PUT /v1/devices/{device_id}` takes."""

    name: str


class SignedKey(msgspec.Struct, frozen=True):
    """A public prekey, under an id that its device chose, and the device's signature of both."""

    id: KeyId
    key: bytes
    signature: bytes


class DeviceKeys(msgspec.Struct, frozen=True):
    """What `PUT /v1/keys` takes: a device's public keys (spec §6.16)."""

    signing: bytes
    """Ed25519, 32 bytes; never changes"""
    agreement: bytes
    """X25519, 32 bytes; never changes"""
    agreement_signature: bytes
    prekey: SignedKey
    """X25519; renewed each week"""
    kem: SignedKey
    """ML-KEM-1024, of the last resort; renewed each week"""
    link: bytes = b""
    """opaque, for the device that this one asks to be linked"""


class OneTimeKey(msgspec.Struct, frozen=True):
    """A pair of prekeys under one id, given to one who asks."""

    id: KeyId
    key: bytes
    """X25519, 32 bytes"""
    kem: bytes
    """ML-KEM-1024, 1568 bytes"""
    kem_signature: bytes


class OneTimeKeys(msgspec.Struct, frozen=True):
    """What `POST /v1/keys/one-time` takes."""

    keys: list[OneTimeKey]
    """ids in ascending order, above all that were brought before; the same once more changes nothing"""
    replace: bool = False
    """those brought before are handed out no more"""


class KeysLeft(msgspec.Struct, frozen=True):
    """What `POST /v1/keys/one-time` answers."""

    left: int
    """one-time pairs that nobody was given yet"""


class KeysState(msgspec.Struct, frozen=True):
    """What `GET /v1/keys` answers: what the server has of the asking device. Ids are 0 for none."""

    published: bool
    left: int
    """one-time pairs that nobody was given yet"""
    prekey_id: int
    kem_id: int
    newest_one_time_id: int
    link_reply: bytes
    """what the device that was asked to link this one answered; empty for nothing yet"""


class NewDevices(msgspec.Struct, frozen=True):
    """What `PUT /v1/keys/devices` takes: the next signed device list of the account (spec §6.16)."""

    body: bytes
    """a DeviceListBody in MessagePack"""
    signature: bytes
    previous_signature: bytes = b""
    secret: str = ""
    """the login secret, where the identity is another one than before"""
    code: str = ""
    """and the code of the second factor, where the account has one"""


class LinkReply(msgspec.Struct, frozen=True):
    """What `PUT /v1/devices/{device_id}/link` takes: an answer for a device that asks to be linked."""

    reply: bytes
    """opaque"""


class ProfileBody(msgspec.Struct, frozen=True):
    """What `PUT /v1/profile` takes."""

    name: str = ""
    about: str = ""


class Done(msgspec.Struct, frozen=True):
    """What a request answers that has nothing else to say: it is durable."""

    done: bool = True


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every refused HTTP request is answered with."""

    code: int
    name: str
    message: str
    retry_after: float | None = None


class Health(msgspec.Struct, frozen=True):
    """What `GET /v1/health` answers."""

    status: str
    """`ok`, `draining` while it stops, `overloaded` where it can give no ids (its clock is wrong, or it has
    no number), or the name of the error that the last write ended with"""
    version: str
    store: str
    connections: int
