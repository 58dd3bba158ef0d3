"""`tidings register`: make an account and a profile for it."""

from typing import Annotated

import typer

from tidings.cli.entering import HandleOption, PasswordOption, ServerOption, asked, say
from tidings.cli.running import JsonOption, ProfileOption, run
from tidings.client import Client


def register(
    server: ServerOption,
    handle: HandleOption,
    profile: ProfileOption,
    password: PasswordOption = None,
    invite: Annotated[str, typer.Option(help="The code that the server's operator gave you.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make an account, and a profile for it on this machine."""
    secret = asked(password, twice=True)
    account = run(Client.register(server, handle=handle, password=secret, profile=profile, invite=invite))
    say(account, profile, "registered", as_json=as_json)
