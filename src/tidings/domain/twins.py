"""Twins: a message that stands at a greater place than its author was told.

A device that gets no answer repeats what it said over another connection. Where the directory cannot say that
the device has moved, nothing keeps an earlier attempt that is still on its way from being accepted after the
repeat was: it has the greater id then, which everybody shows but its author. So the node that accepted a
repeat looks some time later where the message stands, and has its author's devices told; unless it is stopped
before that.

spec §6.3
"""

import asyncio

from structlog.typing import FilteringBoundLogger

from tidings.domain.conversations import Conversations
from tidings.domain.latecomers import Latecomers
from tidings.domain.sends import SendName, Sends
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import Sent
from tidings.protocol.ids import ConversationId
from tidings.store.contract import StoreError

LOOK_S = 15.0
"""from a repeat that was accepted to the look for a twin: no attempt should be under way for longer"""
WATCHED = 10_000
"""repeats that may wait for their look at once; further ones get none"""
TRIES = 20
"""how often it is tried to look, `LOOK_S` apart"""


class Twins:
    """See the module's text."""

    def __init__(
        self,
        sends: Sends,
        latecomers: Latecomers,
        conversations: Conversations,
        journal: FilteringBoundLogger,
    ) -> None:
        self._sends = sends
        self._latecomers = latecomers
        self._conversations = conversations
        self._journal = journal
        self._watched: set[asyncio.Task[None]] = set()

    def watch(self, name: SendName, sent: Sent, conversation_id: ConversationId) -> None:
        """A repeat was accepted: see to it that its author knows where it stands."""
        if len(self._watched) < WATCHED:
            task = asyncio.get_running_loop().create_task(self._watch(name, sent, conversation_id))
            self._watched.add(task)
            task.add_done_callback(self._watched.discard)

    def stop(self) -> None:
        """The node ends: nobody looks any more."""
        for task in self._watched:
            task.cancel()

    async def _watch(self, name: SendName, sent: Sent, conversation_id: ConversationId) -> None:
        for _ in range(TRIES):
            await asyncio.sleep(LOOK_S)
            try:
                await self._look(name, sent, conversation_id)
            except (ProtocolError, StoreError) as error:
                self._journal.warning("a repeat is looked at later", reason=str(error))
            else:
                return

    async def _look(self, name: SendName, sent: Sent, conversation_id: ConversationId) -> None:
        found = await self._sends.find(name)
        if found is None or found.message_id <= sent.message_id:
            return
        conversation = await self._conversations.find(conversation_id)
        if conversation is not None:
            async with conversation.lock:
                await self._latecomers.tell_author(conversation, found.message_id)
