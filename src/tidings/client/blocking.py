"""The SDK without asyncio: the same calls, for programs in which everything waits for its turn.

```python
from tidings.client.blocking import Client

with Client.open("profiles/alice") as me:
    me.send("@bob", "hello")
```

Written by scripts/spec; change the asynchronous classes and run `make spec`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self as Me

from tidings.client.account import OwnAccount as AsyncOwnAccount
from tidings.client.blocking_loop import LoopThread
from tidings.client.chats import Chats as AsyncChats
from tidings.client.client import Client as AsyncClient
from tidings.client.devices import OwnDevices as AsyncOwnDevices
from tidings.client.events import Event, PresenceEvent
from tidings.client.group_requests import SomeGroup
from tidings.client.group_values import Group, GroupMember, Invitation, MemberTimes, Rules
from tidings.client.groups import LINK_S
from tidings.client.groups import Groups as AsyncGroups
from tidings.client.keeping import Keep
from tidings.client.messages import Messages as AsyncMessages
from tidings.client.messages import SomeMessage
from tidings.client.people import People as AsyncPeople
from tidings.client.presence import OwnPresence as AsyncOwnPresence
from tidings.client.profile import Account
from tidings.client.safety import Safety as AsyncSafety
from tidings.client.safety import SafetyNumber
from tidings.client.state import State
from tidings.client.surroundings import Surroundings
from tidings.client.values import (
    TEXT,
    Chat,
    Contact,
    FailedMessage,
    Message,
    MessageTimes,
    Person,
    Presence,
    Request,
    SentMessage,
)
from tidings.protocol.api import AccountInfo, DeviceInfo, FactorBegun
from tidings.protocol.frames import GroupRole, Reference
from tidings.protocol.ids import ConversationId, DeviceId, MessageId, UserId

__all__ = [
    "Chats",
    "Client",
    "Groups",
    "Messages",
    "OwnAccount",
    "OwnDevices",
    "OwnPresence",
    "People",
    "Safety",
]


class Messages:
    """`me.messages`."""

    def __init__(self, loop: LoopThread, inner: AsyncMessages) -> None:
        self._loop = loop
        self._inner = inner

    def recent(self, peer: str, *, limit: int = 50, before: MessageId | None = None) -> list[Message]:
        """The newest messages with somebody or in a group, or those before one, as the profile has them.

        Works offline. What is older than this device is in `Client.history`.
        Raises ClientError for less than none.

        ```python
        with Client.open("profiles/alice") as me:
            for message in me.messages.recent("@bob"):
                print(message.sender, message.text, message.reactions)
        ```
        """
        return self._loop.call(self._inner.recent, peer, limit=limit, before=before)

    def get(self, reference: Reference) -> Message | None:
        """A message by its name, if the profile has it.

        ```python
        with Client.open("profiles/alice") as me:
            sent = me.send("@bob", "hello")
            message = me.messages.get(sent.reference)
            assert message is not None and message.text == "hello"
        ```
        """
        return self._loop.call(self._inner.get, reference)

    def find(self, peer: str, message_id: MessageId) -> Message:
        """A message by its place in a conversation: from the profile, else from the server.

        Raises ClientError if there is none.

        ```python
        with Client.open("profiles/alice") as me:
            newest = me.history("@bob")[-1]
            print(me.messages.find("@bob", newest.message_id).text)
        ```
        """
        return self._loop.call(self._inner.find, peer, message_id)

    def edit(self, message: SomeMessage, text: str | bytes, *, content_type: str = TEXT) -> SentMessage:
        """Change an own message, for everyone. Returns once the server has it, as `Client.send` does.

        Raises Refused (not_yours, too_late, no_such_message, …).

        ```python
        with Client.open("profiles/alice") as me:
            sent = me.send("@bob", "Supper at sevn")
            me.messages.edit(sent, "Supper at seven")
        ```
        """
        return self._loop.call(self._inner.edit, message, text, content_type=content_type)

    def delete(self, message: SomeMessage) -> SentMessage:
        """Delete an own message for everyone: its content goes from the server and from all devices.

        In a group, admins delete those of others, too. Raises Refused (not_yours, too_late, …).

        ```python
        with Client.open("profiles/alice") as me:
            sent = me.send("@bob", "not for you")
            me.messages.delete(sent)
        ```
        """
        return self._loop.call(self._inner.delete, message)

    def react(self, message: SomeMessage, reaction: str) -> SentMessage:
        """Say something short about a message, instead of what was said before; empty takes it back.

        ```python
        with Client.open("profiles/alice") as me:
            (newest,) = me.history("@bob", limit=1)
            me.messages.react(newest, "👍")
            me.messages.react(newest, "")
        ```
        """
        return self._loop.call(self._inner.react, message, reaction)

    def poll(
        self, peer: str, question: str, options: Sequence[str], *, multiple: bool = False
    ) -> SentMessage:
        """Ask something, with options to choose from: one, or with `multiple` several.

        Raises ClientError for fewer than two options or what is too long; else as `Client.send`.

        ```python
        with Client.open("profiles/alice") as me:
            asked = me.messages.poll("@bob", "When?", ["at six", "at seven"])
            me.messages.vote(asked, [1])
        ```
        """
        return self._loop.call(self._inner.poll, peer, question, options, multiple=multiple)

    def vote(self, message: SomeMessage, options: Sequence[int]) -> SentMessage:
        """Choose options of a poll by their numbers, from 0, instead of those before; none takes it back.

        Raises ClientError if it has no such options; Refused.

        ```python
        with Client.open("profiles/alice") as me:
            asked = me.messages.poll("@bob", "When?", ["at six", "at seven"])
            me.messages.vote(asked, [0])
            me.messages.vote(asked, [])
        ```
        """
        return self._loop.call(self._inner.vote, message, options)

    def forward(self, message: SomeMessage, peer: str) -> SentMessage:
        """Send what somebody wrote to somebody else, or to a group, marked as forwarded.

        Raises ClientError if the message is gone or cannot be read; Refused.

        ```python
        with Client.open("profiles/alice") as me:
            (newest,) = me.history("@bob", limit=1)
            me.messages.forward(newest, "@carol")
        ```
        """
        return self._loop.call(self._inner.forward, message, peer)

    def info(self, message: SomeMessage) -> MessageTimes:
        """When an own message was delivered and read. Asks the server. Raises Refused (not_yours, …).

        Of a message in a group: by all. `receipts` tells of each.

        ```python
        with Client.open("profiles/alice") as me:
            sent = me.send("@bob", "hello")
            print(me.messages.info(sent).read_at or "not read yet")
        ```
        """
        return self._loop.call(self._inner.info, message)

    def receipts(self, message: SomeMessage) -> list[MemberTimes]:
        """When an own message reached each of the others, by handle. Asks the server.

        Raises Refused (not_yours, …).

        ```python
        with Client.open("profiles/alice") as me:
            sent = me.send("@bob", "hello")
            for times in me.messages.receipts(sent):
                print(times.handle, times.read_at or "not read yet")
        ```
        """
        return self._loop.call(self._inner.receipts, message)

    def star(self, message: SomeMessage, *, starred: bool = True) -> None:
        """Keep a message at hand, on all of one's devices; or no more.

        ```python
        with Client.open("profiles/alice") as me:
            (newest,) = me.history("@bob", limit=1)
            me.messages.star(newest)
        ```
        """
        self._loop.call(self._inner.star, message, starred=starred)

    def starred(self) -> list[Message]:
        """The messages that have a star, the newest first. What this profile lacks is asked for.

        ```python
        with Client.open("profiles/alice") as me:
            for message in me.messages.starred():
                print(message.peer, message.text)
        ```
        """
        return self._loop.call(self._inner.starred)

    def hide(self, message: SomeMessage) -> None:
        """Delete a message for oneself, on all of one's devices. The other one keeps it.

        ```python
        with Client.open("profiles/alice") as me:
            (newest,) = me.history("@bob", limit=1)
            me.messages.hide(newest)
        ```
        """
        self._loop.call(self._inner.hide, message)

    def failed(self) -> list[FailedMessage]:
        """Own messages that the server refused while nobody waited for them, the oldest first.

        Who called `send` and waited got `Refused` for it. `FailedEvent` tells of each once.

        ```python
        with Client.open("profiles/alice") as me:
            for failed in me.messages.failed():
                print(failed.peer, failed.text, failed.reason)
                me.messages.dismiss(failed)
        ```
        """
        return self._loop.call(self._inner.failed)

    def dismiss(self, failed: FailedMessage) -> None:
        """Somebody has seen to a message that failed: forget it.

        ```python
        with Client.open("profiles/alice") as me:
            for failed in me.messages.failed():
                me.messages.dismiss(failed)
        ```
        """
        self._loop.call(self._inner.dismiss, failed)

    def hidden(self) -> set[Reference]:
        """The names of the messages that the user has hidden.

        ```python
        with Client.open("profiles/alice") as me:
            print(len(me.messages.hidden()))
        ```
        """
        return self._loop.call(self._inner.hidden)


class Chats:
    """`me.chats`. What is changed here holds on all of the user's devices."""

    def __init__(self, loop: LoopThread, inner: AsyncChats) -> None:
        self._loop = loop
        self._inner = inner

    def list(self) -> list[Chat]:
        """All chats, pinned ones first, then the newest first; those in the archive too. Works offline.

        Unread messages are counted up to 100.

        ```python
        with Client.open("profiles/alice") as me:
            for chat in me.chats.list():
                print(chat.peer, chat.unread, chat.newest and chat.newest.text)
        ```
        """
        return self._loop.call(self._inner.list)

    def get(self, peer: str) -> Chat:
        """The chat with somebody. Raises Refused (no_such_user) if they are not known here.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.chats.get("@bob").unread)
        ```
        """
        return self._loop.call(self._inner.get, peer)

    def pin(self, peer: str, *, pinned: bool = True) -> None:
        """Keep a chat at the top; or no more.

        ```python
        with Client.open("profiles/alice") as me:
            me.chats.pin("@bob")
        ```
        """
        self._loop.call(self._inner.pin, peer, pinned=pinned)

    def archive(self, peer: str, *, archived: bool = True) -> None:
        """Put a chat away; or get it back.

        ```python
        with Client.open("profiles/alice") as me:
            me.chats.archive("@bob")
            me.chats.archive("@bob", archived=False)
        ```
        """
        self._loop.call(self._inner.archive, peer, archived=archived)

    def mute(self, peer: str, *, for_s: float | None = None) -> None:
        """Do not be disturbed by a chat, for so many seconds or for good.

        Raises ClientError if that is no time.

        ```python
        with Client.open("profiles/alice") as me:
            me.chats.mute("@bob", for_s=8 * 3600)
        ```
        """
        self._loop.call(self._inner.mute, peer, for_s=for_s)

    def unmute(self, peer: str) -> None:
        """Be told again.

        ```python
        with Client.open("profiles/alice") as me:
            me.chats.unmute("@bob")
        ```
        """
        self._loop.call(self._inner.unmute, peer)

    def draft(self, peer: str, text: str) -> None:
        """Keep what was begun to be written, for all devices; empty forgets it.

        Raises Refused (too_large: over 8 KiB).

        ```python
        with Client.open("profiles/alice") as me:
            me.chats.draft("@bob", "What I always wanted to say:")
        ```
        """
        self._loop.call(self._inner.draft, peer, text)

    def timer(self, peer: str, after_s: int) -> None:
        """Have what this user sends to somebody vanish after so many seconds; 0: it stays.

        It holds for what is sent from then on, from any device, unless `send` says otherwise.
        Raises ClientError if it is over 400 days, or no whole number.

        ```python
        with Client.open("profiles/alice") as me:
            me.chats.timer("@bob", 7 * 24 * 3600)
        ```
        """
        self._loop.call(self._inner.timer, peer, after_s)

    def timer_of(self, conversation_id: ConversationId) -> int | None:
        """A conversation's timer in seconds, None if it has none.

        ```python
        with Client.open("profiles/alice") as me:
            chat = me.chats.get("@bob")
            print(me.chats.timer_of(chat.conversation_id) or "what is sent stays")
        ```
        """
        return self._loop.call(self._inner.timer_of, conversation_id)

    def typing(self, peer: str, *, active: bool = True) -> None:
        """Tell somebody that the user is writing, or has stopped. Told now or, while offline, never.

        ```python
        with Client.open("profiles/alice") as me:
            me.chats.typing("@bob")
        ```
        """
        self._loop.call(self._inner.typing, peer, active=active)


