"""A light client's link: keeps it connected as the SDK's does, with the SDK's own backoff.

It differs in what it spares: no TLS, no tasks beside its own, and a heartbeat's answer may take as
long as the next one is away.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import picows

from tidings.bench.load import Device
from tidings.client.backoff import Backoff
from tidings.client.link import DRAIN_S_MAX
from tidings.client.socket import OPEN_S
from tidings.protocol.close import CloseCode, may_reconnect
from tidings.protocol.ids import EntryId

CONNECT_ERRORS = (OSError, TimeoutError, picows.WSError)


class ClosedForGood(Exception):
    """The server closed a connection with a code that says not to come back."""


class Link:
    """Connects, and again whenever the connection breaks. Hooks say what happens."""

    def __init__(
        self, token: str, backoff: Backoff, *, heartbeat_s: float, source: str | None = None
    ) -> None:
        """`source` is the address to come from, see `Device.connect`."""
        self.device: Device | None = None
        """the connection, once its inbox was sent, while it stands"""
        self.breaks = 0
        """how often it was lost"""
        self.on_try: Callable[[], None] = lambda: None
        """a try begins"""
        self.on_device: Callable[[Device], None] = lambda _: None
        """set its hooks: it connects now"""
        self.on_up: Callable[[Device], None] = lambda _: None
        """its inbox was sent"""
        self.on_down: Callable[[], None] = lambda: None
        """it was lost"""
        self.have: Callable[[], EntryId | None] = lambda: None
        """what `Hello.have` says"""
        self._token = token
        self._backoff = backoff
        self._heartbeat_s = heartbeat_s
        self._source = source

    async def run(self, port: int) -> None:
        """Stay connected until cancelled. Raises ClosedForGood."""
        pause_s = self._backoff.next_s()
        while True:
            await asyncio.sleep(pause_s)
            device = Device(self._token, have=self.have())
            self.on_device(device)
            self.on_try()
            with contextlib.suppress(*CONNECT_ERRORS):
                await device.connect(port, timeout_s=OPEN_S, source=self._source)
                await self._hold(device)
            pause_s = self._pause_s(device)

    async def _hold(self, device: Device) -> None:
        since_s = time.monotonic()
        device.drained.add_done_callback(lambda _: self._up(device))
        try:
            while True:
                await asyncio.wait([device.closed], timeout=self._heartbeat_s)
                if device.closed.done() or device.unanswered_heartbeats:
                    return
                device.beat()
        finally:
            self._backoff.held(time.monotonic() - since_s)
            self._down(device)
            device.disconnect()

    def _up(self, device: Device) -> None:
        if not device.closed.done():
            self.device = device
            self.on_up(device)

    def _down(self, device: Device) -> None:
        if self.device is device:
            self.device = None
            self.breaks += 1
            self.on_down()

    def _pause_s(self, device: Device) -> float:
        if not may_reconnect(device.close_code):
            raise ClosedForGood(f"closed with {device.close_code}: {device.close_reason}")
        if device.close_code == CloseCode.DRAIN:
            with contextlib.suppress(ValueError):
                return min(max(float(device.close_reason), 0.0), DRAIN_S_MAX)
        return self._backoff.next_s()
