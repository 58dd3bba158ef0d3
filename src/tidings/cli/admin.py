"""`tidings admin`: look after a running server, from the same machine."""

import math
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidings.cli.duration import seconds, span
from tidings.cli.failure import Failure
from tidings.cli.operator import DataOption, Operator
from tidings.cli.running import JsonOption, print_json
from tidings.cli.wording import printable

DATA = Path("data")
PIPE_COLUMNS = 200
"""how wide a table is where there is no terminal"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

UserArgument = Annotated[str, typer.Argument(help="A handle, like @bob, or id:NUMBER.", show_default=False)]


@app.command("status")
def status(data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """How the server is."""
    found = Operator(data).ask("GET", "status")
    if as_json:
        print_json(found)
        return
    until = found["certificate_expires_at"]
    rows = {
        "version": found["version"],
        "store": found["store"],
        "running for": span(found["uptime_s"]),
        "connections": f"{found['connections']} of {found['connections_max']}",
        "users online": found["users_online"],
        "stopping": _yes(found["draining"]),
        "audit log": "ok" if found["audit"] else "cannot be written",
        "certificate until": "no TLS" if until is None else _when(until),
    }
    _table(("", ""), rows.items(), headers=False)
    if found.get("processes"):
        _process_table(found["processes"])


@app.command("users")
def users(
    data: DataOption = DATA,
    as_json: JsonOption = False,
    after: Annotated[str | None, typer.Option(help="Go on after this user_id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
) -> None:
    """List the accounts, in no order that means anything."""
    found = Operator(data).ask("GET", "users", after=after, limit=limit)
    if as_json:
        for user in found["users"]:
            print_json(user)
        if found["after"] is not None:
            print_json({"after": found["after"]})
        return
    _user_table(found["users"])
    if found["after"] is not None:
        print(f"There may be more: --after {found['after']}", file=sys.stderr)


@app.command("user")
def user(name: UserArgument, data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Show an account and its devices."""
    found = Operator(data).ask("GET", _path(name))
    if as_json:
        print_json(found)
        return
    _user_table([found["user"]])
    _table(
        ("device_id", "name", "since", "last seen"),
        (
            (device["device_id"], device["name"], _when(device["created_at"]), _when(device["seen_at"]))
            for device in found["devices"]
        ),
    )


