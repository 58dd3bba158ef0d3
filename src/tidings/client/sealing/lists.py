"""Lists: which devices a user has, as the user signed it.

The identity that signed the first list is pinned. A list of the same identity must have a greater
version; one of another identity is taken, and the user is told: it is never silent. What the server
says beside a list (`gone`) only leaves devices out.

spec §6.16
"""

import sqlite3
from functools import lru_cache
from typing import NamedTuple

import msgspec
import tidings_core as core

from tidings.client.sealing import own
from tidings.client.sealing.warnings import warn
from tidings.protocol.frames import SignedDevices
from tidings.protocol.ids import DeviceId, EntryId, UserId
from tidings.protocol.keys import DEVICE_LIST, DeviceListBody, ListedDevice, decode_list

READ = 64
"""lists that are kept as they were read"""
DEVICES_MAX = 64
"""in a list; servers allow fewer"""


class Listed(NamedTuple):
    """A user's devices as this profile knows them."""

    user_id: UserId
    version: int
    identity: bytes
    keys_at: EntryId
    """as of when the server told that this is the newest list"""
    devices: list[ListedDevice]
    """those to seal for"""
    gone: frozenset[DeviceId]
    """those that the list names, and that are logged out: the next list leaves them out"""
    is_blocked: bool
    """the identity changed, and the user wants to agree before anything is sealed for it"""


class Verdict(msgspec.Struct, frozen=True):
    """How a user's identity is trusted."""

    identity: bytes
    verified: bool
    """the safety number was compared"""


def known(database: sqlite3.Connection, user_id: UserId) -> Listed | None:
    """A user's newest list."""
    row = database.execute(
        "SELECT version, identity, body, keys_at, gone, blocked FROM device_lists WHERE user_id = ?",
        (user_id,),
    ).fetchone()
    if row is None:
        return None
    there, gone = _named(row[2], row[4])
    return Listed(user_id, row[0], row[1], EntryId(row[3]), there, gone, bool(row[5]))


@lru_cache(READ)
def _named(body: bytes, gone: bytes) -> tuple[list[ListedDevice], frozenset[DeviceId]]:
    """The devices of a list: those that are there, which nobody may change, and those that are gone."""
    left_out = set(msgspec.msgpack.decode(gone, type=list[int]))
    named = decode_list(body, DEVICES_MAX).devices
    there = [one for one in named if one.device_id not in left_out]
    return there, frozenset(one.device_id for one in named if one.device_id in left_out)


def identities(database: sqlite3.Connection, user_id: UserId) -> list[bytes]:
    """A user's identity, then the one before if the newest list names it; none if no list is known."""
    row = database.execute("SELECT identity, body FROM device_lists WHERE user_id = ?", (user_id,)).fetchone()
    if row is None:
        return []
    return [one for one in (row[0], _previous(row[1])) if one]


@lru_cache(READ)
def _previous(body: bytes) -> bytes:
    """The identity that a list names as the one before; empty if it names none."""
    return decode_list(body, DEVICES_MAX).previous


def device(database: sqlite3.Connection, user_id: UserId, device_id: DeviceId) -> ListedDevice | None:
    """A device of a user that is, or was, in a list; its keys never change."""
    row = database.execute(
        "SELECT signing, agreement FROM known_devices WHERE user_id = ? AND device_id = ?",
        (user_id, device_id),
    ).fetchone()
    return None if row is None else ListedDevice(device_id, *row)


def owner(database: sqlite3.Connection, device_id: DeviceId) -> UserId | None:
    """The user in whose list a device was seen."""
    row = database.execute("SELECT user_id FROM known_devices WHERE device_id = ?", (device_id,)).fetchone()
    return None if row is None else UserId(row[0])


def removed_at(database: sqlite3.Connection, device_id: DeviceId) -> EntryId | None:
    """As of when a device was seen to be in its user's list no more; None if it is in."""
    row = database.execute(
        "SELECT removed_at FROM known_devices WHERE device_id = ?", (device_id,)
    ).fetchone()
    return None if row is None or row[0] is None else EntryId(row[0])


def listed_at(database: sqlite3.Connection, device_id: DeviceId) -> EntryId | None:
    """As of when a device was first seen in its user's list."""
    row = database.execute("SELECT listed_at FROM known_devices WHERE device_id = ?", (device_id,)).fetchone()
    return None if row is None else EntryId(row[0])


