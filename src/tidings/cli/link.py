"""`tidings link`: let a new device into the account, so that it can read what is encrypted."""

from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.entering import PasswordOption, asked
from tidings.cli.running import JsonOption, ProfileOption, TimeoutOption, asking, print_json, run


def link(
    profile: ProfileOption,
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODE]",
            help="The code that the new device shows. Without it: show the code of this device, and wait.",
            show_default=False,
        ),
    ] = None,
    start_over: Annotated[
        bool,
        typer.Option(
            "--start-over",
            help="Every device that is in is lost: begin with another identity on this one. The others are"
            " signed out, what was written before stays unreadable, and people are told.",
        ),
    ] = False,
    password: PasswordOption = None,
    second: Annotated[str, typer.Option("--code", help="With --start-over: of the second factor.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="With --start-over: do not ask.")] = False,
    timeout: TimeoutOption = 600,
    as_json: JsonOption = False,
) -> None:
    """Let a new device read along: it shows a code, which is approved on a device that is in."""
    if start_over:
        if code is not None:
            raise typer.BadParameter("a code is of a device that is in: not with --start-over")
        if not yes:
            typer.confirm("All other devices are signed out, for good. Go on?", abort=True, err=True)
        run(_start_over(profile, asked(password, twice=False), second, min(timeout, 60)))
        _say_linked(as_json=as_json)
        return
    if code is None:
        run(_ask(profile, timeout, as_json=as_json))
        return
    device_id = run(_approve(profile, code, min(timeout, 60)))
    if as_json:
        print_json({"linked": str(device_id)})
    else:
        print(f"device {device_id} is in: it reads what comes from now on")


async def _ask(profile: Path, timeout_s: float, *, as_json: bool) -> None:
    cannot, hint = "be approved", "run `tidings link` again: it shows another code"
    async with asking(profile, timeout_s, cannot, hint=hint, receive=None) as me:
        if await me.devices.is_linked():
            _say_linked(as_json=as_json)
            return
        code = await me.devices.link_code()
        if as_json:
            print_json({"code": code})
        else:
            print(f"on a device that is in, run:  tidings link {code}\nwaiting …", flush=True)
        await me.devices.linked()
        _say_linked(as_json=as_json)


def _say_linked(*, as_json: bool) -> None:
    if as_json:
        print_json({"linked": True})
    else:
        print("this device is in")


async def _start_over(profile: Path, password: str, second: str, timeout_s: float) -> None:
    async with asking(profile, timeout_s, "start over") as me:
        await me.devices.start_over(password, code=second)


async def _approve(profile: Path, code: str, timeout_s: float) -> int:
    async with asking(profile, timeout_s, "approve it") as me:
        return int(await me.devices.approve(code))
