"""`tidings chat`: talk to somebody in a terminal, or through pipes.

Plain lines in, plain lines out: what arrives is printed, what is typed is sent, and the own
lines get their ticks as they come. Lines are read on a thread, since standard input may be a
terminal, a pipe or a file.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from tidings.cli.failure import Failure
from tidings.cli.running import PeerArgument, ProfileOption, run
from tidings.cli.wording import TICKS, clock, event_line, history_line, printable
from tidings.client import (
    CaughtUpEvent,
    Client,
    ClientError,
    ConnectionEvent,
    MessageEvent,
    ReceiptEvent,
    Refused,
)
from tidings.client.conversations import normal
from tidings.protocol.frames import Status
from tidings.protocol.ids import MessageId

LEAVE_S = 10.0
"""how long to wait at the end for what is not sent yet"""
CONTEXT_MESSAGES = 10
"""earlier messages that are shown at the start"""
CONTEXT_S = 3.0
UNREAD_KEPT = 1000
"""new messages that wait for their context at the start"""
EXCERPT_CHARS = 40
LINES_REMEMBERED = 1000
"""own lines whose ticks can still be shown with their text"""


def chat(peer: PeerArgument, profile: ProfileOption) -> None:
    """Talk to somebody: type a line to send it, Ctrl-D leaves."""
    run(_chat(profile, normal(peer)))


async def _chat(profile: Path, peer: str) -> None:
    async with Client.open(profile) as me:
        room = _Room(me, peer)
        print(f"— you are @{me.handle}, talking to @{peer}; Ctrl-D leaves —", flush=True)
        showing = asyncio.create_task(room.show())
        typing = asyncio.create_task(room.take_lines())
        try:
            await asyncio.wait({showing, typing}, return_when=asyncio.FIRST_COMPLETED)
            for task in (showing, typing):
                if task.done():
                    task.result()
            await room.finish()
        finally:
            for task in (showing, typing):
                task.cancel()
            await asyncio.gather(showing, typing, return_exceptions=True)


class _Room:
    """One conversation on the screen."""

    def __init__(self, me: Client, peer: str) -> None:
        self._me = me
        self._peer = peer
        self._sending: set[asyncio.Task[None]] = set()
        self._lines: dict[MessageId, str] = {}
        self._is_down = False
        self._unread: list[MessageEvent] | None = []
        """what came while away, until all of it is there to be shown in its place"""

    async def show(self) -> None:
        """Print what happens, and say that it was read."""
        async for event in self._me.events():
            match event:
                case MessageEvent(peer=self._peer) if self._unread is not None:
                    self._unread.append(event)
                    if len(self._unread) == UNREAD_KEPT:
                        await self._begin()
                case MessageEvent(peer=self._peer):
                    await self._print(event)
                case MessageEvent():
                    print(f"(elsewhere) {event_line(event)}", flush=True)
                case ReceiptEvent(peer=self._peer):
                    self._tick(event)
                case CaughtUpEvent():
                    await self._begin()
                case ConnectionEvent():
                    self._tell_connection(event)
                    if event.state == "disconnected":
                        await self._begin()
                case _:
                    pass

    def _tell_connection(self, event: ConnectionEvent) -> None:
        """Once when it breaks and once when it is back, not at each try in between."""
        is_down = event.state == "disconnected"
        if is_down != self._is_down:
            print(event_line(event), file=sys.stderr, flush=True)
        self._is_down = is_down

    async def _begin(self) -> None:
        """What was said before, then what came while away; from here on lines come as they come."""
        unread, self._unread = self._unread, None
        if unread is None:
            return
        await self._show_context(unread[0].message_id if unread else None)
        for event in unread:
            await self._print(event)

    async def _print(self, event: MessageEvent) -> None:
        print(event_line(event), flush=True)
        if not event.own:
            await self._me.mark_read(self._peer, up_to=event.message_id)

    async def take_lines(self) -> None:
        """Send what is typed, until the input ends."""
        async for line in _typed():
            if line.strip():
                task = asyncio.create_task(self._send(line))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def finish(self) -> None:
        """Wait for what is on its way. Raises Failure if the server does not take it in time."""
        try:
            async with asyncio.timeout(LEAVE_S):
                await asyncio.gather(*self._sending)
                await self._me.flushed()
        except TimeoutError:
            raise Failure(
                f"cannot reach the server: {self._me.trouble or 'no answer'}",
                hint="what was typed waits in the profile and goes out with the next command",
            ) from None

    async def _show_context(self, before: MessageId | None) -> None:
        """The last lines before what is new, if the server can be asked; the chat works without."""
        with contextlib.suppress(TimeoutError, ClientError):
            async with asyncio.timeout(CONTEXT_S):
                for message in await self._me.history(self._peer, limit=CONTEXT_MESSAGES, before=before):
                    print(history_line(message), flush=True)

    async def _send(self, line: str) -> None:
        try:
            sent = await self._me.send(self._peer, line)
        except Refused as refusal:
            print(f"✗ {_excerpt(line)}: {refusal.reason}", file=sys.stderr, flush=True)
            return
        self._lines[sent.message_id] = line
        while len(self._lines) > LINES_REMEMBERED:
            del self._lines[next(iter(self._lines))]
        print(f"{clock(sent.created_at)} {TICKS[Status.SENT]} {_excerpt(line)}", flush=True)

    def _tick(self, event: ReceiptEvent) -> None:
        ticks = TICKS[Status.READ if event.state == "read" else Status.DELIVERED]
        lines = [self._lines[one] for one in event.message_ids if one in self._lines]
        for line in lines:
            print(f"      {ticks} {_excerpt(line)}", flush=True)
        earlier = len(event.message_ids) - len(lines)
        if earlier:
            print(f"      {ticks} {earlier} earlier", flush=True)


def _excerpt(line: str) -> str:
    short = line if len(line) <= EXCERPT_CHARS else line[: EXCERPT_CHARS - 1] + "…"
    return printable(short)


async def _typed() -> AsyncIterator[str]:
    """The lines of standard input, until it ends."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def hand_over(line: str | None) -> None:
        # The loop may be gone: the chat was left while this waited for a line.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lines.put_nowait, line)

    def read() -> None:
        try:
            for line in sys.stdin:
                hand_over(line.rstrip("\r\n"))
        finally:
            hand_over(None)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line