def store(
    database: sqlite3.Connection, signed: SignedDevices, keys_at: EntryId, *, strict: bool = False
) -> bool:
    """Take a list that the server told; whether it is one to go by.

    One that is forged, or older than what is known, is not, and the user is told. Nor is one of one's
    own that our identity did not sign. `strict`: after a change of identity nothing is sealed for the
    user until `trust`.
    """
    try:
        body = checked(signed)
        _check_devices(database, body)
    except ValueError as error:
        warn(database, "list_forged", signed.user_id, str(error))
        return False
    before = database.execute(
        "SELECT version, identity, body, keys_at FROM device_lists WHERE user_id = ?", (signed.user_id,)
    ).fetchone()
    if before is not None and not _may_follow(database, body, signed, before):
        return False
    is_other = before is not None and before[1] != body.identity
    if is_other:
        is_signed = body.previous == before[1]
        warn(database, "identity_changed" if is_signed else "identity_replaced", signed.user_id, "")
        database.execute("UPDATE device_lists SET verified = 0 WHERE user_id = ?", (signed.user_id,))
        _renew_sessions(database, signed.user_id)
    _write(database, signed, body, keys_at, blocked=is_other and strict)
    return True


def trust(database: sqlite3.Connection, user_id: UserId, *, verified: bool) -> None:
    """The user agrees to the identity as it is now. `verified`: its safety number was compared."""
    database.execute(
        "UPDATE device_lists SET blocked = 0, verified = max(verified, ?) WHERE user_id = ?",
        (verified, user_id),
    )


def verdict(database: sqlite3.Connection, user_id: UserId) -> Verdict | None:
    """How a user's identity is trusted; None if it is not known."""
    row = database.execute(
        "SELECT identity, verified FROM device_lists WHERE user_id = ?", (user_id,)
    ).fetchone()
    return None if row is None else Verdict(row[0], bool(row[1]))


def checked(signed: SignedDevices) -> DeviceListBody:
    """A list whose signatures are right. Raises ValueError."""
    body = decode_list(signed.body, DEVICES_MAX)
    if body.user_id != signed.user_id:
        raise ValueError("the list of somebody else")
    try:
        core.verify(body.identity, DEVICE_LIST, signed.body, signed.signature)
        if body.previous:
            core.verify(body.previous, DEVICE_LIST, signed.body, signed.previous_signature)
    except core.CryptoError as error:
        raise ValueError(f"the signature is wrong: {error}") from None
    return body


def _check_devices(database: sqlite3.Connection, body: DeviceListBody) -> None:
    """A device keeps its keys, whoever signs. Raises ValueError."""
    for one in body.devices:
        row = database.execute(
            "SELECT user_id, signing, agreement FROM known_devices WHERE device_id = ?", (one.device_id,)
        ).fetchone()
        if row is not None and row != (body.user_id, one.signing, one.agreement):
            raise ValueError(f"device {one.device_id} is known with other keys")


def _may_follow(
    database: sqlite3.Connection,
    body: DeviceListBody,
    signed: SignedDevices,
    before: tuple[int, bytes, bytes, int],
) -> bool:
    version, identity, known_body, _ = before
    if body.identity == identity:
        if body.version > version or signed.body == known_body:
            return True
        warn(database, "list_old", signed.user_id, f"version {body.version} after {version}")
        return False
    if body.previous != identity and own.has_identity(database, identity):
        # Who lost all devices begins so; but this one is in, and would have to have signed it.
        warn(database, "list_forged", signed.user_id, "your identity was not asked before another one came")
        return False
    if body.version <= version:
        warn(
            database, "list_old", signed.user_id, f"another identity, version {body.version} after {version}"
        )
        return False
    return True


def _renew_sessions(database: sqlite3.Connection, user_id: UserId) -> None:
    """Sessions are bound to the identities of both: another one, other sessions to seal over."""
    database.execute(
        "UPDATE sessions SET is_outbound_lost = 1"
        " WHERE device_id IN (SELECT device_id FROM known_devices WHERE user_id = ?)",
        (user_id,),
    )


def _write(
    database: sqlite3.Connection,
    signed: SignedDevices,
    body: DeviceListBody,
    keys_at: EntryId,
    *,
    blocked: bool,
) -> None:
    user_id = signed.user_id
    database.execute(
        "INSERT INTO device_lists (user_id, version, identity, body, keys_at, gone, blocked)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version,"
        " identity = excluded.identity, body = excluded.body, keys_at = max(keys_at, excluded.keys_at),"
        " gone = excluded.gone, blocked = max(blocked, excluded.blocked)",
        (
            user_id,
            body.version,
            body.identity,
            signed.body,
            keys_at,
            msgspec.msgpack.encode(signed.gone),
            blocked,
        ),
    )
    for one in body.devices:
        database.execute(
            "INSERT INTO known_devices VALUES (?, ?, ?, ?, ?, NULL)"
            " ON CONFLICT DO UPDATE SET removed_at = NULL",
            (one.device_id, user_id, one.signing, one.agreement, keys_at),
        )
    listed = {int(one.device_id) for one in body.devices}
    for (device_id,) in database.execute(
        "SELECT device_id FROM known_devices WHERE user_id = ? AND removed_at IS NULL", (user_id,)
    ).fetchall():
        if device_id not in listed:
            database.execute(
                "UPDATE known_devices SET removed_at = ? WHERE device_id = ?", (keys_at, device_id)
            )
            database.execute("DELETE FROM sessions WHERE device_id = ?", (device_id,))
