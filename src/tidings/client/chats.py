"""Chats: the user's conversations, and what all of their devices know of each.

spec §6.11, §6.15
"""

import contextlib

from tidings.client import keys
from tidings.client.conversations import Conversations, Known, normal
from tidings.client.errors import ClientError, ConnectionLost
from tidings.client.link import Link
from tidings.client.server_time import ServerTime
from tidings.client.settings import Settings
from tidings.client.state import State, load
from tidings.client.syncing import Syncing
from tidings.client.transcript import Self
from tidings.client.values import LONG_S, TIMER_S_MAX, Chat, bounded, encoded
from tidings.client.vault import Vault
from tidings.protocol.frames import SettingKind, Typing
from tidings.protocol.ids import ConversationId

UNREAD_COUNTED = 100
"""unread messages of a chat that are counted"""


class Chats:
    """`me.chats`. What is changed here holds on all of the user's devices."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        settings: Settings,
        syncing: Syncing,
        link: Link,
        me: Self,
        time: ServerTime,
    ) -> None:
        self._vault = vault
        self._conversations = conversations
        self._settings = settings
        self._syncing = syncing
        self._link = link
        self._me = me
        self._time = time

    async def list(self) -> list[Chat]:
        """All chats, pinned ones first, then the newest first; those in the archive too. Works offline.

        Unread messages are counted up to 100.

        ```python
        async with Client.open("profiles/alice") as me:
            for chat in await me.chats.list():
                print(chat.peer, chat.unread, chat.newest and chat.newest.text)
        ```
        """
        return (await self._state()).chats

    async def get(self, peer: str) -> Chat:
        """The chat with somebody. Raises Refused (no_such_user) if they are not known here.

        ```python
        async with Client.open("profiles/alice") as me:
            print((await me.chats.get("@bob")).unread)
        ```
        """
        known = await self._known(peer)
        state = await self._state(known.conversation_id)
        return state.chat(known.conversation_id, known.peer, known.peer_id)

    async def pin(self, peer: str, *, pinned: bool = True) -> None:
        """Keep a chat at the top; or no more.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.chats.pin("@bob")
        ```
        """
        await self._set(SettingKind.PIN, peer, keys.ON if pinned else b"")

    async def archive(self, peer: str, *, archived: bool = True) -> None:
        """Put a chat away; or get it back.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.chats.archive("@bob")
            await me.chats.archive("@bob", archived=False)
        ```
        """
        await self._set(SettingKind.ARCHIVE, peer, keys.ON if archived else b"")

    async def mute(self, peer: str, *, for_s: float | None = None) -> None:
        """Do not be disturbed by a chat, for so many seconds or for good.

        Raises ClientError if that is no time.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.chats.mute("@bob", for_s=8 * 3600)
        ```
        """
        until_ms = keys.FOR_EVER_MS
        if for_s is not None:
            bounded("for_s", for_s, 0, LONG_S)
            until_ms = self._time.now_ms() + round(for_s * 1000)
        await self._set(SettingKind.MUTE, peer, str(until_ms).encode())

    async def unmute(self, peer: str) -> None:
        """Be told again.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.chats.unmute("@bob")
        ```
        """
        await self._set(SettingKind.MUTE, peer, b"")

    async def draft(self, peer: str, text: str) -> None:
        """Keep what was begun to be written, for all devices; empty forgets it.

        Raises Refused (too_large: over 8 KiB).

        ```python
        async with Client.open("profiles/alice") as me:
            await me.chats.draft("@bob", "What I always wanted to say:")
        ```
        """
        await self._set(SettingKind.DRAFT, peer, encoded(text))

    async def timer(self, peer: str, after_s: int) -> None:
        """Have what this user sends to somebody vanish after so many seconds; 0: it stays.

        It holds for what is sent from then on, from any device, unless `send` says otherwise.
        Raises ClientError if it is over 400 days, or no whole number.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.chats.timer("@bob", 7 * 24 * 3600)
        ```
        """
        bounded("a timer", after_s, 0, TIMER_S_MAX)
        if after_s != int(after_s):
            raise ClientError(f"a timer has whole seconds, not {after_s:g}")
        known = await self._known(peer)
        value = str(int(after_s)).encode() if after_s else b""
        await self._settings.set(SettingKind.OPAQUE, keys.of_timer(known.conversation_id), value)

    async def timer_of(self, conversation_id: ConversationId) -> int | None:
        """A conversation's timer in seconds, None if it has none.

        ```python
        async with Client.open("profiles/alice") as me:
            chat = await me.chats.get("@bob")
            print(await me.chats.timer_of(chat.conversation_id) or "what is sent stays")
        ```
        """
        value = await self._settings.get(SettingKind.OPAQUE, keys.of_timer(conversation_id))
        return keys.number(value) or None

    async def typing(self, peer: str, *, active: bool = True) -> None:
        """Tell somebody that the user is writing, or has stopped. Told now or, while offline, never.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.chats.typing("@bob")
        ```
        """
        known = await self._known(peer)
        connection = self._link.up
        if connection is not None:
            with contextlib.suppress(ConnectionLost):
                connection.post(Typing(known.conversation_id, active))

    async def _set(self, kind: SettingKind, peer: str, value: bytes) -> None:
        known = await self._known(peer)
        await self._settings.set(kind, keys.of_conversation(known.conversation_id), value)

    async def _known(self, peer: str) -> Known:
        return await self._conversations.with_peer(normal(peer), self._link.ask)

    async def _state(self, only: ConversationId | None = None) -> State:
        await self._syncing.ready()
        return await self._vault.read(lambda database: load(database, self._me, UNREAD_COUNTED, only))
