"""Clients of the SDK on a node in memory: the real rules and sessions, no socket and no password work."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import httpx

from tidings.client import Client, Event, State, Surroundings
from tidings.client.enrolment import save
from tidings.client.errors import ConnectionLost
from tidings.client.http import Server
from tidings.client.profile import Profile
from tidings.client.socket import Socket
from tidings.client.surroundings import Request
from tidings.protocol.api import Health, LoggedIn, ServerInfo
from tidings.protocol.frames import ClientFrame, Conversations
from tidings.server import http
from tidings.testing.sockets import NodeSocket
from tidings.testing.world import World

PATIENCE_S = 30.0
LOOK_S = 0.005


class Screen:
    """A device with a program that loads the state once and lives on events."""

    def __init__(self, world: World, profile: Path, requests: Request) -> None:
        self._world = world
        self._profile = profile
        self._requests = requests
        self._sockets: list[NodeSocket] = []
        self._stack = contextlib.AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self.is_offline = False
        self.is_strict = False
        self.is_asking = True
        """false: what asks for the list of conversations gets lost on its way"""
        self.events: list[Event] = []

    async def __aenter__(self) -> "Screen":
        surroundings = Surroundings(dial=self._dial, request=self._requests, strict=self.is_strict)
        client = Client.open(self._profile, surroundings=surroundings)
        self.client = await self._stack.enter_async_context(client)
        parts = self.client._parts
        if parts is not None and parts.account.sealed:
            await parts.publishing.published()
        self.state = await self.client.state(messages=50)
        self._task = asyncio.ensure_future(self._show())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        assert self._task is not None
        await self._task

    def tear(self) -> None:
        """Break the connection; the client comes back by itself."""
        for socket in self._sockets:
            socket.tear()
        self._sockets.clear()

    async def until(self, condition: Callable[[State], object]) -> None:
        """Wait until the state that lives on events meets a condition."""
        await until(lambda: condition(self.checked))

    async def ended(self) -> None:
        """Wait until it knows that it is out: it leaves with what it was told then."""
        assert self._task is not None
        await asyncio.wait([self._task])

    async def fresh(self) -> State:
        """What the profile has right now."""
        return await self.client.state(messages=50)

    @property
    def checked(self) -> State:
        """The state that lives on events. Raises what the program ended with."""
        assert self._task is not None
        if self._task.done():
            self._task.result()
        return self.state

    async def _show(self) -> None:
        async for event in self.client.events():
            self.events.append(event)
            self.state.apply(event)

    async def _dial(self, url: str) -> Socket:
        if self.is_offline:
            raise ConnectionLost(1006, "offline")
        self._sockets.append(NodeSocket(self._world.services, self._loses))
        return self._sockets[-1]

    def _loses(self, frame: ClientFrame) -> bool:
        return isinstance(frame, Conversations) and not self.is_asking


class Devices:
    """Makes profiles for people of a world.

    `sealed`: they encrypt. A device that was added is linked by the test then, and has no past.
    """

    def __init__(self, world: World, folder: Path, *, sealed: bool = False) -> None:
        self.world = world
        self._sealed = sealed
        self._requests = requests_of(world)
        self._folder = folder
        self._count = 0

    async def register(self, handle: str) -> Screen:
        """The first device of a new account."""
        return self._screen(await self.world.register(handle))

    async def login(self, handle: str) -> Screen:
        """A further device."""
        return self._screen(await self.world.login(handle))

    def _screen(self, account: LoggedIn) -> Screen:
        self._count += 1
        profile = Profile(self._folder / f"{account.handle}-{self._count}")
        with profile.create():
            save(profile, Server.at("http://memory"), account, sealed=self._sealed)
        return Screen(self.world, profile.path, self._requests)


def requests_of(world: World) -> Request:
    """HTTP to a node in memory."""
    about = ServerInfo("0", "open", phone=False)
    health = Health("ok", "0", "memory", 3)
    app = http.application(
        world.services, world.clock, world.services.limits, about, lambda: health, world.services.log
    )

    async def request(
        method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            answer = await client.request(method, url, content=body, headers=headers)
        return answer.status_code, answer.content

    return request


async def until(condition: Callable[[], object]) -> None:
    """Wait until something has come true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(LOOK_S)


async def all_agree(*screens: Screen) -> None:
    """Wait until on every screen old state + events == fresh state, and those of a user show the same.

    A device that was off while a message was written and deleted never hears of it; the others show
    that there was one. That alone may differ.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await _differing(screens):
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"no agreement: {await _differing(screens)}") from None


async def _differing(screens: tuple[Screen, ...]) -> str:
    """Where two differ, in words; empty if none do."""
    first: dict[str, Screen] = {}
    for screen in screens:
        handle, state = screen.client.handle, screen.checked
        if state != await screen.fresh():
            return f"@{handle}, events and fresh: {_difference(state, await screen.fresh())}"
        other = first.setdefault(handle, screen).state
        if _shown(state) != _shown(other):
            return f"@{handle}, two devices: {_difference(state, other)}"
    return ""


def _shown(state: State) -> dict[object, object]:
    messages = {
        message.reference: message
        for chat in state.chats
        for message in state.messages(chat.peer)
        if not message.deleted
    }
    counts = {chat.peer: (chat.unread, chat.read_up_to) for chat in state.chats}
    return {**messages, **counts, **state.settings, "requests": state.requests}


def _difference(one: State, other: State) -> list[tuple[object, object]]:
    here, there = _shown(one), _shown(other)
    return [(here.get(key), there.get(key)) for key in {**here, **there} if here.get(key) != there.get(key)]
