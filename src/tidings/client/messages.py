"""Messages: what can be done about one that is there.

Edits, deletes and reactions are messages themselves: they go through the outbox, in the order in which
they were written, and reach every device that has the message.

spec §6.3
"""

from tidings.client import keys, transcript
from tidings.client.conversations import Ask, Conversations, Known, normal
from tidings.client.errors import ClientError
from tidings.client.history import fetch
from tidings.client.outbox import Draft
from tidings.client.settings import Settings
from tidings.client.syncing import Syncing
from tidings.client.transcript import Self
from tidings.client.transmitter import Transmitter
from tidings.client.values import MANY, TEXT, Message, MessageTimes, SentMessage, bounded, encoded
from tidings.client.vault import Job, Vault
from tidings.protocol.frames import Info, MessageInfo, Reference, Relation, SettingKind
from tidings.protocol.ids import ConversationId, MessageId

SomeMessage = Message | SentMessage
"""What names a message that is to be replied to, edited, …"""


class Messages:
    """`me.messages`."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        transmitter: Transmitter,
        settings: Settings,
        syncing: Syncing,
        ask: Ask,
        me: Self,
    ) -> None:
        self._vault = vault
        self._conversations = conversations
        self._transmitter = transmitter
        self._settings = settings
        self._syncing = syncing
        self._ask = ask
        self._me = me

    async def recent(self, peer: str, *, limit: int = 50, before: MessageId | None = None) -> list[Message]:
        """The newest messages with somebody, or those before one, as the profile has them; in order.

        Works offline. What is older than this device is in `Client.history`.
        Raises ClientError for less than none.

        ```python
        async with Client.open("profiles/alice") as me:
            for message in await me.messages.recent("@bob"):
                print(message.sender, message.text, message.reactions)
        ```
        """
        bounded("limit", limit, 0, MANY)
        known = await self._conversations.known_peer(normal(peer))
        if known is None:
            return []
        hidden = await self.hidden()
        left: list[Message] = []
        while len(left) < limit:
            found = await self._vault.read(_shown(self._me, known.conversation_id, limit, before))
            left = [one for one in found if one.reference not in hidden and not one.expired] + left
            if len(found) < limit:
                break
            before = found[0].message_id
        return left[-limit:] if limit else []

    async def get(self, reference: Reference) -> Message | None:
        """A message by its name, if the profile has it.

        ```python
        async with Client.open("profiles/alice") as me:
            sent = await me.send("@bob", "hello")
            message = await me.messages.get(sent.reference)
            assert message is not None and message.text == "hello"
        ```
        """
        return await self._vault.read(lambda database: transcript.find(database, self._me, reference))

    async def find(self, peer: str, message_id: MessageId) -> Message:
        """A message by its place in a conversation: from the profile, else from the server.

        Raises ClientError if there is none.

        ```python
        async with Client.open("profiles/alice") as me:
            newest = (await me.history("@bob"))[-1]
            print((await me.messages.find("@bob", newest.message_id)).text)
        ```
        """
        known = await self._conversations.with_peer(normal(peer), self._ask)
        found = await self._vault.read(
            lambda database: transcript.at(database, self._me, known.conversation_id, message_id)
        )
        return found or await self._ask_for(known, message_id)

    async def edit(self, message: SomeMessage, text: str | bytes, *, content_type: str = TEXT) -> SentMessage:
        """Change an own message, for everyone. Returns once the server has it, as `Client.send` does.

        Raises Refused (not_yours, too_late, no_such_message, …).

        ```python
        async with Client.open("profiles/alice") as me:
            sent = await me.send("@bob", "Supper at sevn")
            await me.messages.edit(sent, "Supper at seven")
        ```
        """
        return await self._say(message, Relation.EDIT, encoded(text), content_type)

    async def delete(self, message: SomeMessage) -> SentMessage:
        """Delete an own message for everyone: its content goes from the server and from all devices.

        Raises Refused (not_yours, too_late, …).

        ```python
        async with Client.open("profiles/alice") as me:
            sent = await me.send("@bob", "not for you")
            await me.messages.delete(sent)
        ```
        """
        return await self._say(message, Relation.DELETE, b"", "")

    async def react(self, message: SomeMessage, reaction: str) -> SentMessage:
        """Say something short about a message, instead of what was said before; empty takes it back.

        ```python
        async with Client.open("profiles/alice") as me:
            (newest,) = await me.history("@bob", limit=1)
            await me.messages.react(newest, "👍")
            await me.messages.react(newest, "")
        ```
        """
        return await self._say(message, Relation.REACTION, encoded(reaction), TEXT)

    async def forward(self, message: SomeMessage, peer: str) -> SentMessage:
        """Send what somebody wrote to somebody else, marked as forwarded.

        Raises ClientError if the message is gone or cannot be read; Refused.

        ```python
        async with Client.open("profiles/alice") as me:
            (newest,) = await me.history("@bob", limit=1)
            await me.messages.forward(newest, "@carol")
        ```
        """
        # As it stands now: it may have been deleted since.
        whole = await self.get(message.reference) or message
        if not isinstance(whole, Message) or whole.deleted or whole.expired:
            raise ClientError("cannot forward a message that is gone")
        if whole.fault:
            raise ClientError("cannot forward what cannot be read", "its key may come yet: try later")
        draft = Draft(peer, whole.content_type, whole.content, Relation.FORWARD, by_timer=True)
        return await self._transmitter.send(draft)

    async def info(self, message: SomeMessage) -> MessageTimes:
        """When an own message was delivered and read. Asks the server. Raises Refused (not_yours, …).

        ```python
        async with Client.open("profiles/alice") as me:
            sent = await me.send("@bob", "hello")
            print((await me.messages.info(sent)).read_at or "not read yet")
        ```
        """
        answer = await self._ask(
            lambda request_id: Info(request_id, message.conversation_id, message.message_id)
        )
        assert isinstance(answer, MessageInfo)
        times = answer.members[0] if answer.members else None
        if times is None:
            return MessageTimes(None, None)
        return MessageTimes(times.delivered_at_ms or None, times.read_at_ms or None)

    async def star(self, message: SomeMessage, *, starred: bool = True) -> None:
        """Keep a message at hand, on all of one's devices; or no more.

        ```python
        async with Client.open("profiles/alice") as me:
            (newest,) = await me.history("@bob", limit=1)
            await me.messages.star(newest)
        ```
        """
        value = str(message.message_id).encode() if starred else b""
        await self._settings.set(SettingKind.STAR, _key(message), value)

    async def starred(self) -> list[Message]:
        """The messages that have a star, the newest first. What this profile lacks is asked for.

        ```python
        async with Client.open("profiles/alice") as me:
            for message in await me.messages.starred():
                print(message.peer, message.text)
        ```
        """
        await self._syncing.ready()
        hidden = await self.hidden()
        found = []
        for key, value in (await self._settings.of_kind(SettingKind.STAR)).items():
            if keys.message_named(key) in hidden:
                continue
            message = await self._starred(key, keys.place(value))
            if message is not None and not (message.deleted or message.expired):
                found.append(message)
        return sorted(found, key=lambda message: message.message_id, reverse=True)

    async def hide(self, message: SomeMessage) -> None:
        """Delete a message for oneself, on all of one's devices. The other one keeps it.

        ```python
        async with Client.open("profiles/alice") as me:
            (newest,) = await me.history("@bob", limit=1)
            await me.messages.hide(newest)
        ```
        """
        await self._settings.set(SettingKind.HIDDEN, _key(message), str(message.message_id).encode())

    async def hidden(self) -> set[Reference]:
        """The names of the messages that the user has hidden.

        ```python
        async with Client.open("profiles/alice") as me:
            print(len(await me.messages.hidden()))
        ```
        """
        named = map(keys.message_named, await self._settings.of_kind(SettingKind.HIDDEN))
        return {reference for reference in named if reference is not None}

    async def _say(
        self, message: SomeMessage, relation: Relation, content: bytes, content_type: str
    ) -> SentMessage:
        known = await self._conversations.described(message.conversation_id, self._ask)
        draft = Draft(known.peer, content_type, content, relation, message.reference, message.message_id)
        return await self._transmitter.send(draft)

    async def _starred(self, key: str, place: MessageId) -> Message | None:
        reference = keys.message_named(key)
        if reference is None:
            return None
        message = await self.get(reference)
        if message is not None or not place:
            return message
        try:
            known = await self._conversations.described(_conversation(key), self._ask)
            return await self._ask_for(known, place)
        except ClientError:
            return None

    async def _ask_for(self, known: Known, message_id: MessageId) -> Message:
        await self._syncing.ready()  # its key comes with the inbox
        just_after = MessageId(message_id + 1)
        found = await fetch(self._ask, self._vault, known, self._me, limit=1, before=just_after, after=None)
        if not found or found[-1].message_id != message_id:
            raise ClientError(f"there is no message {message_id} with @{known.peer}")
        return found[-1]


def _shown(
    me: Self, conversation_id: ConversationId, limit: int, before: MessageId | None
) -> Job[list[Message]]:
    return lambda database: transcript.shown(database, me, conversation_id, limit=limit, before=before)


def _key(message: SomeMessage) -> str:
    return keys.of_message(message.conversation_id, message.reference)


def _conversation(key: str) -> ConversationId:
    return ConversationId(bytes.fromhex(key.partition(":")[0]))
