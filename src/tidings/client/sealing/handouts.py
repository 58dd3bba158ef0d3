"""Handouts: frames that bring a sender key to devices, on their way to the server.

They are to be there before the message that needs them. As with messages, one is stored before it is sent and
repeated, the very same, until it is answered: a crash between two skips no device, and uses no key of a
ratchet twice.

spec §6.17
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, Protocol

import msgspec

from tidings.client.sealing import sender_keys, sessions
from tidings.client.sealing.inside import Shared
from tidings.protocol.frames import Relation, Scheme, Send
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId

ENVELOPES = 256
"""in a frame (spec §10, `sender_key_envelopes`)"""
FRAME_BYTES = 94 * 1024
"""of envelopes in a frame, to which little is added; clients send no frames of more than 96 KiB"""
ENVELOPE_EXTRA_BYTES = 16
"""beside an envelope: for which device, and how long it is"""


class Names(Protocol):
    """Gives names for messages, each once; the vault's thread asks, too."""

    def __next__(self) -> ClientId: ...


class Posting(NamedTuple):
    """What it takes to name a frame, and to know later which process wrote it."""

    names: Names
    writer: bytes


class Handout(NamedTuple):
    """One that was not answered."""

    client_id: ClientId
    conversation_id: ConversationId
    version: int
    keys_at: EntryId
    attempt: int
    envelopes: dict[DeviceId, bytes]

    def frame(self) -> Send:
        """As it crosses the wire."""
        return Send(
            self.client_id,
            self.attempt,
            self.conversation_id,
            self.version,
            self.keys_at,
            Scheme.SENDER_KEY,
            "",
            b"",
            self.envelopes,
            silent=True,
            relation=Relation.SENDER_KEY,
        )


def add(
    database: sqlite3.Connection,
    posting: Posting,
    version: int,
    keys_at: EntryId,
    shared: Shared,
    since: int,
    devices: Iterable[DeviceId],
) -> None:
    """Have a sender key, as it is from an index on, brought to devices. There is a session with each."""
    data = shared.bytes()
    wrapped = ((device, sessions.wrap(database, device, data)) for device in devices)
    for envelopes in chunks(wrapped):
        name = next(posting.names)
        database.execute(
            "INSERT INTO handouts VALUES (?, ?, ?, ?, 1, ?, ?)",
            (
                name,
                shared.conversation_id,
                version,
                keys_at,
                posting.writer,
                msgspec.msgpack.encode(envelopes),
            ),
        )
        sender_keys.give(database, shared.key_id, envelopes, since, name)


def chunks(envelopes: Iterable[tuple[DeviceId, bytes]]) -> Iterator[dict[DeviceId, bytes]]:
    """Envelopes as they fit into frames."""
    chunk: dict[DeviceId, bytes] = {}
    size = 0
    for device, envelope in envelopes:
        more = len(envelope) + ENVELOPE_EXTRA_BYTES
        if chunk and (len(chunk) == ENVELOPES or size + more > FRAME_BYTES):
            yield chunk
            chunk, size = {}, 0
        chunk[device] = envelope
        size += more
    if chunk:
        yield chunk


def are_waiting(database: sqlite3.Connection, conversation_id: ConversationId) -> bool:
    """Whether one of a group was not answered."""
    row = database.execute(
        "SELECT 1 FROM handouts WHERE conversation_id = ? LIMIT 1", (conversation_id,)
    ).fetchone()
    return row is not None


def take(
    database: sqlite3.Connection, conversation_id: ConversationId, writer: bytes, tried: Collection[ClientId]
) -> list[Handout]:
    """Those of a group, to be sent (again); the attempts that they have now are stored with them.

    `tried`: those that this process, which is called `writer`, has sent before.
    """
    rows = database.execute(
        "SELECT client_id, version, keys_at, attempt, writer, envelopes FROM handouts"
        " WHERE conversation_id = ? ORDER BY client_id",
        (conversation_id,),
    ).fetchall()
    found = []
    for client_id, version, keys_at, stored, wrote, envelopes in rows:
        attempt = stored
        if stored > 1 or wrote != writer or client_id in tried:
            attempt = stored + 1
            database.execute("UPDATE handouts SET attempt = ? WHERE client_id = ?", (attempt, client_id))
        given = msgspec.msgpack.decode(envelopes, type=dict[DeviceId, bytes])
        found.append(Handout(ClientId(client_id), conversation_id, version, EntryId(keys_at), attempt, given))
    return found


def done(database: sqlite3.Connection, client_id: ClientId) -> None:
    """It was accepted: the devices have the key, or will."""
    database.execute("UPDATE given_keys SET handout = NULL WHERE handout = ?", (client_id,))
    database.execute("DELETE FROM handouts WHERE client_id = ?", (client_id,))


def refused(database: sqlite3.Connection, handout: Handout) -> None:
    """It will never be accepted: who of these devices is to have the key is looked at anew."""
    sender_keys.doubt(database, handout.client_id)
    database.execute("DELETE FROM handouts WHERE client_id = ?", (handout.client_id,))
    sender_keys.unsettle(database, handout.conversation_id)
