"""A program that behaves as a hub or a worker does towards its supervisor, and does nothing else.

`python stub.py ROLE [DOOR]`. Each of its kind obeys a file `NAME.does` in the data folder, in JSON:

    {"fail": ["StoreFull", "no room"]}   it cannot start, and says why
    {"exit": 3}                          it ends before it is ready
    {"slow": true}                       it never gets ready
    {"deaf": true}                       it does not end when it is told to

A worker answers whoever connects with its name and pid, one line, and counts them in its metrics.
"""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

from tidings.server.admin import bodies
from tidings.server.config import ConfigError
from tidings.server.workers.orders import Answer, Ask, Start, Tune
from tidings.server.workers.parent import Duties, Parent
from tidings.server.workers.process import run
from tidings.store import contract

ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (ConfigError, OSError, contract.StoreFull, contract.StoreDamaged)
}


class Stub:
    def __init__(self, order: Start) -> None:
        self.order = order
        self.served = 0
        self.renewed = 0
        self.tuned: dict[str, object] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served += 1
        writer.write(f"{self.order.name} {os.getpid()}\n".encode())
        writer.close()

    def metrics(self) -> bytes:
        return f"""\
# HELP tidings_messages_accepted_total Here: who was served.
# TYPE tidings_messages_accepted_total counter
tidings_messages_accepted_total {self.served}
""".encode()

    async def answer(self, ask: Ask) -> Answer:
        if ask.path == "/metrics":
            return Answer(ask.number, 200, "text/plain", self.metrics())
        if ask.path == "/v1/admin/status":
            status = bodies.Status("1", "ok", 1.0, self.served, 10, self.renewed, False, True, None)
            return Answer(ask.number, 200, "application/json", msgspec.json.encode(status))
        if ask.path == "/v1/admin/die":
            os._exit(9)
        told: dict[str, object] = {"name": self.order.name, "method": ask.method, "path": ask.path}
        told |= {"query": ask.query.decode(), "body": ask.body.decode(), "tuned": self.tuned}
        told |= {"watched": self.order.config.limits.watched, "value": 7}
        return Answer(ask.number, 200, "application/json", json.dumps(told).encode())

    def renew(self) -> None:
        self.renewed += 1

    def tune(self, order: Tune) -> None:
        self.tuned[order.name] = order.value


async def work(parent: Parent, order: Start, log: FilteringBoundLogger) -> None:
    does = Path(order.config.data) / f"{order.name}.does"
    todo = json.loads(does.read_text()) if does.exists() else {}
    if "fail" in todo:
        raise ERRORS[todo["fail"][0]](todo["fail"][1])
    if "exit" in todo:
        os._exit(todo["exit"])
    if "slow" in todo:
        await parent.stopped.wait()
    stub = Stub(order)
    server = None
    if len(sys.argv) > 2:
        sock = socket.socket(fileno=int(sys.argv[2]))
        server = await asyncio.start_server(stub.serve, sock=sock)
    parent.duties = Duties(stub.answer, stub.metrics, stub.tune, stub.renew)
    parent.ready()
    log.info("serving")
    await parent.stopped.wait()
    if "deaf" in todo:
        await asyncio.sleep(1000)
    if server is not None:
        server.close()


if __name__ == "__main__":
    run(work)
