"""The bodies of HTTP requests and answers, shared by server and client.

spec §7
"""

import msgspec

from tidings.protocol.ids import DeviceId, UserId


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
    """`ok`, or the name of the error that the last write ended with"""
    version: str
    store: str
    connections: int
