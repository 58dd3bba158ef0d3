"""Clients that say exactly what a test wants, and a pair of friends who only want to talk.

A `Speaker` acknowledges nothing, answers a close only and reads only when it is asked to.
"""

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from integration.server import PATIENCE_S, Server
from server.rig import BINARY, CLOSE, Peer, frame, upgrade
from tidings.protocol import frames, ids
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import Ack, Deliver, Drained, Error, Hello, Page, Sent, Welcome
from tidings.protocol.ids import ConversationId

F = TypeVar("F", bound=frames.Frame)
BUFFER_BYTES = 1 << 20
ACK_EVERY = 4
"""less than what large messages a window takes"""
_prefixes = itertools.count(1)


class Closed(NamedTuple):
    """How the server ended a WebSocket."""

    code: int
    reason: str


class Speaker(Peer):
    """A WebSocket whose every byte is the test's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.seen: list[frames.ServerFrame] = []
        self.closed: Closed | None = None
        self.answered = b""
        self._requests = itertools.count(1)
        self._names = itertools.count(1)
        self._prefix = next(_prefixes).to_bytes(8, "big")
        self._delivered = 0

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gone when this returns, so that a test may then wait for the server without the event loop."""
        await super().__aexit__(kind, error, trace)
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    @classmethod
    async def dial(cls, port: int, *, receive_bytes: int | None = None) -> Self:
        """A TCP connection; `receive_bytes` bounds what the kernel takes for it unread."""
        sock = socket.socket()
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=sock, limit=receive_bytes or BUFFER_BYTES))

    @classmethod
    async def connect(cls, port: int, *, receive_bytes: int | None = None) -> Self:
        """A WebSocket that has said nothing yet."""
        speaker = await cls.dial(port, receive_bytes=receive_bytes)
        try:
            speaker.ask_for_websocket()
            assert await speaker.status() == 101, speaker.answered
        except BaseException:
            speaker.writer.transport.abort()
            raise
        return speaker

    @classmethod
    async def online(cls, server: Server, token: str) -> Self:
        """A device that is welcome and has drained its inbox."""
        speaker = await cls.connect(server.port)
        try:
            speaker.say(Hello(token))
            await speaker.drain()
        except BaseException:
            speaker.writer.transport.abort()
            raise
        return speaker

    def ask_for_websocket(self) -> None:
        """Send the handshake."""
        self.send(upgrade())

    async def status(self) -> int:
        """Of the HTTP answer; its head is in `answered`."""
        self.answered = await self.head()
        return int(self.answered.split()[1])

    # --- speaking ---------------------------------------------------------------------------

    def say(self, *said: frames.Frame) -> None:
        """Send frames, in one piece."""
        self.send(*(frame(BINARY, MSGPACK.encode(one)) for one in said))

    def say_bytes(self, data: bytes) -> None:
        """Send one WebSocket message."""
        self.send(frame(BINARY, data))

    def message(self, conversation: ConversationId, content: bytes) -> frames.Send:
        """A message to be said, with a name of its own."""
        name = ids.client_id(self._prefix, next(self._names))
        return frames.Send(name, 1, conversation, 1, 0, frames.Scheme.PLAIN, "text", content)

    def acknowledge(self) -> None:
        """All that was seen is stored."""
        self.say(Ack(self._delivered))

    # --- hearing ----------------------------------------------------------------------------

    async def hear(self) -> bool:
        """Take one more WebSocket frame; False where the connection ended."""
        try:
            opcode, payload = await self.frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed = self.closed or Closed(1006, "")
            return False
        if opcode == CLOSE:
            self.send(frame(CLOSE, payload[:2]))
            self.closed = Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())
            return False
        received = MSGPACK.decode_server(payload)
        self._delivered += isinstance(received, Deliver)
        self.seen.append(received)
        return True

    async def expect(self, kind: type[F], matches: Callable[[F], bool] = lambda _: True) -> F:
        """The next frame of a kind that matches; those before it stay for other expectations."""
        looked_at = 0
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for place in range(looked_at, len(self.seen)):
                    found = self.seen[place]
                    if isinstance(found, kind) and matches(found):
                        del self.seen[place]
                        return found
                looked_at = len(self.seen)
                assert await self.hear(), f"{self.closed} instead of {kind.__name__} (seen: {self.seen[-3:]})"

    async def ask(self, make: Callable[[int], frames.Frame], answer: type[F]) -> F:
        """Send a request with a fresh number; its answer."""
        number = next(self._requests)
        self.say(make(number))
        return await self.expect(answer, lambda one: getattr(one, "request_id", None) == number)

    async def drain(self) -> list[Deliver]:
        """Acknowledge all that waits in the inbox, and forget it; returns it."""
        found: list[Deliver] = []
        async with asyncio.timeout(PATIENCE_S):
            while not (self.seen and isinstance(self.seen[-1], Drained)):
                assert await self.hear(), self.closed
                if isinstance(self.seen[-1], Deliver):
                    found.append(self.seen[-1])
                    if len(found) % ACK_EVERY == 0:
                        self.acknowledge()
        if found:
            self.acknowledge()
        self.seen.clear()
        return found

    async def closing(self) -> Closed:
        """Read on until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.hear():
                pass
        assert self.closed is not None
        return self.closed

    async def history(self, conversation: ConversationId) -> list[bytes]:
        """The contents of the newest page."""
        page = await self.ask(lambda n: frames.History(n, conversation), Page)
        return [item.message.content for item in page.items]

    async def settled(self) -> None:
        """Everything said before this was answered."""
        await self.ask(lambda n: frames.Sync(n, ids.SNOWFLAKE_MAX), frames.Synced)


class Friends(NamedTuple):
    """Two people with accounts and a conversation, who behave."""

    server: Server
    tokens: tuple[str, str]
    conversation: ConversationId

    @classmethod
    async def of(cls, server: Server, one: str = "alice", other: str = "bob") -> Self:
        """Make the accounts, and open the conversation."""
        tokens = (server.register(one)["token"], server.register(other)["token"])
        async with await Speaker.online(server, tokens[0]) as speaker:
            opened = await speaker.ask(lambda n: frames.OpenDirect(n, other), frames.Conversation)
        return cls(server, tokens, opened.conversation_id)

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator["Talk"]:
        """Both online."""
        one, other = self.tokens
        async with (
            await Speaker.online(self.server, one) as alice,
            await Speaker.online(self.server, other) as bob,
        ):
            yield Talk(alice, bob, self.conversation)

    async def check(self) -> None:
        """The server serves them as ever, is as small as it was, and complains of nothing."""
        async with self.talking() as talk:
            assert await talk.exchange() < PATIENCE_S
        self.server.check_memory()
        self.server.check_log()


class Talk(NamedTuple):
    """Two friends online."""

    alice: Speaker
    bob: Speaker
    conversation: ConversationId

    async def exchange(self) -> float:
        """A message, delivered, acknowledged and read; the seconds until it was delivered."""
        alice, bob, conversation = self
        began = time.perf_counter()
        alice.say(alice.message(conversation, b"%f" % began))
        sent = await alice.expect(Sent)
        await bob.expect(Deliver, lambda one: one.message.message_id == sent.message_id)
        took_s = time.perf_counter() - began
        bob.acknowledge()
        await bob.ask(lambda n: frames.Read(n, conversation, sent.message_id), frames.Ok)
        await alice.expect(frames.Receipt, lambda one: one.read_up_to == sent.message_id)
        return took_s

    @contextlib.asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[list[float]]:
        """Exchange one message after another; what is yielded collects how long each took."""
        latencies: list[float] = []

        async def chat() -> None:
            while True:
                latencies.append(await self.exchange())

        task = asyncio.create_task(chat())
        try:
            yield latencies
            # At least one that began before the end and ended after it.
            count = len(latencies)
            await until(lambda: len(latencies) > count or task.done())
        finally:
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended[0], asyncio.CancelledError), ended


async def until(condition: Callable[[], object]) -> None:
    """Wait until something outside has happened."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def refusal_of(speaker: Speaker, said: frames.Send) -> Error:
    """The error that a message is answered with."""
    return await speaker.expect(Error, lambda error: error.client_id == said.client_id)


__all__ = ["Closed", "Friends", "Speaker", "Talk", "Welcome", "refusal_of", "until"]
