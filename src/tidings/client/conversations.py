"""The conversations that a profile knows: who the other one is, by id and by handle.

The server says who has a handle. What was heard once stays: a name that somebody has here is given to
nobody else, and who is in a direct conversation follows from its id. A group is called by its id, `#` before
it; people may call it by its name, or by the beginning of the id (`address`).

spec §3.2, §6.17
"""

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from tidings.client import introductions, keys, known_groups, names
from tidings.client.connection import Answer, Connection
from tidings.client.errors import ClientError, Refused
from tidings.client.group_values import MARK, group_peer, is_group
from tidings.client.sealing.warnings import warn
from tidings.client.surroundings import Clock
from tidings.client.vault import Vault
from tidings.protocol import frames
from tidings.protocol.errors import NO_SUCH_CONVERSATION
from tidings.protocol.frames import Frame, Scheme, Setting
from tidings.protocol.ids import (
    CONVERSATION_ID_BYTES,
    ConversationId,
    UserId,
    direct_conversation_id,
)

Ask = Callable[[Callable[[int], Frame]], Awaitable[Answer]]
"""Asks the server. Raises Refused, perhaps ConnectionLost."""


class Known(NamedTuple):
    """A conversation as the profile has it."""

    conversation_id: ConversationId
    version: int
    peer_id: UserId
    peer: str

    @property
    def is_group(self) -> bool:
        """Whether it is a group, or a channel."""
        return is_group(self.peer)


SHORT = 8
"""digits of a group's id that tell it from others, for people"""


async def nothing() -> None:
    """Nothing is waited for."""


