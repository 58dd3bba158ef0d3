"""The bodies of the admin port. Ids are strings, as everywhere in JSON."""

from typing import Any

import msgspec


class Process(msgspec.Struct, frozen=True):
    """One of the processes of a server that has several."""

    name: str
    """`hub`, `worker1`, …"""
    pid: int
    serving_s: float
    """how long it has served; 0: it does not yet"""
    connections: int
    restarts: int
    """how often one of this name died and was followed by another"""


class Status(msgspec.Struct, frozen=True):
    """How the server is."""

    version: str
    store: str
    """`ok`, or the name of the error that the last write ended with"""
    uptime_s: float
    connections: int
    connections_max: int
    users_online: int
    draining: bool
    audit: bool
    """false while the audit log cannot be written"""
    certificate_expires_at: int | None
    """Unix ms; null without TLS"""
    processes: list[Process] = []
    """empty where the server is one process"""


class Account(msgspec.Struct, frozen=True):
    """A user, as the operator sees them."""

    user_id: str
    handle: str
    created_at: int
    online: bool
    suspended_at: int
    """Unix ms; 0: not suspended"""
    messages_per_day: int
    """0: no quota"""
    devices_max: int
    """0: no quota"""


class Accounts(msgspec.Struct, frozen=True):
    """A page of users."""

    users: list[Account]
    after: str | None
    """give it as `after` for the next page; null: there is none"""


class AccountDevice(msgspec.Struct, frozen=True):
    """A device of a user."""

    device_id: str
    name: str
    created_at: int
    seen_at: int


class AccountDetail(msgspec.Struct, frozen=True):
    """A user and their devices."""

    user: Account
    devices: list[AccountDevice]


class Quota(msgspec.Struct, frozen=True):
    """What `PUT …/quota` takes; what is null stays, 0 means none."""

    messages_per_day: int | None = None
    devices_max: int | None = None


class NewInvite(msgspec.Struct, frozen=True):
    """What `POST /v1/admin/invites` takes."""

    uses: int = 1
    expires_in_s: int = 7 * 86_400
    note: str = ""


class MadeInvite(msgspec.Struct, frozen=True):
    """A new invite; its code is shown this once."""

    code: str


class Invite(msgspec.Struct, frozen=True):
    """An invite without its code."""

    invite_id: str
    created_at: int
    expires_at: int
    uses_left: int
    note: str


class Invites(msgspec.Struct, frozen=True):
    """The invites there are."""

    invites: list[Invite]


class LimitBody(msgspec.Struct, frozen=True):
    """A limit as it is now."""

    name: str
    value: Any
    default: Any
    counts_from: str


class LimitsBody(msgspec.Struct, frozen=True):
    """All of them."""

    limits: list[LimitBody]


class NewLimit(msgspec.Struct, frozen=True):
    """What `PUT /v1/admin/limits/{name}` takes."""

    value: Any


class Report(msgspec.Struct, frozen=True):
    """What somebody told the operator."""

    report_id: str
    created_at: int
    reporter: str
    """handle; the id, where the account is gone"""
    reported: str
    reported_id: str
    reason: str
    messages: int
    """how many messages it names"""


class Reports(msgspec.Struct, frozen=True):
    """A page of reports, the newest first."""

    reports: list[Report]
    before: str | None
    """give it as `before` for the next page; null: there is none"""


class BackupTo(msgspec.Struct, frozen=True):
    """What `POST /v1/admin/backup` takes: an absolute path on the server's machine."""

    path: str


class Done(msgspec.Struct, frozen=True):
    """It is done."""

    done: bool = True
