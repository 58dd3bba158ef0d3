"""How the key of a profile is kept: in a file, in the system's keyring, or under a passphrase.

The key itself is random (see `database.py`); only where it lies, or how it is wrapped, depends on what was
chosen. `account.json` says which of the three. What each of them protects from, and what it does not, is
in docs/guides/protect-a-profile.md.
"""

import base64
import contextlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import msgspec

from tidings.client.database import KEY_BYTES
from tidings.client.errors import ProfileLocked
from tidings.client.wrapping import UnderPassphrase, unwrapped, wrapped

Entropy = Callable[[int], bytes]

DEFAULT_NAME, OTHER_NAME = "profile.key", "profile-2.key"
"""of a key file in the profile's folder: a new one is written while the old one is still there"""
FILE_BYTES_MAX = 4096
"""of a key file or a file with a passphrase"""
SERVICE = "tidings"
"""whose entries these are, in a keyring"""
NAME_BYTES = 8
CHECK_LABEL = b"tidings profile key check v1"
CHECK_BYTES = 16


# --- what is chosen -------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyFile:
    """The key in a file: one in the profile's folder, or a new one at a path, say on a stick."""

    path: str | Path | None = None


@dataclass(frozen=True)
class Keyring:
    """The key in the keyring of the system, which logging in opens. Needs `tidings[keyring]`."""


@dataclass(frozen=True)
class Passphrase:
    """The key under a passphrase of at least 8 characters, which is asked for whenever it is opened."""

    text: str = field(repr=False)


Keep = KeyFile | Keyring | Passphrase
IN_FOLDER = KeyFile()
Ask = Callable[[], str]
"""Asks somebody for the passphrase; may raise ClientError."""


# --- what account.json says -----------------------------------------------------------------


class InFile(msgspec.Struct, frozen=True, tag_field="kind", tag="file"):
    """Where the key file is (a bare name: in the profile's folder), and what tells its key from others."""

    path: str
    check: str


class InKeyring(msgspec.Struct, frozen=True, tag_field="kind", tag="keyring"):
    """Which entry of the keyring it is, and what tells its key from others."""

    name: str
    check: str


Kept = InFile | InKeyring | UnderPassphrase


class Secured(NamedTuple):
    """A key, and how it is kept."""

    key: bytes
    kept: Kept


# --- keeping, getting, forgetting -----------------------------------------------------------


def secure(keep: Keep, folder: Path, entropy: Entropy, *, old: Kept | None = None) -> Secured:
    """Make a key and keep it, durably; `old` is how another one is kept that still counts.

    Takes 0.1 s for a passphrase. Raises ProfileLocked where it cannot be kept so, OSError.
    """
    key = entropy(KEY_BYTES)
    match keep:
        case KeyFile(path):
            return Secured(key, _into_file(key, folder, path, old))
        case Keyring():
            name = entropy(NAME_BYTES).hex()
            _into_keyring(name, key)
            return Secured(key, InKeyring(name, _check_of(key)))
        case Passphrase(text):
            return Secured(key, wrapped(key, text, entropy))


def key_of(kept: Kept, folder: Path, ask: Ask) -> bytes:
    """The key of the profile in a folder. `ask` is called if there is a passphrase; that takes 0.1 s more.

    Raises ProfileLocked where it cannot be had, ProfileDamaged, and what `ask` does.
    """
    match kept:
        case InFile(path, check):
            return _checked(_from_file(folder, path), check, folder)
        case InKeyring(name, check):
            return _checked(_from_keyring(folder, name), check, folder)
        case UnderPassphrase():
            return unwrapped(kept, folder, ask)


def forget(kept: Kept, folder: Path) -> None:
    """Remove a key that opens nothing any more; a file outside of the folder is left to its owner."""
    match kept:
        case InFile(path) if path == Path(path).name:
            (folder / path).unlink(missing_ok=True)
        case InKeyring(name):
            keyring = _keyring(f"cannot forget the key of profile {folder}")
            # What cannot be removed opens nothing.
            with contextlib.suppress(keyring.errors.KeyringError):
                keyring.delete_password(SERVICE, name)


def undo(kept: Kept, folder: Path) -> None:
    """Take back what `secure` has just done."""
    if isinstance(kept, InFile):
        (folder / kept.path).unlink(missing_ok=True)
    else:
        forget(kept, folder)


def passphrase_of(path: Path) -> str:
    """The passphrase that a file has, without the end of its line. Raises ProfileLocked."""
    hint = "it has the passphrase in a line, as UTF-8 text"
    try:
        data = _read(path)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ProfileLocked(
            f"cannot read the passphrase from {path}: {error.strerror}", "see that it exists and can be read"
        ) from None
    except UnicodeDecodeError:
        raise ProfileLocked(f"cannot read the passphrase from {path}: it is no text", hint) from None
    if not text or len(data) > FILE_BYTES_MAX:
        what = "too long" if text else "empty"
        raise ProfileLocked(f"cannot read the passphrase from {path}: the file is {what}", hint)
    return text


def asking(passphrase: str | Ask | None) -> Ask:
    """What comes by a passphrase that was given, or how to ask for it; None: as `from_environment`."""
    if passphrase is None:
        return from_environment
    if isinstance(passphrase, str):
        return lambda: passphrase
    return passphrase


