"""A light client's encryption: the SDK's own, with what it keeps in memory.

Its keys, the account's list and the sessions are made, published and asked for as the SDK does it.
"""

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

import httpx
import msgspec

from tidings.bench.load import Device
from tidings.client import http
from tidings.client.http import Server
from tidings.client.sealing import own
from tidings.client.sealing.opener import Opened, open_message
from tidings.client.sealing.publishing import Publishing, listed, sign
from tidings.client.sealing.sealer import Lacking, Self, Writing, seal_message
from tidings.client.sealing.supplies import Supplies
from tidings.client.sealing.warnings import untold
from tidings.client.tables import SCHEMA
from tidings.protocol.api import Done, LoggedIn, NewDevices
from tidings.protocol.frames import Deliver, Relation, Scheme, Send
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, UserId

T = TypeVar("T")
TYPE = "text/plain"


class Keys:
    """What one device keeps for sealing and opening."""

    def __init__(self, account: LoggedIn, device: Device, server: Server) -> None:
        self.me = Self(UserId(int(account.user_id)), DeviceId(int(account.device_id)))
        self.device = device
        self._token = account.token
        self._server = server
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.executescript(SCHEMA)
        self._supplies = Supplies(self, self.me, now_ms, strict=False)
        self._publishing = Publishing(self, self.me, self._http, self._supplies, now_ms)

    async def write(self, job: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:  # noqa: ARG002
        return job(self._database)

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return job(self._database)

    async def publish(self) -> None:
        """Publish this device's keys; the first device of an account begins its list, too."""
        await self._publishing.publish(self.device.ask)

    async def let_in(self, other: "Keys") -> None:
        """Sign a list with a further device of the account, and give it the identity."""
        mine, theirs = own.load(self._database), own.load(other._database)
        assert mine is not None
        assert mine.identity is not None
        assert theirs is not None
        signed = sign(mine.identity, self.me, 2, [listed(mine, self.me), listed(theirs, other.me)])
        await self._http("PUT", "/v1/keys/devices", Done, NewDevices(signed.body, signed.signature))
        own.adopt(other._database, mine.identity)

    async def meet(self, *users: UserId) -> None:
        """Ask for the lists of users."""
        await self._supplies.lists(users, self.device.ask)

    async def seal(self, conversation: ConversationId, peer: UserId, content: bytes) -> Send:
        """A message, asking for what is lacking."""
        while True:
            made = self.sealed(conversation, peer, content)
            if isinstance(made, Send):
                return made
            lost = await self._supplies.fetch(made, self.device.ask)
            assert not lost, "the server has no keys of a device"

    def sealed(self, conversation: ConversationId, peer: UserId, content: bytes) -> Send | Lacking:
        """A message, if nothing is lacking."""
        frame = self.device.message(conversation, b"")
        writing = Writing(
            conversation,
            peer,
            frame.client_id,
            TYPE,
            content,
            Relation.NONE,
            None,
            silent=False,
            expires_at=None,
        )
        made = seal_message(self._database, self.me, writing, now_ms())
        if isinstance(made, Lacking):
            return made
        frame.keys_at, frame.scheme = EntryId(made.keys_at), Scheme.DIRECT
        frame.content_type, frame.content = made.content_type, made.content
        frame.envelopes = {DeviceId(device): envelope for device, envelope in made.envelopes.items()}
        return frame

    def open(self, received: Deliver) -> Opened:
        """Open what was delivered."""
        return open_message(self._database, self.me, received.message, received.envelope, now_ms())

    @property
    def warned(self) -> int:
        """What the user would be told of keys, devices and the server's doings."""
        return len(untold(self._database))

    async def _http(self, method: str, path: str, answer: type[T], body: msgspec.Struct | None = None) -> T:
        return await http.ask(self._server, method, path, answer, body, token=self._token)


def reached(url: str, client: httpx.AsyncClient) -> Server:
    """A server that is asked over connections that stay."""

    async def request(
        method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        response = await client.request(method, url, content=body, headers=headers)
        return response.status_code, response.content

    return Server.at(url)._replace(request=request)


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000
