"""How events, messages, chats and people look to programs: the objects of `--json`.

Ids are strings, since a double cannot hold them; a conversation_id is base64, a reference an object.
Content is `text`; where it is not UTF-8, `content` has it in base64 besides.
"""

import base64

from tidings.cli.group_objects import Object, conversation, group_object, reference, rules_object
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
from tidings.client.group_values import Change, Tally
from tidings.client.values import Chat, Contact, Message, Person, Presence, Request, SentMessage
from tidings.protocol.frames import Reference


def event_object(event: Event) -> Object:
    """An event."""
    match event:
        case MessageEvent() | PastEvent() | SentEvent() | OpenedEvent():
            return _message_event(event)
        case EditEvent() | DeleteEvent() | ReactionEvent() | VoteEvent() | ExpiredEvent():
            return _change(event)
        case GroupEvent():
            return group_object(event.group)
        case ReceiptEvent() | TallyEvent() | ReadEvent():
            return _progress(event)
        case WarningEvent():
            return {
                "type": "warning",
                "kind": event.kind,
                "peer": event.peer,
                "user_id": str(event.user_id),
                "conversation_id": conversation(event.conversation_id) if event.conversation_id else None,
                "detail": event.detail,
            }
        case FailedEvent():
            return {
                "type": "failed",
                "peer": event.peer,
                **_content("text", event.content),
                "text": event.text,
                "content_type": event.content_type,
                "relation": event.relation.name.lower(),
                "about": None if event.about is None else reference(event.about),
                "client_id": event.client_id.hex(),
                "name": event.name,
                "reason": event.reason,
                "at_ms": event.at_ms,
            }
        case SettingEvent():
            return {
                "type": "setting",
                "kind": event.kind.name.lower(),
                "key": event.key,
                **_content("value", event.value),
            }
        case RequestEvent():
            return request_object(event)
        case TypingEvent():
            return {
                "type": "typing",
                "conversation_id": conversation(event.conversation_id),
                "peer": event.peer,
                "from": event.sender,
                "active": event.active,
            }
        case PresenceEvent():
            return presence_object(event)
        case ConnectionEvent() | CaughtUpEvent() | GapEvent():
            return _connection(event)


def _progress(event: ReceiptEvent | TallyEvent | ReadEvent) -> Object:
    where: Object = {"conversation_id": conversation(event.conversation_id), "peer": event.peer}
    match event:
        case ReceiptEvent():
            ids = [str(message_id) for message_id in event.message_ids]
            reached: Object = {"state": event.state, "up_to": str(event.up_to), "message_ids": ids}
            return {"type": "receipt", **where, **reached}
        case TallyEvent():
            return {"type": "tally", **where, "message_id": str(event.message_id), **_tally(event.tally)}
        case ReadEvent():
            return {"type": "read", **where, "up_to": str(event.up_to)}


def _connection(event: ConnectionEvent | CaughtUpEvent | GapEvent) -> Object:
    match event:
        case ConnectionEvent():
            return {
                "type": "connection",
                "state": event.state,
                "reason": event.reason,
                "retry_in_s": event.retry_in_s,
            }
        case CaughtUpEvent():
            return {"type": "caught_up"}
        case GapEvent():
            return {"type": "gap", "since": event.since}


def message_object(message: Message) -> Object:
    """A message as it stands."""
    return {
        "type": "message",
        "from": message.sender,
        "from_id": str(message.sender_id),
        "peer": message.peer,
        "peer_id": str(message.peer_id),
        "own": message.own,
        **_content("text", message.content),
        "text": message.text,
        "content_type": message.content_type,
        "message_id": str(message.message_id),
        "conversation_id": conversation(message.conversation_id),
        "reference": reference(message.reference),
        "created_at": message.created_at,
        "status": message.status.name.lower(),
        "reply_to": None if message.reply_to is None else reference(message.reply_to),
        "forwarded": message.forwarded,
        "silent": message.silent,
        "expires_at": message.expires_at,
        "expired": message.expired,
        "edited": message.edited,
        "deleted": message.deleted,
        "reactions": message.reactions,
        "sealed": message.sealed,
        "fault": message.fault.name.lower() if message.fault else None,
        "mentions_me": message.mentions_me,
        "tally": None if message.tally is None else _tally(message.tally),
        "poll": _poll(message),
        "change": None if message.change is None else _group_change(message.change),
    }


