"""A node without sockets or disk, and devices that speak to it frame by frame.

The rules and sessions are the real ones; links and the store are in memory. What a device was
sent is kept in order, and a test waits for what it expects instead of sleeping.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import TypeVar

import structlog

from tidings.protocol import frames, ids
from tidings.protocol.api import Credentials, LoggedIn, NewAccount
from tidings.protocol.close import CloseCode
from tidings.protocol.codec import MSGPACK, Codec
from tidings.protocol.ids import ConversationId, EntryId
from tidings.protocol.limits import Limits
from tidings.server.cluster import Shared
from tidings.server.config import Config
from tidings.server.node import wire
from tidings.server.services import Services
from tidings.server.session import Session
from tidings.store.contract import Store
from tidings.store.memory import MemoryStore
from tidings.testing.clock import FakeClock

F = TypeVar("F", bound=frames.Frame)
TIMEOUT_S = 5.0
PASSWORD = "correct horse"  # noqa: S105 - of people who do not exist


class PlainPasswords:
    """Implements `accounts.Passwords` without the work; for tests only."""

    async def hash(self, password: str) -> str:
        return "plain:" + password

    async def matches(self, password_hash: str | None, password: str) -> bool:
        return password_hash == "plain:" + password


class MemoryLink:
    """Implements `link.Link`: keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed: tuple[CloseCode, str] | None = None
        self.is_paused = False
        self.unsent_bytes = 0
        self._news = asyncio.Event()

    @property
    def address(self) -> str:
        return "192.0.2.1"

    def send(self, data: bytes) -> None:
        if self.closed is None:
            self.sent.append(data)
            self._news.set()

    def close(self, code: CloseCode, reason: str = "") -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self._news.set()

    def greeted(self) -> None:
        """Nothing is bounded here."""

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    async def news(self) -> None:
        """Wait until something is sent or the link is closed."""
        await self._news.wait()
        self._news.clear()


