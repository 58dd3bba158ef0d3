"""How events, messages and chats look to people: a line of text each.

Whatever others wrote goes through `printable`; `objects` makes what programs get.
"""

import time
from datetime import datetime

from tidings.client.events import (
    CaughtUpEvent,
    ConnectionEvent,
    DeleteEvent,
    EditEvent,
    Event,
    ExpiredEvent,
    GapEvent,
    MessageEvent,
    OpenedEvent,
    PastEvent,
    PresenceEvent,
    ReactionEvent,
    ReadEvent,
    ReceiptEvent,
    RequestEvent,
    SentEvent,
    SettingEvent,
    TypingEvent,
    WarningEvent,
)
from tidings.client.values import Chat, Fault, Message, Presence, Request
from tidings.protocol.frames import SettingKind, Status

TICKS = {Status.PENDING: "…", Status.SENT: "✓", Status.DELIVERED: "✓✓", Status.READ: "✓✓ read"}
EXCERPT_CHARS = 40
YEAR_S = 365 * 86_400
SETTINGS = {
    SettingKind.CONTACT: "contacts",
    SettingKind.STAR: "starred messages",
    SettingKind.PIN: "pinned chats",
    SettingKind.MUTE: "muted chats",
    SettingKind.ARCHIVE: "archive",
    SettingKind.DRAFT: "drafts",
    SettingKind.HIDDEN: "hidden messages",
    SettingKind.PRIVACY: "privacy",
    SettingKind.BLOCK: "blocked people",
    SettingKind.ACCOUNT: "account",
}
"""what people are told of; the rest is between programs"""


def printable(text: str) -> str:
    """Text that cannot play with the terminal: control characters replaced, further lines indented."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n    ".join("".join(char if char.isprintable() else "�" for char in line) for line in lines)


def excerpt(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return printable(line if len(line) <= EXCERPT_CHARS else line[: EXCERPT_CHARS - 1] + "…")


def at(handle: str) -> str:
    """A user."""
    return f"@{printable(handle.removeprefix('@'))}"


def clock(at_ms: int) -> str:
    """A time of day here; the date too if it is not today's."""
    moment = datetime.fromtimestamp(at_ms / 1000).astimezone()
    is_today = moment.date() == datetime.now(moment.tzinfo).date()
    return f"{moment:%H:%M}" if is_today else f"{moment:%Y-%m-%d %H:%M}"


FAULTS = {
    Fault.NO_KEY: "(cannot be read here: its key has not come)",
    Fault.PLAINTEXT: "(not encrypted, so it is not shown)",
    Fault.FORGED: "(not what was encrypted, so it is not shown)",
    Fault.UNKNOWN_DEVICE: "(from an unknown device, so it is not shown)",
}


def event_line(event: Event, about: Message | None = None) -> str | None:
    """An event, if people care; `about` is the message that a change is about, if it is known."""
    match event:
        case MessageEvent() | SentEvent():
            return message_line(event, quoted=about, addressed=event.own)
        case EditEvent() | DeleteEvent() | ReactionEvent() | ExpiredEvent():
            return _change(event, about)
        case ReceiptEvent():
            count = len(event.message_ids)
            ticks = TICKS[Status.READ if event.state == "read" else Status.DELIVERED]
            return f"{ticks} {at(event.peer)}: {count} message{'' if count == 1 else 's'}"
        case ReadEvent():
            return f"— you have read what {at(event.peer)} wrote —"
        case SettingEvent():
            return _setting(event)
        case RequestEvent():
            return f"— {request_line(event)} —"
        case TypingEvent():
            return f"— {at(event.peer)} {'is writing' if event.active else 'has stopped writing'} —"
        case PresenceEvent():
            return f"— {presence_line(event)} —"
        case ConnectionEvent() | CaughtUpEvent() | GapEvent():
            return _connection(event)
        case OpenedEvent():
            return f"— can be read now — {message_line(event, quoted=about, addressed=event.own)}"
        case WarningEvent():
            return f"! {warning_line(event)}"
        case PastEvent():
            return None


WARNINGS: dict[str, str] = {
    "identity_changed": "has another identity now, signed by the one before: compare the safety number",
    "identity_replaced": "has another identity now, which the one before did not sign: compare the safety"
    " number before you trust it",
    "list_forged": "the server showed a device list that is not signed rightly; it was not used",
    "list_old": "the server showed an old device list; it was not used",
    "keys_forged": "the server gave keys that are not of their device; they were not used",
    "name_taken": "the server gives somebody else the name of somebody whom you know; it was not used",
    "device_unknown": "something came from a device that is not in the signed list; it is not shown",
    "plaintext": "something came that was not encrypted; it is not shown",
    "forged": "something came that is not what was encrypted; it is not shown",
    "missing": "messages did not come that were sent",
    "repeated": "a message came that follows another one than it should",
    "reordered": "messages came in another order than they were written in",
    "backdated": "the server says that a message is older than it is",
}


def warning_line(warning: WarningEvent) -> str:
    """What is wrong, and with whom."""
    detail = f" ({printable(warning.detail)})" if warning.detail else ""
    return f"{at(warning.peer)}: {WARNINGS[warning.kind]}{detail}"


