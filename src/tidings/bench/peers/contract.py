"""What a server must offer to be measured beside this one.

A `Rival` is another server. Its clients do what chat needs, whatever the protocol calls it: send to a
user, hear that the server took it, hear from the other side that it arrived. A `Contestant` is what
the benchmark deals with: this server (`ours`) or a rival on the common workloads (`workloads`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from tidings.bench.progress import Progress


class Sizes(NamedTuple):
    """How large the workloads are, for every contestant alike."""

    pairs: int = 50
    messages: int = 400
    """a pair, at full speed"""
    window: int = 8
    """messages of a pair whose receipt is not back"""
    content_bytes: int = 200
    rate: int = 500
    """messages a second, paced"""
    paced_s: float = 10.0
    connections: int = 5000
    hold_s: float = 35.0
    """how long they are idle; longer than every server's keepalive"""
    users: int = 20
    waiting: int = 1000
    """messages that wait for each of them"""


class Direct(NamedTuple):
    """What pairs that chat cost."""

    cpu_us: float
    """server CPU a message at full speed, from the first message to the last receipt"""
    messages_per_s: float
    paced_cpu_us: float
    p50_ms: float
    """from send to receive, paced"""
    p99_ms: float


class Idle(NamedTuple):
    """What connections cost that say nothing."""

    bytes_per_connection: float
    connect_cpu_us: float


class Offline(NamedTuple):
    """What messages cost that wait for somebody."""

    cpu_us: float
    """server CPU for a message that is fetched"""
    messages_per_s: float
    send_cpu_us: float
    """for one that is sent to who is away"""


class Figures(NamedTuple):
    """Of one contestant; what was not measured is None."""

    direct: Direct | None = None
    idle: Idle | None = None
    offline: Offline | None = None


class Contestant(Protocol):
    """A server to be measured."""

    name: str
    promises: str
    """what its acknowledgement stands for here, and what it does not promise"""

    def version(self) -> str:
        """Of it and of what it stores in. Raises Missing."""

    async def direct(self, folder: Path, sizes: Sizes, progress: Progress) -> Direct:
        """Pairs that chat. Raises RuntimeError, TimeoutError where the server does not do its work."""

    async def idle(self, folder: Path, sizes: Sizes, progress: Progress) -> Idle:
        """Connections that are logged in."""

    async def offline(self, folder: Path, sizes: Sizes, progress: Progress) -> Offline:
        """Messages that wait."""


class Used(NamedTuple):
    """What all processes of a server have used so far."""

    cpu_s: float
    """user and system time, of ended children too"""
    memory_bytes: int
    """resident; what processes share is counted once"""


class RivalClient(Protocol):
    """One connection of one user. Hooks are called with the name of a message."""

    on_taken: Callable[[str], None]
    """the server acknowledged what this client sent"""
    on_message: Callable[[str], None]
    """it arrived here; the client has answered with a receipt"""
    on_receipt: Callable[[str], None]
    """the receiver's receipt for what this client sent"""
    gives_receipts: bool

    def send(self, to: int, name: str, content_bytes: int) -> None:
        """Send a message of that size, which begins with its name, to a user."""

    async def close(self) -> None:
        """Say goodbye."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone."""


class Rival(Protocol):
    """Another server. `start` and `stop` may be called once each."""

    name: str
    promises: str

    def version(self) -> str:
        """Of it and of what it stores in. Raises Missing."""

    async def start(self, folder: Path, users: int) -> None:
        """Start it with accounts for users 0 to `users`-1. What started has ended when this raises."""

    async def stop(self) -> None:
        """End every process of it."""

    def used(self) -> Used:
        """So far."""

    async def connect(self, user: int) -> RivalClient:
        """A client that is logged in and online; nobody has to fetch for it."""

    async def drain(self, user: int, expected: int, on_message: Callable[[str], None]) -> RivalClient:
        """Come online and fetch what has waited; returns when `expected` messages were heard."""


class Missing(Exception):
    """A peer is not set up on this machine; the message says what to do."""
