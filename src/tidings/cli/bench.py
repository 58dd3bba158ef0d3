"""`tidings bench`: measure a server of its own, started for the occasion and thrown away after."""

import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from tidings.bench.acks import AcksOptions, acks
from tidings.bench.channel import ChannelOptions, channel
from tidings.bench.client import ClientOptions, client
from tidings.bench.cluster import ClusterOptions, cluster
from tidings.bench.crash import CrashOptions, crash
from tidings.bench.direct import DirectOptions, direct
from tidings.bench.faults import Fault
from tidings.bench.group import GroupOptions, Way, group
from tidings.bench.idle import IdleOptions, idle
from tidings.bench.link import ClosedForGood
from tidings.bench.node_storm import NodeStormOptions, node_storm
from tidings.bench.offline import OfflineOptions, offline
from tidings.bench.pairs import Spread
from tidings.bench.progress import Progress
from tidings.bench.redis import RedisOptions, redis
from tidings.bench.storm import StormOptions, storm
from tidings.cli.failure import Failure

Bench = Callable[[Path, Progress], Awaitable[dict[str, object]]]

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Folder = Annotated[
    Path | None, typer.Option("--dir", help="Where the store is made (default: the temporary folder).")
]
Workers = Annotated[int, typer.Option(help="Processes that share the port; 1: a single process.", min=1)]

