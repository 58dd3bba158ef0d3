"""Who may use the admin port: local programs that have the token, and no page of a browser.

A page that makes its own name resolve to 127.0.0.1 reaches the port, but cannot say another Host
than its own (DNS rebinding); one that asks for 127.0.0.1 itself sends an Origin. Neither has the
token, yet metrics need none.
"""

import hmac
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from tidings.protocol.api import Problem
from tidings.protocol.errors import FORBIDDEN, UNAUTHENTICATED, ErrorKind

PREFIX = "/v1/admin"
_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

App = Callable[..., Any]


class Guard:
    """An ASGI application in front of another one."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._expected = b"Bearer " + token.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        if not _is_local(headers.get(b"host", b"")) or b"origin" in headers:
            await _refuse(send, FORBIDDEN, "only local programs may talk to this port")
        elif scope["path"].startswith(PREFIX) and not self._has_token(headers):
            await _refuse(send, UNAUTHENTICATED, "send the token of admin.json in the data folder")
        else:
            await self._app(scope, receive, send)

    def _has_token(self, headers: dict[bytes, bytes]) -> bool:
        return hmac.compare_digest(headers.get(b"authorization", b""), self._expected)


def _is_local(host: bytes) -> bool:
    name, colon, port = host.decode("latin-1").lower().rpartition(":")
    if not colon or not port.isdigit():  # no port: all of it is the name
        name = host.decode("latin-1").lower()
    return name in _NAMES


async def _refuse(send: Any, kind: ErrorKind, message: str) -> None:
    body = msgspec.json.encode(Problem(kind.code, kind.name, message))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    status = HTTPStatus(kind.http_status)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
