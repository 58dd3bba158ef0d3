"""`tidings read`: tell somebody that their messages were read."""

from pathlib import Path

from tidings.cli.running import (
    JsonOption,
    PeerArgument,
    ProfileOption,
    TimeoutOption,
    patience,
    run,
    tell,
)
from tidings.cli.unlocking import opened
from tidings.cli.wording import at
from tidings.client import Client
from tidings.client.group_values import is_group
from tidings.protocol.ids import MessageId


def read(
    peer: PeerArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Say that everything received from somebody was read."""
    up_to = run(_read(profile, peer, timeout))
    line = f"read what came from {at(peer)}" if up_to else f"nothing was received from {at(peer)}"
    said = {"type": "read", "peer": peer.removeprefix("@"), "up_to": str(up_to) if up_to else None}
    tell(line, said, as_json=as_json)


async def _read(profile: Path, peer: str, timeout_s: float) -> MessageId | None:
    hint = "it is told with the next command that reaches the server"
    async with opened(profile, receive=None if is_group(peer) else False) as me:
        up_to = await me.mark_read(peer)
        async with patience(me, timeout_s, "tell the server", hint=hint):
            if up_to is None or is_group(peer):
                # A group's messages are looked at on the server, so what was seen may never have come here.
                up_to = await _newest(me, peer) or up_to
            await me.flushed()
    return up_to


async def _newest(me: Client, peer: str) -> MessageId | None:
    """Mark what this device never received, but the server has: it may be new, or a side session."""
    latest = [message for message in await me.history(peer, limit=50) if not message.own]
    return await me.mark_read(peer, up_to=latest[-1].message_id) if latest else None
