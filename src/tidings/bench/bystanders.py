"""People who go on chatting on the processes that nothing happens to: what do they notice?"""

import asyncio
import itertools
from collections.abc import Sequence

from tidings.bench.pairs import Pair, Spread, arrange, connected
from tidings.bench.process import ServerProcess
from tidings.protocol.api import LoggedIn
from tidings.protocol.ids import ConversationId

PER_S = 25
"""messages a second, of all pairs"""
CONTENT = bytes(200)
ARRIVE_S = 30.0
POLL_S = 0.05


class Bystanders:
    """Pairs that send a message now and then."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self._chatting: asyncio.Task[None] | None = None
        for pair in pairs:
            pair.one.on_error = pair.say_again

    @property
    def refused(self) -> int:
        """How often the server asked for a message once more."""
        return sum(pair.refused for pair in self._pairs)

    @classmethod
    async def connect(
        cls,
        server: ServerProcess,
        accounts: Sequence[LoggedIn],
        conversations: Sequence[ConversationId],
        victim: int,
    ) -> "Bystanders":
        """They are connected to any process but this one, and say nothing yet."""
        devices = await connected(server, accounts, conversations, Spread.ANY)
        await arrange(server, accounts, devices, lambda one, other: (one == victim, other == victim))
        return cls([Pair(*two, where) for two, where in zip(devices, conversations, strict=True)])

    def chat(self) -> None:
        """Begin."""
        self._chatting = asyncio.create_task(self._chat())

    async def latencies_s(self) -> list[float]:
        """From sending to receiving, of all since the last call, once all have come (or are very late)."""
        async with asyncio.timeout(ARRIVE_S):
            waited_for = {name for pair in self._pairs for name in pair.sent_at}
            while any(waited_for & pair.sent_at.keys() for pair in self._pairs):
                await asyncio.sleep(POLL_S)
        found = [latency for pair in self._pairs for latency in pair.latencies_s]
        for pair in self._pairs:
            pair.latencies_s.clear()
        return found

    async def stop(self) -> None:
        """End."""
        if self._chatting is not None:
            self._chatting.cancel()
            await asyncio.gather(self._chatting, return_exceptions=True)

    async def _chat(self) -> None:
        for pair in self._pairs:
            pair.prepare(1 << 62, CONTENT)
            pair.run(1 << 62, 0)
        for pair in itertools.cycle(self._pairs):
            pair.send_one()
            await asyncio.sleep(1 / PER_S)
