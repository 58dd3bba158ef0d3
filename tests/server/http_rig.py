"""A node's HTTP in memory, and people who talk to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tidings.protocol.api import Health, ServerInfo
from tidings.protocol.limits import Limits
from tidings.server import http
from tidings.testing.world import PASSWORD, World

ALICE = {"handle": "alice", "secret": PASSWORD}
BOB = {"handle": "bob", "secret": PASSWORD}
HEALTH = Health("ok", "0", "memory", 3)


class Node:
    """A client of a node in memory."""

    def __init__(self, world: World, client: httpx.AsyncClient) -> None:
        self.world = world
        self.client = client

    async def ask(
        self, method: str, path: str, body: object = None, *, token: str = "", **options: Any
    ) -> httpx.Response:
        """Send a request, with JSON and a token if there are any."""
        if body is not None:
            options["json"] = body
        if token:
            options["headers"] = options.get("headers", {}) | {"Authorization": f"Bearer {token}"}
        return await self.client.request(method, path, **options)

    async def register(self, body: dict[str, Any] = ALICE) -> dict[str, str]:
        """A new account: what the answer says."""
        answer = await self.ask("POST", "/v1/accounts", body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


@asynccontextmanager
async def node_of(
    limits: Limits | None = None, health: Health = HEALTH, **settings: object
) -> AsyncIterator[Node]:
    """A node; `settings` are keys of the config."""
    # Not Litestar's own test client: it would run the node in another loop than its rules.
    limits = limits or Limits(receipt_delay_s=0.0)
    world = await World.start(limits=limits, **settings)  # type: ignore[arg-type]
    about = ServerInfo("0", str(settings.get("registration", "open")), phone=False)
    origins = settings.get("origins", ())
    app = http.application(
        world.services, world.clock, limits, about, lambda: health, world.services.log, origins
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        yield Node(world, client)
    assert not world.complaints


def name_of(answer: httpx.Response) -> str:
    """The name of the error that a request was refused with."""
    return str(answer.json()["name"])
