"""Doors: one listening socket a worker, all on one port (SO_REUSEPORT), held by the supervisor.

A worker inherits its door. So a door outlives its worker: who knocks while the next one starts is
let in by it, and a door that two workers share for a moment loses nobody when one of them leaves.
Only where nobody will come for a while is it closed, and the kernel sends people to the others.
"""

import socket

from tidings.protocol.limits import Limits
from tidings.server.gateway import listen


class Door:
    """One listening socket, which can be closed and opened again."""

    def __init__(self, sock: socket.socket, host: str, limits: Limits) -> None:
        self._sock: socket.socket | None = sock
        self._host = host
        self._port: int = sock.getsockname()[1]
        self._limits = limits

    @property
    def port(self) -> int:
        """The port that all doors have."""
        return self._port

    def open(self) -> socket.socket:
        """The socket; bound again if it was closed. Raises OSError."""
        if self._sock is None:
            self._sock = listen(self._host, self._port, self._limits, reuse_port=True)
        return self._sock

    def close(self) -> None:
        """Close our end; a worker that has it goes on."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def open_doors(host: str, port: int, limits: Limits, number: int) -> list[Door]:
    """So many doors on one port. Raises OSError as `listen` does, also if another service has the port."""
    if port:
        # With SO_REUSEPORT we would share the port with any other service of ours, and never know.
        listen(host, port, limits).close()
    doors: list[Door] = []
    try:
        for _ in range(number):
            doors.append(Door(listen(host, port, limits, reuse_port=True), host, limits))
            port = doors[0].port
    except OSError:
        for door in doors:
            door.close()
        raise
    return doors
