"""How much of everything so many people need. Arithmetic only; nothing runs.

From the load (people, messages) and what things cost (`costs`) to processes, cores, disks and networks at
the day's peak. Each kind of machine is counted by each of its resources; the one that needs most
decides. What no machine more would help is a *limit*; the one that is nearest is what breaks first.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from tidings.bench.costs import Cost
from tidings.protocol import ids
from tidings.protocol.limits import Limits
from tidings.store.schema import INBOX_KEEP_S, RECEIPT_LOG_KEEP_S, SENDS_KEEP_S

DAY_S = 86_400


class Unreasonable(ValueError):
    """The load is none that there can be; the message says which figure and why."""


class Load(NamedTuple):
    """What people do."""

    users: float
    """on a day"""
    messages_per_day: float
    """that are sent, whoever gets them"""
    group_share: float = 0.0
    """of the messages that go to groups, 0 to 1"""
    group_size: float = 2.0
    """members of these groups"""
    devices: float = 1.2
    """of a user"""
    online: float = 0.6
    """of the devices are connected at the peak, 0 to 1"""
    peak: float = 3.0
    """messages a second at the peak, in terms of the day's mean"""
    content_bytes: float = 200.0
    keep_days: float = 365.0
    """how long history is kept"""


class Machines(NamedTuple):
    """What there is to run it on, and how much of that may be used."""

    replication: int = 3
    core_share: float = 0.6
    """of a core's time at the peak; the rest is for what dies, and for what is slower than usual"""
    node_memory_bytes: float = 2e9
    """for the connections of one node"""
    cassandra_cores: int = 32
    cassandra_disk_bytes: float = 8e12
    disk_share: float = 0.5
    """the rest is for compaction"""
    network_bytes_per_s: float = 1.25e9
    """of a machine: 10 Gbit/s"""
    network_share: float = 0.5
    disk_iops: float = 50_000.0
    """reads a second that a machine's disk does"""
    uncached: float = 0.3
    """of the reads go to the disk"""
    rewritten: float = 6.0
    """how often a byte is written until it stays: commit log, table, compactions"""
    commit_bytes: float = 4096.0
    """that a request writes to the commit log at least, alone in its fsync"""
    workers: int = 8
    """cores of the one machine that a town may do with"""


LONE = "one process"
WORKERS = "one machine"
CLUSTER = "cluster"

CASSANDRA_MACHINES_MAX = 1000
"""the largest rings that are known to work"""
REDIS_MASTERS_MAX = 1000
"""what Redis Cluster is made for"""


def plan(load: Load, costs: Mapping[str, Cost], machines: Machines | None = None) -> dict[str, object]:
    """What it takes, as `--json` prints it. Raises Unreasonable."""
    check(load)
    on = machines or Machines()
    cost = {name: one.value for name, one in costs.items()}
    per_s = load.messages_per_day / DAY_S * load.peak
    further = load.group_share * (load.group_size - 2)
    connections = load.users * load.devices * load.online
    lone_cores = _cores(per_s, further, connections, cost, "lone")
    result: dict[str, object] = {
        "messages_per_s_mean": load.messages_per_day / DAY_S,
        "messages_per_s_peak": per_s,
        "deliveries_per_s_peak": per_s * (1 + further),
        "connections_peak": connections,
        "messages_per_user_and_day": load.messages_per_day / load.users,
    }
    disk_bytes = stored_bytes(load, cost)
    if lone_cores <= on.core_share and connections <= Limits().connections:
        return result | {"shape": LONE, "cores": lone_cores, "disk_bytes": disk_bytes}
    if lone_cores <= on.core_share * on.workers and connections <= Limits().connections * on.workers:
        # A message between two workers costs no more than about twice that of a single process.
        return result | {"shape": WORKERS, "cores": lone_cores * 2, "disk_bytes": disk_bytes}
    nodes = _nodes(load, per_s, further, connections, cost, on)
    redis = _redis(per_s, further, connections, cost, on)
    cassandra = _cassandra(load, per_s, further, disk_bytes, cost, on)
    limits = _limits(per_s, nodes, redis, cassandra)
    return result | {
        "shape": CLUSTER,
        "nodes": nodes,
        "redis": redis,
        "cassandra": cassandra,
        "limits": limits,
        "breaks_first": limits[0]["what"],
    }


def check(load: Load) -> None:
    """Raise Unreasonable for a load that cannot be."""
    for name, value in load._asdict().items():
        if not math.isfinite(value):
            raise Unreasonable(f"{name} is no number")
    if load.users < 1:
        raise Unreasonable("users: there is at least one")
    for name in ("messages_per_day", "content_bytes", "keep_days"):
        if getattr(load, name) < 0:
            raise Unreasonable(f"{name} is less than 0")
    for name in ("group_share", "online"):
        if not 0 <= getattr(load, name) <= 1:
            raise Unreasonable(f"{name} is a share, from 0 to 1")
    if load.group_size < 2:
        raise Unreasonable("group_size: a group has at least two members")
    if load.peak < 1:
        raise Unreasonable("peak: the peak is at least the mean, 1")
    if load.devices <= 0:
        raise Unreasonable("devices: a user has one at least")


