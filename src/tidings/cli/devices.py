"""`tidings devices`: list, name and sign out one's devices."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tidings.cli.entering import PasswordOption, asked
from tidings.cli.running import JsonOption, ProfileOption, print_json, run
from tidings.cli.unlocking import opened
from tidings.cli.wording import printable
from tidings.protocol.api import DeviceInfo

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

DeviceArgument = Annotated[str, typer.Argument(help="A device_id, as `list` shows.", show_default=False)]


@app.command("list")
def list_(profile: ProfileOption, as_json: JsonOption = False) -> None:
    """List the account's devices."""
    for device in run(_list(profile)):
        _say(device, as_json=as_json)


@app.command()
def rename(
    device_id: DeviceArgument,
    name: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    profile: ProfileOption,
    as_json: JsonOption = False,
) -> None:
    """Name a device."""
    _say(run(_rename(profile, device_id, name)), as_json=as_json)


@app.command("sign-out")
def sign_out(
    device_id: DeviceArgument,
    profile: ProfileOption,
    stolen: Annotated[
        bool,
        typer.Option("--stolen", help="It may be in wrong hands: your account gets another identity, too."),
    ] = False,
    password: PasswordOption = None,
    code: Annotated[str, typer.Option(help="With --stolen: of the second factor.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Sign a device out: it is out at once, and its profile is of no use any more."""
    secret = asked(password, twice=False) if stolen else None
    run(_sign_out(profile, device_id, secret, code))
    if as_json:
        print_json({"signed_out": device_id})
    else:
        print(f"device {device_id} is signed out")


async def _list(profile: Path) -> list[DeviceInfo]:
    async with opened(profile, receive=False) as me:
        return await me.devices.list()


async def _rename(profile: Path, device_id: str, name: str) -> DeviceInfo:
    async with opened(profile, receive=False) as me:
        return await me.devices.rename(device_id, name)


async def _sign_out(profile: Path, device_id: str, password: str | None, code: str) -> None:
    async with opened(profile, receive=False) as me:
        if password is None:
            await me.devices.sign_out(device_id)
        else:
            await me.devices.revoke_stolen(device_id, password, code=code)


def _say(device: DeviceInfo, *, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.to_builtins(device))
        return
    seen = (
        "never"
        if not device.seen_at
        else datetime.fromtimestamp(device.seen_at / 1000, UTC).isoformat(" ", "minutes")
    )
    current = "  (this one)" if device.current else ""
    print(f"{device.device_id}  {printable(device.name) or '(no name)'}  last seen {seen}{current}")
