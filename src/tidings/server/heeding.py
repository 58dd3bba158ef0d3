"""What follows from a user's settings for conversations that are in memory.

A block, and what somebody may see, hold from the moment at which the user is answered. Making a
stranger a contact lets them in, soon after.
"""

import asyncio

from structlog.typing import FilteringBoundLogger

from tidings.domain.conversations import Conversations
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
    ) -> None:
        self._conversations = conversations
        self._requests = requests
        self._loop = loop
        self._log = log
        self._opening: set[asyncio.Task[None]] = set()
        settings.on(SettingKind.BLOCK, self._towards_one)
        settings.on(SettingKind.CONTACT, self._contact)
        settings.on(SettingKind.PRIVACY, self._towards_all)

    async def _towards_one(self, user: UserId, setting: Setting) -> None:
        await self._conversations.settled(user, UserId(int(setting.key)))

    async def _towards_all(self, user: UserId, setting: Setting) -> None:
        if setting.key == "receipts":  # nothing else is kept in memory
            await self._conversations.settled_for_all(user)

    async def _contact(self, user: UserId, setting: Setting) -> None:
        await self._towards_one(user, setting)
        if setting.value:
            # Not before the answer: letting in writes settings of the same user, in their turn.
            task = self._loop.create_task(self._let_in(user, UserId(int(setting.key))))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _let_in(self, user: UserId, peer: UserId) -> None:
        if user == peer:
            return
        try:
            conversation = await self._conversations.find(ids.direct_conversation_id(user, peer))
            if conversation is not None and user in conversation.pending:
                await self._requests.answer(conversation, user, accept=True)
        except (ProtocolError, StoreError) as error:
            # The next message finds that they are contacts, and lets them in then.
            self._log.warning("a new contact could not be let in yet", reason=str(error))
