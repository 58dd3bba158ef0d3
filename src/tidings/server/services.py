"""What every session shares: the rules, and the means to run them. Built by `node.py` alone."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from tidings.domain.accounts import Accounts
from tidings.domain.claims import Claims
from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversations import Conversations
from tidings.domain.dormancy import Dormancy
from tidings.domain.erasing import Eraser
from tidings.domain.generations import Generations
from tidings.domain.groups import Groups
from tidings.domain.history import Histories
from tidings.domain.inboxes import Inboxes
from tidings.domain.invites import Invites
from tidings.domain.messages import Messages
from tidings.domain.people import People
from tidings.domain.prekeys import Prekeys
from tidings.domain.presence import Presence
from tidings.domain.privacy import Privacy
from tidings.domain.receipts import Receipts
from tidings.domain.reports import Reports
from tidings.domain.requests import Requests
from tidings.domain.settings import Settings
from tidings.domain.tallies import Tellers
from tidings.protocol.frames import Frame
from tidings.protocol.limits import Limits
from tidings.server.account_rules import AccountRules
from tidings.server.audit import Audit
from tidings.server.cluster import Cluster
from tidings.server.connections import Connections
from tidings.server.counts import Counts
from tidings.server.following import Following
from tidings.server.pulls import Means
from tidings.server.rate import DeviceRates
from tidings.server.rate import RateClass as RateClass

Slow = Coroutine[Any, Any, None]


class Command(NamedTuple):
    """How a frame is obeyed: `run(session, frame)` finishes at once or returns what to wait for."""

    run: Callable[[Any, Any], Slow | None]
    rate: RateClass


@dataclass(slots=True, frozen=True)
class Services:
    """One node's parts, as its sessions see them."""

    commands: Mapping[type[Frame], Command]
    accounts: Accounts
    account_rules: AccountRules
    invites: Invites
    conversations: Conversations
    groups: Groups
    dormancy: Dormancy
    following: Following
    means: Means
    """what sessions pull with"""
    messages: Messages
    histories: Histories
    requests: Requests
    eraser: Eraser
    inboxes: Inboxes
    generations: Generations
    receipts: Receipts
    tellers: Tellers
    settings: Settings
    privacy: Privacy
    people: People
    prekeys: Prekeys
    claims: Claims
    reports: Reports
    presence: Presence
    commit: GroupCommit
    connections: Connections
    counts: Counts
    audit: Audit
    cluster: Cluster | None
    """the other nodes; None for one that is alone"""
    rates: DeviceRates
    ids: IdClock
    limits: Limits
    loop: asyncio.AbstractEventLoop
    log: FilteringBoundLogger
