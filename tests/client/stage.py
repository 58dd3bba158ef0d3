"""Where examples are run: a server, people who know each other, and somebody at the keyboard.

An example runs in a thread of its own, in a folder with the profiles that it opens. While it waits
for events, those it talks to write, react, read, come and go.
"""

import ast
import asyncio
import contextlib
import inspect
import logging
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyotp
from argon2 import PasswordHasher

from client.examples import MARK, Example, Marks
from client.rig import PASSWORD, PATIENCE_S
from integration.server import Server
from tidings.client import Client, MessageEvent
from tidings.client.enrolment import save
from tidings.client.http import Server as Address
from tidings.client.login_secret import derive, new_kdf
from tidings.client.profile import Profile
from tidings.domain.clock import SystemClock
from tidings.protocol.api import LoggedIn, NewAccount
from tidings.protocol.limits import Limits
from tidings.server.config import Config
from tidings.server.logs import open_log
from tidings.server.node import wire
from tidings.server.passwords import Argon2Passwords
from tidings.store.rocks import RocksStore

PICTURE = b"\x89PNG\r\n\x1a\n"
RATE = {"per_s": 10_000, "burst": 10_000}
CONFIG = {"strangers": "request", "phone_hook": "log"}
LIMITS = {f"{name}_rate": RATE for name in ("register", "login", "account", "lookup", "setting", "query")}
CODE = "7K3QX-M0TB4"
"""in an example: what a new device shows"""
STEP_S = 0.02
LIVELY_S = 0.3


class Enough(BaseException):
    """Leaves an example that would go on for ever."""


