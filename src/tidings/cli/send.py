"""`tidings send`: send one message, exactly once."""

from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.choosing import choose
from tidings.cli.duration import seconds
from tidings.cli.objects import sent_object
from tidings.cli.running import (
    LATER,
    JsonOption,
    PeerArgument,
    ProfileOption,
    TimeoutOption,
    leave,
    patience,
    run,
    tell,
)
from tidings.cli.unlocking import opened
from tidings.cli.wording import at, clock
from tidings.client import SentMessage
from tidings.client.group_values import is_group


def send(
    peer: PeerArgument,
    text: Annotated[str, typer.Argument(help="What to say.", show_default=False)],
    profile: ProfileOption,
    reply: Annotated[
        str,
        typer.Option("--reply", help="The message it answers: a message_id, or last.", show_default=False),
    ] = "",
    expires: Annotated[
        str, typer.Option("--expires", help="It vanishes after so long, like 5m or 7d.", show_default=False)
    ] = "",
    silent: Annotated[
        bool, typer.Option("--silent", help="Ask the other one's devices to make no noise.")
    ] = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Send one message; returns once it is on the server's disk.

    What an earlier command could not send goes out first.
    """
    expires_in_s = seconds(expires) if expires else None
    sent = run(_send(profile, peer, text, reply, expires_in_s, timeout, silent=silent))
    line = f"{clock(sent.created_at)} ✓ sent to {at(peer)}"
    tell(line, sent_object(peer.removeprefix("@"), sent), as_json=as_json)


async def _send(
    profile: Path,
    peer: str,
    text: str,
    reply: str,
    expires_in_s: float | None,
    timeout_s: float,
    *,
    silent: bool,
) -> SentMessage:
    # What a group is called may wait on the server, as all that is encrypted.
    async with opened(profile, receive=None if is_group(peer) else False) as me:
        answered = None
        if reply:
            async with patience(me, timeout_s, "find the message to answer"):
                answered = await choose(me, peer, reply, own=False)
        async with patience(me, timeout_s, f"send to {peer}", hint=LATER):
            sent = await me.send(peer, text, reply_to=answered, expires_in_s=expires_in_s, silent=silent)
        await leave(me)
        return sent
