"""The option `--passphrase-file`, which every command that takes a profile has.

A passphrase is never an argument: others can read those in the list of processes.
"""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

VARIABLE = "TIDINGS_PASSPHRASE_FILE"

PassphraseFileOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", envvar=VARIABLE, help="A file that has the profile's passphrase."),
]


def with_passphrase_file(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes a profile takes --passphrase-file as well; others stay as they are."""
    signature = inspect.signature(command, eval_str=True)
    names = set(signature.parameters)
    if "profile" not in names or "passphrase_file" in names:
        return command

    @functools.wraps(command)
    def unlocking(*, passphrase_file: Path | None, **given: object) -> None:
        if passphrase_file is not None:
            # Where the SDK looks, too: it is as if it had been said there.
            os.environ[VARIABLE] = str(passphrase_file)
        command(**given)

    added = inspect.Parameter(
        "passphrase_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PassphraseFileOption
    )
    parameters = [*signature.parameters.values(), added]
    unlocking.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    unlocking.__annotations__ = {one.name: one.annotation for one in parameters}
    return unlocking