async def settle(data: Path, handles: Iterable[str]) -> dict[str, LoggedIn]:
    """Put people into a server's store before it starts, as `bench.seed` does: hashing is what takes time."""
    kdf = new_kdf(os.urandom)
    secret = await derive(PASSWORD, kdf)
    config = Config(data=str(data), limits=Limits(password_waiting=10_000))
    passwords = Argon2Passwords(config.limits, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    store = RocksStore.open(data)
    try:
        log = open_log("warning", as_json=False)
        services = await wire(config, store, SystemClock(), passwords, os.urandom, log)
        made = await asyncio.gather(
            *(services.accounts.register(NewAccount(handle, secret, kdf=kdf)) for handle in handles)
        )
        await services.commit.barrier()
    finally:
        passwords.close()
        await store.close()
    return {one.handle: one for one in made}


def make_profile(path: Path, server: Server, account: LoggedIn) -> Path:
    """The profile of an account that was settled."""
    with Profile(path).create():
        save(Profile(path), Address.at(server.url), account)
    return path


class Stage:
    """See the module's text. `accounts` are those of all examples that may be played."""

    def __init__(self, server: Server, accounts: dict[str, LoggedIn]) -> None:
        self.server = server
        self._accounts = accounts

    def play(self, example: Example, folder: Path) -> None:
        """Run an example, already renamed, in a folder. Raises what it raises."""
        asyncio.run(self._play(example, folder))

    async def _play(self, example: Example, folder: Path) -> None:
        for name in example.accounts():
            make_profile(folder / "profiles" / name, self.server, self._accounts[name])
        for name in re.findall(r"\w+\.(?:png|jpe?g|webp)", example.code):
            (folder / name).write_bytes(PICTURE)
        await self._meet(example, folder)
        if CODE in example.code:
            example = replace(example, code=example.code.replace(CODE, await self._code(example, folder)))
        run = Run(example, self.server)
        run.start()
        await self._keep_company(example, folder, run)
        run.finish()

    async def _meet(self, example: Example, folder: Path) -> None:
        """Who is named in an example knows Alice and Bob from before; anybody else has knocked."""
        people, alice, bob = example.accounts(), example.alice, example.bob
        async with contextlib.AsyncExitStack() as stack:
            clients = {
                one: await stack.enter_async_context(Client.open(folder / "profiles" / one)) for one in people
            }
            for one in clients.values():
                await _published(one)
            if not {alice, bob} <= people:
                return
            if example.has_bot:
                if "accept_requests=True" not in example.code:
                    for bot in example.opened():
                        await exchange(clients[alice], clients[bot])
                return
            await exchange(clients[alice], clients[bob])
            for opened in example.opened() & {alice, bob}:
                for stranger in people - {alice, bob}:
                    await clients[stranger].send(opened, "May I ask you something?")
                    await _until(clients[opened].people.requests)
            if phone := re.search(r"find\(\"(\+[\d ]+)\"", example.code):
                await clients[bob].account.set_phone(phone[1])
                await clients[bob].account.confirm_phone(last_code(self.server))
                await clients[bob].people.set_privacy("phone", "everyone")

    async def _code(self, example: Example, folder: Path) -> str:
        """What a new device of Alice's shows."""
        profile = folder / "profiles" / "new"
        await Client.login(self.server.url, handle=example.alice, password=PASSWORD, profile=profile)
        async with Client.open(profile) as it:
            return await it.devices.link_code()

    async def _keep_company(self, example: Example, folder: Path, run: "Run") -> None:
        """Be there for an example until it has ended."""
        others = sorted(example.accounts() - example.opened())
        if example.has_bot:
            await self._talk_to_bot(example, folder / "profiles" / example.alice, run)
        while not run.has_ended:
            if run.waited_s > LIVELY_S and run.is_watching and not run.all_reached:
                for one in others:
                    await _be_lively(folder / "profiles" / one, example.opened())
            await asyncio.sleep(STEP_S)

    async def _talk_to_bot(self, example: Example, profile: Path, run: "Run") -> None:
        said = re.findall(r"bot\.command\(\"(\S+)\"\)", example.code)
        async with Client.open(profile) as alice, listening(alice) as heard:
            for bot in example.opened():
                for text in [*said, "hello"]:
                    await alice.send(bot, text)
            while not (run.has_ended or run.complaints or (run.all_reached if run.is_marked else heard)):
                await asyncio.sleep(STEP_S)
        run.stop_bot()


async def _published(client: Client) -> None:
    """Wait until others can encrypt for a client."""
    assert client._parts is not None
    await client._parts.publishing.published()


async def exchange(one: Client, other: Client) -> None:
    """A message from each to the other, which both have then; who was asked has let the other one in."""
    await one.send(other.handle, "Are you there?")
    await other.send(one.handle, "I am.")
    for client, peer in ((one, other), (other, one)):
        await _until(lambda client=client, peer=peer: _has_two(client, peer.handle))


async def _has_two(client: Client, peer: str) -> bool:
    return len(await client.messages.recent(peer)) >= 2


async def _until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(STEP_S)


async def _be_lively(profile: Path, peers: Iterable[str]) -> None:
    """Come, do to each of the others whatever one can do, and go."""
    async with Client.open(profile) as me:
        for peer in peers:
            await me.chats.typing(peer)
            first, second = await me.send(peer, "And now?"), await me.send(peer, "Never mind.")
            await me.messages.edit(first, "And then?")
            await me.messages.react(first, "👍")
            await me.messages.delete(second)
            await me.mark_read(peer)
        await me.flushed()


@contextlib.asynccontextmanager
async def listening(client: Client) -> AsyncIterator[list[MessageEvent]]:
    """What comes to a client, in a list that grows."""
    heard: list[MessageEvent] = []

    async def listen() -> None:
        async for event in client.events():
            if isinstance(event, MessageEvent):
                heard.append(event)

    task = asyncio.ensure_future(listen())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Run:
    """One run of an example."""

    def __init__(self, example: Example, server: Server) -> None:
        self._example = example
        self._server = server
        self._marks = Marks(example)
        self._reached: set[int] = set()
        self._error: BaseException | None = None
        self.complaints: list[logging.LogRecord] = []
        """what the SDK logged"""
        self._namespace: dict[str, Any] = {"__name__": "__main__"}
        if example.imports is not None:
            for module in ("tidings.client", example.imports.__name__):
                exec(f"from {module} import *", self._namespace)
            exec("import asyncio, random", self._namespace)
        self._namespace |= {MARK: self._mark, "input": self._type}
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Raise what it raised, and what it did not do."""
        self._thread.join(PATIENCE_S)
        if self._error is not None:
            raise self._error
        assert not self.complaints, [one.getMessage() for one in self.complaints]
        missed = [line for mark, line in enumerate(self._marks.lines) if mark not in self._reached]
        assert not missed, f"never came past line {missed} of\n{self._example.code}"

    def stop_bot(self) -> None:
        """Stop the bot, if it has not stopped itself."""
        self._namespace["bot"].stop()

    @property
    def has_ended(self) -> bool:
        """Whether it is over. Raises AssertionError when it takes too long."""
        assert self.waited_s < PATIENCE_S, f"came past {self._reached} only of\n{self._example.code}"
        return not self._thread.is_alive()

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def is_marked(self) -> bool:
        return bool(self._marks.lines)

    @property
    def is_watching(self) -> bool:
        """Whether it waits for events."""
        return self.is_marked and not self._example.has_bot

    @property
    def all_reached(self) -> bool:
        return len(self._reached) == len(self._marks.lines)

    def _run(self) -> None:
        handler = logging.Handler(logging.WARNING)
        handler.emit = self.complaints.append  # type: ignore[method-assign]
        logging.getLogger("tidings").addHandler(handler)
        try:
            compiled = compile(self._marks.tree, str(self._example), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            with contextlib.suppress(Enough):
                if compiled.co_flags & inspect.CO_COROUTINE:
                    asyncio.run(_awaited(compiled, self._namespace))
                else:
                    exec(compiled, self._namespace)
        except BaseException as error:
            self._error = error
        finally:
            logging.getLogger("tidings").removeHandler(handler)

    def _mark(self, number: int, *, leave: bool) -> None:
        self._reached.add(number)
        if leave and self.all_reached:
            raise Enough

    def _type(self, prompt: str = "") -> str:
        """What somebody types who is asked."""
        if "app" in prompt:
            return pyotp.TOTP(self._namespace["begun"].secret).now()
        if "the same" in prompt:
            return "yes"
        return last_code(self._server)


async def _awaited(compiled: Any, namespace: dict[str, Any]) -> None:
    await eval(compiled, namespace)


def last_code(server: Server) -> str:
    """The code that was last sent to a phone."""
    return re.findall(r"code=\D*(\d{6})", server.log)[-1]
