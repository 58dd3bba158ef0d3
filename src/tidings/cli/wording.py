"""How events and messages look: as text for people, as objects for programs."""

import base64
from datetime import datetime

from tidings.client.events import (
    CaughtUpEvent,
    ConnectionEvent,
    Event,
    HistoryMessage,
    MessageEvent,
    ReceiptEvent,
    SentMessage,
)
from tidings.protocol.frames import Status

TICKS = {Status.PENDING: "…", Status.SENT: "✓", Status.DELIVERED: "✓✓", Status.READ: "✓✓ read"}


def printable(text: str) -> str:
    """Text that cannot play with the terminal: control characters replaced, further lines indented."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n    ".join("".join(char if char.isprintable() else "�" for char in line) for line in lines)


def clock(created_at_ms: int) -> str:
    """A time of day here; the date too if it is not today's."""
    moment = datetime.fromtimestamp(created_at_ms / 1000).astimezone()
    is_today = moment.date() == datetime.now(moment.tzinfo).date()
    return f"{moment:%H:%M}" if is_today else f"{moment:%Y-%m-%d %H:%M}"


def event_line(event: Event) -> str:
    """An event for people."""
    match event:
        case MessageEvent():
            who = f"@{event.sender} to @{event.peer}" if event.own else f"@{event.sender}"
            return f"{clock(event.created_at)} {who}: {printable(event.text)}"
        case ReceiptEvent():
            count = len(event.message_ids)
            what = f"{count} message{'s' if count > 1 else ''}"
            ticks = TICKS[Status.READ if event.state == "read" else Status.DELIVERED]
            return f"{ticks} @{event.peer}: {what}"
        case ConnectionEvent(state="connected"):
            return "— connected —"
        case ConnectionEvent():
            return f"— not connected: {event.reason}; next try in {event.retry_in_s:.1f} s —"
        case CaughtUpEvent():
            return "— up to date —"


def event_object(event: Event) -> dict[str, object]:
    """An event for programs. Ids are strings, since a double cannot hold them."""
    match event:
        case MessageEvent():
            return {
                "type": "message",
                "from": event.sender,
                "peer": event.peer,
                "own": event.own,
                "text": event.text,
                "content_type": event.content_type,
                "message_id": str(event.message_id),
                "conversation_id": conversation(event.conversation_id),
                "created_at": event.created_at,
            }
        case ReceiptEvent():
            return {
                "type": "receipt",
                "conversation_id": conversation(event.conversation_id),
                "peer": event.peer,
                "state": event.state,
                "up_to": str(event.up_to),
                "message_ids": [str(message_id) for message_id in event.message_ids],
            }
        case ConnectionEvent():
            return {
                "type": "connection",
                "state": event.state,
                "reason": event.reason,
                "retry_in_s": event.retry_in_s,
            }
        case CaughtUpEvent():
            return {"type": "caught_up"}


def sent_object(peer: str, sent: SentMessage) -> dict[str, object]:
    """An accepted message for programs."""
    return {
        "type": "sent",
        "to": peer,
        "message_id": str(sent.message_id),
        "conversation_id": conversation(sent.conversation_id),
        "client_id": sent.client_id.hex(),
        "created_at": sent.created_at,
    }


def history_line(message: HistoryMessage) -> str:
    """A message of a page for people; ticks on the own ones."""
    ticks = f"  {TICKS[message.status]}" if message.own else ""
    return f"{clock(message.created_at)} @{message.sender}: {printable(message.text)}{ticks}"


def history_object(message: HistoryMessage) -> dict[str, object]:
    """The same for programs."""
    return {
        "type": "message",
        "from": message.sender,
        "own": message.own,
        "text": message.text,
        "content_type": message.content_type,
        "message_id": str(message.message_id),
        "conversation_id": conversation(message.conversation_id),
        "created_at": message.created_at,
        "status": message.status.name.lower(),
    }


def conversation(conversation_id: bytes) -> str:
    """A conversation's id as JSON carries it. spec §2.3"""
    return base64.b64encode(conversation_id).decode()
