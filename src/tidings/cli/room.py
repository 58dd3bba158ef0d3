"""The reading half of `tidings chat`: one conversation on the screen, and that it was read."""

import asyncio
import contextlib
import sys
import time

from tidings.cli.quoting import quotes, subject
from tidings.cli.scribe import Scribe
from tidings.cli.titles import title_of
from tidings.cli.wording import (
    TICKS,
    at,
    event_line,
    excerpt,
    history_line,
    presence_line,
    request_line,
    tally_line,
)
from tidings.client import (
    CaughtUpEvent,
    Client,
    ClientError,
    ConnectionEvent,
    DeleteEvent,
    EditEvent,
    Event,
    ExpiredEvent,
    FailedEvent,
    GapEvent,
    Message,
    MessageEvent,
    OpenedEvent,
    PresenceEvent,
    ReactionEvent,
    ReceiptEvent,
    Refused,
    RequestEvent,
    SentEvent,
    TallyEvent,
    TypingEvent,
    VoteEvent,
    WarningEvent,
)
from tidings.client.group_values import is_group
from tidings.protocol.frames import Status
from tidings.protocol.ids import MessageId

CONTEXT_MESSAGES = 10
"""earlier messages that are shown at the start"""
CONTEXT_S = 3.0
WAITING_KEPT = 1000
"""events that wait for their context at the start"""
TYPING_S = 10.0
"""after this somebody is not taken to be writing any more. spec §6.15"""

Said = MessageEvent | SentEvent | EditEvent | DeleteEvent | ReactionEvent | VoteEvent | ExpiredEvent


class Room:
    """See the module's text."""

    def __init__(self, me: Client, peer: str, scribe: Scribe) -> None:
        self._me = me
        self._peer = peer
        self._scribe = scribe
        self._is_down = False
        self._writes_until_s = 0.0
        self._context: set[MessageId] = set()
        self._waiting: list[Said] | None = []
        """what happened while away, until all of it is there to be shown in its place"""
        self.begun = asyncio.Event()
        """set once that is shown"""

    async def show(self) -> None:
        """Print what happens, and say that it was read. Raises what the client ends with."""
        async for event in self._me.events():
            match event:
                case (
                    MessageEvent(peer=self._peer)
                    | SentEvent(peer=self._peer)
                    | EditEvent(peer=self._peer)
                    | DeleteEvent(peer=self._peer)
                    | ReactionEvent(peer=self._peer)
                    | VoteEvent(peer=self._peer)
                    | ExpiredEvent(peer=self._peer)
                ):
                    await self._take(event)
                case RequestEvent(peer=self._peer):
                    print(f"— {request_line(event, '/accept or /decline')} —", flush=True)
                case OpenedEvent(peer=self._peer):
                    await self._print(event)
                case MessageEvent() | RequestEvent() | FailedEvent():
                    await self._print(event, "" if event.peer == self._peer else "(elsewhere) ")
                case ReceiptEvent(peer=self._peer) | TallyEvent(peer=self._peer):
                    self._tick(event)
                case TypingEvent(peer=self._peer):
                    self._tell_typing(event)
                case PresenceEvent(handle=self._peer) | GapEvent() | WarningEvent():
                    await self._print(event)
                case CaughtUpEvent():
                    await self._begin()
                case ConnectionEvent():
                    self._tell_connection(event)
                    if event.state == "disconnected":
                        await self._begin()
                case _:
                    pass

    async def watch(self) -> None:
        """Say whether the other one is there; later changes come as events. Of a group, who is there now."""
        try:
            if is_group(self._peer):
                there = [one for one in await self._me.groups.presence(self._peer) if one.online]
                print(f"— online: {', '.join(at(one.handle) for one in there) or 'nobody'} —", flush=True)
                return
            for presence in await self._me.presence.watch([self._peer]):
                print(f"— {presence_line(presence)} —", flush=True)
        except Refused as refusal:
            print(f"✗ {at(self._peer)}: {refusal.reason}", file=sys.stderr, flush=True)

    async def _take(self, event: Said) -> None:
        if self._waiting is None:
            await self._say(event)
            return
        self._waiting.append(event)
        if len(self._waiting) == WAITING_KEPT:
            await self._begin()

    async def _begin(self) -> None:
        """What was said before, then what came while away; from here on lines come as they come."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        new = [event.message_id for event in waiting if isinstance(event, MessageEvent)]
        await self._show_context(new[0] if new else None)
        for event in waiting:
            await self._say(event)
        self.begun.set()

    async def _say(self, event: Said) -> None:
        match event:
            case MessageEvent() | SentEvent() if event.message_id in self._context:
                pass
            case SentEvent():
                self._scribe.heard(event)
            case MessageEvent():
                self._writes_until_s = 0.0
                await self._print(event)
                if not event.own:
                    await self._me.mark_read(self._peer, up_to=event.message_id)
            case _:
                await self._print(event)

    async def _print(self, event: Event, before: str = "") -> None:
        place = await title_of(self._me, event) if before else ""
        line = event_line(event, await subject(self._me, event), place)
        print(f"{before}{line}", flush=True)

    async def _show_context(self, before: MessageId | None) -> None:
        """The last lines before what is new; the chat works without."""
        page = await self._earlier(before)
        for message, quoted in zip(page, await quotes(self._me, page), strict=True):
            self._context.add(message.message_id)
            print(history_line(message, quoted=quoted), flush=True)
        unread = [one for one in page if not one.own and one.status is not Status.READ]
        if unread:
            await self._me.mark_read(self._peer, up_to=unread[-1].message_id)

    async def _earlier(self, before: MessageId | None) -> list[Message]:
        """Of the server, if it can be asked; else of the profile."""
        with contextlib.suppress(TimeoutError, ClientError):
            async with asyncio.timeout(CONTEXT_S):
                return await self._me.history(self._peer, limit=CONTEXT_MESSAGES, before=before)
        with contextlib.suppress(ClientError):
            return await self._me.messages.recent(self._peer, limit=CONTEXT_MESSAGES, before=before)
        return []

    def _tell_connection(self, event: ConnectionEvent) -> None:
        """Once when it breaks and once when it is back, not at each try in between."""
        is_down = event.state == "disconnected"
        if is_down != self._is_down:
            print(event_line(event), file=sys.stderr, flush=True)
        self._is_down = is_down

    def _tell_typing(self, event: TypingEvent) -> None:
        """Once when they begin; it is told again and again while they write."""
        now_s = time.monotonic()
        if event.active and now_s > self._writes_until_s:
            print(event_line(event), flush=True)
        self._writes_until_s = now_s + TYPING_S if event.active else 0.0

    def _count(self, event: TallyEvent) -> None:
        """How many have a line that was typed here; of others nobody asks."""
        line = self._scribe.text_of(event.message_id)
        if line is not None:
            ticks = TICKS[event.tally.status]
            print(f"      {ticks} {excerpt(line)}: {tally_line(event.tally)}", flush=True)

    def _tick(self, event: ReceiptEvent | TallyEvent) -> None:
        if isinstance(event, TallyEvent):
            self._count(event)
            return
        if is_group(event.peer):
            return  # its tally says more
        ticks = TICKS[Status.READ if event.state == "read" else Status.DELIVERED]
        lines = [line for one in event.message_ids if (line := self._scribe.text_of(one)) is not None]
        for line in lines:
            print(f"      {ticks} {excerpt(line)}", flush=True)
        earlier = len(event.message_ids) - len(lines)
        if earlier:
            print(f"      {ticks} {earlier} earlier", flush=True)
