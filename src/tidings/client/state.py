"""State: what a program shows, loaded once and kept up to date by events.

`apply` makes of it what a fresh load would give: that is tested after every kind of action. It is plain
data without IO, and bounded: of each conversation it has the newest messages.
"""

import sqlite3
from dataclasses import replace

from tidings.client import folding, keys, known_groups, receipts, settings, transcript
from tidings.client.events import (
    DeleteEvent,
    EditEvent,
    Event,
    ExpiredEvent,
    GroupEvent,
    MessageEvent,
    OpenedEvent,
    PastEvent,
    ReactionEvent,
    ReadEvent,
    ReceiptEvent,
    RequestEvent,
    SentEvent,
    SettingEvent,
    TallyEvent,
    VoteEvent,
)
from tidings.client.group_values import Group, is_group
from tidings.client.transcript import Self
from tidings.client.values import Chat, Message, Reaction, Request, Vote
from tidings.protocol.frames import Reference, SettingKind, Status
from tidings.protocol.ids import ConversationId, MessageId, UserId

About = EditEvent | DeleteEvent | ReactionEvent | VoteEvent | ExpiredEvent

FIELDS = tuple(Message.__dataclass_fields__)


class State:
    """What the profile has: chats, messages, settings and requests. Two are equal if they show the same."""

    def __init__(self, me: Self, limit: int) -> None:
        """Use `Client.state`. `limit` bounds the messages of a conversation."""
        self._me = me
        self._limit = limit
        self._messages: dict[ConversationId, dict[Reference, Message]] = {}
        self._read_up_to: dict[ConversationId, MessageId] = {}
        self._settings: dict[keys.Name, bytes] = {}
        self._requests: dict[ConversationId, Request] = {}
        self._groups: dict[ConversationId, Group] = {}
        self._hidden: set[Reference] = set()

    @property
    def handle(self) -> str:
        """Whose state this is, without the @.

        ```python
        async with Client.open("profiles/alice") as me:
            assert (await me.state()).handle == me.handle
        ```
        """
        return self._me.handle

    @property
    def chats(self) -> list[Chat]:
        """All conversations in which something was said, and all groups; pinned ones first, then the newest.

        ```python
        async with Client.open("profiles/alice") as me:
            for chat in (await me.state()).chats:
                print(chat.peer, chat.unread)
        ```
        """
        found = []
        for conversation_id, messages in self._messages.items():
            if messages:
                one = next(iter(messages.values()))
                found.append(self.chat(conversation_id, one.peer, one.peer_id))
        for group in self._groups.values():
            if not (group.is_left or self._messages.get(group.conversation_id)):
                found.append(self.chat(group.conversation_id, group.peer, UserId(0)))
        return sorted(found, key=_place)

    def chat(self, conversation_id: ConversationId, peer: str, peer_id: UserId) -> Chat:
        """One conversation, also one in which nothing was said yet.

        ```python
        async with Client.open("profiles/alice") as me:
            state = await me.state()
            (chat, *_) = state.chats
            assert state.chat(chat.conversation_id, chat.peer, chat.peer_id) == chat
        ```
        """
        key = keys.of_conversation(conversation_id)
        visible = self._visible(conversation_id)
        read_up_to = self._read_up_to.get(conversation_id, MessageId(0))
        unread = [
            one
            for one in visible
            if not (one.own or one.deleted or one.change) and one.message_id > read_up_to
        ]
        return Chat(
            peer=peer,
            peer_id=peer_id,
            conversation_id=conversation_id,
            group=self._groups.get(conversation_id),
            unread=len(unread),
            read_up_to=read_up_to,
            newest=visible[-1] if visible else None,
            pinned=self._has(SettingKind.PIN, key),
            archived=self._has(SettingKind.ARCHIVE, key),
            muted_until=keys.number(self._value(SettingKind.MUTE, key)),
            draft=self._value(SettingKind.DRAFT, key).decode(errors="replace"),
            timer_s=keys.number(self._value(SettingKind.OPAQUE, keys.of_timer(conversation_id))),
            blocked=self._has(SettingKind.BLOCK, str(peer_id)),
        )

    def messages(self, peer: str) -> list[Message]:
        """The newest messages with somebody or in a group, in order, without what is hidden or has expired.

        ```python
        async with Client.open("profiles/alice") as me:
            for message in (await me.state()).messages("@bob"):
                print(message.sender, message.text)
        ```
        """
        handle = self._called(peer) if is_group(peer) else peer.removeprefix("@").lower()
        for conversation_id, messages in self._messages.items():
            if any(message.peer == handle for message in messages.values()):
                return self._visible(conversation_id)
        return []

    @property
    def groups(self) -> list[Group]:
        """The groups that the user is in, by name.

        ```python
        async with Client.open("profiles/alice") as me:
            for group in (await me.state()).groups:
                print(group.name, group.count)
        ```
        """
        there = [group for group in self._groups.values() if not group.is_left]
        return sorted(there, key=lambda group: (group.name.casefold(), group.peer))

    @property
    def requests(self) -> list[Request]:
        """Strangers who want to talk, the earliest first.

        ```python
        async with Client.open("profiles/alice") as me:
            for request in (await me.state()).requests:
                print(request.peer, request.count)
        ```
        """
        return sorted(self._requests.values(), key=lambda request: (request.first_at, request.peer))

    @property
    def settings(self) -> dict[tuple[SettingKind, str], bytes]:
        """What the user's devices share, by kind and key (spec §6.11).

        ```python
        async with Client.open("profiles/alice") as me:
            print(len((await me.state()).settings))
        ```
        """
        return dict(self._settings)

    def apply(self, event: Event) -> None:
        """Take an event of `Client.events()` in. Those that change nothing here are passed over.

        ```python
        async with Client.open("profiles/alice") as me:
            state = await me.state()
            async for event in me.events():
                state.apply(event)
                print([chat.unread for chat in state.chats])
        ```
        """
        match event:
            case MessageEvent() | SentEvent() | PastEvent() | OpenedEvent():
                self._add(event)
            case EditEvent() | DeleteEvent() | ReactionEvent() | VoteEvent() | ExpiredEvent():
                self._change(event)
            case TallyEvent() | ReceiptEvent():
                self._came_further(event)
            case GroupEvent():
                self._groups[event.group.conversation_id] = event.group
            case ReadEvent():
                self._read(event.conversation_id, event.up_to)
            case SettingEvent():
                self._set((event.kind, event.key), event.value)
            case RequestEvent():
                self._knocked(event)
            case _:
                pass

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return self._whole() == other._whole()

    __hash__ = None  # type: ignore[assignment]

    # --- inside ---------------------------------------------------------------------------

    def _whole(self) -> tuple[object, ...]:
        return self.chats, self._shown(), self._settings, self._requests, self._groups

    def _called(self, peer: str) -> str:
        """The peer of a group that is called by its name."""
        name = peer[1:].casefold()
        found = [group.peer for group in self._groups.values() if group.name.casefold() == name]
        return found[0] if len(found) == 1 else peer.lower()

    def _came_further(self, event: TallyEvent | ReceiptEvent) -> None:
        if isinstance(event, ReceiptEvent):
            self._received(event)
            return
        messages = self._messages.get(event.conversation_id, {})
        for reference, message in messages.items():
            if message.own and message.message_id == event.message_id:
                messages[reference] = replace(message, tally=event.tally)

    def _add(self, event: Message) -> None:
        messages = self._messages.setdefault(event.conversation_id, {})
        if isinstance(event, OpenedEvent):
            # Where it stood before, nobody had sealed.
            for others in self._messages.values():
                if others is not messages:
                    others.pop(event.reference, None)
        known = messages.get(event.reference)
        is_opened = isinstance(event, OpenedEvent)
        if known is not None and (
            (known.fault and (is_opened or not event.fault)) or (is_opened and event.change is not None)
        ):
            messages[event.reference] = replace(_plain(event), status=max(known.status, event.status))
            return
        if known is not None:
            known = replace(known, status=max(known.status, event.status))
            # It may have had its time between being loaded and being told.
            messages[event.reference] = folding.with_expiry(known) if event.expired else known
            return
        messages[event.reference] = _plain(event)
        if len(messages) > self._limit:
            # Of those that are there at any time the oldest has to go.
            oldest = min(messages.values(), key=lambda one: one.message_id)
            del messages[oldest.reference]

    def _change(self, event: About) -> None:
        messages = self._messages.get(event.conversation_id, {})
        message = messages.get(event.reference)
        if message is not None:
            messages[event.reference] = _changed(message, event)

    def _received(self, event: ReceiptEvent) -> None:
        status = Status.READ if event.state == "read" else Status.DELIVERED
        ids = set(event.message_ids)
        messages = self._messages.get(event.conversation_id, {})
        for reference, message in messages.items():
            if message.own and message.message_id in ids:
                messages[reference] = replace(message, status=max(message.status, status))

    def _read(self, conversation_id: ConversationId, up_to: MessageId) -> None:
        self._read_up_to[conversation_id] = max(up_to, self._read_up_to.get(conversation_id, up_to))
        messages = self._messages.get(conversation_id, {})
        for reference, message in messages.items():
            if not message.own and message.message_id <= up_to:
                messages[reference] = replace(message, status=Status.READ)

    def _set(self, name: keys.Name, value: bytes) -> None:
        if value:
            self._settings[name] = value
        else:
            self._settings.pop(name, None)
        hidden = keys.message_named(name[1]) if name[0] == SettingKind.HIDDEN else None
        if hidden is not None:
            (self._hidden.add if value else self._hidden.discard)(hidden)

    def _knocked(self, event: RequestEvent) -> None:
        self._requests.pop(event.conversation_id, None)
        if event.count:
            self._requests[event.conversation_id] = Request(
                event.peer, event.user_id, event.conversation_id, event.count, event.first_at
            )

    def _visible(self, conversation_id: ConversationId) -> list[Message]:
        messages = self._messages.get(conversation_id, {}).values()
        shown = [one for one in messages if not one.expired and one.reference not in self._hidden]
        return sorted(shown, key=lambda one: one.message_id)

    def _shown(self) -> dict[ConversationId, list[Message]]:
        return {conversation_id: self._visible(conversation_id) for conversation_id in self._messages}

    def _value(self, kind: SettingKind, key: str) -> bytes:
        return self._settings.get((kind, key), b"")

    def _has(self, kind: SettingKind, key: str) -> bool:
        return bool(self._value(kind, key))


