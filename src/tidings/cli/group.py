"""`tidings group`: groups and channels, who is in them, and who may what."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tidings.cli import group_entry, group_talk
from tidings.cli.failure import Failure
from tidings.cli.group_asking import (
    GroupArgument,
    HandlesArgument,
    asked,
    called,
    group_line,
    group_lines,
    say,
)
from tidings.cli.group_objects import group_object, member_object
from tidings.cli.running import JsonOption, ProfileOption, TimeoutOption, asking, run, tell
from tidings.cli.wording import at
from tidings.client import Client, Group, GroupMember, GroupRole, Rules

Who = Literal["everybody", "admins", "owner"]
ROLES = {"everybody": GroupRole.MEMBER, "admins": GroupRole.ADMIN, "owner": GroupRole.OWNER}
MADE_LATER = "it waits in the profile, and is made once the server can be reached; do not repeat it"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is called.", show_default=False)],
    profile: ProfileOption,
    handles: Annotated[
        list[str] | None, typer.Argument(help="Who is in it besides you, like @bob @carol.")
    ] = None,
    about: Annotated[str, typer.Option("--about", help="What it is for.", show_default=False)] = "",
    channel: Annotated[
        bool, typer.Option("--channel", help="A channel: as many members as come, admins alone write.")
    ] = False,
    announcements: Annotated[bool, typer.Option("--announcements", help="Admins alone write.")] = False,
    approval: Annotated[
        bool, typer.Option("--approval", help="Who comes by an invite link is let in first.")
    ] = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Make a group; you are its owner."""
    rules = Rules(write=GroupRole.ADMIN if announcements else GroupRole.MEMBER, approval=approval)

    async def make(me: Client) -> Group:
        return await me.groups.create(name, handles or [], about=about, channel=channel, rules=rules)

    made = asked(profile, timeout, f"make {name}", make, hint=MADE_LATER)
    say(f"made {called(made)}, {made.peer[:9]}", made, as_json=as_json)


