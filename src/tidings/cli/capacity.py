"""`tidings capacity`: how many machines so many people need, from what was measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tidings.bench.capacity import CLUSTER, Load, Machines, Unreasonable, plan
from tidings.bench.costs import ALONE, COSTS, Cost, NotMeasured, measured
from tidings.cli.failure import Failure

SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def capacity(
    users: Annotated[float, typer.Option(help="People on a day; 50e6 is a way to write it.")],
    messages_per_day: Annotated[float, typer.Option(help="That all of them send.")],
    groups: Annotated[
        str, typer.Option(help="SHARE:SIZE, as 0.3:12: of the messages that go to groups, and their members.")
    ] = "0:2",
    peak: Annotated[float, typer.Option(help="Messages a second at the peak, by the day's mean.")] = 3.0,
    online: Annotated[float, typer.Option(help="Share of the devices that are connected then.")] = 0.6,
    devices: Annotated[float, typer.Option(help="Of a user.")] = 1.2,
    content_bytes: Annotated[float, typer.Option(help="Of a message.")] = 200.0,
    keep_days: Annotated[float, typer.Option(help="How long history is kept.")] = 365.0,
    replication: Annotated[int, typer.Option(help="Copies of each row.", min=1, max=9)] = 3,
    measured_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--measured",
            help="JSON of a `tidings bench`, instead of the figures that come along; again for more.",
        ),
    ] = None,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="The upper bound: every message alone on machines with little to do."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Nodes, Redis, Cassandra, disks and networks for so many people, and what breaks first.

    An estimate from unit costs: see docs/concepts/capacity.md for what it leaves out.
    """
    share, size = _groups(groups)
    load = Load(users, messages_per_day, share, size, devices, online, peak, content_bytes, keep_days)
    machines = Machines(replication=replication)
    costs = _costs(measured_files or [], alone=alone)
    try:
        found = plan(load, costs, machines)
    except Unreasonable as error:
        raise Failure(str(error), hint="see tidings capacity --help") from None
    if as_json:
        costs_told = {name: cost._asdict() for name, cost in costs.items()}
        print(
            json.dumps({"load": load._asdict(), "machines": machines._asdict(), **found, "costs": costs_told})
        )
    else:
        _print(found, load, machines, costs)


def _groups(text: str) -> tuple[float, float]:
    share, colon, size = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return float(share), float(size)
    except ValueError:
        raise Failure(f"--groups {text}: expected SHARE:SIZE", hint="try --groups 0.3:12") from None


def _costs(files: list[Path], *, alone: bool) -> dict[str, Cost]:
    costs = ALONE if alone else COSTS
    for path in files:
        try:
            costs = measured(costs, json.loads(path.read_text()), f"{path}", alone=alone)
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, NotMeasured) as error:
            raise Failure(f"{path}: {error}", hint="make it with tidings bench … --json >FILE") from None
    return costs


def _print(found: Mapping[str, Any], load: Load, machines: Machines, costs: Mapping[str, Cost]) -> None:
    print(
        f"{_short(load.users)} people, {_short(load.messages_per_day)} messages a day"
        f" ({_short(found['messages_per_user_and_day'])} of each)"
    )
    print(
        f"at the peak {_short(found['messages_per_s_peak'])} messages and"
        f" {_short(found['deliveries_per_s_peak'])} deliveries a second,"
        f" {_short(found['connections_peak'])} connections"
    )
    print()
    if found["shape"] != CLUSTER:
        print(
            f"{found['shape']}, {found['cores']:.3g} of a core busy, {_short(found['disk_bytes'])}B of disk"
        )
    else:
        _print_cluster(found)
    print("\nreckoned with")
    for name, value in (load._asdict() | machines._asdict()).items():
        print(f"  {name:<32} {_short(value)}")
    for name, cost in costs.items():
        kind = "measured" if cost.is_measured else "assumed"
        print(f"  {name:<32} {cost.value:g} {cost.unit:<6} {kind}: {cost.source}")


def _print_cluster(found: Mapping[str, Any]) -> None:
    for what, name in (("nodes", "nodes"), ("redis", "Redis masters"), ("cassandra", "Cassandra machines")):
        part = found[what]
        print(f"{part['number']:>7,} {name} (decided by {part['bound_by']})")
        for figure, value in part.items():
            if figure not in ("number", "bound_by"):
                print(f"        {figure.replace('_', ' ')}: {_short(value)}")
    print(f"\nbreaks first: {found['breaks_first']}")
    for limit in found["limits"]:
        print(f"  {limit['share']:>7.0%} of {limit['most']:,.0f} {limit['what']}")


def _short(value: float) -> str:
    """Three digits, and what they are to be multiplied by."""
    for scale, letter in SCALES:
        if abs(value) >= scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"
