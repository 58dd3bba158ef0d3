"""`tidings serve --workers N`: the process that the operator starts, signals and asks.

It holds the ports and starts everybody else; it knows no rule and sees no message. Signals: SIGTERM
and SIGINT stop the service, SIGHUP renews the certificate (without TLS it stops, too: the terminal is
gone), SIGUSR1 replaces the workers one after another.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from tidings.domain.clock import SystemClock
from tidings.server.admin.port import AdminPort
from tidings.server.audit import Audit
from tidings.server.config import Config, ConfigError, address
from tidings.server.logs import bridge, open_log, unhandled
from tidings.server.tls import Certificate
from tidings.server.workers.child import PROGRAM
from tidings.server.workers.doors import Door, open_doors
from tidings.server.workers.front import Front, application
from tidings.server.workers.place import hub_place
from tidings.server.workers.service import Service
from tidings.server.workers.sums import Sums


def supervise(config: Config, *, program: Sequence[str] = PROGRAM) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError, StoreError, ClockWentBack, NotStarted, OSError."""
    log = open_log(config.log, as_json=config.log_json)
    bridge(log, config.log)
    os.umask(0o077)  # as for a lone node
    asyncio.run(_supervise(config, log, program))


async def _supervise(config: Config, log: FilteringBoundLogger, program: Sequence[str]) -> None:
    certificate = Certificate.of(config)  # what is wrong with it is said here, once
    data = Path(config.data)
    with _doors(config) as doors, hub_place(data, os.environ) as hub:
        admin = AdminPort.open(config.admin, data, config.limits)
        service = Service(config, doors, hub, time.monotonic, log, program=program)
        sums = Sums()
        service.died = lambda child: sums.gone(child, child.last)
        audit = Audit(data / "audit.log" if config.audit else None, SystemClock().wall_ms, log)
        _heed_signals(service, certificate, log)
        try:
            await service.start()
            if admin is not None and not service.over.done():
                admin.start(application(Front(service, sums, audit, time.monotonic, log), admin.token))
            if not service.over.done():
                scheme = "http" if certificate is None else "https"
                host, _ = address(config.listen)
                url = f"{scheme}://{host}:{doors[0].port}"
                log.info("listening", url=url, data=config.data, workers=len(doors))
            await service.over
            log.info("stopping")
        finally:
            await service.stop()
            if admin is not None:
                await admin.stop()
            audit.close()
        log.info("stopped")


@contextlib.contextmanager
def _doors(config: Config) -> Iterator[list[Door]]:
    host, port = address(config.listen)
    doors = open_doors(host, port, config.limits, config.workers)
    try:
        yield doors
    finally:
        for door in doors:
            door.close()


def _heed_signals(service: Service, certificate: Certificate | None, log: FilteringBoundLogger) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(unhandled(log))

    def restart() -> None:
        if not service.restart_workers():
            log.warning("the workers are being replaced already")

    handlers: dict[signal.Signals, Callable[[], object]] = {
        signal.SIGTERM: service.finish,
        signal.SIGINT: service.finish,
        signal.SIGHUP: service.finish if certificate is None else lambda: _renew(service, certificate, log),
        signal.SIGUSR1: restart,
    }
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)


def _renew(service: Service, certificate: Certificate, log: FilteringBoundLogger) -> None:
    """Files that nobody can use are complained of once, here, and reach no worker."""
    try:
        certificate.reload()
    except ConfigError as error:
        log.error("the certificate stays as it was", reason=str(error))
    else:
        service.renew()
