"""What the user has read and the server has not heard of yet.

The greatest `up_to` of each conversation waits in the profile until a connection stands and the
server has answered Ok.

spec §6.6
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable

from tidings.client import receipts
from tidings.client.connection import Connection
from tidings.client.errors import Refused
from tidings.client.surroundings import Clock
from tidings.client.vault import Vault
from tidings.protocol.frames import Read
from tidings.protocol.ids import ConversationId, MessageId, UserId


class Reads:
    """Remembers reads and sends them."""

    def __init__(self, vault: Vault, user_id: UserId, clock: Clock, changed: Callable[[], None]) -> None:
        """`changed` is called when something counts as read that did not before."""
        self._vault = vault
        self._user_id = user_id
        self._clock = clock
        self._changed = changed
        self._wake = asyncio.Event()

    async def mark(self, conversation_id: ConversationId, up_to: MessageId) -> None:
        """The user has read a conversation up to a message; returns when that is stored here."""
        await self._vault.write(lambda database: _mark(database, conversation_id, up_to, self._user_id))
        self._changed()
        self._wake.set()

    def wake(self) -> None:
        """Another process may have read something."""
        self._wake.set()

    async def run(self, connection: Connection) -> None:
        """Send what waits over a connection until it is lost."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            for conversation_id, up_to in await self._vault.read(pending):
                await self._send(connection, conversation_id, up_to)

    async def _send(self, connection: Connection, conversation_id: ConversationId, up_to: MessageId) -> None:
        # Refused: not a member any more, so nobody is left to be told.
        with contextlib.suppress(Refused):
            await connection.ask_patiently(
                lambda request_id: Read(request_id, conversation_id, up_to), self._clock
            )
        await self._vault.write(lambda database: _answered(database, conversation_id, up_to))


def pending(database: sqlite3.Connection) -> list[tuple[ConversationId, MessageId]]:
    """What the server has not heard of yet."""
    rows = database.execute("SELECT conversation_id, up_to FROM reads").fetchall()
    return [(ConversationId(conversation_id), MessageId(up_to)) for conversation_id, up_to in rows]


def _mark(
    database: sqlite3.Connection, conversation_id: ConversationId, up_to: MessageId, user_id: UserId
) -> None:
    database.execute(
        "INSERT INTO reads VALUES (?, ?) ON CONFLICT DO UPDATE SET up_to = max(up_to, excluded.up_to)",
        (conversation_id, up_to),
    )
    receipts.raise_watermark(database, conversation_id, user_id, up_to, up_to)


def _answered(database: sqlite3.Connection, conversation_id: ConversationId, up_to: MessageId) -> None:
    # A later mark may have come meanwhile; it still waits.
    database.execute("DELETE FROM reads WHERE conversation_id = ? AND up_to <= ?", (conversation_id, up_to))
