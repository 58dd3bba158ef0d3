"""People who write to each other all the time, and do not rest until everything is there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

from integration.people import until
from tidings.bench.crowd import Crowd, ring
from tidings.bench.seed import seed
from tidings.bench.verdict import Verdict, judge_both
from tidings.protocol.ids import MessageId
from workers.processes import Service

PEOPLE = 6
CONVERSATIONS = 4
CONTENT_BYTES = 100
MORE = 100
"""messages acknowledged from one moment of a test to the next"""
SETTLE_S = 60.0


class Load:
    """A crowd on a service."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    @property
    def acked(self) -> int:
        """Messages that were acknowledged so far."""
        return sum(len(side.acked) for person in self._crowd.people for side in person.sides.values())

    async def more(self) -> None:
        """Wait until a good deal more is acknowledged."""
        goal = self.acked + MORE
        await until(lambda: self.acked >= goal)

    async def settle(self) -> None:
        """Write nothing new, and wait until nothing is on its way any more."""
        self._crowd.rest()
        async with asyncio.timeout(SETTLE_S):
            while not all(one.is_settled for one in self._crowd.dialogues):
                await asyncio.sleep(0.01)

    async def judge(self) -> Verdict:
        """Both sides of each conversation, and both histories."""
        verdicts = [await judge_both(one, other, MessageId(0)) for one, other in self._crowd.dialogues]
        return sum(verdicts, Verdict())


@contextlib.asynccontextmanager
async def under_load(service: Service) -> AsyncIterator[Load]:
    """Start a service on which people write; in the end all must be there, once, in one order."""
    links = ring(PEOPLE, CONVERSATIONS)
    accounts, conversations = await seed(service.data, PEOPLE, links)
    await asyncio.to_thread(service.start)
    crowd = Crowd(accounts, links, conversations, CONTENT_BYTES, Random(1))
    load = Load(crowd)
    with crowd.connected(service.port):
        crowd.write()
        await load.more()
        yield load
        await load.settle()
        verdict = await load.judge()
        crowd.check()
    assert verdict.is_clean, verdict
    assert verdict.acked == load.acked
