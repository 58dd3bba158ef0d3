"""A node: the one place where the parts are wired, and their order of starting and stopping.

```
 gateway -> session -> commands -> rules -> group commit -> store
    ^                                             |
    +------------- connections <------------------+
```

Starting: store, clock, rules, socket. Stopping (SIGTERM or SIGINT): no new connections, what was
accepted becomes durable and is answered, every client is told when to come back, the store is
closed.
"""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

import uvicorn
import uvloop
from structlog.typing import FilteringBoundLogger

from tidings import __version__
from tidings.domain.accounts import Accounts, Passwords
from tidings.domain.clock import AHEAD_MS, Clock, IdClock, SystemClock
from tidings.domain.commit import NODE, GroupCommit, refusal
from tidings.domain.conversations import Conversations
from tidings.domain.inboxes import Inboxes
from tidings.domain.messages import Messages
from tidings.domain.receipts import Receipts
from tidings.protocol import ids
from tidings.protocol.api import Health
from tidings.server import http
from tidings.server.commands import COMMANDS
from tidings.server.config import Config, address
from tidings.server.connections import Connections
from tidings.server.gateway import Gateway, listen
from tidings.server.logs import bridge, open_log, unhandled
from tidings.server.passwords import Argon2Passwords
from tidings.server.services import Services
from tidings.server.session import Session
from tidings.store.contract import Store
from tidings.store.rocks import RocksStore
from tidings.store.schema import NODES

SWEEP_S = 1.0
DAY_MS = 86_400_000


class ClockWentBack(Exception):
    """The wall clock is more than a day behind the ids given before."""


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError, StoreError, ClockWentBack, OSError."""
    log = open_log(config.log, as_json=config.log_json)
    bridge(log, config.log)
    os.umask(0o077)  # what is stored is nobody else's business
    uvloop.run(_run(config, log))


async def wire(
    config: Config,
    store: Store,
    clock: Clock,
    passwords: Passwords,
    random_bytes: Callable[[int], bytes],
    log: FilteringBoundLogger,
) -> Services:
    """The rules and what sessions need, on a store. Raises StoreError, ClockWentBack."""
    loop = asyncio.get_running_loop()
    limits = config.limits
    id_clock = await _id_clock(config, store, clock, log)
    connections = Connections(Random(random_bytes(8)))  # noqa: S311 - spreads reconnects
    commit = GroupCommit(store, id_clock, limits, loop)
    conversations = Conversations(store, commit, limits)
    return Services(
        commands=COMMANDS,
        accounts=Accounts(store, commit, clock, id_clock, passwords, random_bytes, limits),
        conversations=conversations,
        messages=Messages(store, commit, clock, id_clock, conversations, connections, limits),
        inboxes=Inboxes(store, commit),
        receipts=Receipts(store, commit, id_clock, connections, limits, loop),
        commit=commit,
        connections=connections,
        ids=id_clock,
        limits=limits,
        loop=loop,
        log=log,
    )


async def _run(config: Config, log: FilteringBoundLogger) -> None:
    host, port = address(config.listen)
    limits = config.limits
    _raise_file_limit()
    sock = listen(host, port, limits)
    store = RocksStore.open(Path(config.data), sync=config.sync, min_free_bytes=limits.store_free_bytes)
    passwords = Argon2Passwords(limits)
    clock = SystemClock()
    try:
        services = await wire(config, store, clock, passwords, os.urandom, log)
        services.loop.set_exception_handler(unhandled(log))
        gateway = Gateway(
            limits=limits,
            open_session=lambda link, codec: Session(services, link, codec),
            origins=frozenset(config.origins),
        )

        def health() -> Health:
            failure = services.commit.failure
            status = "ok" if failure is None else refusal(failure).kind.name
            return Health(status, __version__, "rocksdb", gateway.connections)

        app = http.application(services.accounts, clock, limits, health, log)
        server = gateway.server(app, drain_s=limits.drain_s)
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            services.loop.add_signal_handler(number, stopped.set)
        tasks = [
            services.loop.create_task(_sweep(services)),
            services.loop.create_task(_stop(stopped, server, services)),
        ]
        _settle_collector()
        log.info("listening", url=f"http://{host}:{sock.getsockname()[1]}", data=config.data)
        await server.serve(sockets=[sock])
        for task in tasks:
            task.cancel()
        await services.commit.finish()
    finally:
        passwords.close()
        await store.close()
        log.info("stopped")


def _raise_file_limit() -> None:
    """Each connection is an open file; the soft limit is a default of long ago."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _settle_collector() -> None:
    """Spare the hot path most of the cycle collector: messages make no cycles.

    What exists by now lives as long as the process. Without this a tenth of a message's CPU
    goes into looking for garbage that reference counts have freed already.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _sweep(services: Services) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            services.connections.sweep(services.loop.time())
        except Exception as bug:
            services.log.error("a sweep failed", exc_info=bug)


async def _stop(stopped: asyncio.Event, server: uvicorn.Server, services: Services) -> None:
    """Once a signal came: answer what was accepted, then let the server close every link."""
    await stopped.wait()
    try:
        services.log.info("stopping")
        await services.commit.barrier()
    finally:
        server.should_exit = True


async def _id_clock(config: Config, store: Store, clock: Clock, log: FilteringBoundLogger) -> IdClock:
    """Ids go on where the last run ended, also if the clock went back meanwhile."""
    row = await store.get(NODES, (NODE,))
    floor = 0 if row is None else row.ids_until
    behind_ms = ids.unix_ms(floor) - clock.wall_ms()
    if behind_ms > DAY_MS and not config.accept_clock:
        raise ClockWentBack(f"the clock is {behind_ms / DAY_MS:.1f} days behind the newest message stored")
    if behind_ms > AHEAD_MS:
        log.warning("the clock went back: ids go on from the last one", behind_ms=behind_ms)
    return IdClock(clock, node=NODE, floor=floor)
