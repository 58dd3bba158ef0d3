"""`python -m tidings.bench.peers`: the comparison of `make bench-peers`."""

import json
import os
import platform
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from tidings.bench.peers.centrifugo import Centrifugo
from tidings.bench.peers.contract import Contestant, Figures, Missing, Sizes
from tidings.bench.peers.ejabberd import Ejabberd
from tidings.bench.peers.ours import Tidings
from tidings.bench.peers.table import Result, as_json, as_table, of_rounds
from tidings.bench.peers.workloads import RivalContestant
from tidings.bench.progress import Progress

CONTESTANTS: dict[str, Callable[[], Contestant]] = {
    "tidings": Tidings,
    "centrifugo": lambda: RivalContestant(lambda: Centrifugo("always")),
    "centrifugo-everysec": lambda: RivalContestant(lambda: Centrifugo("everysec")),
    "ejabberd": lambda: RivalContestant(Ejabberd),
}
WORKLOADS = ("direct", "idle", "offline")
FAILURES = (RuntimeError, OSError, TimeoutError)
DEFAULT = Sizes()


class Bar(Progress):
    """A bar on a terminal; elsewhere a line for each step."""

    def __init__(self, steps: int) -> None:
        super().__init__("bench-peers", sys.stderr)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        self._rich = (
            RichProgress(*columns, TimeElapsedColumn(), console=console) if console.is_terminal else None
        )
        self._task = self._rich.add_task("", total=steps) if self._rich is not None else TaskID(0)
        self._steps = steps
        self._done = 0
        self._part = ""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While it may draw."""
        if self._rich is None:
            yield
        else:
            with self._rich:
                yield

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """One of the steps that were announced."""
        self._part = name
        self.say("starting")
        yield
        self._done += 1
        if self._rich is not None:
            self._rich.advance(self._task)

    def say(self, step: str) -> None:
        if self._rich is None:
            super().say(f"{self._done + 1}/{self._steps} {self._part}: {step}")
        else:
            self._rich.update(self._task, description=f"{self._part}: {step}")


async def compare(
    contestants: Sequence[Contestant], workloads: Sequence[str], rounds: int, sizes: Sizes, bar: Bar
) -> list[Result]:
    """Measure them in turn, workload by workload, so that all have the machine as it is at that time."""
    found: dict[str, list[Figures]] = {contestant.name: [] for contestant in contestants}
    failures: dict[str, list[str]] = {contestant.name: [] for contestant in contestants}
    for _ in range(rounds):
        for workload in workloads:
            for contestant in contestants:
                with bar.part(f"{workload}, {contestant.name}"):
                    try:
                        found[contestant.name].append(await _measure(contestant, workload, sizes, bar))
                    except FAILURES as error:
                        failures[contestant.name].append(f"{workload}: {_told(error)}")
    return [
        Result(
            contestant.name,
            contestant.version(),
            contestant.promises,
            of_rounds(found[contestant.name]),
            tuple(failures[contestant.name]),
        )
        for contestant in contestants
    ]


def _told(error: BaseException) -> str:
    """What went wrong, or else what kind of error it was and where."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return str(error) or f"{type(error).__name__} in {where.name}, {Path(where.filename).name}"


async def _measure(contestant: Contestant, workload: str, sizes: Sizes, progress: Progress) -> Figures:
    with tempfile.TemporaryDirectory(prefix="tidings-bench-peers-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o711)  # noqa: S103 - servers that run as other users have their folders in it
        place = Path(name)
        if workload == "direct":
            return Figures(direct=await contestant.direct(place, sizes, progress))
        if workload == "idle":
            return Figures(idle=await contestant.idle(place, sizes, progress))
        return Figures(offline=await contestant.offline(place, sizes, progress))


def machine() -> dict[str, object]:
    """Where and when."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    peers: Annotated[str, typer.Option(help="Which ones, with commas between.")] = ",".join(CONTESTANTS),
    workloads: Annotated[str, typer.Option(help="Which of them, likewise.")] = ",".join(WORKLOADS),
    rounds: Annotated[int, typer.Option(min=1, help="Figures are medians over so many.")] = 1,
    pairs: Annotated[int, typer.Option(min=1)] = DEFAULT.pairs,
    messages: Annotated[int, typer.Option(min=1, help="A pair, at full speed.")] = DEFAULT.messages,
    paced_s: Annotated[float, typer.Option(min=1.0)] = DEFAULT.paced_s,
    connections: Annotated[int, typer.Option(min=100)] = DEFAULT.connections,
    hold_s: Annotated[float, typer.Option(min=0.0)] = DEFAULT.hold_s,
    users: Annotated[int, typer.Option(min=1, help="For whom messages wait.")] = DEFAULT.users,
    waiting: Annotated[int, typer.Option(min=1, max=4000, help="Messages for each.")] = DEFAULT.waiting,
    as_json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure this server beside others; the first of --peers is what the ratios are about."""
    sizes = Sizes(
        pairs=pairs,
        messages=messages,
        paced_s=paced_s,
        connections=connections,
        hold_s=hold_s,
        users=users,
        waiting=waiting,
    )
    chosen = _chosen(peers, CONTESTANTS, "--peers")
    wanted = _chosen(workloads, WORKLOADS, "--workloads")
    contestants = [CONTESTANTS[name]() for name in chosen]
    try:
        for contestant in contestants:
            contestant.version()
    except Missing as missing:
        _fail(str(missing), "make bench-peers sets up what it needs")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    bar = Bar(rounds * len(wanted) * len(contestants))
    where = machine()
    with bar.shown():
        results = uvloop.run(compare(contestants, wanted, rounds, sizes, bar))
    if as_json_:
        told = {"bench": "peers", "machine": where, "rounds": rounds, "sizes": sizes._asdict()}
        print(json.dumps({**told, "contestants": as_json(results)}))
    else:
        print(as_table(results))
    if any(result.failures for result in results):
        raise typer.Exit(1)


def _chosen(text: str, known: Collection[str], option: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in known:
            _fail(f"{option}: unknown: {name!r}", f"choose from {', '.join(known)}")
    return chosen


def _fail(message: str, hint: str) -> NoReturn:
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
