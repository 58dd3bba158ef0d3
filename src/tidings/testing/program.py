"""The program on a device: it loads once what the profile has, and lives on events from there on."""

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from tidings.client import (
    Client,
    Event,
    MessageEvent,
    PresenceEvent,
    SessionEnded,
    State,
    Surroundings,
    TypingEvent,
)
from tidings.client.profile import Profile
from tidings.client.socket import Socket
from tidings.testing.nodes import Node
from tidings.testing.sockets import NodeSocket
from tidings.testing.stage import Stage

SHOWN = 200
"""messages of a conversation that are kept"""


class Undelayed(Random):
    """Chance that never makes a client wait before it comes back."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - as Random has it
        return a


class Program:
    """See the module's text. It has a home among the nodes, and goes to the next when that is down."""

    def __init__(self, stage: Stage, name: str, profile: Profile) -> None:
        self.name = name
        self.told: Counter[str] = Counter()
        """how often each message of others was told since the last start"""
        self.typing: dict[str, bool] = {}
        self.online: dict[str, bool] = {}
        self.home = 0
        """the number of the node that it likes best"""
        self.ended: SessionEnded | None = None
        """why the server wants to hear of this device no more"""
        self.is_reachable = asyncio.Event()
        """whether there is a network where the device is"""
        self.is_reachable.set()
        self._stage = stage
        self._profile = profile
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: NodeSocket | None = None
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Run."""
        surroundings = Surroundings(
            clock=self._stage.clock, random=Undelayed(), dial=self._dial, request=self._request
        )
        client = Client.open(self._profile.path, surroundings=surroundings)
        self._client = await client.__aenter__()
        self.ended = None
        self.told.clear()
        self._state = await client.state(messages=SHOWN)
        self._task = asyncio.ensure_future(self._live(client))

    async def published(self) -> None:
        """Wait until others can write to this device, if it is the account's first one."""
        async with self._stage.patience(lambda: f"{self.name} has not published its keys"):
            while not await self.me.devices.is_linked():
                await self._stage.moment()

    async def linked_by(self, other: "Program") -> None:
        """Come into the list of the account's devices, by one that is in."""
        async with self._stage.patience(lambda: f"{self.name} is not linked"):
            code = await self.me.devices.link_code()
            await other.me.devices.approve(code)
            await self.me.devices.linked()

    async def stop(self) -> None:
        """End, if it runs."""
        client, self._client = self._client, None
        if client is not None and self._task is not None:
            await client.close()
            await self._task

    @property
    def is_on(self) -> bool:
        """Whether it runs."""
        return self._client is not None

    @property
    def me(self) -> Client:
        """The SDK."""
        assert self._client is not None, f"{self.name} is off"
        return self._client

    @property
    def state(self) -> State:
        """What is shown."""
        assert self._client is not None, f"{self.name} is off"
        return self._state

    async def until(
        self, condition: Callable[[], object], complaint: Callable[[], str], *, is_end: bool = False
    ) -> None:
        """Wait until something is so. If the program `is_end`-ed, fail at once, unless that is waited for."""
        async with self._stage.patience(complaint):
            while not condition():
                assert self._task is not None, f"{self.name} was never on"
                if self._task.done():
                    self._task.result()
                    assert is_end, f"{complaint()}\n{self.name} has ended: {self.ended}"
                self._news.clear()
                await self._news.wait()

    async def is_fresh(self) -> bool:
        """Whether what lives on events is what a fresh look gives."""
        return self.state == await self.me.state(messages=SHOWN)

    # --- where it is ----------------------------------------------------------------------

    @property
    def node(self) -> Node:
        """The node that it is on, or was on last."""
        return self._stage.nodes[self.home % len(self._stage.nodes)]

    async def a_node(self) -> Node:
        """Its home or, if that is down, the next one that is up, from then on; waits until one is."""
        for _ in self._stage.nodes:
            if self.node.is_up.is_set():
                return self.node
            self.home += 1
        await self.node.is_up.wait()
        return self.node

    def move(self) -> None:
        """Have the next node for a home."""
        self.home += 1
        self.tear()

    def tear(self) -> None:
        """The connection breaks."""
        if self._socket is not None:
            self._socket.tear()

    def go_deaf(self) -> None:
        """What the node sends over this connection arrives no more."""
        assert self._socket is not None
        self._socket.is_deaf = True

    # --- inside ---------------------------------------------------------------------------

    async def _dial(self, _: str) -> Socket:
        await self.is_reachable.wait()
        self._socket = (await self.a_node()).connect()
        return self._socket

    async def _request(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        await self.is_reachable.wait()
        return await (await self.a_node()).request(method, url, body, headers)

    async def _live(self, client: Client) -> None:
        try:
            async for event in client.events():
                self._take(event)
                self._news.set()
        except SessionEnded as ended:
            self.ended = ended
        finally:
            self._news.set()

    def _take(self, event: Event) -> None:
        self._state.apply(event)
        match event:
            case MessageEvent():
                self.told[f"{event.sender}: {event.text} {event.reference}"] += 1
            case TypingEvent():
                self.typing[event.sender] = event.active
            case PresenceEvent():
                self.online[event.handle] = event.online
            case _:
                pass
