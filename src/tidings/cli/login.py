"""`tidings login`: make this machine a further device of an account."""

from typing import Annotated

import typer

from tidings.cli.entering import HandleOption, PasswordOption, ServerOption, asked, say
from tidings.cli.running import JsonOption, ProfileOption, run
from tidings.client import Client


def login(
    server: ServerOption,
    handle: HandleOption,
    profile: ProfileOption,
    password: PasswordOption = None,
    code: Annotated[str, typer.Option(help="Of the second factor, or a recovery code.")] = "",
    plain_password: Annotated[
        bool, typer.Option("--plain-password", help="Send the password itself where the account was made so.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make this machine a further device of an account."""
    secret = asked(password, twice=False)
    account = run(
        Client.login(
            server,
            handle=handle,
            password=secret,
            profile=profile,
            code=code,
            plain_password=plain_password,
        )
    )
    say(account, profile, "logged in", as_json=as_json)
