"""The other nodes, as the rules need to know of them.

What a rule has read it keeps in memory. A lone node makes every change itself, so what it has in
memory is what is true. Where there are other nodes it is trusted for `TRUST_S` only, and whoever
changes what others must heed waits that long before saying that it is done: from then on no node
acts on what was before, whatever was lost on the way to it.

Time. A write that took longer than `LATE_S` from taking its id may have come too late for readers,
whose cursors had passed it: they go no nearer to the present than `MARGIN_S`. Only a clock outside
of this machine can tell, since those of a machine that is paused pause too.
"""

from typing import Protocol

TRUST_S = 2.0
"""How long what was read is trusted where others may change it."""
KNOWN_S = 2.5
"""How long whoever changes what others must heed waits: `TRUST_S`, and what clocks differ in."""
LATE_S = 5.0
"""From taking an id to being readable; what took longer is done again under another id."""
MARGIN_S = 10.0
"""Cursors and `Sync` stay so far behind the present."""


class Peers(Protocol):
    """What holds between nodes."""

    @property
    def are_there(self) -> bool:
        """Whether there may be others at all."""

    async def know(self) -> None:
        """Wait until every node acts on what was durable before the call."""

    async def is_late(self, since_ms: int) -> bool:
        """Whether rows whose ids were taken at `since_ms`, and that are durable now, came too late.

        Raises StoreError where that cannot be told.
        """

    @property
    def seen_ms(self) -> int:
        """What the clock that all nodes go by said when `is_late` looked at it last, Unix ms; 0: never."""

    @property
    def was_held_up(self) -> bool:
        """Whether frames may have waited here for so long that another node was sent them meanwhile."""


class Alone:
    """Implements `Peers` for a node that is the only one."""

    are_there = False
    was_held_up = False
    seen_ms = 0

    async def know(self) -> None:
        """Nobody else has to know."""

    async def is_late(self, since_ms: int) -> bool:  # noqa: ARG002 - a protocol's shape
        """Nobody else reads."""
        return False


class Freshness:
    """Whether what was read at some time may still be trusted."""

    __slots__ = ("_read_s",)

    def __init__(self, now_s: float) -> None:
        self._read_s = now_s

    def renew(self, read_s: float) -> None:
        """It was read again; `read_s` is when that began."""
        self._read_s = max(self._read_s, read_s)

    def holds(self, now_s: float) -> bool:
        """Whether it is recent enough."""
        return now_s - self._read_s < TRUST_S
