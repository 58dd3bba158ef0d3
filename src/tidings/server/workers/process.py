"""What hub and workers have in common: how such a process begins and ends."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

import uvloop
from structlog.typing import FilteringBoundLogger

from tidings.server.logs import bridge, open_log, unhandled
from tidings.server.workers.failures import failed
from tidings.server.workers.orders import Start
from tidings.server.workers.parent import Parent

Work = Callable[[Parent, Start, FilteringBoundLogger], Awaitable[None]]


def run(work: Work) -> None:
    """Do the work that the supervisor orders, to its end; exits with 0, or 1 if it failed.

    Only the supervisor gives orders: what a terminal sends to everybody is not heard.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(uvloop.run(_run(work)))


async def _run(work: Work) -> int:
    parent = await Parent.open()
    try:
        order = await parent.begin()
        if order is not None:
            log = open_log(order.config.log, as_json=order.config.log_json).bind(process=order.name)
            bridge(log, order.config.log)
            asyncio.get_running_loop().set_exception_handler(unhandled(log))
            await work(parent, order, log)
    except Exception as error:
        failure = failed(error)
        if failure is None:
            raise  # a bug, with its traceback on stderr
        parent.fail(failure)
        return 1
    finally:
        await parent.close()
    return 0
