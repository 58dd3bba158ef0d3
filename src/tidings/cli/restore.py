"""`tidings restore`: a data folder that a server may start on, made of a backup."""

import time
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.keeping import run
from tidings.cli.meter import meter
from tidings.cli.running import JsonOption, tell
from tidings.store import backup


def restore(
    source: Annotated[Path, typer.Option("--from", help="What `backup` made.", show_default=False)],
    data: Annotated[Path, typer.Option(help="An empty or new folder.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Copy a backup and prepare it for a server. The backup stays as it is."""
    with meter() as progress:
        run(backup.restore(source, data, now_ms=time.time_ns() // 1_000_000, progress=progress))
    tell(str(data), {"type": "restored", "path": str(data)}, as_json=as_json)
