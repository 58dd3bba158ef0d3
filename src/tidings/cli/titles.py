"""What the group of a peer is called, to be shown with what happened in it."""

import contextlib

from tidings.cli.wording import at, titled
from tidings.client import Client, ClientError, Event, GroupEvent, WarningEvent
from tidings.client.group_values import is_group


async def title(me: Client, peer: str) -> str:
    """The group's name as people write it; empty for a user."""
    if not is_group(peer):
        return ""
    with contextlib.suppress(ClientError):
        return titled((await me.groups.get(peer)).name, peer)
    return at(peer)


async def title_of(me: Client, event: Event) -> str:
    """The same of the group in which something happened."""
    if isinstance(event, GroupEvent | WarningEvent):
        return ""
    return await title(me, getattr(event, "peer", ""))
