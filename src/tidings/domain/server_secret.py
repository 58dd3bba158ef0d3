"""The server's own secret: 32 random bytes, made when they are needed first, and kept.

It makes answers that must look random and stay the same (decoys), and keys the hashes of codes
that are too short for a plain one.
"""

import asyncio

from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.peers import Peers
from tidings.domain.tokens import Random
from tidings.store.contract import Put, Store
from tidings.store.schema import SECRETS, SecretRow

NAME = "accounts"
SECRET_BYTES = 32


class ServerSecret:
    """Reads the secret once."""

    def __init__(self, store: Store, commit: GroupCommit, ids: IdClock, random: Random, peers: Peers) -> None:
        self._store = store
        self._peers = peers
        self._commit = commit
        self._ids = ids
        self._random = random
        self._value: bytes | None = None
        self._lock = asyncio.Lock()

    async def value(self) -> bytes:
        """The secret; durable before anybody has it. Raises ProtocolError (store_…)."""
        if self._value is not None:
            return self._value
        async with self._lock:
            if self._value is None:
                self._value = await self._read_or_make()
            return self._value

    async def _read_or_make(self) -> bytes:
        row = await self._store.get(SECRETS, (NAME,))
        if row is None:
            row = SecretRow(NAME, self._random(SECRET_BYTES))
            await self._commit.write([Put(SECRETS, row, self._ids.next())])
            if self._peers.are_there:
                # Another node may have made one at the same moment: the later one stays.
                await self._peers.know()
                row = await self._store.get(SECRETS, (NAME,)) or row
        return row.value
