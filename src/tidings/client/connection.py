"""One WebSocket connection: Hello, requests and their answers, heartbeats.

It stores nothing and repeats nothing. What the server sends unasked (Deliver, Receipt, Drained)
is collected for whoever takes it with `arrivals`. When it ends, all that waits for an answer
gets ConnectionLost.

spec §6
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from tidings.client.errors import ConnectionLost, Refused
from tidings.client.socket import BROKEN, Socket
from tidings.client.surroundings import Clock
from tidings.protocol.close import CloseCode
from tidings.protocol.codec import MSGPACK
from tidings.protocol.errors import INVALID, REGISTRY, TOO_LARGE, UNKNOWN_TAG, ProtocolError
from tidings.protocol.frames import (
    Bundles,
    Changed,
    Conversation,
    ConversationList,
    Deliver,
    DeviceLists,
    DevicesChanged,
    Drained,
    Error,
    Frame,
    GroupPreview,
    Heartbeat,
    HeartbeatOk,
    Hello,
    InboxExpired,
    Joined,
    MemberPage,
    MessageInfo,
    Ok,
    Page,
    People,
    Presence,
    Presences,
    Receipt,
    Send,
    Sent,
    ServerFrame,
    Stale,
    Synced,
    Tallies,
    Typed,
    Welcome,
)
from tidings.protocol.ids import ClientId

T = TypeVar("T")
Arrival = Deliver | Receipt | Tallies | Drained | Changed | Stale | InboxExpired | HeartbeatOk
"""what is stored, in its order"""
Passing = Presence | Typed
"""what is true for a moment and stored nowhere"""
Answer = (
    Ok
    | Page
    | Conversation
    | Synced
    | Presences
    | People
    | MessageInfo
    | ConversationList
    | DeviceLists
    | Bundles
    | Tallies
    | Joined
    | GroupPreview
    | MemberPage
)

FRAME_BYTES = 32 * 1024
"""of a frame, beside what a message may have of content; no server is asked to take more"""
WELCOME_S = 10.0
"""how long the server may take from Hello to Welcome"""

log = logging.getLogger("tidings.client")


class SealedForOthers(Exception):
    """A message was sealed for a device that was removed since."""

    def __init__(self, changed: DevicesChanged) -> None:
        super().__init__("a device was removed")
        self.changed = changed


class Connection:
    """See the module's text. `open` makes one; `run` keeps it going until it ends."""

    def __init__(self, socket: Socket, welcome: Welcome, clock: Clock, *, receives: bool) -> None:
        self.welcome = welcome
        self._receives = receives
        self.refused_unnamed: Callable[[Error], None] = _log_refusal
        """called with an Error that names neither a request nor a message"""
        self.passed: Callable[[Passing], None] = _ignore
        """called with what is stored nowhere"""
        self._socket = socket
        self._clock = clock
        self._outgoing: list[bytes] = []
        self._has_outgoing = asyncio.Event()
        self._arrived: list[Arrival] = []
        self._has_arrived = asyncio.Event()
        self._unstored = 0
        """how much of what came unasked nobody has stored yet"""
        self._has_stored = asyncio.Event()
        self._requests: dict[int, asyncio.Future[Answer]] = {}
        self._sends: dict[ClientId, asyncio.Future[Sent]] = {}
        self._last_request = 0
        self._heartbeat_answered = asyncio.Event()
        self._lost: ConnectionLost | None = None

    @classmethod
    async def open(cls, socket: Socket, hello: Hello, clock: Clock) -> "Connection":
        """Introduce the device. Raises ConnectionLost."""
        try:
            async with asyncio.timeout(WELCOME_S):
                await socket.send(MSGPACK.encode(hello))
                frame = await _next(socket)
                if isinstance(frame, Welcome):
                    return cls(socket, frame, clock, receives=hello.receive)
                # A refusal; the close code that follows says whether to come back.
                await _next(socket)
                raise ConnectionLost(BROKEN, "the server did not welcome this device")
        except TimeoutError:
            await socket.close(CloseCode.NORMAL, "")
            raise ConnectionLost(BROKEN, "no answer to Hello") from None
        except BaseException:
            await socket.close(CloseCode.NORMAL, "")
            raise

    async def run(self) -> None:
        """Carry frames both ways until the connection ends. Ends by raising ConnectionLost."""
        tasks = [
            asyncio.ensure_future(work) for work in (self._read(), self._write(), self._keep_heartbeat())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except ConnectionLost as lost:
            self._end(lost)
            raise
        finally:
            self._end(ConnectionLost(CloseCode.NORMAL, "closed"))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(ConnectionLost, OSError):
                await self._socket.close(CloseCode.NORMAL, "")

    def post(self, frame: Frame) -> None:
        """Send a frame that has no answer, after all that was posted before.

        Raises ConnectionLost, and Refused for what would end the connection, at every try.
        """
        if self._lost is not None:
            raise self._lost
        self._outgoing.append(_packed(frame, self.welcome.content_bytes + FRAME_BYTES))
        self._has_outgoing.set()

    async def ask(self, make: Callable[[int], Frame]) -> Answer:
        """Send a request and wait for its answer. Raises Refused, ConnectionLost."""
        self._last_request += 1
        request_id = self._last_request
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.post(make(request_id))
        self._requests[request_id] = future
        try:
            return await future
        finally:
            del self._requests[request_id]

    async def ask_patiently(self, make: Callable[[int], Frame], clock: Clock) -> Answer:
        """As `ask`, again whenever the server says to come back later. Raises Refused, ConnectionLost."""
        while True:
            try:
                return await self.ask(make)
            except Refused as refusal:
                if refusal.retry_after_s is None:
                    raise
                await clock.sleep(refusal.retry_after_s)

    async def transmit(self, send: Send) -> Sent:
        """Send a message and wait until it is durable there.

        Raises Refused, ConnectionLost, SealedForOthers.
        """
        future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        self.post(send)
        self._sends[send.client_id] = future
        try:
            return await future
        finally:
            self._sends.pop(send.client_id, None)

    async def arrivals(self) -> list[Arrival]:
        """All that came unasked since the last call; waits until there is something."""
        await self._has_arrived.wait()
        self._has_arrived.clear()
        arrived, self._arrived = self._arrived, []
        return arrived

    def stored(self, count: int) -> None:
        """So much of what `arrivals` gave is stored."""
        self._unstored -= count
        self._has_stored.set()

    async def absorbed(self) -> None:
        """Return once what came unasked is stored: an answer is later than that. Raises ConnectionLost."""
        while self._unstored:
            if self._lost is not None:
                raise self._lost
            self._has_stored.clear()
            await self._has_stored.wait()

    # --- the three loops ------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            frame = await _next(self._socket)
            if frame is not None:
                self._handle(frame)

    async def _write(self) -> None:
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            frames, self._outgoing = self._outgoing, []
            for frame in frames:
                await self._socket.send(frame)

    async def _keep_heartbeat(self) -> None:
        while True:
            await self._clock.sleep(self.welcome.heartbeat_s)
            self._heartbeat_answered.clear()
            self.post(Heartbeat())
            await self._clock.sleep(self.welcome.heartbeat_answer_s)
            if not self._heartbeat_answered.is_set():
                raise ConnectionLost(BROKEN, "the server did not answer a heartbeat")

    # --- inside ---------------------------------------------------------------------------

    def _handle(self, frame: ServerFrame) -> None:
        match frame:
            case Deliver() | Receipt() | Drained() | Changed() | Stale() | InboxExpired():
                self._arrive(frame)
            case Presence() | Typed():
                self.passed(frame)
            case Sent():
                _resolve(self._sends.get(frame.client_id), frame)
            case (
                Ok()
                | Page()
                | Conversation()
                | Synced()
                | Presences()
                | People()
                | MessageInfo()
                | ConversationList()
                | DeviceLists()
                | Bundles()
                | Joined()
                | GroupPreview()
                | MemberPage()
            ):
                _resolve(self._requests.get(frame.request_id), frame)
            case Tallies(request_id=None):
                self._arrive(frame)
            case Tallies(request_id=int(request_id)):
                _resolve(self._requests.get(request_id), frame)
            case DevicesChanged():
                _reject(self._sends.get(frame.client_id), SealedForOthers(frame))
            case HeartbeatOk():
                self._heartbeat_answered.set()
                if frame.complete_to:
                    self._arrive(frame)
            case Error():
                self._refused(frame)
            case Welcome():
                log.warning("the server welcomed this device twice")

    def _arrive(self, frame: Arrival) -> None:
        # Beside a receiving process nobody would ever take them.
        if self._receives:
            self._unstored += 1
            self._arrived.append(frame)
            self._has_arrived.set()

    def _refused(self, error: Error) -> None:
        refusal = refused(error)
        if error.client_id is not None:
            _reject(self._sends.get(error.client_id), refusal)
        elif error.request_id is not None:
            _reject(self._requests.get(error.request_id), refusal)
        else:
            self.refused_unnamed(error)

    def _end(self, lost: ConnectionLost) -> None:
        if self._lost is not None:
            return
        self._lost = lost
        self._has_stored.set()
        for request in self._requests.values():
            _reject(request, lost)
        for send in self._sends.values():
            _reject(send, lost)


def refused(error: Error) -> Refused:
    """An Error frame as an exception; `retry_after_s` is set if it may be repeated."""
    kind = REGISTRY.get(error.code)
    if kind is None:
        return Refused(error.code, f"error_{error.code}", error.message, error.retry_after)
    retry_after_s = (error.retry_after or 1.0) if kind.retry else None
    return Refused(error.code, kind.name, error.message, retry_after_s)


def _packed(frame: Frame, most: int) -> bytes:
    """A frame as it crosses the wire. Raises Refused for what no server takes."""
    try:
        data = MSGPACK.encode(frame)
        if len(data) <= most:
            MSGPACK.decode_client(data)
    except (TypeError, ValueError, OverflowError, ProtocolError) as error:
        raise Refused(INVALID.code, INVALID.name, f"this cannot be said to a server: {error}") from None
    if len(data) > most:
        raise Refused(TOO_LARGE.code, TOO_LARGE.name, f"no server takes {len(data)} bytes at once")
    return data


async def _next(socket: Socket) -> ServerFrame | None:
    """The next frame; None for one that only a newer version knows (spec §1.3)."""
    data = await socket.receive()
    try:
        return MSGPACK.decode_server(data)
    except ProtocolError as error:
        if error.kind is UNKNOWN_TAG:
            return None
        raise ConnectionLost(BROKEN, f"the server sent a broken frame: {error.message}") from None


def _resolve(future: "asyncio.Future[T] | None", value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _reject(future: "asyncio.Future[Any] | None", error: Exception) -> None:
    if future is not None and not future.done():
        future.set_exception(error)


def _ignore(_: Passing) -> None:
    """Nobody wants to know."""


def _log_refusal(error: Error) -> None:
    log.warning("the server refused a frame: %s", error.message)
