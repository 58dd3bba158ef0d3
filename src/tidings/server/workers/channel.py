"""Orders over a stream socket: each is its length (four bytes, the greatest first) and MessagePack."""

import asyncio
import contextlib
import socket
from typing import Generic, Self, TypeVar

import msgspec

from tidings.server.workers.orders import ENCODER, MESSAGE_BYTES, Order

O = TypeVar("O", bound=Order)  # noqa: E741 - an order

LENGTH_BYTES = 4
IDLE_BYTES = 64 * 1024
"""what waits at most for a peer that does not read, of what can be done without (see `beat`)"""


class Channel(Generic[O]):
    """One end; what is received is `O`."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        decoder: msgspec.msgpack.Decoder[O],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = decoder

    @classmethod
    async def open(cls, sock: socket.socket, decoder: msgspec.msgpack.Decoder[O]) -> Self:
        """The end that a connected socket is; it is the channel's from now on."""
        return cls(*await asyncio.open_unix_connection(sock=sock), decoder)

    def send(self, order: Order) -> None:
        """Say something. Never waits and never raises: a peer that is gone hears nothing."""
        if self._writer.is_closing():
            return
        data = ENCODER.encode(order)
        assert len(data) <= MESSAGE_BYTES, len(data)
        self._writer.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)

    def beat(self, order: Order) -> None:
        """Say something that is worth nothing later: dropped if the peer does not read."""
        if self.waiting_bytes < IDLE_BYTES:
            self.send(order)

    @property
    def waiting_bytes(self) -> int:
        """What the peer has not read yet, beyond what the kernel holds for it."""
        return self._writer.transport.get_write_buffer_size()

    async def receive(self) -> O | None:
        """The next order; None: the peer is gone, or talks nonsense."""
        try:
            size = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            if size > MESSAGE_BYTES:
                return None
            return self._decoder.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            return None

    async def close(self) -> None:
        """Send what waits, and end it."""
        with contextlib.suppress(OSError):
            self._writer.close()
            await self._writer.wait_closed()
