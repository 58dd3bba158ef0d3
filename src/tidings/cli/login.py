"""`tidings login`: make this machine a further device of an account."""

from typing import Annotated

import typer

from tidings.cli.entering import HandleOption, PasswordOption, PlainOption, ServerOption, asked, say
from tidings.cli.running import JsonOption, ProfileOption, run
from tidings.cli.unlocking import KeyFileOption, KeyringOption, PassphraseOption, chosen
from tidings.client import Account, Client


def login(
    server: ServerOption,
    handle: HandleOption,
    profile: ProfileOption,
    password: PasswordOption = None,
    code: Annotated[str, typer.Option(help="Of the second factor, or a recovery code.")] = "",
    plain_password: Annotated[
        bool, typer.Option("--plain-password", help="Send the password itself where the account was made so.")
    ] = False,
    passphrase: PassphraseOption = False,
    keyring: KeyringOption = False,
    key_file: KeyFileOption = None,
    plain: PlainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make this machine a further device of an account."""
    secret = asked(password, twice=False)

    async def work() -> Account:
        key = chosen(passphrase=passphrase, keyring=keyring, key_file=key_file)
        return await Client.login(
            server,
            handle=handle,
            password=secret,
            profile=profile,
            code=code,
            plain_password=plain_password,
            key=key,
            sealed=not plain,
        )

    account = run(work())
    say(account, profile, "logged in", as_json=as_json)
    if not plain and not as_json:
        print(f"so that it can read and write, let it in:  tidings link --profile {profile}")
