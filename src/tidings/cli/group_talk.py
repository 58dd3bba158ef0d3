"""`tidings group`, about what is said: pinned messages, polls and votes."""

from typing import Annotated

import typer

from tidings.cli.choosing import LAST, LOOKED_THROUGH, MessageArgument, choose
from tidings.cli.failure import Failure
from tidings.cli.group_asking import GroupArgument, asked, called, say
from tidings.cli.objects import sent_object
from tidings.cli.running import LATER, JsonOption, ProfileOption, TimeoutOption, tell
from tidings.cli.wording import clock, printable
from tidings.client import Client, Group, Message, SentMessage
from tidings.client.group_values import MARK

app = typer.Typer(rich_markup_mode=None)


@app.command()
def pin(
    group: GroupArgument,
    message: MessageArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Pin a message for everyone in the group."""
    found = asked(profile, timeout, "pin it", lambda me: _pin(me, group, message, pins=True))
    say(f"pinned in {called(found)}", found, as_json=as_json)


@app.command()
def unpin(
    group: GroupArgument,
    message: MessageArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Pin a message no more."""
    found = asked(profile, timeout, "unpin it", lambda me: _pin(me, group, message, pins=False))
    say(f"not pinned in {called(found)} any more", found, as_json=as_json)


@app.command()
def poll(
    group: GroupArgument,
    question: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
    options: Annotated[list[str], typer.Argument(help="What may be answered: two or more.")],
    profile: ProfileOption,
    multiple: Annotated[bool, typer.Option("--multiple", help="Several options may be chosen.")] = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Ask something in a group, with options to choose from."""
    peer = _peer(group)

    async def ask(me: Client) -> SentMessage:
        return await me.messages.poll(peer, question, options, multiple=multiple)

    sent = asked(profile, timeout, "ask it", ask, hint=LATER)
    tell(f"{clock(sent.created_at)} ✓ asked: {printable(question)}", sent_object(peer, sent), as_json=as_json)


@app.command()
def vote(
    group: GroupArgument,
    message: Annotated[
        str, typer.Argument(help="The poll: a message_id, or `last`: the newest poll.", show_default=False)
    ],
    profile: ProfileOption,
    options: Annotated[
        list[int] | None, typer.Argument(help="Numbers of options, from 1; none takes a vote back.")
    ] = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Choose in a poll, instead of what you chose before."""
    chosen = [number - 1 for number in options or []]

    async def choosing(me: Client) -> tuple[Message, SentMessage]:
        found = await _poll(me, _peer(group), message)
        count = len(found.poll.options) if found.poll else 0
        if any(not 0 <= number < count for number in chosen):
            raise Failure(
                f"the poll has the options 1 to {count}", hint=f"see them with: tidings history '{group}'"
            )
        return found, await me.messages.vote(found, chosen)

    found, sent = asked(profile, timeout, "vote", choosing, hint=LATER)
    assert found.poll is not None
    names = ", ".join(found.poll.options[number] for number in chosen) or "nothing"
    line = f"{clock(sent.created_at)} ✓ voted for {printable(names)}"
    tell(line, sent_object(found.peer, sent, "vote", found.reference), as_json=as_json)


async def _pin(me: Client, group: str, name: str, *, pins: bool) -> Group:
    found = await choose(me, _peer(group), name, own=False)
    return await (me.groups.pin(found) if pins else me.groups.unpin(found))


async def _poll(me: Client, peer: str, name: str) -> Message:
    if name != LAST:
        found = await choose(me, peer, name, own=False)
        if found.poll is None:
            raise Failure(f"message {name} is no poll", hint="see the ids with: tidings history PEER --ids")
        return found
    await me.flushed()
    polls = [one for one in await me.history(peer, limit=LOOKED_THROUGH) if one.poll and not one.deleted]
    if not polls:
        raise Failure(f"there is no poll in {peer}", hint="ask something with: tidings group poll")
    return polls[-1]


def _peer(group: str) -> str:
    return group if group.startswith(MARK) else MARK + group
