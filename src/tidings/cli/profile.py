"""`tidings profile`: how the profile on this machine is protected."""

from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.failure import Failure
from tidings.cli.running import JsonOption, ProfileOption, run, tell
from tidings.cli.unlocking import (
    KeyFileOption,
    KeyringOption,
    PassphraseOption,
    new_passphrase,
    one_way,
    passphrase_for,
)
from tidings.client import Client, KeyFile, Keyring
from tidings.client.keeping import InFile, InKeyring, Keep, Kept
from tidings.client.profile import Profile

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

NewPassphraseFileOption = Annotated[
    Path | None,
    typer.Option("--new-passphrase-file", help="A file that has the new passphrase, if it is not asked for."),
]


@app.command()
def show(profile: ProfileOption, as_json: JsonOption = False) -> None:
    """Say how the profile's key is kept."""
    run(_show(profile, as_json=as_json))


@app.command()
def protect(
    profile: ProfileOption,
    passphrase: PassphraseOption = False,
    keyring: KeyringOption = False,
    key_file: KeyFileOption = None,
    new_passphrase_file: NewPassphraseFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give the profile another key, and keep it in one of three ways.

    No other program may have the profile open. Copies that were made before keep their old key.
    """
    one_way(passphrase=passphrase or new_passphrase_file is not None, keyring=keyring, key_file=key_file)
    if not (passphrase or new_passphrase_file or keyring or key_file):
        raise Failure("there is nothing to change", hint="say --passphrase, --keyring or --key-file FILE")

    async def change() -> None:
        old = passphrase_for(profile)
        keep: Keep = Keyring() if keyring else KeyFile(key_file)
        if not keyring and key_file is None:
            keep = new_passphrase(new_passphrase_file)
        await Client.protect(profile, key=keep, passphrase=old)
        await _show(profile, as_json=as_json)

    run(change())


async def _show(profile: Path, *, as_json: bool) -> None:
    key = Profile(profile).account().key
    kind, words = _told(key, profile)
    path = str(profile / key.path) if isinstance(key, InFile) else None
    tell(words, {"profile": str(profile), "key": kind, "file": path}, as_json=as_json)


def _told(key: Kept | None, profile: Path) -> tuple[str, str]:
    if key is None:
        return "none", f"{profile} is not encrypted yet: it is when it is next opened"
    if isinstance(key, InFile):
        return "file", f"the key of {profile} is in the file {profile / key.path}"
    if isinstance(key, InKeyring):
        return "keyring", f"the key of {profile} is in this system's keyring (entry {key.name} of tidings)"
    return "passphrase", f"the key of {profile} is under a passphrase"
