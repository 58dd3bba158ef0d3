"""`tidings serve`: run a node, or a supervisor and its workers, until it is told to stop."""

from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.failure import Failure
from tidings.domain.clock import ClockWentBack
from tidings.server.config import ConfigError, load
from tidings.server.node import run
from tidings.server.workers.failures import NotStarted
from tidings.server.workers.supervisor import supervise
from tidings.store import promoted
from tidings.store.contract import StoreDamaged, StoreError, StoreFull, StoreInUse, StoreTooNew

HINTS: dict[type[Exception], str] = {
    ConfigError: "the keys and their defaults are in docs/reference/configuration.md",
    ClockWentBack: "set the clock; if the stored time was the wrong one: tidings serve --accept-clock",
    StoreInUse: "stop the other server, or choose another folder with --data",
    StoreFull: "make room on the disk; nothing that was acknowledged is lost",
    StoreTooNew: "run the version that wrote it, or a newer one",
    StoreDamaged: "restore a backup into an empty folder; delete nothing in this one",
    NotStarted: "see above for what it said; with `--workers 1` the server is a single process",
}

STORE_HINT = "see that the folder can be read and written, or choose another with --data"
CLUSTER_HINT = "see what the cluster's own logs say; once it is well, start again (systemd does)"


def serve(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT for HTTP and WebSocket.")] = None,
    admin: Annotated[
        str | None, typer.Option(help="HOST:PORT of metrics and administration, loopback only; '' for none.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the embedded store.")] = None,
    registration: Annotated[
        str | None, typer.Option(help="Who may make an account: open, invite or closed.")
    ] = None,
    strangers: Annotated[
        str | None, typer.Option(help="What a stranger's first message is: request or deliver.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port, about one a core; 1: a single process.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; see the reference.")] = None,
    log: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_json: Annotated[bool | None, typer.Option("--log-json", help="One JSON object a line.")] = None,
    accept_clock: Annotated[
        bool | None,
        typer.Option("--accept-clock", help="Start although the clock went back by over a day."),
    ] = None,
    take_back: Annotated[
        bool,
        typer.Option(
            "--take-back", help="Start on what was handed over to a cluster, without all that was said there."
        ),
    ] = False,
) -> None:
    """Run the server until SIGTERM or Ctrl-C."""
    overrides: dict[str, object] = {
        "listen": listen,
        "admin": admin,
        "data": None if data is None else str(data),
        "registration": registration,
        "strangers": strangers,
        "workers": workers,
        "log": log,
        "log_json": log_json,
        "accept_clock": accept_clock,
    }
    store_hint = STORE_HINT
    try:
        chosen = load(config, overrides)
        if chosen.cassandra is not None:
            store_hint = CLUSTER_HINT
        if take_back and chosen.cassandra is None:
            promoted.take_back(Path(chosen.data))
        if chosen.workers == 1:
            run(chosen)
        else:
            supervise(chosen)
    except (ConfigError, ClockWentBack, StoreError, NotStarted) as error:
        # Some errors of the store bring a hint of their own, which knows more.
        message, _, hint = str(error).partition("\nhint: ")
        raise Failure(message, hint=hint or HINTS.get(type(error), store_hint)) from error
    except OSError as error:
        hint = "choose another address with --listen HOST:PORT"
        raise Failure(error.strerror or str(error), hint=hint) from error
