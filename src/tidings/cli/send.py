"""`tidings send`: send one message, exactly once."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.failure import Failure
from tidings.cli.running import JsonOption, PeerArgument, ProfileOption, TimeoutOption, print_json, run
from tidings.cli.wording import clock, sent_object
from tidings.client import Client, SentMessage


def send(
    peer: PeerArgument,
    text: Annotated[str, typer.Argument(help="What to say.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Send one message; returns once it is on the server's disk.

    What an earlier command could not send goes out first.
    """
    sent = run(_send(profile, peer, text, timeout))
    if as_json:
        print_json(sent_object(peer.removeprefix("@"), sent))
    else:
        print(f"{clock(sent.created_at)} ✓ sent to @{peer.removeprefix('@')}")


async def _send(profile: Path, peer: str, text: str, timeout_s: float) -> SentMessage:
    async with Client.open(profile, receive=False) as me:
        try:
            async with asyncio.timeout(timeout_s):
                return await me.send(peer, text)
        except TimeoutError:
            raise Failure(
                f"cannot send to {peer} within {timeout_s:g} s: {me.trouble or 'no answer'}",
                hint="the message waits in the profile and goes out with the next command; do not repeat it",
            ) from None
