"""A worker's process: `python -m tidings.server.workers.worker DOOR`, started by the supervisor alone.

DOOR is the descriptor of the listening socket that it inherits. It is a whole node, but for what
the hub and the supervisor have: store, bus and directory, the ports, the operator's signals.
"""

import signal
import socket
import sys
from functools import partial
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from tidings.hub.bus import HubBus
from tidings.hub.directory import HubDirectory
from tidings.hub.link import HubLink
from tidings.hub.store import HubStore
from tidings.server.admin.app import Node
from tidings.server.cluster import Shared
from tidings.server.node import serve_node
from tidings.server.resources import raise_file_limit
from tidings.server.tls import Certificate
from tidings.server.workers.desk import duties_of
from tidings.server.workers.orders import Start
from tidings.server.workers.parent import Parent
from tidings.server.workers.process import run
from tidings.store.schema import TABLES


async def work(door: socket.socket, parent: Parent, order: Start, log: FilteringBoundLogger) -> None:
    """Serve until it is told to stop. Raises what `serve_node` does, ConfigError, StoreUnavailable."""
    raise_file_limit()
    certificate = Certificate.of(order.config)

    def renew() -> None:
        if certificate is not None:
            signal.raise_signal(signal.SIGHUP)  # the node does the rest

    def administer(node: Node) -> None:
        parent.duties = duties_of(node, renew)

    link = await HubLink.open(Path(order.hub), TABLES, log)
    try:
        await serve_node(
            order.config,
            log,
            door,
            HubStore(link, TABLES),
            shared=Shared(HubBus(link), HubDirectory(link)),
            certificate=certificate,
            administer=administer,
            ready=parent.ready,
            stopped=parent.stopped,
        )
    finally:
        await link.close()


if __name__ == "__main__":
    run(partial(work, socket.socket(fileno=int(sys.argv[1]))))
