"""`tidings group`, how people come in: invite links, and those who wait to be let in."""

from typing import Annotated

import typer

from tidings.cli.duration import seconds
from tidings.cli.group_asking import GroupArgument, HandlesArgument, LinkArgument, asked, called, say
from tidings.cli.group_objects import group_object, invitation_object
from tidings.cli.running import JsonOption, ProfileOption, TimeoutOption, tell
from tidings.cli.wording import at, printable
from tidings.client import Client, Group

app = typer.Typer(rich_markup_mode=None)


@app.command()
def link(
    group: GroupArgument,
    profile: ProfileOption,
    expires: Annotated[str, typer.Option("--expires", help="How long it is good, like 12h or 30d.")] = "7d",
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Make an invite link: who has it may join. Only you can read it; the server cannot."""
    expires_in_s = seconds(expires)

    async def make(me: Client) -> tuple[str, Group]:
        return await me.groups.link(group, expires_in_s=expires_in_s), await me.groups.get(group)

    made, found = asked(profile, timeout, "make a link", make)
    tell(made, {"type": "link", "link": made, "group": group_object(found)}, as_json=as_json)


@app.command()
def unlink(
    group: GroupArgument,
    profile: ProfileOption,
    link: Annotated[str, typer.Argument(help="Which one; all, if none is given.", show_default=False)] = "",
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Revoke invite links of a group."""
    found = asked(profile, timeout, "revoke it", lambda me: me.groups.unlink(group, link))
    left = len(found.links)
    say(f"revoked; {called(found)} has {left or 'no'} link{'' if left == 1 else 's'}", found, as_json=as_json)


@app.command()
def preview(
    link: LinkArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Show what an invite link leads to, without joining."""
    found = asked(profile, timeout, "look at it", lambda me: me.groups.preview(link))
    what = "channel" if found.is_channel else "group"
    rows = [
        f"#{printable(found.name) or '(unnamed)'}, a {what} of {found.count}, made by {at(found.made_by)}"
    ]
    if found.about:
        rows.append(printable(found.about))
    if found.approval:
        rows.append("who joins is let in first")
    tell("\n".join(rows), invitation_object(found), as_json=as_json)


@app.command()
def join(
    link: LinkArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Join a group by an invite link."""
    found = asked(profile, timeout, "join it", lambda me: me.groups.join(link))
    if found is None:
        tell("you wait to be let in", {"type": "joined", "waiting": True, "group": None}, as_json=as_json)
        return
    joined = {"type": "joined", "waiting": False, "group": group_object(found)}
    tell(f"you are in {called(found)}, {found.peer[:9]}", joined, as_json=as_json)


@app.command()
def waiting(
    group: GroupArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """List who wants to be let into a group."""
    found = asked(profile, timeout, "ask the server", lambda me: me.groups.refresh(group))
    for handle in found.waiting:
        tell(at(handle), {"type": "waiting", "handle": handle, "peer": found.peer}, as_json=as_json)


@app.command("let-in")
def let_in(
    group: GroupArgument,
    handles: HandlesArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Let people in who wait."""
    found = asked(profile, timeout, "let them in", lambda me: me.groups.let_in(group, handles))
    say(f"{', '.join(map(at, handles))} let into {called(found)}", found, as_json=as_json)


@app.command("turn-away")
def turn_away(
    group: GroupArgument,
    handles: HandlesArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Do not let people in who wait. They are not told."""
    found = asked(profile, timeout, "turn them away", lambda me: me.groups.turn_away(group, handles))
    say(f"{', '.join(map(at, handles))} turned away", found, as_json=as_json)
