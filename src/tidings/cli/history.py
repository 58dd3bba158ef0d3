"""`tidings history`: print a conversation from the server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.objects import message_object
from tidings.cli.quoting import quotes
from tidings.cli.running import (
    JsonOption,
    PeerArgument,
    ProfileOption,
    TimeoutOption,
    asking,
    run,
    tell,
)
from tidings.cli.wording import history_line
from tidings.client import Message
from tidings.client.group_values import is_group
from tidings.protocol.ids import SNOWFLAKE_MAX, MessageId

AMessage = Annotated[int | None, typer.Option(min=0, max=SNOWFLAKE_MAX, help="A message_id.")]


def history(
    peer: PeerArgument,
    profile: ProfileOption,
    limit: Annotated[int, typer.Option(min=1, help="How many messages.")] = 50,
    before: AMessage = None,
    after: AMessage = None,
    ids: Annotated[bool, typer.Option("--ids", help="Put the message ids in front.")] = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Print the latest messages of a conversation, or those before or after one.

    Of a group that you are in no more it is what this profile has.
    """
    found, is_left = run(_history(profile, peer, limit, before, after, timeout))
    if is_left:
        print("note: you are in this group no more; this is what the profile has of it", file=sys.stderr)
    for message, quoted in found:
        tell(history_line(message, quoted=quoted, ids=ids), message_object(message), as_json=as_json)


async def _history(
    profile: Path, peer: str, limit: int, before: int | None, after: int | None, timeout_s: float
) -> tuple[list[tuple[Message, Message | None]], bool]:
    """Messages with what they quote; whether they are of a group that was left."""
    async with asking(profile, timeout_s, "read the history", receive=None) as me:
        page = await me.history(
            peer,
            limit=limit,
            before=None if before is None else MessageId(before),
            after=None if after is None else MessageId(after),
        )
        is_left = is_group(peer.strip()) and (await me.groups.get(peer)).is_left
        return list(zip(page, await quotes(me, page), strict=True)), is_left