def stored_bytes(load: Load, cost: Mapping[str, float]) -> float:
    """Of one copy of everything, once as much goes as comes."""
    row, content = cost["row_bytes"], load.content_bytes
    further = load.group_share * (load.group_size - 2)
    inbox = (1 + further) * (row + content) * min(load.keep_days, INBOX_KEEP_S / DAY_S)
    receipts = 2 * (1 + further) * row * min(load.keep_days, RECEIPT_LOG_KEEP_S / DAY_S)
    sends = row * min(load.keep_days, SENDS_KEEP_S / DAY_S)
    return load.messages_per_day * ((row + content) * load.keep_days + inbox + receipts + sends)


def _cores(per_s: float, further: float, connections: float, cost: Mapping[str, float], of: str) -> float:
    """Cores that are busy all the time."""
    of_messages = cost[f"{of}_cpu_us_per_message"] + further * cost[f"{of}_cpu_us_per_copy"]
    of_messages += cost["reads_per_message"] * cost.get(f"{of}_cpu_us_per_read", 0.0)
    beats = {"lone": "connection_cpu_us_per_s", "node": "connection_cpu_us_per_s"}.get(
        of, f"{of}_cpu_us_per_connection_s"
    )
    return (per_s * of_messages + connections * cost.get(beats, 0.0)) / 1e6


def _needed(by_resource: Mapping[str, float], least: int) -> dict[str, object]:
    """How many, and which resource says so."""
    bound = max(by_resource, key=by_resource.__getitem__)
    number = max(least, math.ceil(by_resource[bound]))
    return {"number": number, "bound_by": bound if by_resource[bound] > least else "the least that there are"}


def _nodes(
    load: Load, per_s: float, further: float, connections: float, cost: Mapping[str, float], on: Machines
) -> dict[str, object]:
    """A node is one process on one core."""
    cores = _cores(per_s, further, connections, cost, "node")
    frames = (1 + further) * (load.content_bytes + cost["frame_bytes"]) + load.content_bytes
    needed = _needed(
        {
            "cores": cores / on.core_share,
            "memory": connections * cost["connection_bytes"] / on.node_memory_bytes,
            "connections": connections / Limits().connections,
        },
        2,
    )
    return needed | {"busy_cores": cores, "client_network_bytes_per_s": per_s * frames}


def _redis(
    per_s: float, further: float, connections: float, cost: Mapping[str, float], on: Machines
) -> dict[str, object]:
    """Masters; each has a replica."""
    cores = _cores(per_s, further, connections, cost, "redis")
    needed = _needed({"cores": cores / on.core_share}, 1)
    return needed | {"busy_cores": cores, "replicas": needed["number"]}


def _cassandra(
    load: Load, per_s: float, further: float, disk_bytes: float, cost: Mapping[str, float], on: Machines
) -> dict[str, object]:
    copies = on.replication
    cores = _cores(per_s, further, 0.0, cost, "cassandra") * copies
    requests = per_s * (cost["requests_per_message"] + further) * copies
    reads = per_s * cost["reads_per_message"]
    rows = cost["rows_per_message"] + further * cost["rows_per_copy"]
    written = per_s * (rows * cost["row_bytes"] + (2 + further) * load.content_bytes)
    # A quorum of the copies is asked; a write goes in, and on to the others.
    answered = reads * (copies // 2 + 1) * cost["row_bytes"]
    network = written * (copies + 1) + answered
    disk_reads = reads * (copies // 2 + 1) * on.uncached
    needed = _needed(
        {
            "cores": cores / (on.cassandra_cores * on.core_share),
            "disk": disk_bytes * copies / (on.cassandra_disk_bytes * on.disk_share),
            "network": network / (on.network_bytes_per_s * on.network_share),
            "iops": disk_reads / on.disk_iops,
        },
        copies,
    )
    commit = max(written * copies, requests * on.commit_bytes)
    return needed | {
        "busy_cores": cores,
        "disk_bytes": disk_bytes * copies,
        "requests_per_s": requests,
        "reads_per_s": reads,
        "network_bytes_per_s": network,
        "disk_writes_bytes_per_s": written * copies * (on.rewritten - 1) + commit,
        "disk_reads_per_s": disk_reads,
    }


def _limits(
    per_s: float, nodes: Mapping[str, object], redis: Mapping[str, object], cassandra: Mapping[str, object]
) -> list[dict[str, object]]:
    """What more machines do not help against, the nearest first."""
    number = int(str(nodes["number"]))
    of_one_node = per_s / number
    found: list[tuple[str, float, float]] = [
        ("numbers of nodes (12 bits of an id)", number, ids.NODE_MAX + 1),
        ("ids that a node gives a second (10 bits each ms)", of_one_node, (ids.SEQUENCE_MAX + 1) * 1000.0),
        ("masters of a Redis Cluster", float(str(redis["number"])), REDIS_MASTERS_MAX),
        ("machines of one Cassandra ring", float(str(cassandra["number"])), CASSANDRA_MACHINES_MAX),
        # Each node has a connection to each master, and each master to all nodes.
        ("connections of a Redis master", 2.0 * number, 10_000),
    ]
    named = [{"what": what, "used": used, "most": most, "share": used / most} for what, used, most in found]
    return sorted(named, key=lambda one: -float(str(one["share"])))
