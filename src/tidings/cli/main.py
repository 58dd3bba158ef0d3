"""The `tidings` command: finds the verb, runs it, and says what went wrong in two lines.

Each verb is a module of this package with a function (or, for one with verbs of its own, a
Typer `app`) of the verb's name. Only the module of the verb that was asked for is imported, so
that `tidings send` does not pay for the server.

To add a verb: write `cli/VERB.py` with a function `VERB`, and add one line to `VERBS`.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Annotated

import typer

from tidings import __version__
from tidings.cli.completion import PROGRAM, is_completing, verb_of_line
from tidings.cli.failure import Failure
from tidings.cli.passphrase_file import with_passphrase_file

VERBS = {
    "serve": "Run a server.",
    "check": "Look for mistakes in a server's config and store.",
    "backup": "Copy a server's store, also while it runs.",
    "restore": "Make a data folder of a backup.",
    "promote": "Move a server's store to a cluster while it runs.",
    "register": "Make an account, and a profile for it on this machine.",
    "login": "Make this machine a further device of an account.",
    "account": "Look at your account, and change or end it.",
    "profile": "Protect the profile on this machine, with a passphrase or otherwise.",
    "devices": "List, name and sign out your devices.",
    "link": "Let a new device read along.",
    "verify": "Compare the safety number with somebody.",
    "send": "Send one message.",
    "listen": "Print what arrives, one event a line.",
    "history": "Print a conversation.",
    "read": "Tell somebody that their messages were read.",
    "chat": "Talk to somebody, or in a group, in this terminal.",
    "chats": "List your conversations; pin, mute and archive them.",
    "message": "React to a message, change, delete, forward, star it.",
    "group": "Groups and channels: make, join and look after them; polls.",
    "people": "Your contacts, requests of strangers, blocks and privacy.",
    "watch": "Print who is online.",
    "replay": "Play an exported WhatsApp chat through a server, and check it.",
    "admin": "Look after a running server.",
    "bench": "Measure a server.",
    "capacity": "Reckon how many machines so many people need.",
    "chaos": "Chat on a running server while you break it, and check its promises.",
    "completion": "Make your shell complete verbs and options.",
}
"""The verbs and their line in `tidings --help`, in its order."""
CORE = "tidings_core"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 1 (it failed), 2 (usage) or 130 (Ctrl-C)."""
    chosen = list(sys.argv[1:] if arguments is None else arguments)
    verb = verb_of_line() if is_completing() else "".join(chosen[:1])
    try:
        application(verb)(chosen, prog_name=PROGRAM)
    except Failure as failure:
        print(f"error: {failure.message}", file=sys.stderr)
        if failure.hint:
            print(f"hint: {failure.hint}", file=sys.stderr)
        sys.exit(failure.exit_code)


def application(chosen: str) -> typer.Typer:
    """The command line with one verb that works and the others by name only."""
    # Without rich markup: `--help` then costs no import of rich, and reads well in a pipe.
    app = typer.Typer(
        name="tidings",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(help="Tidings, a self-hosted chat server, and a client for it.")(_options)
    for verb, summary in VERBS.items():
        if verb == chosen:
            _add(app, verb, summary)
        else:
            app.command(verb, help=summary)(_nothing)
    return app


def _add(app: typer.Typer, verb: str, summary: str) -> None:
    module = _module(verb)
    inner: typer.Typer | None = getattr(module, "app", None)
    if inner is not None:
        for command in inner.registered_commands:
            if command.callback is not None:
                command.callback = with_passphrase_file(command.callback)
        app.add_typer(inner, name=verb, help=summary)
        return
    function: Callable[..., None] = getattr(module, verb)
    app.command(verb)(with_passphrase_file(function))


def _module(verb: str) -> ModuleType:
    try:
        return importlib.import_module(f"tidings.cli.{verb}")
    except ModuleNotFoundError as error:
        if error.name != CORE:
            raise
        # A server does without it, so that it is no dependency of the package.
        raise Failure(
            f"tidings {verb} encrypts, and the encryption core is not installed",
            hint="in a checkout, scripts/core VENV builds it and installs it into a virtual environment",
        ) from None


def _nothing() -> None:
    """Stands for a verb that was not asked for."""


def _say_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What stands before a verb."""
