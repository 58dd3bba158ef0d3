"""The admin port of a service with workers: one answer for all its processes.

What concerns all of them is made here (metrics, status, stopping, restarting, limits) or asked of the hub
(backups). Everything else goes through the rules, so any worker does it, and answers as a lone node does.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
from litestar import Request, Response, get, post, put, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED
from litestar.types import ControllerRouterHandler
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from structlog.typing import FilteringBoundLogger

from tidings import __version__
from tidings.protocol.errors import DRAINING, OVERLOADED, STORE_FAILED, ProtocolError
from tidings.server.admin import bodies
from tidings.server.admin.app import of_routes
from tidings.server.admin.guard import PREFIX, Guard
from tidings.server.audit import Audit
from tidings.server.metrics import CONTENT_TYPE, audit_events
from tidings.server.workers.child import Child, ChildGone
from tidings.server.workers.orders import Answer
from tidings.server.workers.service import Service
from tidings.server.workers.slot import Slot
from tidings.server.workers.sums import Process, Sums

ANSWER_S = 3.0
"""how long a process may take to tell of itself; then the others are told of without it"""
SUPERVISOR = "supervisor"

AnyRequest = Request[object, object, State]


class Front(NamedTuple):
    """What the admin port of a service needs."""

    service: Service
    sums: Sums
    audit: Audit
    now_s: Callable[[], float]
    log: FilteringBoundLogger


def application(front: Front, token: str) -> Guard:
    """The ASGI application of the admin port."""
    return Guard(of_routes([*_told(front), *_ordered(front), *_passed_on(front)], front.log), token)


def _told(front: Front) -> list[ControllerRouterHandler]:
    """What there is to see."""
    service, began_s = front.service, front.now_s()
    own = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=own)
    own.register(_Audited(front.audit))

    @get("/metrics", media_type=CONTENT_TYPE)
    async def metrics() -> bytes:
        answers = await _ask_all(service.slots, "/metrics")
        processes: dict[object, Process] = {
            slot.child or slot: Process(slot.name, slot.restarts, answers.get(slot)) for slot in service.slots
        }
        processes[SUPERVISOR] = Process(SUPERVISOR, 0, generate_latest(own))
        return front.sums.render(processes)

    @get(f"{PREFIX}/status")
    async def status() -> bodies.Status:
        answers = await _ask_all(service.workers, f"{PREFIX}/status")
        told = {slot: msgspec.json.decode(body, type=bodies.Status) for slot, body in answers.items()}
        return _joined(front, told, uptime_s=front.now_s() - began_s)

    return [metrics, status]


def _ordered(front: Front) -> list[ControllerRouterHandler]:
    """What is done to the whole service."""
    service, audit = front.service, front.audit

    @post(f"{PREFIX}/drain", status_code=HTTP_202_ACCEPTED, sync_to_thread=False)
    def drain() -> bodies.Done:
        audit("admin_drain")
        service.finish()
        return bodies.Done()

    @post(f"{PREFIX}/restart-workers", status_code=HTTP_202_ACCEPTED, sync_to_thread=False)
    def restart_workers() -> bodies.Done:
        if not service.restart_workers():
            raise ProtocolError(OVERLOADED, "the workers are being replaced already")
        audit("admin_restart_workers")
        return bodies.Done()

    @post(f"{PREFIX}/backup", status_code=HTTP_200_OK)
    async def backup(data: JSONBody[bodies.BackupTo], request: AnyRequest) -> Response[bytes]:
        _, answer = await _ask(front, [service.hub], request)
        if answer.status == HTTP_200_OK:
            audit("admin_backup", path=data.path)
        return _response(answer)

    @put(f"{PREFIX}/limits/{{name:str}}")
    async def change(name: FromPath[str], request: AnyRequest) -> Response[bytes]:
        child, answer = await _ask(front, service.workers, request)
        if answer.status == HTTP_200_OK:
            service.tune(name, msgspec.json.decode(answer.body)["value"], but=child)
        return _response(answer)

    return [drain, restart_workers, backup, change]


def _passed_on(front: Front) -> list[ControllerRouterHandler]:
    """What any worker can do."""

    @route(
        f"{PREFIX}/{{rest:path}}",
        http_method=[HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.DELETE],
    )
    async def pass_on(rest: FromPath[str], request: AnyRequest) -> Response[bytes]:  # noqa: ARG001 - as it came
        _, answer = await _ask(front, front.service.workers, request)
        return _response(answer)

    return [pass_on]


class _Audited(Collector):
    """What the supervisor itself noted in the audit log."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def describe(self) -> Iterable[Metric]:
        """Nothing, as in `tidings.server.metrics`."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The events, as a node tells them."""
        return (audit_events(self._audit),)


# --- asking ---------------------------------------------------------------------------------


async def _ask(front: Front, slots: list[Slot], request: AnyRequest) -> tuple[Child, Answer]:
    """The answer of the first that serves, and who gave it. Raises ProtocolError."""
    path, query = request.scope["raw_path"].decode("latin-1"), request.scope["query_string"]
    body = await request.body()
    for child in [slot.child for slot in slots]:
        if child is None or not child.is_ready:
            continue
        try:
            return child, await child.ask(request.method, path, query, body)
        except ChildGone:
            if request.method != HttpMethod.GET:
                message = f"{child.name} ended before it answered: look whether it was done"
                raise ProtocolError(OVERLOADED, message) from None
    if front.service.is_stopping:
        raise ProtocolError(DRAINING)
    raise ProtocolError(OVERLOADED, "no process serves just now: try again")


async def _ask_all(slots: list[Slot], path: str) -> dict[Slot, bytes]:
    """What each tells of itself; those that do not answer are missing."""
    bodies_ = await asyncio.gather(*(_tell(slot.child, path) for slot in slots))
    return {slot: body for slot, body in zip(slots, bodies_, strict=True) if body is not None}


async def _tell(child: Child | None, path: str) -> bytes | None:
    if child is None or not child.is_ready:
        return None
    try:
        async with asyncio.timeout(ANSWER_S):
            answer = await child.ask("GET", path)
    except (ChildGone, TimeoutError):
        return None
    return answer.body if answer.status == HTTP_200_OK else None


def _response(answer: Answer) -> Response[bytes]:
    return Response(answer.body, status_code=answer.status, media_type=answer.media_type)


# --- wording --------------------------------------------------------------------------------


def _joined(front: Front, told: Mapping[Slot, bodies.Status], *, uptime_s: float) -> bodies.Status:
    """One status of many."""
    service = front.service
    stores = sorted({one.store for one in told.values()} - {"ok"})
    until = [one.certificate_expires_at for one in told.values() if one.certificate_expires_at is not None]
    return bodies.Status(
        version=__version__,
        store=(stores[0] if stores else "ok") if told else STORE_FAILED.name,
        uptime_s=round(uptime_s, 3),
        connections=sum(one.connections for one in told.values()),
        connections_max=sum(one.connections_max for one in told.values()),
        users_online=sum(one.users_online for one in told.values()),
        draining=service.is_stopping or any(one.draining for one in told.values()),
        audit=front.audit.ok and all(one.audit for one in told.values()),
        certificate_expires_at=min(until, default=None),
        processes=[
            bodies.Process(
                slot.name,
                0 if slot.child is None else slot.child.pid,
                0.0 if slot.child is None or not slot.child.is_ready else round(slot.child.served_s, 3),
                told[slot].connections if slot in told else 0,
                slot.restarts,
            )
            for slot in service.slots
        ],
    )
