"""`tidings history`: print a conversation from the server."""

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
    """Print the latest messages of a conversation, or those before or after one."""
    for message, quoted in run(_history(profile, peer, limit, before, after, timeout)):
        tell(history_line(message, quoted=quoted, ids=ids), message_object(message), as_json=as_json)


async def _history(
    profile: Path, peer: str, limit: int, before: int | None, after: int | None, timeout_s: float
) -> list[tuple[Message, Message | None]]:
    async with asking(profile, timeout_s, "read the history", receive=None) as me:
        page = await me.history(
            peer,
            limit=limit,
            before=None if before is None else MessageId(before),
            after=None if after is None else MessageId(after),
        )
        return list(zip(page, await quotes(me, page), strict=True))