def message_line(
    message: Message, *, quoted: Message | None = None, addressed: bool = False, ids: bool = False
) -> str:
    """A message as it stands, with `quoted` if it answers that one; `addressed` says to whom it went."""
    to = f" to {at(message.peer)}" if addressed else ""
    name = f"{message.message_id}  " if ids else ""
    marks = "".join(f"  {mark}" for mark in _marks(message))
    return f"{name}{clock(message.created_at)} {at(message.sender)}{to}: {_said(message, quoted)}{marks}"


def history_line(message: Message, *, quoted: Message | None = None, ids: bool = False) -> str:
    """The same of a page: with ticks on the own ones."""
    ticks = f"  {TICKS[message.status]}" if message.own else ""
    return f"{message_line(message, quoted=quoted, ids=ids)}{ticks}"


def body(message: Message) -> str:
    """What a message says; what is not text is only named."""
    if message.deleted:
        return "(deleted)"
    if message.fault:
        return FAULTS[message.fault]
    if message.expired:
        return "(vanished)"
    if not message.content_type.startswith("text/"):
        return f"({printable(message.content_type)}, {len(message.content)} bytes)"
    return message.text


def chat_line(chat: Chat, *, quoted: Message | None = None) -> str:
    """A conversation of the list, and its draft below; `quoted` is what the newest message answers."""
    marks = [mark for mark, is_so in (("pinned", chat.pinned), ("archived", chat.archived)) if is_so]
    if chat.muted_until / 1000 > time.time():
        marks.append(muted(chat.muted_until))
    if chat.blocked:
        marks.append("blocked")
    unread = f"{chat.unread} new" if chat.unread else ""
    newest = "" if chat.newest is None else f"  {history_line(chat.newest, quoted=quoted)}"
    ending = f"  ({', '.join(marks)})" if marks else ""
    draft = f"\n    draft: {printable(chat.draft)}" if chat.draft else ""
    return f"{at(chat.peer):20} {unread:>7}{newest}{ending}{draft}"


def muted(until_ms: int) -> str:
    """Until when; a mute for good has an end that nobody will see."""
    return f"muted until {clock(until_ms)}" if until_ms / 1000 < time.time() + 10 * YEAR_S else "muted"


def request_line(request: Request, how: str = "") -> str:
    """Somebody who knocks, and what to do about it; `how`, if not by a command of the shell."""
    who = at(request.peer)
    if not request.count:
        return f"{who} does not wait for an answer any more"
    plural = "message waits" if request.count == 1 else "messages wait"
    how = how or f"tidings people accept {who}, or decline"
    return f"{who} wants to talk to you, {request.count} {plural}: {how}"


def presence_line(presence: Presence) -> str:
    """Whether somebody is there, and if not since when."""
    if presence.online:
        return f"{at(presence.handle)} is online"
    seen = "" if presence.last_seen is None else f", last seen {clock(presence.last_seen)}"
    return f"{at(presence.handle)} is offline{seen}"


def _said(message: Message, quoted: Message | None) -> str:
    said = printable(body(message))
    if message.forwarded:
        return f"(forwarded) {said}"
    if message.reply_to is None:
        return said
    return f"(re: {_quote(quoted)}) {said}"


def _quote(message: Message | None) -> str:
    return "an earlier message" if message is None else f"“{excerpt(body(message))}”"


def _marks(message: Message) -> list[str]:
    marks = []
    is_shown = not (message.deleted or message.expired or message.fault)
    if is_shown and not message.sealed and not message.own:
        marks.append("(not encrypted)")
    if message.edited and not message.deleted:
        marks.append("(edited)")
    if message.expires_at is not None and not message.deleted and not message.expired:
        marks.append(f"(vanishes {clock(message.expires_at)})")
    marks += [f"[{excerpt(reaction)} {at(who)}]" for who, reaction in message.reactions.items()]
    return marks


def _change(event: EditEvent | DeleteEvent | ReactionEvent | ExpiredEvent, about: Message | None) -> str:
    what = _quote(about)
    match event:
        case EditEvent():
            return f"— {_author(event)} edited: {printable(event.text)} —"
        case DeleteEvent():
            return f"— {_author(event)} deleted {'a message' if about is None or about.deleted else what} —"
        case ReactionEvent():
            did = f"reacted {excerpt(event.reaction)}" if event.reaction else "took a reaction back"
            return f"— {at(event.sender)} {did}: {what} —"
        case ExpiredEvent():
            return f"— a message in the chat with {at(event.peer)} has vanished —"


def _setting(event: SettingEvent) -> str | None:
    name = SETTINGS.get(event.kind)
    if name is None:
        return None
    value = excerpt(event.value.decode(errors="replace"))
    match event.kind:
        case SettingKind.DRAFT if value:
            return f"— your {name} changed: {value} —"
        case SettingKind.PRIVACY | SettingKind.ACCOUNT:
            shown = f" {value}" if event.kind == SettingKind.PRIVACY else ""
            return f"— your {name} changed: {excerpt(event.key)}{shown} —"
        case _:
            return f"— your {name} changed —"


def _author(event: EditEvent | DeleteEvent) -> str:
    return f"you (to {at(event.peer)})" if event.own else at(event.peer)


def _connection(event: ConnectionEvent | CaughtUpEvent | GapEvent) -> str:
    match event:
        case ConnectionEvent(state="connected"):
            return "— connected —"
        case ConnectionEvent():
            return f"— not connected: {printable(event.reason)}; next try in {event.retry_in_s:.1f} s —"
        case CaughtUpEvent():
            return "— up to date —"
        case GapEvent():
            return f"— away for too long: what came since {clock(event.since)} follows out of the history —"
