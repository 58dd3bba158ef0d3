"""Which message a command is about: one named by its id, or the last one."""

from collections.abc import Sequence
from typing import Annotated

import typer

from tidings.cli.failure import Failure
from tidings.cli.wording import where
from tidings.client import Client, ClientError, Message
from tidings.protocol.ids import SNOWFLAKE_MAX, MessageId

LAST = "last"
LOOKED_THROUGH = 200
"""messages among which the last one is looked for"""

MessageArgument = Annotated[
    str,
    typer.Argument(
        help="A message_id, as `history --ids` shows, or `last`: the newest that this can be done to.",
        show_default=False,
    ),
]


async def choose(me: Client, peer: str, name: str, *, own: bool) -> Message:
    """The message of a name in the conversation with somebody; `own` is for `last`.

    Raises Failure, and what the SDK raises.
    """
    if name == LAST:
        # What still waits here comes to stand after what the server has.
        await me.flushed()
        return last(await me.history(peer, limit=LOOKED_THROUGH), own=own, peer=peer)
    message_id = _message_id(name)
    try:
        return await me.messages.find(peer, message_id)
    except ClientError as error:
        if error.hint or type(error) is not ClientError:
            raise
        raise Failure(error.message, hint=f"see the ids with: tidings history '{peer}' --ids") from error


def last(messages: Sequence[Message], *, own: bool, peer: str) -> Message:
    """The newest own one, else the newest of the other one or of anybody. Raises Failure."""
    there = [one for one in messages if not (one.deleted or one.expired or one.change)]
    wanted = [message for message in there if message.own == own]
    if not own:
        wanted = wanted or there
    if not wanted:
        whose = "of yours " if own else ""
        raise Failure(
            f"there is no message {whose}in {where(peer)}",
            hint="name an older one by its message_id, as `tidings history --ids` shows",
        )
    return wanted[-1]


def _message_id(name: str) -> MessageId:
    if name.isascii() and name.isdecimal() and int(name) <= SNOWFLAKE_MAX:
        return MessageId(int(name))
    hint = "say `last`, or one of those that `tidings history --ids` shows"
    raise Failure(f"{name!r} is no message_id", hint=hint)
