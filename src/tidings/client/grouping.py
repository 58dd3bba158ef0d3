"""Grouping: what it takes to understand what comes from groups, asked for before that is stored.

Who writes in a group is asked for by name, and a group of which a change was missed is asked for anew. A node
may answer with what it knew a moment ago: then it is asked again, soon. Beside that, groups that were to be
made when this program, or an earlier one, was cut off are made.

spec §6.17
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from tidings.client import introductions, known_groups, names, tallies
from tidings.client.connection import Answer, Connection
from tidings.client.conversations import Conversations
from tidings.client.errors import Refused
from tidings.client.founding import Founding
from tidings.client.surroundings import Clock
from tidings.client.transcript import Self
from tidings.client.vault import Job, Vault
from tidings.protocol import frames
from tidings.protocol.frames import Deliver, Frame, Tallies, Tally
from tidings.protocol.ids import ConversationId, MessageId, direct_conversation_id

AGAIN_S = 1.0
"""after how long a group is asked for again of which the server knew less than it had told"""
TRIES = 8


class Grouping:
    """See the module's text."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        founding: Founding,
        me: Self,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when something was stored."""
        self._vault = vault
        self._conversations = conversations
        self._founding = founding
        self._me = me
        self._clock = clock
        self._changed = changed
        self._doubtful: dict[ConversationId, int] = {}
        """groups of which the server is to know more, and up to which version"""
        self._wake = asyncio.Event()

    async def run(self, connection: Connection) -> None:
        """Ask for what is in doubt over a connection until it is lost."""
        await self._founding.resume(connection)
        while True:
            asked: dict[ConversationId, int] = {}
            for _ in range(TRIES):
                if not self._doubtful:
                    break
                await self._clock.sleep(AGAIN_S)
                asked = dict(self._doubtful)
                for conversation_id, version in asked.items():
                    await self._ask(connection, conversation_id, version)
                self._changed()
            for conversation_id, version in asked.items():
                if self._doubtful.get(conversation_id) == version:
                    del self._doubtful[conversation_id]  # the server does not come to know it
            if not self._doubtful:
                self._wake.clear()
                await self._wake.wait()

    async def prepare(self, connection: Connection, arrived: Sequence[Deliver]) -> None:
        """Ask for what it takes to store what arrived. Raises ConnectionLost."""
        await self.understand(connection, [frame.message for frame in arrived])

    async def understand(self, connection: Connection, messages: Sequence[frames.Message]) -> None:
        """The same for messages, from wherever they come."""
        grouped = [message for message in messages if await self._is_grouped(message)]
        if not grouped:
            return
        doubtful = await self._vault.read(self._heard(grouped))
        for conversation_id, version in doubtful.items():
            await self._ask(connection, conversation_id, version)

        async def ask(make: Callable[[int], Frame]) -> Answer:
            return await connection.ask_patiently(make, self._clock)

        named = set().union(*(names.named_in(message) for message in grouped))
        await introductions.learn(self._vault, named - {self._me.user_id}, ask)

    async def ask_anew(self, connection: Connection, conversation_id: ConversationId) -> None:
        """Ask what a group is now, and who is in it. Raises ConnectionLost."""
        await self._ask(connection, conversation_id, 0)

    async def catch_up(self, connection: Connection) -> None:
        """Ask how far own messages have come meanwhile, and who is where. Raises ConnectionLost."""
        for conversation_id in await self._vault.read(known_groups.unlisted):
            await self._ask(connection, conversation_id, 0)
        for conversation_id, message_ids in (await self._vault.read(tallies.unfinished)).items():
            with contextlib.suppress(Refused):
                answer = await connection.ask_patiently(_counting(conversation_id, message_ids), self._clock)
                assert isinstance(answer, Tallies)
                await self._vault.write(_applying(answer))
                self._changed()

    async def _ask(self, connection: Connection, conversation_id: ConversationId, version: int) -> None:
        async def ask(make: Callable[[int], Frame]) -> Answer:
            return await connection.ask_patiently(make, self._clock)

        try:
            known = await self._conversations.asked(conversation_id, ask)
        except Refused:
            self._doubtful.pop(conversation_id, None)
            return
        here = await self._conversations.version(known)
        wanted = max(version, self._doubtful.get(conversation_id, 0))  # more may be wanted by now
        if here < wanted:
            self._doubtful[conversation_id] = wanted
            self._wake.set()
        else:
            self._doubtful.pop(conversation_id, None)

    async def _is_grouped(self, message: frames.Message) -> bool:
        known = await self._conversations.known_id(message.conversation_id)
        if known is not None:
            return known.is_group
        if message.conversation_id == direct_conversation_id(self._me.user_id, message.sender_id):
            return False
        if message.sender_id == self._me.user_id and message.sender_device:
            return False  # nobody knows to whom it went
        await self._conversations.left(message.conversation_id)
        return True

    def _heard(self, messages: Sequence[frames.Message]) -> Job[dict[ConversationId, int]]:
        return lambda database: known_groups.heard_of(database, messages, self._me.user_id)


def _counting(conversation_id: ConversationId, message_ids: list[MessageId]) -> Callable[[int], Frame]:
    return lambda request_id: Tally(request_id, conversation_id, message_ids)


def _applying(told: Tallies) -> Job[None]:
    return lambda database: tallies.apply(database, told)
