"""What follows from a user's settings for conversations that are in memory.

A block, and what somebody may see, hold from the moment at which the user is answered; where there are
other nodes, that is once they act on it too. What follows from a contact they act on a little later: an
address book is many contacts. Making a stranger a contact lets them in, soon after, and blocking one
turns them away.
"""

import asyncio

from structlog.typing import FilteringBoundLogger

from tidings.domain.conversations import Conversations
from tidings.domain.peers import Peers
from tidings.domain.requests import Requests
from tidings.domain.settings import Settings
from tidings.protocol import ids
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import Setting, SettingKind
from tidings.protocol.ids import UserId
from tidings.store.contract import StoreError


class Heeding:
    """Listens to settings, and has conversations and requests act on them."""

    def __init__(
        self,
        settings: Settings,
        conversations: Conversations,
        requests: Requests,
        loop: asyncio.AbstractEventLoop,
        log: FilteringBoundLogger,
        peers: Peers,
    ) -> None:
        self._conversations = conversations
        self._requests = requests
        self._loop = loop
        self._log = log
        self._peers = peers
        self._answering: set[asyncio.Task[None]] = set()
        settings.on(SettingKind.BLOCK, self._block)
        settings.on(SettingKind.CONTACT, self._contact)
        settings.on(SettingKind.PRIVACY, self._towards_all)

    async def _block(self, user: UserId, setting: Setting) -> None:
        peer = UserId(int(setting.key))
        await self._conversations.blocked(user, peer)
        await self._peers.know()
        if setting.value:
            self._answer_soon(user, peer, accept=False)

    async def _towards_all(self, user: UserId, setting: Setting) -> None:
        if setting.key == "receipts":  # nothing else is kept in memory
            await self._conversations.settled_for_all(user)
            await self._peers.know()

    async def _contact(self, user: UserId, setting: Setting) -> None:
        peer = UserId(int(setting.key))
        await self._conversations.settled(user, peer)
        if setting.value:
            self._answer_soon(user, peer, accept=True)

    def _answer_soon(self, user: UserId, peer: UserId, *, accept: bool) -> None:
        """Answer a request that waits, if one does.

        Not before the setting itself is answered: this writes settings of the same user, in their turn.
        """
        task = self._loop.create_task(self._answer(user, peer, accept=accept))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, user: UserId, peer: UserId, *, accept: bool) -> None:
        if user == peer:
            return
        try:
            conversation = await self._conversations.find(ids.direct_conversation_id(user, peer))
            if conversation is not None and user in conversation.pending:
                await self._requests.answer(conversation, user, accept=accept)
        except (ProtocolError, StoreError) as error:
            # The next message finds that they are contacts, and lets them in then; one of somebody
            # who is blocked is shown to nobody, and their request may be declined by hand.
            self._log.warning("a request could not be answered yet", reason=str(error))
