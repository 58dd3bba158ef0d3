"""`tidings read`: tell somebody that their messages were read."""

import asyncio
from pathlib import Path

from tidings.cli.failure import Failure
from tidings.cli.running import JsonOption, PeerArgument, ProfileOption, TimeoutOption, print_json, run
from tidings.client import Client
from tidings.protocol.ids import MessageId


def read(
    peer: PeerArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Say that everything received from somebody was read."""
    up_to = run(_read(profile, peer, timeout))
    if as_json:
        print_json({"type": "read", "peer": peer.removeprefix("@"), "up_to": str(up_to) if up_to else None})
    elif up_to is None:
        print(f"nothing was received from @{peer.removeprefix('@')}")
    else:
        print(f"read what came from @{peer.removeprefix('@')}")


async def _read(profile: Path, peer: str, timeout_s: float) -> MessageId | None:
    async with Client.open(profile, receive=False) as me:
        up_to = await me.mark_read(peer)
        try:
            async with asyncio.timeout(timeout_s):
                if up_to is None:
                    up_to = await _newest(me, peer)
                await me.flushed()
        except TimeoutError:
            raise Failure(
                f"cannot tell the server within {timeout_s:g} s: {me.trouble or 'no answer'}",
                hint="it is told with the next command that reaches the server",
            ) from None
    return up_to


async def _newest(me: Client, peer: str) -> MessageId | None:
    """Mark what this device never received, but the server has: it may be new, or a side session."""
    latest = [message for message in await me.history(peer, limit=50) if not message.own]
    return await me.mark_read(peer, up_to=latest[-1].message_id) if latest else None
