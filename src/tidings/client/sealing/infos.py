"""Infos: the name and description of a group, sealed for its members.

```
 1 | id of the info key, 8 | counter, 8, big-endian | nonce, 12 | ChaCha20-Poly1305( info )
```

Its key is random, one for all members: it travels with every sender key that somebody is given, and in invite
links beside the code. Who edits the info after somebody was removed makes another one. The counter grows
with each edit, so that the server cannot give back an older info unseen.

A key seals more than once here, each time with a nonce of its own: hence not the core's `seal`, whose keys
seal once. HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439).

spec §6.17
"""

import os
import sqlite3
import struct
from collections.abc import Collection
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tidings.client.sealing import sender_keys
from tidings.client.sealing.warnings import NOBODY, Kind, warn
from tidings.protocol.ids import ConversationId

FORMAT = 1
KEY_BYTES = 32
KEY_ID_BYTES = 8
NONCE_BYTES = 12
HEAD_BYTES = 1 + KEY_ID_BYTES + 8
KEPT = 8
"""info keys of a group"""
INFO, PICTURE = b"tidings group info", b"tidings group picture"
"""what is sealed"""
UNKNOWN = -1
NOTHING_READ = -1
COUNTER_MAX = (1 << 53) - 1


class _Key(NamedTuple):
    key: bytes
    removal_at: int
    """of the group, when it was made here; UNKNOWN: a member brought it"""


class _Known(NamedTuple):
    """The newest info that could be read; `counter` -1: none was."""

    counter: int
    sealed: bytes
    refused: bytes
    """hash of the last one that was not gone by: it is told of once"""


def seal_info(
    database: sqlite3.Connection, conversation_id: ConversationId, info: bytes, removal_at: int = 0
) -> bytes:
    """An info as the server is told it. `removal_at`: the version of the group's last removal of a member.

    Its key is on its way to nobody yet, if it is another one: it goes with the next sender key, which is
    renewed for it.
    """
    key = _key_for(database, conversation_id, removal_at)
    counter = min(_known(database, conversation_id).counter + 1, COUNTER_MAX)
    return _sealed(key, INFO, conversation_id, counter, info)


def open_info(database: sqlite3.Connection, conversation_id: ConversationId, told: bytes) -> bytes | None:
    """What the info that the server told says, or the one before where it is not to be gone by.

    None where neither can be read: the key may come, with the sender key of any member. One that is older
    than what was read here, or that no member sealed, is warned of.
    """
    known = _known(database, conversation_id)
    if told != known.sealed:
        known = _taken(database, conversation_id, told, known)
    key = _named(database, conversation_id, known.sealed[1:][:KEY_ID_BYTES])
    return None if key is None else _open(INFO, conversation_id, key.key, known.sealed)


def seal_picture(
    database: sqlite3.Connection, conversation_id: ConversationId, picture: bytes, removal_at: int = 0
) -> bytes:
    """A picture as the server is given it, sealed as an info is. Which is the newest, the server says."""
    key = _key_for(database, conversation_id, removal_at)
    return _sealed(key, PICTURE, conversation_id, 0, picture)


def open_picture(database: sqlite3.Connection, conversation_id: ConversationId, told: bytes) -> bytes | None:
    """The picture that the server gave; None where it is not one of this group, or of an unknown key."""
    try:
        key = _named(database, conversation_id, _parsed(told)[0])
        return None if key is None else _open(PICTURE, conversation_id, key.key, told)
    except ValueError:
        return None


def peek(database: sqlite3.Connection, conversation_id: ConversationId, told: bytes) -> bytes | None:
    """What some info of a group says, the newest or not; None where it cannot be read. Writes nothing."""
    try:
        key = _named(database, conversation_id, _parsed(told)[0])
        return None if key is None else _open(INFO, conversation_id, key.key, told)
    except ValueError:
        return None


