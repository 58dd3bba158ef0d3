"""A profile's key under a passphrase: encrypted with what Argon2id (RFC 9106) makes of it.

The costs stand beside it, so that a later version may raise them; they are bounded when they are read.
"""

import base64
import binascii
import unicodedata
from collections.abc import Callable
from pathlib import Path

import msgspec

from tidings.client.database import KEY_BYTES
from tidings.client.errors import ProfileDamaged, ProfileLocked
from tidings.client.stretching import stretched

PASSPHRASE_CHARS_MIN = 8
LABEL = b"tidings profile key v1"
SALT_BYTES, NONCE_BYTES, TAG_BYTES = 16, 12, 16
MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4
MEMORY_KIB_MIN, MEMORY_KIB_MAX = 16 * 1024, 1024 * 1024
PASSES_MAX, LANES_MAX = 64, 64


class UnderPassphrase(msgspec.Struct, frozen=True, tag_field="kind", tag="passphrase"):
    """The key, encrypted with what Argon2id makes of the passphrase; bytes are in base64."""

    salt: str
    memory_kib: int
    passes: int
    lanes: int
    wrapped: str
    """nonce, ciphertext, tag (ChaCha20-Poly1305)"""


def check_passphrase(text: str) -> None:
    """Refuse a new passphrase that is too short. Raises ProfileLocked."""
    if len(unicodedata.normalize("NFC", text)) < PASSPHRASE_CHARS_MIN:
        raise ProfileLocked(
            f"cannot keep the key under this: a passphrase has at least {PASSPHRASE_CHARS_MIN} characters",
            "some words that you make up are better than one word with digits",
        )


def wrapped(key: bytes, text: str, entropy: Callable[[int], bytes]) -> UnderPassphrase:
    """Put a key under a passphrase; takes about 0.1 s. Raises ProfileLocked where it is too short."""
    check_passphrase(text)
    salt, nonce = entropy(SALT_BYTES), entropy(NONCE_BYTES)
    empty = UnderPassphrase(base64.b64encode(salt).decode(), MEMORY_KIB, PASSES, LANES, "")
    # Here and not above: most profiles are opened without.
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415

    sealed = nonce + ChaCha20Poly1305(_stretched(text, salt, empty)).encrypt(nonce, key, LABEL)
    return msgspec.structs.replace(empty, wrapped=base64.b64encode(sealed).decode())


def unwrapped(kept: UnderPassphrase, folder: Path, ask: Callable[[], str]) -> bytes:
    """The key of the profile in a folder, with what `ask` answers. Raises ProfileLocked, ProfileDamaged."""
    salt, sealed = _checked(kept, folder)
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415

    cipher = ChaCha20Poly1305(_stretched(ask(), salt, kept))
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], LABEL)
    except InvalidTag:
        raise ProfileLocked(
            f"cannot open profile {folder}: the passphrase is wrong",
            "try again; one that is lost cannot be got back: log in again into a new folder",
        ) from None


def _checked(kept: UnderPassphrase, folder: Path) -> tuple[bytes, bytes]:
    """Salt and wrapped key, if all is as it can be: costs must not fill the memory, or cost nothing."""
    try:
        salt = base64.b64decode(kept.salt, validate=True)
        sealed = base64.b64decode(kept.wrapped, validate=True)
    except (binascii.Error, ValueError):
        salt = sealed = b""
    if not (
        len(salt) == SALT_BYTES
        and len(sealed) == NONCE_BYTES + KEY_BYTES + TAG_BYTES
        and MEMORY_KIB_MIN <= kept.memory_kib <= MEMORY_KIB_MAX
        and 1 <= kept.passes <= PASSES_MAX
        and 1 <= kept.lanes <= LANES_MAX
    ):
        raise ProfileDamaged(
            f"cannot open profile {folder}: it is damaged (account.json: what it says about the passphrase)",
            "bring account.json back from a backup, or log in again into a new folder",
        )
    return salt, sealed


def _stretched(text: str, salt: bytes, costs: UnderPassphrase) -> bytes:
    from argon2.exceptions import HashingError  # noqa: PLC0415

    try:
        return stretched(
            unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass"),
            salt,
            passes=costs.passes,
            memory_kib=costs.memory_kib,
            lanes=costs.lanes,
        )
    except HashingError as error:
        raise ProfileLocked(
            f"cannot try the passphrase: {error}", f"it takes {costs.memory_kib // 1024} MiB of memory"
        ) from None
