"""`tidings people`: who one knows, who knocks, and who is kept out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tidings.cli.choosing import choose
from tidings.cli.failure import Failure
from tidings.cli.objects import contact_object, person_object, request_object
from tidings.cli.running import (
    LATER,
    HandleArgument,
    JsonOption,
    ProfileOption,
    TimeoutOption,
    asking,
    run,
    tell,
)
from tidings.cli.wording import at, clock, printable, request_line
from tidings.client import ClientError, Contact, Person, Request

What = Literal["last_seen", "picture", "receipts", "phone", "groups"]
Who = Literal["everyone", "contacts", "nobody"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def find(
    who: Annotated[
        str, typer.Argument(help="A handle or a phone number, like +4930123456.", show_default=False)
    ],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Find somebody."""
    person = run(_find(profile, timeout, who))
    tell(_person_lines(person), person_object(person), as_json=as_json)


@app.command()
def contacts(profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30) -> None:
    """List your contacts."""
    for contact in run(_contacts(profile, timeout)):
        tell(_contact_line(contact), contact_object(contact), as_json=as_json)


@app.command()
def add(
    peer: HandleArgument,
    profile: ProfileOption,
    nickname: Annotated[str, typer.Option("--nickname", help="What you call them.", show_default=False)] = "",
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Make somebody a contact: they may write to you from now on."""
    contact = run(_add(profile, timeout, peer, nickname))
    tell(f"added {_contact_line(contact)}", contact_object(contact), as_json=as_json)


@app.command()
def remove(
    peer: HandleArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Take somebody off the list of contacts."""
    run(_remove(profile, timeout, peer))
    _say_done("removed", peer, "is no contact", as_json=as_json)


@app.command()
def requests(profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30) -> None:
    """List strangers who want to talk to you; what they wrote is shown once you let them in."""
    for request in run(_requests(profile, timeout)):
        line = f"{clock(request.first_at)}  {request_line(request)}"
        tell(line, request_object(request), as_json=as_json)


@app.command()
def accept(
    peer: HandleArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Let a stranger in: what they wrote is delivered."""
    run(_answer(profile, timeout, peer, accepts=True))
    _say_done("accepted", peer, "may write to you", as_json=as_json)


@app.command()
def decline(
    peer: HandleArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Leave a stranger outside. They are not told."""
    run(_answer(profile, timeout, peer, accepts=False))
    _say_done("declined", peer, "stays outside", as_json=as_json)


@app.command()
def block(
    peer: HandleArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Get nothing from somebody any more, and show them nothing. They are not told."""
    run(_block(profile, timeout, peer, blocks=True))
    _say_done("blocked", peer, "is blocked", as_json=as_json)


@app.command()
def unblock(
    peer: HandleArgument, profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30
) -> None:
    """Get what somebody writes again, from now on."""
    run(_block(profile, timeout, peer, blocks=False))
    _say_done("unblocked", peer, "is not blocked", as_json=as_json)


@app.command()
def blocked(profile: ProfileOption, as_json: JsonOption = False, timeout: TimeoutOption = 30) -> None:
    """List whom you have blocked."""
    for person in run(_blocked(profile, timeout)):
        tell(at(person.handle), person_object(person), as_json=as_json)


@app.command()
def report(
    peer: HandleArgument,
    reason: Annotated[str, typer.Argument(help="What the operator should know.", show_default=False)],
    profile: ProfileOption,
    message: Annotated[
        list[str] | None,
        typer.Option("--message", help="A message_id, or last; may be repeated.", show_default=False),
    ] = None,
    block: Annotated[bool, typer.Option("--block", help="Block them, too.")] = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Tell the operator about somebody. The operator sees your reason, and no message's text."""
    names = message or []
    run(_report(profile, timeout, peer, reason, names, blocks=block))
    found = {"type": "reported", "handle": peer.removeprefix("@"), "messages": len(names), "blocked": block}
    ending = ", and is blocked" if block else ""
    tell(f"{at(peer)} is reported to the operator{ending}", found, as_json=as_json)


@app.command()
def privacy(
    profile: ProfileOption,
    what: Annotated[
        What | None,
        typer.Argument(help="What is shown; groups: who may add you to some.", show_default=False),
    ] = None,
    who: Annotated[Who | None, typer.Argument(help="Who sees it.", show_default=False)] = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Show who sees what of you, or change it."""
    if what is not None and who is None:
        raise Failure(f"cannot change {what}: for whom?", hint="say everyone, contacts or nobody after it")
    found = run(_privacy(profile, timeout, what, who))
    lines = "\n".join(f"{name:10} {printable(value)}" for name, value in found.items())
    tell(lines, {"type": "privacy", **found}, as_json=as_json)


@app.command()
def picture(
    peer: HandleArgument,
    file: Annotated[Path, typer.Argument(help="A file that does not exist yet.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 30,
) -> None:
    """Save somebody's picture."""
    content = run(_picture(profile, timeout, peer))
    if content is None:
        raise Failure(f"{at(peer)} shows no picture", hint="they may show it to their contacts only")
    try:
        with file.open("xb") as target:
            target.write(content)
    except FileExistsError:
        raise Failure(f"cannot write {file}: it exists already", hint="choose another name") from None
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}", hint="choose another place") from None
    found = {"type": "picture", "handle": peer.removeprefix("@"), "file": str(file), "bytes": len(content)}
    tell(f"written to {file}", found, as_json=as_json)


async def _find(profile: Path, timeout_s: float, who: str) -> Person:
    async with asking(profile, timeout_s, f"find {who}") as me:
        return await me.people.find(who)


async def _contacts(profile: Path, timeout_s: float) -> list[Contact]:
    async with asking(profile, timeout_s, "list the contacts") as me:
        return await me.people.contacts()


async def _add(profile: Path, timeout_s: float, peer: str, nickname: str) -> Contact:
    async with asking(profile, timeout_s, f"add {peer}", hint=LATER) as me:
        return await me.people.add(peer, nickname=nickname)


async def _remove(profile: Path, timeout_s: float, peer: str) -> None:
    async with asking(profile, timeout_s, f"remove {peer}", hint=LATER) as me:
        await me.people.remove(peer)


async def _requests(profile: Path, timeout_s: float) -> list[Request]:
    async with asking(profile, timeout_s, "list the requests") as me:
        return await me.people.requests()


async def _answer(profile: Path, timeout_s: float, peer: str, *, accepts: bool) -> None:
    async with asking(profile, timeout_s, f"answer {peer}") as me:
        try:
            await (me.people.accept(peer) if accepts else me.people.decline(peer))
        except ClientError as error:
            if error.hint or type(error) is not ClientError:
                raise
            raise Failure(error.message, hint="see who waits with: tidings people requests") from error


async def _block(profile: Path, timeout_s: float, peer: str, *, blocks: bool) -> None:
    async with asking(profile, timeout_s, "tell the server", hint=LATER) as me:
        await (me.people.block(peer) if blocks else me.people.unblock(peer))


async def _blocked(profile: Path, timeout_s: float) -> list[Person]:
    async with asking(profile, timeout_s, "list the blocked ones") as me:
        return await me.people.blocked()


async def _report(
    profile: Path, timeout_s: float, peer: str, reason: str, names: list[str], *, blocks: bool
) -> None:
    async with asking(profile, timeout_s, f"report {peer}") as me:
        messages = [await choose(me, peer, name, own=False) for name in names]
        await me.people.report(peer, reason, messages=messages)
        if blocks:
            await me.people.block(peer)


async def _privacy(profile: Path, timeout_s: float, what: str | None, who: str | None) -> dict[str, str]:
    async with asking(profile, timeout_s, "ask the server") as me:
        if what is not None and who is not None:
            await me.people.set_privacy(what, who)
        return await me.people.privacy()


async def _picture(profile: Path, timeout_s: float, peer: str) -> bytes | None:
    async with asking(profile, timeout_s, f"get the picture of {peer}") as me:
        return await me.people.picture(peer)


def _person_lines(person: Person) -> str:
    rows = {
        "handle": at(person.handle),
        "name": printable(person.name),
        "about": printable(person.about),
        "picture": "yes" if person.has_picture else "none, or none for you",
    }
    return "\n".join(f"{name:8} {value}".rstrip() for name, value in rows.items())


def _contact_line(contact: Contact) -> str:
    who = at(contact.handle) if contact.handle else "(gone)"
    return f"{who}  {printable(contact.nickname)}".rstrip()


def _say_done(done: str, peer: str, line: str, *, as_json: bool) -> None:
    tell(f"{at(peer)} {line}", {"type": done, "handle": peer.removeprefix("@")}, as_json=as_json)
