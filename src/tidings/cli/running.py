"""Runs what a verb does with the SDK, and turns what the SDK raises into failures."""

import asyncio
import json
import logging
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tidings.cli.failure import Failure
from tidings.client.errors import ClientError

T = TypeVar("T")

ProfileOption = Annotated[
    Path,
    typer.Option("--profile", envvar="TIDINGS_PROFILE", help="Folder of the profile.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON to stdout, one object a line.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the server.")]
PeerArgument = Annotated[str, typer.Argument(help="A handle, like @bob.", show_default=False)]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end. Raises Failure for what the SDK could not do; Ctrl-C ends with 130."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        return asyncio.run(work)
    except ClientError as error:
        raise Failure(error.message, hint=error.hint) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def print_json(value: object) -> None:
    """One JSON object on a line of its own, at once."""
    print(json.dumps(value, ensure_ascii=False), flush=True)
