"""`tidings chats`: the list of conversations, and what all of one's devices know of each."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.duration import seconds, span
from tidings.cli.objects import chat_object
from tidings.cli.running import (
    LATER,
    JsonOption,
    PeerArgument,
    ProfileOption,
    TimeoutOption,
    asking,
    run,
    tell,
)
from tidings.cli.wording import at, chat_line, muted, printable
from tidings.client import Chat, Client, Message
from tidings.client.group_values import is_group

OFF = "off"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30) -> None:
    """List the conversations: pinned ones first, then the newest first."""
    for chat, quoted in run(_list(profile, timeout)):
        tell(chat_line(chat, quoted=quoted), chat_object(chat), as_json=as_json)


@app.command()
def pin(
    peer: PeerArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Keep a conversation at the top."""
    chat = _change(profile, timeout, peer, lambda me: me.chats.pin(peer))
    tell(f"{at(peer)} is pinned", chat_object(chat), as_json=as_json)


@app.command()
def unpin(
    peer: PeerArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Let a conversation sink again."""
    chat = _change(profile, timeout, peer, lambda me: me.chats.pin(peer, pinned=False))
    tell(f"{at(peer)} is not pinned", chat_object(chat), as_json=as_json)


@app.command()
def mute(
    peer: PeerArgument,
    profile: ProfileOption,
    for_: Annotated[
        str, typer.Option("--for", help="For how long, like 8h; for good if not given.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Have no notifications of a conversation."""
    for_s = seconds(for_) if for_ else None
    chat = _change(profile, timeout, peer, lambda me: me.chats.mute(peer, for_s=for_s))
    tell(f"{at(peer)} is {muted(chat.muted_until)}", chat_object(chat), as_json=as_json)


@app.command()
def unmute(
    peer: PeerArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Have notifications of a conversation again."""
    chat = _change(profile, timeout, peer, lambda me: me.chats.unmute(peer))
    tell(f"{at(peer)} is not muted", chat_object(chat), as_json=as_json)


@app.command()
def archive(
    peer: PeerArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Put a conversation away."""
    chat = _change(profile, timeout, peer, lambda me: me.chats.archive(peer))
    tell(f"{at(peer)} is archived", chat_object(chat), as_json=as_json)


@app.command()
def unarchive(
    peer: PeerArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Take a conversation back into the list."""
    chat = _change(profile, timeout, peer, lambda me: me.chats.archive(peer, archived=False))
    tell(f"{at(peer)} is in the list", chat_object(chat), as_json=as_json)


@app.command()
def draft(
    peer: PeerArgument,
    profile: ProfileOption,
    text: Annotated[
        str | None, typer.Argument(help="Shows the draft if not given; '' removes it.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Keep a text that is not finished yet, on all devices; or show it."""
    if text is None:
        chat = _change(profile, timeout, peer, _nothing)
        tell(printable(chat.draft), chat_object(chat), as_json=as_json)
        return
    chat = _change(profile, timeout, peer, lambda me: me.chats.draft(peer, text))
    done = "is kept" if text else "is removed"
    tell(f"the draft to {at(peer)} {done}", chat_object(chat), as_json=as_json)


@app.command()
def timer(
    peer: PeerArgument,
    after: Annotated[str, typer.Argument(help="How long, like 8h or 7d, or: off.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Have what you send in a conversation from now on vanish after a time."""
    after_s = 0 if after == OFF else seconds(after)
    chat = _change(profile, timeout, peer, lambda me: me.chats.timer(peer, after_s))
    done = f"vanishes after {span(chat.timer_s)}" if chat.timer_s else "stays"
    tell(f"what you send to {at(peer)} {done}", chat_object(chat), as_json=as_json)


async def _list(profile: Path, timeout_s: float) -> list[tuple[Chat, Message | None]]:
    async with asking(profile, timeout_s, "list the chats", receive=None) as me:
        return [(chat, await _quoted(me, chat)) for chat in await me.chats.list()]


async def _quoted(me: Client, chat: Chat) -> Message | None:
    if chat.newest is None or chat.newest.reply_to is None:
        return None
    return await me.messages.get(chat.newest.reply_to)


def _change(profile: Path, timeout_s: float, peer: str, act: Callable[[Client], Awaitable[None]]) -> Chat:
    async def changing() -> Chat:
        # What a group is called may wait on the server, as all that is encrypted.
        receive = None if is_group(peer) else False
        async with asking(profile, timeout_s, "tell the server", hint=LATER, receive=receive) as me:
            await act(me)
            return await me.chats.get(peer)

    return run(changing())


async def _nothing(_: Client) -> None:
    pass
