"""A crowd on a real server: hundreds of accounts with a profile each, opened as they are needed.

Each is what `tidings account register` makes, its keys published, but for the password, which is hashed
cheaply: a thousand proper hashes would take minutes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from integration.server import Server
from tidings.bench.seed import seed
from tidings.client import Client, Event, Group, Message, MessageEvent, SentEvent, Surroundings
from tidings.client.enrolment import enrol
from tidings.client.http import Server as Address
from tidings.client.socket import Socket, dial
from tidings.protocol.api import LoggedIn
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import Deliver, Relation, Send
from tidings.protocol.ids import DeviceId, MessageId, UserId

PATIENCE_S = 60.0
LOOK_S = 0.02
AT_ONCE = 8
"""profiles that are made at the same time"""
SHOWN = 200
"""messages of a conversation that a member shows"""
TALK_S = 0.1
"""from one message to the next"""


class Tap:
    """A socket that is listened to: how much goes over it, and which way the messages come."""

    def __init__(self, inner: Socket, member: "Member") -> None:
        self._inner = inner
        self._member = member

    async def send(self, data: bytes) -> None:
        self._member.sent_bytes += len(data)
        frame = MSGPACK.decode_client(data)
        if isinstance(frame, Send) and frame.relation == Relation.SENDER_KEY:
            self._member.handouts += 1
        await self._inner.send(data)

    async def receive(self) -> bytes:
        data = await self._inner.receive()
        self._member.received_bytes += len(data)
        frame = MSGPACK.decode_server(data)
        if isinstance(frame, Deliver) and frame.message.relation == Relation.NONE:
            # One that stands in no inbox was read from the group's log.
            seen = self._member.copied if frame.entry_id else self._member.pulled
            seen.add(frame.message.message_id)
        return data

    async def close(self, code: int, reason: str) -> None:
        await self._inner.close(code, reason)


class Member:
    """Somebody of the crowd, with a program that loads the state once and lives on events."""

    def __init__(self, handle: str, profile: Path) -> None:
        self.handle = handle
        self.events: list[Event] = []
        self.handouts = 0
        """frames of sender keys that were sent"""
        self.copied: set[MessageId] = set()
        """messages that came as entries of the inbox"""
        self.pulled: set[MessageId] = set()
        """those that were read from a group's log"""
        self.sent_bytes = self.received_bytes = 0
        self._profile = profile
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        opened = Client.open(self._profile, surroundings=Surroundings(dial=self._dial))
        self.client = await self._stack.enter_async_context(opened)
        self.state = await self.client.state(messages=SHOWN)
        self._task = asyncio.ensure_future(self._show())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        await self._task

    def group(self, peer: str) -> Group:
        """A group, as it was told."""
        (found,) = [one for one in self.state.groups if one.peer == peer]
        return found

    def messages(self, peer: str) -> list[Message]:
        """What people wrote in a group, as it is shown."""
        if self._task.done():
            self._task.result()
        return [one for one in self.state.messages(peer) if one.change is None]

    def texts(self, peer: str) -> list[str]:
        """The same, as texts; what cannot be read is said to be so."""
        return [f"[{one.fault.name}]" if one.fault else one.text for one in self.messages(peer)]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is shown."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"@{self.handle} waited in vain for {what}") from None

    async def shows(self, peer: str, texts: Sequence[str]) -> None:
        """Wait until just these are shown in a group, in this order."""
        try:
            await self.until(lambda: self.texts(peer) == list(texts), "messages")
        except AssertionError:
            raise AssertionError(f"@{self.handle} shows {self.texts(peer)}, not {list(texts)}") from None

    async def _show(self) -> None:
        async for event in self.client.events():
            self.events.append(event)
            self.state.apply(event)

    async def _dial(self, url: str) -> Socket:
        return Tap(await dial(url), self)


class Crowd:
    """See the module's text."""

    def __init__(self, folder: Path, accounts: list[LoggedIn]) -> None:
        self._folder = folder
        self._accounts = accounts

    @classmethod
    async def gather(cls, server: Server, folder: Path, people: int) -> Self:
        """So many people; the server, which nobody has started yet, runs after this."""
        accounts, _ = await seed(server.data, people, [])
        server.start()
        return await cls.of(accounts, folder, [server.url])

    @classmethod
    async def of(cls, accounts: list[LoggedIn], folder: Path, urls: list[str]) -> Self:
        """People who have accounts; they are spread over these addresses, in turn."""
        crowd = cls(folder, accounts)
        gate = asyncio.Semaphore(AT_ONCE)

        async def make(number: int) -> None:
            address = Address.at(urls[number % len(urls)])
            async with gate:
                await enrol(crowd._profile(number), address, crowd._answer(number), is_new=True)

        await asyncio.gather(*(make(number) for number in range(len(accounts))))
        return crowd

    def handles(self, first: int, end: int) -> list[str]:
        """Of some of them."""
        return [f"@{one.handle}" for one in self._accounts[first:end]]

    def ids(self, number: int) -> tuple[UserId, DeviceId]:
        """What the server calls one of them, and their device."""
        return self._accounts[number].ids()

    def member(self, number: int) -> Member:
        """One of them, not opened yet."""
        return Member(self._accounts[number].handle, self._profile(number))

    def _profile(self, number: int) -> Path:
        return self._folder / f"profile{number}"

    def _answer(self, number: int) -> Callable[[], Awaitable[LoggedIn]]:
        async def answer() -> LoggedIn:
            return self._accounts[number]

        return answer


class Talk:
    """A group, what was said in it, and whom it is for."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.said: list[str] = []

    async def say(self, member: Member, text: str) -> None:
        """Say something, and wait until the server has it."""
        await member.client.send(self.peer, text)
        self.said.append(text)

    async def is_shown(self, *members: Member, since: str = "") -> None:
        """Wait until all of them show it all, or what was said from one text on."""
        expected = self.said[self.said.index(since) if since else 0 :]
        for member in members:
            await member.shows(self.peer, expected)
            told = [
                event.reference
                for event in member.events
                if isinstance(event, MessageEvent | SentEvent) and event.change is None
            ]
            assert len(told) == len(set(told)), f"@{member.handle} was told twice"

    @contextlib.asynccontextmanager
    async def going_on(self, *members: Member) -> AsyncIterator[None]:
        """Members talk in turn, all the time."""

        is_over = asyncio.Event()

        async def talk() -> None:
            while not is_over.is_set():
                for member in members:
                    await self.say(member, f"{len(self.said)}: @{member.handle}")
                    await asyncio.sleep(TALK_S)

        task = asyncio.ensure_future(talk())
        try:
            yield
        finally:
            is_over.set()
            await task
