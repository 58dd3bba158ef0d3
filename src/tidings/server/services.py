"""What every session shares: the rules, and the means to run them. Built by `node.py` alone."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from tidings.domain.accounts import Accounts
from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversations import Conversations
from tidings.domain.inboxes import Inboxes
from tidings.domain.messages import Messages
from tidings.domain.receipts import Receipts
from tidings.protocol.frames import Frame
from tidings.protocol.limits import Limits
from tidings.server.connections import Connections

Slow = Coroutine[Any, Any, None]


class RateClass(IntEnum):
    """Frames that share a token bucket."""

    SEND = 0
    LIGHT = 1
    QUERY = 2


class Command(NamedTuple):
    """How a frame is obeyed: `run(session, frame)` finishes at once or returns what to wait for."""

    run: Callable[[Any, Any], Slow | None]
    rate: RateClass


class Services(NamedTuple):
    """One node's parts, as its sessions see them."""

    commands: Mapping[type[Frame], Command]
    accounts: Accounts
    conversations: Conversations
    messages: Messages
    inboxes: Inboxes
    receipts: Receipts
    commit: GroupCommit
    connections: Connections
    ids: IdClock
    limits: Limits
    loop: asyncio.AbstractEventLoop
    log: FilteringBoundLogger
