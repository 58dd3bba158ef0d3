"""Refusals of the admin port: each becomes a `Problem` with a sentence for the operator."""

from collections.abc import Callable

from litestar import MediaType, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from structlog.typing import FilteringBoundLogger

from tidings.domain.commit import refusal
from tidings.protocol.api import Problem
from tidings.protocol.errors import INTERNAL, INVALID, ErrorKind, ProtocolError
from tidings.store.contract import StoreError

AnyRequest = Request[object, object, State]


def handlers(log: FilteringBoundLogger) -> ExceptionHandlersMap:
    """What answers to each kind of exception."""
    return {
        ProtocolError: _refused,
        StoreError: _store_failed,
        HTTPException: _http_refused,
        Exception: _failing(log),
    }


def _refused(_: AnyRequest, error: Exception) -> Response[Problem]:
    assert isinstance(error, ProtocolError)
    return _problem(error.kind, error.message, error.kind.http_status)


def _store_failed(_: AnyRequest, error: Exception) -> Response[Problem]:
    assert isinstance(error, StoreError)
    kind = refusal(error).kind
    return _problem(kind, f"{kind.meaning}: {error}", kind.http_status)


def _http_refused(_: AnyRequest, error: Exception) -> Response[Problem]:
    assert isinstance(error, HTTPException)
    extra = error.extra if isinstance(error.extra, list) else []
    details = [f"{item.get('key')}: {item.get('message')}" for item in extra if isinstance(item, dict)]
    return _problem(INVALID, ": ".join([error.detail, *details]), error.status_code)


def _failing(log: FilteringBoundLogger) -> Callable[[AnyRequest, Exception], Response[Problem]]:
    def failed(request: AnyRequest, error: Exception) -> Response[Problem]:
        log.error("admin request failed", path=request.url.path, exc_info=error)
        return _problem(INTERNAL, INTERNAL.meaning, INTERNAL.http_status)

    return failed


def _problem(kind: ErrorKind, message: str, status: int) -> Response[Problem]:
    return Response(Problem(kind.code, kind.name, message), status_code=status, media_type=MediaType.JSON)
