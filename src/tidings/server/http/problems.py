"""Refusals: each becomes a `Problem`, with the status and the headers that belong to it.

spec §8
"""

import math
from collections.abc import Callable
from typing import Any

from litestar import MediaType, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, SerializationException
from structlog.typing import FilteringBoundLogger

from tidings.domain.commit import refusal
from tidings.protocol.api import Problem
from tidings.protocol.errors import INTERNAL, INVALID, TOO_LARGE, UNAUTHENTICATED, ErrorKind, ProtocolError
from tidings.store.contract import StoreError

AnyRequest = Request[object, object, State]


class Asked(Request[object, object, State]):
    """A request whose body may be anything: what is no JSON in any way is the client's fault."""

    async def json(self) -> Any:
        try:
            return await super().json()
        except (UnicodeDecodeError, RecursionError) as error:
            raise SerializationException(type(error).__name__) from None


BODY_TOO_LARGE = 413


def refused(_: AnyRequest, error: Exception) -> Response[Problem]:
    """The answer to what the rules refuse."""
    assert isinstance(error, ProtocolError)
    return _problem(error.kind, error.message, error.kind.http_status, error.retry_after_s)


def store_refused(request: AnyRequest, error: Exception) -> Response[Problem]:
    """The answer where the store could not be read."""
    assert isinstance(error, StoreError)
    return refused(request, refusal(error))


def http_refused(_: AnyRequest, error: Exception) -> Response[Problem]:
    """The answer to what is no proper request."""
    assert isinstance(error, HTTPException)
    extra = error.extra
    detail = (
        "; ".join(f"{item.get('key')}: {item.get('message')}" for item in extra if isinstance(item, dict))
        if isinstance(extra, list)
        else ""
    )
    message = f"{error.detail}: {detail}" if detail else error.detail
    kind = TOO_LARGE if error.status_code == BODY_TOO_LARGE else INVALID
    return _problem(kind, message, error.status_code, None)


def failing(log: FilteringBoundLogger) -> Callable[[AnyRequest, Exception], Response[Problem]]:
    """The answer where it is our fault; the log says why."""

    def failed(request: AnyRequest, error: Exception) -> Response[Problem]:
        log.error("request failed", path=request.url.path, exc_info=error)
        return _problem(INTERNAL, INTERNAL.meaning, INTERNAL.http_status, 1.0)

    return failed


def _problem(kind: ErrorKind, message: str, status: int, retry_after_s: float | None) -> Response[Problem]:
    headers = {}
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if kind is UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        Problem(kind.code, kind.name, message, retry_after_s),
        status_code=status,
        headers=headers,
        # Whatever the route would have answered with.
        media_type=MediaType.JSON,
    )
