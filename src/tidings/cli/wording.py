"""How events, messages and chats look to people: a line of text each.

Whatever others wrote goes through `printable`; `objects` makes what programs get.
"""

import time
from datetime import datetime

from tidings.client import contents
from tidings.client.events import (
    CaughtUpEvent,
    ConnectionEvent,
    DeleteEvent,
    EditEvent,
    Event,
    ExpiredEvent,
    FailedEvent,
    GapEvent,
    GroupEvent,
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
    TallyEvent,
    TypingEvent,
    VoteEvent,
    WarningEvent,
)
from tidings.client.group_values import MARK, Tally, is_group
from tidings.client.values import Chat, Fault, Message, Presence, Request
from tidings.protocol.frames import Relation, SettingKind, Status

TICKS = {Status.PENDING: "…", Status.SENT: "✓", Status.DELIVERED: "✓✓", Status.READ: "✓✓ read"}
EXCERPT_CHARS = 40
YEAR_S = 365 * 86_400
ID_DIGITS = 8
"""of a group's id, for people"""
WHOLE_ID = 1 + 32
"""characters of `#` and a whole id"""
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


def at(peer: str) -> str:
    """A user, or a group as it was named."""
    if is_group(peer):
        return printable(peer[: 1 + ID_DIGITS] if len(peer) == WHOLE_ID else peer)
    return f"@{printable(peer.removeprefix('@'))}"


def where(peer: str) -> str:
    """A conversation."""
    return at(peer) if is_group(peer) else f"the chat with {at(peer)}"


def titled(name: str, peer: str) -> str:
    """A group by its name, if that is known."""
    return MARK + printable(name) if name else at(peer)


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


def event_line(event: Event, about: Message | None = None, title: str = "") -> str | None:
    """An event, if people care; `about` is the message that a change is about, if it is known.

    `title`: what the group is called in which it happened, if it is one.
    """
    match event:
        case MessageEvent() | SentEvent() | OpenedEvent():
            opened = "— can be read now — " if isinstance(event, OpenedEvent) else ""
            return opened + message_line(event, quoted=about, addressed=event.own, title=title)
        case EditEvent() | DeleteEvent() | ReactionEvent() | VoteEvent() | ExpiredEvent():
            return _change(event, about, title)
        case ReceiptEvent() | TallyEvent() | ReadEvent():
            return _progress(event, title or at(event.peer))
        case SettingEvent():
            return _setting(event)
        case RequestEvent():
            return f"— {request_line(event)} —"
        case TypingEvent():
            place = f" in {title}" if title else ""
            return f"— {at(event.sender)} {'is' if event.active else 'has stopped'} writing{place} —"
        case PresenceEvent():
            return f"— {presence_line(event)} —"
        case ConnectionEvent() | CaughtUpEvent() | GapEvent():
            return _connection(event)
        case FailedEvent():
            return failure_line(event, title or at(event.peer))
        case WarningEvent():
            return f"! {warning_line(event)}"
        case PastEvent() | GroupEvent():
            return None  # what was changed in a group is told by a message


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
    "member_unsaid": "the server changed who is in a group, and no member said so",
    "info_forged": "a group was renamed by what no member sealed; it was not used",
    "info_old": "the server showed an old name of a group; it was not used",
}


def warning_line(warning: WarningEvent) -> str:
    """What is wrong, and with whom."""
    detail = f" ({printable(warning.detail)})" if warning.detail else ""
    return f"{at(warning.peer)}: {WARNINGS[warning.kind]}{detail}"


def failure_line(failed: FailedEvent, to: str) -> str:
    """What was not sent, and why."""
    is_whole = failed.relation in (Relation.NONE, Relation.REPLY, Relation.FORWARD)
    what = f": {printable(failed.text)}" if is_whole else ""
    kind = "a message" if what else f"a change ({failed.relation.name.lower()})"
    return f"✗ {kind} to {to} was not sent ({printable(failed.reason)}){what}"


def message_line(
    message: Message,
    *,
    quoted: Message | None = None,
    addressed: bool = False,
    ids: bool = False,
    title: str = "",
) -> str:
    """A message as it stands, with `quoted` if it answers that one; `addressed` says to whom it went.

    `title` says in which group it stands.
    """
    to = f" in {title}" if title else f" to {at(message.peer)}" if addressed else ""
    name = f"{message.message_id}  " if ids else ""
    if message.change is not None:
        place = f"{title}: " if title else ""
        return f"{name}{clock(message.created_at)} — {place}{printable(message.text)} —"
    marks = "".join(f"  {mark}" for mark in _marks(message))
    return f"{name}{clock(message.created_at)} {at(message.sender)}{to}: {_said(message, quoted)}{marks}"


def history_line(message: Message, *, quoted: Message | None = None, ids: bool = False) -> str:
    """The same of a page: with ticks on the own ones."""
    ticks = f"  {ticks_of(message)}" if message.own else ""
    return f"{message_line(message, quoted=quoted, ids=ids)}{ticks}"


