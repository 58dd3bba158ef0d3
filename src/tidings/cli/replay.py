"""`tidings replay`: play an exported WhatsApp chat through a server, and check it.

Every speaker becomes a user; each line goes from its speaker to everybody else's direct
conversation, and the next line waits until all of it is accepted, so that there is one order.
All receive meanwhile. At the end every line must have reached everybody, once, in the order of
the file, whatever happened to the server on the way.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tidings.cli.cast import Speaker, cast, suffix
from tidings.cli.failure import Failure
from tidings.cli.running import JsonOption, print_json, run
from tidings.cli.tally import Verdict, total
from tidings.client import whatsapp

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """A replay, counted."""

    lines: int
    speakers: int
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class Line:
    """A line of the chat: who says what."""

    speaker: Speaker
    text: str


def replay(
    file: Annotated[Path, typer.Argument(help="The exported chat, a .txt file.", show_default=False)],
    server: Annotated[str, typer.Option(envvar="TIDINGS_SERVER", help="Like http://127.0.0.1:8080.")],
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Keep the speakers' profiles here; used again next time.")
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds without any progress before it gives up.")
    ] = 120,
    as_json: JsonOption = False,
) -> None:
    """Play an exported WhatsApp chat through a server, and check that nothing is lost.

    Ends with 1 if anything was lost, doubled or out of order.
    """
    entries = [entry for entry in _read(file) if entry.author is not None]
    names = whatsapp.authors(entries)
    if len(names) < 2:
        raise Failure(
            f"cannot replay {file}: it has {len(names)} speaker{'' if len(names) == 1 else 's'}",
            hint="a chat needs two",
        )
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidings-replay-")))
        result = run(_replay(entries, cast(names, place), server, patience))
    _say(result, as_json=as_json)
    if not result.verdict.is_clean:
        raise typer.Exit(1)


def _read(file: Path) -> list[whatsapp.Entry]:
    try:
        return whatsapp.read(file)
    except OSError as error:
        hint = "name the .txt file that the phone exported"
        raise Failure(f"cannot read {file}: {error.strerror}", hint=hint) from error
    except whatsapp.BadExport as error:
        raise Failure(f"cannot read {file}: line {error.line}: {error.reason}", hint=error.hint) from error


async def _replay(
    entries: Sequence[whatsapp.Entry], speakers: Sequence[Speaker], server: str, patience_s: float
) -> Result:
    by_name = {speaker.name: speaker for speaker in speakers}
    script = [Line(by_name[entry.author or ""], entry.text) for entry in entries]
    marking = suffix()
    for speaker in speakers:
        await speaker.enrol(server, marking)
    started_s = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        for speaker in speakers:
            await speaker.perform(stack)
        hearing = [asyncio.ensure_future(speaker.hear()) for speaker in speakers]
        try:
            await _beside(_play(script, speakers, patience_s), hearing)
        finally:
            for task in hearing:
                task.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)
    verdict = total([speaker.tally.verdict() for speaker in speakers])
    return Result(len(script), len(speakers), verdict, round(time.monotonic() - started_s, 3))


async def _play(script: Sequence[Line], speakers: Sequence[Speaker], patience_s: float) -> None:
    """Say all lines, then wait until all are heard, or nothing more comes."""
    with _progress() as progress:
        met = progress.add_task("met", total=len(speakers))
        for speaker in speakers:
            async with _patience(patience_s, "nobody was added to the contacts"):
                await speaker.meet([other for other in speakers if other is not speaker])
            progress.advance(met)
        said = progress.add_task("said", total=len(script))
        for line in script:
            others = [speaker for speaker in speakers if speaker is not line.speaker]
            async with _patience(patience_s, "no line was accepted"):
                await line.speaker.say(line.text, others)
            progress.advance(said)
        heard = progress.add_task("heard", total=len(script) * (len(speakers) - 1))
        for speaker in speakers:
            await _heard_out(speaker, patience_s)
            progress.advance(heard, len(speaker.tally.expected))


@contextlib.asynccontextmanager
async def _patience(patience_s: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(patience_s):
            yield
    except TimeoutError:
        raise Failure(
            f"cannot go on: {what} for {patience_s:g} s",
            hint="is the server running? --patience makes the replay wait longer",
        ) from None


async def _heard_out(speaker: Speaker, patience_s: float) -> None:
    while speaker.tally.missing():
        speaker.heard.clear()
        try:
            async with asyncio.timeout(patience_s):
                await speaker.heard.wait()
        except TimeoutError:
            # What is missing now counts as lost.
            return


async def _beside(work: Coroutine[Any, Any, T], others: Sequence["asyncio.Future[None]"]) -> T:
    """Run to the end, unless one of the others fails first."""
    task = asyncio.ensure_future(work)
    try:
        waiting: set[asyncio.Future[Any]] = {task, *others}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            if other.done():
                other.result()
        return await task
    finally:
        task.cancel()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def _say(result: Result, *, as_json: bool) -> None:
    counts = {
        "lines": result.lines,
        "speakers": result.speakers,
        **asdict(result.verdict),
        "seconds": result.seconds,
    }
    if as_json:
        print_json(counts)
        return
    table = Table("replay", "", show_header=False)
    for name, value in counts.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)
