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
        """it was lost, or left"""
        self.on_trouble: Callable[[str], None] = lambda _: None
        """why a try failed, or a connection was lost"""
        self.have: Callable[[], EntryId | None] = lambda: None
        """what `Hello.have` says"""
        self._token = token
        self._backoff = backoff
        self._heartbeat_s = heartbeat_s
        self._source = source
        self._away_s: float | None = None
        self._was_up = False

    async def run(self, *urls: str) -> None:
        """Stay connected until cancelled. Raises ClosedForGood.

        A try goes to the first address; one that follows upon a failed one to the next, in turn.
        """
        pause_s, turn = self._backoff.next_s(), 0
        while True:
            await asyncio.sleep(pause_s)
            self._away_s = None
            device = Device(self._token, have=self.have())
            self.on_device(device)
            self.on_try()
            turn = 0 if await self._try(device, urls[turn % len(urls)]) else turn + 1
            pause_s = self._pause_s(device)

    @property
    def is_away(self) -> bool:
        """Whether it is not connected because it was told to `leave`."""
        return self._away_s is not None

    def leave(self, for_s: float) -> None:
        """Break the connection, and come back after so long. Nothing happens where there is none."""
        if self.device is not None:
            device, self._away_s = self.device, for_s
            self._down(device)
            device.disconnect()

    async def _try(self, device: Device, url: str) -> bool:
        """Connect, and stay for as long as it holds; whether its inbox was sent."""
        try:
            async with asyncio.timeout(2 * OPEN_S):
                await device.connect_to(url, timeout_s=OPEN_S, source=self._source)
        except CONNECT_ERRORS as error:
            self.on_trouble(_reason(error))
            return False
        return await self._hold(device)

    async def _hold(self, device: Device) -> bool:
        since_s = time.monotonic()
        why = ""
        device.drained.add_done_callback(lambda _: self._up(device))
        try:
            while True:
                await asyncio.wait([device.closed], timeout=self._heartbeat_s)
                if device.closed.done():
                    why = f"closed with {device.close_code}"
                    break
                if device.unanswered_heartbeats:
                    why = "heartbeat not answered"
                    break
                device.beat()
        finally:
            self._backoff.held(time.monotonic() - since_s)
            was_up = self._was_up
            self._was_up = False
            if why and not self.is_away:
                self.on_trouble(why)
            self._down(device)
            device.disconnect()
        return was_up

    def _up(self, device: Device) -> None:
        if not device.closed.done():
            self.device = device
            self._was_up = True
            self.on_up(device)

    def _down(self, device: Device) -> None:
        if self.device is device:
            self.device = None
            if not self.is_away:
                self.breaks += 1
            self.on_down()

    def _pause_s(self, device: Device) -> float:
        if self._away_s is not None:
            return self._away_s
        if not may_reconnect(device.close_code):
            raise ClosedForGood(f"closed with {device.close_code}: {device.close_reason}")
        if device.close_code == CloseCode.DRAIN:
            with contextlib.suppress(ValueError):
                return min(max(float(device.close_reason), 0.0), DRAIN_S_MAX)
        return self._backoff.next_s()


def _reason(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "no answer"
        case ConnectionRefusedError():
            return "connection refused"
        case picows.WSInvalidStatusError(response=picows.WSUpgradeResponse() as response):
            return f"HTTP {int(response.status)}"
        case _:
            return "connection broken"
