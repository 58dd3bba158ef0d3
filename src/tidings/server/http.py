"""What is not live: accounts, sessions and health over HTTP, with OpenAPI at /v1/openapi.

Every refusal is an `api.Problem`, whoever raised it.

spec §7
"""

from collections.abc import Callable

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from litestar.types import ControllerRouterHandler
from structlog.typing import FilteringBoundLogger

from tidings import __version__
from tidings.domain.accounts import Accounts
from tidings.domain.clock import Clock
from tidings.protocol.api import Credentials, Health, LoggedIn, Problem
from tidings.protocol.errors import INTERNAL, INVALID, ErrorKind, ProtocolError
from tidings.protocol.limits import Limits
from tidings.server.rate import AddressRates

AnyRequest = Request[object, object, State]

WELCOME = f"""\
Tidings {__version__}: a chat server. It is running.

Talk to it with `tidings register --server http://THIS-HOST ...`; its HTTP interface is described
at /v1/openapi/openapi.json, and the WebSocket at /v1/ws by the protocol's specification.
"""


def application(
    accounts: Accounts,
    clock: Clock,
    limits: Limits,
    health: Callable[[], Health],
    log: FilteringBoundLogger,
) -> Litestar:
    """The ASGI application of a node."""
    return Litestar(
        _routes(accounts, clock, limits, health),
        exception_handlers={
            ProtocolError: _refused,
            HTTPException: _http_refused,
            Exception: _failing(log),
        },
        request_max_body_size=limits.http_body_bytes,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Tidings",
            version=__version__,
            path="/v1/openapi",
            render_plugins=[JsonRenderPlugin()],
        ),
    )


def _routes(
    accounts: Accounts, clock: Clock, limits: Limits, health: Callable[[], Health]
) -> list[ControllerRouterHandler]:
    registrations = AddressRates(limits.register_rate, limits.addresses_tracked)
    logins = AddressRates(limits.login_rate, limits.addresses_tracked)

    @get("/", media_type=MediaType.TEXT, include_in_schema=False, sync_to_thread=False)
    def welcome() -> str:
        return WELCOME

    @get("/v1/health", sync_to_thread=False)
    def healthy() -> Response[Health]:
        """Whether this node takes messages: 200, or 503 since the last write failed."""
        found = health()
        return Response(
            found, status_code=HTTP_200_OK if found.status == "ok" else HTTP_503_SERVICE_UNAVAILABLE
        )

    @post("/v1/accounts")
    async def register(data: JSONBody[Credentials], request: AnyRequest) -> LoggedIn:
        """Make an account; answers with its first device's token."""
        registrations.check(_address(request), clock.monotonic_s())
        return await accounts.register(data)

    @post("/v1/sessions")
    async def login(data: JSONBody[Credentials], request: AnyRequest) -> LoggedIn:
        """Log in with handle and password; answers with a new device's token."""
        logins.check(_address(request), clock.monotonic_s())
        return await accounts.login(data)

    return [welcome, healthy, register, login]


def _address(request: AnyRequest) -> str:
    return request.client.host if request.client else ""


def _refused(_: AnyRequest, error: Exception) -> Response[Problem]:
    assert isinstance(error, ProtocolError)
    return _problem(error.kind, error.message, error.kind.http_status, error.retry_after_s)


def _http_refused(_: AnyRequest, error: Exception) -> Response[Problem]:
    assert isinstance(error, HTTPException)
    extra = error.extra
    detail = (
        "; ".join(f"{item.get('key')}: {item.get('message')}" for item in extra if isinstance(item, dict))
        if isinstance(extra, list)
        else ""
    )
    message = f"{error.detail}: {detail}" if detail else error.detail
    return _problem(INVALID, message, error.status_code, None)


def _failing(log: FilteringBoundLogger) -> Callable[[AnyRequest, Exception], Response[Problem]]:
    def failed(request: AnyRequest, error: Exception) -> Response[Problem]:
        log.error("request failed", path=request.url.path, exc_info=error)
        return _problem(INTERNAL, INTERNAL.meaning, INTERNAL.http_status, 1.0)

    return failed


def _problem(kind: ErrorKind, message: str, status: int, retry_after_s: float | None) -> Response[Problem]:
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, round(retry_after_s)))}
    return Response(
        Problem(kind.code, kind.name, message, retry_after_s), status_code=status, headers=headers
    )
