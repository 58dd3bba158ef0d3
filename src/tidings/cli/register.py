"""`tidings register`: make an account and a profile for it."""

from typing import Annotated

import typer

from tidings.cli.entering import HandleOption, PasswordOption, PlainOption, ServerOption, asked, say
from tidings.cli.running import JsonOption, ProfileOption, run
from tidings.cli.unlocking import KeyFileOption, KeyringOption, PassphraseOption, chosen
from tidings.client import Account, Client


def register(
    server: ServerOption,
    handle: HandleOption,
    profile: ProfileOption,
    password: PasswordOption = None,
    invite: Annotated[str, typer.Option(help="The code that the server's operator gave you.")] = "",
    passphrase: PassphraseOption = False,
    keyring: KeyringOption = False,
    key_file: KeyFileOption = None,
    plain: PlainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make an account, and a profile for it on this machine."""
    secret = asked(password, twice=True)

    async def work() -> Account:
        key = chosen(passphrase=passphrase, keyring=keyring, key_file=key_file)
        return await Client.register(
            server, handle=handle, password=secret, profile=profile, invite=invite, key=key, sealed=not plain
        )

    account = run(work())
    say(account, profile, "registered", as_json=as_json)
