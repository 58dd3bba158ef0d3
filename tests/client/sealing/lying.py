"""A server that lies: it stands between one device and an honest node, and rewrites what that says.

It reads all frames, as a server does. A test chooses one lie at a time: `lie` makes of a frame of the node
those that the device is told, `hear` of a frame of the device those that the node is told, `twist` the
answers of HTTP; `say` tells the device something that no node said.
"""

from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from client.memory_world import Devices, Screen
from tidings.client.errors import ConnectionLost
from tidings.client.socket import Socket
from tidings.client.surroundings import Request
from tidings.protocol import frames
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import Ack, ClientFrame, Deliver, Send, ServerFrame
from tidings.protocol.ids import DeviceId, EntryId, UserId
from tidings.testing.sockets import NodeSocket
from tidings.testing.world import World

F = TypeVar("F")
Lie = Callable[[ServerFrame], Collection[ServerFrame]]
Hear = Callable[[ClientFrame], Collection[ClientFrame]]
Answer = tuple[int, bytes]
"""status and body"""
Twist = Callable[[str, str, Answer], Answer]


def honest(frame: F) -> list[F]:
    """No lie."""
    return [frame]


def changing(kind: type[F], change: Callable[[F], F]) -> Lie:
    """Tell something else instead of each frame of a kind."""
    return lambda frame: [change(frame)] if isinstance(frame, kind) else [frame]  # type: ignore[list-item]


def dropping(kind: type[ServerFrame]) -> Lie:
    """Tell no frame of a kind."""
    return lambda frame: [] if isinstance(frame, kind) else [frame]


class Liar:
    """What a test has of the server of one device."""

    def __init__(self) -> None:
        self.wire: list[ServerFrame] = []
        """what the node said"""
        self.said: list[ClientFrame] = []
        """what the device said"""
        self.lie: Lie = honest
        self.hear: Hear = honest
        self.twist: Twist = lambda _method, _path, answer: answer
        self.socket: LyingSocket | None = None

    def say(self, *told: ServerFrame) -> None:
        """Tell the device something."""
        assert self.socket is not None
        for frame in told:
            self.socket.say(frame)

    @property
    def delivered(self) -> list[Deliver]:
        """The messages and keys that the node had for the device."""
        return [frame for frame in self.wire if isinstance(frame, Deliver)]

    @property
    def sent(self) -> list[Send]:
        """What the device sent, repeats and all."""
        return [frame for frame in self.said if isinstance(frame, Send)]

    @property
    def reached(self) -> set[DeviceId]:
        """The devices that it sealed something for, ever."""
        return {device for send in self.sent for device in send.envelopes}


class Said(bytes):
    """A frame that no node said."""


class LyingSocket(NodeSocket):
    """A socket of a device whose server lies."""

    def __init__(self, world: World, liar: Liar) -> None:
        super().__init__(world.services)
        self._liar = liar
        self._told: deque[bytes] = deque()
        self._honest = 0
        """Deliver frames that the node sent on this connection"""
        self._behind: list[int] = []
        """for each that the device was told: how many of the node's it stands for"""

    def say(self, frame: ServerFrame) -> None:
        self._link.send(Said(MSGPACK.encode(frame)))

    async def send(self, data: bytes) -> None:
        frame = MSGPACK.decode_client(data)
        self._liar.said.append(frame)
        if isinstance(frame, Ack):
            frame = Ack(self._behind[frame.up_to - 1] if frame.up_to else 0)
        for one in self._liar.hear(frame):
            await super().send(MSGPACK.encode(one))

    async def receive(self) -> bytes:
        while not self._told:
            self._tell(await super().receive())
        return self._told.popleft()

    def _tell(self, data: bytes) -> None:
        frame = MSGPACK.decode_server(data)
        if isinstance(data, Said):
            told: Collection[ServerFrame] = [frame]
        else:
            self._liar.wire.append(frame)
            self._honest += isinstance(frame, Deliver)
            told = self._liar.lie(frame)
        for one in told:
            if isinstance(one, Deliver):
                self._behind.append(self._honest)
            self._told.append(MSGPACK.encode(one))


class Victim(Screen):
    """A device whose server lies."""

    def __init__(self, world: World, profile: Path, requests: Request) -> None:
        self.liar = Liar()
        super().__init__(world, profile, self._twisted(requests))

    def _twisted(self, requests: Request) -> Request:
        async def request(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Answer:
            answer = await requests(method, url, body, headers)
            return self.liar.twist(method, url.removeprefix("http://memory"), answer)

        return request

    async def _dial(self, url: str) -> Socket:
        if self.is_offline:
            raise ConnectionLost(1006, "offline")
        self.liar.socket = LyingSocket(self._world, self.liar)
        self._sockets.append(self.liar.socket)
        return self.liar.socket

    async def __aenter__(self) -> "Victim":
        await super().__aenter__()
        return self

    @property
    def device_id(self) -> DeviceId:
        assert self.client._parts is not None
        return self.client._parts.me.device_id

    @property
    def user_id(self) -> UserId:
        assert self.client._parts is not None
        return self.client._parts.me.user_id


class Victims(Devices):
    """Makes devices whose server lies, once a test says so."""

    def __init__(self, world: World, folder: Path) -> None:
        super().__init__(world, folder, sealed=True)

    async def register(self, handle: str) -> Victim:
        return self.victim((await super().register(handle))._profile)

    async def login(self, handle: str) -> Victim:
        return self.victim((await super().login(handle))._profile)

    def victim(self, profile: Path) -> Victim:
        """A device by its profile."""
        return Victim(self.world, profile, self._requests)


def remade(deliver: Deliver, *, envelope: bytes | None = b"", later: int = 0, **message: Any) -> Deliver:
    """An entry as the server makes it up of another one. `envelope`: instead of its own."""
    return Deliver(
        EntryId(deliver.entry_id + later),
        msgspec.structs.replace(deliver.message, **message),
        deliver.envelope if envelope == b"" else envelope,
    )


def entry(message: frames.Message, envelope: bytes | None = None) -> Deliver:
    """An entry of a message that the server made up."""
    return Deliver(EntryId(message.message_id), message, envelope)
