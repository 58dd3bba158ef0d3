"""The server over HTTP: registering, logging in, and requests of a device that has its token.

spec §7
"""

import os
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from tidings.client.errors import ClientError, Refused, Unreachable
from tidings.client.login_secret import check_password, derive, new_kdf, secret_for
from tidings.client.surroundings import ANSWER_S, Request, request
from tidings.protocol.api import Credentials, KdfAnswer, KdfOf, LoggedIn, NewAccount, Problem

T = TypeVar("T")
Body = msgspec.Struct | bytes | None


class Server(NamedTuple):
    """A server's addresses."""

    http: str
    ws: str
    request: Request = request
    """how it is reached over HTTP"""

    @classmethod
    def at(cls, url: str) -> "Server":
        """Read an URL as people write it. Raises ClientError."""
        parts = urlsplit(url if "://" in url else f"https://{url}")
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme)
        if scheme is None or not parts.netloc or parts.query or parts.fragment:
            raise ClientError(
                f"cannot use server {url}: it is no http or https address", "like https://chat.example.org"
            )
        path = parts.path.rstrip("/")
        return cls(f"{parts.scheme}://{parts.netloc}{path}", f"{scheme}://{parts.netloc}{path}/v1/ws")


async def register(
    server: Server,
    handle: str,
    password: str,
    *,
    device_name: str,
    invite: str,
    entropy: Callable[[int], bytes],
) -> LoggedIn:
    """Make an account and its first device. Raises Refused, Unreachable, ClientError."""
    check_password(password)
    kdf = new_kdf(entropy)
    secret = await derive(password, kdf)
    body = NewAccount(handle, secret, device_name, kdf, invite)
    return await ask(server, "POST", "/v1/accounts", LoggedIn, body)


async def login(
    server: Server, handle: str, password: str, *, device_name: str, code: str, plain_password: bool
) -> LoggedIn:
    """Make a further device of an account. Raises Refused, Unreachable, ClientError."""
    secret = await secret_of(server, handle, password, plain_password=plain_password)
    body = Credentials(handle, secret, device_name, code)
    return await ask(server, "POST", "/v1/sessions", LoggedIn, body)


async def secret_of(server: Server, handle: str, password: str, *, plain_password: bool) -> str:
    """An account's login secret, made as the server says. Raises Refused, Unreachable, ClientError."""
    made = await ask(server, "POST", "/v1/kdf", KdfAnswer, KdfOf(handle))
    return await secret_for(password, made.kdf, plain_password=plain_password)


async def ask(
    server: Server,
    method: str,
    path: str,
    answer: type[T],
    body: Body = None,
    *,
    token: str = "",
) -> T:
    """One request; a body of bytes goes as it is. Raises Refused, Unreachable."""
    content = await _request(server, method, path, body, token)
    try:
        return msgspec.json.decode(content, type=answer)
    except msgspec.DecodeError:
        raise _not_tidings(server, 200) from None


async def fetch(server: Server, path: str, token: str) -> bytes:
    """What stands at a path, as it is. Raises Refused, Unreachable."""
    return await _request(server, "GET", path, None, token)


async def _request(server: Server, method: str, path: str, body: Body, token: str) -> bytes:
    content = msgspec.json.encode(body) if isinstance(body, msgspec.Struct) else body
    status, answer = await server.request(method, server.http + path, content, _headers(token, body))
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise _refused(server, status, answer)
    return answer


async def download(server: Server, path: str, token: str, target: Path) -> None:
    """Write what the server answers to a new file, which is there whole or not at all.

    Raises Refused, Unreachable, FileExistsError, OSError.
    """
    import httpx  # noqa: PLC0415

    draft = target.with_name(target.name + ".part")
    with draft.open("xb") as file:
        draft.chmod(0o600)
        try:
            async with (
                httpx.AsyncClient(timeout=ANSWER_S) as http,
                http.stream("GET", server.http + path, headers=_headers(token, None)) as response,
            ):
                if not response.is_success:
                    raise _refused(server, response.status_code, await response.aread())
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
            os.link(draft, target)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(server, error) from None
        finally:
            draft.unlink()


def _headers(token: str, body: Body) -> dict[str, str]:
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    headers = {"Content-Type": kind}
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers


def _refused(server: Server, status: int, content: bytes) -> ClientError:
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        return _not_tidings(server, status)
    return Refused(problem.code, problem.name, problem.message, problem.retry_after)


def _unreachable(server: Server, error: Exception) -> Unreachable:
    return Unreachable(
        f"cannot reach {server.http}: {str(error).lower() or type(error).__name__}",
        "is the server running, and the address right?",
    )


def _not_tidings(server: Server, status: int) -> Unreachable:
    return Unreachable(
        f"cannot use {server.http}: its answer (HTTP {status}) is not Tidings'",
        "is this the address of a Tidings server?",
    )
