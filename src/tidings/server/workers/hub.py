"""The hub's process: `python -m tidings.server.workers.hub`, started by the supervisor alone.

It opens the store and serves it on the socket that it is ordered to. It must not import the rules: the
sooner it is there again after a death, the shorter nobody is answered.
"""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from structlog.typing import FilteringBoundLogger

from tidings.hub.server import HubServer
from tidings.hub.wire import INCARNATION_BYTES
from tidings.protocol.api import Problem
from tidings.protocol.errors import STORE_FAILED, ErrorKind, ProtocolError
from tidings.server.admin.bodies import BackupTo, Done
from tidings.server.admin.copying import back_up
from tidings.server.resources import raise_file_limit, settle_collector
from tidings.server.workers.orders import Answer, Ask, Start
from tidings.server.workers.parent import Duties, Parent
from tidings.server.workers.process import run
from tidings.store.contract import Store, StoreError
from tidings.store.rocks import RocksStore
from tidings.store.schema import TABLES

ORPHAN_S = 10.0
"""how long a hub whose supervisor is dead waits for the workers to leave"""
LOOK_S = 0.1

METRICS = "/metrics"
BACKUP = "/v1/admin/backup"


async def work(parent: Parent, order: Start, log: FilteringBoundLogger) -> None:
    """Serve the store until it is told to stop. Raises StoreError, OSError."""
    raise_file_limit()
    config = order.config
    store = RocksStore.open(
        Path(config.data), sync=config.sync, min_free_bytes=config.limits.store_free_bytes
    )
    try:
        server = HubServer(store, TABLES, log, incarnation=os.urandom(INCARNATION_BYTES))
        await server.listen(Path(order.hub))
        settle_collector()
        own = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=own)
        parent.duties = Duties(lambda ask: _answer(ask, store, own), lambda: generate_latest(own))
        parent.ready()
        await parent.stopped.wait()
        if parent.is_dead:
            await _workers_left(server)
        await server.stop()
    finally:
        await store.close()


async def _workers_left(server: HubServer) -> None:
    """The workers have noticed, too, and have things to write while they end."""
    for _ in range(round(ORPHAN_S / LOOK_S)):
        if not server.workers:
            return
        await asyncio.sleep(LOOK_S)


async def _answer(ask: Ask, store: Store, own: CollectorRegistry) -> Answer:
    """What the operator is told, as the admin port of a lone node tells it."""
    if ask.path == METRICS:
        return Answer(ask.number, 200, "text/plain", generate_latest(own))
    assert ask.path == BACKUP, ask.path
    try:
        await back_up(store, msgspec.json.decode(ask.body, type=BackupTo).path)
    except ProtocolError as error:
        return _problem(ask, error.kind, error.message)
    except StoreError as error:
        return _problem(ask, STORE_FAILED, f"{STORE_FAILED.meaning}: {error}")
    return Answer(ask.number, 200, "application/json", msgspec.json.encode(Done()))


def _problem(ask: Ask, kind: ErrorKind, message: str) -> Answer:
    body = msgspec.json.encode(Problem(kind.code, kind.name, message))
    return Answer(ask.number, kind.http_status, "application/json", body)


if __name__ == "__main__":
    # A service manager may send it to all processes of a service; the workers need the hub until they end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run(work)
