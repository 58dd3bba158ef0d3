"""`tidings promote`: what a server's embedded store holds moves to a cluster; people notice a reconnect."""

import datetime
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from tidings.cli import serve as serving
from tidings.cli.failure import Failure
from tidings.cli.keeping import failure_of, run
from tidings.cli.meter import meter
from tidings.cli.running import JsonOption, tell
from tidings.cli.source import Source
from tidings.domain.commit import IDS_AHEAD_MS
from tidings.server.backends import reach_shared
from tidings.server.config import Config, ConfigError, load
from tidings.server.logs import open_log
from tidings.store.backup import Progress
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.filling import Filling, Keyspace, look
from tidings.store.checks import UNCHECKED, check
from tidings.store.contract import StoreError
from tidings.store.promoted import Promoted, handing_over, mark_promoted, promoted
from tidings.store.promotion import Promotion, Scratch, Sum
from tidings.store.rocks import RocksStore
from tidings.store.room import free_bytes

CONFIG_HINT = "the keys and their defaults are in docs/reference/configuration.md"
COPIED_PER_S = 8_000
VERIFIED_PER_S = 20_000
"""rows, on one core; see docs/operating/promotion.md"""
SPARE_BYTES = 64 << 20
CLOCK_S = 1.0
"""by which the cluster's clock may be behind this one's"""


class Wish(NamedTuple):
    """What was asked for."""

    source: Source
    config: Config
    file: Path
    scratch: Scratch
    as_json: bool
    yes: bool
    anew: bool

    @property
    def cassandra(self) -> CassandraConfig:
        """Of the config, which has it."""
        assert self.config.cassandra is not None
        return self.config.cassandra


