"""What anybody may know of a server: what it offers, and whether it takes messages."""

from collections.abc import Callable

from litestar import Response, get
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from litestar.types import ControllerRouterHandler

from tidings.protocol.api import Health, ServerInfo


def routes(server: ServerInfo, health: Callable[[], Health]) -> list[ControllerRouterHandler]:
    """`/v1/server` and `/v1/health`."""

    @get("/v1/server", tags=["server"], sync_to_thread=False)
    def about() -> ServerInfo:
        """What this server offers to somebody who has no account yet."""
        return server

    @get("/v1/health", tags=["server"], sync_to_thread=False)
    def healthy() -> Response[Health]:
        """Whether this node takes messages and new connections: 200, else 503.

        For whatever spreads connections over nodes: of one that answers 503 those that are there stay.
        """
        found = health()
        return Response(
            found, status_code=HTTP_200_OK if found.status == "ok" else HTTP_503_SERVICE_UNAVAILABLE
        )

    return [about, healthy]
