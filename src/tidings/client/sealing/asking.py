"""Asking: a device that cannot open a message asks its author once, who sends the key once more.

ASK and KEYS are messages like any other on their way, and none to be shown. The author answers only
devices that the message was sealed for (or that were added just then), each once, over a session that
is younger than the message: so a lost ratchet heals, and nothing loops.

spec §6.16
"""

import sqlite3
from typing import NamedTuple

import msgspec

from tidings.client.sealing import lists, moments
from tidings.client.sealing.inside import Wrapped
from tidings.client.sealing.sealer import Sealed
from tidings.protocol.frames import Message, Reference
from tidings.protocol.ids import ClientId, DeviceId

EARLY_MAX = 1000
"""keys that came before their messages and are kept"""
KEEP_MS = 50 * 24 * 3600 * 1000
"""how long the key of an own message is kept for who asks; the inbox is kept for 45 days"""


class Answering(NamedTuple):
    """The key of an own message, for some devices."""

    wrapped: Wrapped
    devices: list[DeviceId]
    sealed_ms: int
    """the sessions that it goes over are younger"""


# --- the one who cannot read ----------------------------------------------------------------


def keep_unopened(database: sqlite3.Connection, message: Message, sealed: bytes) -> None:
    """Keep the content of a message until its key comes."""
    database.execute(
        "INSERT OR IGNORE INTO unopened VALUES (?, ?, ?, 0)",
        (message.sender_device, message.client_id, sealed),
    )


def is_unopened(database: sqlite3.Connection, name: Reference) -> bool:
    """Whether the key of a message is awaited."""
    return unopened(database, name) is not None


def unopened(database: sqlite3.Connection, name: Reference) -> bytes | None:
    """The content of a message whose key is awaited."""
    row = database.execute(
        "SELECT sealed FROM unopened WHERE sender_device = ? AND client_id = ?",
        (name.sender_device, name.client_id),
    ).fetchone()
    return None if row is None else bytes(row[0])


def opened(database: sqlite3.Connection, name: Reference) -> None:
    """The key has come."""
    database.execute(
        "DELETE FROM unopened WHERE sender_device = ? AND client_id = ?", (name.sender_device, name.client_id)
    )


def may_ask(database: sqlite3.Connection, message: Message, me: DeviceId) -> bool:
    """Whether the author is to be asked for a message's key: once, and only for what was meant for us."""
    since = lists.listed_at(database, me)
    if since is None or message.message_id <= since or message.sender_device == me:
        return False
    asked = database.execute(
        "UPDATE unopened SET asked = 1 WHERE sender_device = ? AND client_id = ? AND asked = 0",
        (message.sender_device, message.client_id),
    ).rowcount
    return asked > 0


def keep_early(database: sqlite3.Connection, name: Reference, key: bytes) -> None:
    """A key came before its message."""
    database.execute("INSERT OR IGNORE INTO early_keys VALUES (?, ?, ?)", (*name_of(name), key))
    database.execute(
        "DELETE FROM early_keys WHERE client_id NOT IN (SELECT client_id FROM early_keys LIMIT ?)",
        (EARLY_MAX,),
    )


def take_early(database: sqlite3.Connection, name: Reference) -> bytes | None:
    """The key that came before its message, once."""
    row = database.execute(
        "DELETE FROM early_keys WHERE sender_device = ? AND client_id = ? RETURNING key", name_of(name)
    ).fetchone()
    return None if row is None else bytes(row[0])


# --- the author -------------------------------------------------------------------------------


def keep_key(database: sqlite3.Connection, name: Reference, sealed: Sealed, now_ms: int) -> None:
    """Keep the key of an own message, and whom it was sealed for."""
    at_ms = moments.next_ms(database, now_ms)
    database.execute(
        "INSERT OR REPLACE INTO message_keys VALUES (?, ?, ?, ?, ?)",
        (*name_of(name), sealed.key, msgspec.msgpack.encode(sorted(sealed.envelopes)), at_ms),
    )


def add_devices(database: sqlite3.Connection, name: Reference, devices: list[DeviceId]) -> None:
    """Devices that were added just before a message was accepted belong to those that it is for."""
    row = database.execute(
        "SELECT devices FROM message_keys WHERE sender_device = ? AND client_id = ?", name_of(name)
    ).fetchone()
    if row is not None:
        known = set(msgspec.msgpack.decode(row[0], type=list[int]))
        database.execute(
            "UPDATE message_keys SET devices = ? WHERE sender_device = ? AND client_id = ?",
            (msgspec.msgpack.encode(sorted(known.union(devices))), *name_of(name)),
        )


def may_answer(database: sqlite3.Connection, name: Reference, device: DeviceId) -> bool:
    """Whether a device is to be sent a message's key, which is then noted: once."""
    answering = answer(database, name, [device])
    if answering is None or not answering.devices:
        return False
    noted = database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (device, name.client_id)).rowcount
    return noted > 0


def answer(database: sqlite3.Connection, name: Reference, devices: list[DeviceId]) -> Answering | None:
    """The key of an own message for those of some devices that may have it; None if it is gone."""
    row = database.execute(
        "SELECT key, devices, sealed_ms FROM message_keys WHERE sender_device = ? AND client_id = ?",
        name_of(name),
    ).fetchone()
    if row is None:
        return None
    entitled = set(msgspec.msgpack.decode(row[1], type=list[int]))
    wrapped = Wrapped(ClientId(name.client_id), row[0])
    return Answering(wrapped, [device for device in devices if device in entitled], row[2])


def forget(database: sqlite3.Connection, name: Reference) -> None:
    """A message is gone: so is its key."""
    for table in ("message_keys", "unopened", "early_keys", "spoken", "unkeyed"):
        database.execute(
            f"DELETE FROM {table} WHERE sender_device = ? AND client_id = ?",  # noqa: S608
            name_of(name),
        )


def prune(database: sqlite3.Connection, now_ms: int) -> None:
    """Forget the keys that nobody may ask for any more."""
    database.execute("DELETE FROM message_keys WHERE sealed_ms < ?", (now_ms - KEEP_MS,))
    database.execute(
        "DELETE FROM answers WHERE client_id NOT IN (SELECT client_id FROM message_keys)"
        " AND client_id NOT IN (SELECT client_id FROM spoken)"
    )


def devices_in(content: bytes) -> list[DeviceId]:
    """The devices that a KEYS in the outbox is for."""
    return [DeviceId(one) for one in msgspec.msgpack.decode(content, type=list[int])]


def naming(devices: list[DeviceId]) -> bytes:
    """The inverse of `devices_in`."""
    return msgspec.msgpack.encode([int(one) for one in devices])


def name_of(name: Reference) -> tuple[DeviceId, ClientId]:
    """A message's name as a key of the tables."""
    return name.sender_device, name.client_id
