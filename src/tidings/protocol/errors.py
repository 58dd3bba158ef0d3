"""The error registry: each code, its name, whose fault it is, whether to retry, whether it closes.

One table serves the wire, HTTP and the docs. `ProtocolError` carries an entry of it through
the code; nothing else may reach a client.

spec §8
"""

from enum import StrEnum
from typing import NamedTuple

from tidings.protocol.close import CloseCode


class Fault(StrEnum):
    """Whose fault an error is; the log level follows (client: debug, server: error)."""

    CLIENT = "client"
    USER = "user"
    SERVER = "server"
    ENVIRONMENT = "environment"


class ErrorKind(NamedTuple):
    """One row of the registry."""

    code: int
    name: str
    fault: Fault
    http_status: int
    retry: bool
    """whether the same request may succeed later, unchanged"""
    close: CloseCode | None
    """the connection is closed with this code after the answer"""
    meaning: str


MALFORMED = ErrorKind(
    1, "malformed", Fault.CLIENT, 400, False, CloseCode.MALFORMED, "the frame is not what its tag says"
)
UNKNOWN_TAG = ErrorKind(
    2, "unknown_tag", Fault.CLIENT, 400, False, None, "this server does not know the frame's tag"
)
OUT_OF_STATE = ErrorKind(
    3, "out_of_state", Fault.CLIENT, 409, False, CloseCode.OUT_OF_STATE, "not now: the session is elsewhere"
)
UNAUTHENTICATED = ErrorKind(
    4, "unauthenticated", Fault.USER, 401, False, CloseCode.NOT_ALLOWED, "log in first, or again"
)
RATE_LIMITED = ErrorKind(5, "rate_limited", Fault.CLIENT, 429, True, None, "too many; wait for retry_after")
INVALID = ErrorKind(6, "invalid", Fault.CLIENT, 400, False, None, "a value is out of its bounds")
TOO_LARGE = ErrorKind(7, "too_large", Fault.CLIENT, 413, False, None, "more than the limit allows")
NO_SUCH_USER = ErrorKind(8, "no_such_user", Fault.USER, 404, False, None, "nobody has this handle")
NO_SUCH_CONVERSATION = ErrorKind(
    9, "no_such_conversation", Fault.CLIENT, 404, False, None, "unknown, or you are not a member of it"
)
HANDLE_TAKEN = ErrorKind(10, "handle_taken", Fault.USER, 409, False, None, "somebody has this handle")
BAD_HANDLE = ErrorKind(11, "bad_handle", Fault.USER, 400, False, None, "a handle is 2 to 32 of a-z 0-9 _ . -")
BAD_PASSWORD = ErrorKind(12, "bad_password", Fault.USER, 400, False, None, "a secret is 8 to 256 characters")
WRONG_CREDENTIALS = ErrorKind(
    13, "wrong_credentials", Fault.USER, 401, False, None, "no account has this handle and password"
)
TOO_MANY_DEVICES = ErrorKind(
    14, "too_many_devices", Fault.USER, 409, False, None, "the account has as many devices as it may"
)
GROUP_CHANGED = ErrorKind(
    15,
    "group_changed",
    Fault.CLIENT,
    409,
    False,
    None,
    "behind a removal: reload the conversation, send again",
)
STORE_FULL = ErrorKind(
    16, "store_full", Fault.ENVIRONMENT, 507, True, None, "the server's disk is full; nothing was accepted"
)
STORE_FAILED = ErrorKind(
    17, "store_failed", Fault.ENVIRONMENT, 503, True, None, "the server's store failed; nothing was accepted"
)
OVERLOADED = ErrorKind(
    18, "overloaded", Fault.SERVER, 503, True, None, "the server is behind; nothing was accepted"
)
DRAINING = ErrorKind(19, "draining", Fault.SERVER, 503, True, None, "the server is stopping; come back")
INTERNAL = ErrorKind(20, "internal", Fault.SERVER, 500, True, None, "a bug of ours; it is in the log")
NO_SUCH_MESSAGE = ErrorKind(
    21, "no_such_message", Fault.CLIENT, 404, False, None, "no message of this name stands there"
)
NOT_YOURS = ErrorKind(22, "not_yours", Fault.USER, 403, False, None, "only who wrote a message may change it")
TOO_LATE = ErrorKind(23, "too_late", Fault.USER, 409, False, None, "the time for this is over")
REGISTRATION_CLOSED = ErrorKind(
    24, "registration_closed", Fault.USER, 403, False, None, "this server takes no new accounts"
)
BAD_INVITE = ErrorKind(
    25, "bad_invite", Fault.USER, 403, False, None, "the invite code is unknown, used up or expired"
)
CODE_NEEDED = ErrorKind(
    26, "code_needed", Fault.USER, 401, False, None, "the account has a second factor: send its code"
)
BAD_CODE = ErrorKind(27, "bad_code", Fault.USER, 401, False, None, "the code is wrong or too old")
SUSPENDED = ErrorKind(
    28, "suspended", Fault.USER, 403, False, CloseCode.NOT_ALLOWED, "the operator has suspended this account"
)
REQUEST_PENDING = ErrorKind(
    29, "request_pending", Fault.USER, 409, False, None, "no more messages until your request is accepted"
)
BAD_PHONE = ErrorKind(
    30, "bad_phone", Fault.USER, 400, False, None, "a phone number is international: + and digits"
)
NO_SUCH_DEVICE = ErrorKind(
    31, "no_such_device", Fault.USER, 404, False, None, "the account has no such device"
)
QUOTA = ErrorKind(32, "quota", Fault.USER, 429, False, None, "the account's quota is used up")
FORBIDDEN = ErrorKind(33, "forbidden", Fault.CLIENT, 403, False, None, "not with this token")
NOT_AVAILABLE = ErrorKind(
    34, "not_available", Fault.ENVIRONMENT, 501, False, None, "this server is not set up for it"
)
KEYS_FIXED = ErrorKind(
    35, "keys_fixed", Fault.CLIENT, 409, False, None, "a device's keys never change: log in anew"
)
LIST_CHANGED = ErrorKind(
    36, "list_changed", Fault.CLIENT, 409, False, None, "not the next version: read the list, sign again"
)
SCHEME_FELL = ErrorKind(
    37, "scheme_fell", Fault.CLIENT, 409, False, None, "the conversation is encrypted, and stays so"
)
UNSEALABLE = ErrorKind(
    38,
    "unsealable",
    Fault.CLIENT,
    409,
    False,
    None,
    "said by the SDK itself: the message cannot be encrypted",
)
GROUP_RIGHTS = ErrorKind(
    39, "group_rights", Fault.USER, 403, False, None, "your role in this group does not allow it"
)
GROUP_FULL = ErrorKind(
    40, "group_full", Fault.USER, 409, False, None, "the group has as many members as it may"
)
BAD_LINK = ErrorKind(
    41, "bad_link", Fault.USER, 404, False, None, "the invite link is unknown, expired or was revoked"
)
NOT_ADDABLE = ErrorKind(
    42, "not_addable", Fault.USER, 403, False, None, "they do not let you add them: send them an invite link"
)

