"""The conversations that a profile knows: who the other one is, by id and by handle.

The server says who has a handle. What was heard once stays: a name that somebody has here is given to
nobody else, and who is in a conversation follows from its id.

spec §3.2
"""

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from tidings.client import keys
from tidings.client.connection import Answer, Connection
from tidings.client.errors import Refused
from tidings.client.sealing.warnings import warn
from tidings.client.surroundings import Clock
from tidings.client.vault import Vault
from tidings.protocol import frames
from tidings.protocol.errors import NO_SUCH_CONVERSATION
from tidings.protocol.frames import Frame, Setting
from tidings.protocol.ids import ConversationId, UserId, direct_conversation_id

Ask = Callable[[Callable[[int], Frame]], Awaitable[Answer]]
"""Asks the server. Raises Refused, perhaps ConnectionLost."""


class Known(NamedTuple):
    """A conversation as the profile has it."""

    conversation_id: ConversationId
    version: int
    peer_id: UserId
    peer: str


class Conversations:
    """Finds conversations in the profile, else asks the server and remembers."""

    def __init__(self, vault: Vault, user_id: UserId) -> None:
        self._vault = vault
        self._user_id = user_id
        self._by_peer: dict[str, Known] = {}
        self._by_id: dict[ConversationId, Known] = {}

    async def with_peer(self, peer: str, ask: Ask) -> Known:
        """The direct conversation with the user of a handle. Raises what `ask` raises."""
        known = await self.known_peer(peer)
        return await self.opened(peer, ask) if known is None else known

    async def opened(self, peer: str, ask: Ask) -> Known:
        """The same, opened on the server whether the profile knows it or not."""
        answer = await ask(lambda request_id: frames.OpenDirect(request_id, peer))
        assert isinstance(answer, frames.Conversation)
        return await self._remember(answer)

    async def known_peer(self, peer: str) -> Known | None:
        """The same, if the profile knows it."""
        if peer not in self._by_peer:
            self._note(await self._vault.read(lambda database: _find(database, "peer", peer)))
        return self._by_peer.get(peer)

    def at_hand(self, peer: str) -> Known | None:
        """The same, if it was looked up before."""
        return self._by_peer.get(peer)

    async def described(self, conversation_id: ConversationId, ask: Ask) -> Known:
        """The conversation of an id. Raises what `ask` raises."""
        known = await self.known_id(conversation_id)
        if known is None:
            answer = await ask(lambda request_id: frames.Describe(request_id, conversation_id))
            assert isinstance(answer, frames.Conversation)
            known = await self._remember(answer)
        return known

    async def known_id(self, conversation_id: ConversationId) -> Known | None:
        """The same, if the profile knows it."""
        if conversation_id not in self._by_id:
            self._note(
                await self._vault.read(lambda database: _find(database, "conversation_id", conversation_id))
            )
        return self._by_id.get(conversation_id)

    async def met(self, conversation_id: ConversationId, connection: Connection, clock: Clock) -> None:
        """Get to know a conversation that the server named. Raises ConnectionLost."""

        async def ask(make: Callable[[int], Frame]) -> Answer:
            return await connection.ask_patiently(make, clock)

        # Refused: not a member any more. A message counts all the same, its sender stays a number.
        with contextlib.suppress(Refused):
            await self.described(conversation_id, ask)

    async def timed(self, settings: Iterable[Setting], connection: Connection, clock: Clock) -> None:
        """Get to know those that have a timer: it must hold for the first message that is sent here, too."""
        for setting in settings:
            conversation_id = keys.timed(setting)
            if conversation_id is not None and setting.value:
                await self.met(conversation_id, connection, clock)

    async def noted(self, conversation: frames.Conversation | frames.ConversationSummary) -> Known:
        """A conversation that the server told of."""
        return await self._remember(conversation)

    async def _remember(self, conversation: frames.Conversation | frames.ConversationSummary) -> Known:
        """Raises Refused if the conversation is another one than the server says."""
        others = [member for member in conversation.members if member.user_id != self._user_id]
        peer_id = others[0].user_id if others else self._user_id
        peer = others[0].handle if others else ""
        known = Known(conversation.conversation_id, conversation.version, peer_id, peer)
        if known.conversation_id != direct_conversation_id(self._user_id, peer_id):
            raise Refused(
                NO_SUCH_CONVERSATION.code,
                NO_SUCH_CONVERSATION.name,
                "the server says that somebody is in this conversation who is not",
            )
        known = await self._vault.write(lambda database: _keep(database, known))
        self._note(known)
        return known

    def _note(self, known: Known | None) -> None:
        if known is not None:
            self._by_peer[known.peer] = self._by_id[known.conversation_id] = known


def normal(peer: str) -> str:
    """A handle as it is stored: lower case, without a leading @."""
    return peer.lstrip("@").lower()


def _keep(database: sqlite3.Connection, known: Known) -> Known:
    """Keep a conversation, under the name that it has here; one that is another's here it does not get."""
    before = _find(database, "conversation_id", known.conversation_id)
    other = _find(database, "peer", known.peer)
    number = f"user {known.peer_id}"
    if before is not None and before.peer not in (number, ""):
        known = known._replace(peer=before.peer)
    elif other is not None and other.peer_id != known.peer_id:
        if before is None:
            warn(database, "name_taken", known.peer_id, known.peer, known.conversation_id)
        known = known._replace(peer=number)
    database.execute("INSERT OR REPLACE INTO conversations VALUES (?, ?, ?, ?)", known)
    return known


def _find(database: sqlite3.Connection, column: str, value: object) -> Known | None:
    row = database.execute(
        f"SELECT conversation_id, version, peer_id, peer FROM conversations WHERE {column} = ?",  # noqa: S608
        (value,),
    ).fetchone()
    return None if row is None else Known(ConversationId(row[0]), row[1], UserId(row[2]), row[3])
