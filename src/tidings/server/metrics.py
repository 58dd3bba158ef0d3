"""Metrics in Prometheus' text format, made at the moment they are asked for.

The parts of a node count with plain integers; nothing of Prometheus is on the way of a message.
No label holds anything of a user.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidings import __version__
from tidings.domain.claims import Claims
from tidings.domain.commit import GroupCommit
from tidings.domain.inboxes import Inboxes
from tidings.protocol.errors import REGISTRY
from tidings.server.audit import Audit
from tidings.server.cluster import Cluster
from tidings.server.connections import Connections
from tidings.server.counts import Counts
from tidings.store.counts import StoreCounts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sources(NamedTuple):
    """Where the numbers come from."""

    counts: Counts
    connections: Connections
    commit: GroupCommit
    inboxes: Inboxes
    claims: Claims
    audit: Audit
    sockets: Callable[[], tuple[int, int]]
    """WebSockets that are open, and that may be"""
    certificate_until: Callable[[], float | None]
    """Unix time at which the certificate ends; None without TLS"""
    cluster: Cluster | None = None
    """the other nodes; None for one that is alone"""
    store: StoreCounts | None = None
    """of a store that is reached over the network"""


def audit_events(audit: Audit) -> Metric:
    """How often each event was noted."""
    events = CounterMetricFamily(
        "tidings_audit_events", "Logins and changes of accounts, by event.", labels=["event"]
    )
    for event, number in sorted(audit.counts.items()):
        events.add_metric([event], number)
    return events


def _among_others(cluster: Cluster) -> Iterable[Metric]:
    """What a node sees of the others."""
    bus, time = cluster.bus, cluster.time
    yield GaugeMetricFamily(
        "tidings_node_number", "The number that is in the ids given here.", value=cluster.ids.node
    )
    yield GaugeMetricFamily(
        "tidings_node_takes_part", "1 unless this node can give no ids.", value=int(cluster.takes_part)
    )
    yield GaugeMetricFamily("tidings_peers", "Other nodes that are heard on the bus.", value=len(bus.peers))
    yield GaugeMetricFamily(
        "tidings_bus_ok", "1 unless this node does not hear even itself on it.", value=int(not bus.is_cut_off)
    )
    yield CounterMetricFamily(
        "tidings_bus_gaps", "How often publications may have been lost.", value=bus.gaps
    )
    yield GaugeMetricFamily(
        "tidings_directory_ok",
        "1 unless the directory did not answer when it was asked last.",
        value=int(time.directory_answers),
    )
    yield CounterMetricFamily(
        "tidings_directory_failures", "How often it did not.", value=time.directory_failures
    )
    yield GaugeMetricFamily(
        "tidings_clock_ahead_seconds",
        "How far the wall clock is ahead of the one that all nodes go by.",
        value=cluster.guard.ahead_ms / 1000,
    )


def _of_the_store(counts: StoreCounts) -> Iterable[Metric]:
    """What is asked of a store that is reached over the network."""
    yield CounterMetricFamily(
        "tidings_store_requests", "Requests to the store that have ended.", value=counts.requests
    )
    yield CounterMetricFamily(
        "tidings_store_request_failures", "Those of them that failed.", value=counts.failures
    )
    yield CounterMetricFamily(
        "tidings_store_request_seconds", "Time that they took, waiting included.", value=counts.seconds
    )
    yield GaugeMetricFamily(
        "tidings_store_requests_waiting",
        "Requests that wait until others have ended.",
        value=counts.waiting,
    )
    yield CounterMetricFamily(
        "tidings_store_write_requests", "Requests that brought rows.", value=counts.write_requests
    )
    rows = CounterMetricFamily("tidings_store_rows", "Rows written, by table.", labels=["table"])
    statements = CounterMetricFamily(
        "tidings_store_statements", "Statements that wrote them.", labels=["table"]
    )
    reads = CounterMetricFamily("tidings_store_reads", "Queries, by table.", labels=["table"])
    for name, table in sorted(counts.tables.items()):
        rows.add_metric([name], table.rows)
        statements.add_metric([name], table.statements)
        reads.add_metric([name], table.reads)
    yield rows
    yield statements
    yield reads


class Metrics:
    """Renders the numbers of one node."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Node(sources))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """All of them, in the text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)


