"""What is not live: the ASGI application of a node, with OpenAPI at /v1/openapi.

Every refusal is an `api.Problem`, whoever raised it. A module here is a noun; none of them knows
the rules, they only take bodies apart, ask who is asking, and count.

spec §7
"""

from collections.abc import Callable, Collection

from litestar import Litestar, MediaType, Response, get
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler
from structlog.typing import FilteringBoundLogger

from tidings import __version__
from tidings.domain.clock import Clock
from tidings.protocol.api import Health, Problem, ServerInfo
from tidings.protocol.errors import ProtocolError
from tidings.protocol.limits import Limits
from tidings.server.account_rules import AccountRules
from tidings.server.counts import Counts
from tidings.server.http import account, devices, entering, factor, groups, keys, phone, profile, state
from tidings.server.http.asking import BEARER, Asking
from tidings.server.http.problems import AnyRequest, Asked, failing, http_refused, refused, store_refused
from tidings.server.services import Services
from tidings.store.contract import StoreError

WELCOME = f"""\
Tidings {__version__}: a chat server. It is running.

Talk to it with `tidings register --server http://THIS-HOST ...`; its HTTP interface is described
at /v1/openapi/openapi.json, and the WebSocket at /v1/ws by the protocol's specification.
"""


def application(
    services: Services,
    clock: Clock,
    limits: Limits,
    server: ServerInfo,
    health: Callable[[], Health],
    log: FilteringBoundLogger,
    origins: Collection[str] = (),
) -> Litestar:
    """The ASGI application of a node. Pages of `origins`, and its own, may ask."""
    rules = services.account_rules
    asking = Asking(rules.devices, clock, limits)
    return Litestar(
        _routes(services, rules, clock, limits, server, health),
        dependencies={"caller": Provide(asking.caller), "reader": Provide(asking.reader)},
        exception_handlers={
            ProtocolError: _counting(services.counts),
            StoreError: store_refused,
            HTTPException: http_refused,
            Exception: failing(log),
        },
        cors_config=CORSConfig(
            allow_origins=sorted(origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match"],
            expose_headers=["ETag", "Retry-After"],
        )
        if origins
        else None,
        request_class=Asked,
        request_max_body_size=limits.http_body_bytes,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Tidings",
            version=__version__,
            description=(
                "Accounts, devices and profiles: what is not live. What is refused is answered with a"
                " `Problem`: a code, its name, a sentence, and `retry_after` in seconds where it may be"
                " repeated. Requests on one's own account carry a device's token: `Authorization:"
                " Bearer TOKEN`."
            ),
            path="/v1/openapi",
            use_handler_docstrings=True,
            components=Components(
                security_schemes={BEARER: SecurityScheme(type="http", scheme="bearer")},
            ),
            render_plugins=[JsonRenderPlugin()],
        ),
    )


def _counting(counts: Counts) -> Callable[[AnyRequest, Exception], Response[Problem]]:
    def counted(request: AnyRequest, error: Exception) -> Response[Problem]:
        assert isinstance(error, ProtocolError)
        counts.refuse(error.kind.code)
        return refused(request, error)

    return counted


def _routes(
    services: Services,
    rules: AccountRules,
    clock: Clock,
    limits: Limits,
    server: ServerInfo,
    health: Callable[[], Health],
) -> list[ControllerRouterHandler]:
    @get("/", media_type=MediaType.TEXT, include_in_schema=False, sync_to_thread=False)
    def welcome() -> str:
        return WELCOME

    return [
        welcome,
        *state.routes(server, health),
        *entering.routes(rules.accounts, clock, limits),
        *account.routes(rules),
        *factor.routes(rules),
        *phone.routes(rules.phones, rules.accounts),
        *devices.routes(rules.devices),
        *keys.routes(rules, limits),
        *profile.routes(services.people, rules.accounts, limits),
        *groups.routes(services.groups, limits),
    ]
