"""`tidings listen`: print what arrives."""

from pathlib import Path

from tidings.cli.objects import event_object
from tidings.cli.quoting import subject
from tidings.cli.running import JsonOption, ProfileOption, print_json, run
from tidings.cli.titles import title_of
from tidings.cli.unlocking import opened
from tidings.cli.wording import event_line


def listen(profile: ProfileOption, as_json: JsonOption = False) -> None:
    """Print what happens, one event a line, until Ctrl-C.

    A message is printed once, also if it came while nobody listened.
    """
    run(_listen(profile, as_json=as_json))


async def _listen(profile: Path, *, as_json: bool) -> None:
    async with opened(profile) as me:
        async for event in me.events():
            # Asking for the next event says that this one was printed: hence the flush.
            if as_json:
                print_json(event_object(event))
            elif line := event_line(event, await subject(me, event), await title_of(me, event)):
                print(line, flush=True)
