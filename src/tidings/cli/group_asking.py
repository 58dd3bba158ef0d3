"""What the verbs of `tidings group` have in common: which group, who, and how it is said what was done."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from tidings.cli.group_objects import group_object
from tidings.cli.running import RUNNING, asking, run, tell
from tidings.cli.wording import clock, printable, titled
from tidings.client import Client, Group
from tidings.client.group_values import WHO

T = TypeVar("T")

GroupArgument = Annotated[
    str,
    typer.Argument(
        help="Its name, like '#Family' (quoted: a shell drops a bare #), or # and the beginning of its id.",
        show_default=False,
    ),
]
HandlesArgument = Annotated[list[str], typer.Argument(help="Handles, like @bob @carol.", show_default=False)]
LinkArgument = Annotated[
    str, typer.Argument(help="An invite link: tidings:join/… .", show_default=False, metavar="LINK")
]


def asked(
    profile: Path,
    timeout_s: float,
    cannot: str,
    act: Callable[[Client], Awaitable[T]],
    *,
    hint: str = RUNNING,
) -> T:
    """Do something with the SDK, connected. Raises Failure."""

    async def acting() -> T:
        # What groups are called may wait on the server, as all that is encrypted.
        async with asking(profile, timeout_s, cannot, hint=hint, receive=None) as me:
            return await act(me)

    return run(acting())


def say(line: str, group: Group, *, as_json: bool) -> None:
    """What was done, and what the group is now."""
    tell(line, group_object(group), as_json=as_json)


def called(group: Group) -> str:
    """A group's name."""
    return titled(group.name, group.peer)


def group_line(group: Group) -> str:
    """A group in a list."""
    what = "channel" if group.is_channel else "group"
    members = "1 member" if group.count == 1 else f"{group.count} members"
    sealed = "" if group.sealed else ", not encrypted"
    return f"{called(group):20} {group.peer[:9]}  {what}, {members}, you: {group.role.name.lower()}{sealed}"


def group_lines(group: Group) -> str:
    """All about a group."""
    rules = group.rules
    rows = {
        "name": printable(group.name),
        "about": printable(group.about),
        "id": group.peer,
        "kind": "channel" if group.is_channel else "group",
        "members": str(group.count),
        "you are": "no member any more" if group.is_left else group.role.name.lower(),
        "made": f"by @{printable(group.made_by)}, {clock(group.made_at)}" if group.made_at else "",
        "encrypted": "yes" if group.sealed else "no",
        "write": WHO[rules.write],
        "add": WHO[rules.add] + (", who comes by a link is let in first" if rules.approval else ""),
        "edit": WHO[rules.edit],
        "picture": "yes" if group.picture else "",
        "pinned": ", ".join(str(pin.message_id) for pin in group.pins),
        "links": ", ".join(
            f"until {clock(link.until)} by @{printable(link.made_by)}" for link in group.links
        ),
        "waiting": ", ".join(f"@{printable(who)}" for who in group.waiting),
    }
    return "\n".join(f"{name:10} {value}" for name, value in rows.items() if value)
