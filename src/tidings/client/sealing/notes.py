"""Notes: settings that say something (drafts, nicknames), sealed for one's own devices.

Their key is made of the user's identity, which every linked device has and the server has not.
HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439).

spec §6.11, §6.16
"""

import os
import sqlite3

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tidings.client import keys
from tidings.client.sealing import own
from tidings.protocol.frames import SettingKind

SEALED = frozenset({SettingKind.DRAFT, SettingKind.CONTACT})
"""kinds whose values say something; those of others the server knows anyway, or they are ids and times"""
MARK = b"\xff1"
"""before a sealed value: no UTF-8 begins so"""
UNSAID: dict[int, bytes] = {SettingKind.CONTACT: keys.NO_NICKNAME}
"""what is left of a value that nobody sealed, by its kind: the server may keep contacts, not name them"""
NONCE_BYTES = 12
KEY_BYTES = 32


def seal(database: sqlite3.Connection, kind: int, key: str, value: bytes) -> bytes | None:
    """A value as the server is told it; None if this device cannot seal it."""
    if kind not in SEALED or not value:
        return value
    cipher = _cipher(database)
    if cipher is None:
        return None
    nonce = os.urandom(NONCE_BYTES)
    return MARK + nonce + cipher.encrypt(nonce, value, _name(kind, key))


def unseal(database: sqlite3.Connection, kind: int, key: str, value: bytes) -> bytes:
    """A value that the server told; empty for one that cannot be opened here."""
    if kind not in SEALED or not value:
        return value
    cipher = _cipher(database)
    if not value.startswith(MARK):
        # A client's that does not seal, or the server's own: here only what is sealed says something.
        return value if cipher is None else UNSAID.get(kind, b"")
    nonce, sealed = value[len(MARK) :][:NONCE_BYTES], value[len(MARK) + NONCE_BYTES :]
    try:
        return b"" if cipher is None else cipher.decrypt(nonce, sealed, _name(kind, key))
    except (InvalidTag, ValueError):
        return b""


def _cipher(database: sqlite3.Connection) -> ChaCha20Poly1305 | None:
    mine = own.load(database)
    if mine is None or mine.identity is None:
        return None
    derived = HKDF(SHA256(), KEY_BYTES, None, b"tidings settings v1").derive(mine.identity.secret())
    return ChaCha20Poly1305(derived)


def _name(kind: int, key: str) -> bytes:
    return f"{int(kind)} {key}".encode()
