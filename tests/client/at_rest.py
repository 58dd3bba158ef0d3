"""The databases of profiles, as tests look into them, and files searched for what must not be there."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from tidings.client import keeping
from tidings.client.database import connect
from tidings.client.profile import Profile

KEY = bytes(range(32))
"""of vaults that have no profile around them"""


def database_of(path: Path, passphrase: str = "") -> sqlite3.Connection:
    """The database of a profile that is encrypted, wherever its key is."""
    profile = Profile(path)
    account = profile.account()
    assert account.key is not None
    return connect(profile.database(account), keeping.key_of(account.key, path, lambda: passphrase))


def files(folder: Path) -> dict[str, bytes]:
    """What is in a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def found(folder: Path, secrets: Iterable[str | bytes]) -> set[tuple[str, bytes]]:
    """Which of the secrets are to be read in the files of a folder, and in which."""
    wanted = [secret.encode() if isinstance(secret, str) else secret for secret in secrets]
    return {(name, secret) for name, data in files(folder).items() for secret in wanted if secret in data}
