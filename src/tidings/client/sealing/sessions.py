"""Sessions: a ratchet for each pair of devices, kept in the transaction of what it seals or opens.

Two devices that write to each other first at the same time have two; each goes on with the one that
opened something last. A few older ones are kept for what is still on its way.

PQXDH and the Double Ratchet as Signal published them; see docs/concepts/encryption.md. spec §6.16
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import tidings_core as core

from tidings.client.sealing import lists, moments, own
from tidings.client.sealing.own import Own, Secrets
from tidings.protocol.frames import Bundle
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.keys import ListedDevice

KEPT = 5
"""sessions with one device"""
AT_HAND = 64
"""ratchets that are kept beside their states: to make one of its state takes longer than a step"""


class Unopened(Exception):
    """An envelope could not be opened. The database is as it was."""


class _Row(NamedTuple):
    """A session as it is stored."""

    session_id: bytes
    state: bytes
    is_newest: bool
    """of those with its device, it opened something last"""


class End(NamedTuple):
    """One end of a session, as both bind it into their keys."""

    user_id: UserId
    device_id: DeviceId
    identity: bytes


class Ends(NamedTuple):
    """What a session that another device began is bound to."""

    me: End
    sender: End


def has(database: sqlite3.Connection, device: DeviceId, since_ms: int = 0) -> bool:
    """Whether there is a session with a device, made after a moment."""
    row = database.execute(
        "SELECT 1 FROM sessions WHERE device_id = ? AND made_ms > ? AND is_outbound_lost = 0 LIMIT 1",
        (device, since_ms),
    ).fetchone()
    return row is not None


def begin(
    database: sqlite3.Connection, mine: Own, me: End, listed: ListedDevice, bundle: Bundle, now_ms: int
) -> None:
    """Make a session from a bundle. Raises Unopened if that is not of this device, or is wrong."""
    if (bundle.signing, bundle.agreement) != (listed.signing, listed.agreement):
        raise Unopened("the bundle has other keys than the signed list")
    peer = lists.known(database, bundle.user_id)
    assert peer is not None
    end = End(bundle.user_id, bundle.device_id, peer.identity)
    try:
        session = core.Session.outbound(mine.keys, _bundle(bundle), _context(me, end))
    except core.CryptoError as error:
        raise Unopened(f"the bundle is wrong: {error}") from None
    _add(database, bundle.device_id, session, now_ms)


def wrap(database: sqlite3.Connection, device: DeviceId, data: bytes) -> bytes:
    """Encrypt for a device, over the session that opened something last. There must be one."""
    row = database.execute(
        "SELECT state FROM sessions WHERE device_id = ? AND is_outbound_lost = 0 ORDER BY used DESC LIMIT 1",
        (device,),
    ).fetchone()
    session = _load(row[0])
    envelope = session.encrypt(data)
    _keep(database, device, session)
    return envelope


def unwrap(
    database: sqlite3.Connection,
    mine: Own,
    ends: Sequence[Ends],
    listed: ListedDevice,
    envelope: bytes,
    now_ms: int,
) -> bytes:
    """Decrypt what a device sent. A session that it begins is of one of some ends. Raises Unopened."""
    device = listed.device_id
    try:
        handshake = core.handshake_of(envelope)
        if handshake is None:
            return _by_ratchet(database, device, envelope)
        if (handshake.signing, handshake.agreement) != (listed.signing, listed.agreement):
            raise Unopened("the session is of another device than the signed list says")
        for row in _rows(database, device):
            if row.session_id == handshake.session_id:
                return _by_session(database, device, row, envelope)
        return _first(database, mine, ends, device, handshake, envelope, now_ms)
    except core.CryptoError as error:
        raise Unopened(str(error)) from None


def begins(envelope: bytes) -> bool:
    """Whether an envelope may begin a session: else it goes on with one that is there."""
    try:
        return core.handshake_of(envelope) is not None
    except core.CryptoError:
        return True


def is_of_others(
    database: sqlite3.Connection, mine: Own, ends: Sequence[Ends], device: DeviceId, envelope: bytes
) -> bool:
    """Whether an envelope begins a session of other ends: one of the two may have another identity since."""
    try:
        handshake = core.handshake_of(envelope)
        if handshake is None:
            return False
        if any(row.session_id == handshake.session_id for row in _rows(database, device)):
            return False
        secrets = own.secrets(database, handshake.prekey_id, handshake.kem_id, handshake.one_time_id)
        if secrets is None:
            return False
        _inbound(mine, ends, secrets, envelope)
    except (core.CryptoError, Unopened):
        return True
    return False


def forget_outbound(database: sqlite3.Connection) -> None:
    """This profile is an older copy: what it would seal over its sessions was sealed before."""
    database.execute("UPDATE sessions SET is_outbound_lost = 1")


def _first(
    database: sqlite3.Connection,
    mine: Own,
    ends: Sequence[Ends],
    device: DeviceId,
    handshake: core.Handshake,
    envelope: bytes,
    now_ms: int,
) -> bytes:
    secrets = own.secrets(database, handshake.prekey_id, handshake.kem_id, handshake.one_time_id)
    if secrets is None:
        raise Unopened("sealed for a prekey that is not here any more")
    session, data = _inbound(mine, ends, secrets, envelope)
    if handshake.one_time_id is not None:
        own.spend(database, handshake.one_time_id)
    _add(database, device, session, now_ms)
    return data


def _inbound(
    mine: Own, ends: Sequence[Ends], secrets: Secrets, envelope: bytes
) -> tuple[core.Session, bytes]:
    """The session that an envelope begins, and what that says. Raises Unopened if it is of no such ends."""
    failure = "nobody is known whom it may be of"
    for me, sender in ends:
        try:
            return core.Session.inbound(
                mine.keys, envelope, secrets.prekey, secrets.kem, secrets.one_time, _context(sender, me)
            )
        except core.CryptoError as error:
            failure = str(error)
    raise Unopened(failure)


def _by_ratchet(database: sqlite3.Connection, device: DeviceId, envelope: bytes) -> bytes:
    rows = _rows(database, device)
    for row in rows:
        try:
            return _by_session(database, device, row, envelope)
        except core.Undecryptable:
            continue
    raise Unopened("no session opens it" if rows else "there is no session with its sender")


def _by_session(database: sqlite3.Connection, device: DeviceId, row: _Row, envelope: bytes) -> bytes:
    session = _load(row.state)
    data = session.decrypt(envelope)
    _keep(database, device, session)
    if not row.is_newest:
        # What is sealed next goes over it.
        database.execute(
            "UPDATE sessions SET used = (SELECT max(used) + 1 FROM sessions WHERE device_id = ?1)"
            " WHERE device_id = ?1 AND session_id = ?2",
            (device, row.session_id),
        )
    return data


def _rows(database: sqlite3.Connection, device: DeviceId) -> list[_Row]:
    """The sessions with a device, first the one that opened something last."""
    rows = database.execute(
        "SELECT session_id, state FROM sessions WHERE device_id = ? ORDER BY used DESC", (device,)
    ).fetchall()
    return [_Row(found, state, not place) for place, (found, state) in enumerate(rows)]


def _keep(database: sqlite3.Connection, device: DeviceId, session: core.Session) -> None:
    """Keep the state of a session that is there."""
    state = session.save()
    database.execute(
        "UPDATE sessions SET state = ? WHERE device_id = ? AND session_id = ?",
        (state, device, session.session_id),
    )
    _at_hand[state] = session
    if len(_at_hand) > AT_HAND:
        _at_hand.popitem(last=False)


_at_hand: OrderedDict[bytes, core.Session] = OrderedDict()
"""by their states: what the database has decides, and after a transaction that is undone it is another"""


def _load(state: bytes) -> core.Session:
    """The session of a state. Nobody else has it: it takes a step, and is kept under its next state."""
    return _at_hand.pop(state, None) or core.Session.load(state)


def _add(database: sqlite3.Connection, device: DeviceId, session: core.Session, now_ms: int) -> None:
    """Keep a new session: what is sealed next goes over it. The oldest of many is forgotten."""
    database.execute(
        "INSERT INTO sessions (device_id, session_id, state, made_ms, used, is_outbound_lost)"
        " VALUES (?1, ?2, ?3, ?4, (SELECT coalesce(max(used), 0) + 1 FROM sessions WHERE device_id = ?1), 0)"
        " ON CONFLICT DO UPDATE SET state = excluded.state, used = excluded.used",
        (device, session.session_id, session.save(), moments.next_ms(database, now_ms)),
    )
    database.execute(
        "DELETE FROM sessions WHERE device_id = ? AND session_id NOT IN"
        " (SELECT session_id FROM sessions WHERE device_id = ? ORDER BY used DESC LIMIT ?)",
        (device, device, KEPT),
    )


def _bundle(bundle: Bundle) -> core.Bundle:
    return core.Bundle(
        signing=bundle.signing,
        agreement=bundle.agreement,
        agreement_signature=bundle.agreement_signature,
        prekey_id=bundle.prekey_id,
        prekey=bundle.prekey,
        prekey_signature=bundle.prekey_signature,
        kem_id=bundle.kem_id,
        kem=bundle.kem,
        kem_signature=bundle.kem_signature,
        one_time_id=bundle.one_time_id,
        one_time=bundle.one_time,
    )


def _context(initiator: End, responder: End) -> bytes:
    """Who talks to whom: both ends bind it into the session's keys."""
    return msgspec.msgpack.encode(("tidings session", initiator, responder))
