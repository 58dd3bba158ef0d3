"""Runs what a verb does with the SDK, and turns what the SDK raises into failures."""

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tidings.cli.failure import Failure
from tidings.cli.hints import hint_of
from tidings.cli.unlocking import opened
from tidings.client import Client
from tidings.client.errors import ClientError

T = TypeVar("T")

ProfileOption = Annotated[
    Path,
    typer.Option("--profile", envvar="TIDINGS_PROFILE", help="Folder of the profile.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON to stdout, one object a line.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the server.")]
HandleArgument = Annotated[str, typer.Argument(help="A handle, like @bob.", show_default=False)]
PeerArgument = Annotated[
    str, typer.Argument(help="A handle, like @bob, or a group, like '#Family'.", show_default=False)
]

LEAVE_S = 2.0
"""how long a command stays for what is not its own"""
RUNNING = "is the server running?"
LATER = "it waits in the profile and goes out with the next command that reaches the server; do not repeat it"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end. Raises Failure for what the SDK could not do; Ctrl-C ends with 130."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        return asyncio.run(work)
    except ClientError as error:
        raise Failure(error.message, hint=hint_of(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@contextlib.asynccontextmanager
async def asking(
    profile: Path, timeout_s: float, cannot: str, *, hint: str = RUNNING, receive: bool | None = False
) -> AsyncIterator[Client]:
    """A side client whose work ends in time; `cannot` and `hint` say what it means if it does not.

    With `receive` None it takes in what waits on the server, unless another process does that; it is
    told by the next `listen` or `chat` all the same.
    """
    async with opened(profile, receive=receive) as me:
        async with patience(me, timeout_s, cannot, hint=hint):
            yield me
        if receive is None:
            await leave(me)


async def leave(me: Client) -> None:
    """Give what waits besides a moment to go out, as the keys of a message for a device that is just new."""
    with contextlib.suppress(TimeoutError, ClientError):
        async with asyncio.timeout(LEAVE_S):
            await me.flushed()


@contextlib.asynccontextmanager
async def patience(me: Client, timeout_s: float, cannot: str, *, hint: str = RUNNING) -> AsyncIterator[None]:
    """Bounds what is done inside. Raises Failure."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise Failure(
            f"cannot {cannot} within {timeout_s:g} s: {me.trouble or 'no answer'}", hint=hint
        ) from None


def print_json(value: object) -> None:
    """One JSON object on a line of its own, at once."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def tell(line: str, value: object, *, as_json: bool) -> None:
    """What was done, as a line or as an object."""
    if as_json:
        print_json(value)
    else:
        print(line)
