"""Accounts over HTTP: registering and logging in.

spec §7
"""

from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from tidings.client.errors import ClientError, Refused, Unreachable
from tidings.protocol.api import Credentials, LoggedIn, Problem

ANSWER_S = 30.0
"""how long the server may take: it hashes a password, perhaps after others"""


class Server(NamedTuple):
    """A server's addresses."""

    http: str
    ws: str

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


async def register(server: Server, credentials: Credentials) -> LoggedIn:
    """Make an account and its first device. Raises Refused, Unreachable."""
    return await _post(server, "/v1/accounts", credentials)


async def login(server: Server, credentials: Credentials) -> LoggedIn:
    """Make a further device of an account. Raises Refused, Unreachable."""
    return await _post(server, "/v1/sessions", credentials)


async def _post(server: Server, path: str, credentials: Credentials) -> LoggedIn:
    # Here and not above: it costs as much to import as all the rest, and only a new device needs it.
    import httpx  # noqa: PLC0415

    try:
        async with httpx.AsyncClient(timeout=ANSWER_S) as http:
            response = await http.post(
                server.http + path,
                content=msgspec.json.encode(credentials),
                headers={"Content-Type": "application/json"},
            )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(
            f"cannot reach {server.http}: {str(error).lower() or type(error).__name__}",
            "is the server running, and the address right?",
        ) from None
    try:
        if response.is_success:
            return msgspec.json.decode(response.content, type=LoggedIn)
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.DecodeError:
        raise Unreachable(
            f"cannot use {server.http}: its answer (HTTP {response.status_code}) is not Tidings'",
            "is this the address of a Tidings server?",
        ) from None
    raise Refused(problem.code, problem.name, problem.message, problem.retry_after)
