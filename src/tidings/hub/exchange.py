"""The bus in the hub: which connections are subscribed to which topics."""

from typing import Protocol

from tidings.hub.wire import Published


class Listener(Protocol):
    """A connection that takes publications."""

    def hear(self, published: Published) -> None:
        """Pass a publication on, or lose it where too much waits already."""


class Exchange:
    """Passes publications on, in their order."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[Listener, None]] = {}

    def subscribe(self, topic: str, listener: Listener) -> None:
        """Give a listener what is published to a topic from now on."""
        self._listeners.setdefault(topic, {})[listener] = None

    def unsubscribe(self, topic: str, listener: Listener) -> None:
        """Give it nothing more."""
        listeners = self._listeners.get(topic, {})
        listeners.pop(listener, None)
        if not listeners:
            self._listeners.pop(topic, None)

    def publish(self, topic: str, data: bytes) -> None:
        """Give a publication to all that are subscribed."""
        listeners = self._listeners.get(topic)
        if listeners:
            published = Published(topic, data)
            for listener in listeners:
                listener.hear(published)
