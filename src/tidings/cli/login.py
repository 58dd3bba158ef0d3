"""`tidings login`: make this machine a further device of an account."""

from tidings.cli.entering import HandleOption, PasswordOption, ServerOption, asked, say
from tidings.cli.running import JsonOption, ProfileOption, run
from tidings.client import Client


def login(
    server: ServerOption,
    handle: HandleOption,
    profile: ProfileOption,
    password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make this machine a further device of an account."""
    secret = asked(password, twice=False)
    account = run(Client.login(server, handle=handle, password=secret, profile=profile))
    say(account, profile, "logged in", as_json=as_json)
