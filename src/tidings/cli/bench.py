"""`tidings bench`: measure a server of its own, started for the occasion and thrown away after."""

import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from tidings.bench.crash import CrashOptions, crash
from tidings.bench.direct import DirectOptions, direct
from tidings.bench.idle import IdleOptions, idle
from tidings.bench.offline import OfflineOptions, offline
from tidings.bench.progress import Progress
from tidings.cli.failure import Failure

Bench = Callable[[Path, Progress], Awaitable[dict[str, object]]]

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Folder = Annotated[
    Path | None, typer.Option("--dir", help="Where the store is made (default: the temporary folder).")
]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("direct")
def bench_direct(
    as_json: AsJson = False,
    folder: Folder = None,
    pairs: int = DirectOptions().pairs,
    messages: int = DirectOptions().messages,
    window: int = DirectOptions().window,
    paced_s: float = DirectOptions().paced_s,
) -> None:
    """Pairs that chat: CPU a message at full speed, latency at 500 and 1,000 messages a second."""
    options = DirectOptions(pairs=pairs, messages=messages, window=window, paced_s=paced_s)
    _run(lambda place, progress: direct(place, options, progress), "direct", folder, as_json=as_json)


@app.command("idle")
def bench_idle(
    as_json: AsJson = False,
    folder: Folder = None,
    connections: int = IdleOptions().connections,
    hold_s: float = IdleOptions().hold_s,
) -> None:
    """Memory of connections that only send heartbeats."""
    options = IdleOptions(connections, hold_s)
    _run(lambda place, progress: idle(place, options, progress), "idle", folder, as_json=as_json)


@app.command("offline")
def bench_offline(
    as_json: AsJson = False,
    folder: Folder = None,
    users: int = OfflineOptions().users,
    messages: int = OfflineOptions().messages,
) -> None:
    """CPU a message for people who fetch what has waited for them."""
    options = OfflineOptions(users, messages)
    _run(lambda place, progress: offline(place, options, progress), "offline", folder, as_json=as_json)


@app.command("crash")
def bench_crash(
    as_json: AsJson = False,
    folder: Folder = None,
    pairs: int = CrashOptions().pairs,
    kills: int = CrashOptions().kills,
    seed: int = CrashOptions().seed,
) -> None:
    """kill -9 in the middle of `direct`: what was lost, doubled or misplaced. Exits with 1 if any."""
    options = CrashOptions(pairs=pairs, kills=kills, seed=seed)
    result = _run(lambda place, progress: crash(place, options, progress), "crash", folder, as_json=as_json)
    if result["lost"] or result["duplicates"] or result["out_of_order"]:
        raise Failure("the server broke its promise", hint=f"repeat with --seed {seed}")


def _run(bench: Bench, name: str, folder: Path | None, *, as_json: bool) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix=f"tidings-bench-{name}-", dir=folder) as place:
        try:
            result = uvloop.run(_await(bench(Path(place), Progress(name))))
        except TimeoutError:
            raise Failure("the server did not keep up", hint="try fewer --pairs or --messages") from None
    if as_json:
        print(json.dumps(result))
    else:
        _print(result)
    return result


async def _await(bench: Awaitable[dict[str, object]]) -> dict[str, object]:
    return await bench


def _print(result: dict[str, object], indent: str = "") -> None:
    for name, value in result.items():
        if isinstance(value, list):
            for item in value:
                print(f"{indent}{name}:")
                _print(item, indent + "  ")
        else:
            print(f"{indent}{name}: {value:,}" if isinstance(value, int) else f"{indent}{name}: {value}")
