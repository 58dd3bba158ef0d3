"""The bus: publications from node to node, and what every backend promises about them.

Delivery. At most once. What is published to a topic reaches whoever was subscribed to it then, or
is lost; nothing is repeated and nothing kept. Loss is not told: who publishes counts, and who
receives sees gaps (`tidings.bus.counted`). A gap costs delay, never a message.

Order. Publications of one publisher to one topic arrive in the order in which they were handed
over. Between publishers, and between topics, there is none.

Size. A publication holds at most `PUBLICATION_BYTES`; a larger one is a bug of ours.
"""

from collections.abc import Callable
from typing import Protocol

Topic = str
"""Where publications go. At most `TOPIC_CHARS` of ASCII."""

TOPIC_CHARS = 64
PUBLICATION_BYTES = 1 << 20
WAITING_BYTES = 64 << 20
"""What a backend keeps of publications that it cannot pass on yet; beyond it they are lost."""

Receive = Callable[[bytes], None]
"""Takes one publication. Must not raise, and must not wait."""


class BusError(Exception):
    """What a bus may answer instead of doing its work."""


class BusUnavailable(BusError):
    """The bus cannot be reached, or is closed. A repeat may succeed."""


class Bus(Protocol):
    """One node's end of the bus. See the module's text for what is promised."""

    def publish(self, topic: Topic, data: bytes) -> None:
        """Hand a publication over. Never waits and never raises: what cannot be sent is lost.

        All that one turn of the event loop publishes goes out together.
        """

    async def subscribe(self, topic: Topic, receive: Receive) -> None:
        """Have publications of a topic given to `receive`, instead of to whom they went before.

        Returns when that is confirmed: what is published from then on arrives, unless it is lost.
        Holds over lost connections, which are made again. Raises BusUnavailable.
        """

    async def unsubscribe(self, topic: Topic) -> None:
        """Take nothing more from a topic. Without effect where nothing was subscribed to."""

    def on_loss(self, lost: Callable[[], None]) -> None:
        """Have `lost` called whenever publications may have been lost all at once.

        After a connection was lost, once the subscriptions hold again; and after a failover.
        """

    async def close(self) -> None:
        """Hand over what waits, as far as that goes, and release the connection."""
