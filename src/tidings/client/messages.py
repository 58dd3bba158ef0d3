"""Messages: what can be done about one that is there.

Edits, deletes, reactions and votes are messages themselves: they go through the outbox, in the order in which
they were written, and reach every device that has the message.

spec §6.3
"""

from collections.abc import Awaitable, Callable, Collection, Sequence

from tidings.client import contents, failures, introductions, keys, names, transcript
from tidings.client.contents import OPTION_CHARS, OPTIONS_MAX, OPTIONS_MIN, QUESTION_CHARS, Poll
from tidings.client.conversations import Ask, Conversations, Known, normal
from tidings.client.errors import ClientError
from tidings.client.group_values import MemberTimes
from tidings.client.history import fetch, kept
from tidings.client.outbox import Draft
from tidings.client.settings import Settings
from tidings.client.surroundings import Clock
from tidings.client.syncing import Syncing
from tidings.client.transcript import Self
from tidings.client.transmitter import Transmitter
from tidings.client.values import (
    MANY,
    TEXT,
    FailedMessage,
    Message,
    MessageTimes,
    SentMessage,
    bounded,
    encoded,
)
from tidings.client.vault import Vault
from tidings.protocol.frames import Info, MessageInfo, Reference, Relation, SettingKind
from tidings.protocol.ids import ConversationId, MessageId, UserId

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
        mentioned: Callable[[str, Collection[str]], Awaitable[dict[str, UserId]]],
        clock: Clock,
    ) -> None:
        """`mentioned`: those of some handles who are in a group, by handle."""
        self._mentioned = mentioned
        self._clock = clock
        self._vault = vault
        self._conversations = conversations
        self._transmitter = transmitter
        self._settings = settings
        self._syncing = syncing
        self._ask = ask
        self._me = me

    async def recent(self, peer: str, *, limit: int = 50, before: MessageId | None = None) -> list[Message]:
        """The newest messages with somebody or in a group, or those before one, as the profile has them.

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
        return await kept(
            self._vault, known, self._me, limit=limit, before=before, hidden=await self.hidden()
        )

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
        content = encoded(text)
        known = await self._conversations.described(message.conversation_id, self._ask)
        if known.is_group and content_type == TEXT and isinstance(text, str):
            users = await self._mentioned(known.peer, contents.handles_in(text))
            content_type, content = contents.marked(text, users)
        return await self._say(message, Relation.EDIT, content, content_type)

    async def delete(self, message: SomeMessage) -> SentMessage:
        """Delete an own message for everyone: its content goes from the server and from all devices.

        In a group, admins delete those of others, too. Raises Refused (not_yours, too_late, …).

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

    async def poll(
        self, peer: str, question: str, options: Sequence[str], *, multiple: bool = False
    ) -> SentMessage:
        """Ask something, with options to choose from: one, or with `multiple` several.

        Raises ClientError for fewer than two options or what is too long; else as `Client.send`.

        ```python
        async with Client.open("profiles/alice") as me:
            asked = await me.messages.poll("@bob", "When?", ["at six", "at seven"])
            await me.messages.vote(asked, [1])
        ```
        """
        made = _poll(question, options, multiple=multiple)
        peer = await self._conversations.address(normal(peer), self._ask)
        return await self._transmitter.send(
            Draft(peer, contents.POLL, contents.poll_bytes(made), by_timer=True)
        )

    async def vote(self, message: SomeMessage, options: Sequence[int]) -> SentMessage:
        """Choose options of a poll by their numbers, from 0, instead of those before; none takes it back.

        Raises ClientError if it has no such options; Refused.

        ```python
        async with Client.open("profiles/alice") as me:
            asked = await me.messages.poll("@bob", "When?", ["at six", "at seven"])
            await me.messages.vote(asked, [0])
            await me.messages.vote(asked, [])
        ```
        """
        whole = await self.get(message.reference) or message
        poll = whole.poll if isinstance(whole, Message) else None
        if poll is None:
            raise ClientError("cannot vote: this is no poll that is known here", "name the poll itself")
        if any(not 0 <= option < len(poll.options) for option in options):
            raise ClientError(
                f"the poll has the options 0 to {len(poll.options) - 1}", "`Message.poll` has them in order"
            )
        if len(set(options)) > 1 and not poll.multiple:
            raise ClientError("only one option of this poll may be chosen", "choose one of them")
        return await self._say(message, Relation.VOTE, contents.vote_bytes(options), contents.VOTE)

    async def forward(self, message: SomeMessage, peer: str) -> SentMessage:
        """Send what somebody wrote to somebody else, or to a group, marked as forwarded.

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
        if whole.change is not None:
            raise ClientError("cannot forward what the server says of a group", "write it in your own words")
        peer = await self._conversations.address(normal(peer), self._ask)
        content_type, content = whole.content_type, whole.content
        if content_type == contents.MARKED:
            # Whom it mentions may be nobody there.
            content_type, content = TEXT, encoded(whole.text)
        draft = Draft(peer, content_type, content, Relation.FORWARD, by_timer=True)
        return await self._transmitter.send(draft)

    async def info(self, message: SomeMessage) -> MessageTimes:
        """When an own message was delivered and read. Asks the server. Raises Refused (not_yours, …).

        Of a message in a group: by all. `receipts` tells of each.

        ```python
        async with Client.open("profiles/alice") as me:
            sent = await me.send("@bob", "hello")
            print((await me.messages.info(sent)).read_at or "not read yet")
        ```
        """
        times = await self._info(message)
        return MessageTimes(
            _once_all([delivered for delivered, _ in times.values()]),
            _once_all([read for _, read in times.values()]),
        )

    async def receipts(self, message: SomeMessage) -> list[MemberTimes]:
        """When an own message reached each of the others, by handle. Asks the server.

        Raises Refused (not_yours, …).

        ```python
        async with Client.open("profiles/alice") as me:
            sent = await me.send("@bob", "hello")
            for times in await me.messages.receipts(sent):
                print(times.handle, times.read_at or "not read yet")
        ```
        """
        known = await self._conversations.described(message.conversation_id, self._ask)
        times = await self._info(message)
        if not known.is_group:
            return [MemberTimes(known.peer, one[0] or None, one[1] or None) for one in times.values()]
        await introductions.learn(self._vault, times, self._ask)
        called = await self._vault.read(lambda database: names.of(database, times))
        found = [MemberTimes(called[who], one[0] or None, one[1] or None) for who, one in times.items()]
        return sorted(found, key=lambda one: one.handle)

    async def _info(self, message: SomeMessage) -> dict[UserId, tuple[int, int]]:
        answer = await self._ask(
            lambda request_id: Info(request_id, message.conversation_id, message.message_id)
        )
        assert isinstance(answer, MessageInfo)
        return {one.user_id: (one.delivered_at_ms, one.read_at_ms) for one in answer.members}

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

    async def failed(self) -> list[FailedMessage]:
        """Own messages that the server refused while nobody waited for them, the oldest first.

        Who called `send` and waited got `Refused` for it. `FailedEvent` tells of each once.

        ```python
        async with Client.open("profiles/alice") as me:
            for failed in await me.messages.failed():
                print(failed.peer, failed.text, failed.reason)
                await me.messages.dismiss(failed)
        ```
        """
        return await self._vault.read(lambda database: failures.everything(database, self._clock.wall_ms()))

    async def dismiss(self, failed: FailedMessage) -> None:
        """Somebody has seen to a message that failed: forget it.

        ```python
        async with Client.open("profiles/alice") as me:
            for failed in await me.messages.failed():
                await me.messages.dismiss(failed)
        ```
        """
        await self._vault.write(lambda database: failures.forget(database, failed.client_id))

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
            where = "in this group" if known.is_group else f"with @{known.peer}"
            raise ClientError(f"there is no message {message_id} {where}")
        return found[-1]


def _once_all(times: Sequence[int]) -> int | None:
    """When the last of them had it; None if one has not."""
    return max(times) if times and all(times) else None


def _poll(question: str, options: Sequence[str], *, multiple: bool) -> Poll:
    """A poll that others can read. Raises ClientError."""
    question, options = question.strip(), tuple(option.strip() for option in options)
    if not question or not all(options):
        raise ClientError("a poll has a question, and options that say something", "write them out")
    if not OPTIONS_MIN <= len(options) <= OPTIONS_MAX:
        raise ClientError(
            f"a poll has {OPTIONS_MIN} to {OPTIONS_MAX} options, not {len(options)}", "name others, or fewer"
        )
    if len(set(options)) < len(options):
        raise ClientError("the options of a poll differ", "leave out what is there twice")
    if len(question) > QUESTION_CHARS or max(map(len, options)) > OPTION_CHARS:
        raise ClientError(
            f"a question has at most {QUESTION_CHARS} characters, an option {OPTION_CHARS}", "make it shorter"
        )
    encoded("".join((question, *options)))
    return Poll(question, options, multiple)


def _key(message: SomeMessage) -> str:
    return keys.of_message(message.conversation_id, message.reference)


def _conversation(key: str) -> ConversationId:
    return ConversationId(bytes.fromhex(key.partition(":")[0]))
