"""What bus and directory see of Redis: its masters, and whose a key or channel is."""

from collections.abc import Sequence
from typing import Protocol

from tidings.redis.link import Link, User
from tidings.redis.wire import TIME, Command, RedisUnavailable, Reply, Wire

PATIENCE_S = 0.5
"""How long a command waits for a connection that has just broken. It is short: whoever asks has another
way, and while Redis is away for longer each would have to wait anew."""

UNABLE = ("READONLY ", "LOADING ", "MASTERDOWN ", "CLUSTERDOWN ")
"""what a server says that does no work now: a replica, or one that is loading, or cut off from others"""


class Keeper(User, Protocol):
    """Bus or directory, as the masters see it."""

    def moved(self) -> None:
        """Keys and channels belong to other masters than before. Links to new ones will be `connected`."""


class Masters(Protocol):
    """All the masters of one Redis."""

    is_cluster: bool

    async def open(self) -> None:
        """Connect to all. Raises RedisUnavailable if they cannot be reached within twice the timeout."""

    def of(self, key: bytes) -> Link | None:
        """The master of a key or channel, if it is known."""

    async def ask(self, keys: Sequence[bytes], commands: Sequence[Command]) -> tuple[list[Reply], list[int]]:
        """Have each command carried out by its key's master.

        The replies, errors among them, in the order of the commands; and what that master's clock showed
        before, in Unix ms. Raises RedisUnavailable if any was not answered; others may be done.
        """

    async def look(self) -> None:
        """See whose keys and channels are. What cannot be found out changes nothing."""

    async def close(self) -> None:
        """Send what waits and end."""


async def timed(wire: Wire, commands: Sequence[Command]) -> tuple[list[Reply], int]:
    """The replies to commands, and what the server's clock showed before them. Raises RedisUnavailable."""
    time, *replies = await wire.ask([TIME, *commands])
    for reply in (time, *replies):
        if isinstance(reply, wire.error_type) and str(reply).startswith(UNABLE):
            # Others need not find out, too. The next connection is made when it can again.
            wire.abort(str(reply))
            raise RedisUnavailable(str(reply))
    return replies, time_of(time)


def time_of(reply: Reply) -> int:
    """Unix ms, of the reply to TIME. Raises RedisUnavailable."""
    if isinstance(reply, Exception):
        raise RedisUnavailable(str(reply))
    seconds, microseconds = reply
    return int(seconds) * 1000 + int(microseconds) // 1000
