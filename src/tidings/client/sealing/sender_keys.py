"""Sender keys: this device's own, one a group, and which devices have it from which message on.

Who has a sender key reads all that it encrypts from then on. So one is used only as long as everybody who
has it may read what is written: if a member or a device of one is gone there is another. It is renewed in
any case after a week, and in a small group after a hundred messages.

Megolm. spec §6.17
"""

import sqlite3
from collections.abc import Collection, Iterable
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple

import msgspec
import tidings_core as core

from tidings.client.sealing import moments
from tidings.client.sealing.inside import KEY_ID_BYTES, Inside, Outside, seal_under
from tidings.client.sealing.rosters import Roster
from tidings.protocol.frames import Reference
from tidings.protocol.ids import ClientId, ConversationId, DeviceId

RENEW_MS = 7 * 24 * 3600 * 1000
"""how long one is used"""
SMALL = 64
"""members, below which it is used for so many messages:"""
RENEW_MESSAGES = 100
KEEP_MS = 50 * 24 * 3600 * 1000
"""how long what was said can be asked for; the inbox is kept for 45 days"""
KEPT = 64
"""own sender keys of a group, older ones included, that may be asked for"""
NO_STAMP = b""


class Mine(NamedTuple):
    """This device's sender key of a group."""

    key_id: bytes
    key: core.SenderKey
    made_ms: int
    version: int
    """of the group, when it was made"""
    stamp: bytes
    """of the device lists whose devices all have it; see `group_sealer`"""
    look_ms: int
    """when to look again for devices that were left out; 0: none was"""


class Spoken(NamedTuple):
    """The sender key of an own message, as it was before that."""

    conversation_id: ConversationId
    key_id: bytes
    position: int
    share: bytes
    sealed_ms: int


class Missing(msgspec.Struct, array_like=True, frozen=True):
    """Devices that the server said lack the key of an own message."""

    client_id: ClientId
    devices: list[DeviceId]

    def bytes(self) -> bytes:
        """As the content of a SENDER_KEY in the outbox."""
        return msgspec.msgpack.encode(self)


def missing_of(content: bytes) -> Missing:
    """The inverse of `Missing.bytes`."""
    return msgspec.msgpack.decode(content, type=Missing)


def current(database: sqlite3.Connection, conversation_id: ConversationId) -> Mine | None:
    """The sender key in use."""
    row = database.execute(
        "SELECT key_id, state, made_ms, version, stamp, look_ms FROM sender_keys WHERE conversation_id = ?",
        (conversation_id,),
    ).fetchone()
    return None if row is None else Mine(row[0], core.SenderKey.load(row[1]), *row[2:])


def is_worn(mine: Mine, roster: Roster, now_ms: int) -> bool:
    """Whether another one is due, whoever has this one."""
    return (
        roster.removal_at > mine.version
        or now_ms >= mine.made_ms + RENEW_MS
        or (len(roster.members) < SMALL and mine.key.index >= RENEW_MESSAGES)
    )


def begin(database: sqlite3.Connection, roster: Roster, now_ms: int) -> Mine:
    """Another one, which nobody has yet. The one before encrypts nothing more."""
    key = core.SenderKey.generate()
    # Whoever gets it learns this name of it; it says nothing of what it is made of.
    key_id = sha256(b"tidings sender key" + key.share()).digest()[:KEY_ID_BYTES]
    forget(database, roster.conversation_id)
    database.execute(
        "INSERT INTO sender_keys VALUES (?, ?, ?, ?, ?, ?, 0)",
        (roster.conversation_id, key_id, key.save(), now_ms, roster.version, NO_STAMP),
    )
    _forget_old(database, roster.conversation_id)
    return Mine(key_id, key, now_ms, roster.version, NO_STAMP, 0)


def forget(database: sqlite3.Connection, conversation_id: ConversationId) -> None:
    """Drop the sender key in use, and what of it was not handed out yet: the next message has another."""
    unsaid = (
        "SELECT key_id FROM sender_keys k WHERE conversation_id = ?"
        " AND NOT EXISTS (SELECT 1 FROM spoken s WHERE s.key_id = k.key_id)"
    )
    database.execute(f"DELETE FROM given_keys WHERE key_id IN ({unsaid})", (conversation_id,))  # noqa: S608
    database.execute("DELETE FROM sender_keys WHERE conversation_id = ?", (conversation_id,))
    database.execute("DELETE FROM handouts WHERE conversation_id = ?", (conversation_id,))
    database.execute(
        "UPDATE given_keys SET handout = NULL WHERE handout NOT IN (SELECT client_id FROM handouts)"
    )


def begin_anew(database: sqlite3.Connection) -> None:
    """This profile is an older copy: its sender keys encrypted other messages in its other life."""
    for (conversation_id,) in database.execute("SELECT conversation_id FROM sender_keys").fetchall():
        forget(database, ConversationId(conversation_id))


# --- who has it -------------------------------------------------------------------------------


class State(IntEnum):
    """Of a row of `given_keys`."""

    GIVEN = 0
    """it has the key, or is about to"""
    LEFT_OUT = 1
    """it is to have it, and nobody could write to it"""
    DOUBTFUL = 2
    """the key was sealed for it, and refused by the server: who knows what became of that"""


def holders(database: sqlite3.Connection, key_id: bytes) -> set[DeviceId]:
    """The devices that have a sender key, or are about to."""
    return _in_state(database, key_id, State.GIVEN)


def suspects(database: sqlite3.Connection, key_id: bytes) -> set[DeviceId]:
    """The devices that may have it, whatever the server says."""
    return holders(database, key_id) | _in_state(database, key_id, State.DOUBTFUL)