def preview(conversation_id: ConversationId, key: bytes, told: bytes) -> bytes | None:
    """What the info says, by the key of an invite link; None if that is of an older one."""
    try:
        return _open(INFO, conversation_id, key, told)
    except ValueError:
        return None


def keys_to_give(database: sqlite3.Connection, conversation_id: ConversationId) -> bytes:
    """What opens the group's info, for who is given a sender key: a key, or two while it is being changed."""
    found = [key_of(database, conversation_id)]
    fresh = _newest(database, conversation_id, made_here=True)
    if fresh is not None and fresh.key not in found:
        found.append(fresh.key)
    return b"".join(found)


def key_of(database: sqlite3.Connection, conversation_id: ConversationId) -> bytes:
    """The key of the newest info, for an invite link; empty: not known here."""
    sealed = _known(database, conversation_id).sealed
    used = _named(database, conversation_id, sealed[1:][:KEY_ID_BYTES]) if sealed else None
    used = used or _newest(database, conversation_id)
    return b"" if used is None else used.key


def learn(database: sqlite3.Connection, conversation_id: ConversationId, keys: bytes) -> list[bytes]:
    """A member, or an invite link, brought info keys; the ids of those that were not known."""
    found = [keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)]
    if any(len(key) != KEY_BYTES for key in found):
        return []  # a link that was cut off, say
    return [_key_id(key) for key in found if _keep(database, conversation_id, key, UNKNOWN)]


def is_sealed_with(told: bytes, key_ids: Collection[bytes]) -> bool:
    """Whether an info names one of some keys."""
    return told[1:][:KEY_ID_BYTES] in key_ids


def forget_group(database: sqlite3.Connection, conversation_id: ConversationId) -> None:
    """The group is left, and what it called itself is gone from here."""
    database.execute("DELETE FROM group_infos WHERE conversation_id = ?", (conversation_id,))
    database.execute("DELETE FROM info_keys WHERE conversation_id = ?", (conversation_id,))


# --- keys -------------------------------------------------------------------------------------


def _key_for(database: sqlite3.Connection, conversation_id: ConversationId, removal_at: int) -> bytes:
    """The key to seal the next info with: another one, if somebody who has this one was removed since."""
    sealed = _known(database, conversation_id).sealed
    used = _named(database, conversation_id, sealed[1:][:KEY_ID_BYTES]) if sealed else None
    for one in (used, _newest(database, conversation_id, made_here=True), _newest(database, conversation_id)):
        if one is not None and (one.removal_at >= removal_at or not removal_at):
            return one.key
    key = os.urandom(KEY_BYTES)
    _keep(database, conversation_id, key, removal_at)
    # Who has the sender key in use is to have this one, too.
    sender_keys.forget(database, conversation_id)
    return key


def _keep(database: sqlite3.Connection, conversation_id: ConversationId, key: bytes, removal_at: int) -> bool:
    added = database.execute(
        "INSERT OR IGNORE INTO info_keys VALUES (?1, ?2, ?3,"
        " (SELECT coalesce(max(place), 0) + 1 FROM info_keys WHERE conversation_id = ?1), ?4)",
        (conversation_id, _key_id(key), key, removal_at),
    ).rowcount
    used = _known(database, conversation_id).sealed[1:][:KEY_ID_BYTES]
    database.execute(
        "DELETE FROM info_keys WHERE conversation_id = ?1 AND key_id <> ?2 AND key_id NOT IN"
        " (SELECT key_id FROM info_keys WHERE conversation_id = ?1 ORDER BY place DESC LIMIT ?3)",
        (conversation_id, used, KEPT),
    )
    return added > 0


def _named(database: sqlite3.Connection, conversation_id: ConversationId, key_id: bytes) -> _Key | None:
    row = database.execute(
        "SELECT key, removal_at FROM info_keys WHERE conversation_id = ? AND key_id = ?",
        (conversation_id, key_id),
    ).fetchone()
    return None if row is None else _Key(*row)


