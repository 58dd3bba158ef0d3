"""Frames on a stream: four bytes of length, big-endian, and so many bytes behind them."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

FRAME_BYTES = 128 << 20
"""Largest frame. The largest batch of a node, and the largest page that is read, stay well below it."""
HEAD_BYTES = 4

T = TypeVar("T")

encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode


class Malformed(Exception):
    """What came is no frame, or not what a frame may hold."""


def decoded(decode: Callable[[memoryview], T], frame: memoryview) -> T:
    """What a frame holds. Raises Malformed."""
    try:
        return decode(frame)
    except Exception as error:  # msgspec.DecodeError, UnicodeDecodeError, RecursionError
        raise Malformed(str(error)) from error


class Splitter:
    """Cuts what comes from a socket into frames."""

    def __init__(self, limit: int = FRAME_BYTES) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        """of a frame that is not whole yet"""
        self._bytes = 0
        """in them"""
        self._needed = 0
        """so many there must be before it is worth a look"""

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The frames that are whole now. Raises Malformed for one that is too large."""
        if self._pieces:
            self._pieces.append(data)
            self._bytes += len(data)
            if self._bytes < self._needed:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        view, at = memoryview(data), 0
        while True:
            begin = at + HEAD_BYTES
            size = int.from_bytes(view[at:begin], "big") if begin <= len(data) else 0
            if size > self._limit:
                raise Malformed(f"a frame of {size} bytes")
            if begin + size > len(data):
                break
            at = begin + size
            yield view[begin:at]
        if at < len(data):
            self._pieces.append(data[at:])
            self._bytes = len(data) - at
            self._needed = begin + size - at


def in_frames(
    items: list[T],
    encoded: Callable[[list[T]], bytes],
    refuse: Callable[[T, Exception], None],
    limit: int = FRAME_BYTES,
) -> Iterator[bytes]:
    """The bodies of as few frames as hold all items, in their order.

    One that fits into no frame, or cannot be encoded, is refused, and the others go all the same.
    """
    try:
        body = encoded(items)
        if len(body) > limit:
            raise ValueError(f"{len(body)} bytes are too large for a frame")
    except Exception as error:  # TypeError, OverflowError, and what else cannot be encoded
        if len(items) == 1:
            refuse(items[0], error)
            return
        half = len(items) // 2
        yield from in_frames(items[:half], encoded, refuse, limit)
        yield from in_frames(items[half:], encoded, refuse, limit)
    else:
        yield body


def framed(body: bytes) -> tuple[bytes, bytes]:
    """A frame, in two pieces: joining them would copy it."""
    return len(body).to_bytes(HEAD_BYTES, "big"), body