REGISTRY: dict[int, ErrorKind] = {
    kind.code: kind
    for kind in (
        MALFORMED,
        UNKNOWN_TAG,
        OUT_OF_STATE,
        UNAUTHENTICATED,
        RATE_LIMITED,
        INVALID,
        TOO_LARGE,
        NO_SUCH_USER,
        NO_SUCH_CONVERSATION,
        HANDLE_TAKEN,
        BAD_HANDLE,
        BAD_PASSWORD,
        WRONG_CREDENTIALS,
        TOO_MANY_DEVICES,
        GROUP_CHANGED,
        STORE_FULL,
        STORE_FAILED,
        OVERLOADED,
        DRAINING,
        INTERNAL,
        NO_SUCH_MESSAGE,
        NOT_YOURS,
        TOO_LATE,
        REGISTRATION_CLOSED,
        BAD_INVITE,
        CODE_NEEDED,
        BAD_CODE,
        SUSPENDED,
        REQUEST_PENDING,
        BAD_PHONE,
        NO_SUCH_DEVICE,
        QUOTA,
        FORBIDDEN,
        NOT_AVAILABLE,
        KEYS_FIXED,
        LIST_CHANGED,
        SCHEME_FELL,
        UNSEALABLE,
        GROUP_RIGHTS,
        GROUP_FULL,
        BAD_LINK,
        NOT_ADDABLE,
    )
}


class ProtocolError(Exception):
    """What a client is told: a registry entry, a precise sentence, and when to try again.

    `retry_after_s` is set where `kind.retry` is true.
    """

    def __init__(self, kind: ErrorKind, message: str = "", *, retry_after_s: float | None = None) -> None:
        self.kind = kind
        self.message = message or kind.meaning
        self.retry_after_s = retry_after_s if retry_after_s is not None else (1.0 if kind.retry else None)
        super().__init__(f"{kind.name}: {self.message}")
