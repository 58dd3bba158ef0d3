"""A connection of a device that is in groups: what it asks about them, and what it makes of refusals.

A message that is refused since the group has changed is sent again once the group is known as it is. What
is refused for good must be refused with reason: who was a member all the time is never told that there is
no such group.

spec §6.17
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from tidings.protocol import errors, frames
from tidings.protocol.frames import (
    Conversations,
    Deliver,
    Describe,
    Drained,
    Error,
    History,
    InboxExpired,
    Page,
    Read,
    Stale,
    Tallies,
    Tally,
    Welcome,
)
from tidings.protocol.ids import EPOCH_MS as FIRST_MS
from tidings.protocol.ids import ClientId, ConversationId, MessageId, first_at, unix_ms
from tidings.testing.simulation.connection import Connection
from tidings.testing.simulation.groups.profile import Gap

if TYPE_CHECKING:
    from tidings.testing.simulation.groups.device import GroupDevice, Wish
    from tidings.testing.simulation.nodes import Node

LISTED = 100
PAGE = 40
MARGIN_MS = 10_000
"""the places of a message in an inbox and in a log may differ by so much"""
TALLIED = 64
"""of one's own messages of a group, how many are asked about at once"""


class GroupConnection(Connection):
    """See the module's text."""

    device: "GroupDevice"

    def __init__(self, device: "GroupDevice", node: "Node", random: Random) -> None:
        self._unacknowledged: list[tuple[ConversationId, MessageId]] = []
        """messages of others that came"""
        super().__init__(device, node, random)

    # --- the device's side ------------------------------------------------------------------

    def tell_wish(self, wish: "Wish") -> None:
        """Ask for a change of a group, or for a new one."""
        if not self.is_up:
            return
        device = self.device

        def answered(frame: Any) -> None:
            device.wish_answered(wish, frame)

        def refused(frame: Error) -> None:
            device.wish_refused(wish, frame.code)

        self.ask(wish.make, answered, refused)

    def describe(self, conversation: ConversationId, then: Callable[[bool], None] | None = None) -> None:
        """Ask what a group is; `then` gets whether it is one of the user's."""
        device, asked_s = self.device, self.loop.now_s

        def answered(found: frames.Conversation) -> None:
            device.described(found)
            if then is not None:
                then(True)

        def refused(frame: Error) -> None:
            device.excuse(frame.code, conversation, asked_s)
            device.groups_profile.learn(conversation, device.version_of(conversation), is_in=False)
            if then is not None:
                then(False)

        self.ask(lambda request_id: Describe(request_id, conversation), answered, refused)

    def ask_tallies(self, conversation: ConversationId, messages: list[MessageId]) -> None:
        """Ask how far some of one's own messages have come."""
        asked_s = self.loop.now_s
        if messages:
            self.ask(
                lambda request_id: Tally(request_id, conversation, messages[-TALLIED:]),
                lambda tallies: self.device.tallied(tallies.conversation_id, tallies.items),
                lambda frame: self.device.excuse(frame.code, conversation, asked_s),
            )

    def bridge(self, gap: Gap) -> None:
        """Read in the history of every group what an inbox lacks."""
        first = MessageId(first_at(max(unix_ms(gap.since) - MARGIN_MS, FIRST_MS)))
        last = MessageId(first_at(unix_ms(gap.until) + MARGIN_MS))
        left = {name: None for name, view in self.device.groups_profile.groups.items() if view.is_in}

        def done(conversation: ConversationId) -> None:
            left.pop(conversation, None)
            if not left:
                self.device.bridged(gap)

        if not left:
            self.device.bridged(gap)
        for conversation in list(left):
            self._bridge_one(conversation, first, last, done)

    def fill(self, conversation: ConversationId, after: MessageId) -> None:
        """Read on in the history of a group, after a message, until there is nothing more."""
        asked_s = self.loop.now_s

        def answered(page: Page) -> None:
            for item in page.items:
                self.device.take(item.message, self, "history", stands=False)
            if page.more:
                self.fill(conversation, page.next)
            else:
                self.device.filled(conversation)

        self.ask(
            lambda request_id: History(request_id, conversation, None, after, PAGE),
            answered,
            lambda frame: self.device.excuse(frame.code, conversation, asked_s),
        )

    # --- frames -------------------------------------------------------------------------------

    def _welcome(self, frame: Welcome) -> None:
        super()._welcome(frame)
        for wish in list(self.device.wishes.values()):
            self.tell_wish(wish)

    def _deliver(self, frame: Deliver) -> None:
        self._delivered += 1
        profile = self.device.profile
        profile.newest_entry = max(profile.newest_entry, frame.entry_id)
        if frame.message.sender_id != self.device.user.user_id:
            self._unacknowledged.append((frame.message.conversation_id, frame.message.message_id))
        self.device.take(frame.message, self, "inbox" if frame.entry_id else "log", stands=frame.stands)

    def _drained(self, frame: Drained) -> None:
        super()._drained(frame)
        self._list(None, self._fill_up)
        self._ask_all_tallies()
        for conversation in list(self.device.unfilled):
            self.fill(conversation, MessageId(0))

    def _stale(self, frame: Stale) -> None:
        super()._stale(frame)
        self._ask_all_tallies()
        if self.device.groups_profile.gap is not None:
            self._list(None, self._fill_up)

    def _tallies(self, frame: Tallies) -> None:
        if frame.request_id is not None:
            self._answered(frame)
        else:
            self.device.tallied(frame.conversation_id, frame.items, pushed=True)

    def _expired(self, frame: InboxExpired) -> None:
        self.device.told_expired(frame)

    # --- inside -----------------------------------------------------------------------------

    def _bridge_one(
        self,
        conversation: ConversationId,
        after: MessageId,
        last: MessageId,
        done: Callable[[ConversationId], None],
    ) -> None:
        """Of one group: what comes after a message, and not after another one."""
        asked_s = self.loop.now_s

        def answered(page: Page) -> None:
            for item in page.items:
                if item.message.message_id <= last:
                    self.device.take(item.message, self, "history", stands=False)
            if page.more and page.next <= last:
                self._bridge_one(conversation, page.next, last, done)
            else:
                done(conversation)

        def refused(frame: Error) -> None:
            self.device.excuse(frame.code, conversation, asked_s)
            done(conversation)

        self.ask(lambda request_id: History(request_id, conversation, None, after, PAGE), answered, refused)

    def _fill_up(self) -> None:
        gap = self.device.groups_profile.gap
        if gap is not None:
            self.bridge(gap)

    def _ack(self) -> None:
        device_id, model = self.device.device_id, self.device.simulation.model
        for conversation, message_id in self._unacknowledged:
            model.acks(device_id, conversation, message_id)
        self._unacknowledged.clear()
        super()._ack()

    def _send_refused(self, name: ClientId, frame: Error) -> None:
        draft = self.device.profile.outbox.get(name)
        if draft is None:  # its profile was set back
            self._go_on(name)
            return
        if frame.code != errors.GROUP_CHANGED.code:
            super()._send_refused(name, frame)
            return

        def then(is_in: bool) -> None:
            if is_in:
                self._send_again(name)
            else:
                self.device.refused(name, errors.NO_SUCH_CONVERSATION.code)
                self._go_on(name)

        self.device.note("must know the group first", name)
        self.describe(draft.conversation, then)

    def _tell_read(self, conversation: ConversationId, up_to: MessageId) -> None:
        device, asked_s = self.device, self.loop.now_s
        device.simulation.model.asks_read(device.user.user_id, conversation, up_to)

        def answered(_: Any) -> None:
            self._reads_asked.pop(conversation, None)
            device.read_answered(conversation, up_to)

        def refused(frame: Error) -> None:
            self._reads_asked.pop(conversation, None)
            device.excuse(frame.code, conversation, asked_s)
            device.profile.reads.pop(conversation, None)

        self.ask(lambda request_id: Read(request_id, conversation, up_to), answered, refused)

    def _list(self, after: ConversationId | None, then: Callable[[], None]) -> None:
        """Ask which groups there are."""

        def answered(found: frames.ConversationList) -> None:
            for item in found.items:
                self.device.groups_profile.learn(item.conversation_id, item.version, is_in=True)
            if found.more:
                self._list(found.items[-1].conversation_id, then)
            else:
                then()

        self.ask(lambda request_id: Conversations(request_id, after, LISTED), answered)

    def _ask_all_tallies(self) -> None:
        """What was told while it was away, or lost on the way, is asked for."""
        for conversation, view in self.device.groups_profile.groups.items():
            if view.is_in:
                self.ask_tallies(conversation, self.device.unfinished(conversation))


GroupConnection.hears = {
    **Connection.hears,
    Welcome: GroupConnection._welcome,
    Deliver: GroupConnection._deliver,
    Drained: GroupConnection._drained,
    Stale: GroupConnection._stale,
    Tallies: GroupConnection._tallies,
    InboxExpired: GroupConnection._expired,
    frames.ConversationList: GroupConnection._answered,
    frames.Joined: GroupConnection._answered,
}
