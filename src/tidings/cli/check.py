"""`tidings check`: is the config valid, and is the store readable and of one piece?"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.failure import Failure
from tidings.cli.keeping import run
from tidings.cli.meter import meter
from tidings.cli.running import JsonOption, print_json
from tidings.server.config import Config, ConfigError, address, load
from tidings.server.tls import Certificate
from tidings.store.checks import Findings
from tidings.store.checks import check as check_store
from tidings.store.rocks import RocksStore

CONFIG_HINT = "the keys and their defaults are in docs/reference/configuration.md"


def check(
    config: Annotated[Path | None, typer.Option(help="TOML file; see the reference.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the embedded store.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write anew what follows from other rows (memberships).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a config and the store it names, while no server runs on it; exit code 1 on any problem."""
    settings = _checked(config, data)
    with meter() as progress:
        findings = run(_check(Path(settings.data), repair=repair, progress=progress))
    _say(findings, as_json=as_json)
    if findings.left:
        raise typer.Exit(1)


def _checked(path: Path | None, data: Path | None) -> Config:
    """The config, if a server would start with it. Raises Failure."""
    try:
        config = load(path, {"data": None if data is None else str(data)})
        address(config.listen)
        if config.admin:
            address(config.admin)
        Certificate.of(config)
    except ConfigError as error:
        message, _, hint = str(error).partition("\nhint: ")
        raise Failure(message, hint=hint or CONFIG_HINT) from error
    return config


async def _check(data: Path, *, repair: bool, progress: Callable[[str, int, int], None]) -> Findings:
    store = RocksStore.open(data, as_it_is=True)
    try:
        return await check_store(store, repair=repair, now_ms=time.time_ns() // 1_000_000, progress=progress)
    finally:
        await store.close()


def _say(findings: Findings, *, as_json: bool) -> None:
    for kind, count in sorted(findings.counts.items()):
        repaired, examples = findings.repaired[kind], findings.examples[kind]
        if as_json:
            print_json(
                {"type": "problem", "kind": kind, "count": count, "repaired": repaired, "examples": examples}
            )
        else:
            ending = f"; {repaired} repaired" if repaired else ""
            print(f"{count} × {kind} (such as {', '.join(examples)}){ending}")
    if as_json:
        print_json({"type": "checked", "rows": findings.rows, "problems": findings.left.total()})
    else:
        rows, left = sum(findings.rows.values()), findings.left.total()
        print(f"{rows} rows in {len(findings.rows)} tables: {left or 'no'} problem{'' if left == 1 else 's'}")
