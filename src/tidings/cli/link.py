"""`tidings link`: let a new device into the account, so that it can read what is encrypted."""

from pathlib import Path
from typing import Annotated

import typer

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
    timeout: TimeoutOption = 600,
    as_json: JsonOption = False,
) -> None:
    """Let a new device read along: it shows a code, which is approved on a device that is in."""
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


async def _approve(profile: Path, code: str, timeout_s: float) -> int:
    async with asking(profile, timeout_s, "approve it") as me:
        return int(await me.devices.approve(code))
