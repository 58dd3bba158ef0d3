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
from tidings.domain.accounts import Passwords
from tidings.domain.clock import AHEAD_MS, Clock, IdClock, SystemClock
from tidings.domain.commit import NODE, GroupCommit, refusal
from tidings.domain.conversations import Conversations
from tidings.domain.erasing import Eraser
from tidings.domain.history import Histories
from tidings.domain.inboxes import Inboxes
from tidings.domain.log import Log
from tidings.domain.messages import Messages
from tidings.domain.people import People
from tidings.domain.presence import Presence
from tidings.domain.privacy import Privacy
from tidings.domain.receipts import Receipts
from tidings.domain.relations import Relations
from tidings.domain.reports import Reports
from tidings.domain.requests import Requests
from tidings.domain.settings import Settings
from tidings.protocol import ids
from tidings.protocol.api import Health, ServerInfo
from tidings.protocol.frames import SettingKind
from tidings.server import http
from tidings.server.account_rules import account_rules
from tidings.server.admin.app import Node
from tidings.server.admin.app import application as administration
from tidings.server.admin.guard import Guard
from tidings.server.admin.port import AdminPort
from tidings.server.audit import Audit
from tidings.server.commands import COMMANDS
from tidings.server.config import Config, ConfigError, address
from tidings.server.connections import Connections
from tidings.server.counts import Counts
from tidings.server.gateway import Gateway, listen
from tidings.server.heeding import Heeding
from tidings.server.logs import bridge, open_log, unhandled
from tidings.server.metrics import Metrics, Sources
from tidings.server.passwords import Argon2Passwords
from tidings.server.rate import DeviceRates
from tidings.server.services import Services
from tidings.server.session import Session
from tidings.server.tls import Certificate
from tidings.server.upkeep import Upkeep
from tidings.store.contract import Store
from tidings.store.rocks import RocksStore
from tidings.store.schema import NODES

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
    audit: Audit | None = None,
) -> Services:
    """The rules and what sessions need, on a store. Raises StoreError, ClockWentBack."""
    loop = asyncio.get_running_loop()
    limits = config.limits
    id_clock = await _id_clock(config, store, clock, log)
    rates = DeviceRates(limits)
    connections = Connections(Random(random_bytes(8)), rates, loop.time)  # noqa: S311 - spreads reconnects
    commit = GroupCommit(store, id_clock, limits, loop)
    settings = Settings(store, commit, id_clock, connections, limits)
    privacy = Privacy(settings)
    audit = audit or Audit(None, clock.wall_ms, log)
    of_accounts = account_rules(
        config, store, commit, clock, id_clock, passwords, random_bytes, connections, settings, audit, log
    )
    accounts = of_accounts.accounts
    conversations = Conversations(store, commit, privacy, limits, ask_first=config.strangers == "request")
    of_accounts.departures.departed = conversations.departed
    history_log = Log(store)
    requests = Requests(commit, id_clock, history_log, settings, privacy, connections, limits)
    eraser = Eraser(store, commit, id_clock, conversations, history_log, requests)
    relations = Relations(store, clock, history_log, eraser, limits)
    Heeding(settings, conversations, requests, loop, log)
    presence = Presence(store, commit, clock, id_clock, connections, connections, privacy, limits, loop)
    connections.attendance = presence
    for kind in (SettingKind.BLOCK, SettingKind.CONTACT, SettingKind.PRIVACY):
        settings.on(kind, presence.heed)
    return Services(
        commands=COMMANDS,
        accounts=accounts,
        account_rules=of_accounts,
        invites=of_accounts.invites,
        conversations=conversations,
        messages=Messages(
            store, commit, clock, id_clock, conversations, relations, requests, connections, limits
        ),
        histories=Histories(store, clock, history_log, relations, conversations, accounts, limits),
        requests=requests,
        eraser=eraser,
        inboxes=Inboxes(store, commit),
        receipts=Receipts(
            store, commit, id_clock, connections, conversations, settings, privacy, limits, loop
        ),
        settings=settings,
        privacy=privacy,
        people=People(store, commit, clock, id_clock, accounts, privacy, settings, limits),
        reports=Reports(store, commit, clock, id_clock, limits),
        commit=commit,
        presence=presence,
        connections=connections,
        rates=rates,
        counts=Counts(),
        audit=audit,
        ids=id_clock,
        limits=limits,
        loop=loop,
        log=log,
    )


async def _run(config: Config, log: FilteringBoundLogger) -> None:
    host, port = address(config.listen)
    limits = config.limits
    _raise_file_limit()
    certificate = Certificate.of(config)
    sock = listen(host, port, limits)
    admin = AdminPort.open(config.admin, Path(config.data), limits)
    store = RocksStore.open(Path(config.data), sync=config.sync, min_free_bytes=limits.store_free_bytes)
    passwords = Argon2Passwords(limits)
    clock = SystemClock()
    audit = Audit(Path(config.data) / "audit.log" if config.audit else None, clock.wall_ms, log)
    try:
        services = await wire(config, store, clock, passwords, os.urandom, log, audit)
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

        about = ServerInfo(__version__, config.registration, phone=bool(config.phone_hook))
        app = http.application(services, clock, limits, about, health, log, config.origins)
        tls = None if certificate is None else certificate.context
        server = gateway.server(app, drain_s=limits.drain_s, tls=tls, proxies=config.proxies)
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            services.loop.add_signal_handler(number, stopped.set)
        if certificate is not None:
            services.loop.add_signal_handler(signal.SIGHUP, _renew, certificate, log)
        if admin is not None:
            admin.start(_administration(services, store, gateway, certificate, stopped, admin.token))
        upkeep = Upkeep(services, store)
        upkeep.start()
        stopping = services.loop.create_task(_stop(stopped, server, services))
        _settle_collector()
        scheme = "http" if tls is None else "https"
        log.info("listening", url=f"{scheme}://{host}:{sock.getsockname()[1]}", data=config.data)
        await server.serve(sockets=[sock])
        stopping.cancel()
        await upkeep.stop()
        await services.commit.finish()
    finally:
        if admin is not None:
            await admin.stop()
        passwords.close()
        await store.close()
        audit.close()
        log.info("stopped")


def _administration(
    services: Services,
    store: Store,
    gateway: Gateway,
    certificate: Certificate | None,
    stopped: asyncio.Event,
    token: str,
) -> Guard:
    def sockets() -> tuple[int, int]:
        return gateway.connections, gateway.capacity

    def certificate_until() -> float | None:
        return None if certificate is None else certificate.expires_at

    sources = Sources(
        services.counts,
        services.connections,
        services.commit,
        services.inboxes,
        services.audit,
        sockets,
        certificate_until,
    )
    node = Node(services, store, Metrics(sources), sockets, certificate_until, stopped.set, stopped.is_set)
    return administration(node, token)


def _renew(certificate: Certificate, log: FilteringBoundLogger) -> None:
    """SIGHUP: new handshakes use the certificate that is in the files now."""
    try:
        certificate.reload()
    except ConfigError as error:
        log.error("the certificate stays as it was", reason=str(error))
    else:
        log.info("the certificate was read again")


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
