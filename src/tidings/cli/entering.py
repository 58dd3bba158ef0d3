"""What `register` and `login` share: their options, and the question for the password."""

from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.running import print_json
from tidings.client.profile import Account

ServerOption = Annotated[
    str, typer.Option("--server", envvar="TIDINGS_SERVER", help="Address, like https://chat.example.org.")
]
HandleOption = Annotated[str, typer.Option("--handle", help="The name others find you by, like alice.")]
PasswordOption = Annotated[
    str | None,
    typer.Option("--password", envvar="TIDINGS_PASSWORD", help="Asked for if not given, which is safer."),
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Encrypt nothing end to end: for those whose clients cannot.")
]


def asked(password: str | None, *, twice: bool) -> str:
    """The password, from the terminal if it was not given."""
    if password is not None:
        return password
    answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True)
    return answer


def say(account: Account, profile: Path, done: str, *, as_json: bool) -> None:
    """Tell what was made."""
    if as_json:
        print_json(
            {
                "handle": account.handle,
                "user_id": account.user_id,
                "device_id": account.device_id,
                "server": account.server,
                "profile": str(profile),
            }
        )
    else:
        print(f"{done} @{account.handle} at {account.server}; the profile is in {profile}")
