"""The bodies of HTTP requests and answers, shared by server and client.

spec §7
"""

import msgspec

from tidings.protocol.ids import DeviceId, UserId


class Credentials(msgspec.Struct, frozen=True):
    """What `POST /v1/accounts` (register) and `POST /v1/sessions` (log in) take."""

    handle: str
    password: str
    device_name: str = ""


class LoggedIn(msgspec.Struct, frozen=True):
    """A new device and its token, which is shown this once."""

    user_id: str
    device_id: str
    handle: str
    token: str

    def ids(self) -> tuple[UserId, DeviceId]:
        """The ids as integers (JSON carries them as strings)."""
        return UserId(int(self.user_id)), DeviceId(int(self.device_id))


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