class People:
    """`me.people`."""

    def __init__(self, loop: LoopThread, inner: AsyncPeople) -> None:
        self._loop = loop
        self._inner = inner

    def find(self, who: str) -> Person:
        """Look somebody up by their whole handle or, beginning with +, their phone number.

        Look-ups are counted: it is for what a user typed, not for trying. Raises Refused (no_such_user,
        rate_limited).

        ```python
        with Client.open("profiles/alice") as me:
            bob = me.people.find("@bob")
            print(bob.name, bob.about)
        ```
        """
        return self._loop.call(self._inner.find, who)

    def picture(self, handle: str) -> bytes | None:
        """Somebody's picture (PNG, JPEG or WebP), if they have one and show it.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.people.picture("@bob") or "no picture")
        ```
        """
        return self._loop.call(self._inner.picture, handle)

    def contacts(self) -> list[Contact]:
        """The user's list of contacts, by handle.

        ```python
        with Client.open("profiles/alice") as me:
            for contact in me.people.contacts():
                print(contact.handle, contact.nickname)
        ```
        """
        return self._loop.call(self._inner.contacts)

    def add(self, handle: str, *, nickname: str = "") -> Contact:
        """Put somebody on the list, or give them another nickname. They are let in with that.

        ```python
        with Client.open("profiles/alice") as me:
            me.people.add("@bob", nickname="Bobby")
        ```
        """
        return self._loop.call(self._inner.add, handle, nickname=nickname)

    def remove(self, handle: str) -> None:
        """Take somebody off the list.

        ```python
        with Client.open("profiles/alice") as me:
            me.people.add("@bob")
            me.people.remove("@bob")
        ```
        """
        self._loop.call(self._inner.remove, handle)

    def requests(self) -> list[Request]:
        """Strangers who have written and wait to be let in, the earliest first.

        ```python
        with Client.open("profiles/alice") as me:
            for request in me.people.requests():
                print(f"@{request.peer} wants to talk: {request.count} messages")
        ```
        """
        return self._loop.call(self._inner.requests)

    def accept(self, handle: str) -> None:
        """Let somebody in, also if they were turned away before: what they wrote is delivered.

        Raises ClientError if they have not written.

        ```python
        with Client.open("profiles/alice") as me:
            for request in me.people.requests():
                me.people.accept(request.peer)
        ```
        """
        self._loop.call(self._inner.accept, handle)

    def decline(self, handle: str) -> None:
        """Turn somebody away. They are not told, and what they write further stays where it is.

        ```python
        with Client.open("profiles/alice") as me:
            for request in me.people.requests():
                me.people.decline(request.peer)
        ```
        """
        self._loop.call(self._inner.decline, handle)

    def block(self, handle: str) -> None:
        """Get nothing more from somebody; holds once this returns. They are not told.

        ```python
        with Client.open("profiles/alice") as me:
            me.people.block("@bob")
        ```
        """
        self._loop.call(self._inner.block, handle)

    def unblock(self, handle: str) -> None:
        """Lift a block. What was written meanwhile stays hidden.

        ```python
        with Client.open("profiles/alice") as me:
            me.people.unblock("@bob")
        ```
        """
        self._loop.call(self._inner.unblock, handle)

    def blocked(self) -> list[Person]:
        """Those who are blocked, by handle; only ids and handles are told.

        ```python
        with Client.open("profiles/alice") as me:
            print([person.handle for person in me.people.blocked()])
        ```
        """
        return self._loop.call(self._inner.blocked)

    def report(self, handle: str, reason: str, *, messages: Sequence[SomeMessage] = ()) -> None:
        """Tell the server's operator about somebody: why, and which messages (their names only).

        Quote in the reason what the operator should read. Blocks nobody.

        ```python
        with Client.open("profiles/alice") as me:
            me.people.report("@bob", "sends the same advertisement every day")
        ```
        """
        self._loop.call(self._inner.report, handle, reason, messages=messages)

    def privacy(self) -> dict[str, str]:
        """Who is shown what: last_seen, picture, receipts, phone → everyone, contacts or nobody.

        So is `groups`: who may add this user to groups; others may send a link.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.people.privacy()["last_seen"])
        ```
        """
        return self._loop.call(self._inner.privacy)

    def set_privacy(self, what: str, who: str) -> None:
        """Show something to everyone, contacts or nobody (or let them: `groups`); holds once this returns.

        Raises Refused (invalid).

        ```python
        with Client.open("profiles/alice") as me:
            me.people.set_privacy("last_seen", "contacts")
        ```
        """
        self._loop.call(self._inner.set_privacy, what, who)


