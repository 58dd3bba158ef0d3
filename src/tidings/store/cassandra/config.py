"""Where the store's cluster is, and how it is spoken to. Knows no driver."""

from typing import Annotated, Literal

import msgspec

PORT = 9042

_Seconds = Annotated[float, msgspec.Meta(gt=0)]


class CassandraConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator decides about the store on Cassandra or ScyllaDB."""

    contact_points: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("127.0.0.1",)
    """addresses of some of the cluster's nodes; the others are learned from these"""
    port: int = PORT
    """the port of CQL, the same on all nodes"""
    keyspace: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,47}$")] = "tidings"
    """where the tables are; made if it is missing"""
    replication: dict[str, int] = {}
    """copies in each datacenter, for a keyspace that is made; empty: `copies` in a single one"""
    copies: Annotated[int, msgspec.Meta(ge=1)] = 3
    """copies of each row, where `replication` names no datacenter"""
    datacenter: str = ""
    """the one whose nodes are asked; empty: that of the first contact point"""
    consistency: Literal["quorum", "local_quorum"] = "quorum"
    """how many copies must have a row before it counts; local: of the own datacenter"""
    user: str = ""
    """who to log in as; empty: nobody"""
    password: str = ""
    """of `user`"""
    tls: bool = False
    """speak TLS to the nodes"""
    tls_ca: str = ""
    """file of the certificates (PEM) that sign the nodes' ones; needed with `tls`"""
    tls_cert: str = ""
    """file of a certificate (PEM) of this client's own, where nodes ask for one"""
    tls_key: str = ""
    """file of its private key (PEM)"""
    connect_s: _Seconds = 5.0
    """seconds until a connection must be there"""
    request_s: _Seconds = 10.0
    """seconds until a request must be answered; no request waits longer for the cluster"""
    again_s: _Seconds = 0.5
    """seconds after which another node is asked the same, where that does no harm: the first one may hang"""
    in_flight: Annotated[int, msgspec.Meta(ge=1, le=8192)] = 1024
    """requests that are at the cluster at a time; further ones wait their turn"""
    together: Annotated[int, msgspec.Meta(ge=1, le=10)] = 10
    """partitions whose small writes share a request; 1: each goes to a node that keeps it"""
    migrate_s: _Seconds = 120.0
    """seconds that a node waits for another one to make or change the tables"""

    def __repr__(self) -> str:
        """Without the password."""
        return f"CassandraConfig({', '.join(self.contact_points)}:{self.port}, keyspace {self.keyspace})"
