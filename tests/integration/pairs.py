"""Pairs of devices for tests that kill a server: one writes numbered messages, the other keeps them."""

import asyncio

import picows

from tidings.bench.load import Device
from tidings.protocol.frames import Deliver, Error, Send, Sent
from tidings.protocol.ids import ClientId, ConversationId, EntryId, MessageId

CONNECT_ERRORS = (OSError, TimeoutError, picows.WSError)
RECONNECT_S = 0.1


class Writer:
    """Sends numbered messages and does not rest until each is answered."""

    def __init__(self, token: str, conversation: ConversationId, window: int, padding: bytes) -> None:
        self._token = token
        self._conversation = conversation
        self._window = window
        self._padding = padding
        self._waiting: dict[ClientId, Send] = {}
        self.acked: dict[int, MessageId] = {}
        self.is_writing = True
        self.idle = asyncio.Event()
        self.unreached = 0
        """how often nobody was there to connect to"""
        self._written = 0
        self._device: Device | None = None

    async def run(self, port: int) -> None:
        """Connect, and again whenever the connection breaks."""
        while True:
            device = Device(self._token)
            device.on_sent, device.on_error = self._sent, self._refused
            try:
                await device.connect(port)
            except CONNECT_ERRORS:
                self.unreached += 1
                await asyncio.sleep(RECONNECT_S)
                continue
            try:
                await self._write(device)
            finally:
                await device.gone()
            await asyncio.sleep(RECONNECT_S)

    async def _write(self, device: Device) -> None:
        # (Waiting for it itself, one that is cancelled would cancel it, too, and the device never be gone.)
        await asyncio.wait([device.drained])
        if not device.closed.done():
            self._device = device
            for send in self._waiting.values():
                send.attempt += 1
                device.say(send)
            self._fill()
            await asyncio.wait([device.closed])
            self._device = None

    def stop(self) -> None:
        """Write nothing new; `idle` once everything is answered."""
        self.is_writing = False
        self._fill()

    def _fill(self) -> None:
        device = self._device
        while device is not None and self.is_writing and len(self._waiting) < self._window:
            content = self._written.to_bytes(8, "big") + self._padding
            self._written += 1
            send = device.message(self._conversation, content)
            self._waiting[send.client_id] = send
            device.say(send)
        if not self._waiting and not self.is_writing:
            self.idle.set()

    def _sent(self, sent: Sent) -> None:
        send = self._waiting.pop(sent.client_id, None)
        if send is not None:
            self.acked[int.from_bytes(send.content[:8], "big")] = sent.message_id
        self._fill()

    def _refused(self, error: Error) -> None:
        """Whatever it was, the next connection repeats it."""
        assert error.retry_after is not None, error
        if self._device is not None:
            self._device.disconnect()


class Reader:
    """Keeps what it was sent, by its name: of twins the greater is shown."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.shown: dict[ClientId, tuple[MessageId, int]] = {}
        self.repeats = 0
        """re-sent after a reconnect, and not shown again"""
        self.doubled = 0
        """sent twice on one connection: never right"""
        self.unreached = 0
        """how often nobody was there to connect to"""
        self._have: EntryId | None = None
        self._on_this_connection: set[MessageId] = set()

    async def run(self, port: int) -> None:
        """Connect, and again whenever the connection breaks."""
        while True:
            device = Device(self._token, have=self._have)
            device.on_deliver = self._deliver
            device.marks_read = True
            self._on_this_connection.clear()
            try:
                await device.connect(port)
                await asyncio.wait([device.closed])
            except CONNECT_ERRORS:
                self.unreached += 1
            finally:
                await device.gone()
            await asyncio.sleep(RECONNECT_S)

    def _deliver(self, received: Deliver) -> None:
        message = received.message
        self._have = received.entry_id
        self.doubled += message.message_id in self._on_this_connection
        self._on_this_connection.add(message.message_id)
        earlier = self.shown.get(message.client_id)
        if earlier is not None:
            self.repeats += 1
            if earlier[0] >= message.message_id:
                return
        number = int.from_bytes(message.content[:8], "big")
        self.shown[message.client_id] = (message.message_id, number)
