"""Close codes: why a WebSocket was closed, and whether the client may come back.

4000-4399 say "reconnect, with backoff and jitter"; 4400-4499 say "do not". The 1000-range
keeps the meaning that RFC 6455 §7.4 gives it.

spec §9
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """Every code that the server closes with."""

    NORMAL = 1000
    """the client said goodbye"""
    GOING_AWAY = 1001
    """the server is stopping"""
    PROTOCOL_ERROR = 1002
    """a WebSocket frame was not one"""
    INVALID_TEXT = 1007
    """text that is not UTF-8"""
    POLICY_VIOLATION = 1008
    """a WebSocket rule of this server was broken"""
    TOO_BIG = 1009
    """a message over `frame_bytes`"""
    INTERNAL_ERROR = 1011
    """a bug of ours; it is in the log"""

    DRAIN = 4001
    """the server is stopping; the reason says in how many seconds to come back"""
    HELLO_TIMEOUT = 4003
    """no Hello was accepted in time"""
    HEARTBEAT_TIMEOUT = 4004
    """nothing was heard from the client for `idle_s`"""
    UNAVAILABLE = 4006
    """the server cannot do its work now"""
    FLOOD = 4029
    """too many refused frames"""

    MALFORMED = 4400
    """a frame was not what its tag says"""
    NOT_ALLOWED = 4401
    """the token is not (or no longer) good"""
    OUT_OF_STATE = 4402
    """a frame that has no place here, such as a second Hello"""
    REPLACED = 4409
    """a newer connection of the same device took over"""


_NO_RETURN = frozenset(
    {
        CloseCode.PROTOCOL_ERROR,
        CloseCode.INVALID_TEXT,
        CloseCode.POLICY_VIOLATION,
        CloseCode.TOO_BIG,
    }
)


def may_reconnect(code: int) -> bool:
    """Whether a client that was closed with `code` should come back with backoff and jitter.

    An unknown code of the private range follows its hundred; a connection that broke without
    a code (1006) is always worth another try.
    """
    if 4400 <= code <= 4499:
        return False
    return code not in _NO_RETURN
