"""`tidings message`: what can be said and done about one message."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from tidings.cli.choosing import MessageArgument, choose
from tidings.cli.group_objects import reference, times_object
from tidings.cli.objects import message_object, sent_object
from tidings.cli.running import (
    LATER,
    RUNNING,
    JsonOption,
    PeerArgument,
    ProfileOption,
    TimeoutOption,
    asking,
    leave,
    patience,
    run,
    tell,
)
from tidings.cli.unlocking import opened
from tidings.cli.wording import at, clock, history_line, message_line, printable
from tidings.client import Client, MemberTimes, Message, MessageTimes, SentMessage

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def react(
    peer: PeerArgument,
    message: MessageArgument,
    reaction: Annotated[str, typer.Argument(help="Like 👍.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """React to a message."""
    about, sent = _about(
        profile, timeout, peer, message, lambda me, found: me.messages.react(found, reaction), own=False
    )
    _say_sent("reaction", f"reacted {printable(reaction)}", about, sent, as_json=as_json)


@app.command()
def unreact(
    peer: PeerArgument,
    message: MessageArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Take your reaction back."""
    about, sent = _about(
        profile, timeout, peer, message, lambda me, found: me.messages.react(found, ""), own=False
    )
    _say_sent("reaction", "took the reaction back", about, sent, as_json=as_json)


@app.command()
def edit(
    peer: PeerArgument,
    message: MessageArgument,
    text: Annotated[str, typer.Argument(help="What it is to say.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Change one of your messages."""
    about, sent = _about(
        profile, timeout, peer, message, lambda me, found: me.messages.edit(found, text), own=True
    )
    line = f"{clock(sent.created_at)} ✓ edited: {printable(text)}"
    tell(line, sent_object(about.peer, sent, "edit", about.reference), as_json=as_json)


@app.command()
def delete(
    peer: PeerArgument,
    message: MessageArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Delete one of your messages, for everyone."""
    about, sent = _about(
        profile, timeout, peer, message, lambda me, found: me.messages.delete(found), own=True
    )
    _say_sent("delete", "deleted for everyone", about, sent, as_json=as_json)


@app.command()
def forward(
    peer: PeerArgument,
    message: MessageArgument,
    to: Annotated[str, typer.Argument(help="Who gets it, like @carol.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Send a message on to somebody else."""
    _, sent = _about(
        profile, timeout, peer, message, lambda me, found: me.messages.forward(found, to), own=False
    )
    line = f"{clock(sent.created_at)} ✓ forwarded to {at(to)}"
    tell(line, sent_object(to.removeprefix("@"), sent), as_json=as_json)


@app.command()
def info(
    peer: PeerArgument,
    message: MessageArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Show when one of your messages was delivered and read; in a group, by whom."""
    about, (times, each) = _about(profile, timeout, peer, message, _times, own=True, hint=RUNNING)
    if as_json:
        found = _times_object(about, times)
        tell("", {**found, "members": [times_object(one) for one in each]}, as_json=True)
        return
    print(history_line(about))
    if about.in_group:
        _print_each(each)
        return
    for name, at_ms in (
        ("sent", about.created_at),
        ("delivered", times.delivered_at),
        ("read", times.read_at),
    ):
        print(f"{name:10} {'not known' if at_ms is None else clock(at_ms)}")


@app.command()
def star(
    peer: PeerArgument,
    message: MessageArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Mark a message, to find it again with `starred`."""
    about, _ = _about(profile, timeout, peer, message, lambda me, found: me.messages.star(found), own=False)
    _say_done("starred", about, as_json=as_json)


@app.command()
def unstar(
    peer: PeerArgument,
    message: MessageArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Mark a message no more."""
    about, _ = _about(
        profile,
        timeout,
        peer,
        message,
        lambda me, found: me.messages.star(found, starred=False),
        own=False,
    )
    _say_done("unstarred", about, as_json=as_json)


@app.command()
def starred(
    profile: ProfileOption,
    ids: Annotated[bool, typer.Option("--ids", help="Put the message ids in front.")] = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """List the marked messages, the newest first."""
    for found in run(_starred(profile, timeout)):
        tell(f"{at(found.peer):20} {message_line(found, ids=ids)}", message_object(found), as_json=as_json)


@app.command()
def hide(
    peer: PeerArgument,
    message: MessageArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Remove a message from your own devices; the other one keeps it."""
    about, _ = _about(profile, timeout, peer, message, lambda me, found: me.messages.hide(found), own=False)
    _say_done("hidden", about, as_json=as_json)


def _about(
    profile: Path,
    timeout_s: float,
    peer: str,
    name: str,
    act: Callable[[Client, Message], Awaitable[T]],
    *,
    own: bool,
    hint: str = LATER,
) -> tuple[Message, T]:
    """The message, and what came of acting on it."""

    async def acting() -> tuple[Message, T]:
        async with opened(profile, receive=None) as me:
            async with patience(me, timeout_s, "find the message"):
                found = await choose(me, peer, name, own=own)
            async with patience(me, timeout_s, "tell the server", hint=hint):
                done = await act(me, found)
            await leave(me)
            return found, done

    return run(acting())


async def _starred(profile: Path, timeout_s: float) -> list[Message]:
    async with asking(profile, timeout_s, "find the starred messages", receive=None) as me:
        return await me.messages.starred()


async def _times(me: Client, found: Message) -> tuple[MessageTimes, list[MemberTimes]]:
    return await me.messages.info(found), await me.messages.receipts(found)


def _print_each(each: list[MemberTimes]) -> None:
    read, delivered = [one for one in each if one.read_at], [one for one in each if one.delivered_at]
    print(f"read by {len(read)} of {len(each)}, delivered to {len(delivered)}")
    for one in each:
        moment = one.read_at or one.delivered_at
        how = "read" if one.read_at else "delivered" if one.delivered_at else "not yet"
        print(f"{at(one.handle):20} {how:10} {'' if moment is None else clock(moment)}".rstrip())


def _say_sent(kind: str, line: str, about: Message, sent: SentMessage, *, as_json: bool) -> None:
    found = sent_object(about.peer, sent, kind, about.reference)
    tell(f"{line}: {message_line(about)}", found, as_json=as_json)


def _say_done(done: str, about: Message, *, as_json: bool) -> None:
    found = {
        "type": done,
        "peer": about.peer,
        "message_id": str(about.message_id),
        "about": reference(about.reference),
    }
    tell(f"{done}: {message_line(about)}", found, as_json=as_json)


def _times_object(about: Message, times: MessageTimes) -> dict[str, object]:
    return {
        "type": "info",
        "message_id": str(about.message_id),
        "sent_at": about.created_at,
        "delivered_at": times.delivered_at,
        "read_at": times.read_at,
        "message": message_object(about),
    }