@app.command("list")
def list_(
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """List the groups and channels that you are in."""

    async def listed() -> list[Group]:
        async with asking(profile, timeout, "list the groups", receive=None) as me:
            return await me.groups.list()

    for group in run(listed()):
        tell(group_line(group), group_object(group), as_json=as_json)


@app.command()
def show(
    group: GroupArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Show all about a group."""
    found = asked(profile, timeout, "ask the server", lambda me: me.groups.refresh(group))
    say(group_lines(found), found, as_json=as_json)


@app.command()
def members(
    group: GroupArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """List who is in a group."""
    for member in asked(profile, timeout, "ask the server", lambda me: _members(me, group)):
        role = "" if member.role == GroupRole.MEMBER else f"  {member.role.name.lower()}"
        tell(f"{at(member.handle)}{role}", member_object(member), as_json=as_json)


@app.command()
def add(
    group: GroupArgument,
    handles: HandlesArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Add people to a group."""
    found = asked(profile, timeout, "add them", lambda me: me.groups.add(group, handles))
    say(f"{_all(handles)} added to {called(found)}", found, as_json=as_json)


@app.command()
def remove(
    group: GroupArgument,
    handles: HandlesArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Remove people from a group: they get nothing more of what is said in it."""
    found = asked(profile, timeout, "remove them", lambda me: me.groups.remove(group, handles))
    say(f"{_all(handles)} removed from {called(found)}", found, as_json=as_json)


@app.command()
def leave(
    group: GroupArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Leave a group; its owner hands it over first."""

    async def left(me: Client) -> Group:
        before = await me.groups.get(group)
        await me.groups.leave(before)
        return await me.groups.get(before.peer)

    found = asked(profile, timeout, "leave it", left)
    say(f"you have left {called(found)}", found, as_json=as_json)


@app.command()
def promote(
    group: GroupArgument,
    handles: HandlesArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Make members admins."""
    found = asked(profile, timeout, "promote them", lambda me: me.groups.promote(group, handles))
    say(f"admin of {called(found)}: {_all(handles)}", found, as_json=as_json)


@app.command()
def demote(
    group: GroupArgument,
    handles: HandlesArgument,
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Make admins ordinary members."""
    found = asked(profile, timeout, "demote them", lambda me: me.groups.demote(group, handles))
    say(f"ordinary member of {called(found)}: {_all(handles)}", found, as_json=as_json)


@app.command()
def transfer(
    group: GroupArgument,
    handle: Annotated[str, typer.Argument(help="Who is the owner then, like @bob.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Hand a group over to a member; you are an admin then."""
    found = asked(profile, timeout, "hand it over", lambda me: me.groups.transfer(group, handle))
    say(f"{at(handle)} owns {called(found)}", found, as_json=as_json)


@app.command()
def rename(
    group: GroupArgument,
    name: Annotated[str, typer.Argument(help="What it is to be called.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Give a group another name."""
    found = asked(profile, timeout, "rename it", lambda me: me.groups.rename(group, name))
    say(f"it is called {called(found)}", found, as_json=as_json)


@app.command()
def about(
    group: GroupArgument,
    text: Annotated[str, typer.Argument(help="What it is for; '' says nothing.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Say what a group is for."""
    found = asked(profile, timeout, "describe it", lambda me: me.groups.describe(group, text))
    say(f"{called(found)} is described", found, as_json=as_json)


@app.command()
def picture(
    group: GroupArgument,
    profile: ProfileOption,
    file: Annotated[
        Path | None,
        typer.Argument(help="Where to save it; with --set, which one to show.", show_default=False),
    ] = None,
    set_: Annotated[bool, typer.Option("--set", help="Show this file: a PNG, JPEG or WebP.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Show none any more.")] = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Save a group's picture to a file, or change it."""
    if remove and not (set_ or file):
        found = asked(profile, timeout, "remove it", lambda me: me.groups.remove_picture(group))
        say(f"{called(found)} has no picture", found, as_json=as_json)
    elif file is None or remove:
        raise Failure(
            "cannot tell what to do", hint="name a file to save it to, or give --set FILE or --remove"
        )
    elif set_:
        if not file.is_file():
            raise Failure(f"cannot read {file}: there is no such file", hint="check the name")
        found = asked(profile, timeout, "set it", lambda me: me.groups.set_picture(group, file))
        say(f"{called(found)} has a picture", found, as_json=as_json)
    else:
        _save(asked(profile, timeout, "get it", lambda me: me.groups.picture(group)), file, as_json=as_json)


@app.command()
def rules(
    group: GroupArgument,
    profile: ProfileOption,
    write: Annotated[Who | None, typer.Option("--write", help="Who may write.")] = None,
    add: Annotated[Who | None, typer.Option("--add", help="Who may add people, and make links.")] = None,
    edit: Annotated[Who | None, typer.Option("--edit", help="Who may change name, picture and pins.")] = None,
    approval: Annotated[
        bool | None,
        typer.Option("--approval/--no-approval", help="Whether who comes by a link is let in first."),
    ] = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Show who may do what in a group, or change it."""

    async def ruled(me: Client) -> Group:
        if all(one is None for one in (write, add, edit, approval)):
            return await me.groups.refresh(group)
        return await me.groups.set_rules(
            group, write=_role(write), add=_role(add), edit=_role(edit), approval=approval
        )

    found = asked(profile, timeout, "ask the server", ruled)
    now = found.rules
    names = {role: name for name, role in ROLES.items()}
    lines = [
        f"write      {names[now.write]}",
        f"add        {names[now.add]}",
        f"edit       {names[now.edit]}",
    ]
    lines.append(f"approval   {'yes' if now.approval else 'no'}")
    say("\n".join(lines), found, as_json=as_json)


for more in (group_entry.app, group_talk.app):
    app.registered_commands += more.registered_commands


async def _members(me: Client, group: str) -> list[GroupMember]:
    found: list[GroupMember] = []
    while page := await me.groups.members(group, after=found[-1].user_id if found else None):
        found += page
    return found


def _save(content: bytes | None, file: Path, *, as_json: bool) -> None:
    if content is None:
        raise Failure("it has no picture", hint="give it one with: tidings group picture GROUP FILE --set")
    try:
        with file.open("xb") as target:
            target.write(content)
    except FileExistsError:
        raise Failure(f"cannot write {file}: it exists already", hint="choose another name") from None
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}", hint="choose another place") from None
    tell(f"written to {file}", {"type": "picture", "file": str(file), "bytes": len(content)}, as_json=as_json)


def _role(who: Who | None) -> GroupRole | None:
    return None if who is None else ROLES[who]


def _all(handles: list[str]) -> str:
    return ", ".join(map(at, handles))