class Groups:
    """`me.groups`. What a role does not allow is refused with group_rights."""

    def __init__(self, loop: LoopThread, inner: AsyncGroups) -> None:
        self._loop = loop
        self._inner = inner

    def create(
        self,
        name: str,
        handles: Sequence[str] = (),
        *,
        about: str = "",
        channel: bool = False,
        rules: Rules | None = None,
    ) -> Group:
        """Make a group of this user and those of some handles; with `channel`, one in which admins write.

        It is in the profile before it is asked for, and made once, whatever is cut off. While offline this
        waits; if the wait is cancelled the group is made later. Raises Refused (no_such_user, not_addable,
        group_full): there is no group then; ClientError for a name that is none.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"], about="All of us")
            me.send(family.peer, "Hello everybody")
        ```
        """
        return self._loop.call(self._inner.create, name, handles, about=about, channel=channel, rules=rules)

    def get(self, group: SomeGroup) -> Group:
        """A group as the profile has it; the server is asked where that knows none.

        Raises ClientError if there is none, or if there are several of that name; Refused.

        ```python
        with Client.open("profiles/alice") as me:
            me.groups.create("Family", ["@bob"])
            print(me.groups.get("#Family").count)
        ```
        """
        return self._loop.call(self._inner.get, group)

    def refresh(self, group: SomeGroup) -> Group:
        """The same, as the server has it now. Raises Refused (no_such_conversation: one is in it no more).

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            print(me.groups.refresh(family).version)
        ```
        """
        return self._loop.call(self._inner.refresh, group)

    def members(
        self, group: SomeGroup, *, after: UserId | None = None, limit: int = 1000
    ) -> list[GroupMember]:
        """Who is in a group, by id: the first of them, or those after one. Nobody is left once it is empty.

        Raises Refused (group_rights: of a channel, admins alone are told).

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            for member in me.groups.members(family):
                print(member.handle, member.role.name)
        ```
        """
        return self._loop.call(self._inner.members, group, after=after, limit=limit)

    def add(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Add users; who waits to be let in is in with that.

        Raises Refused (not_addable: nobody was added, send them a link; no_such_user, group_full).

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family")
            me.groups.add(family, ["@bob"])
        ```
        """
        return self._loop.call(self._inner.add, group, handles)

    def remove(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Remove members: they get nothing more of what is said. Raises Refused.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            me.groups.remove(family, ["@bob"])
        ```
        """
        return self._loop.call(self._inner.remove, group, handles)

    def leave(self, group: SomeGroup) -> None:
        """Be in a group no more; what was said stays in the profile. An owner hands it over first.

        Raises Refused (group_rights).

        ```python
        with Client.open("profiles/bob") as me:
            choir = me.groups.create("Choir")
            me.groups.leave(choir)
        ```
        """
        self._loop.call(self._inner.leave, group)

    def promote(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Make members admins; the owner does.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            me.groups.promote(family, ["@bob"])
        ```
        """
        return self._loop.call(self._inner.promote, group, handles)

    def demote(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Make admins ordinary members again; the owner does.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            me.groups.promote(family, ["@bob"])
            me.groups.demote(family, ["@bob"])
        ```
        """
        return self._loop.call(self._inner.demote, group, handles)

    def transfer(self, group: SomeGroup, handle: str) -> Group:
        """Make a member the owner; who was it is an admin from then on.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            me.groups.transfer(family, "@bob")
            me.groups.leave(family)
        ```
        """
        return self._loop.call(self._inner.transfer, group, handle)

    def presence(self, group: SomeGroup, *, after: UserId | None = None) -> list[Presence]:
        """Watch a page of members (at most 100, by id) instead of those before; how they are right now.

        What changes is told as by `OwnPresence.watch`.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            for one in me.groups.presence(family):
                print(one.handle, "is there" if one.online else "is away")
        ```
        """
        return self._loop.call(self._inner.presence, group, after=after)

    def rename(self, group: SomeGroup, name: str) -> Group:
        """Give a group another name. Raises Refused, ClientError for what is no name.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            me.groups.rename(family, "Family and friends")
        ```
        """
        return self._loop.call(self._inner.rename, group, name)

    def describe(self, group: SomeGroup, about: str) -> Group:
        """Say what a group is for; empty says nothing.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            me.groups.describe(family, "All of us, and the dog")
        ```
        """
        return self._loop.call(self._inner.describe, group, about)

    def picture(self, group: SomeGroup) -> bytes | None:
        """A group's picture (PNG, JPEG or WebP), if it has one. Raises Refused, Unreachable.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            print(me.groups.picture(family) or "no picture")
        ```
        """
        return self._loop.call(self._inner.picture, group)

    def set_picture(self, group: SomeGroup, path: str | Path) -> Group:
        """Give a group a picture: a file with a PNG, JPEG or WebP of at most 64 KiB. Raises OSError, Refused.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            me.groups.set_picture(family, "family.png")
        ```
        """
        return self._loop.call(self._inner.set_picture, group, path)

    def remove_picture(self, group: SomeGroup) -> Group:
        """Take a group's picture away.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            me.groups.set_picture(family, "family.png")
            me.groups.remove_picture(family)
        ```
        """
        return self._loop.call(self._inner.remove_picture, group)

    def set_rules(
        self,
        group: SomeGroup,
        *,
        write: GroupRole | None = None,
        add: GroupRole | None = None,
        edit: GroupRole | None = None,
        approval: bool | None = None,
    ) -> Group:
        """Say who may do what: the least role that may. What is not named stays.

        In a group of announcements, admins alone write.

        ```python
        from tidings.client import GroupRole
        from tidings.client.blocking import Client

        with Client.open("profiles/alice") as me:
            news = me.groups.create("News", ["@bob"])
            me.groups.set_rules(news, write=GroupRole.ADMIN, approval=True)
        ```
        """
        return self._loop.call(
            self._inner.set_rules, group, write=write, add=add, edit=edit, approval=approval
        )

    def pin(self, message: SomeMessage) -> Group:
        """Pin a message of a group, for everyone in it; at most 8. Raises Refused.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            me.groups.pin(me.send(family.peer, "Supper is at seven"))
        ```
        """
        return self._loop.call(self._inner.pin, message)

    def unpin(self, message: SomeMessage) -> Group:
        """Pin a message no more.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family", ["@bob"])
            sent = me.send(family.peer, "Supper is at seven")
            me.groups.pin(sent)
            me.groups.unpin(sent)
        ```
        """
        return self._loop.call(self._inner.unpin, message)

    def link(self, group: SomeGroup, *, expires_in_s: float = LINK_S) -> str:
        """Make an invite link: who gets it may join, for so long (at most 90 days) or until it is revoked.

        Raises Refused (group_rights, too_large: there are 8).

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family")
            me.send("@bob", "Join us: " + me.groups.link(family))
        ```
        """
        return self._loop.call(self._inner.link, group, expires_in_s=expires_in_s)

    def unlink(self, group: SomeGroup, link: str = "") -> Group:
        """Revoke an invite link; all of them, if none is given.

        ```python
        with Client.open("profiles/alice") as me:
            family = me.groups.create("Family")
            link = me.groups.link(family)
            me.groups.unlink(family, link)
        ```
        """
        return self._loop.call(self._inner.unlink, group, link)

    def preview(self, link: str) -> Invitation:
        """What an invite link leads to. Raises Refused (bad_link), ClientError for what is no link.

        ```python
        with Client.open("profiles/alice") as me:
            link = me.groups.link(me.groups.create("Family"))
            print(me.groups.preview(link).name)
        ```
        """
        return self._loop.call(self._inner.preview, link)

    def join(self, link: str) -> Group | None:
        """Join a group by an invite link; None: somebody has to let this user in first.

        Raises Refused (bad_link, group_full), ClientError for what is no link.

        ```python
        with Client.open("profiles/alice") as alice, Client.open("profiles/bob") as bob:
            link = alice.groups.link(alice.groups.create("Family"))
            family = bob.groups.join(link)
            assert family is not None and family.name == "Family"
        ```
        """
        return self._loop.call(self._inner.join, link)

    def let_in(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Let those in who wait (`Group.waiting`).

        ```python
        with Client.open("profiles/alice") as alice, Client.open("profiles/bob") as bob:
            family = alice.groups.create("Family", rules=Rules(approval=True))
            assert bob.groups.join(alice.groups.link(family)) is None
            alice.groups.let_in(family, ["@bob"])
        ```
        """
        return self._loop.call(self._inner.let_in, group, handles)

    def turn_away(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Do not let those in who wait. They are not told.

        ```python
        with Client.open("profiles/alice") as alice, Client.open("profiles/bob") as bob:
            family = alice.groups.create("Family", rules=Rules(approval=True))
            assert bob.groups.join(alice.groups.link(family)) is None
            alice.groups.turn_away(family, ["@bob"])
        ```
        """
        return self._loop.call(self._inner.turn_away, group, handles)

    def list(self) -> list[Group]:
        """The groups and channels that the user is in, by name. Works offline.

        ```python
        with Client.open("profiles/alice") as me:
            for group in me.groups.list():
                print(group.name, group.count, group.role.name)
        ```
        """
        return self._loop.call(self._inner.list)


class OwnPresence:
    """`me.presence`: watches others."""

    def __init__(self, loop: LoopThread, inner: AsyncOwnPresence) -> None:
        self._loop = loop
        self._inner = inner

    def watch(self, handles: Sequence[str]) -> list[Presence]:
        """Watch these users (at most 100) instead of those before; returns how they are right now.

        From then on their coming and going is told by `changes()`, and by `Client.events()`.
        An empty list ends it. Waits while offline. Raises Refused (no_such_user, too_large).

        ```python
        with Client.open("profiles/alice") as me:
            (bob,) = me.presence.watch(["@bob"])
            print("online" if bob.online else "away")
        ```
        """
        return self._loop.call(self._inner.watch, handles)

    def changes(self, *, timeout_s: float | None = None) -> Iterator[PresenceEvent]:
        """Yield what changes about those who are watched, also with `receive=False`. One loop at a time.
        With `timeout_s` the loop ends quietly once nothing came for so long.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.presence.watch(["@bob"])
            for change in me.presence.changes():
                print(change.handle, "came" if change.online else "went")
        ```
        """
        return self._loop.iterate(self._inner.changes, timeout_s)


class OwnAccount:
    """`me.account`. Every method asks the server and raises Refused, Unreachable."""

    def __init__(self, loop: LoopThread, inner: AsyncOwnAccount) -> None:
        self._loop = loop
        self._inner = inner

    def info(self) -> AccountInfo:
        """What the server knows of the account.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            print(me.account.info().handle)
        ```
        """
        return self._loop.call(self._inner.info)

    def rename(self, handle: str) -> AccountInfo:
        """Take another handle; the present one is kept for this account for a while.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.rename("alice.b")
        ```
        """
        return self._loop.call(self._inner.rename, handle)

    def change_password(
        self, password: str, new_password: str, *, code: str = "", sign_out_others: bool = True
    ) -> None:
        """Have another password. All other devices are signed out, unless told not to.

        `code` is of the second factor, if there is one.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.change_password("a long secret", "an even longer secret")
        ```
        """
        self._loop.call(
            self._inner.change_password, password, new_password, code=code, sign_out_others=sign_out_others
        )

    def begin_second_factor(self, password: str) -> FactorBegun:
        """Get the secret for an authenticator app; it is in force once `confirm_second_factor` was called.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            begun = me.account.begin_second_factor("a long secret")
            print(begun.uri)
        ```
        """
        return self._loop.call(self._inner.begin_second_factor, password)

    def confirm_second_factor(self, code: str) -> list[str]:
        """Put it in force with the app's first code; returns recovery codes, which are shown this once.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            begun = me.account.begin_second_factor("a long secret")
            print(begun.uri)
            codes = me.account.confirm_second_factor(input("The app says: "))
        ```
        """
        return self._loop.call(self._inner.confirm_second_factor, code)

    def remove_second_factor(self, password: str, code: str) -> None:
        """Be asked for no code any more; `code` may be a recovery code.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            begun = me.account.begin_second_factor("a long secret")
            codes = me.account.confirm_second_factor(input("The app says: "))
            me.account.remove_second_factor("a long secret", codes[0])
        ```
        """
        self._loop.call(self._inner.remove_second_factor, password, code)

    def set_phone(self, phone: str) -> None:
        """Have a code sent to a phone number, written with + and the country's code.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.set_phone("+49 30 123456")
        ```
        """
        self._loop.call(self._inner.set_phone, phone)

    def confirm_phone(self, code: str) -> AccountInfo:
        """Prove with the code that the number is one's own.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.set_phone("+49 30 123456")
            me.account.confirm_phone(input("The code: "))
        ```
        """
        return self._loop.call(self._inner.confirm_phone, code)

    def remove_phone(self) -> None:
        """Have the number forgotten.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.remove_phone()
        ```
        """
        self._loop.call(self._inner.remove_phone)

    def set_profile(self, *, name: str | None = None, about: str | None = None) -> AccountInfo:
        """Say who one is: a name, and a text about oneself. None leaves one as it is, empty removes it.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.set_profile(name="Alice", about="Gone fishing")
        ```
        """
        return self._loop.call(self._inner.set_profile, name=name, about=about)

    def set_picture(self, path: str | Path) -> AccountInfo:
        """Show a picture: a file with a PNG, JPEG or WebP of at most 64 KiB. Raises OSError.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.set_picture("alice.png")
        ```
        """
        return self._loop.call(self._inner.set_picture, path)

    def remove_picture(self) -> AccountInfo:
        """Show no picture any more.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.remove_picture()
        ```
        """
        return self._loop.call(self._inner.remove_picture)

    def export(self, path: str | Path) -> None:
        """Write all that the server has of this user to a new file, as JSON. Raises FileExistsError.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.export("alice.json")
        ```
        """
        self._loop.call(self._inner.export, path)

    def delete(self, password: str, *, code: str = "") -> None:
        """End the account, for good. Messages stay with those to whom they were sent.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            me.account.delete("a long secret")
        ```
        """
        self._loop.call(self._inner.delete, password, code=code)


class OwnDevices:
    """`me.devices`. Every method asks the server and raises Refused, Unreachable."""

    def __init__(self, loop: LoopThread, inner: AsyncOwnDevices) -> None:
        self._loop = loop
        self._inner = inner

    def list(self) -> list[DeviceInfo]:
        """The account's devices, this one among them.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            for device in me.devices.list():
                print(device.device_id, device.name, "(this one)" if device.current else "")
        ```
        """
        return self._loop.call(self._inner.list)

    def rename(self, device_id: str, name: str) -> DeviceInfo:
        """Give a device another name.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            (device, *_) = me.devices.list()
            me.devices.rename(device.device_id, "Alice's tablet")
        ```
        """
        return self._loop.call(self._inner.rename, device_id, name)

    def sign_out(self, device_id: str) -> None:
        """End a device: its token is dead, its connections are closed, and it reads nothing from then on.

        One's own may be named, too. If the device may be in wrong hands, see `revoke_stolen`.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            for device in me.devices.list():
                if device.name == "the stolen phone":
                    me.devices.sign_out(device.device_id)
        ```
        """
        self._loop.call(self._inner.sign_out, device_id)

    def revoke_stolen(self, device_id: str, password: str, *, code: str = "") -> None:
        """End a device that may be in wrong hands, and with it the identity whose key is on it.

        The user gets another identity, signed by the one before; people see that it has changed, and
        safety numbers are to be compared again. `code` is of the second factor.

        ```python
        with Client.open("profiles/alice") as me:
            for device in me.devices.list():
                if device.name == "the stolen phone":
                    me.devices.revoke_stolen(device.device_id, "a long secret")
        ```
        """
        self._loop.call(self._inner.revoke_stolen, device_id, password, code=code)

    def link_code(self) -> str:
        """A code for this device, which is new: `approve` it on one that is in. Another call makes another.

        ```python
        with Client.open("profiles/tablet") as me:
            print("On your other device: tidings link", me.devices.link_code())
        ```
        """
        return self._loop.call(self._inner.link_code)

    def approve(self, code: str) -> DeviceId:
        """Let the device in that shows a code; from now on it can read. Raises ClientError if none does.

        ```python
        with Client.open("profiles/alice") as me:
            me.devices.approve("7K3QX-M0TB4")
        ```
        """
        return self._loop.call(self._inner.approve, code)

    def is_linked(self) -> bool:
        """Whether this device is in, and can read and write what is encrypted.

        ```python
        with Client.open("profiles/tablet") as me:
            if not me.devices.is_linked():
                print("not yet")
        ```
        """
        return self._loop.call(self._inner.is_linked)

    def linked(self) -> None:
        """Wait until this device is in.

        ```python
        with Client.open("profiles/tablet") as me:
            print("On your other device: tidings link", me.devices.link_code())
            me.devices.linked()
        ```
        """
        self._loop.call(self._inner.linked)

    def start_over(self, password: str, *, code: str = "") -> None:
        """Begin with another identity on this device, because every device that was linked is lost.

        Those are logged out. Nothing that was written before can be read here; people see that the
        identity was replaced, and safety numbers are to be compared again. `code` is of the second
        factor. Raises ClientError on a device that is linked.

        ```python
        Client.login(
            "http://127.0.0.1:8080", handle="alice", password="a long secret", profile="profiles/tablet"
        )
        with Client.open("profiles/tablet") as me:
            me.devices.start_over("a long secret")
        ```
        """
        self._loop.call(self._inner.start_over, password, code=code)


class Safety:
    """`me.safety`."""

    def __init__(self, loop: LoopThread, inner: AsyncSafety) -> None:
        self._loop = loop
        self._inner = inner

    def number(self, peer: str) -> SafetyNumber:
        """The safety number with somebody. Raises Refused, ClientError if they have no keys.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.safety.number("@bob"))
        ```
        """
        return self._loop.call(self._inner.number, peer)

    def verify(self, peer: str, scanned: bytes | None = None) -> SafetyNumber:
        """Note that the safety number was compared, and is the same; or compare a scanned QR code.

        Raises ClientError if what was scanned is another one's, or of other keys.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.safety.number("@bob"))
            if input("Is it the same at bob's? ") == "yes":
                me.safety.verify("@bob")
        ```
        """
        return self._loop.call(self._inner.verify, peer, scanned)

    def accept(self, peer: str) -> None:
        """Go on after a change of identity, without having compared (see `Surroundings.strict`).

        ```python
        with Client.open("profiles/alice") as me:
            me.safety.accept("@bob")
        ```
        """
        self._loop.call(self._inner.accept, peer)


class Client:
    """A device of an account. Make its profile once, then open it as often as you like.

    ```python
    from tidings.client.blocking import Client

    Client.register(
        "http://127.0.0.1:8080", handle="alice", password="a long secret", profile="profiles/alice"
    )
    with Client.open("profiles/alice") as me:
        me.send("@bob", "hello")
    ```
    """

    def __init__(self, inner: AsyncClient) -> None:
        """Use `Client.open`."""
        self._inner = inner
        self._loop = LoopThread()

    @classmethod
    def register(
        cls,
        url: str,
        *,
        handle: str,
        password: str,
        profile: str | Path,
        device_name: str = "",
        invite: str = "",
        key: Keep | None = None,
        sealed: bool = True,
    ) -> Account:
        """Make an account on a server, and a profile for it in an empty (or new) folder.

        The server is shown a secret that is derived from the password, never the password. The profile
        is encrypted; `key` says how its key is kept (see `protect`): by default in a file beside it.
        With `sealed` false nothing that is sent is end-to-end encrypted, and nobody can encrypt for it.
        Raises Refused (handle_taken, bad_handle, bad_invite, …), ClientError (a short password),
        Unreachable, ProfileExists, ProfileLocked (the key cannot be kept so).

        ```python
        account = Client.register(
            "http://127.0.0.1:8080", handle="alice", password="a long secret", profile="profiles/alice"
        )
        ```
        """
        return LoopThread.once(
            AsyncClient.register,
            url,
            handle=handle,
            password=password,
            profile=profile,
            device_name=device_name,
            invite=invite,
            key=key,
            sealed=sealed,
        )

    @classmethod
    def login(
        cls,
        url: str,
        *,
        handle: str,
        password: str,
        profile: str | Path,
        device_name: str = "",
        code: str = "",
        plain_password: bool = False,
        key: Keep | None = None,
        sealed: bool = True,
    ) -> Account:
        """Make a further device of an account, with a profile of its own.

        It receives what comes from now on; what was before is in `history`.
        `code` is of the second factor, if the account has one. With `plain_password` the password itself
        is sent where the server says that the account was made so. `key` says how the profile's key is
        kept, and whether messages are encrypted, as with `register`.
        What is encrypted the device can read once it is linked (see `OwnDevices.link_code`).
        Raises Refused (wrong_credentials, code_needed, too_many_devices, …), Unreachable, ProfileExists,
        ClientError (the server wants the password, or a weak secret).

        ```python
        account = Client.login(
            "http://127.0.0.1:8080", handle="alice", password="a long secret", profile="profiles/tablet"
        )
        ```
        """
        return LoopThread.once(
            AsyncClient.login,
            url,
            handle=handle,
            password=password,
            profile=profile,
            device_name=device_name,
            code=code,
            plain_password=plain_password,
            key=key,
            sealed=sealed,
        )

    @classmethod
    def protect(
        cls, profile: str | Path, *, key: Keep, passphrase: str | Callable[[], str] | None = None
    ) -> Account:
        """Give a profile another key, and keep it in another way.

        `key` is a `Passphrase`, a `Keyring` or a `KeyFile`; `passphrase` is the one that it has now, if any.
        The database is written anew under the new key; the old one, and old copies of the profile, keep
        the old key. No other program may have the profile open. When this raises, nothing has changed.
        Raises ProfileLocked (a wrong passphrase, no keyring, a file that exists, …), ProfileInUse,
        ProfileMissing, ProfileDamaged, StorageFailed.

        ```python
        Client.protect("profiles/alice", key=Passphrase("some words of my own"))
        with Client.open("profiles/alice", passphrase="some words of my own") as me:
            print(me.handle)
        ```
        """
        return LoopThread.once(AsyncClient.protect, profile, key=key, passphrase=passphrase)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        receive: bool | None = True,
        passphrase: str | Callable[[], str] | None = None,
        surroundings: Surroundings | None = None,
    ) -> "Client":
        """Open a profile, as a context; the connection is made in the background.

        Opening works while the server is away. With `receive` false this is a side client: it
        sends and asks, beside another process that receives, and has no events. With None it receives
        if no other process does.
        `passphrase` is what the profile's key is kept under, or a function that asks for it, which is called
        (on another thread) only if there is one. With None it is read from the file that
        TIDINGS_PASSPHRASE_FILE names.
        Entering raises ProfileMissing, ProfileLocked (a wrong passphrase, no key file, …), ProfileInUse,
        ProfileDamaged, ProfileTooNew, StorageFailed.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.handle)
        ```
        """
        return cls(AsyncClient.open(path, receive=receive, passphrase=passphrase, surroundings=surroundings))

    def __enter__(self) -> Me:
        self._loop.open(self._inner)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def handle(self) -> str:
        """Who this is, without the @.

        ```python
        with Client.open("profiles/alice") as me:
            assert me.handle == "alice"
        ```
        """
        return self._inner.handle

    def send(
        self,
        peer: str,
        text: str | bytes,
        *,
        content_type: str = TEXT,
        reply_to: SomeMessage | None = None,
        expires_in_s: float | None = None,
        silent: bool = False,
    ) -> SentMessage:
        """Send a message to the user of a handle, or to a group; returns once it is on the server's disk.

        A group is called by its name, like `#Family`, or by `#` and its id (`Group.peer`). In it, `@handle`
        mentions a member.

        The message is on this machine's disk first and is sent exactly once, however often the
        connection, the server or this process dies in between. While offline this waits; if the
        wait is cancelled the message stays in the outbox and goes out later.
        With `expires_in_s` it vanishes so long after it was sent, everywhere; else the chat's timer
        holds. A `silent` one disturbs nobody.
        Raises Refused (no_such_user, too_large, request_pending, …): the message was removed;
        SessionEnded, StorageFailed, ClientClosed: it stays, if it was stored; ClientError for what is no
        text, or no time: nothing was stored.

        ```python
        with Client.open("profiles/alice") as me:
            sent = me.send("@bob", "hello")
            me.send("@bob", "and one more thing", reply_to=sent, expires_in_s=3600)
        ```
        """
        return self._loop.call(
            self._inner.send,
            peer,
            text,
            content_type=content_type,
            reply_to=reply_to,
            expires_in_s=expires_in_s,
            silent=silent,
        )

    def events(self, *, timeout_s: float | None = None) -> Iterator[Event]:
        """What happens: a MessageEvent for each message that comes, and all that changes what is shown.

        A message that arrived is stored, and is yielded until the program has asked for the event
        after it, also by an earlier process that was killed: none is lost, and only the one that
        was being worked on is seen again. One loop at a time. Ends with `close`.
        Raises SessionEnded, StorageFailed.
        With `timeout_s` the loop ends quietly once nothing came for so long.

        ```python
        with Client.open("profiles/bob") as me:
            for event in me.events():
                if isinstance(event, MessageEvent):
                    print(f"{event.sender}: {event.text}")
        ```
        """
        return self._loop.iterate(self._inner.events, timeout_s)

    def history(
        self, peer: str, *, limit: int = 50, before: MessageId | None = None, after: MessageId | None = None
    ) -> list[Message]:
        """Messages of a conversation from the server, in order: the latest, or those before or after one.

        `peer` is a handle, or a group as `send` takes it. Of a group that one is in no more the server tells
        nothing: of that it is what the profile has.

        Waits while offline. Raises Refused (no_such_user, invalid, …), SessionEnded.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            for message in me.history("@bob", limit=20):
                print(message.sender, message.text, message.status.name)
        ```
        """
        return self._loop.call(self._inner.history, peer, limit=limit, before=before, after=after)

    def mark_read(self, peer: str, *, up_to: MessageId | None = None) -> MessageId | None:
        """Say that the user has read what came from somebody, up to the newest received here.

        Returns as soon as that is stored in the profile; it is told to the server now or after
        the next connect (see `flushed`). Returns up to where, None if nothing was received.
        Raises ClientError if there cannot be such a message yet; Refused (no_such_user).

        ```python
        with Client.open("profiles/bob") as me:
            me.mark_read("@alice")
        ```
        """
        return self._loop.call(self._inner.mark_read, peer, up_to=up_to)

    def state(self, *, messages: int = 200) -> State:
        """What the profile has, with so many of the newest messages of each conversation.

        Give it each event of `events()`, and it stays what a fresh one would be.
        Raises ClientError for less than one message.

        ```python
        with Client.open("profiles/bob") as me:
            for chat in me.state().chats:
                print(chat.peer, chat.unread)
        ```
        """
        return self._loop.call(self._inner.state, messages=messages)

    def flushed(self) -> None:
        """Wait until nothing waits in the profile: messages are sent, reads and settings are told.

        That includes what an earlier process left behind. Raises SessionEnded, StorageFailed.

        ```python
        with Client.open("profiles/bob", receive=False) as me:
            me.flushed()
        ```
        """
        self._loop.call(self._inner.flushed)

    @property
    def trouble(self) -> str:
        """Why there is no connection right now; empty if there is one, or none was tried yet.

        ```python
        with Client.open("profiles/bob") as me:
            print(me.trouble or "fine")
        ```
        """
        return self._inner.trouble

    def close(self) -> None:
        """Close the connection and the profile. What waits in the outbox stays there.

        ```python
        me = Client.open("profiles/alice").__enter__()
        me.close()
        ```
        """
        self._loop.close(self._inner.close)

    @property
    def account(self) -> OwnAccount:
        """One's own account: handle, password, second factor, phone, export, end.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            print(me.account.info())
        ```
        """
        return OwnAccount(self._loop, self._inner.account)

    @property
    def devices(self) -> OwnDevices:
        """The account's devices.

        ```python
        with Client.open("profiles/alice", receive=False) as me:
            print(me.devices.list())
        ```
        """
        return OwnDevices(self._loop, self._inner.devices)

    @property
    def messages(self) -> Messages:
        """What can be done about messages: edit, delete, react, forward, star, …

        ```python
        with Client.open("profiles/alice") as me:
            print(me.messages.recent("@bob"))
        ```
        """
        return Messages(self._loop, self._inner.messages)

    @property
    def chats(self) -> Chats:
        """The conversations: unread, pinned, muted, drafts, typing, …

        ```python
        with Client.open("profiles/alice") as me:
            print(me.chats.list())
        ```
        """
        return Chats(self._loop, self._inner.chats)

    @property
    def people(self) -> People:
        """Others: look-ups, contacts, requests, blocks, reports; and what they are shown.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.people.contacts())
        ```
        """
        return People(self._loop, self._inner.people)

    @property
    def groups(self) -> Groups:
        """Groups and channels: make them, join and leave, who is in them and who may what.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.groups.list())
        ```
        """
        return Groups(self._loop, self._inner.groups)

    @property
    def safety(self) -> Safety:
        """Whether the keys that one encrypts for are those of the people that one means.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.safety.number("@bob"))
        ```
        """
        return Safety(self._loop, self._inner.safety)

    @property
    def presence(self) -> OwnPresence:
        """Who is there.

        ```python
        with Client.open("profiles/alice") as me:
            print(me.presence.watch(["@bob"]))
        ```
        """
        return OwnPresence(self._loop, self._inner.presence)