def load(database: sqlite3.Connection, me: Self, limit: int, only: ConversationId | None = None) -> State:
    """The state that a profile has right now; of all conversations, or with the messages of one."""
    state = State(me, limit)
    for conversation_id in transcript.conversations(database) if only is None else [only]:
        for message in transcript.shown(database, me, conversation_id, limit=limit):
            state._add(message)
    for group in known_groups.everything(database):
        if only in (None, group.conversation_id):
            state._groups[group.conversation_id] = group
    for conversation_id, up_to in receipts.reads_of(database, me.user_id):
        state._read(conversation_id, up_to)
    for (kind, key), value in settings.everything(database).items():
        request = keys.request_event(key, value, b"") if kind == SettingKind.REQUEST else None
        if request is not None:
            state._knocked(request)
        elif kind != SettingKind.REQUEST:
            state._set((kind, key), value)
    return state


def _changed(message: Message, event: About) -> Message:
    match event:
        case EditEvent():
            return folding.with_edit(message, event.edit, event.content_type, event.content)
        case DeleteEvent():
            return folding.with_delete(message, event.delete)
        case ReactionEvent():
            reaction = Reaction(event.reaction, event.message_id)
            return folding.with_reaction(message, event.sender, reaction)
        case VoteEvent():
            return folding.with_vote(message, event.sender, Vote(event.options, event.message_id))
        case ExpiredEvent():
            return folding.with_expiry(message)


def _plain(event: Message) -> Message:
    return event if type(event) is Message else Message(**{name: getattr(event, name) for name in FIELDS})


def _place(chat: Chat) -> tuple[bool, int, str]:
    return not chat.pinned, -(chat.newest.message_id if chat.newest else 0), chat.peer
