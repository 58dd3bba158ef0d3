"""The relay: reaches the devices of users on whichever node they are. Implements the rules' `Router`.

Devices of this node get what concerns them at once. For those of other nodes one look-up is made of
all that one turn of the event loop collected, after it became durable, and one publication goes to each
node that has any of them. Whoever is in no directory just now is not told; the inbox has what they miss.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
from structlog.typing import FilteringBoundLogger

from tidings.bus.counted import FRAME_BYTES, CountedBus
from tidings.directory.contract import Directory, DirectoryError
from tidings.domain.clock import IdClock
from tidings.domain.conversation import Conversation
from tidings.domain.inboxes import MESSAGE_ENTRY, Entry
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import Frame
from tidings.protocol.ids import DeviceId, UserId
from tidings.server import passing
from tidings.server.connections import Connections
from tidings.server.passing import Delivered, Expelled, Passed, Replaced, Told

WAITING_MAX = 20_000
"""Entries and frames that wait for a look-up; what is more is left out, and the others see a gap."""
USERS_AT_ONCE = 1000
"""users looked up in one request"""


class _Waiting(NamedTuple):
    users: list[UserId]
    passed: Passed


class Relay:
    """See the module's text."""

    def __init__(
        self,
        connections: Connections,
        directory: Directory,
        bus: CountedBus,
        ids: IdClock,
        clock_is_behind: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        log: FilteringBoundLogger,
    ) -> None:
        self._connections = connections
        self._directory = directory
        self._bus = bus
        self._ids = ids
        self._clock_is_behind = clock_is_behind
        self._loop = loop
        self._log = log
        self.saw: Callable[[Entry], None] = lambda _: None
        """called with each message of another node; set once, when the node is wired"""
        self._waiting: list[_Waiting] = []
        self._passing: asyncio.Task[None] | None = None

    # --- the rules' side (Router) -----------------------------------------------------------

    def deliver(self, entry: Entry, users: Iterable[UserId]) -> None:
        recipients = list(users)
        self._connections.deliver(entry, recipients)
        if recipients:
            self._pass(recipients, passing.delivered(entry, recipients))

    def publish(self, entry: Entry, conversation: Conversation, version: int) -> None:
        self._connections.publish(entry, conversation, version)

    def tell(self, users: Iterable[UserId], frame: Frame, *, skip: DeviceId | None = None) -> None:
        recipients = list(users)
        self._connections.tell(recipients, frame, skip=skip)
        if recipients:
            self._pass(recipients, Told(recipients, MSGPACK.encode(frame), skip))

    def expel(self, user: UserId, device: DeviceId | None = None) -> None:
        self._connections.expel(user, device)
        self._bus.publish_all([passing.encode(Expelled(user, device))])

    async def close(self) -> None:
        """Wait until what was handed over is published."""
        while self._passing is not None:
            await asyncio.wait([self._passing])

    # --- the other nodes' side --------------------------------------------------------------

    def replace(self, node: int, replaced: Replaced) -> None:
        """Have another node end an older session of a device."""
        self._bus.publish(node, [passing.encode(replaced)])

    def receive(self, data: bytes) -> None:
        """Another node has something for devices of this one."""
        try:
            passed = passing.decode(data)
        except msgspec.ValidationError:
            return  # of a newer version, during an upgrade
        match passed:
            case Delivered():
                if self._ids.is_far_ahead(passed.message_id):
                    self._clock_is_behind()
                self._ids.observe(passed.message_id)
                entry = passing.entry_of(passed)
                if passed.kind == MESSAGE_ENTRY:
                    self.saw(entry)
                self._connections.deliver(entry, passed.users)
            case Told():
                frame = MSGPACK.decode_server(passed.frame)
                self._connections.tell(passed.users, frame, skip=passed.skip)
            case Replaced():
                for receiver in self._connections.receivers(passed.user_id):
                    place = receiver.place
                    if receiver.device_id == passed.device_id and place and place.session < passed.session:
                        receiver.replace()
            case Expelled():
                self._connections.expel(passed.user_id, passed.device_id)

    # --- inside -----------------------------------------------------------------------------

    def _pass(self, users: list[UserId], passed: Passed) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._bus.skip()
            return
        self._waiting.append(_Waiting(users, passed))
        if self._passing is None:
            # The task starts after this turn's remaining callbacks: theirs goes with it.
            self._passing = self._loop.create_task(self._pass_on())

    async def _pass_on(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                await self._publish(waiting)
            except Exception as bug:
                self._log.error("passing on failed", exc_info=bug)
                self._bus.skip()
        self._passing = None

    async def _publish(self, waiting: list[_Waiting]) -> None:
        nodes = await self._nodes(waiting)
        by_node: dict[int, list[bytes]] = {}
        for one in waiting:
            where = {node for user in one.users for node in nodes.get(user, ())}
            if where:
                frame = passing.encode(one.passed)
                assert len(frame) <= FRAME_BYTES
                for node in where:
                    by_node.setdefault(node, []).append(frame)
        for node, frames in by_node.items():
            self._bus.publish(node, frames)

    async def _nodes(self, waiting: list[_Waiting]) -> dict[UserId, tuple[int, ...]]:
        """On which other nodes users are; where the directory does not say, on any that may live."""
        users = list(dict.fromkeys(user for one in waiting for user in one.users))
        nodes: dict[UserId, tuple[int, ...]] = {}
        own = self._bus.node
        try:
            for first in range(0, len(users), USERS_AT_ONCE):
                some = users[first : first + USERS_AT_ONCE]
                for user, places in zip(some, await self._directory.look_up(some), strict=True):
                    if places:
                        nodes[user] = tuple({place.node for place in places if place.node != own})
        except DirectoryError:
            everywhere = tuple(self._bus.may_live)
            return dict.fromkeys(users, everywhere)
        return nodes