class Device:
    """One connection of a device."""

    def __init__(self, services: Services, account: LoggedIn, codec: Codec, random: Random) -> None:
        self.account = account
        self.codec = codec
        self.link = MemoryLink()
        self.session = Session(services, self.link, codec)
        self.seen: list[frames.ServerFrame] = []
        self._prefix = random.randbytes(8)
        self._counter = 0
        self._requests = 0
        self._delivered = 0

    def say(self, frame: frames.Frame) -> None:
        """Send the server a frame."""
        self.session.receive(self.codec.encode(frame))

    def hello(self, **options: object) -> None:
        """Say Hello with this device's token."""
        self.say(frames.Hello(self.account.token, **options))  # type: ignore[arg-type]

    def send(self, conversation: ConversationId, text: str, **options: object) -> frames.Send:
        """Send a message; returns the frame, to be repeated or matched."""
        self._counter += 1
        values: dict[str, object] = {
            "client_id": ids.client_id(self._prefix, self._counter),
            "attempt": 1,
            "conversation_id": conversation,
            "version": 1,
            "keys_at": EntryId(0),
            "scheme": frames.Scheme.PLAIN,
            "content_type": "text",
            "content": text.encode(),
        }
        frame = frames.Send(**{**values, **options})  # type: ignore[arg-type]
        self.say(frame)
        return frame

    async def ask(self, make: Callable[[int], frames.Frame], answer: type[F]) -> F:
        """Send a request with a fresh id and wait for its answer."""
        self._requests += 1
        request_id = self._requests
        self.say(make(request_id))
        return await self.expect(answer, lambda frame: getattr(frame, "request_id", None) == request_id)

    async def open(self, handle: str) -> ConversationId:
        """Open the direct conversation with somebody."""
        opened = await self.ask(lambda request_id: frames.OpenDirect(request_id, handle), frames.Conversation)
        return opened.conversation_id

    async def expect(self, kind: type[F], matches: Callable[[F], bool] = lambda _: True) -> F:
        """The next frame of a kind that matches; frames before it stay for other expectations."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                self._receive()
                for place, frame in enumerate(self.seen):
                    if isinstance(frame, kind) and matches(frame):
                        del self.seen[place]
                        return frame
                assert self.link.closed is None, f"closed {self.link.closed} instead of {kind.__name__}"
                await self.link.news()

    async def texts(self, count: int) -> list[str]:
        """The texts of the next messages."""
        return [(await self.expect(frames.Deliver)).message.content.decode() for _ in range(count)]

    async def settle_into(self, texts: list[str]) -> None:
        """Let the node finish what it is at, and add the texts of what came."""
        left = await self.settle()
        texts += [frame.message.content.decode() for frame in left if isinstance(frame, frames.Deliver)]

    async def settle(self) -> list[frames.ServerFrame]:
        """Let the node finish what it is at; returns (and forgets) what is left unexpected."""
        await self.ask(lambda request_id: frames.Sync(request_id, ids.SNOWFLAKE_MAX), frames.Synced)
        self._receive()
        left, self.seen = self.seen, []
        return left

    def ack(self, count: int | None = None) -> None:
        """Acknowledge the first so many Deliver frames of this connection, by default all so far."""
        self._receive()
        self.say(frames.Ack(self._delivered if count is None else count))

    async def closing(self) -> CloseCode:
        """Wait until the server closes the link."""
        async with asyncio.timeout(TIMEOUT_S):
            while self.link.closed is None:
                await self.link.news()
        return self.link.closed[0]

    def drop(self) -> None:
        """The connection breaks."""
        self.link.closed = self.link.closed or (CloseCode.GOING_AWAY, "")
        self.session.lost()

    def _receive(self) -> None:
        for data in self.link.sent:
            frame = self.codec.decode_server(data)
            self._delivered += isinstance(frame, frames.Deliver)
            self.seen.append(frame)
        self.link.sent.clear()


class World:
    """A node and its people. Make one with `World.start`."""

    def __init__(
        self, services: Services, clock: FakeClock, random: Random, complaints: list[object]
    ) -> None:
        self.services = services
        self.complaints = complaints
        """what the node logged as an error: bugs, unless the test planted them"""
        self.clock = clock
        self._random = random

    @classmethod
    async def start(
        cls,
        store: Store | None = None,
        *,
        clock: FakeClock | None = None,
        limits: Limits | None = None,
        seed: int = 1,
        shared: Shared | None = None,
        **settings: object,
    ) -> "World":
        """A node on a store, by default an empty one in memory; `settings` are keys of the config.

        What strangers write is delivered, unless `strangers` says otherwise. With what nodes share it
        is one among others: `services.cluster` is to be started and stopped.
        """
        clock = clock or FakeClock()
        random = Random(seed)  # noqa: S311 - a seed replays the run
        config = Config(
            limits=limits or Limits(receipt_delay_s=0.0),
            **{"strangers": "deliver", **settings},  # type: ignore[arg-type]
        )
        complaints: list[object] = []

        def note(_: object, method: str, event: structlog.typing.EventDict) -> str:
            if method in {"error", "exception", "critical"}:
                complaints.append(event)
            return str(event)

        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[note])
        services = await wire(
            config, store or MemoryStore(), clock, PlainPasswords(), random.randbytes, log, shared=shared
        )
        return cls(services, clock, random, complaints)

    async def register(self, handle: str) -> LoggedIn:
        """A new account."""
        return await self.services.accounts.register(NewAccount(handle, PASSWORD))

    async def login(self, handle: str) -> LoggedIn:
        """A new device of an account."""
        return await self.services.accounts.login(Credentials(handle, PASSWORD))

    def connect(self, account: LoggedIn, codec: Codec = MSGPACK) -> Device:
        """A connection that has not said anything yet."""
        return Device(self.services, account, codec, self._random)

    async def online(self, account: LoggedIn, codec: Codec = MSGPACK, **options: object) -> Device:
        """A connection that is welcome and has drained its inbox, if it receives."""
        device = self.connect(account, codec)
        device.hello(**options)
        await device.expect(frames.Welcome)
        if options.get("receive", True):
            await device.expect(frames.Drained)
        return device
