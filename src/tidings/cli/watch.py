"""`tidings watch`: who is there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.objects import presence_object
from tidings.cli.running import JsonOption, ProfileOption, TimeoutOption, patience, print_json, run
from tidings.cli.unlocking import opened
from tidings.cli.wording import presence_line
from tidings.client import Presence


def watch(
    handles: Annotated[list[str], typer.Argument(help="Handles, like @bob @carol.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Print whether people are online, and then each change, until Ctrl-C.

    It works beside `listen` and `chat` on the same profile.
    """
    run(_watch(profile, handles, timeout, as_json=as_json))


async def _watch(profile: Path, handles: Sequence[str], timeout_s: float, *, as_json: bool) -> None:
    async with opened(profile, receive=False) as me:
        async with patience(me, timeout_s, "ask the server"):
            now = await me.presence.watch(handles)
        for presence in now:
            _say(presence, as_json=as_json)
        async for change in me.presence.changes():
            _say(change, as_json=as_json)


def _say(presence: Presence, *, as_json: bool) -> None:
    if as_json:
        print_json(presence_object(presence))
    else:
        print(presence_line(presence), flush=True)