def _newest(
    database: sqlite3.Connection, conversation_id: ConversationId, *, made_here: bool = False
) -> _Key | None:
    row = database.execute(
        "SELECT key, removal_at FROM info_keys WHERE conversation_id = ? AND removal_at >= ?"
        " ORDER BY place DESC LIMIT 1",
        (conversation_id, 0 if made_here else UNKNOWN),
    ).fetchone()
    return None if row is None else _Key(*row)


# --- what was told ----------------------------------------------------------------------------


def _known(database: sqlite3.Connection, conversation_id: ConversationId) -> _Known:
    row = database.execute(
        "SELECT counter, sealed, refused FROM group_infos WHERE conversation_id = ?", (conversation_id,)
    ).fetchone()
    return _Known(NOTHING_READ, b"", b"") if row is None else _Known(*row)


def _taken(
    database: sqlite3.Connection, conversation_id: ConversationId, told: bytes, known: _Known
) -> _Known:
    """What is known, now that an info was told that is another one."""
    try:
        key_id, counter = _parsed(told)
        key = _named(database, conversation_id, key_id)
        if key is None:
            return known
        _open(INFO, conversation_id, key.key, told)
    except ValueError as error:
        return _refused(database, conversation_id, told, known, "info_forged", str(error))
    if counter < known.counter:
        detail = f"edit {counter} after {known.counter}"
        return _refused(database, conversation_id, told, known, "info_old", detail)
    return _store(database, conversation_id, known._replace(counter=counter, sealed=told))


def _refused(
    database: sqlite3.Connection,
    conversation_id: ConversationId,
    told: bytes,
    known: _Known,
    kind: Kind,
    detail: str,
) -> _Known:
    digest = sha256(told).digest()
    if digest == known.refused:
        return known
    warn(database, kind, NOBODY, detail, conversation_id)
    return _store(database, conversation_id, known._replace(refused=digest))


def _store(database: sqlite3.Connection, conversation_id: ConversationId, known: _Known) -> _Known:
    database.execute("INSERT OR REPLACE INTO group_infos VALUES (?, ?, ?, ?)", (conversation_id, *known))
    return known


# --- the format -------------------------------------------------------------------------------


def _parsed(told: bytes) -> tuple[bytes, int]:
    """The id of the key, and the counter. Raises ValueError."""
    if len(told) < HEAD_BYTES + NONCE_BYTES or told[0] != FORMAT:
        raise ValueError("it is not sealed, or in an unknown format")
    (counter,) = struct.unpack_from(">Q", told, 1 + KEY_ID_BYTES)
    if counter > COUNTER_MAX:
        raise ValueError("edited more often than can be")
    return told[1 : 1 + KEY_ID_BYTES], counter


def _open(what: bytes, conversation_id: ConversationId, key: bytes, told: bytes) -> bytes:
    """Raises ValueError if it was not sealed with this key, as this, for this group, as this edit."""
    _parsed(told)
    head, nonce = told[:HEAD_BYTES], told[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES]
    try:
        return _cipher(key).decrypt(
            nonce, told[HEAD_BYTES + NONCE_BYTES :], _bound(what, conversation_id, head)
        )
    except InvalidTag:
        raise ValueError("it is not what a member sealed") from None


def _sealed(key: bytes, what: bytes, conversation_id: ConversationId, counter: int, plain: bytes) -> bytes:
    head, nonce = _head(key, counter), os.urandom(NONCE_BYTES)
    return head + nonce + _cipher(key).encrypt(nonce, plain, _bound(what, conversation_id, head))


def _head(key: bytes, counter: int) -> bytes:
    return bytes([FORMAT]) + _key_id(key) + struct.pack(">Q", counter)


def _bound(what: bytes, conversation_id: ConversationId, head: bytes) -> bytes:
    return what + conversation_id + head


def _key_id(key: bytes) -> bytes:
    return sha256(b"tidings info key" + key).digest()[:KEY_ID_BYTES]


def _cipher(key: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), KEY_BYTES, None, b"tidings group info v1").derive(key))
