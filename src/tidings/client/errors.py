"""What the SDK raises: each says what could not be done and why, and what to do about it.

Everything public derives from `ClientError`. `ConnectionLost` stays inside: the link reconnects,
and what was under way is repeated.
"""


class ClientError(Exception):
    """Something that the SDK could not do; `hint` is a sentence for the user, or empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


class Refused(ClientError):
    """The server said no. `code` and `name` are of the error registry (spec §8), `reason` is its sentence."""

    def __init__(self, code: int, name: str, message: str, retry_after_s: float | None = None) -> None:
        self.code = code
        self.name = name
        self.reason = message
        self.retry_after_s = retry_after_s
        hint = "" if retry_after_s is None else f"try again in {retry_after_s:g} s"
        super().__init__(f"the server refused: {message} ({name})", hint)


class Unreachable(ClientError):
    """The server did not answer."""


class SessionEnded(ClientError):
    """The server closed the connection with a code that says not to come back."""

    def __init__(self, code: int, message: str, hint: str) -> None:
        self.code = code
        super().__init__(message, hint)


class ClientClosed(ClientError):
    """The client was closed while this was under way."""


class StorageFailed(ClientError):
    """The profile cannot be read or written. What was not stored was not acknowledged."""


class StorageFull(StorageFailed):
    """The disk is full. What was not stored was not acknowledged, so nothing is lost."""


class ProfileError(ClientError):
    """A profile that cannot be used as it is."""


class ProfileExists(ProfileError):
    """A new profile was to be made where there is something already."""


class ProfileMissing(ProfileError):
    """There is no profile here."""


class ProfileInUse(ProfileError):
    """Another process receives on this profile, or has it open while its key is to be changed."""


class ProfileLocked(ProfileError):
    """The profile's key cannot be had: a wrong passphrase, a missing file; or not be kept as wanted."""


class ProfileDamaged(ProfileError):
    """The profile is not what was written."""


class ProfileTooNew(ProfileError):
    """A newer version wrote the profile."""


class ConnectionLost(Exception):
    """The connection is gone; `code` is its close code (1006 if it broke without one)."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}".strip())
