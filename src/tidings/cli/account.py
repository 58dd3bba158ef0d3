"""`tidings account`: look at one's account, change it, end it."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from tidings.cli.entering import PasswordOption, asked
from tidings.cli.failure import Failure
from tidings.cli.running import JsonOption, ProfileOption, print_json, run
from tidings.cli.unlocking import opened
from tidings.cli.wording import printable
from tidings.client.account import OwnAccount
from tidings.protocol.api import AccountInfo

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

CodeOption = Annotated[str, typer.Option(help="Of the second factor, or a recovery code.")]


@app.command()
def info(profile: ProfileOption, as_json: JsonOption = False) -> None:
    """Show what the server knows of the account."""
    _say(_with(profile, lambda account: account.info()), as_json=as_json)


@app.command()
def rename(
    handle: Annotated[str, typer.Argument(help="The new handle.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
) -> None:
    """Take another handle."""
    _say(_with(profile, lambda account: account.rename(handle.removeprefix("@"))), as_json=as_json)


@app.command("profile")
def set_profile(
    profile: ProfileOption,
    name: Annotated[str | None, typer.Option("--name", help="Your name; '' removes it.")] = None,
    about: Annotated[str | None, typer.Option("--about", help="About you; '' removes it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say who you are. Whom you have blocked does not see it."""
    if name is None and about is None:
        raise Failure("there is nothing to change", hint="say --name NAME, --about TEXT or both")
    _say(_with(profile, lambda account: account.set_profile(name=name, about=about)), as_json=as_json)


@app.command()
def picture(
    file: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
) -> None:
    """Show a picture of you."""
    try:
        account = _with(profile, lambda account: account.set_picture(file))
    except OSError as error:
        hint = "name a file that you can read"
        raise Failure(f"cannot read {file}: {error.strerror}", hint=hint) from None
    _say(account, as_json=as_json)


@app.command("remove-picture")
def remove_picture(profile: ProfileOption, as_json: JsonOption = False) -> None:
    """Show no picture any more."""
    _say(_with(profile, lambda account: account.remove_picture()), as_json=as_json)


@app.command()
def password(
    profile: ProfileOption,
    present: PasswordOption = None,
    new: Annotated[
        str | None,
        typer.Option("--new", envvar="TIDINGS_NEW_PASSWORD", help="Asked for if not given, which is safer."),
    ] = None,
    code: CodeOption = "",
    keep_others: Annotated[
        bool, typer.Option("--keep-others", help="Leave the other devices signed in.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Change the password; all other devices are signed out."""
    before = asked(present, twice=False)
    after: str = new or typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    _with(
        profile,
        lambda account: account.change_password(before, after, code=code, sign_out_others=not keep_others),
    )
    _done("the password is changed", as_json=as_json)


@app.command("second-factor")
def second_factor(
    profile: ProfileOption, present: PasswordOption = None, as_json: JsonOption = False
) -> None:
    """Have a code asked for at each login; an authenticator app makes them."""
    secret = asked(present, twice=False)
    begun = _with(profile, lambda account: account.begin_second_factor(secret))
    print(f"Add this to your authenticator app: {begun.secret}\n  {begun.uri}", file=sys.stderr)
    code: str = typer.prompt("The code that it shows", err=True)
    codes = _with(profile, lambda account: account.confirm_second_factor(code))
    if as_json:
        print_json({"recovery_codes": codes})
        return
    print("From now on a code is asked for. If the app is lost, each of these works once; keep them safe:")
    for one in codes:
        print(f"  {one}")


@app.command("remove-second-factor")
def remove_second_factor(
    profile: ProfileOption,
    code: Annotated[str, typer.Option(help="Of the app, or a recovery code.", show_default=False)],
    present: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have no code asked for any more."""
    secret = asked(present, twice=False)
    _with(profile, lambda account: account.remove_second_factor(secret, code))
    _done("the second factor is removed", as_json=as_json)


@app.command()
def phone(
    profile: ProfileOption,
    number: Annotated[str, typer.Argument(help="Like +49 30 123456; empty removes it.")] = "",
    code: Annotated[str, typer.Option(help="The code that was sent, in a second call.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Give the account a phone number, in two steps: the number, then the code that is sent there."""
    if code:
        _say(_with(profile, lambda account: account.confirm_phone(code)), as_json=as_json)
    elif number:
        _with(profile, lambda account: account.set_phone(number))
        _done("a code is on its way: give it with --code", as_json=as_json)
    else:
        _with(profile, lambda account: account.remove_phone())
        _done("the number is removed", as_json=as_json)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="A file that does not exist yet.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
) -> None:
    """Write all that the server has of you to a file, as JSON."""
    try:
        _with(profile, lambda account: account.export(file))
    except FileExistsError:
        raise Failure(f"cannot write {file}: it exists already", hint="choose another name") from None
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}", hint="choose another place") from None
    _done(f"written to {file}", as_json=as_json)


@app.command()
def delete(
    profile: ProfileOption,
    present: PasswordOption = None,
    code: CodeOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """End the account, for good."""
    if not yes:
        typer.confirm("All that the server has of you is deleted, for good. Go on?", abort=True, err=True)
    secret = asked(present, twice=False)
    _with(profile, lambda account: account.delete(secret, code=code))
    _done("the account is deleted; the profile's folder is yours to remove", as_json=as_json)


def _with(profile: Path, ask: Callable[[OwnAccount], Awaitable[T]]) -> T:
    async def asking() -> T:
        async with opened(profile, receive=False) as me:
            return await ask(me.account)

    return run(asking())


def _say(account: AccountInfo, *, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.to_builtins(account))
        return
    rows = {
        "handle": f"@{account.handle}",
        "name": account.name,
        "about": account.about,
        "picture": "none" if account.picture == "0" else "yes",
        "phone": account.phone,
        "second factor": "on" if account.second_factor else "off",
    }
    for name, value in rows.items():
        print(f"{name:14}{printable(value)}")


def _done(message: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"done": True})
    else:
        print(message)
