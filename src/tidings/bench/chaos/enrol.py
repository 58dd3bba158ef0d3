"""The accounts of a run: made over HTTP, with a few requests at a time, and ended over HTTP.

A login secret costs the server 64 MiB and some tenths of a second, and it takes only so many new accounts a
second from one address: whoever is asked to wait, waits. The secrets are random and strong as they are, so
that there is nothing for the client to stretch.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from tidings.bench.progress import Progress
from tidings.client import http
from tidings.client.errors import ClientError, Refused, Unreachable
from tidings.client.http import Server
from tidings.client.surroundings import ANSWER_S
from tidings.protocol.api import Credentials, Done, LoggedIn, NewAccount, Proof, ServerInfo
from tidings.protocol.errors import UNAUTHENTICATED
from tidings.protocol.ids import DeviceId, UserId

AT_ONCE = 4
TOLD_EACH_S = 5.0
AWAY_S = 60.0
"""so long a server may be away before enrolment is given up"""
PAUSE_S = 1.0
GONE = (UNAUTHENTICATED.name,)
"""what a repeated request is answered, if the first one was carried out"""
HANDLE_BYTES = 4
SECRET_BYTES = 24

T = TypeVar("T")


@dataclass
class Account:
    """Somebody, and the tokens of their devices."""

    name: str
    handle: str
    secret: str
    user_id: UserId
    tokens: list[tuple[DeviceId, str]] = field(default_factory=list)


class Enrolment:
    """Makes accounts, and ends them."""

    def __init__(self, servers: Sequence[Server], progress: Progress) -> None:
        self._servers = servers
        self._progress = progress
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._turn = 0
        self._done = 0
        """requests that were answered, of those that are told of"""

    async def check(self, invite: str) -> None:
        """See whether accounts can be made, before it is tried again and again. Raises Refused, Unreachable,
        ClientError.
        """
        for server in self._servers:
            info = await http.ask(server, "GET", "/v1/server", ServerInfo)
            if info.registration == "closed":
                raise ClientError(f"{server.http} takes no new accounts", "open it to accounts for the run")
            if info.registration == "invite" and not invite:
                raise ClientError(f"{server.http} wants an invite for an account", "run with --invite CODE")

    async def make(self, people: int, devices: int, invite: str) -> list[Account]:
        """So many, with so many devices each. Raises Refused, Unreachable."""
        run = secrets.token_hex(HANDLE_BYTES)

        async def one(number: int) -> Account:
            handle, secret = f"chaos-{run}-{number}", secrets.token_urlsafe(SECRET_BYTES)
            body = NewAccount(handle, secret, "chaos", invite=invite)
            made = await self._ask("/v1/accounts", LoggedIn, body)
            user, device = made.ids()
            account = Account(f"user{number}", made.handle, secret, user, [(device, made.token)])
            for _ in range(devices - 1):
                further = await self._ask("/v1/sessions", LoggedIn, Credentials(handle, secret, "chaos"))
                account.tokens.append((further.ids()[1], further.token))
            return account

        return await self._all([one(number) for number in range(people)], "made", people * devices, "devices")

    async def end(self, accounts: Sequence[Account]) -> None:
        """Delete them. What cannot be deleted is said, and left."""
        is_away = False

        async def one(account: Account) -> bool:
            nonlocal is_away
            if is_away:
                return False
            _, token = account.tokens[0]
            try:
                await self._ask("/v1/account/delete", Done, Proof(account.secret), token)
            except Unreachable:
                is_away = True
            except Refused as refused:
                return refused.name in GONE
            return not is_away

        deleted = await self._all(
            [one(account) for account in accounts], "deleted", len(accounts), "accounts"
        )
        if not all(deleted):
            left = [account for account, is_deleted in zip(accounts, deleted, strict=True) if not is_deleted]
            self._progress.say(f"{len(left)} accounts are left there: {left[0].handle} and others")

    async def _all(self, works: Sequence[Awaitable[T]], deed: str, total: int, what: str) -> list[T]:
        self._done = 0
        tasks = [asyncio.ensure_future(work) for work in works]
        left = set(tasks)
        try:
            while left:
                finished, left = await asyncio.wait(
                    left, timeout=TOLD_EACH_S, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in finished:
                    task.result()
                self._progress.say(f"{deed} {self._done} of {total} {what}")
            return [task.result() for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(
        self,
        path: str,
        answer: type[T],
        body: NewAccount | Credentials | Proof,
        token: str = "",
    ) -> T:
        async with self._gate:
            told = await patiently(lambda: http.ask(self._next(), "POST", path, answer, body, token=token))
        self._done += 1
        return told

    def _next(self) -> Server:
        self._turn += 1
        return self._servers[self._turn % len(self._servers)]


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again as long as the server says that it is busy, or is away for a moment."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + AWAY_S
    while True:
        try:
            return await ask()
        except Refused as refusal:
            if refusal.retry_after_s is None:
                raise
            pause_s = refusal.retry_after_s
        except Unreachable:
            if loop.time() > until_s:
                raise
            pause_s = PAUSE_S
        await asyncio.sleep(pause_s)


@contextlib.asynccontextmanager
async def reached(urls: Sequence[str]) -> AsyncIterator[list[Server]]:
    """The servers at these addresses, over connections that are used again. Raises ClientError."""
    async with httpx.AsyncClient(timeout=ANSWER_S) as client:

        async def request(
            method: str, url: str, body: bytes | None, headers: dict[str, str]
        ) -> tuple[int, bytes]:
            try:
                answer = await client.request(method, url, content=body, headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                reason = str(error).lower() or type(error).__name__
                raise Unreachable(
                    f"cannot reach {url.partition('/v1/')[0]}: {reason}",
                    "is the server running, and the address right?",
                ) from None
            return answer.status_code, answer.content

        yield [Server.at(url)._replace(request=request) for url in urls]
