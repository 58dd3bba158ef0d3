"""The bus: publications that are late, lost, or lost all at once, in order as far as is promised.

Each publication takes a time of its own, but no publication of a publisher to a topic overtakes another
one. While a node's connection is out, nothing reaches it and nothing that it publishes goes anywhere;
once the connection stands again it is told that publications may be lost.
"""

from collections.abc import Callable
from enum import StrEnum
from random import Random

from tidings.bus.contract import PUBLICATION_BYTES, TOPIC_CHARS, BusUnavailable, Receive, Topic
from tidings.testing.simulation.loop import Loop
from tidings.testing.simulation.machines import Process
from tidings.testing.simulation.tally import Tally

PASS_S = (0.0003, 0.005)
LATE_S = (0.2, 10.0)
ANSWER_S = (0.0005, 0.01)


class BusFault(StrEnum):
    """What may go wrong."""

    LOST = "bus: publication lost"
    LATE = "bus: publication late"
    OUT = "bus: connection lost"


class Broker:
    """Who is subscribed to what."""

    def __init__(self) -> None:
        self.subscribers: dict[Topic, dict[NodeBus, Receive]] = {}


class NodeBus:
    """Implements `contract.Bus` for one run of a node; see the module's text."""

    def __init__(self, loop: Loop, broker: Broker, process: Process, random: Random, tally: Tally) -> None:
        self._loop = loop
        self._broker = broker
        self._process = process
        self._random = random
        self._tally = tally
        self._arrives_s: dict[Topic, float] = {}
        """by topic: when this node's last publication to it arrives"""
        self._lost: Callable[[], None] = _ignore
        self._out_until_s = 0.0
        self._losing = 0
        self._losing_until_s = 0.0
        self._late = 0
        self._late_until_s = 0.0
        self._closed = False

    # --- the simulation's side ----------------------------------------------------------------

    def lose(self, count: int, until_s: float) -> None:
        """The next publications of this node are lost."""
        self._losing, self._losing_until_s = count, until_s

    def delay(self, count: int, until_s: float) -> None:
        """The next publications of this node are late."""
        self._late, self._late_until_s = count, until_s

    def go_out(self, until_s: float) -> None:
        """Its connection is lost, and made again then."""
        self._out_until_s = until_s
        self._loop.at(until_s, self._come_back, until_s)

    def died(self) -> None:
        """Its node was killed."""
        self._closed = True
        for subscribers in self._broker.subscribers.values():
            subscribers.pop(self, None)

    @property
    def is_out(self) -> bool:
        """Whether there is no connection."""
        return self._loop.now_s < self._out_until_s

    # --- the contract -------------------------------------------------------------------------

    def publish(self, topic: Topic, data: bytes) -> None:
        assert len(topic) <= TOPIC_CHARS, topic
        assert len(data) <= PUBLICATION_BYTES, len(data)
        now_s = self._loop.now_s
        if self._closed or self.is_out:
            return
        if self._losing and now_s < self._losing_until_s:
            self._losing -= 1
            self._tally.count(BusFault.LOST)
            return
        takes_s = self._random.uniform(*PASS_S)
        if self._late and now_s < self._late_until_s:
            self._late -= 1
            self._tally.count(BusFault.LATE)
            takes_s = self._random.uniform(*LATE_S)
        arrives_s = max(now_s + takes_s, self._arrives_s.get(topic, 0.0))
        self._arrives_s[topic] = arrives_s
        self._loop.at(arrives_s, self._arrive, topic, data)

    async def subscribe(self, topic: Topic, receive: Receive) -> None:
        await self._ask()
        self._broker.subscribers.setdefault(topic, {})[self] = receive
        await self._loop.wait(self._random.uniform(*ANSWER_S))

    async def unsubscribe(self, topic: Topic) -> None:
        self._broker.subscribers.get(topic, {}).pop(self, None)

    def on_loss(self, lost: Callable[[], None]) -> None:
        self._lost = lost

    async def close(self) -> None:
        self.died()

    # --- inside -----------------------------------------------------------------------------

    def _arrive(self, topic: Topic, data: bytes) -> None:
        for bus, receive in self._broker.subscribers.get(topic, {}).items():
            if not bus.is_out:
                self._loop.post(bus._process, bus._take, receive, data)

    def _take(self, receive: Receive, data: bytes) -> None:
        if not self._closed:
            receive(data)

    def _come_back(self, until_s: float) -> None:
        if not self._closed and until_s == self._out_until_s:
            self._loop.post(self._process, self._lost)

    async def _ask(self) -> None:
        await self._loop.wait(self._random.uniform(*ANSWER_S))
        if self._closed or self.is_out:
            raise BusUnavailable("no connection")


def _ignore() -> None:
    """Nobody wants to know."""
