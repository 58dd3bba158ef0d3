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
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random

import uvicorn
import uvloop
from structlog.typing import FilteringBoundLogger

from tidings import __version__
from tidings.domain.accounts import Passwords
from tidings.domain.announcements import Announcements
from tidings.domain.asides import Asides
from tidings.domain.claims import Claims
from tidings.domain.clock import AHEAD_MS, Clock, ClockWentBack, IdClock, SystemClock
from tidings.domain.commit import IDS_AHEAD_MS, GroupCommit, refusal
from tidings.domain.conversations import Conversations
from tidings.domain.crossings import Crossings
from tidings.domain.dormancy import Dormancy
from tidings.domain.erasing import Eraser
from tidings.domain.generations import Generations
from tidings.domain.groups import Groups
from tidings.domain.history import Histories
from tidings.domain.inboxes import Inboxes
from tidings.domain.latecomers import Latecomers
from tidings.domain.leases import greatest_id
from tidings.domain.log import Log
from tidings.domain.messages import Messages
from tidings.domain.peers import Alone, Peers
from tidings.domain.people import People
from tidings.domain.presence import Attendees, Presence
from tidings.domain.privacy import Privacy
from tidings.domain.receipts import Receipts
from tidings.domain.relations import Relations
from tidings.domain.reports import Reports
from tidings.domain.requests import Requests
from tidings.domain.router import Router
from tidings.domain.sealing import Sealing
from tidings.domain.sends import Sends
from tidings.domain.settings import Settings
from tidings.domain.tallies import Tellers
from tidings.domain.twins import Twins
from tidings.domain.users import Users
from tidings.protocol import ids
from tidings.protocol.api import Health, ServerInfo
from tidings.protocol.errors import DRAINING, OVERLOADED
from tidings.protocol.frames import SettingKind
from tidings.protocol.ids import ConversationId
from tidings.server import http
from tidings.server.account_rules import account_rules
from tidings.server.admin.app import Node
from tidings.server.admin.app import application as administration
from tidings.server.admin.port import AdminPort
from tidings.server.audit import Audit
from tidings.server.backends import open_backends, store_name
from tidings.server.cluster import Cluster, Shared
from tidings.server.commands import COMMANDS
from tidings.server.config import Config, ConfigError, address
from tidings.server.connections import Connections
from tidings.server.counts import Counts
from tidings.server.following import Following, Others
from tidings.server.gateway import Gateway, listen
from tidings.server.heeding import Heeding
from tidings.server.logs import bridge, open_log, unhandled
from tidings.server.metrics import Metrics, Sources
from tidings.server.passwords import Argon2Passwords
from tidings.server.pulls import Means
from tidings.server.rate import DeviceRates, KeyedRates
from tidings.server.resources import raise_file_limit, settle_collector
from tidings.server.services import Services
from tidings.server.session import Session
from tidings.server.tls import Certificate
from tidings.server.upkeep import Upkeep
from tidings.store.contract import Store
from tidings.store.counts import StoreCounts

