"""Founding: groups that this user makes. Each is in the profile before the server is asked, under a nonce.

So one that was asked for is made once, whatever is cut off: a repeat of the request finds the same group, and
who asks for the same again while it waits has asked for that one.

spec §6.17
"""

import contextlib
import logging
import sqlite3
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from tidings.client.connection import Answer, Connection
from tidings.client.conversations import Ask, Conversations, Known
from tidings.client.errors import Refused
from tidings.client.sealing import infos
from tidings.client.surroundings import Clock
from tidings.client.vault import Job, Vault
from tidings.protocol import frames
from tidings.protocol.frames import CreateGroup, Frame, Scheme
from tidings.protocol.ids import ClientId, UserId, group_conversation_id

NONCE_BYTES = 16

log = logging.getLogger("tidings.client")


Give = Callable[[sqlite3.Connection, str], None]
"""Has this device's sender key given to all members of a group that have it not."""


class _Row(NamedTuple):
    nonce: ClientId
    request: CreateGroup


class Founding:
    """See the module's text."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        entropy: Callable[[int], bytes],
        clock: Clock,
        changed: Callable[[], None],
        me: UserId,
        give: Give,
    ) -> None:
        """`changed` is called when a group was made; `give` gives the sender key to its members."""
        self._vault = vault
        self._conversations = conversations
        self._entropy = entropy
        self._clock = clock
        self._changed = changed
        self._me = me
        self._give = give

    async def found(self, wanted: CreateGroup, ask: Ask) -> Known:
        """Make a group. `wanted` is without a nonce. Raises Refused: there is none then.

        If the wait is cancelled the group is made later.
        """
        nonce, now_ms = ClientId(self._entropy(NONCE_BYTES)), self._clock.wall_ms()
        row = await self._vault.write(lambda database: _append(database, nonce, wanted, now_ms))
        return await self._make(row, ask)

    async def resume(self, connection: Connection) -> None:
        """Make what was cut off. Raises ConnectionLost."""

        async def ask(make: Callable[[int], Frame]) -> Answer:
            return await connection.ask_patiently(make, self._clock)

        for row in await self._vault.read(_waiting):
            try:
                await self._make(row, ask)
            except Refused as refusal:
                log.warning("a group was not made: %s", refusal.reason)

    async def _make(self, row: _Row, ask: Ask) -> Known:
        try:
            answer = await ask(_asking(await self._vault.write(self._sealing(row))))
            assert isinstance(answer, frames.Conversation)
            known = await self._conversations.noted(answer, ask)
        except Refused:
            await self._vault.write(_forgetting(row))
            raise
        await self._vault.write(self._forgetting(row, known))
        self._changed()
        return known

    def _sealing(self, row: _Row) -> Job[_Row]:
        """The row as it is asked for: what it is called is sealed for its id, which is known before."""
        where, request = group_conversation_id(self._me, row.nonce), row.request

        def seal(database: sqlite3.Connection) -> _Row:
            if request.scheme == Scheme.PLAIN:
                return row
            info = infos.seal_info(database, where, request.info)
            return row._replace(request=msgspec.structs.replace(request, info=info))

        return seal

    def _forgetting(self, row: _Row, known: Known) -> Job[None]:
        def forget(database: sqlite3.Connection) -> None:
            _forgetting(row)(database)
            if row.request.scheme != Scheme.PLAIN:
                self._give(database, known.peer)

        return forget


def _append(database: sqlite3.Connection, nonce: ClientId, wanted: CreateGroup, now_ms: int) -> _Row:
    request = msgspec.msgpack.encode(msgspec.structs.replace(wanted, request_id=0, nonce=NO_NONCE))
    row = database.execute("SELECT nonce FROM foundings WHERE request = ?", (request,)).fetchone()
    if row is not None:
        return _Row(ClientId(bytes(row[0])), wanted)
    database.execute("INSERT INTO foundings VALUES (?, ?, ?)", (nonce, request, now_ms))
    return _Row(nonce, wanted)


NO_NONCE = ClientId(bytes(NONCE_BYTES))


def _waiting(database: sqlite3.Connection) -> list[_Row]:
    rows = database.execute("SELECT nonce, request FROM foundings ORDER BY at_ms").fetchall()
    found = []
    for nonce, request in rows:
        with contextlib.suppress(msgspec.DecodeError):
            found.append(_Row(ClientId(bytes(nonce)), _decode(request)))
    return found


def _asking(row: _Row) -> Callable[[int], Frame]:
    return lambda request_id: msgspec.structs.replace(row.request, request_id=request_id, nonce=row.nonce)


def _forgetting(row: _Row) -> Job[None]:
    def forget(database: sqlite3.Connection) -> None:
        database.execute("DELETE FROM foundings WHERE nonce = ?", (row.nonce,))

    return forget


_decode = msgspec.msgpack.Decoder(CreateGroup).decode
