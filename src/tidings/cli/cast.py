"""The speakers of a replay: an account, a profile and an open client for each name.

In a folder of an earlier run the profiles are used again. Handles are made from the names and,
since others may have run the same chat on the server, end in a few random characters.
"""

import asyncio
import contextlib
import re
import secrets
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from tidings.cli.tally import Tally
from tidings.client import Client, MessageEvent, OpenedEvent, ProfileMissing, Refused
from tidings.client.profile import Profile
from tidings.protocol.ids import ClientId, MessageId

T = TypeVar("T")

SLUG_CHARS = 20
SUFFIX_BYTES = 3
PASSWORD_BYTES = 18


class Speaker:
    """Somebody in the chat: says the own lines, hears all others."""

    def __init__(self, name: str, profile: Path) -> None:
        self.name = name
        self.profile = profile
        self.handle = ""
        self.tally: Tally[ClientId] = Tally()
        self.heard = asyncio.Event()
        """set whenever something arrived"""
        self._client = Client.open(profile)

    async def enrol(self, server: str, suffix: str) -> None:
        """Find the account of the profile, or make both. Raises ClientError."""
        try:
            self.handle = Profile(self.profile).account().handle
        except ProfileMissing:
            self.handle = await _register(server, f"{slug(self.name)}-{suffix}", self.profile)

    async def perform(self, stack: contextlib.AsyncExitStack) -> Client:
        """Open the client; it is closed with the stack."""
        return await stack.enter_async_context(self._client)

    async def meet(self, others: Sequence["Speaker"]) -> None:
        """Make all others contacts: a server may keep back what strangers write."""
        for other in others:
            await _patiently(partial(self._client.people.add, other.handle))

    async def hear(self) -> None:
        """Note what arrives, for ever. Raises what the client ends with."""
        async for event in self._client.events():
            # What cannot be read has not arrived; it comes again once it can.
            if isinstance(event, MessageEvent | OpenedEvent) and not (event.own or event.fault):
                self.tally.arrived.append(event.reference.client_id)
                self.heard.set()

    async def say(self, text: str, others: Sequence["Speaker"]) -> MessageId:
        """Say a line to everybody else; returns once all of it is accepted."""

        async def to(other: Speaker) -> MessageId:
            sent = await self._client.send(other.handle, text)
            other.tally.expected.append(sent.client_id)
            return sent.message_id

        return max(await asyncio.gather(*(to(other) for other in others)))


def cast(names: Sequence[str], folder: Path) -> list[Speaker]:
    """A speaker for each name, each with a folder of its own that the same names find again."""
    taken: set[str] = set()
    speakers = []
    for name in names:
        stem = place = slug(name)
        count = 1
        while place in taken:
            count += 1
            place = f"{stem}-{count}"
        taken.add(place)
        speakers.append(Speaker(name, folder / place))
    return speakers


def slug(name: str) -> str:
    """A name as the beginning of a handle: `José García` → `jose.garcia`, `+1 23` → `1.23`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", ".", plain).strip(".")[:SLUG_CHARS].rstrip(".") or "somebody"


def suffix() -> str:
    """What makes this run's handles its own."""
    return secrets.token_hex(SUFFIX_BYTES)


async def _register(server: str, handle: str, profile: Path) -> str:
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    made = await _patiently(
        lambda: Client.register(server, handle=handle, password=password, profile=profile)
    )
    return made.handle


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again for as long as the server only says that it was too fast."""
    while True:
        try:
            return await ask()
        except Refused as refusal:
            if refusal.retry_after_s is None:
                raise
            await asyncio.sleep(refusal.retry_after_s)