@app.command("suspend")
def suspend(name: UserArgument, data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Lock an account: its sessions end at once, and it cannot log in. Nothing of it is deleted."""
    _changed(Operator(data).ask("POST", _path(name, "suspend")), "is suspended", as_json=as_json)


@app.command("unsuspend")
def unsuspend(name: UserArgument, data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Let a suspended account in again."""
    _changed(Operator(data).ask("POST", _path(name, "unsuspend")), "may come back", as_json=as_json)


@app.command("sign-out")
def sign_out(name: UserArgument, data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Log all devices of an account out; the user can log in again."""
    _changed(Operator(data).ask("POST", _path(name, "sign-out")), "is signed out", as_json=as_json)


@app.command("quota")
def quota(
    name: UserArgument,
    data: DataOption = DATA,
    as_json: JsonOption = False,
    messages_per_day: Annotated[int | None, typer.Option(min=0, help="0: none.")] = None,
    devices: Annotated[int | None, typer.Option(min=0, help="Most devices; 0: as the limits say.")] = None,
) -> None:
    """Bound what one account may do."""
    if messages_per_day is None and devices is None:
        raise Failure("no quota was given", hint="say --messages-per-day N, --devices N or both")
    body = {"messages_per_day": messages_per_day, "devices_max": devices}
    _changed(Operator(data).ask("PUT", _path(name, "quota"), body), "has a new quota", as_json=as_json)


@app.command("invite")
def invite(
    data: DataOption = DATA,
    as_json: JsonOption = False,
    uses: Annotated[int, typer.Option(min=1, help="How many accounts it makes.")] = 1,
    expires: Annotated[str, typer.Option(help="For how long, like 12h or 7d.")] = "7d",
    note: Annotated[str, typer.Option(help="For yourself.")] = "",
) -> None:
    """Make an invite code. It is shown this once."""
    body = {"uses": uses, "expires_in_s": seconds(expires), "note": note}
    made = Operator(data).ask("POST", "invites", body)
    if as_json:
        print_json(made)
    else:
        print(made["code"])


@app.command("invites")
def invites(
    data: DataOption = DATA,
    as_json: JsonOption = False,
    revoke: Annotated[str | None, typer.Option(help="Let the invite of this id be used no more.")] = None,
) -> None:
    """List the invites that can still be used, or revoke one."""
    operator = Operator(data)
    if revoke is not None:
        done = operator.ask("DELETE", f"invites/{quote(revoke, safe='')}")
        print_json(done) if as_json else print("revoked")
        return
    found = operator.ask("GET", "invites")["invites"]
    if as_json:
        for one in found:
            print_json(one)
        return
    _table(
        ("id", "made", "until", "uses left", "note"),
        (
            (
                one["invite_id"],
                _when(one["created_at"]),
                _when(one["expires_at"]),
                one["uses_left"],
                one["note"],
            )
            for one in found
        ),
    )


@app.command("limits")
def limits(
    name: Annotated[str | None, typer.Argument(help="The limit to change.", show_default=False)] = None,
    value: Annotated[
        str | None,
        typer.Argument(help="A number; of a rate PER_S,BURST, like 5,20.", show_default=False),
    ] = None,
    data: DataOption = DATA,
    as_json: JsonOption = False,
) -> None:
    """Show the limits, or change one until the server stops (the config keeps it)."""
    operator = Operator(data)
    if name is not None and value is not None:
        found = [operator.ask("PUT", f"limits/{quote(name, safe='')}", {"value": _value(value)})]
    else:
        found = operator.ask("GET", "limits")["limits"]
        if name is not None:
            found = [limit for limit in found if limit["name"] == name]
            if not found:
                raise Failure(f"there is no limit named {name!r}", hint="see `tidings admin limits`")
    if as_json:
        for limit in found:
            print_json(limit)
        return
    _table(
        ("name", "value", "default", "a change counts from"),
        (
            (limit["name"], _shown(limit["value"]), _shown(limit["default"]), limit["counts_from"])
            for limit in found
        ),
    )


@app.command("reports")
def reports(
    data: DataOption = DATA,
    as_json: JsonOption = False,
    before: Annotated[str | None, typer.Option(help="Those before this report_id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
) -> None:
    """What users told about others, the newest first."""
    found = Operator(data).ask("GET", "reports", before=before, limit=limit)
    if as_json:
        for report in found["reports"]:
            print_json(report)
        if found["before"] is not None:
            print_json({"before": found["before"]})
        return
    _table(
        ("when", "from", "about", "messages", "reason"),
        (
            (
                _when(report["created_at"]),
                report["reporter"],
                f"{report['reported']} (id:{report['reported_id']})",
                report["messages"],
                report["reason"],
            )
            for report in found["reports"]
        ),
    )
    if found["before"] is not None:
        print(f"There may be more: --before {found['before']}", file=sys.stderr)


@app.command("drain")
def drain(data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Stop the server as SIGTERM does: what was accepted is answered, clients are told when to come back."""
    done = Operator(data).ask("POST", "drain")
    print_json(done) if as_json else print("the server is stopping")


@app.command("restart-workers")
def restart_workers(data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Replace the workers of a server that has several, one after another; the server goes on meanwhile."""
    done = Operator(data).ask("POST", "restart-workers")
    print_json(done) if as_json else print("the workers are being replaced: see `tidings admin status`")


@app.command("metrics")
def metrics(data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Print the metrics as Prometheus gets them, or as one JSON object."""
    text = Operator(data).metrics()
    if not as_json:
        print(text, end="")
        return
    samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    print_json({name: float(number) for name, _, number in samples})


# --- wording --------------------------------------------------------------------------------


def _path(name: str, action: str = "") -> str:
    path = f"users/{quote(name.removeprefix('@'), safe=':')}"
    return f"{path}/{action}" if action else path


def _changed(user: dict[str, Any], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(user)
    else:
        print(f"@{user['handle']} {what}")


def _process_table(processes: list[dict[str, Any]]) -> None:
    _table(
        ("process", "pid", "serving for", "connections", "restarts"),
        (
            (
                one["name"],
                one["pid"],
                span(one["serving_s"]) if one["serving_s"] else "starting",
                one["connections"],
                one["restarts"],
            )
            for one in processes
        ),
    )


def _user_table(users: list[dict[str, Any]]) -> None:
    _table(
        ("handle", "user_id", "since", "online", "suspended", "messages a day", "devices"),
        (
            (
                "@" + user["handle"],
                user["user_id"],
                _when(user["created_at"]),
                _yes(user["online"]),
                _when(user["suspended_at"]),
                user["messages_per_day"] or "",
                user["devices_max"] or "",
            )
            for user in users
        ),
    )


def _table(columns: tuple[str, ...], rows: Iterable[Iterable[object]], *, headers: bool = True) -> None:
    """Text of users is never taken for markup, nor for orders to the terminal."""
    table = Table(box=None, show_header=headers, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=PIPE_COLUMNS)
    console.print(table)


def _when(at_ms: int) -> str:
    if not at_ms:
        return ""
    return f"{datetime.fromtimestamp(at_ms / 1000).astimezone():%Y-%m-%d %H:%M}"


def _yes(is_so: bool) -> str:
    return "yes" if is_so else ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return f"{value['per_s']:g},{value['burst']}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(text: str) -> object:
    per_s, comma, burst = text.partition(",")
    try:
        return {"per_s": _number(per_s), "burst": _number(burst)} if comma else _number(text)
    except ValueError:
        hint = "say a number, or PER_S,BURST of a rate, like 5,20"
        raise Failure(f"{text!r} is no limit", hint=hint) from None


def _number(text: str) -> int | float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return int(text) if text.strip().lstrip("+-").isdecimal() else number