def promote(
    data: Annotated[Path, typer.Option(help="Data folder of the server.", show_default=False)],
    to: Annotated[Path, typer.Option(help="Config of the new nodes: a TOML file.", show_default=False)],
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for snapshots; beside the data folder, if not given.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Empty a keyspace that was half filled before, and begin anew.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Once all is handed over, run a node here with the new config.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy a server's store to Cassandra while it runs, then stop it, copy the rest and verify all.

    Interrupted at any moment, the server goes on or may be started again, and the same command goes on.
    """
    place = (scratch or data.absolute().with_name(f"{data.absolute().name}.promotion")).absolute()
    wish = Wish(Source(data), _config(to), to, Scratch(place, data), as_json, yes, anew)
    run(_promote(wish))
    if serve:
        serving.serve(config=to)


def _config(path: Path) -> Config:
    """Of nodes that share a store. Raises Failure."""
    try:
        config = load(path, {})
    except ConfigError as error:
        message, _, hint = str(error).partition("\nhint: ")
        raise Failure(message, hint=hint or CONFIG_HINT) from error
    if config.cassandra is None:
        raise Failure(
            f"{path} names no cluster", hint="it needs [cassandra] and [redis]; see docs/operating/cluster.md"
        )
    return config


async def _promote(wish: Wish) -> None:
    done = promoted(wish.source.data)
    if done is not None:
        await _finish_earlier(wish, done)
        return
    with wish.scratch.held() as is_begun:
        is_served = wish.source.require_ready()
        await _reach(wish)
        keyspace = await look(wish.cassandra)
        goes_on = _goes_on(wish, keyspace, is_begun=is_begun)
        if not goes_on:
            _require_room(wish)
            wish.scratch.begin_anew()
        with meter() as progress:
            promotion = Promotion(wish.scratch, progress)
            await promotion.prepare(wish.source.snapshot, lambda store: _examine(store, progress))
        _agree(wish, keyspace, is_served=is_served, goes_on=goes_on)
        await _carry_out(wish, keyspace, goes_on=goes_on)
        wish.scratch.remove()


async def _reach(wish: Wish) -> None:
    """See that what the new nodes need besides Cassandra is there. Raises Failure, StoreError."""
    redis = wish.config.redis
    assert redis is not None
    try:
        await reach_shared(redis, open_log("error", as_json=False))
    except ConfigError as error:
        message, _, hint = str(error).partition("\nhint: ")
        raise Failure(message, hint=hint or CONFIG_HINT) from error


def _goes_on(wish: Wish, keyspace: Keyspace, *, is_begun: bool) -> bool:
    """Whether a promotion that was begun is gone on with. Raises Failure if the keyspace is not to be had."""
    name, state = wish.cassandra.keyspace, wish.scratch.state
    if keyspace.filler is None and keyspace.occupied is not None:
        raise Failure(
            f"the keyspace {name} is not empty: there are rows in {keyspace.occupied}",
            hint="name another one in [cassandra], or drop this one if nobody needs what is in it",
        )
    if keyspace.filler not in (None, state.holder) and not wish.anew:
        raise Failure(
            f"the keyspace {name} was begun to be filled by another promotion: {keyspace.filler}",
            hint="go on with that one, where its scratch folder is; --anew empties the keyspace",
        )
    return is_begun and keyspace.filler == state.holder and not state.is_last and not wish.anew


def _require_room(wish: Wish) -> None:
    """Snapshots take the store's size, while two are compared twice. Raises Failure."""
    wanted = 2 * wish.source.bytes_used + SPARE_BYTES
    found = free_bytes(wish.scratch.path)
    if found < wanted:
        raise Failure(
            f"{wish.scratch.path} has room for {found >> 20} MiB, the snapshots may take {wanted >> 20} MiB",
            hint="name a folder on a larger disk with --scratch; the server must be able to write there",
        )


async def _examine(store: RocksStore, progress: Progress) -> dict[str, int]:
    """As `tidings check` does. Raises Failure if rows cannot be read; what else is wrong is told."""
    findings = await check(store, now_ms=time.time_ns() // 1_000_000, progress=progress)
    for kind, count in sorted(findings.left.items()):
        print(f"warning: {count} × {kind} (such as {', '.join(findings.examples[kind])})", file=sys.stderr)
    if any(kind == UNCHECKED or kind.endswith((": damaged", "cannot be read")) for kind in findings.left):
        raise Failure(
            "the store is damaged: nothing was copied", hint="restore a backup, and promote what it holds"
        )
    return findings.rows


# --- what is told ---------------------------------------------------------------------------


def _agree(wish: Wish, keyspace: Keyspace, *, is_served: bool, goes_on: bool) -> None:
    """Say what will be done, and have it agreed to. Raises Failure, Exit."""
    rows = sum(wish.scratch.state.rows.values())
    copying_s, away_s = rows // COPIED_PER_S + 1, rows // VERIFIED_PER_S + 5
    plan = {
        "type": "plan",
        "rows": rows,
        "bytes": wish.source.bytes_used,
        "server_runs": is_served,
        "keyspace": wish.cassandra.keyspace,
        "contact_points": list(wish.cassandra.contact_points),
        "replication": keyspace.replication,
        "keyspace_is_made": keyspace.is_made,
        "goes_on": goes_on,
        "copying_s": copying_s,
        "away_s": away_s,
    }
    tell("\n".join(_plan_lines(wish, keyspace, plan)), plan, as_json=wish.as_json)
    if wish.yes:
        return
    if not sys.stdin.isatty():
        raise Failure("nobody is there to agree", hint="say --yes")
    if not typer.confirm("Go on?", err=True):
        raise typer.Exit(1)


def _plan_lines(wish: Wish, keyspace: Keyspace, plan: dict[str, object]) -> list[str]:
    where = f"{', '.join(wish.cassandra.contact_points)}:{wish.cassandra.port}"
    filled = "goes on where it was" if plan["goes_on"] else "empty" if keyspace.is_made else "will be made"
    if keyspace.filler is not None and not plan["goes_on"]:
        filled = "half filled: will be emptied"
    runs = "runs, and goes on meanwhile" if plan["server_runs"] else "does not run"
    return [
        f"from   {wish.source.data}: about {plan['rows']} rows, {wish.source.bytes_used >> 20} MiB;"
        f" its server {runs}",
        f"to     {where}, keyspace {wish.cassandra.keyspace}: {filled}; replication {keyspace.replication}",
        f"takes  about {_span(plan['copying_s'])} of copying; then about {_span(plan['away_s'])} in which"
        " people cannot reach the server",
    ]


def _span(seconds: object) -> str:
    assert isinstance(seconds, int)
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def _told(wish: Wish, sums: dict[str, Sum], away_s: float) -> None:
    rows = sum(one.rows for one in sums.values())
    command = f"tidings serve --config {shlex.quote(str(wish.file))}"
    tell(
        f"{rows} rows in {len(sums)} tables are there, and read back the same."
        f" The server was stopped {away_s:.1f} s ago.\n"
        f"Start the new node now, and let nothing start the old one again:\n\n  {command}\n\n"
        f"It listens on {wish.config.listen}: people come back by themselves if that is where they were.",
        {
            "type": "promoted",
            "rows": rows,
            "checksums": {name: one.checksum for name, one in sums.items()},
            "stopped_s": round(away_s, 3),
            "next": command,
        },
        as_json=wish.as_json,
    )


# --- what is done ---------------------------------------------------------------------------


async def _carry_out(wish: Wish, keyspace: Keyspace, *, goes_on: bool) -> None:
    holder = wish.scratch.state.holder
    instead_of = keyspace.filler if keyspace.filler != holder else None
    target = await Filling.claim(wish.cassandra, holder, instead_of=instead_of)
    try:
        await _require_clock(target)
        with meter() as progress:
            if keyspace.filler is None:
                await target.require_empty()
            elif not goes_on:
                await target.empty()
            promotion = Promotion(wish.scratch, progress)
            await promotion.follow(target, wish.source.snapshot)
        tell(
            f"{promotion.written} rows were copied. Now the server is stopped.",
            {"type": "copied", "rows": promotion.written},
            as_json=wish.as_json,
        )
        with handing_over(wish.source.data):
            await _hand_over(wish, target)
    finally:
        await target.close()


async def _require_clock(target: Filling) -> None:
    """A cluster that is behind would give ids that sort before those there are. Raises Failure."""
    behind_s = time.time() - await target.time_ms() / 1000
    if behind_s > CLOCK_S:
        raise Failure(
            f"the cluster's clock is {behind_s:.1f} s behind this machine's", hint="set the clocks, as by NTP"
        )


async def _hand_over(wish: Wish, target: Filling) -> None:
    began_s = time.monotonic()
    try:
        store = await wish.source.take()
        try:
            with meter() as progress:
                promotion = Promotion(wish.scratch, progress)
                sums = await promotion.hand_over(target, store)
                await promotion.raise_ids(target, sums, store, IDS_AHEAD_MS)
        finally:
            await store.close()
    except (StoreError, OSError, Failure) as error:
        failure = error if isinstance(error, Failure) else failure_of(error)
        raise Failure(
            f"{failure.message}\nNothing was handed over: start the old server again.", hint=failure.hint
        ) from error
    except BaseException:
        print("Nothing was handed over: start the old server again.", file=sys.stderr)
        raise
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    name = f"the keyspace {wish.cassandra.keyspace} at {', '.join(wish.cassandra.contact_points)}"
    # First this: whatever ends here, there are never two servers that take messages.
    mark_promoted(wish.source.data, Promoted(now, name, wish.scratch.state.holder))
    await target.finish()
    _told(wish, sums, time.monotonic() - began_s)


async def _finish_earlier(wish: Wish, done: Promoted) -> None:
    """All was handed over before. If it ended before the nodes were let in, let them in."""
    keyspace = await look(wish.cassandra)
    if keyspace.filler != done.holder:
        raise Failure(
            f"what {wish.source.data} holds was handed over to {done.to} at {done.at}",
            hint="start on that; `tidings serve --take-back` starts on the old folder all the same",
        )
    target = await Filling.claim(wish.cassandra, done.holder)
    try:
        await target.finish()
    finally:
        await target.close()
    wish.scratch.remove()
    command = f"tidings serve --config {shlex.quote(str(wish.file))}"
    tell(
        f"All is there. Start the new node:\n\n  {command}",
        {"type": "promoted", "next": command},
        as_json=wish.as_json,
    )