def from_environment() -> str:
    """The passphrase from the file that TIDINGS_PASSPHRASE_FILE names. Raises ProfileLocked."""
    path = os.environ.get("TIDINGS_PASSPHRASE_FILE", "")
    if not path:
        raise ProfileLocked(
            "cannot open the profile: its passphrase is needed",
            "give it: Client.open(path, passphrase=…), or name a file that has it in TIDINGS_PASSPHRASE_FILE",
        )
    return passphrase_of(Path(path))


def _check_of(key: bytes) -> str:
    """Tells whether a key is the right one before the database is tried; says nothing about it."""
    return base64.b64encode(hmac.digest(key, CHECK_LABEL, "sha256")[:CHECK_BYTES]).decode()


def _checked(key: bytes, check: str, folder: Path) -> bytes:
    if not hmac.compare_digest(_check_of(key), check):
        raise ProfileLocked(
            f"cannot open profile {folder}: the key that was found is that of another profile",
            "bring back the right one; without it, log in again into a new folder",
        )
    return key


# --- files ----------------------------------------------------------------------------------


def _into_file(key: bytes, folder: Path, path: str | Path | None, old: Kept | None) -> InFile:
    place = _place(folder, path, old)
    within = place.parent.resolve() == folder.resolve()
    try:
        if within:
            # Of an attempt that was cut short: no database has its key.
            place.unlink(missing_ok=True)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(place.parent)
    except FileExistsError:
        raise ProfileLocked(
            f"cannot write key file {place}: it exists already",
            "name a file that does not exist yet; an old key file opens older copies of its profile",
        ) from None
    except OSError as error:
        raise ProfileLocked(
            f"cannot write key file {place}: {error.strerror}", "choose a place that can be written to"
        ) from None
    return InFile(place.name if within else str(place.absolute()), _check_of(key))


def _place(folder: Path, path: str | Path | None, old: Kept | None) -> Path:
    """Where a new key file is to be: never where the old one is, as long as that one counts."""
    if path is not None:
        place = Path(path)
        names = (DEFAULT_NAME, OTHER_NAME)
        if place.parent.resolve() != folder.resolve():
            return place
        if place.name not in names:
            raise ProfileLocked(
                f"cannot write key file {place}: in the profile's folder it is named {DEFAULT_NAME}",
                "name a file in another folder",
            )
    taken = old.path if isinstance(old, InFile) else ""
    return folder / (OTHER_NAME if taken == DEFAULT_NAME else DEFAULT_NAME)


def _from_file(folder: Path, path: str) -> bytes:
    place = folder / path
    try:
        return _decoded(_read(place).decode().strip())
    except FileNotFoundError:
        raise ProfileLocked(
            f"cannot open profile {folder}: its key file {place} is missing",
            "bring it back, or plug in what it is on; without it, log in again into a new folder",
        ) from None
    except OSError as error:
        raise ProfileLocked(
            f"cannot open profile {folder}: cannot read its key file {place}: {error.strerror}",
            "see that you may read it",
        ) from None
    except ValueError:
        raise ProfileLocked(
            f"cannot open profile {folder}: {place} is no key file",
            "bring back the right one; without it, log in again into a new folder",
        ) from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX + 1)


def _decoded(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != KEY_BYTES:
        raise ValueError("a key has 32 bytes")
    return key


def sync_folder(path: Path) -> None:
    """Make what was made, renamed or removed in a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- the keyring ----------------------------------------------------------------------------


def _keyring(cannot: str) -> ModuleType:
    """The package, which is an extra. Raises ProfileLocked."""
    try:
        import keyring  # noqa: PLC0415
        import keyring.errors  # noqa: PLC0415
    except ImportError:
        raise ProfileLocked(
            f"{cannot}: the package keyring is not installed", "pip install 'tidings[keyring]'"
        ) from None
    return keyring


def _into_keyring(name: str, key: bytes) -> None:
    cannot = "cannot keep the key in a keyring"
    keyring = _keyring(cannot)
    try:
        keyring.set_password(SERVICE, name, key.hex())
        # Some take what they are given and keep nothing.
        is_there = keyring.get_password(SERVICE, name) == key.hex()
    except keyring.errors.KeyringError as error:
        raise _no_keyring(cannot, error) from None
    if not is_there:
        raise ProfileLocked(f"{cannot}: it does not keep what it is given", "keep it under a passphrase")


def _from_keyring(folder: Path, name: str) -> bytes:
    cannot = f"cannot open profile {folder}"
    keyring = _keyring(cannot)
    try:
        found = keyring.get_password(SERVICE, name)
    except keyring.errors.KeyringError as error:
        raise _no_keyring(cannot, error) from None
    try:
        return _decoded(found or "")
    except ValueError:
        raise ProfileLocked(
            f"{cannot}: the keyring has no key for it (entry {name} of {SERVICE})",
            "a keyring stays on its machine, and with its user; without it, log in again into a new folder",
        ) from None


def _no_keyring(cannot: str, error: Exception) -> ProfileLocked:
    # Of what a package says, the first sentence: others advise to keep keys in plain files.
    reason = str(error).strip().partition(". ")[0] or type(error).__name__
    return ProfileLocked(
        f"{cannot}: the keyring cannot be used: {reason}",
        "it needs a desktop session whose keyring is unlocked; elsewhere keep the key under a passphrase",
    )
