"""The writing half of `tidings chat`: what is typed becomes messages and commands, in order.

It also knows which of the messages that this device sent were typed here, so that the room shows
those of other processes and does not repeat these.
"""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from tidings.cli.choosing import last
from tidings.cli.failure import Failure
from tidings.cli.hints import hint_of
from tidings.cli.wording import TICKS, clock, excerpt, message_line
from tidings.client import (
    Client,
    ClientClosed,
    ClientError,
    Message,
    Refused,
    SentEvent,
    SentMessage,
    SessionEnded,
    StorageFailed,
)
from tidings.protocol.frames import Status
from tidings.protocol.ids import ClientId, MessageId

COMMANDS = {
    "/reply TEXT": "answer their last message",
    "/react X": "react to their last message, like /react 👍; nothing takes it back",
    "/edit TEXT": "change your last message",
    "/delete": "delete your last message, for everyone",
    "/accept": "let them in, if they asked to talk to you",
    "/decline": "turn them away; they are not told",
    "/help": "this",
    "//text": "send /text",
}
LINES_REMEMBERED = 1000
"""own lines whose ticks can still be shown with their text"""
LOOKED_THROUGH = 200
"""messages among which a command finds the last one"""

Tasks = Sequence["asyncio.Task[None]"]


class Scribe:
    """See the module's text."""

    def __init__(self, me: Client, peer: str) -> None:
        self._me = me
        self._peer = peer
        self._under_way: set[asyncio.Task[None]] = set()
        self._sends = 0
        self._lines: dict[MessageId, str] = {}
        self._mine: dict[ClientId, None] = {}
        self._unclaimed: dict[ClientId, SentEvent] = {}

    def take(self, line: str) -> None:
        """Do what a typed line says, in the background."""
        verb, _, rest = line.partition(" ")
        text = rest.strip()
        match verb:
            case "/react":
                self._start(line, self._react(text, [*self._under_way]))
            case "/edit" if text:
                self._start(line, self._edit(text, [*self._under_way]))
            case "/delete" if not text:
                self._start(line, self._delete([*self._under_way]))
            case "/reply" if text:
                self._start(line, self._reply(text))
            case "/accept" | "/decline" if not text:
                self._start(line, self._answer(accept=verb == "/accept"))
            case "/help":
                print(
                    "\n".join(f"    {command:12} {help_}" for command, help_ in COMMANDS.items()), flush=True
                )
            case "/edit" | "/delete" | "/reply" | "/accept" | "/decline":
                _complain(f"{verb} is used otherwise", hint="/help shows how")
            case _ if line.startswith("//"):
                self._start(line[1:], self._send(line[1:]))
            case _ if line.startswith("/"):
                hint = f"/help shows the commands; /{excerpt(line)} would send it"
                _complain(f"there is no command {excerpt(verb)}", hint=hint)
            case _:
                self._start(line, self._send(line))

    async def finish(self) -> None:
        """Wait for all that was typed, and all that waits in the profile. Raises ClientError."""
        await asyncio.gather(*self._under_way)
        await self._me.flushed()

    def text_of(self, message_id: MessageId) -> str | None:
        """The line typed here that became a message."""
        return self._lines.get(message_id)

    def heard(self, event: SentEvent) -> None:
        """A message of this device to the peer is on the server: print it, unless it was typed here."""
        self._unclaimed[event.reference.client_id] = event
        self._settle()

    # --- what lines do ----------------------------------------------------------------------

    async def _send(self, text: str, answered: Message | None = None) -> None:
        self._sends += 1
        try:
            sent = await self._me.send(self._peer, text, reply_to=answered)
            self._remember(sent, text)
        finally:
            self._sends -= 1
            self._settle()
        print(f"{clock(sent.created_at)} {TICKS[Status.SENT]} {excerpt(text)}", flush=True)

    async def _reply(self, text: str) -> None:
        await self._send(text, await self._last(own=False))

    async def _react(self, reaction: str, earlier: Tasks) -> None:
        await _all(earlier)
        await self._me.messages.react(await self._last(own=False), reaction)

    async def _edit(self, text: str, earlier: Tasks) -> None:
        await _all(earlier)
        await self._me.messages.edit(await self._last(own=True), text)

    async def _delete(self, earlier: Tasks) -> None:
        await _all(earlier)
        await self._me.messages.delete(await self._last(own=True))

    async def _answer(self, *, accept: bool) -> None:
        if accept:
            await self._me.people.accept(self._peer)
        else:
            await self._me.people.decline(self._peer)

    async def _last(self, *, own: bool) -> Message:
        recent = await self._me.messages.recent(self._peer, limit=LOOKED_THROUGH)
        return last(recent, own=own, peer=self._peer)

    # --- inside -----------------------------------------------------------------------------

    def _start(self, line: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_attempt(line, work))
        self._under_way.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # What ends the client is raised by the room, too, and told there.
            task.exception()

    def _remember(self, sent: SentMessage, text: str) -> None:
        self._lines[sent.message_id] = text
        self._mine[sent.client_id] = None
        while len(self._lines) > LINES_REMEMBERED:
            del self._lines[next(iter(self._lines))]
        while len(self._mine) > LINES_REMEMBERED:
            del self._mine[next(iter(self._mine))]

    def _settle(self) -> None:
        """While a line is on its way nobody knows yet whose an unclaimed message is."""
        for client_id in [one for one in self._unclaimed if one in self._mine]:
            del self._unclaimed[client_id]
        if not self._sends:
            for event in self._unclaimed.values():
                print(f"{message_line(event)}  {TICKS[Status.SENT]}", flush=True)
            self._unclaimed.clear()


async def _attempt(line: str, work: Coroutine[Any, Any, None]) -> None:
    """Do it, and say so if it is refused. Raises what ends the client."""
    try:
        await work
    except Failure as failure:
        _complain(f"{excerpt(line)}: {failure.message}", hint=failure.hint)
    except (SessionEnded, StorageFailed, ClientClosed):
        raise
    except ClientError as error:
        reason = error.reason if isinstance(error, Refused) else error.message
        _complain(f"{excerpt(line)}: {reason}", hint=hint_of(error))


async def _all(tasks: Tasks) -> None:
    if tasks:
        await asyncio.wait(tasks)


def _complain(what: str, *, hint: str) -> None:
    print(f"✗ {what}", file=sys.stderr, flush=True)
    if hint:
        print(f"hint: {hint}", file=sys.stderr, flush=True)
