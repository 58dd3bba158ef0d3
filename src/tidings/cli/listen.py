"""`tidings listen`: print what arrives."""

from pathlib import Path

from tidings.cli.running import JsonOption, ProfileOption, print_json, run
from tidings.cli.wording import event_line, event_object
from tidings.client import Client


def listen(profile: ProfileOption, as_json: JsonOption = False) -> None:
    """Print what arrives, one event a line, until Ctrl-C.

    A message is printed once, also if it came while nobody listened.
    """
    run(_listen(profile, as_json=as_json))


async def _listen(profile: Path, *, as_json: bool) -> None:
    async with Client.open(profile) as me:
        async for event in me.events():
            # Asking for the next event says that this one was printed: hence the flush.
            if as_json:
                print_json(event_object(event))
            else:
                print(event_line(event), flush=True)