DAY_MS = 86_400_000


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
    *,
    shared: Shared | None = None,
) -> Services:
    """The rules and what sessions need, on a store; of a node among others with what they share.

    Then `Services.cluster` is to be started and stopped. Raises StoreError, ClockWentBack, and for a
    node among others BusError, DirectoryError, LeaseLost.
    """
    loop = asyncio.get_running_loop()
    limits = config.limits
    rates = DeviceRates(limits)
    connections = Connections(Random(random_bytes(8)), rates, loop.time)  # noqa: S311 - spreads reconnects
    newest = await greatest_id(store)
    _check_clock(config, newest, clock, log)
    cluster: Cluster | None = None
    peers: Peers = Alone()
    router: Router = connections
    attendees: Attendees = connections
    if shared is None:
        id_clock = IdClock(clock, floor=newest)
    else:
        peers = cluster = await Cluster.join(
            store, shared, clock, newest, connections, loop, random_bytes, log
        )
        id_clock, router, attendees = cluster.ids, cluster.relay, cluster.whereabouts
    commit = GroupCommit(store, id_clock, limits, loop, peers)
    users = Users(store, commit, id_clock, limits, peers, clock.monotonic_s)
    settings = Settings(store, commit, id_clock, router, limits)
    privacy = Privacy(settings)
    audit = audit or Audit(None, clock.wall_ms, log)
    of_accounts = account_rules(
        config,
        store,
        commit,
        clock,
        id_clock,
        passwords,
        random_bytes,
        router,
        settings,
        audit,
        log,
        users,
        peers,
    )
    accounts = of_accounts.accounts
    conversations = Conversations(
        store, commit, clock, privacy, limits, peers, ask_first=config.strangers == "request"
    )
    of_accounts.departures.departed = conversations.departed
    history_log = Log(store)
    sends = Sends(store, commit, peers)
    latecomers = Latecomers(store, commit, id_clock, history_log, router, limits)
    announcements = Announcements(store, commit, id_clock, conversations, router)
    crossings = Crossings(store, commit, id_clock, conversations, router, limits, loop, log, random_bytes)
    group_rates = KeyedRates[ConversationId](limits.group_rate, limits.conversations_cached)
    groups = Groups(
        store,
        commit,
        clock,
        id_clock,
        conversations,
        announcements,
        crossings,
        history_log,
        users,
        privacy,
        limits,
        peers,
        lambda conversation_id: group_rates.check(conversation_id, clock.monotonic_s()),
        random_bytes,
    )
    of_accounts.departures.departing = groups.depart
    others = (
        Others(shared.bus, cluster.bus.topics, cluster.node, cluster.present)
        if cluster is not None and shared is not None
        else None
    )
    following = Following(store, conversations, history_log, loop, log, others)
    connections.published, connections.lost = following.publish, following.may_have_lost
    tellers = Tellers(commit, conversations, history_log, router, limits, loop, peers, log)
    requests = Requests(store, commit, id_clock, history_log, sends, settings, privacy, router, limits, peers)
    eraser = Eraser(store, commit, id_clock, conversations, history_log, requests)
    relations = Relations(store, clock, history_log, sends, eraser, limits)
    sealing = Sealing(of_accounts.lists)
    people = People(store, commit, clock, id_clock, accounts, privacy, settings, limits)
    Heeding(settings, conversations, requests, loop, log, peers)
    presence = Presence(store, commit, clock, id_clock, attendees, router, privacy, limits, loop)
    connections.attendance = presence
    if cluster is not None:
        cluster.whereabouts.watched = presence
        cluster.relay.saw = conversations.saw
    for kind in (SettingKind.BLOCK, SettingKind.CONTACT, SettingKind.PRIVACY):
        settings.on(kind, presence.heed)
    return Services(
        commands=COMMANDS,
        accounts=accounts,
        account_rules=of_accounts,
        invites=of_accounts.invites,
        conversations=conversations,
        groups=groups,
        dormancy=Dormancy(store, commit, id_clock, conversations, limits, peers, random_bytes),
        following=following,
        means=Means(
            store,
            commit,
            conversations,
            history_log,
            following,
            id_clock.now_ms,
            id_clock.observe,
            others is not None,
        ),
        messages=Messages(
            commit,
            clock,
            id_clock,
            conversations,
            sends,
            latecomers,
            Twins(sends, latecomers, conversations, log),
            relations,
            requests,
            users,
            sealing,
            Asides(commit, clock, id_clock, sealing, router, limits),
            router,
            limits,
            peers,
        ),
        histories=Histories(
            store, clock, history_log, relations, conversations, accounts, groups, tellers, limits
        ),
        requests=requests,
        eraser=eraser,
        inboxes=Inboxes(store, commit),
        receipts=Receipts(
            store, commit, id_clock, router, conversations, settings, privacy, limits, loop, peers, tellers
        ),
        tellers=tellers,
        settings=settings,
        privacy=privacy,
        people=people,
        generations=Generations(store, commit),
        prekeys=of_accounts.prekeys,
        claims=Claims(store, clock, of_accounts.lists, of_accounts.prekeys, people, limits),
        reports=Reports(store, commit, clock, id_clock, limits),
        commit=commit,
        presence=presence,
        connections=connections,
        rates=rates,
        counts=Counts(),
        audit=audit,
        cluster=cluster,
        ids=id_clock,
        limits=limits,
        loop=loop,
        log=log,
    )


async def _run(config: Config, log: FilteringBoundLogger) -> None:
    """A node on what its config names: alone on a store of its own, or one of many."""
    host, port = address(config.listen)
    limits = config.limits
    raise_file_limit()
    certificate = Certificate.of(config)
    sock = listen(host, port, limits)
    admin = AdminPort.open(config.admin, Path(config.data), limits)
    backends = await open_backends(config, log)
    scheme = "http" if certificate is None else "https"
    url = f"{scheme}://{host}:{sock.getsockname()[1]}"
    try:
        await serve_node(
            config,
            log,
            sock,
            backends.store,
            shared=backends.shared,
            store_counts=backends.store_counts,
            certificate=certificate,
            administer=None if admin is None else lambda node: admin.start(administration(node, admin.token)),
            ready=lambda: log.info("listening", url=url, data=config.data),
        )
    finally:
        if admin is not None:
            await admin.stop()
        await backends.close()
        log.info("stopped")


