"""Groups and channels whose members are connected, and one who writes to them all."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from tidings.bench.holding import AT_ONCE
from tidings.bench.load import Device
from tidings.protocol.frames import (
    ChangeGroup,
    Conversation,
    CreateGroup,
    Deliver,
    Frame,
    GroupAction,
    MessageTally,
    Sent,
    Tallies,
)
from tidings.protocol.ids import CLIENT_ID_BYTES, ClientId, ConversationId, MessageId, UserId
from tidings.protocol.limits import Limits

RATES = ("group_rate", "groups_rate", "send_rate")
"""limits that a benchmark of groups lifts: its groups are made in seconds, and one of them writes all"""


class Room:
    """A conversation of many; the first of its devices writes, and all others must get it."""

    def __init__(self, conversation: ConversationId, writer: Device, others: Sequence[Device]) -> None:
        self.conversation = conversation
        self.writer = writer
        self.others = others
        self.complete_s: list[float] = []
        """from sending a message until all had it and had said so"""
        self.tallies = 0
        """frames that told the writer how far messages have come"""
        self.copies = 0
        """messages that came to a device"""
        self.pulled = 0
        """of these, by no inbox"""
        self._content_bytes = 0
        self._to_send = 0
        self._to_take: dict[ClientId, int] = {}
        """by message, in the order of sending: who has not got it yet, its writer's `Sent` included"""
        self._sent_at: dict[ClientId, float] = {}
        self._newest = MessageId(0)
        """of the messages that were accepted"""
        self._told: dict[MessageId, MessageTally] = {}
        self._through: asyncio.Future[None] = writer.loop.create_future()
        self._news = asyncio.Event()
        self._takers = [self._taker() for _ in others]

    async def run(self, messages: int, window: int, content_bytes: int) -> None:
        """Send so many messages, so many of them in flight; returns once all have all of them."""
        # Devices may be in several rooms, of which one at a time is used.
        self.writer.on_sent, self.writer.on_tallies = self._sent, self._tallied
        for device, taker in zip(self.others, self._takers, strict=True):
            device.on_deliver = taker
        self._content_bytes = content_bytes
        self._to_send = messages
        self._through = self.writer.loop.create_future()
        self.complete_s.clear()
        for _ in range(min(window, messages)):
            self._send_one()
        await self._through

    async def told(self, *, read: bool) -> None:
        """Wait until the writer was told that all have got (and read) the newest message."""
        while not self._is_told(read=read):
            self._news.clear()
            await self._news.wait()
        self._told.clear()

    def _send_one(self) -> None:
        self._to_send -= 1
        # Random, as what is sealed looks: a store that compresses has nothing to gain.
        frame = self.writer.message(self.conversation, os.urandom(self._content_bytes))
        self._to_take[frame.client_id] = len(self.others) + 1
        self._sent_at[frame.client_id] = time.perf_counter()
        self.writer.say(frame)

    def _sent(self, sent: Sent) -> None:
        self._newest = max(self._newest, sent.message_id)
        self._take(sent.client_id)

    def _taker(self) -> Callable[[Deliver], None]:
        newest = MessageId(0)

        def delivered(received: Deliver) -> None:
            nonlocal newest
            message = received.message
            # What the server tells of the group counts for nothing. A message may come both ways.
            if message.sender_device and message.message_id > newest:
                newest = message.message_id
                self.copies += 1
                self.pulled += not received.entry_id
                self._take(message.client_id)

        return delivered

    def _take(self, name: ClientId) -> None:
        left = self._to_take[name] = self._to_take[name] - 1
        if not left:
            self.complete_s.append(time.perf_counter() - self._sent_at.pop(name))
            # What came in this turn is acknowledged at its end, the last one's too: then the next one goes.
            self.writer.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Another one for each of the oldest that are complete."""
        while self._to_take and not next(iter(self._to_take.values())):
            del self._to_take[next(iter(self._to_take))]
            if self._to_send:
                self._send_one()
        if not self._to_take and not self._through.done():
            self._through.set_result(None)

    def _tallied(self, tallies: Tallies) -> None:
        if tallies.conversation_id == self.conversation:
            self.tallies += 1
            self._told.update((item.message_id, item) for item in tallies.items)
            self._news.set()

    def _is_told(self, *, read: bool) -> bool:
        tally = self._told.get(self._newest)
        return tally is not None and (tally.read if read else tally.delivered) == tally.of


def configured(folder: Path, **limits: int | float) -> Path:
    """A config with the rates lifted, and these limits."""
    config = folder / "tidings.toml"
    lines = [f"{rate} = {{ per_s = 1e6, burst = 1000000 }}" for rate in RATES]
    lines += [f"{name} = {limit}" for name, limit in limits.items()]
    config.write_text("\n".join(["[limits]", *lines, ""]))
    return config


async def connected(port: int, tokens: Sequence[str]) -> list[Device]:
    """Devices, once their inboxes were sent."""
    devices: list[Device] = []
    for start in range(0, len(tokens), AT_ONCE):
        some = [Device(token) for token in tokens[start : start + AT_ONCE]]
        await asyncio.gather(*(device.connect(port) for device in some))
        await asyncio.gather(*(device.drained for device in some))
        devices += some
    return devices


class Asker(Protocol):
    """Somebody who asks for things."""

    async def ask(self, make: Callable[[int], Frame]) -> object:
        """The answer."""


async def made(maker: Asker, users: Sequence[UserId]) -> ConversationId:
    """A group of somebody and these others."""
    at_once = Limits().group_users
    nonce = ClientId(os.urandom(CLIENT_ID_BYTES))
    first = list(users[:at_once])
    answer = await maker.ask(lambda request: CreateGroup(request, nonce, users=first))
    assert isinstance(answer, Conversation)
    conversation = answer.conversation_id
    for start in range(at_once, len(users), at_once):
        some = list(users[start : start + at_once])
        await maker.ask(lambda request, some=some: _adding(request, conversation, some))  # type: ignore[misc]
    return conversation


def _adding(request_id: int, conversation: ConversationId, users: list[UserId]) -> ChangeGroup:
    return ChangeGroup(request_id, conversation, GroupAction.ADD, users)
