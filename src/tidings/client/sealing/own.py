"""What is this device's own: its keys, its prekeys, and the user's identity once it is linked.

The identity's private key is on every linked device, and nowhere else: each of them may sign the
device list. A device that was not linked has keys, and no identity.

spec §6.16
"""

import sqlite3
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import tidings_core as core

from tidings.client.stretching import STRETCHED_BYTES
from tidings.protocol.api import OneTimeKey, SignedKey

WEEK_MS = 7 * 24 * 3600 * 1000
RENEW_MS = WEEK_MS
"""how old a signed prekey gets before there is another one"""
KEEP_MS = 7 * WEEK_MS
"""how long it opens what was sealed for it, from when there was another one; the inbox is kept for 45 days"""
ONE_TIME_KEPT = 400
"""one-time secrets that are kept at most; the server keeps fewer"""
SECRET_BYTES = 32
CODES = 5
"""codes that hold at a time: an answer to one may come when another is shown already"""
LOADED = 8
"""keys that are kept as they were made of what is stored: that takes as long as to seal a message"""


class Kind(IntEnum):
    """Of a row of `prekeys`."""

    PREKEY = 1
    LAST_RESORT = 2
    ONE_TIME = 3
    """an X25519 secret, then an ML-KEM seed"""


class Own(NamedTuple):
    """This device's keys."""

    keys: core.DeviceKeys
    identity: core.SigningKey | None
    """None: not linked"""
    generation: int
    """grows with each connection; a restored copy of the profile falls behind"""


class Secrets(NamedTuple):
    """What opens the first message of a session."""

    prekey: core.Prekey
    kem: core.KemPrekey
    one_time: core.Prekey | None


def create(database: sqlite3.Connection) -> None:
    """Make this device's keys, unless it has them."""
    keys = core.DeviceKeys.generate()
    database.execute(
        "INSERT OR IGNORE INTO own_keys (only, device, identity, generation, next_id)"
        " VALUES (0, ?, x'', 0, 1)",
        (keys.save(),),
    )


def load(database: sqlite3.Connection) -> Own | None:
    """The keys; None before `create`."""
    row = database.execute("SELECT device, identity, generation FROM own_keys").fetchone()
    if row is None:
        return None
    return Own(_device_keys(row[0]), _identity(row[1]) if row[1] else None, row[2])


def adopt(
    database: sqlite3.Connection, identity: core.SigningKey, former: core.SigningKey | None = None
) -> None:
    """The user's identity is known here: this device is linked. One that had another begins anew.

    `former` is the one before, where it is known and was not this device's.
    """
    secret = identity.secret()
    before = None if former is None else former.secret()
    row = database.execute(
        "SELECT identity FROM own_keys WHERE identity NOT IN (x'', ?)", (secret,)
    ).fetchone()
    if row is not None:
        before = row[0]
        database.execute("UPDATE sessions SET is_outbound_lost = 1")
    database.execute(
        "UPDATE own_keys SET identity = ?, link_key = NULL, fresh = NULL, former = coalesce(?, former)",
        (secret, before),
    )


def former(database: sqlite3.Connection) -> core.SigningKey | None:
    """The identity before this one, as far as it is known here."""
    row = database.execute("SELECT former FROM own_keys").fetchone()
    return None if row is None or row[0] is None else _identity(row[0])


def has_identity(database: sqlite3.Connection, public: bytes) -> bool:
    """Whether this is the user's own identity, as this device has it."""
    row = database.execute("SELECT identity FROM own_keys WHERE identity <> x''").fetchone()
    return row is not None and _identity(row[0]).public == public


def offered(database: sqlite3.Connection, key: bytes) -> Own:
    """Remember the key of the code that this device shows."""
    create(database)
    former = b"".join(link_keys(database)[: CODES - 1])
    database.execute("UPDATE own_keys SET link_key = ?", (key + former,))
    mine = load(database)
    assert mine is not None
    return mine


def link_keys(database: sqlite3.Connection) -> list[bytes]:
    """The keys of the codes that this device shows, or has just shown, until it is linked; newest first."""
    row = database.execute("SELECT link_key FROM own_keys").fetchone()
    kept = b"" if row is None or row[0] is None else bytes(row[0])
    return [kept[at : at + STRETCHED_BYTES] for at in range(0, len(kept), STRETCHED_BYTES)]


