"""`tidings chaos`: whether a running server keeps its promises while somebody breaks things."""

import asyncio
import json
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from tidings.bench.chaos.run import ChaosOptions, Outcome
from tidings.bench.chaos.run import chaos as run_chaos
from tidings.bench.progress import Progress
from tidings.cli.duration import seconds
from tidings.cli.failure import Failure
from tidings.client.errors import ClientError

_GROUPS = re.compile(r"(?:([1-9][0-9]{0,2})x)?([1-9][0-9]{0,3})")
INTERRUPTED = 130

Tell = Callable[[Outcome], None]


def chaos(
    against: Annotated[
        list[str],
        typer.Option(
            help="Like http://127.0.0.1:8080; of several nodes each: people are spread over them,"
            " and two devices of somebody are on two.",
            show_default=False,
        ),
    ],
    people: Annotated[int, typer.Option(help="Accounts that are made.", min=3)] = 50,
    devices: Annotated[int, typer.Option(help="Of each of them.", min=1, max=8)] = 2,
    conversations: Annotated[
        int, typer.Option(help="Direct ones of each of them; an even number.", min=0, max=48)
    ] = 8,
    groups: Annotated[
        list[str] | None, typer.Option(help="Like 2x50: two groups of 50 of them. May be repeated.")
    ] = None,
    for_: Annotated[str, typer.Option("--for", help="How long they write: 90s, 5m, 1h.")] = "5m",
    rate: Annotated[
        float, typer.Option(help="Messages a second, of all together; 0: as many as are answered.", min=0)
    ] = 50.0,
    seed: Annotated[int, typer.Option(help="Of who writes what, and when.")] = 1,
    invite: Annotated[str, typer.Option(help="A code of the operator's, where the server wants one.")] = "",
    settle: Annotated[
        str, typer.Option(help="How long it may take in the end until everything is everywhere.")
    ] = "60s",
    marks: Annotated[
        bool,
        typer.Option("--marks", help="Note each line on stdin in the time line: what you break, and when."),
    ] = False,
    stay: Annotated[
        bool,
        typer.Option("--stay", help="Each device tries its own node only, and waits while that is away."),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the accounts there.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a page about it, in Markdown.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Chat on a running server while you break it, then check that it kept every promise.

    It makes accounts of its own, and deletes them. Ctrl-C ends the chat and judges what there is. Ends with 1
    if anything acknowledged was lost, doubled, out of order, or shown to somebody who was no member.
    """
    sizes = tuple(size for text in groups or () for size in _sizes(text))
    if sizes and max(sizes) > people:
        raise Failure(f"a group of {max(sizes)} needs as many people", hint=f"try --people {max(sizes)}")
    if conversations % 2 or conversations >= people:
        raise Failure("conversations are an even number, less than people", hint="try --conversations 2")
    options = ChaosOptions(
        tuple(against),
        people,
        devices,
        conversations,
        sizes,
        seconds(for_),
        rate,
        seed,
        invite,
        seconds(settle),
        keep,
        stay,
    )
    outcome = _run(options, partial(_tell, report, as_json=as_json), marks=marks)
    if not outcome.is_clean:
        raise Failure("the server broke its promise", hint="the report names what, and the messages")


def _tell(report: Path | None, outcome: Outcome, *, as_json: bool) -> None:
    if report is not None:
        report.write_text(outcome.page)
    if as_json:
        print(json.dumps(outcome.result), flush=True)
    elif report is None:
        print(outcome.page, flush=True)


def _sizes(text: str) -> list[int]:
    found = _GROUPS.fullmatch(text)
    if found is None or int(found[2]) < 2:
        raise Failure(f"{text!r} are no groups", hint="say 2x50 for two groups of 50 people")
    return [int(found[2])] * int(found[1] or 1)


def _run(options: ChaosOptions, tell: Tell, *, marks: bool) -> Outcome:
    try:
        return uvloop.run(_interruptible(options, tell, marks=marks))
    except ClientError as error:
        raise Failure(error.message, hint=error.hint) from error
    except TimeoutError:
        raise Failure("the server did not answer in the end", hint="is it running again?") from None
    except RuntimeError as error:
        raise Failure(str(error), hint="is the server well before you break it?") from error
    except asyncio.CancelledError:
        raise Failure("ended; its accounts are left on the server", exit_code=INTERRUPTED) from None


async def _interruptible(options: ChaosOptions, tell: Tell, *, marks: bool) -> Outcome:
    """The first Ctrl-C ends the chat, the second everything."""
    stop = asyncio.Event()
    work = asyncio.ensure_future(run_chaos(options, Progress("chaos"), stop, marks=marks, tell=tell))

    def interrupt() -> None:
        if stop.is_set():
            work.cancel()
        stop.set()

    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, interrupt)
    return await work