def left_out(database: sqlite3.Connection, key_id: bytes) -> set[DeviceId]:
    """The devices that are to have it, and nobody could write to."""
    return _in_state(database, key_id, State.LEFT_OUT)


def _in_state(database: sqlite3.Connection, key_id: bytes, state: State) -> set[DeviceId]:
    rows = database.execute(
        "SELECT device_id FROM given_keys WHERE key_id = ? AND state = ?", (key_id, state)
    )
    return {DeviceId(row[0]) for row in rows}


def give(
    database: sqlite3.Connection,
    key_id: bytes,
    devices: Iterable[DeviceId],
    since: int,
    handout: ClientId | None = None,
) -> None:
    """Note that devices are given a sender key from an index on, by a frame that is on its way."""
    database.executemany(
        "INSERT INTO given_keys VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " since = min(since, excluded.since), handout = excluded.handout, state = excluded.state",
        [(key_id, device, since, handout, State.GIVEN) for device in devices],
    )


def leave_out(database: sqlite3.Connection, key_id: bytes, devices: Iterable[DeviceId], since: int) -> None:
    """Note that devices are to have it from an index on, and cannot be written to: they may ask."""
    database.executemany(
        "INSERT OR IGNORE INTO given_keys VALUES (?, ?, ?, NULL, ?)",
        [(key_id, device, since, State.LEFT_OUT) for device in devices],
    )


def doubt(database: sqlite3.Connection, handout: ClientId) -> None:
    """The server has refused a frame: what became of the key that it brings is not known."""
    database.execute(
        "UPDATE given_keys SET state = ?, handout = NULL WHERE handout = ?", (State.DOUBTFUL, handout)
    )


def settle(database: sqlite3.Connection, conversation_id: ConversationId, stamp: bytes, look_ms: int) -> None:
    """Note that all devices of some lists have the sender key in use, but those that were left out."""
    database.execute(
        "UPDATE sender_keys SET stamp = ?, look_ms = ? WHERE conversation_id = ?",
        (stamp, look_ms, conversation_id),
    )


def unsettle(database: sqlite3.Connection, conversation_id: ConversationId) -> None:
    """See anew who has the sender key in use, with the next message."""
    settle(database, conversation_id, NO_STAMP, 0)


# --- what was said ----------------------------------------------------------------------------


def speak(
    database: sqlite3.Connection,
    conversation_id: ConversationId,
    mine: Mine,
    inside: Inside,
    outside: Outside,
    now_ms: int,
) -> bytes:
    """The content of an own message. The key has stepped, and is kept so; who asks for it can be answered."""
    index, share = mine.key.index, mine.key.share()
    at_ms = moments.next_ms(database, now_ms)
    content = seal_under(mine.key, mine.key_id, inside, outside)
    database.execute(
        "UPDATE sender_keys SET state = ? WHERE conversation_id = ?", (mine.key.save(), conversation_id)
    )
    database.execute(
        "INSERT OR REPLACE INTO spoken VALUES (?, ?, ?, ?, ?, ?, ?)",
        (outside.client_id, outside.sender_device, conversation_id, mine.key_id, index, share, at_ms),
    )
    return content


def spoken(database: sqlite3.Connection, client_id: ClientId) -> Spoken | None:
    """The sender key of an own message, from that on; None if it is gone."""
    row = database.execute(
        "SELECT conversation_id, key_id, position, share, sealed_ms FROM spoken WHERE client_id = ?",
        (client_id,),
    ).fetchone()
    return None if row is None else Spoken(*row)


def unspeak(database: sqlite3.Connection, name: Reference) -> None:
    """A message is gone: if it is an own one, nobody is told its key any more."""
    database.execute(
        "DELETE FROM spoken WHERE client_id = ? AND sender_device = ?", (name.client_id, name.sender_device)
    )


def entitled(database: sqlite3.Connection, said: Spoken, devices: Collection[DeviceId]) -> list[DeviceId]:
    """Those of some devices that were given the key of a message, or were to be."""
    return [
        device
        for device in devices
        if database.execute(
            "SELECT 1 FROM given_keys WHERE key_id = ? AND device_id = ? AND since <= ?",
            (said.key_id, device, said.position),
        ).fetchone()
        is not None
    ]


def lacking(database: sqlite3.Connection, said: Spoken, devices: Collection[DeviceId]) -> list[DeviceId]:
    """Those of some devices that were not given the key of a message."""
    there = holders(database, said.key_id).intersection(entitled(database, said, devices))
    return [device for device in devices if device not in there]


def prune(database: sqlite3.Connection, now_ms: int) -> None:
    """Forget what nobody may ask for any more."""
    database.execute("DELETE FROM spoken WHERE sealed_ms < ?", (now_ms - KEEP_MS,))
    _forget_unsaid(database)


def _forget_old(database: sqlite3.Connection, conversation_id: ConversationId) -> None:
    """Of many keys the oldest are forgotten: a group that changes all the time must not fill the disk."""
    database.execute(
        "DELETE FROM spoken WHERE conversation_id = ?1 AND key_id NOT IN (SELECT key_id FROM spoken"
        " WHERE conversation_id = ?1 GROUP BY key_id ORDER BY max(sealed_ms) DESC LIMIT ?2)",
        (conversation_id, KEPT),
    )
    _forget_unsaid(database)


def _forget_unsaid(database: sqlite3.Connection) -> None:
    database.execute(
        "DELETE FROM given_keys WHERE key_id NOT IN (SELECT key_id FROM sender_keys)"
        " AND key_id NOT IN (SELECT key_id FROM spoken)"
    )