BROKEN_PROMISES = ("lost", "duplicates", "out_of_order", "disagreeing")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("direct")
def bench_direct(
    as_json: AsJson = False,
    folder: Folder = None,
    pairs: Annotated[
        int | None, typer.Option(min=1, help="50; of a cluster 200.", show_default=False)
    ] = None,
    messages: Annotated[
        int | None,
        typer.Option(min=1, help="Of a pair: 400; of a cluster a round: 200.", show_default=False),
    ] = None,
    window: int = DirectOptions().window,
    paced_s: Annotated[
        float | None, typer.Option(help="10; of a cluster 20 a round.", show_default=False)
    ] = None,
    workers: Workers = 1,
    spread: Annotated[
        Spread, typer.Option(help="Whether the two of a pair are on the same worker.")
    ] = Spread.ANY,
    encrypted: Annotated[
        bool,
        typer.Option("--encrypted", help="Two devices each, and every message sealed for the other three."),
    ] = False,
    on_cluster: Annotated[
        bool,
        typer.Option(
            "--cluster", help="Nodes on a Cassandra and a Redis, the two of a pair on different ones."
        ),
    ] = False,
    nodes: Annotated[
        list[int] | None,
        typer.Option(help="Of a cluster: how many; repeat it to compare, by turns.", min=1, max=64),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Of a cluster; medians are told.", min=1)] = 1,
) -> None:
    """Pairs that chat: CPU a message at full speed, latency at 500 and 1,000 messages a second."""
    if on_cluster:
        if workers > 1 or encrypted or spread is not Spread.ANY:
            raise Failure("--cluster goes with neither --workers, --spread nor --encrypted")
        of_cluster = ClusterOptions(window=window, rounds=rounds, nodes=tuple(dict.fromkeys(nodes or (2,))))
        of_cluster = of_cluster._replace(**_given(pairs=pairs, messages=messages, paced_s=paced_s))
        _run(lambda place, progress: cluster(place, of_cluster, progress), "direct", folder, as_json=as_json)
        return
    if nodes or rounds > 1:
        raise Failure("--nodes and --rounds are of a cluster", hint="add --cluster")
    if workers == 1 and spread is Spread.APART:
        raise Failure("a single process has everybody", hint="try --workers 2")
    options = DirectOptions(window=window, workers=workers, spread=spread, encrypted=encrypted)
    options = options._replace(**_given(pairs=pairs, messages=messages, paced_s=paced_s))
    result = _run(lambda place, progress: direct(place, options, progress), "direct", folder, as_json=as_json)
    if result.get("wrong"):
        raise Failure("not everything opened to what was sent")


@app.command("group")
def bench_group(
    as_json: AsJson = False,
    folder: Folder = None,
    members: Annotated[
        int, typer.Option(help="All connected; one of them writes.", min=2)
    ] = GroupOptions().members,
    window: Annotated[int, typer.Option(help="Messages in flight.", min=1)] = GroupOptions().window,
    fanout: Annotated[Way, typer.Option(help="A copy in each inbox, or stored once.")] = Way.DEFAULT,
    reads: Annotated[bool, typer.Option("--reads", help="Members also mark as read.")] = False,
    copies: Annotated[int, typer.Option(help="Of a round, about.", min=1)] = GroupOptions().copies,
    rounds: Annotated[int, typer.Option(min=1)] = GroupOptions().rounds,
    workers: Workers = 1,
) -> None:
    """A group of people who are there: CPU for the copy that each of them gets and acknowledges."""
    options = GroupOptions(
        members=members,
        window=window,
        way=fanout,
        reads=reads,
        copies=copies,
        rounds=rounds,
        workers=workers,
    )
    _run(lambda place, progress: group(place, options, progress), "group", folder, as_json=as_json)


@app.command("acks")
def bench_acks(
    as_json: AsJson = False,
    folder: Folder = None,
    members: Annotated[
        int, typer.Option(help="Of the large group; the small ones are of the same people.", min=2)
    ] = AcksOptions().members,
    waves: Annotated[
        int, typer.Option(help="Acknowledgements of each.", min=1, max=240)
    ] = AcksOptions().waves,
    rounds: Annotated[int, typer.Option(min=1)] = AcksOptions().rounds,
) -> None:
    """Acknowledgements in small groups and in a large one: whether one costs the same."""
    options = AcksOptions(members=members, waves=waves, rounds=rounds)
    _run(lambda place, progress: acks(place, options, progress), "acks", folder, as_json=as_json)


@app.command("channel")
def bench_channel(
    as_json: AsJson = False,
    folder: Folder = None,
    connected: Annotated[
        int, typer.Option(help="Members that are there, the one who posts included.", min=2)
    ] = ChannelOptions().connected,
    members: Annotated[
        list[int] | None, typer.Option(help="Of a channel; repeat it to compare, the first with the last.")
    ] = None,
    window: Annotated[int, typer.Option(help="Messages in flight.", min=1)] = ChannelOptions().window,
    messages: Annotated[int, typer.Option(help="Of a round.", min=1)] = ChannelOptions().messages,
    rounds: Annotated[int, typer.Option(min=1)] = ChannelOptions().rounds,
) -> None:
    """A channel in which some are there and many are not: CPU for a post."""
    sizes = tuple(members or ChannelOptions().members)
    if min(sizes) < connected:
        raise Failure("a channel has at least the members that are connected", hint="try fewer --connected")
    options = ChannelOptions(sizes, connected, window, messages, rounds)
    _run(lambda place, progress: channel(place, options, progress), "channel", folder, as_json=as_json)


@app.command("client")
def bench_client(
    as_json: AsJson = False,
    folder: Folder = None,
    messages: Annotated[
        int, typer.Option(help="That are sent, and wait for a device that comes.", min=2)
    ] = ClientOptions().messages,
    while_there: Annotated[
        int, typer.Option(help="That are sent while it is there.", min=1)
    ] = ClientOptions().while_there,
) -> None:
    """What the SDK costs its program: CPU a message that goes to two devices, and that was waited for."""
    options = ClientOptions(messages=messages, while_there=while_there)
    result = _run(lambda place, progress: client(place, options, progress), "client", folder, as_json=as_json)
    if result["wrong"]:
        raise Failure("not everything opened to what was sent")


@app.command("idle")
def bench_idle(
    as_json: AsJson = False,
    folder: Folder = None,
    connections: int = IdleOptions().connections,
    hold_s: float = IdleOptions().hold_s,
    workers: Workers = 1,
) -> None:
    """Memory of connections that only send heartbeats."""
    options = IdleOptions(connections, hold_s, workers)
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
    fault: Annotated[Fault, typer.Option(help="What happens to the server.")] = Fault.KILLED,
    times: Annotated[int, typer.Option("--times", "--kills", help="How often.")] = CrashOptions().times,
    workers: Workers = 1,
    people: int = CrashOptions().people,
    conversations: Annotated[
        int, typer.Option(help="Of each; an even number.")
    ] = CrashOptions().conversations,
    seed: int = CrashOptions().seed,
) -> None:
    """Faults while people write: what was lost, doubled or misplaced. Exits with 1 if anything was."""
    if fault.needs_workers and workers < 2:
        raise Failure("a single process has no hub and no workers", hint="try --workers 2, or --fault killed")
    options = CrashOptions(fault, times, workers, people, conversations, seed=seed)
    result = _run(lambda place, progress: crash(place, options, progress), "crash", folder, as_json=as_json)
    if result["unclean_rounds"] or result["refused_for_good"] or any(result[one] for one in BROKEN_PROMISES):
        raise Failure("the server broke its promise", hint=f"repeat with --seed {seed}")