def ticks_of(message: Message) -> str:
    """How far an own message has come."""
    if message.tally is None or message.status == Status.READ:
        return TICKS[message.status]
    return f"{TICKS[message.status]} {tally_line(message.tally)}"


def tally_line(tally: Tally) -> str:
    """How many members of a group have a message."""
    if tally.read:
        return f"read by {tally.read} of {tally.of}"
    return f"{tally.delivered} of {tally.of} have it"


def body(message: Message) -> str:
    """What a message says; what is not text is only named."""
    if message.deleted:
        return "(deleted)"
    if message.fault:
        return FAULTS[message.fault]
    if message.expired:
        return "(vanished)"
    if message.poll is not None:
        return _poll(message)
    if not message.content_type.startswith("text/") and message.content_type != contents.MARKED:
        return f"({printable(message.content_type)}, {len(message.content)} bytes)"
    return message.text


def chat_line(chat: Chat, *, quoted: Message | None = None) -> str:
    """A conversation of the list, and its draft below; `quoted` is what the newest message answers."""
    marks = [mark for mark, is_so in (("pinned", chat.pinned), ("archived", chat.archived)) if is_so]
    if chat.muted_until / 1000 > time.time():
        marks.append(muted(chat.muted_until))
    if chat.blocked:
        marks.append("blocked")
    if chat.group is not None and chat.group.is_left:
        marks.append("left")
    unread = f"{chat.unread} new" if chat.unread else ""
    newest = "" if chat.newest is None else f"  {history_line(chat.newest, quoted=quoted)}"
    ending = f"  ({', '.join(marks)})" if marks else ""
    draft = f"\n    draft: {printable(chat.draft)}" if chat.draft else ""
    name = at(chat.peer) if chat.group is None else titled(chat.group.name, chat.peer)
    return f"{name:20} {unread:>7}{newest}{ending}{draft}"


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
    if message is None:
        return "an earlier message"
    return f"“{excerpt(body(message) if message.poll is None else message.text)}”"


def _marks(message: Message) -> list[str]:
    marks = []
    is_shown = not (message.deleted or message.expired or message.fault)
    if is_shown and not message.sealed and not message.own:
        marks.append("(not encrypted)")
    if message.edited and not message.deleted:
        marks.append("(edited)")
    if message.mentions_me:
        marks.append("(mentions you)")
    if message.expires_at is not None and not message.deleted and not message.expired:
        marks.append(f"(vanishes {clock(message.expires_at)})")
    marks += [f"[{excerpt(reaction)} {at(who)}]" for who, reaction in message.reactions.items()]
    return marks


def _poll(message: Message) -> str:
    poll, votes = message.poll, message.votes
    assert poll is not None
    options = [
        f"{number + 1}. {' '.join(option.split())} ({len(votes[number])})"
        + "".join(f" @{who}" for who in votes[number])
        for number, option in enumerate(poll.options)
    ]
    several = " (several may be chosen)" if poll.multiple else ""
    return "\n".join((f"poll{several}: {poll.question}", *options))


def _progress(event: ReceiptEvent | TallyEvent | ReadEvent, name: str) -> str:
    match event:
        case ReceiptEvent():
            count = len(event.message_ids)
            ticks = TICKS[Status.READ if event.state == "read" else Status.DELIVERED]
            return f"{ticks} {name}: {count} message{'' if count == 1 else 's'}"
        case TallyEvent():
            return f"{TICKS[event.tally.status]} {name}: {tally_line(event.tally)}"
        case ReadEvent():
            said = f"what was written in {name}" if is_group(event.peer) else f"what {name} wrote"
            return f"— you have read {said} —"


def _change(
    event: EditEvent | DeleteEvent | ReactionEvent | VoteEvent | ExpiredEvent,
    about: Message | None,
    title: str,
) -> str:
    what = _quote(about)
    match event:
        case EditEvent():
            return f"— {_author(event, about, title)} edited: {printable(event.text)} —"
        case DeleteEvent():
            gone = "a message" if about is None or about.deleted else what
            if title:
                return f"— {'you' if event.own else 'somebody'} deleted {gone} in {title} —"
            return f"— {_author(event, about, title)} deleted {gone} —"
        case ReactionEvent():
            did = f"reacted {excerpt(event.reaction)}" if event.reaction else "took a reaction back"
            return f"— {at(event.sender)} {did}: {what} —"
        case VoteEvent():
            return f"— {at(event.sender)} {_chosen(event, about)}: {what} —"
        case ExpiredEvent():
            return f"— a message in {title or where(event.peer)} has vanished —"


def _chosen(vote: VoteEvent, about: Message | None) -> str:
    poll = None if about is None else about.poll
    options = () if poll is None else poll.options
    names = [
        excerpt(options[number]) if number < len(options) else f"{number + 1}" for number in vote.options
    ]
    return f"voted for {', '.join(names)}" if names else "took a vote back"


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


def _author(event: EditEvent | DeleteEvent, about: Message | None, title: str) -> str:
    if is_group(event.peer):
        who = "you" if event.own else "somebody" if about is None else at(about.sender)
        return f"{who} (in {title})" if title else who
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