class Conversations:
    """Finds conversations in the profile, else asks the server and remembers."""

    def __init__(
        self, vault: Vault, user_id: UserId, settle: Callable[[], Awaitable[None]] = nothing
    ) -> None:
        """`settle` returns once what waited on the server is here, or after a moment."""
        self._settle = settle
        self._vault = vault
        self._user_id = user_id
        self._by_peer: dict[str, Known] = {}
        self._by_id: dict[ConversationId, Known] = {}

    async def with_peer(self, peer: str, ask: Ask) -> Known:
        """The direct conversation with the user of a handle, or a group.

        Raises what `ask` raises; ClientError for a group that nobody here knows.
        """
        if is_group(peer):
            peer = await self.address(peer, ask)
        known = await self.known_peer(peer)
        return await self.opened(peer, ask) if known is None else known

    async def opened(self, peer: str, ask: Ask) -> Known:
        """The same, opened on the server whether the profile knows it or not. A group by its whole id."""
        if is_group(peer):
            return await self.asked(ConversationId(bytes.fromhex(peer.removeprefix(MARK))), ask)
        answer = await ask(lambda request_id: frames.OpenDirect(request_id, peer))
        assert isinstance(answer, frames.Conversation)
        return await self._remember(answer, ask)

    async def address(self, peer: str, ask: Ask) -> str:
        """What a peer is called here for ever: of a group `#` and its whole id.

        Raises ClientError for a group that nobody here knows, or that may be one of several.
        """
        if not is_group(peer) or is_whole(peer):
            return peer
        found = await self._named(peer)
        if found is None:
            # A device that was just made knows none yet.
            await self._list(ask)
            found = await self._named(peer)
        if found is None:
            # What opens the name of one may be about to come.
            await self._settle()
            found = await self._named(peer)
        if found is None:
            raise ClientError(f"you are in no group {peer}", "see yours with: tidings group list")
        return found

    async def _named(self, peer: str) -> str | None:
        """What the group that is meant is called here, if there is one. Raises ClientError for several."""
        found = await self._vault.read(lambda database: known_groups.named(database, peer[len(MARK) :]))
        if len(found) < 2:
            return group_peer(found[0].conversation_id) if found else None
        candidates = ", ".join(f"#{row.conversation_id.hex()[:SHORT]} ({row.name})" for row in found)
        raise ClientError(f"{peer} may be one of {len(found)} groups: {candidates}", "call it by its id")

    async def _list(self, ask: Ask) -> None:
        """Get to know all groups of the user. Raises what `ask` raises."""
        after: ConversationId | None = None
        while True:
            answer = await ask(_listing(after))
            assert isinstance(answer, frames.ConversationList)
            for item in answer.items:
                if item.group is not None:
                    await self._remember(item, ask)
            if not answer.more or not answer.items:
                return
            after = answer.items[-1].conversation_id

    async def asked(self, conversation_id: ConversationId, ask: Ask) -> Known:
        """What the server says of a conversation now. Of a group in which the user is no more, that is noted.

        Raises what `ask` raises.
        """
        try:
            answer = await ask(lambda request_id: frames.Describe(request_id, conversation_id))
        except Refused as refusal:
            if refusal.code == NO_SUCH_CONVERSATION.code:
                await self._vault.write(lambda database: known_groups.leave(database, conversation_id))
            raise
        assert isinstance(answer, frames.Conversation)
        return await self._remember(answer, ask)

    async def scheme(self, known: Known, direct: Scheme) -> Scheme:
        """How what is sent in a conversation is sealed: decided here for all of them. `direct`: of two."""
        if not known.is_group:
            return direct
        return await self._vault.read(lambda database: known_groups.scheme(database, known.conversation_id))

    async def version(self, known: Known) -> int:
        """The version of a conversation that this profile knows by now."""
        if not known.is_group:
            return known.version
        row = await self._vault.read(
            lambda database: known_groups.find(database, known.conversation_id), ahead=True
        )
        return known.version if row is None else row.version

    async def known_peer(self, peer: str) -> Known | None:
        """The same, if the profile knows it. Raises ClientError for a group that may be one of several."""
        if is_group(peer) and not is_whole(peer):
            named = await self._named(peer)
            if named is None:
                return None
            peer = named
        if peer not in self._by_peer:
            self._note(await self._vault.read(lambda database: _find(database, "peer", peer)))
        return self._by_peer.get(peer)

    def at_hand(self, peer: str) -> Known | None:
        """The same, if it was looked up before."""
        return self._by_peer.get(peer)

    async def described(self, conversation_id: ConversationId, ask: Ask) -> Known:
        """The conversation of an id. Raises what `ask` raises."""
        return await self.known_id(conversation_id) or await self.asked(conversation_id, ask)

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

    async def noted(self, conversation: frames.Conversation | frames.ConversationSummary, ask: Ask) -> Known:
        """A conversation that the server told of. Raises what `ask` raises."""
        return await self._remember(conversation, ask)

    async def _remember(
        self, conversation: frames.Conversation | frames.ConversationSummary, ask: Ask
    ) -> Known:
        """Raises Refused if the conversation is another one than the server says."""
        if conversation.group is not None:
            return await self._remember_group(conversation, conversation.group, ask)
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

    async def _remember_group(
        self, told: frames.Conversation | frames.ConversationSummary, group: frames.Group, ask: Ask
    ) -> Known:
        named = {group.made_by, *group.waiting, *(link.made_by for link in group.links)}
        await introductions.learn(
            self._vault, named - {UserId(0), *(one.user_id for one in told.members)}, ask
        )

        def keep(database: sqlite3.Connection) -> Known | None:
            before = _find(database, "conversation_id", told.conversation_id)
            if before is not None and not before.is_group:
                return None
            known_groups.keep(database, told, self._user_id)
            return _find(database, "conversation_id", told.conversation_id)

        known = await self._vault.write(keep)
        if known is None:
            raise Refused(
                NO_SUCH_CONVERSATION.code,
                NO_SUCH_CONVERSATION.name,
                "the server says that a conversation of two is a group",
            )
        self._note(known)
        return known

    async def left(self, conversation_id: ConversationId) -> None:
        """Something came from a group in which the user is no more."""
        await self._vault.write(lambda database: known_groups.meet(database, conversation_id))

    def _note(self, known: Known | None) -> None:
        if known is not None:
            self._by_peer[known.peer] = self._by_id[known.conversation_id] = known


def normal(peer: str) -> str:
    """A handle as it is stored: lower case, without a leading @. A group stays as it is written."""
    peer = peer.strip()
    if is_group(peer):
        return peer.lower() if is_whole(peer) else peer
    return peer.lstrip("@").lower()


def is_whole(peer: str) -> bool:
    """Whether a group is called by its whole id."""
    digits = peer.removeprefix(MARK)
    return len(digits) == 2 * CONVERSATION_ID_BYTES and all(digit in HEX for digit in digits)


HEX = frozenset("0123456789abcdefABCDEF")


def _listing(after: ConversationId | None) -> Callable[[int], Frame]:
    return lambda request_id: frames.Conversations(request_id, after)


def _keep(database: sqlite3.Connection, known: Known) -> Known:
    """Keep a conversation, under the name that it has here; one that is another's here it does not get."""
    before = _find(database, "conversation_id", known.conversation_id)
    number = names.number(known.peer_id)
    if before is not None and before.peer not in (number, ""):
        known = known._replace(peer=before.peer)
    elif names.owner(database, known.peer, known.peer_id) is not None:
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