def sent_object(peer: str, sent: SentMessage, kind: str = "sent", about: Reference | None = None) -> Object:
    """What the server has taken; `about` is the message that it changes."""
    found: Object = {
        "type": kind,
        "to": peer,
        "message_id": str(sent.message_id),
        "conversation_id": conversation(sent.conversation_id),
        "client_id": sent.client_id.hex(),
        "reference": reference(sent.reference),
        "created_at": sent.created_at,
    }
    return found if about is None else {**found, "about": reference(about)}


def chat_object(chat: Chat) -> Object:
    """A conversation of the list."""
    return {
        "type": "chat",
        "peer": chat.peer,
        "peer_id": str(chat.peer_id),
        "conversation_id": conversation(chat.conversation_id),
        "title": chat.title,
        "group": None if chat.group is None else group_object(chat.group),
        "unread": chat.unread,
        "read_up_to": str(chat.read_up_to),
        "newest": None if chat.newest is None else message_object(chat.newest),
        "pinned": chat.pinned,
        "archived": chat.archived,
        "muted_until": chat.muted_until,
        "draft": chat.draft,
        "timer_s": chat.timer_s,
        "blocked": chat.blocked,
    }


def person_object(person: Person) -> Object:
    """A user."""
    return {
        "type": "person",
        "user_id": str(person.user_id),
        "handle": person.handle,
        "name": person.name,
        "about": person.about,
        "has_picture": person.has_picture,
    }


def contact_object(contact: Contact) -> Object:
    """Somebody on the list."""
    return {
        "type": "contact",
        "user_id": str(contact.user_id),
        "handle": contact.handle,
        "nickname": contact.nickname,
    }


def request_object(request: Request) -> Object:
    """Somebody who knocks."""
    return {
        "type": "request",
        "peer": request.peer,
        "user_id": str(request.user_id),
        "conversation_id": conversation(request.conversation_id),
        "count": request.count,
        "first_at": request.first_at,
    }


def presence_object(presence: Presence) -> Object:
    """Whether somebody is there."""
    return {
        "type": "presence",
        "handle": presence.handle,
        "user_id": str(presence.user_id),
        "online": presence.online,
        "last_seen": presence.last_seen,
    }


def _message_event(event: MessageEvent | PastEvent | SentEvent | OpenedEvent) -> Object:
    found = message_object(event)
    match event:
        case SentEvent():
            # Named as what `tidings send --json` prints, which has less.
            return {
                **found,
                "type": "sent",
                "to": event.peer,
                "client_id": event.reference.client_id.hex(),
            }
        case PastEvent():
            return {**found, "type": "past"}
        case OpenedEvent():
            return {**found, "type": "opened"}
        case MessageEvent():
            return found


def _tally(tally: Tally) -> Object:
    return {"delivered": tally.delivered, "read": tally.read, "of": tally.of}


def _poll(message: Message) -> Object | None:
    poll, votes = message.poll, message.votes
    if poll is None:
        return None
    return {
        "question": poll.question,
        "options": list(poll.options),
        "multiple": poll.multiple,
        "votes": [votes[number] for number in range(len(poll.options))],
    }


def _group_change(change: Change) -> Object:
    return {
        "action": change.action.name.lower(),
        "actor": change.actor,
        "people": list(change.people),
        "role": change.role.name.lower(),
        "name": change.name,
        "about": change.about,
        "rules": None if change.rules is None else rules_object(change.rules),
        "pin": None if change.pin is None else reference(change.pin),
    }


def _change(event: EditEvent | DeleteEvent | ReactionEvent | VoteEvent | ExpiredEvent) -> Object:
    about: Object = {
        "conversation_id": conversation(event.conversation_id),
        "peer": event.peer,
        "about": reference(event.reference),
    }
    match event:
        case EditEvent():
            said = {
                **_content("text", event.content),
                "text": event.text,
                "content_type": event.content_type,
            }
            return {"type": "edit", **about, "own": event.own, **said, "message_id": str(event.edit)}
        case DeleteEvent():
            return {"type": "delete", **about, "own": event.own, "message_id": str(event.delete)}
        case ReactionEvent():
            return {
                "type": "reaction",
                **about,
                "from": event.sender,
                "own": event.own,
                "reaction": event.reaction,
                "message_id": str(event.message_id),
            }
        case VoteEvent():
            return {
                "type": "vote",
                **about,
                "from": event.sender,
                "own": event.own,
                "options": list(event.options),
                "message_id": str(event.message_id),
            }
        case ExpiredEvent():
            return {"type": "expired", **about}


def _content(name: str, content: bytes) -> Object:
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {name: content.decode(errors="replace"), "content": base64.b64encode(content).decode()}
