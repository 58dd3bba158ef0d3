"""How commands come by a profile's passphrase, and are told how a new key is to be kept."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.failure import Failure
from tidings.cli.passphrase_file import VARIABLE
from tidings.client import Client, KeyFile, Keyring, Passphrase
from tidings.client.keeping import Keep, from_environment, passphrase_of
from tidings.client.profile import Profile
from tidings.client.wrapping import UnderPassphrase

PassphraseOption = Annotated[
    bool, typer.Option("--passphrase", help="Keep the profile's key under a passphrase, which is asked for.")
]
KeyringOption = Annotated[
    bool, typer.Option("--keyring", help="Keep the profile's key in this system's keyring.")
]
KeyFileOption = Annotated[
    Path | None, typer.Option("--key-file", help="Keep the profile's key in a new file, say on a stick.")
]


def opened(profile: Path, *, receive: bool | None = True) -> Client:
    """The client of a profile, as `Client.open`; its passphrase is asked for if nothing names a file.

    Raises what reading the account raises.
    """
    return Client.open(profile, receive=receive, passphrase=passphrase_for(profile))


def passphrase_for(profile: Path) -> str | None:
    """The passphrase of a profile that exists, None if it has none.

    Raises ProfileLocked, and what reading the account raises.
    """
    if not isinstance(Profile(profile).account().key, UnderPassphrase):
        return None
    if os.environ.get(VARIABLE):
        return from_environment()
    return _asked(f"Passphrase of {profile}", twice=False)


def chosen(*, passphrase: bool, keyring: bool, key_file: Path | None) -> Keep | None:
    """How the key of a new profile is to be kept; None: as is usual. Raises Failure, ProfileLocked."""
    one_way(passphrase=passphrase, keyring=keyring, key_file=key_file)
    if keyring:
        return Keyring()
    if key_file is not None:
        return KeyFile(key_file)
    if os.environ.get(VARIABLE):
        return Passphrase(from_environment())
    return Passphrase(_asked("New passphrase", twice=True)) if passphrase else None


def one_way(*, passphrase: bool, keyring: bool, key_file: Path | None) -> None:
    """Refuse two ways at once. Raises Failure."""
    if passphrase + keyring + (key_file is not None) > 1:
        raise Failure(
            "the key is kept in one way only", hint="say --passphrase, --keyring or --key-file FILE"
        )


def new_passphrase(file: Path | None) -> Passphrase:
    """Another passphrase than before, from a file or the terminal. Raises ProfileLocked."""
    if file is not None:
        return Passphrase(passphrase_of(file))
    return Passphrase(_asked("New passphrase", twice=True))


def _asked(question: str, *, twice: bool) -> str:
    with _interruptible():
        answer: str = typer.prompt(question, hide_input=True, confirmation_prompt=twice, err=True)
    return answer


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends a question at once; a running event loop would only be told of it, and wait for Enter."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