async def serve_node(
    config: Config,
    log: FilteringBoundLogger,
    sock: socket.socket,
    store: Store,
    *,
    shared: Shared | None = None,
    store_counts: StoreCounts | None = None,
    certificate: Certificate | None = None,
    administer: Callable[[Node], None] | None = None,
    ready: Callable[[], None],
    stopped: asyncio.Event | None = None,
) -> None:
    """Serve on a listening socket until SIGTERM, SIGINT or `stopped`.

    `administer` is given the node for an operator to look into, `store_counts` is where the store counts;
    `ready` is called once it takes connections. The store, and what nodes share, are the caller's to close.
    Raises what `wire` does.
    """
    limits = config.limits
    passwords = Argon2Passwords(limits)
    clock = SystemClock()
    audit = Audit(Path(config.data) / "audit.log" if config.audit else None, clock.wall_ms, log)
    try:
        services = await wire(config, store, clock, passwords, os.urandom, log, audit, shared=shared)
        services.loop.set_exception_handler(unhandled(log))
        gateway = Gateway(
            limits=limits,
            open_session=lambda link, codec: Session(services, link, codec),
            origins=frozenset(config.origins),
        )

        stopped = stopped or asyncio.Event()

        def health() -> Health:
            status = _status(services, is_stopping=stopped.is_set())
            return Health(status, __version__, store_name(config), gateway.connections)

        about = ServerInfo(__version__, config.registration, phone=bool(config.phone_hook))
        app = http.application(services, clock, limits, about, health, log, config.origins)
        tls = None if certificate is None else certificate.context
        server = gateway.server(app, drain_s=limits.drain_s, tls=tls, proxies=config.proxies)
        for number in (signal.SIGTERM, signal.SIGINT):
            services.loop.add_signal_handler(number, stopped.set)
        if certificate is not None:
            services.loop.add_signal_handler(signal.SIGHUP, _renew, certificate, log)
        if administer is not None:
            administer(_node(services, store, store_counts, gateway, certificate, stopped))
        if services.cluster is not None:
            services.cluster.start()
        upkeep = Upkeep(services, store)
        upkeep.start()
        stopping = services.loop.create_task(_stop(stopped, server, services))
        settle_collector()
        ready()
        await server.serve(sockets=[sock])
        stopping.cancel()
        await upkeep.stop()
        services.messages.stop()
        services.tellers.stop()
        await services.commit.finish()
        if services.cluster is not None:
            await services.cluster.stop()
    finally:
        passwords.close()
        audit.close()


def _status(services: Services, *, is_stopping: bool) -> str:
    """`ok`, or the name of the error that makes devices better off with another node."""
    failure = services.commit.failure
    if is_stopping:
        return DRAINING.name
    if failure is not None:
        return refusal(failure).kind.name
    if services.cluster is not None and not services.cluster.takes_part:
        return OVERLOADED.name
    return "ok"


def _node(
    services: Services,
    store: Store,
    store_counts: StoreCounts | None,
    gateway: Gateway,
    certificate: Certificate | None,
    stopped: asyncio.Event,
) -> Node:
    def sockets() -> tuple[int, int]:
        return gateway.connections, gateway.capacity

    def certificate_until() -> float | None:
        return None if certificate is None else certificate.expires_at

    sources = Sources(
        services.counts,
        services.connections,
        services.commit,
        services.inboxes,
        services.claims,
        services.audit,
        sockets,
        certificate_until,
        services.cluster,
        store_counts,
    )
    return Node(services, store, Metrics(sources), sockets, certificate_until, stopped.set, stopped.is_set)


def _renew(certificate: Certificate, log: FilteringBoundLogger) -> None:
    """SIGHUP: new handshakes use the certificate that is in the files now."""
    try:
        certificate.reload()
    except ConfigError as error:
        log.error("the certificate stays as it was", reason=str(error))
    else:
        log.info("the certificate was read again")


async def _stop(stopped: asyncio.Event, server: uvicorn.Server, services: Services) -> None:
    """Once a signal came: answer what was accepted, then let the server close every link."""
    await stopped.wait()
    try:
        services.log.info("stopping")
        await services.commit.barrier()
    finally:
        server.should_exit = True


def _check_clock(config: Config, newest: int, clock: Clock, log: FilteringBoundLogger) -> None:
    """Ids go on where the last run ended, also if the clock went back meanwhile. Raises ClockWentBack."""
    behind_ms = ids.unix_ms(newest) - IDS_AHEAD_MS - clock.wall_ms()
    if behind_ms > DAY_MS and not config.accept_clock:
        raise ClockWentBack(f"the clock is {behind_ms / DAY_MS:.1f} days behind the newest message stored")
    if behind_ms > AHEAD_MS:
        log.warning("the clock went back: ids go on from the last one", behind_ms=behind_ms)