def forget_identity(database: sqlite3.Connection) -> None:
    """The user has another identity, as somebody vouches who was told this device's code."""
    database.execute("UPDATE own_keys SET identity = x''")
    database.execute("UPDATE sessions SET is_outbound_lost = 1")


def made_fresh(database: sqlite3.Connection) -> core.SigningKey:
    """Another identity, that is about to be told to the server.

    One that was made for this before, and may still come to be the user's, is that again: of two attempts
    either may be the one that counts in the end, and nobody could make the key of it once more.
    """
    pending, mine = fresh(database), load(database)
    if pending is not None and (
        mine is None or mine.identity is None or mine.identity.public != pending.public
    ):
        return pending
    made = core.SigningKey.generate()
    _keep_fresh(database, made)
    return made


def _keep_fresh(database: sqlite3.Connection, identity: core.SigningKey) -> None:
    database.execute("UPDATE own_keys SET fresh = ?", (identity.secret(),))


def fresh(database: sqlite3.Connection) -> core.SigningKey | None:
    """An identity of which it is not known whether the server has it, or the other devices."""
    row = database.execute("SELECT fresh FROM own_keys").fetchone()
    return None if row is None or row[0] is None else core.SigningKey.load(row[0])


def adopt_fresh(database: sqlite3.Connection, identity: core.SigningKey) -> None:
    """The server has the identity that this device made: the others are to be sent it, see `handed_over`."""
    adopt(database, identity)
    _keep_fresh(database, identity)


def handed_over(database: sqlite3.Connection, identity: core.SigningKey) -> None:
    """All other devices were sent an identity that this one made; it may have made another one since."""
    database.execute("UPDATE own_keys SET fresh = NULL WHERE fresh = ?", (identity.secret(),))


def next_generation(database: sqlite3.Connection) -> int:
    """The generation to tell at the next connection: the one after the last that was welcomed.

    It grows with a Welcome alone: else a copy that tries often enough gets past what was told before.
    """
    row = database.execute("SELECT generation FROM own_keys").fetchone()
    return 0 if row is None else int(row[0]) + 1


def raise_generation(database: sqlite3.Connection) -> None:
    """This profile is an older copy, as it turns out: what it counts from now on is of a later generation."""
    database.execute("UPDATE own_keys SET generation = generation + 1")


def is_copy(database: sqlite3.Connection, told: int, newest: int) -> bool:
    """Whether the generation that was told, and welcomed now, had been told before; the next one is greater.

    What another process of this profile told meanwhile is no sign of that. That a Welcome got lost looks the
    same, and is taken for it.
    """
    row = database.execute("SELECT generation FROM own_keys").fetchone()
    if row is None or row[0] >= told:
        return False
    was_told = newest >= told
    database.execute("UPDATE own_keys SET generation = ?", (newest + 1 if was_told else told,))
    return was_told


def raise_ids(database: sqlite3.Connection, newest: int) -> bool:
    """Whether the server knows ids that this profile does not: it is an older copy, and gives later ones."""
    raised = database.execute(
        "UPDATE own_keys SET next_id = ? WHERE next_id <= ?", (newest + 1, newest)
    ).rowcount
    return raised > 0


def renewed(
    database: sqlite3.Connection, keys: core.DeviceKeys, now_ms: int, *, anew: bool = False
) -> tuple[SignedKey, SignedKey]:
    """The signed prekey and the KEM key of the last resort to publish.

    New ones once they are a week old, or with `anew`.
    """
    newest = [_newest(database, kind) for kind in (Kind.PREKEY, Kind.LAST_RESORT)]
    if anew or any(row is None or row[2] <= now_ms - RENEW_MS for row in newest):
        _keep(database, Kind.PREKEY, core.Prekey.generate().secret(), now_ms)
        _keep(database, Kind.LAST_RESORT, core.KemPrekey.generate().secret(), now_ms)
        _prune(database, now_ms)
        newest = [_newest(database, kind) for kind in (Kind.PREKEY, Kind.LAST_RESORT)]
    prekey, last_resort = newest
    assert prekey is not None
    assert last_resort is not None
    return (
        _signed_prekey(keys, prekey[0], core.Prekey.load(prekey[1]).public),
        _signed_kem(keys, last_resort[0], core.KemPrekey.load(last_resort[1]).public),
    )


