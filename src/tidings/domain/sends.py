"""Sends: which messages were accepted, so that a Send that comes again gets the answer of before.

A row is written once a message is durable with all that belongs to it. To lose one costs a twin, never a
message.

spec §6.3
"""

from tidings.domain.commit import Done, GroupCommit
from tidings.domain.peers import Peers
from tidings.protocol import ids
from tidings.protocol.frames import Sent
from tidings.protocol.ids import CLIENT_ID_PREFIX_BYTES as PREFIX
from tidings.protocol.ids import ClientId, DeviceId
from tidings.store.contract import Put, Store
from tidings.store.schema import SENDS, SendRow

SendName = tuple[DeviceId, ClientId]
"""What a message is called, by its sender, for ever."""


class Sends:
    """Remembers what was answered, on whichever node."""

    def __init__(self, store: Store, commit: GroupCommit, peers: Peers) -> None:
        self._store = store
        self._commit = commit
        self._peers = peers

    async def find(self, name: SendName) -> Sent | None:
        """What a Send was answered last. Raises StoreError."""
        row = await self._find(name)
        return None if row is None else _answer(row)

    async def earlier(self, name: SendName, attempt: int) -> Sent | None:
        """What an attempt is to be answered, if another one was accepted. Raises StoreError."""
        row = await self._find(name)
        if row is None or (self._peers.are_there and 0 < row.attempt < attempt - 1):
            # An attempt between the two may have left some rows under a greater id than the one that was
            # accepted, which whoever has them shows. So it is accepted once more, under the greatest.
            return None
        return _answer(row)

    def note(self, name: SendName, attempt: int, sent: Sent, done: Done) -> None:
        """Have repeats recognised; `done` when that is durable, or failed."""
        device, client_id = name
        row = SendRow(device, *_split(client_id), sent.message_id, sent.created_at, attempt)
        self._commit.add_soon(Put(SENDS, row, sent.message_id), done)

    async def _find(self, name: SendName) -> SendRow | None:
        device, client_id = name
        return await self._store.get(SENDS, (device, *_split(client_id)))


def _answer(row: SendRow) -> Sent:
    client_id = ids.client_id(row.connection, row.counter)
    return Sent(client_id, row.message_id, created_at=row.created_at)


def _split(client_id: ClientId) -> tuple[bytes, int]:
    """The random part of a client id and its counter: partition and place in `sends`."""
    return client_id[:PREFIX], int.from_bytes(client_id[PREFIX:], "big")