class _Node(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        """Nothing: there is one of these a registry, so names cannot clash."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The numbers of this moment."""
        yield from self._present()
        yield from self._traffic()
        yield from self._disk()
        yield from self._loop()
        if self._sources.cluster is not None:
            yield from _among_others(self._sources.cluster)
        if self._sources.store is not None:
            yield from _of_the_store(self._sources.store)

    def _present(self) -> Iterable[Metric]:
        connections = self._sources.connections
        is_open, may_be = self._sources.sockets()
        info = GaugeMetricFamily("tidings_info", "The version that runs.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield GaugeMetricFamily("tidings_connections", "WebSockets that are open.", value=is_open)
        yield GaugeMetricFamily("tidings_connections_max", "WebSockets that may be.", value=may_be)
        yield GaugeMetricFamily(
            "tidings_sessions",
            "Sessions, those before their Hello included.",
            value=connections.sessions_open,
        )
        yield GaugeMetricFamily(
            "tidings_users_online", "Users with a session that receives.", value=connections.users_online
        )
        until = self._sources.certificate_until()
        if until is not None:
            yield GaugeMetricFamily(
                "tidings_certificate_expires_timestamp_seconds", "When the certificate ends.", value=until
            )

    def _traffic(self) -> Iterable[Metric]:
        sources = self._sources
        yield CounterMetricFamily(
            "tidings_messages_accepted", "Messages answered with Sent.", value=sources.counts.accepted
        )
        yield CounterMetricFamily(
            "tidings_deliveries",
            "Inbox entries offered to connected sessions.",
            value=sources.connections.deliveries,
        )
        yield CounterMetricFamily(
            "tidings_inbox_reads", "Reads of inboxes by returning devices.", value=sources.inboxes.reads
        )
        yield CounterMetricFamily(
            "tidings_bundles", "Bundles of devices' public keys given.", value=sources.claims.bundles_given
        )
        yield CounterMetricFamily(
            "tidings_one_time_keys_given",
            "One-time prekeys given with them.",
            value=sources.claims.one_time_given,
        )
        refused = CounterMetricFamily(
            "tidings_refused", "Frames and requests refused, by error.", labels=["error"]
        )
        for code, number in sorted(sources.counts.refused.items()):
            refused.add_metric([REGISTRY[code].name], number)
        yield refused
        yield audit_events(sources.audit)

    def _disk(self) -> Iterable[Metric]:
        commit = self._sources.commit
        yield CounterMetricFamily("tidings_commit_batches", "Batches written.", value=commit.batches)
        yield CounterMetricFamily("tidings_commit_rows", "Rows in them.", value=commit.rows_written)
        yield CounterMetricFamily(
            "tidings_commit_seconds", "Time that batches took to become durable.", value=commit.seconds
        )
        yield CounterMetricFamily(
            "tidings_commit_failures", "Batches that the store refused.", value=commit.failures
        )
        yield GaugeMetricFamily(
            "tidings_commit_waiting_bytes", "Bytes that wait for the disk.", value=commit.waiting_bytes
        )
        yield GaugeMetricFamily(
            "tidings_store_ok",
            "1 unless the last write failed.",
            value=int(commit.failure is None),
        )
        yield GaugeMetricFamily(
            "tidings_audit_ok", "1 unless the audit log cannot be written.", value=int(self._sources.audit.ok)
        )

    def _loop(self) -> Iterable[Metric]:
        counts = self._sources.counts
        yield GaugeMetricFamily(
            "tidings_loop_lag_seconds", "How late the event loop was last time.", value=counts.lag_s
        )
        yield GaugeMetricFamily(
            "tidings_loop_lag_worst_seconds",
            "The worst in the last one to two minutes.",
            value=counts.worst_lag_s,
        )
