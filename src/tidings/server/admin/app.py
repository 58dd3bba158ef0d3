"""What the operator may do, over HTTP with JSON: users, invites, limits, reports, backup, stopping.

Each request goes through the rules where there is one for it and is noted in the audit log.
Metrics need no token and name no user.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from litestar import Litestar, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.status_codes import HTTP_202_ACCEPTED
from litestar.types import ControllerRouterHandler
from structlog.typing import FilteringBoundLogger

from tidings import __version__
from tidings.domain.commit import refusal
from tidings.domain.users import User
from tidings.protocol.errors import INVALID, NO_SUCH_USER, NOT_AVAILABLE, ProtocolError
from tidings.protocol.ids import EntryId, UserId
from tidings.server.admin import bodies
from tidings.server.admin.copying import back_up
from tidings.server.admin.guard import PREFIX, Guard
from tidings.server.admin.problems import handlers
from tidings.server.admin.reach import expel, online
from tidings.server.metrics import CONTENT_TYPE, Metrics
from tidings.server.services import Services
from tidings.server.tuning import Limit, Tuning
from tidings.store.contract import Store
from tidings.store.schema import DEVICES, SEEN, USERS, UserRow

PAGE_MAX = 1000
NOTE_CHARS = 200
USES_MAX = 10_000
QUOTA_MAX = 1_000_000_000
BODY_BYTES = 16 * 1024
ID_PREFIX = "id:"
"""stands before a user_id where a handle may stand; no handle has a colon"""


class Node(NamedTuple):
    """What is administered."""

    services: Services
    store: Store
    metrics: Metrics
    sockets: Callable[[], tuple[int, int]]
    """WebSockets that are open, and that may be"""
    certificate_until: Callable[[], float | None]
    drain: Callable[[], None]
    """begin what SIGTERM begins"""
    is_draining: Callable[[], bool]


def application(node: Node, token: str) -> Guard:
    """The ASGI application of the admin port."""
    return Guard(unguarded(node), token)


def unguarded(node: Node) -> Litestar:
    """The same without its guard, for whoever has asked for the token already."""
    routes = [*_status(node), *_users(node), *_invites(node), *_limits(node), *_reports(node)]
    return of_routes(routes, node.services.log)


def of_routes(routes: Sequence[ControllerRouterHandler], log: FilteringBoundLogger) -> Litestar:
    """An application that refuses, and bounds, as the admin port does."""
    return Litestar(
        routes,
        exception_handlers=handlers(log),
        request_max_body_size=BODY_BYTES,
        logging_config=None,
        openapi_config=None,
    )


def _status(node: Node) -> list[ControllerRouterHandler]:
    services, started_s = node.services, node.services.loop.time()

    @get("/metrics", media_type=CONTENT_TYPE, sync_to_thread=False)
    def metrics() -> bytes:
        return node.metrics.render()

    @get(f"{PREFIX}/status", sync_to_thread=False)
    def status() -> bodies.Status:
        failure = services.commit.failure
        is_open, may_be = node.sockets()
        until = node.certificate_until()
        return bodies.Status(
            version=__version__,
            store="ok" if failure is None else refusal(failure).kind.name,
            uptime_s=round(services.loop.time() - started_s, 3),
            connections=is_open,
            connections_max=may_be,
            users_online=services.connections.users_online,
            draining=node.is_draining(),
            audit=services.audit.ok,
            certificate_expires_at=None if until is None else int(until * 1000),
        )

    @post(f"{PREFIX}/drain", status_code=HTTP_202_ACCEPTED, sync_to_thread=False)
    def drain() -> bodies.Done:
        services.audit("admin_drain")
        node.drain()
        return bodies.Done()

    @post(f"{PREFIX}/backup", status_code=200)
    async def backup(data: JSONBody[bodies.BackupTo]) -> bodies.Done:
        await back_up(node.store, data.path)
        services.audit("admin_backup", path=data.path)
        return bodies.Done()

    @post(f"{PREFIX}/restart-workers", status_code=HTTP_202_ACCEPTED, sync_to_thread=False)
    def restart_workers() -> bodies.Done:
        raise ProtocolError(NOT_AVAILABLE, "the server is one process, there are no workers to restart")

    return [metrics, status, drain, backup, restart_workers]


def _users(node: Node) -> list[ControllerRouterHandler]:
    services, audit = node.services, node.services.audit

    @get(f"{PREFIX}/users")
    async def users(after: FromQuery[int | None] = None, limit: FromQuery[int] = 100) -> bodies.Accounts:
        limit = min(max(1, limit), PAGE_MAX)
        rows = await node.store.scan(USERS, after=None if after is None else (after,), limit=limit)
        last = str(rows[-1].user_id) if len(rows) == limit else None
        return bodies.Accounts(await _accounts(node, rows), last)

    @get(f"{PREFIX}/users/{{name:str}}")
    async def user(name: FromPath[str]) -> bodies.AccountDetail:
        return await _detail(node, await _row(node, name))

    @post(f"{PREFIX}/users/{{name:str}}/suspend", status_code=200)
    async def suspend(name: FromPath[str]) -> bodies.Account:
        return await _suspend(node, name, suspended=True)

    @post(f"{PREFIX}/users/{{name:str}}/unsuspend", status_code=200)
    async def unsuspend(name: FromPath[str]) -> bodies.Account:
        return await _suspend(node, name, suspended=False)

    @post(f"{PREFIX}/users/{{name:str}}/sign-out", status_code=200)
    async def sign_out(name: FromPath[str]) -> bodies.Account:
        row = await _row(node, name)
        await services.accounts.sign_out(row.user_id)
        expel(services, row.user_id)
        audit("admin_sign_out", user_id=str(row.user_id), handle=row.handle)
        return await _account(node, row)

    @put(f"{PREFIX}/users/{{name:str}}/quota")
    async def quota(name: FromPath[str], data: JSONBody[bodies.Quota]) -> bodies.Account:
        row = await _row(node, name)
        messages = row.messages_per_day if data.messages_per_day is None else data.messages_per_day
        devices = row.devices_max if data.devices_max is None else data.devices_max
        if not (0 <= messages <= QUOTA_MAX and 0 <= devices <= services.limits.devices_per_user):
            most = services.limits.devices_per_user
            raise ProtocolError(INVALID, f"a quota is 0 or more, of devices at most {most}")
        await services.accounts.quota(row.user_id, messages, devices)
        audit(
            "admin_quota",
            user_id=str(row.user_id),
            handle=row.handle,
            messages_per_day=messages,
            devices_max=devices,
        )
        return await _account(node, await _row(node, f"{ID_PREFIX}{row.user_id}"))

    return [users, user, suspend, unsuspend, sign_out, quota]


def _invites(node: Node) -> list[ControllerRouterHandler]:
    services, audit = node.services, node.services.audit

    @get(f"{PREFIX}/invites")
    async def invites() -> bodies.Invites:
        rows = await services.invites.list()
        return bodies.Invites(
            [
                bodies.Invite(row.code_hash.hex(), row.created_at, row.expires_at, row.uses_left, row.note)
                for row in rows
            ]
        )

    @post(f"{PREFIX}/invites")
    async def invite(data: JSONBody[bodies.NewInvite]) -> bodies.MadeInvite:
        if not 1 <= data.uses <= USES_MAX or data.expires_in_s < 1 or len(data.note) > NOTE_CHARS:
            raise ProtocolError(
                INVALID, f"an invite has 1 to {USES_MAX} uses, a time, and a note of {NOTE_CHARS} characters"
            )
        code = await services.invites.make(data.uses, data.expires_in_s, data.note)
        audit("admin_invite", uses=data.uses, expires_in_s=data.expires_in_s, note=data.note)
        return bodies.MadeInvite(code)

    @delete(f"{PREFIX}/invites/{{invite_id:str}}", status_code=200)
    async def revoke(invite_id: FromPath[str]) -> bodies.Done:
        try:
            code_hash = bytes.fromhex(invite_id)
        except ValueError:
            raise ProtocolError(INVALID, "an invite's id is the one that the list shows") from None
        await services.invites.revoke(code_hash)
        audit("admin_invite_revoked", invite_id=invite_id)
        return bodies.Done()

    return [invites, invite, revoke]


def _limits(node: Node) -> list[ControllerRouterHandler]:
    services = node.services
    tuning = Tuning(services.limits, services.connections)

    @get(f"{PREFIX}/limits", sync_to_thread=False)
    def limits() -> bodies.LimitsBody:
        return bodies.LimitsBody([_limit(limit) for limit in tuning.all()])

    @put(f"{PREFIX}/limits/{{name:str}}", sync_to_thread=False)
    def change(name: FromPath[str], data: JSONBody[bodies.NewLimit]) -> bodies.LimitBody:
        changed = tuning.set(name, data.value)
        services.audit("admin_limit", name=name, value=str(data.value))
        return _limit(changed)

    return [limits, change]


def _reports(node: Node) -> list[ControllerRouterHandler]:
    services = node.services

    @get(f"{PREFIX}/reports")
    async def reports(limit: FromQuery[int] = 100, before: FromQuery[int | None] = None) -> bodies.Reports:
        limit = min(max(1, limit), PAGE_MAX)
        rows = await services.reports.recent(limit, None if before is None else EntryId(before))
        shown = [
            bodies.Report(
                str(row.report_id),
                row.created_at,
                await _handle(node, row.reporter),
                await _handle(node, row.reported),
                str(row.reported),
                row.reason,
                len(row.messages),
            )
            for row in rows
        ]
        return bodies.Reports(shown, str(rows[-1].report_id) if len(rows) == limit else None)

    return [reports]


# --- users ----------------------------------------------------------------------------------


async def _row(node: Node, name: str) -> UserRow:
    """The account of a handle, or of a user_id with `id:` before it. Raises ProtocolError."""
    user = await _user(node, name)
    row = await node.store.get(USERS, (user.user_id,))
    if row is None:
        raise ProtocolError(NO_SUCH_USER)
    return row


async def _user(node: Node, name: str) -> User:
    if not name.startswith(ID_PREFIX):
        return await node.services.accounts.by_handle(name)
    digits = name.removeprefix(ID_PREFIX)
    if not digits.isascii() or not digits.isdigit() or int(digits) >= 1 << 63:
        raise ProtocolError(INVALID, "a user_id is a number")
    return await node.services.accounts.user(UserId(int(digits)))


async def _suspend(node: Node, name: str, *, suspended: bool) -> bodies.Account:
    services = node.services
    row = await _row(node, name)
    await services.accounts.suspend(row.user_id, suspended)
    if suspended:
        expel(services, row.user_id)
    event = "admin_suspend" if suspended else "admin_unsuspend"
    services.audit(event, user_id=str(row.user_id), handle=row.handle)
    return await _account(node, await _row(node, f"{ID_PREFIX}{row.user_id}"))


async def _detail(node: Node, row: UserRow) -> bodies.AccountDetail:
    most = node.services.limits.devices_per_user
    rows = await node.store.range(DEVICES, (row.user_id,), limit=most)
    seen = await node.store.get_many(SEEN, [(row.user_id, device.device_id) for device in rows])
    devices = [
        bodies.AccountDevice(
            str(device.device_id), device.name, device.created_at, 0 if last is None else last.at_ms
        )
        for device, last in zip(rows, seen, strict=True)
    ]
    return bodies.AccountDetail(await _account(node, row), devices)


async def _handle(node: Node, user_id: UserId) -> str:
    try:
        return (await node.services.accounts.user(user_id)).handle or str(user_id)
    except ProtocolError:
        return str(user_id)


async def _account(node: Node, row: UserRow) -> bodies.Account:
    (account,) = await _accounts(node, [row])
    return account


async def _accounts(node: Node, rows: Sequence[UserRow]) -> list[bodies.Account]:
    there = await online(node.services, [row.user_id for row in rows])
    return [
        bodies.Account(
            str(row.user_id),
            row.handle,
            row.created_at,
            row.user_id in there,
            row.suspended_at,
            row.messages_per_day,
            row.devices_max,
        )
        for row in rows
    ]


def _limit(limit: Limit) -> bodies.LimitBody:
    return bodies.LimitBody(limit.name, limit.value, limit.default, limit.counts_from)
