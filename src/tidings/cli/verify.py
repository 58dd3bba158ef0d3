"""`tidings verify`: compare the safety number with somebody."""

from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.failure import Failure
from tidings.cli.running import (
    JsonOption,
    PeerArgument,
    ProfileOption,
    TimeoutOption,
    asking,
    print_json,
    run,
)
from tidings.cli.wording import at
from tidings.client import SafetyNumber


def verify(
    peer: PeerArgument,
    profile: ProfileOption,
    yes: Annotated[bool, typer.Option("--yes", help="They are the same: I have compared them.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Go on with their new keys without having compared.")
    ] = False,
    scanned: Annotated[
        str, typer.Option(help="What a scanner read from their QR code, in hexadecimal.", show_default=False)
    ] = "",
    qr: Annotated[bool, typer.Option("--qr", help="Show the QR code, for their device to scan.")] = False,
    timeout: TimeoutOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Compare the safety number with somebody: if both see the same, nobody is in between."""
    number = run(_verify(profile, timeout, peer, yes=yes, accept=accept, scanned=scanned))
    if as_json:
        print_json({"peer": peer, **_object(number)})
        return
    print("\n".join(_lines(peer, number)))
    if qr:
        _show(number.code)


async def _verify(
    profile: Path, timeout_s: float, peer: str, *, yes: bool, accept: bool, scanned: str
) -> SafetyNumber:
    async with asking(profile, timeout_s, "ask for the keys") as me:
        number = await me.safety.number(peer)
        if accept:
            await me.safety.accept(peer)
        if scanned:
            return await me.safety.verify(peer, _bytes(scanned))
        return await me.safety.verify(peer) if yes else number


def _object(number: SafetyNumber) -> dict[str, object]:
    return {"digits": number.digits, "code": number.code.hex(), "verified": number.verified}


def _lines(peer: str, number: SafetyNumber) -> list[str]:
    groups = str(number).split()
    rows = ["  ".join(groups[start : start + 4]) for start in range(0, len(groups), 4)]
    state = "verified" if number.verified else "not verified: compare it, then run this with --yes"
    return [f"safety number with {at(peer)} ({state}):", *(f"  {row}" for row in rows)]


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Failure(
            "--scanned is no hexadecimal", hint="a scanner that prints bytes in hexadecimal"
        ) from None


def _show(code: bytes) -> None:
    import segno  # noqa: PLC0415 - few need it

    segno.make(code, error="m").terminal(compact=True)
