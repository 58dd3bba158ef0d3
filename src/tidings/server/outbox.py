"""What goes out: WebSocket frames built by us, one joined write a connection and turn of the loop.

Why not `picows.WSTransport.send`: neither picows nor uvloop joins writes (32 frames cost 0.5 µs
each joined, 6 µs each alone), and on uvloop it corrupts the headers of frames above 8 KiB under
back pressure. So every byte that a WebSocket sends after its handshake passes through here, in
order: messages, pongs and close frames.

RFC 6455 §5.2, §5.5.1
"""

import asyncio
import logging
import struct
from typing import Protocol

log = logging.getLogger(__name__)

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PONG = 0xA

CONTROL_BYTES = 125
"""largest payload of a control frame"""

_FINAL = 0x80
_SHORT = 126
_MEDIUM = 1 << 16
# A short frame's head is two bytes that depend on the opcode and the size alone: made once.
_SHORT_HEADS = {
    opcode: tuple(bytes((_FINAL | opcode, size)) for size in range(_SHORT))
    for opcode in (TEXT, BINARY, CLOSE, PONG)
}
_pack_medium = struct.Struct(">BBH").pack
_pack_long = struct.Struct(">BBQ").pack


def frame_head(opcode: int, size: int) -> bytes:
    """The bytes before the payload of a whole, unmasked frame."""
    if size < _SHORT:
        return _SHORT_HEADS[opcode][size]
    if size < _MEDIUM:
        return _pack_medium(_FINAL | opcode, 126, size)
    return _pack_long(_FINAL | opcode, 127, size)


def close_payload(code: int, reason: str = "") -> bytes:
    """A close frame's payload; a reason that is too long is cut between two characters."""
    text = reason.encode("utf-8", "replace")[: CONTROL_BYTES - 2]
    return code.to_bytes(2, "big") + text.decode("utf-8", "ignore").encode()


class Sender(Protocol):
    """A connection with something to send."""

    def flush(self) -> None:
        """Write all that is queued."""

    def abort(self) -> None:
        """Give the connection up."""


class Outbox:
    """The connections that queued something in this turn of the loop; one for all of a gateway."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Sender] = []

    def mark(self, sender: Sender) -> None:
        """Have `sender` flushed at the end of this turn. Once a turn is enough."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(sender)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sender in waiting:
            try:
                sender.flush()
            except Exception:
                # One broken transport must not hold up the others.
                log.exception("a connection could not be written to; it is given up")
                sender.abort()
