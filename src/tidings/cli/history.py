"""`tidings history`: print a conversation from the server."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.failure import Failure
from tidings.cli.running import JsonOption, PeerArgument, ProfileOption, TimeoutOption, print_json, run
from tidings.cli.wording import history_line, history_object
from tidings.client import Client, HistoryMessage
from tidings.protocol.ids import SNOWFLAKE_MAX, MessageId

AMessage = Annotated[int | None, typer.Option(min=0, max=SNOWFLAKE_MAX, help="A message_id.")]


def history(
    peer: PeerArgument,
    profile: ProfileOption,
    limit: Annotated[int, typer.Option(min=1, help="How many messages.")] = 50,
    before: AMessage = None,
    after: AMessage = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Print the latest messages of a conversation, or those before or after one."""
    for message in run(_history(profile, peer, limit, before, after, timeout)):
        if as_json:
            print_json(history_object(message))
        else:
            print(history_line(message))


async def _history(
    profile: Path, peer: str, limit: int, before: int | None, after: int | None, timeout_s: float
) -> list[HistoryMessage]:
    async with Client.open(profile, receive=False) as me:
        try:
            async with asyncio.timeout(timeout_s):
                return await me.history(
                    peer,
                    limit=limit,
                    before=None if before is None else MessageId(before),
                    after=None if after is None else MessageId(after),
                )
        except TimeoutError:
            raise Failure(
                f"cannot read the history within {timeout_s:g} s: {me.trouble or 'no answer'}",
                hint="is the server running?",
            ) from None