@app.command("storm")
def bench_storm(
    as_json: AsJson = False,
    folder: Folder = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port; 2.", min=2, show_default=False)
    ] = None,
    clients: Annotated[
        int | None,
        typer.Option(
            help="About so many on each worker, 5000; of a cluster on the node that is killed, 2000.",
            min=1,
            show_default=False,
        ),
    ] = None,
    seed: int = StormOptions().seed,
    on_cluster: Annotated[
        bool, typer.Option("--cluster", help="A node on a Cassandra and a Redis is killed instead.")
    ] = False,
    nodes: Annotated[
        int | None, typer.Option(help="Of a cluster; 3.", min=2, max=64, show_default=False)
    ] = None,
) -> None:
    """A worker with thousands of clients is killed: how soon and in how many waves they are back."""
    if on_cluster and workers is not None:
        raise Failure("--cluster does not go with --workers")
    if nodes is not None and not on_cluster:
        raise Failure("--nodes is of a cluster", hint="add --cluster")
    bench: Bench
    if on_cluster:
        of_nodes = NodeStormOptions(seed=seed)._replace(**_given(nodes=nodes, clients=clients))
        bench = lambda place, progress: node_storm(place, of_nodes, progress)  # noqa: E731
    else:
        of_workers = StormOptions(seed=seed)._replace(**_given(workers=workers, clients=clients))
        bench = lambda place, progress: storm(place, of_workers, progress)  # noqa: E731
    result = _run(bench, "storm", folder, as_json=as_json)
    if not result["back"]:
        raise Failure("not all clients came back", hint="try fewer --clients")


@app.command("redis")
def bench_redis(
    as_json: AsJson = False,
    address: Annotated[str, typer.Option(help="host:port of a Redis.")] = RedisOptions().address,
    operations: Annotated[int, typer.Option(help="Of each kind.", min=100)] = RedisOptions().operations,
) -> None:
    """What bus and directory on Redis cost a node: CPU of its side, where 1, 3, 10 and 50 go out together."""
    options = RedisOptions(address, operations)
    _run(lambda _, progress: redis(options, progress), "redis", None, as_json=as_json)


def _given(**options: Any) -> dict[str, Any]:
    """Those that were said."""
    return {name: value for name, value in options.items() if value is not None}


def _run(bench: Bench, name: str, folder: Path | None, *, as_json: bool) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix=f"tidings-bench-{name}-", dir=folder) as place:
        try:
            result = uvloop.run(_await(bench(Path(place), Progress(name))))
        except TimeoutError:
            raise Failure("the server did not keep up", hint="try fewer people or messages") from None
        except (RuntimeError, ClosedForGood) as error:
            raise Failure(str(error), hint="see above for what the server said") from error
    if as_json:
        print(json.dumps(result))
    else:
        _print(result)
    return result


async def _await(bench: Awaitable[dict[str, object]]) -> dict[str, object]:
    return await bench


def _print(result: dict[str, object], indent: str = "") -> None:
    for name, value in result.items():
        parts = value if isinstance(value, list) else [value]
        if isinstance(value, dict) or any(isinstance(part, dict) for part in parts):
            for part in parts:
                print(f"{indent}{name}:")
                _print(part, indent + "  ")  # type: ignore[arg-type]
        else:
            print(f"{indent}{name}: {' '.join(map(_words, parts))}")


def _words(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