def one_time(
    database: sqlite3.Connection, keys: core.DeviceKeys, count: int, now_ms: int
) -> list[OneTimeKey]:
    """So many fresh pairs, to be handed to one who asks each."""
    made = []
    for _ in range(count):
        prekey, kem = core.Prekey.generate(), core.KemPrekey.generate()
        key_id = _keep(database, Kind.ONE_TIME, prekey.secret() + kem.secret(), now_ms)
        signed = _signed_kem(keys, key_id, kem.public)
        made.append(OneTimeKey(key_id, prekey.public, kem.public, signed.signature))
    return made


def secrets(
    database: sqlite3.Connection, prekey_id: int, kem_id: int, one_time_id: int | None
) -> Secrets | None:
    """What a first message was sealed for; None if that is not (or no longer) here."""
    prekey = _secret(database, Kind.PREKEY, prekey_id)
    if prekey is None:
        return None
    if one_time_id is None:
        last_resort = _secret(database, Kind.LAST_RESORT, kem_id)
        if last_resort is None:
            return None
        return Secrets(core.Prekey.load(prekey), core.KemPrekey.load(last_resort), None)
    pair = _secret(database, Kind.ONE_TIME, one_time_id) if kem_id == one_time_id else None
    if pair is None:
        return None
    return Secrets(
        core.Prekey.load(prekey),
        core.KemPrekey.load(pair[SECRET_BYTES:]),
        core.Prekey.load(pair[:SECRET_BYTES]),
    )


def spend(database: sqlite3.Connection, one_time_id: int) -> None:
    """A one-time pair was used: it opens nothing more."""
    database.execute("DELETE FROM prekeys WHERE kind = ? AND key_id = ?", (Kind.ONE_TIME, one_time_id))


_device_keys = lru_cache(LOADED)(core.DeviceKeys.load)
_identity = lru_cache(LOADED)(core.SigningKey.load)


def _keep(database: sqlite3.Connection, kind: Kind, secret: bytes, now_ms: int) -> int:
    (key_id,) = database.execute("SELECT next_id FROM own_keys").fetchone()
    database.execute("UPDATE own_keys SET next_id = next_id + 1")
    database.execute("INSERT INTO prekeys VALUES (?, ?, ?, ?)", (kind, key_id, secret, now_ms))
    return int(key_id)


def _newest(database: sqlite3.Connection, kind: Kind) -> tuple[int, bytes, int] | None:
    row: tuple[int, bytes, int] | None = database.execute(
        "SELECT key_id, secret, made_ms FROM prekeys WHERE kind = ? ORDER BY key_id DESC LIMIT 1", (kind,)
    ).fetchone()
    return row


def _secret(database: sqlite3.Connection, kind: Kind, key_id: int) -> bytes | None:
    row = database.execute(
        "SELECT secret FROM prekeys WHERE kind = ? AND key_id = ?", (kind, key_id)
    ).fetchone()
    return None if row is None else bytes(row[0])


def _prune(database: sqlite3.Connection, now_ms: int) -> None:
    # Counted from its successor: a device that was away for long was sealed for with an old one until now.
    database.execute(
        "DELETE FROM prekeys WHERE kind IN (?, ?) AND key_id <"
        " (SELECT max(key_id) FROM prekeys p WHERE p.kind = prekeys.kind AND p.made_ms < ?)",
        (Kind.PREKEY, Kind.LAST_RESORT, now_ms - KEEP_MS),
    )
    database.execute(
        "DELETE FROM prekeys WHERE kind = ? AND key_id <= coalesce((SELECT key_id FROM prekeys WHERE kind = ?"
        " ORDER BY key_id DESC LIMIT 1 OFFSET ?), 0)",
        (Kind.ONE_TIME, Kind.ONE_TIME, ONE_TIME_KEPT),
    )


def _signed_prekey(keys: core.DeviceKeys, key_id: int, public: bytes) -> SignedKey:
    return SignedKey(key_id, public, keys.sign_prekey(key_id, public))


def _signed_kem(keys: core.DeviceKeys, key_id: int, public: bytes) -> SignedKey:
    return SignedKey(key_id, public, keys.sign_kem_prekey(key_id, public))
