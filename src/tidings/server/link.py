"""What a session sees of its connection, and a connection of its session.

The gateway implements `Link` on a real WebSocket; tests and simulations implement it in memory.
Neither side knows more of the other than this.
"""

from typing import Protocol

from tidings.protocol.close import CloseCode


class Link(Protocol):
    """One WebSocket, as its session sees it. No method blocks, none raises."""

    @property
    def address(self) -> str:
        """The peer's network address, for limits and logs."""

    @property
    def unsent_bytes(self) -> int:
        """How much is queued for a peer that does not read as fast."""

    def send(self, data: bytes) -> None:
        """Queue one message; all of a turn of the event loop go out in one write.

        Dropped in silence once the link is closing. A reader so slow that more than
        `Limits.write_buffer_bytes` wait for it is cut off; `Handler.lost` tells.
        """

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send what is queued, then a close frame; after `Limits.close_s` without an answer, abort.

        Nothing that the peer sends after this reaches the handler.
        """

    def greeted(self) -> None:
        """It is known now who this is; until then no more than `Limits.hello_bytes` are taken."""

    def pause_reading(self) -> None:
        """Take nothing more from the peer (its TCP window fills up)."""

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""


class Handler(Protocol):
    """A session, as its link sees it."""

    def receive(self, data: bytes) -> None:
        """One whole message (fragments joined, text checked for UTF-8). Must not raise."""

    def lost(self) -> None:
        """The connection is gone, for whatever reason. Called exactly once, last."""

    def shutdown(self) -> None:
        """The server is stopping; the handler closes its link in its own way."""
